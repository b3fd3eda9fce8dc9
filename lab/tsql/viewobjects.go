package tsql

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// view makes a system view of the interpreter's own.
func view(schema, name string, columns []sqltype.Column, rows func(s *Session) ([][]any, error)) *systemView {
	return &systemView{View: View{System: catalog.System{Schema: schema, Name: name, Columns: columns}}, own: rows}
}

// ownViews are the catalog views, which tell of the session's database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/catalog-views-transact-sql
func ownViews() []*systemView {
	all := []*systemView{
		view("sys", "schemas", []sqltype.Column{column("name", sysname), column("schema_id", intType), column("principal_id", intType)}, schemaRows),
		view("sys", "objects", objectColumns(), objectRows),
		view("sys", "all_objects", objectColumns(), allObjectRows),
		view("sys", "system_objects", objectColumns(), systemObjectRows),
		view("sys", "tables", tableColumns(), tableRows),
		view("sys", "views", append(objectColumns(), viewFlags()...), userViewRows),
		view("sys", "all_views", append(objectColumns(), viewFlags()...), allViewRows),
		view("sys", "procedures", append(objectColumns(), procedureFlags()...), procedureRows),
		view("sys", "sql_modules", moduleColumns(), moduleRows),
		view("sys", "all_sql_modules", moduleColumns(), moduleRows),
		view("sys", "dm_os_host_info", []sqltype.Column{
			column("host_platform", nvarchar(256)), column("host_distribution", nvarchar(256)), column("host_release", nvarchar(256)),
			column("host_service_pack_level", nvarchar(256)), column("host_sku", intType), column("os_language_version", intType), column("host_architecture", nvarchar(256)),
		}, func(*Session) ([][]any, error) {
			return [][]any{{"Windows", "Windows Server 2022 Datacenter", "6.3", "", int64(8), int64(0), "X64"}}, nil
		}),
	}
	all = append(all, columnViews()...)
	all = append(all, indexViews()...)
	all = append(all, constraintViews()...)
	all = append(all, securityViews()...)
	return append(all, informationViews()...)
}

func schemaRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, found := range s.definitions.schemasByID() {
		rows = append(rows, []any{found.Name, int64(found.ID), int64(found.Owner)})
	}
	return rows, nil
}

func objectColumns() []sqltype.Column {
	return []sqltype.Column{
		column("name", sysname), column("object_id", intType), column("principal_id", intType), column("schema_id", intType),
		column("parent_object_id", intType), column("type", char(2)), column("type_desc", nvarchar(60)), column("create_date", dateTimeType),
		column("modify_date", dateTimeType), column("is_ms_shipped", bitType), column("is_published", bitType), column("is_schema_published", bitType),
	}
}

// visibleObjects are the user objects that the session may know of.
func (s *Session) visibleObjects() []*object {
	var all []*object
	for _, o := range s.definitions.sorted() {
		if s.visible(o) {
			all = append(all, o)
		}
	}
	return all
}

// schemaIDOf is the ID of a schema by name, 0 if it is gone.
func (s *Session) schemaIDOf(name string) int64 {
	if found, ok := s.definitions.schemaNamed(name); ok {
		return int64(found.ID)
	}
	return 0
}

func (s *Session) objectRow(o *object) []any {
	schema, name := o.qualified()
	letters, description := o.kind()
	return []any{name, int64(o.ID), nil, s.schemaIDOf(schema), int64(0), letters, description, o.Created, o.Modified, false, false, false}
}

func objectRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		rows = append(rows, s.objectRow(o))
	}
	for _, c := range s.constraints() {
		rows = append(rows, s.constraintRow(c))
	}
	return rows, nil
}

func allObjectRows(s *Session) ([][]any, error) {
	rows, err := objectRows(s)
	if err != nil {
		return nil, err
	}
	system, err := systemObjectRows(s)
	return append(rows, system...), err
}

// shipped is when the system objects were made.
var shipped = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *Session) systemRow(v *systemView) []any {
	letters, description := "V ", "VIEW"
	if len(v.System.Args) > 0 {
		letters, description = "IF", "SQL_INLINE_TABLE_VALUED_FUNCTION"
	}
	return []any{v.System.Name, int64(v.objectID), nil, s.schemaIDOf(v.System.Schema), int64(0), letters, description, shipped, shipped, true, false, false}
}

func systemObjectRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, v := range s.views {
		rows = append(rows, s.systemRow(v))
	}
	return rows, nil
}

func flags(names ...string) []sqltype.Column {
	columns := make([]sqltype.Column, len(names))
	for i, name := range names {
		columns[i] = column(name, bitType)
	}
	return columns
}

func no(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = false
	}
	return all
}

func tableColumns() []sqltype.Column {
	columns := append(objectColumns(), column("lob_data_space_id", intType), column("filestream_data_space_id", intType), column("max_column_id_used", intType))
	columns = append(columns, flags("lock_on_bulk_load", "uses_ansi_nulls", "is_replicated", "has_replication_filter", "is_merge_published", "is_sync_tran_subscribed", "has_unchecked_assembly_data")...)
	columns = append(columns, column("text_in_row_limit", intType))
	columns = append(columns, flags("large_value_types_out_of_row", "is_tracked_by_cdc")...)
	columns = append(columns, column("lock_escalation", tinyType), column("lock_escalation_desc", nvarchar(60)))
	columns = append(columns, flags("is_filetable", "is_memory_optimized")...)
	columns = append(columns, column("durability", tinyType), column("durability_desc", nvarchar(60)), column("temporal_type", tinyType), column("temporal_type_desc", nvarchar(60)), column("history_table_id", intType))
	columns = append(columns, flags("is_remote_data_archive_enabled", "is_external")...)
	columns = append(columns, column("history_retention_period", intType), column("history_retention_period_unit", intType), column("history_retention_period_unit_desc", nvarchar(10)))
	return append(columns, flags("is_node", "is_edge")...)
}

func tableRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.Table == nil {
			continue
		}
		last := int64(0)
		for _, c := range o.Table.Columns {
			last = max(last, int64(c.ID))
		}
		row := append(s.objectRow(o), int64(0), nil, last, false, true, false, false, false, false, false, int64(0), false, false, int64(0), "TABLE", false, false,
			int64(0), "SCHEMA_AND_DATA", int64(0), "NON_TEMPORAL_TABLE", nil, false, false, nil, nil, nil, false, false)
		rows = append(rows, row)
	}
	return rows, nil
}

func viewFlags() []sqltype.Column {
	return flags("is_replicated", "has_replication_filter", "has_opaque_metadata", "has_unchecked_assembly_data", "with_check_option", "is_date_correlation_view", "is_tracked_by_cdc")
}

func userViewRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.View != nil {
			rows = append(rows, append(s.objectRow(o), no(7)...))
		}
	}
	return rows, nil
}

func allViewRows(s *Session) ([][]any, error) {
	rows, err := userViewRows(s)
	for _, v := range s.views {
		if len(v.System.Args) == 0 {
			rows = append(rows, append(s.systemRow(v), no(7)...))
		}
	}
	return rows, err
}

func procedureFlags() []sqltype.Column {
	return flags("is_auto_executed", "is_execution_replicated", "is_repl_serializable_only", "skips_repl_constraints")
}

func procedureRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.Procedure != nil {
			rows = append(rows, append(s.objectRow(o), no(4)...))
		}
	}
	return rows, nil
}

func moduleColumns() []sqltype.Column {
	columns := []sqltype.Column{column("object_id", intType), column("definition", maxTextType)}
	columns = append(columns, flags("uses_ansi_nulls", "uses_quoted_identifier", "is_schema_bound", "uses_database_collation", "is_recompiled", "null_on_null_input")...)
	return append(columns, column("execute_as_principal_id", intType), column("uses_native_compilation", bitType))
}

func moduleRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.definition() == "" {
			continue
		}
		var definition any
		if s.mayViewDefinition(o) {
			definition = o.definition()
		}
		rows = append(rows, []any{int64(o.ID), definition, true, true, false, false, false, false, nil, false})
	}
	return rows, nil
}

// columnsOf are an object's columns: a view's are those of its query.
func (s *Session) columnsOf(o *object) []catalog.Column {
	switch {
	case o.Table != nil:
		return o.Table.Columns
	case o.View != nil:
		return s.viewColumns(o)
	default:
		return nil
	}
}

// viewColumns compiles a view to find its columns; a view that does not compile any
// more has none.
func (s *Session) viewColumns(o *object) []catalog.Column {
	if s.columnsFor != s.definitions {
		s.columnsFor, s.columnsByID = s.definitions, map[int32][]catalog.Column{}
	}
	if known, ok := s.columnsByID[o.ID]; ok {
		return known
	}
	columns, err := compile.ViewColumns(o.View, s.scope())
	if err != nil {
		columns = nil
	}
	s.columnsByID[o.ID] = columns
	return columns
}

// derivedID is the ID of a part of an object that has none of its own in the
// catalog.
func derivedID(object int32, part string) int32 {
	h := fnv.New32a()
	h.Write([]byte(strconv.Itoa(int(object)) + part))
	return 1_500_000_000 + int32(h.Sum32()%600_000_000)
}
