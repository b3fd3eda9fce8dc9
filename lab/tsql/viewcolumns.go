package tsql

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// columnViews are the views of columns, types and parameters.
func columnViews() []*systemView {
	return []*systemView{
		view("sys", "columns", columnColumns(), columnRows),
		view("sys", "all_columns", columnColumns(), allColumnRows),
		view("sys", "identity_columns", append(columnColumns(), column("seed_value", identityType), column("increment_value", identityType), column("last_value", identityType), column("is_not_for_replication", bitType)), identityRows),
		view("sys", "computed_columns", append(columnColumns(), column("definition", maxTextType), column("uses_database_collation", bitType), column("is_persisted", bitType)), computedRows),
		view("sys", "types", typeColumns(), typeRows),
		view("sys", "systypes", typeColumns(), typeRows),
		view("sys", "parameters", parameterColumns(), parameterRows),
	}
}

func columnColumns() []sqltype.Column {
	columns := []sqltype.Column{
		column("object_id", intType), column("name", sysname), column("column_id", intType), column("system_type_id", tinyType), column("user_type_id", intType),
		column("max_length", smallType), column("precision", tinyType), column("scale", tinyType), column("collation_name", sysname),
	}
	columns = append(columns, flags("is_nullable", "is_ansi_padded", "is_rowguidcol", "is_identity", "is_computed", "is_filestream", "is_replicated", "is_non_sql_subscribed", "is_merge_published", "is_dts_replicated", "is_xml_document")...)
	columns = append(columns, column("xml_collection_id", intType), column("default_object_id", intType), column("rule_object_id", intType))
	columns = append(columns, flags("is_sparse", "is_column_set")...)
	columns = append(columns, column("generated_always_type", tinyType), column("generated_always_type_desc", nvarchar(60)), column("encryption_type", intType),
		column("encryption_type_desc", nvarchar(64)), column("encryption_algorithm_name", sysname), column("column_encryption_key_id", intType), column("column_encryption_key_database_name", sysname))
	columns = append(columns, flags("is_hidden", "is_masked")...)
	return append(columns, column("graph_type", intType), column("graph_type_desc", nvarchar(60)), column("is_data_deletion_filter_column", bitType))
}

func columnRow(object int32, c catalog.Column) []any {
	t := typeRowOf(c.Type)
	ansi := t.collated || t.name == "binary" || t.name == "varbinary"
	def := int64(0)
	if c.Default != "" {
		def = int64(derivedID(object, "default"+c.Name))
	}
	return []any{
		int64(object), c.Name, int64(c.ID), int64(t.system), int64(t.user), int64(t.length), int64(t.precision), int64(t.scale), t.collation(),
		c.Nullable, ansi, false, c.Identity, c.Computed != "", false, false, false, false, false, false, int64(0), def, int64(0),
		false, false, int64(0), "NOT_APPLICABLE", nil, nil, nil, nil, nil, false, false, nil, nil, false,
	}
}

// eachColumn goes over the columns that the session may see.
func (s *Session) eachColumn(f func(o *object, c catalog.Column)) {
	for _, o := range s.visibleObjects() {
		for _, c := range s.columnsOf(o) {
			f(o, c)
		}
	}
}

func columnRows(s *Session) ([][]any, error) {
	var rows [][]any
	s.eachColumn(func(o *object, c catalog.Column) { rows = append(rows, columnRow(o.ID, c)) })
	return rows, nil
}

func allColumnRows(s *Session) ([][]any, error) {
	rows, err := columnRows(s)
	for _, v := range s.views {
		for i, c := range v.System.Columns {
			rows = append(rows, columnRow(v.objectID, catalog.Column{Column: c, ID: int32(i + 1)}))
		}
	}
	return rows, err
}

func identityRows(s *Session) ([][]any, error) {
	var rows [][]any
	var failed error
	s.eachColumn(func(o *object, c catalog.Column) {
		if !c.Identity || o.Table == nil {
			return
		}
		var last any
		counter, err := s.counterOf(o.ID)
		if err != nil {
			failed = err
			return
		}
		if counter.some {
			last = sqltype.Number{Unscaled: bigInt(counter.last)}
		}
		rows = append(rows, append(columnRow(o.ID, c), sqltype.Number{Unscaled: bigInt(c.Seed)}, sqltype.Number{Unscaled: bigInt(c.Increment)}, last, false))
	})
	return rows, failed
}

func computedRows(s *Session) ([][]any, error) {
	var rows [][]any
	s.eachColumn(func(o *object, c catalog.Column) {
		if c.Computed != "" {
			rows = append(rows, append(columnRow(o.ID, c), "("+c.Computed+")", true, false))
		}
	})
	return rows, nil
}

func typeColumns() []sqltype.Column {
	columns := []sqltype.Column{
		column("name", sysname), column("system_type_id", tinyType), column("user_type_id", intType), column("schema_id", intType), column("principal_id", intType),
		column("max_length", smallType), column("precision", tinyType), column("scale", tinyType), column("collation_name", sysname),
	}
	columns = append(columns, flags("is_nullable", "is_user_defined", "is_assembly_type")...)
	return append(columns, column("default_object_id", intType), column("rule_object_id", intType), column("is_table_type", bitType))
}

func typeRows(*Session) ([][]any, error) {
	var rows [][]any
	for _, t := range systemTypes {
		rows = append(rows, []any{
			t.name, int64(t.system), int64(t.user), int64(4), nil, int64(t.length), int64(t.precision), int64(t.scale), t.collation(),
			t.name != "sysname", false, false, int64(0), int64(0), false,
		})
	}
	return rows, nil
}

func parameterColumns() []sqltype.Column {
	columns := []sqltype.Column{
		column("object_id", intType), column("name", sysname), column("parameter_id", intType), column("system_type_id", tinyType), column("user_type_id", intType),
		column("max_length", smallType), column("precision", tinyType), column("scale", tinyType),
	}
	columns = append(columns, flags("is_output", "is_cursor_ref", "has_default_value", "is_xml_document")...)
	return append(columns, column("default_value", textType), column("xml_collection_id", intType), column("is_readonly", bitType), column("is_nullable", bitType))
}

// parametersOf are a procedure's parameters.
func (s *Session) parametersOf(o *object) []ast.Parameter {
	if o.Procedure == nil {
		return nil
	}
	t, err := s.texts.get("procedure", o.Procedure.Definition, o.DoubleQuoted)
	if err != nil || len(t.statements) == 0 {
		return nil
	}
	p, ok := t.statements[0].(*ast.CreateProcedure)
	if !ok {
		return nil
	}
	return p.Parameters
}

func parameterRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		for i, p := range s.parametersOf(o) {
			t := typeRowOf(p.Type.Type)
			// SQL Server keeps no defaults of Transact-SQL procedures here.
			rows = append(rows, []any{int64(o.ID), p.Name, int64(i + 1), int64(t.system), int64(t.user), int64(t.length), int64(t.precision), int64(t.scale),
				p.Output, false, false, false, nil, int64(0), p.ReadOnly, true})
		}
	}
	return rows, nil
}
