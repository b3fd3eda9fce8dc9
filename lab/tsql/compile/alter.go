package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// AlterTable compiles ALTER TABLE. A change that touches rows or keys makes
// the table anew and copies its rows.
func AlterTable(stmt *ast.AlterTable, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	old, err := c.target(&ast.TableRef{Pos: stmt.Name.Pos, Name: stmt.Name}, "ALTER TABLE")
	if err != nil {
		return nil, message(stmt.Pos, 4902, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.", multi(ast.Name{Schema: stmt.Name.Schema}, stmt.Name.Object))
	}
	def, err := c.alter(old, stmt.Action)
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	return def, nil
}

func (c *compiler) alter(old *catalog.Table, action ast.TableAction) (*Definition, error) {
	switch a := action.(type) {
	case *ast.AddElements:
		return c.alterAdd(old, a)
	case *ast.DropElements:
		return c.alterDrop(old, a)
	case *ast.AlterColumn:
		return c.alterColumn(old, a)
	case *ast.EnableConstraints:
		return enable(old, a)
	default:
		return nil, refuse(action.Position(), "ALTER TABLE")
	}
}

// enable is CHECK CONSTRAINT, which finds all constraints enabled and trusted
// already, since NOCHECK is refused.
func enable(t *catalog.Table, a *ast.EnableConstraints) (*Definition, error) {
	if !a.Enable {
		return nil, refuse(a.Pos, "NOCHECK CONSTRAINT")
	}
	for _, id := range a.Names {
		found := false
		for _, check := range t.Checks {
			found = found || sameName(check.Name, id.Name)
		}
		for _, fk := range t.ForeignKeys {
			found = found || sameName(fk.Name, id.Name)
		}
		if !found {
			return nil, message(id.Pos, 4917, "Constraint '%s' does not exist.", id.Name)
		}
	}
	return &Definition{Table: copyTable(t)}, nil
}

// rebuild makes a table anew: fill is the value of each of its columns that
// SQLite has, over the old row.
func (c *compiler) rebuild(def *Definition, old *catalog.Table, fill func(i int, row *source) (expr, error)) error {
	t := def.Table
	made := *t
	made.Stored = t.Stored + "~"
	columns := physical(t)
	row, err := c.tableSource(old, old.Name, "s0.")
	if err != nil {
		return err
	}
	parts := make([]string, len(columns))
	for k, i := range columns {
		e, err := fill(i, row)
		if err != nil {
			return err
		}
		parts[k] = e.sql
	}
	names := columnNames(t, columns)
	all := strings.Join(parts, ", ")
	if integerKey(t) < 0 && integerKey(old) < 0 {
		// Rows keep their order.
		names, all = rowID(t)+", "+names, "s0."+rowID(old)+", "+all
	}
	ddl, err := c.tableDDL(t, stored(&made))
	if err != nil {
		return err
	}
	// A program, for a default may need the time.
	def.Before = append(def.Before, &Program{Writes: !t.Temporary, Changes: true, Steps: []Step{
		{SQL: ddl[0]},
		{SQL: fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s AS s0", stored(&made), names, all, stored(old)), Binds: c.binds},
	}})
	def.DDL = append(def.DDL, "DROP TABLE "+stored(old), fmt.Sprintf("ALTER TABLE %s RENAME TO %s", stored(&made), quote(t.Stored)))
	def.DDL = append(def.DDL, ddl[1:]...)
	return nil
}

// same fills a column with what the old row has under its name.
func same(t *catalog.Table, i int, row *source) (expr, bool) {
	for _, col := range row.columns {
		if sameName(col.name, t.Columns[i].Name) {
			return col.expr, true
		}
	}
	return expr{}, false
}

func (c *compiler) alterAdd(old *catalog.Table, a *ast.AddElements) (*Definition, error) {
	if a.NoCheck {
		return nil, refuse(a.Pos, "WITH NOCHECK")
	}
	t := copyTable(old)
	if err := c.addElements(t, &a.TableElements); err != nil {
		return nil, err
	}
	def := &Definition{Table: t}
	if err := c.addedChecks(def, old, a); err != nil {
		return nil, err
	}
	if len(t.Columns) == len(old.Columns) && len(t.Keys) == len(old.Keys) && len(t.Indexes) == len(old.Indexes) {
		return def, nil
	}
	return def, c.rebuild(def, old, func(i int, row *source) (expr, error) {
		if e, ok := same(t, i, row); ok {
			return e, nil
		}
		return c.fillAdded(def, t, &t.Columns[i], a)
	})
}

// fillAdded is what a new column has in the rows that are there.
func (c *compiler) fillAdded(def *Definition, t *catalog.Table, col *catalog.Column, a *ast.AddElements) (expr, error) {
	if col.Identity {
		return expr{}, refuse(a.Pos, "ALTER TABLE ADD … IDENTITY")
	}
	with := !col.Nullable
	for _, d := range a.Columns {
		with = with || sameName(d.Name, col.Name) && (d.WithValues || d.Default != nil && d.Default.WithValues)
	}
	if col.Default != "" && with {
		e, err := c.defaultOf(col)
		if err != nil {
			return expr{}, err
		}
		return c.storing(a.Pos, t, col, e, "ALTER TABLE")
	}
	if !col.Nullable {
		name := col.Name
		def.Before = append(def.Before, failingProgram(fmt.Sprintf("SELECT 1 FROM %s LIMIT 1", stored(t)), nil, func([]any) sqltype.Message {
			return message(a.Pos, 4901, "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column '%s' cannot be added to non-empty table '%s' because it does not satisfy these conditions.", name, t.Name)
		}))
	}
	return expr{sql: "NULL"}, nil
}

func failingProgram(sql string, types []sqltype.Type, fail func([]any) sqltype.Message) *Program {
	return &Program{Steps: []Step{{SQL: sql, Types: types, Rows: FailOnRow, Fail: fail}}}
}

// addedChecks are the programs that check the rows against new constraints.
func (c *compiler) addedChecks(def *Definition, old *catalog.Table, a *ast.AddElements) error {
	t := def.Table
	row, err := c.tableSource(t, t.Name, "s0.")
	if err != nil {
		return err
	}
	after := func(cond, words string) {
		sql := fmt.Sprintf("SELECT 1 FROM %s AS s0 WHERE NOT %s LIMIT 1", stored(t), cond)
		step := failing(sql, c.binds, words)
		def.After = append(def.After, &Program{Steps: []Step{step}})
	}
	for _, check := range t.Checks[len(old.Checks):] {
		cond, err := c.tableCheck(check.Text, row)
		if err != nil {
			return err
		}
		after(cond, c.conflict("ALTER TABLE", "CHECK", check.Name, t, checkColumns(t, check)))
	}
	for i := len(old.ForeignKeys); i < len(t.ForeignKeys); i++ {
		fk := &t.ForeignKeys[i]
		parent := t
		if !selfReference(t, fk) {
			got, ok := c.scope.Catalog.Table(fk.RefSchema, fk.RefTable)
			if !ok {
				return message(a.Pos, 1767, "Foreign key '%s' references invalid table '%s'.", fk.Name, fk.RefTable)
			}
			parent = got
		}
		cond, err := c.references(t, fk, parent, row)
		if err != nil {
			return err
		}
		after(cond, c.conflict("ALTER TABLE", "FOREIGN KEY", fk.Name, parent, fk.RefCols))
	}
	for _, k := range t.Keys[len(old.Keys):] {
		if len(t.Columns) > len(old.Columns) {
			continue
		}
		p, err := c.uniqueCheck(old, k.Name, k.Columns, "")
		if err != nil {
			return err
		}
		def.Before = append(def.Before, p)
	}
	return nil
}

// uniqueCheck is a program that fails with error 1505 when a key would not be
// unique.
func (c *compiler) uniqueCheck(t *catalog.Table, name string, columns []catalog.KeyColumn, where string) (*Program, error) {
	row, err := c.tableSource(t, t.Name, "s0.")
	if err != nil {
		return nil, err
	}
	var shown, groups []string
	var types []sqltype.Type
	for _, k := range columns {
		i, err := columnIndex(t, ast.Pos{}, k.Name)
		if err != nil {
			return nil, err
		}
		e := row.columns[i].expr
		shown, groups, types = append(shown, e.sql), append(groups, e.keyed()), append(types, e.typ)
	}
	filter := ""
	if where != "" {
		cond, err := c.tableCheck(where, row)
		if err != nil {
			return nil, err
		}
		filter = " WHERE " + cond
	}
	sql := fmt.Sprintf("SELECT %s FROM %s AS s0%s GROUP BY %s HAVING count(*) > 1 LIMIT 1", strings.Join(shown, ", "), stored(t), filter, strings.Join(groups, ", "))
	return failingProgram(sql, types, func(v []any) sqltype.Message {
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = value.Print(v[i], types[i])
		}
		return value.Errorf(1505, "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name '%s' and the index name '%s'. The duplicate key value is (%s).", objectName(t), name, strings.Join(parts, ", "))
	}), nil
}

func (c *compiler) alterDrop(old *catalog.Table, a *ast.DropElements) (*Definition, error) {
	t := copyTable(old)
	touched := false
	for _, item := range a.Items {
		var err error
		found := false
		if item.Column {
			found, err = c.dropColumn(t, item)
			touched = touched || found
		} else {
			var key bool
			found, key, err = c.dropConstraint(t, item)
			touched = touched || key
		}
		switch {
		case err != nil:
			return nil, err
		case !found && item.Column && !item.IfExists:
			return nil, message(item.Pos, 4924, "ALTER TABLE DROP COLUMN failed because column '%s' does not exist in table '%s'.", item.Name, t.Name)
		case !found && !item.IfExists:
			return nil, message(item.Pos, 3728, "'%s' is not a constraint.", item.Name)
		}
	}
	def := &Definition{Table: t}
	if len(t.Columns) == 0 {
		return nil, message(a.Pos, 4923, "ALTER TABLE DROP COLUMN failed because '%s' is the only data column in table '%s'. A table must have at least one data column.", old.Columns[0].Name, t.Name)
	}
	if !touched {
		return def, nil
	}
	return def, c.rebuild(def, old, func(i int, row *source) (expr, error) {
		e, _ := same(t, i, row)
		return e, nil
	})
}

func (c *compiler) dropColumn(t *catalog.Table, item ast.DropElement) (bool, error) {
	i, err := columnIndex(t, item.Pos, item.Name)
	if err != nil {
		return false, nil //nolint:nilerr // that there is none is the answer
	}
	name := t.Columns[i].Name
	if c.dependsOn(t, name) {
		return false, message(item.Pos, 4922, "ALTER TABLE DROP COLUMN %s failed because one or more objects access this column.", name)
	}
	t.Columns = append(t.Columns[:i:i], t.Columns[i+1:]...)
	return true, nil
}

// dependsOn says whether a key, an index, a constraint, a default or a computed
// column uses a column.
func (c *compiler) dependsOn(t *catalog.Table, name string) bool {
	used := false
	see := func(list []catalog.KeyColumn) {
		for _, k := range list {
			used = used || sameName(k.Name, name)
		}
	}
	for _, k := range t.Keys {
		see(k.Columns)
	}
	for _, ix := range t.Indexes {
		see(ix.Columns)
		used = used || contains(ix.Included, name) || ix.Where != "" && contains(checkColumns(t, catalog.Check{Text: ix.Where}), name)
	}
	for _, check := range t.Checks {
		used = used || contains(checkColumns(t, check), name)
	}
	for _, fk := range t.ForeignKeys {
		used = used || contains(fk.Columns, name)
	}
	for _, col := range t.Columns {
		used = used || sameName(col.Name, name) && col.Default != ""
		if col.Computed == "" {
			continue
		}
		e, err := parseExpression(col.Computed)
		if err != nil {
			return true
		}
		walk(e, func(n ast.Node) bool {
			if ref, ok := n.(*ast.ColumnRef); ok {
				used = used || sameName(ref.Column, name)
			}
			return true
		})
	}
	for _, other := range c.referencing(t) {
		for _, fk := range other.ForeignKeys {
			used = used || sameName(fk.RefTable, t.Name) && sameName(fk.RefSchema, t.Schema) && contains(fk.RefCols, name)
		}
	}
	return used
}

func contains(list []string, name string) bool {
	for _, s := range list {
		if sameName(s, name) {
			return true
		}
	}
	return false
}

// dropConstraint takes a constraint away; key says that it was a key.
func (c *compiler) dropConstraint(t *catalog.Table, item ast.DropElement) (found, key bool, err error) {
	for i, k := range t.Keys {
		if !sameName(k.Name, item.Name) {
			continue
		}
		for _, other := range c.referencing(t) {
			for _, fk := range other.ForeignKeys {
				if sameName(fk.RefTable, t.Name) && len(fk.RefCols) == len(k.Columns) && sameName(fk.RefCols[0], k.Columns[0].Name) {
					return false, false, message(item.Pos, 3725, "The constraint '%s' is being referenced by table '%s', foreign key constraint '%s'.", k.Name, other.Name, fk.Name)
				}
			}
		}
		t.Keys = append(t.Keys[:i:i], t.Keys[i+1:]...)
		return true, true, nil
	}
	for i, k := range t.Checks {
		if sameName(k.Name, item.Name) {
			t.Checks = append(t.Checks[:i:i], t.Checks[i+1:]...)
			return true, false, nil
		}
	}
	for i, k := range t.ForeignKeys {
		if sameName(k.Name, item.Name) {
			t.ForeignKeys = append(t.ForeignKeys[:i:i], t.ForeignKeys[i+1:]...)
			return true, false, nil
		}
	}
	for i := range t.Columns {
		if t.Columns[i].DefaultAs != "" && sameName(t.Columns[i].DefaultAs, item.Name) {
			t.Columns[i].Default, t.Columns[i].DefaultAs = "", ""
			return true, false, nil
		}
	}
	return false, false, nil
}

func (c *compiler) alterColumn(old *catalog.Table, a *ast.AlterColumn) (*Definition, error) {
	t := copyTable(old)
	i, err := columnIndex(t, a.Pos, a.Name)
	if err != nil {
		return nil, message(a.Pos, 4924, "ALTER TABLE ALTER COLUMN failed because column '%s' does not exist in table '%s'.", a.Name, t.Name)
	}
	typ, err := dataType(a.Type)
	if err != nil {
		return nil, err
	}
	col := &t.Columns[i]
	if col.Computed != "" || col.Identity && !value.IsInteger(typ) || a.Type.RowVersion {
		return nil, message(a.Pos, 4928, "Cannot alter column '%s' because it is '%s'.", col.Name, "COMPUTED")
	}
	col.Type, col.Nullable = typ, a.Null != ast.NotNull
	for _, k := range t.Keys {
		for _, kc := range k.Columns {
			if sameName(kc.Name, col.Name) && (k.Primary && col.Nullable || typ.Kind != old.Columns[i].Type.Kind) {
				return nil, message(a.Pos, 4922, "ALTER TABLE ALTER COLUMN %s failed because one or more objects access this column.", col.Name)
			}
		}
	}
	def := &Definition{Table: t}
	return def, c.rebuild(def, old, func(n int, row *source) (expr, error) {
		e, _ := same(t, n, row)
		if n != i {
			return e, nil
		}
		return c.storing(a.Pos, t, col, e, "UPDATE")
	})
}
