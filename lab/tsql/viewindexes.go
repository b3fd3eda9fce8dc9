package tsql

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// indexViews are the views of indexes and of what they hold.
func indexViews() []*systemView {
	return []*systemView{
		view("sys", "indexes", indexColumns(), indexRows),
		view("sys", "index_columns", []sqltype.Column{
			column("object_id", intType), column("index_id", intType), column("index_column_id", intType), column("column_id", intType), column("key_ordinal", tinyType),
			column("partition_ordinal", tinyType), column("is_descending_key", bitType), column("is_included_column", bitType), column("column_store_order_ordinal", tinyType),
		}, indexColumnRows),
		view("sys", "partitions", []sqltype.Column{
			column("partition_id", bigIntType), column("object_id", intType), column("index_id", intType), column("partition_number", intType), column("hobt_id", bigIntType),
			column("rows", bigIntType), column("filestream_filegroup_id", smallType), column("data_compression", tinyType), column("data_compression_desc", nvarchar(60)),
		}, partitionRows),
	}
}

// index is an index as sys.indexes tells it.
type index struct {
	id       int32
	name     any
	kind     int64 // 0 heap, 1 clustered, 2 nonclustered
	unique   bool
	key      *catalog.Key
	columns  []catalog.KeyColumn
	included []string
	filter   string
}

// indexesOf are a table's indexes, those of its keys among them: the heap or the
// clustered one first.
func indexesOf(t *catalog.Table) []index {
	first := index{id: 0}
	var rest []index
	next := int32(2)
	for i := range t.Keys {
		k := &t.Keys[i]
		found := index{id: next, name: k.Name, kind: 2, unique: true, key: k, columns: k.Columns}
		if k.Clustered && first.kind == 0 {
			found.id, found.kind = 1, 1
			first = found
			continue
		}
		rest = append(rest, found)
		next++
	}
	for _, i := range t.Indexes {
		rest = append(rest, index{id: next, name: i.Name, kind: 2, unique: i.Unique, columns: i.Columns, included: i.Included, filter: i.Where})
		next++
	}
	return append([]index{first}, rest...)
}

func primaryKey(t *catalog.Table) *catalog.Key {
	for i := range t.Keys {
		if t.Keys[i].Primary {
			return &t.Keys[i]
		}
	}
	return nil
}

func indexColumns() []sqltype.Column {
	columns := []sqltype.Column{
		column("object_id", intType), column("name", sysname), column("index_id", intType), column("type", tinyType), column("type_desc", nvarchar(60)),
		column("is_unique", bitType), column("data_space_id", intType), column("ignore_dup_key", bitType), column("is_primary_key", bitType), column("is_unique_constraint", bitType),
		column("fill_factor", tinyType),
	}
	columns = append(columns, flags("is_padded", "is_disabled", "is_hypothetical", "is_ignored_in_optimization", "allow_row_locks", "allow_page_locks", "has_filter")...)
	return append(columns, column("filter_definition", maxTextType), column("compression_delay", intType), column("suppress_dup_key_messages", bitType), column("auto_created", bitType), column("optimize_for_sequential_key", bitType))
}

// eachTable goes over the tables that the session may see.
func (s *Session) eachTable(f func(t *catalog.Table)) {
	for _, o := range s.visibleObjects() {
		if o.Table != nil {
			f(o.Table)
		}
	}
}

func indexRows(s *Session) ([][]any, error) {
	var rows [][]any
	kinds := []string{"HEAP", "CLUSTERED", "NONCLUSTERED"}
	s.eachTable(func(t *catalog.Table) {
		for _, i := range indexesOf(t) {
			rows = append(rows, []any{
				int64(t.ObjectID), i.name, int64(i.id), i.kind, kinds[i.kind], i.unique, int64(1), false, i.key != nil && i.key.Primary, i.key != nil && !i.key.Primary,
				int64(0), false, false, false, false, true, true, i.filter != "", nameOrNil(i.filter), nil, false, false, false,
			})
		}
	})
	return rows, nil
}

func columnIDOf(t *catalog.Table, name string) int64 {
	for _, c := range t.Columns {
		if lower(c.Name) == lower(name) {
			return int64(c.ID)
		}
	}
	return 0
}

func indexColumnRows(s *Session) ([][]any, error) {
	var rows [][]any
	s.eachTable(func(t *catalog.Table) {
		for _, i := range indexesOf(t) {
			for n, c := range i.columns {
				rows = append(rows, []any{int64(t.ObjectID), int64(i.id), int64(n + 1), columnIDOf(t, c.Name), int64(n + 1), int64(0), c.Descending, false, int64(0)})
			}
			for n, name := range i.included {
				rows = append(rows, []any{int64(t.ObjectID), int64(i.id), int64(len(i.columns) + n + 1), columnIDOf(t, name), int64(0), int64(0), false, true, int64(0)})
			}
		}
	})
	return rows, nil
}

// partitionRows has each index in its one partition, with the table's rows counted.
func partitionRows(s *Session) ([][]any, error) {
	var rows [][]any
	var failed error
	s.eachTable(func(t *catalog.Table) {
		var count any
		err := s.each("SELECT count(*) FROM main."+sqlite3.QuoteIdentifier(t.Stored), func(row []any) { count = row[0] })
		if err != nil {
			failed = fmt.Errorf("count the rows of %s: %w", t.Name, err)
			return
		}
		for _, i := range indexesOf(t) {
			id := int64(t.ObjectID)<<16 + int64(i.id)
			rows = append(rows, []any{id, int64(t.ObjectID), int64(i.id), int64(1), id, count, int64(0), int64(0), "NONE"})
		}
	})
	return rows, failed
}
