package tsql

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

const informationSchema = "INFORMATION_SCHEMA"

func names(all ...string) []sqltype.Column {
	columns := make([]sqltype.Column, len(all))
	for i, name := range all {
		columns[i] = column(name, sysname)
	}
	return columns
}

// informationViews are the views of the ISO standard.
// Source: https://learn.microsoft.com/sql/relational-databases/system-information-schema-views/system-information-schema-views-transact-sql
func informationViews() []*systemView {
	varchar := value.VarChar
	return []*systemView{
		view(informationSchema, "SCHEMATA", names("CATALOG_NAME", "SCHEMA_NAME", "SCHEMA_OWNER", "DEFAULT_CHARACTER_SET_CATALOG", "DEFAULT_CHARACTER_SET_SCHEMA", "DEFAULT_CHARACTER_SET_NAME"), schemataRows),
		view(informationSchema, "TABLES", append(names("TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME"), column("TABLE_TYPE", varchar(10))), informationTables),
		view(informationSchema, "VIEWS", append(names("TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME"), column("VIEW_DEFINITION", nvarchar(4000)), column("CHECK_OPTION", varchar(7)), column("IS_UPDATABLE", varchar(2))), informationUserViews),
		view(informationSchema, "COLUMNS", informationColumnColumns(), informationColumns),
		view(informationSchema, "ROUTINES", append(names("SPECIFIC_CATALOG", "SPECIFIC_SCHEMA", "SPECIFIC_NAME", "ROUTINE_CATALOG", "ROUTINE_SCHEMA", "ROUTINE_NAME"),
			column("ROUTINE_TYPE", nvarchar(20)), column("ROUTINE_BODY", nvarchar(30)), column("ROUTINE_DEFINITION", nvarchar(4000)), column("CREATED", dateTimeType), column("LAST_ALTERED", dateTimeType)), routineRows),
		view(informationSchema, "TABLE_CONSTRAINTS", append(names("CONSTRAINT_CATALOG", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME"),
			column("CONSTRAINT_TYPE", varchar(11)), column("IS_DEFERRABLE", varchar(2)), column("INITIALLY_DEFERRED", varchar(2))), tableConstraintRows),
		view(informationSchema, "KEY_COLUMN_USAGE", append(names("CONSTRAINT_CATALOG", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"), column("ORDINAL_POSITION", intType)), keyUsageRows),
		view(informationSchema, "REFERENTIAL_CONSTRAINTS", append(names("CONSTRAINT_CATALOG", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "UNIQUE_CONSTRAINT_CATALOG", "UNIQUE_CONSTRAINT_SCHEMA", "UNIQUE_CONSTRAINT_NAME"),
			column("MATCH_OPTION", varchar(7)), column("UPDATE_RULE", varchar(11)), column("DELETE_RULE", varchar(11))), referentialRows),
		view(informationSchema, "CHECK_CONSTRAINTS", append(names("CONSTRAINT_CATALOG", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME"), column("CHECK_CLAUSE", nvarchar(4000))), checkClauseRows),
	}
}

func schemataRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, found := range s.definitions.schemasByID() {
		var owner any
		if p, ok := s.definitions.principals[found.Owner]; ok {
			owner = p.Name
		}
		rows = append(rows, []any{s.options.Database.Name(), found.Name, owner, nil, nil, "iso_1"})
	}
	return rows, nil
}

func informationTables(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		kind := "BASE TABLE"
		if o.View != nil {
			kind = "VIEW"
		}
		if o.Procedure != nil {
			continue
		}
		schema, name := o.qualified()
		rows = append(rows, []any{s.options.Database.Name(), schema, name, kind})
	}
	return rows, nil
}

// definitionFor is an object's text for who may see it, cut as the views of
// the standard cut it.
func (s *Session) definitionFor(o *object) any {
	if !s.mayViewDefinition(o) {
		return nil
	}
	return value.Slice(o.definition(), 0, 4000)
}

func informationUserViews(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.View != nil {
			rows = append(rows, []any{s.options.Database.Name(), o.View.Schema, o.View.Name, s.definitionFor(o), "NONE", "NO"})
		}
	}
	return rows, nil
}

func informationColumnColumns() []sqltype.Column {
	columns := append(names("TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"), column("ORDINAL_POSITION", intType), column("COLUMN_DEFAULT", nvarchar(4000)),
		column("IS_NULLABLE", value.VarChar(3)), column("DATA_TYPE", sysname), column("CHARACTER_MAXIMUM_LENGTH", intType), column("CHARACTER_OCTET_LENGTH", intType),
		column("NUMERIC_PRECISION", tinyType), column("NUMERIC_PRECISION_RADIX", smallType), column("NUMERIC_SCALE", intType), column("DATETIME_PRECISION", smallType))
	return append(columns, names("CHARACTER_SET_CATALOG", "CHARACTER_SET_SCHEMA", "CHARACTER_SET_NAME", "COLLATION_CATALOG", "COLLATION_SCHEMA", "COLLATION_NAME", "DOMAIN_CATALOG", "DOMAIN_SCHEMA", "DOMAIN_NAME")...)
}

func informationColumns(s *Session) ([][]any, error) {
	var rows [][]any
	s.eachColumn(func(o *object, c catalog.Column) {
		schema, name := o.qualified()
		nullable := "NO"
		if c.Nullable {
			nullable = "YES"
		}
		var def any
		if c.Default != "" {
			def = shownDefault(&c)
		}
		row := []any{s.options.Database.Name(), schema, name, c.Name, int64(c.ID), def, nullable, typeRowOf(c.Type).name}
		rows = append(rows, append(row, measuresOf(c.Type)...))
	})
	return rows, nil
}

// measuresOf are a type's lengths and digits, from CHARACTER_MAXIMUM_LENGTH to
// DOMAIN_NAME.
func measuresOf(t sqltype.Type) []any {
	row := make([]any, 15)
	info := typeRowOf(t)
	switch {
	case value.IsString(t) || value.IsBinary(t):
		row[0], row[1] = int64(t.Length), int64(info.length)
		if value.IsString(t) {
			row[8], row[11] = "iso_1", collation
		}
		if value.IsUnicode(t) {
			row[8] = "UNICODE"
		}
	case t.Kind == sqltype.Real || t.Kind == sqltype.Float:
		row[2], row[3] = int64(info.precision), int64(2)
	case value.IsNumber(t) && t.Kind != sqltype.Bit:
		row[2], row[3], row[4] = int64(info.precision), int64(10), int64(info.scale)
	case t.Kind == sqltype.DateTime:
		row[5] = int64(3)
	case value.IsTime(t):
		row[5] = int64(t.Scale)
	}
	return row
}

func routineRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, o := range s.visibleObjects() {
		if o.Procedure != nil {
			d, schema, name := s.options.Database.Name(), o.Procedure.Schema, o.Procedure.Name
			rows = append(rows, []any{d, schema, name, d, schema, name, "PROCEDURE", "SQL", s.definitionFor(o), o.Created, o.Modified})
		}
	}
	return rows, nil
}

func tableConstraintRows(s *Session) ([][]any, error) {
	kinds := map[string]string{"PK": "PRIMARY KEY", "UQ": "UNIQUE", "C ": "CHECK", "F ": "FOREIGN KEY"}
	var rows [][]any
	for _, c := range s.constraints() {
		if kind, ok := kinds[c.kind]; ok {
			d := s.options.Database.Name()
			rows = append(rows, []any{d, c.schema, c.name, d, c.schema, c.table.Table.Name, kind, "NO", "NO"})
		}
	}
	return rows, nil
}

func keyUsageRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		var columns []string
		if c.key != nil {
			for _, k := range c.key.Columns {
				columns = append(columns, k.Name)
			}
		}
		if c.foreign != nil {
			columns = c.foreign.Columns
		}
		for i, name := range columns {
			d := s.options.Database.Name()
			rows = append(rows, []any{d, c.schema, c.name, d, c.schema, c.table.Table.Name, name, int64(i + 1)})
		}
	}
	return rows, nil
}

func referentialRows(s *Session) ([][]any, error) {
	words := map[string]string{"NO_ACTION": "NO ACTION", "CASCADE": "CASCADE", "SET_NULL": "SET NULL", "SET_DEFAULT": "SET DEFAULT"}
	var rows [][]any
	for _, c := range s.constraints() {
		if c.foreign == nil {
			continue
		}
		var refSchema, refName any
		if o, ok := s.referenced(c.foreign); ok {
			if i, ok := referencedIndex(o.Table, c.foreign); ok {
				refSchema, refName = o.Table.Schema, i.name
			}
		}
		_, del := actionCode(c.foreign.OnDelete)
		_, upd := actionCode(c.foreign.OnUpdate)
		d := s.options.Database.Name()
		rows = append(rows, []any{d, c.schema, c.name, d, refSchema, refName, "SIMPLE", words[upd], words[del]})
	}
	return rows, nil
}

func checkClauseRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.check != nil {
			rows = append(rows, []any{s.options.Database.Name(), c.schema, c.name, "(" + c.check.Text + ")"})
		}
	}
	return rows, nil
}
