package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// target finds the table that a statement changes.
func (c *compiler) target(t ast.TableSource, verb string) (*catalog.Table, error) {
	switch t := t.(type) {
	case *ast.TableVariable:
		tab, ok := c.scope.Catalog.Table("", t.Name)
		if !ok {
			return nil, message(t.Pos, 1087, "Must declare the table variable \"%s\".", t.Name)
		}
		return tab, nil
	case *ast.TableRef:
		if def, _ := c.with.find(t.Name.Object); def != nil && t.Name.Schema == "" {
			return nil, refuse(t.Pos, verb+" of a common table")
		}
		if err := c.qualified(t.Name); err != nil {
			return nil, err
		}
		if tab, ok := c.scope.Catalog.Table(t.Name.Schema, t.Name.Object); ok {
			return tab, nil
		}
		if _, ok := c.scope.Catalog.View(t.Name.Schema, t.Name.Object); ok {
			return nil, refuse(t.Pos, verb+" of a view")
		}
		if _, ok := c.scope.Catalog.System(t.Name.Schema, t.Name.Object); ok {
			return nil, message(t.Pos, 259, "Ad hoc updates to system catalogs are not allowed.")
		}
		return nil, c.unknownObject(t.Name)
	default:
		return nil, refuse(t.Position(), verb)
	}
}

// program is the start of a program that changes a table.
func (c *compiler) changing(t *catalog.Table, action string, command uint16) *Program {
	if !t.Temporary {
		c.use(Use{Schema: t.Schema, Name: t.Name, ObjectID: t.ObjectID, Action: action})
	}
	return &Program{Command: command, Writes: !t.Temporary, Changes: true, Target: t}
}

// fullName is a table's name of three parts.
func (c *compiler) fullName(t *catalog.Table) string {
	if t.Temporary {
		return "tempdb.dbo." + t.Name
	}
	return c.scope.Database + "." + t.Schema + "." + t.Name
}

// columnIndex finds a column of a table; error 207.
func columnIndex(t *catalog.Table, pos ast.Pos, name string) (int, error) {
	for i, col := range t.Columns {
		if sameName(col.Name, name) {
			return i, nil
		}
	}
	return 0, message(pos, 207, "Invalid column name '%s'.", name)
}

// storing is an expression as it is put into a column.
func (c *compiler) storing(pos ast.Pos, t *catalog.Table, col *catalog.Column, e expr, verb string) (expr, error) {
	got, err := assign(pos, e, col.Type)
	if err != nil {
		return expr{}, err
	}
	if !e.null && !holds(col.Type, e.typ) && (value.IsString(col.Type) && value.IsString(e.typ) || value.IsBinary(col.Type) && value.IsBinary(e.typ)) {
		got = call("store", "", col.Type, e, textLiteral(c.fullName(t)), textLiteral(col.Name))
	}
	got.nullable = e.nullable
	if !col.Nullable && e.nullable {
		nul := expr{sql: got.sql, typ: col.Type, nullable: true}
		got = call("notnull", "", col.Type, nul, textLiteral(col.Name), textLiteral(c.fullName(t)), textLiteral(verb)).always()
	}
	got.constant, got.base = nil, false
	return got, nil
}

// defaultOf is a column's default, NULL when it has none.
func (c *compiler) defaultOf(col *catalog.Column) (expr, error) {
	if col.Default == "" {
		return expr{sql: "NULL", typ: value.Int, null: true, nullable: true, single: true}, nil
	}
	return c.tableText(col.Default, nil)
}

// rowSource is a table's row whose columns lie elsewhere: at(i) is where the
// column i is.
func (c *compiler) rowSource(t *catalog.Table, name string, at func(i int) string) (*source, error) {
	s := &source{name: name, use: -1}
	for i, col := range t.Columns {
		e := baseColumn("", col.Column)
		e.sql, e.base = at(i), false
		s.columns = append(s.columns, column{name: col.Name, expr: e, identity: col.Identity, computed: col.Computed != ""})
	}
	for i, col := range t.Columns {
		if col.Computed == "" {
			continue
		}
		e, err := c.tableText(col.Computed, s)
		if err != nil {
			return nil, err
		}
		out := e.to(col.Type)
		out.name = col.Name
		s.columns[i].expr = out
	}
	return s, nil
}

// physical are the indexes of a table's columns that SQLite has.
func physical(t *catalog.Table) []int {
	var out []int
	for i, col := range t.Columns {
		if col.Computed == "" {
			out = append(out, i)
		}
	}
	return out
}

// integerKey is the column that is SQLite's own row number: a primary key of
// one whole number; -1 for none.
func integerKey(t *catalog.Table) int {
	for _, k := range t.Keys {
		if !k.Primary || len(k.Columns) != 1 || k.Columns[0].Descending {
			continue
		}
		for i, col := range t.Columns {
			if sameName(col.Name, k.Columns[0].Name) && value.IsInteger(col.Type) && col.Type.Kind != sqltype.Bit && col.Computed == "" {
				return i
			}
		}
	}
	return -1
}

// columnNames writes columns as a list.
func columnNames(t *catalog.Table, list []int) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = quote(t.Columns[n].Name)
	}
	return strings.Join(parts, ", ")
}

// conflict is the text of error 547.
func (c *compiler) conflict(verb, kind, name string, t *catalog.Table, columns []string) string {
	word := kind
	s := fmt.Sprintf("The %s statement conflicted with the %s constraint \"%s\". The conflict occurred in database \"%s\", table \"%s\"", verb, word, name, c.scope.Database, objectName(t))
	if len(columns) == 1 {
		s += ", column '" + columns[0] + "'"
	}
	return s + "."
}

// checkColumns are the columns that a check constraint names.
func checkColumns(t *catalog.Table, check catalog.Check) []string {
	p, err := parsePredicate(check.Text)
	if err != nil {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	walk(p, func(n ast.Node) bool {
		if ref, ok := n.(*ast.ColumnRef); ok && !seen[strings.ToLower(ref.Column)] {
			seen[strings.ToLower(ref.Column)] = true
			out = append(out, ref.Column)
		}
		return true
	})
	for i, name := range out {
		for _, col := range t.Columns {
			if sameName(col.Name, name) {
				out[i] = col.Name
			}
		}
	}
	return out
}

// guard is a condition that fails with error 547 when another is false.
func guard(cond, words string) string {
	return call("guard", "", value.Int, expr{sql: cond, typ: value.Int, nullable: true}, textLiteral(words)).sql
}

// guards are the check constraints and foreign keys to other tables, as
// conditions on a new row. touched are the columns that an update changes; nil
// when the whole row is new.
func (c *compiler) guards(t *catalog.Table, row *source, verb string, touched map[int]bool) ([]string, error) {
	var out []string
	for _, check := range t.Checks {
		if !concerns(t, checkColumns(t, check), touched) {
			continue
		}
		cond, err := c.tableCheck(check.Text, row)
		if err != nil {
			return nil, err
		}
		out = append(out, guard(cond, c.conflict(verb, "CHECK", check.Name, t, checkColumns(t, check))))
	}
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		if selfReference(t, fk) || !concerns(t, fk.Columns, touched) {
			continue
		}
		parent, ok := c.scope.Catalog.Table(fk.RefSchema, fk.RefTable)
		if !ok {
			return nil, message(ast.Pos{}, 208, "Invalid object name '%s.%s'.", fk.RefSchema, fk.RefTable)
		}
		cond, err := c.references(t, fk, parent, row)
		if err != nil {
			return nil, err
		}
		out = append(out, guard(cond, c.conflict(verb, "FOREIGN KEY", fk.Name, parent, fk.RefCols)))
	}
	return out, nil
}

// concerns says whether a constraint on some columns may be broken by an
// update. One that names no column, or a computed one, always may.
func concerns(t *catalog.Table, columns []string, touched map[int]bool) bool {
	if touched == nil || len(columns) == 0 {
		return true
	}
	for _, name := range columns {
		i, err := columnIndex(t, ast.Pos{}, name)
		if err != nil || touched[i] || t.Columns[i].Computed != "" {
			return true
		}
	}
	return false
}

func selfReference(t *catalog.Table, fk *catalog.ForeignKey) bool {
	return sameName(fk.RefSchema, t.Schema) && sameName(fk.RefTable, t.Name)
}

// references is the condition that a row's foreign key is NULL or has its
// row in the other table.
func (c *compiler) references(t *catalog.Table, fk *catalog.ForeignKey, parent *catalog.Table, row *source) (string, error) {
	a := c.alias()
	var nulls, equals []string
	for i, name := range fk.Columns {
		n, err := columnIndex(t, ast.Pos{}, name)
		if err != nil {
			return "", err
		}
		p, err := columnIndex(parent, ast.Pos{}, fk.RefCols[i])
		if err != nil {
			return "", err
		}
		child := row.columns[n].expr
		equal, err := compare(ast.Pos{}, "=", baseColumn(a+".", parent.Columns[p].Column), child)
		if err != nil {
			return "", err
		}
		nulls = append(nulls, child.sql+" IS NULL")
		equals = append(equals, equal)
	}
	return fmt.Sprintf("(%s OR EXISTS (SELECT 1 FROM %s AS %s WHERE %s))", strings.Join(nulls, " OR "), stored(parent), a, strings.Join(equals, " AND ")), nil
}

// keyed is a unique constraint or index.
type keyed struct {
	name    string
	kind    string // PRIMARY KEY or UNIQUE KEY; empty for an index
	columns []int
	where   string
}

// uniques are a table's unique constraints and indexes.
func uniques(t *catalog.Table) ([]keyed, error) {
	var out []keyed
	add := func(name, kind, where string, columns []catalog.KeyColumn) error {
		k := keyed{name: name, kind: kind, where: where}
		for _, col := range columns {
			i, err := columnIndex(t, ast.Pos{}, col.Name)
			if err != nil {
				return err
			}
			k.columns = append(k.columns, i)
		}
		out = append(out, k)
		return nil
	}
	for _, k := range t.Keys {
		kind := "UNIQUE KEY"
		if k.Primary {
			kind = "PRIMARY KEY"
		}
		if err := add(k.Name, kind, "", k.Columns); err != nil {
			return nil, err
		}
	}
	for _, ix := range t.Indexes {
		if !ix.Unique {
			continue
		}
		if err := add(ix.Name, "", ix.Where, ix.Columns); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// duplicate is error 2627 or 2601 of a key.
func (c *compiler) duplicate(t *catalog.Table, k keyed) func(row []any) sqltype.Message {
	types := make([]sqltype.Type, len(k.columns))
	for i, n := range k.columns {
		types[i] = t.Columns[n].Type
	}
	object := objectName(t)
	return func(row []any) sqltype.Message {
		parts := make([]string, len(row))
		for i, v := range row {
			parts[i] = value.Print(v, types[i])
		}
		shown := strings.Join(parts, ", ")
		m := sqltype.Message{Number: 2627, State: 1, Class: 14}
		if k.kind == "" {
			m.Number = 2601
			m.Text = fmt.Sprintf("Cannot insert duplicate key row in object '%s' with unique index '%s'. The duplicate key value is (%s).", object, k.name, shown)
			return m
		}
		m.Text = fmt.Sprintf("Violation of %s constraint '%s'. Cannot insert duplicate key in object '%s'. The duplicate key value is (%s).", k.kind, k.name, object, shown)
		return m
	}
}

// diagnose are the steps that find which key a new row repeats. rows is the
// name of a table expression whose columns n1, n2 … are the new rows'.
func (c *compiler) diagnose(t *catalog.Table, with, rows, where string) ([]Step, error) {
	list, err := uniques(t)
	if err != nil {
		return nil, err
	}
	var out []Step
	for _, k := range list {
		r, err := c.rowSource(t, "", func(i int) string { return fmt.Sprintf("r.n%d", i+1) })
		if err != nil {
			return nil, err
		}
		other, err := c.rowSource(t, "", func(i int) string { return fmt.Sprintf("o.n%d", i+1) })
		if err != nil {
			return nil, err
		}
		a := c.alias()
		there, err := c.tableSource(t, "", a+".")
		if err != nil {
			return nil, err
		}
		var shown, old, twin []string
		types := make([]sqltype.Type, len(k.columns))
		for i, n := range k.columns {
			e := r.columns[n].expr
			types[i] = e.typ
			shown = append(shown, e.sql)
			old = append(old, compared("IS", there.columns[n].expr, e))
			twin = append(twin, compared("IS", other.columns[n].expr, e))
		}
		only, oldOnly, twinOnly, err := c.filters(k, r, there, other)
		if err != nil {
			return nil, err
		}
		sql := fmt.Sprintf("%sSELECT %s FROM %s AS r WHERE %s%s AND (EXISTS (SELECT 1 FROM %s AS %s WHERE %s%s) OR (SELECT count(*) FROM %s AS o WHERE %s AND %s%s) > 1) LIMIT 1",
			with, strings.Join(shown, ", "), rows, strings.ReplaceAll(where, "$", "r"), only,
			stored(t), a, strings.Join(old, " AND "), oldOnly, rows, strings.ReplaceAll(where, "$", "o"), strings.Join(twin, " AND "), twinOnly)
		out = append(out, Step{SQL: sql, Binds: c.binds, Types: types, Rows: FailOnRow, Fail: c.duplicate(t, k)})
	}
	return out, nil
}

// filters are a filtered index's condition on each of three rows.
func (c *compiler) filters(k keyed, rows ...*source) (a, b, d string, err error) {
	if k.where == "" {
		return "", "", "", nil
	}
	var out [3]string
	for i, r := range rows {
		cond, err := c.tableCheck(k.where, r)
		if err != nil {
			return "", "", "", err
		}
		out[i] = " AND " + cond
	}
	return out[0], out[1], out[2], nil
}
