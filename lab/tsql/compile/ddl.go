package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// Definition is the outcome of a statement that defines or changes an object.
type Definition struct {
	// Table is the table as it will be; nil when a view is defined.
	Table *catalog.Table
	// View is the view as it will be.
	View *catalog.View
	// Before are programs that check the rows that are there, and copy them
	// when the table is made anew: an error means that the definition is
	// refused.
	Before []*Program
	// DDL are SQLite statements, to be run in order.
	DDL []string
	// After are programs that check the rows of the new table.
	After []*Program
}

// CreateTable compiles CREATE TABLE.
func CreateTable(stmt *ast.CreateTable, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	t, err := c.newTable(stmt.Name)
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	return c.define(stmt.Pos, t, &stmt.TableElements)
}

// TableVariable compiles DECLARE @t TABLE; name has its @.
func TableVariable(name string, elements *ast.TableElements, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	t, err := c.newTable(ast.Name{Object: name})
	if err != nil {
		return nil, err
	}
	return c.define(ast.Pos{}, t, elements)
}

func (c *compiler) define(pos ast.Pos, t *catalog.Table, elements *ast.TableElements) (*Definition, error) {
	if err := c.addElements(t, elements); err != nil {
		return nil, located(err, pos)
	}
	if len(t.Columns) == 0 {
		return nil, message(pos, 1701, "Creating or altering table '%s' failed because it has no columns.", t.Name)
	}
	ddl, err := c.tableDDL(t, stored(t))
	if err != nil {
		return nil, located(err, pos)
	}
	return &Definition{Table: t, DDL: ddl}, nil
}

// tableDDL are the SQLite statements that make a table and its indexes.
func (c *compiler) tableDDL(t *catalog.Table, name string) ([]string, error) {
	key := integerKey(t)
	var cols []string
	for _, i := range physical(t) {
		col := quote(t.Columns[i].Name)
		if i == key {
			col += " INTEGER PRIMARY KEY"
		} else if coll := collationOf(t.Columns[i].Type); coll != "" {
			col += " COLLATE " + coll
		}
		cols = append(cols, col)
	}
	if len(cols) == 0 {
		return nil, refuse(ast.Pos{}, "table of computed columns alone")
	}
	ddl := []string{"CREATE TABLE " + name + " (" + strings.Join(cols, ", ") + ")"}
	for _, k := range t.Keys {
		if k.Primary && key >= 0 {
			continue
		}
		more, err := c.indexDDL(t, fmt.Sprintf("x%d", k.ObjectID), k.Columns, true, "")
		if err != nil {
			return nil, err
		}
		ddl = append(ddl, more...)
	}
	for _, ix := range t.Indexes {
		more, err := c.indexDDL(t, indexStored(t, ix.ID), ix.Columns, ix.Unique, ix.Where)
		if err != nil {
			return nil, err
		}
		ddl = append(ddl, more...)
	}
	return ddl, nil
}

// indexStored is an index's name in SQLite.
func indexStored(t *catalog.Table, id int32) string {
	return fmt.Sprintf("%s_ix%d", t.Stored, id)
}

// indexDDL makes an index. A unique one treats NULLs as equal, as SQLite does
// not: another index sees to the rows that have NULLs.
func (c *compiler) indexDDL(t *catalog.Table, name string, columns []catalog.KeyColumn, unique bool, where string) ([]string, error) {
	row, err := c.rowSource(t, t.Name, func(i int) string { return quote(t.Columns[i].Name) })
	if err != nil {
		return nil, err
	}
	schema := "main."
	if t.Temporary {
		schema = "temp."
	}
	var keys, nulls, stand []string
	for _, k := range columns {
		i, err := columnIndex(t, ast.Pos{}, k.Name)
		if err != nil {
			return nil, err
		}
		e := row.columns[i].expr
		sql := e.sql
		if t.Columns[i].Computed != "" {
			sql = "(" + e.keyed() + ")"
		} else if loose(e.typ) {
			sql = e.keyed()
		}
		key := sql
		if k.Descending {
			key += " DESC"
		}
		keys = append(keys, key)
		if t.Columns[i].Nullable {
			nulls = append(nulls, "("+e.sql+") IS NULL")
			filled := "ifnull(" + sql + ", 0)"
			if e.coll != "" {
				filled = "(" + filled + ") COLLATE " + e.coll
			}
			stand = append(stand, "("+e.sql+") IS NULL", filled)
		} else {
			stand = append(stand, sql)
		}
	}
	filter := ""
	if where != "" {
		if filter, err = c.tableCheck(where, row); err != nil {
			return nil, err
		}
	}
	word := ""
	if unique {
		word = "UNIQUE "
	}
	on := " ON " + quote(t.Stored) + " (" + strings.Join(keys, ", ") + ")"
	sql := "CREATE " + word + "INDEX " + schema + quote(name) + on
	if filter != "" {
		sql += " WHERE " + filter
	}
	out := []string{sql}
	if unique && len(nulls) > 0 {
		extra := "CREATE UNIQUE INDEX " + schema + quote(name+"n") + " ON " + quote(t.Stored) + " (" + strings.Join(stand, ", ") + ") WHERE (" + strings.Join(nulls, " OR ") + ")"
		if filter != "" {
			extra += " AND " + filter
		}
		out = append(out, extra)
	}
	return out, nil
}

// CreateIndex compiles CREATE INDEX.
func CreateIndex(stmt *ast.CreateIndex, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	old, err := c.target(&ast.TableRef{Pos: stmt.Table.Pos, Name: stmt.Table}, "CREATE INDEX")
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	t := copyTable(old)
	ix, err := c.index(t, &stmt.IndexDefinition)
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	ddl, err := c.indexDDL(t, indexStored(t, ix.ID), ix.Columns, ix.Unique, ix.Where)
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	def := &Definition{Table: t, DDL: ddl}
	if ix.Unique {
		check, err := c.uniqueCheck(old, ix.Name, ix.Columns, ix.Where)
		if err != nil {
			return nil, located(err, stmt.Pos)
		}
		def.Before = []*Program{check}
	}
	return def, nil
}

// index enters an index in a table.
func (c *compiler) index(t *catalog.Table, d *ast.IndexDefinition) (*catalog.Index, error) {
	ix := catalog.Index{Name: d.Name, Unique: d.Unique, ID: 2, Where: d.WhereText}
	for _, other := range t.Indexes {
		if sameName(other.Name, d.Name) {
			return nil, message(d.Pos, 1913, "The operation failed because an index or statistics with name '%s' already exists on table '%s'.", d.Name, objectName(t))
		}
		ix.ID = max(ix.ID, other.ID+1)
	}
	for _, k := range t.Keys {
		ix.ID++
		if sameName(k.Name, d.Name) {
			return nil, message(d.Pos, 1913, "The operation failed because an index or statistics with name '%s' already exists on table '%s'.", d.Name, objectName(t))
		}
	}
	seen := map[int]bool{}
	for _, k := range d.Columns {
		i, err := columnIndex(t, k.Pos, k.Name)
		if err != nil {
			return nil, message(k.Pos, 1911, "Column name '%s' does not exist in the target table or view.", k.Name)
		}
		if seen[i] {
			return nil, message(k.Pos, 1909, "Cannot use duplicate column names in index. Column name '%s' listed more than once.", k.Name)
		}
		seen[i] = true
		if typ := t.Columns[i].Type; (value.IsString(typ) || value.IsBinary(typ)) && typ.Length < 0 {
			return nil, message(k.Pos, 1919, "Column '%s' in table '%s' is of a type that is invalid for use as a key column in an index.", k.Name, objectName(t))
		}
		ix.Columns = append(ix.Columns, catalog.KeyColumn{Name: t.Columns[i].Name, Descending: k.Descending})
	}
	for _, id := range d.Include {
		i, err := columnIndex(t, id.Pos, id.Name)
		if err != nil {
			return nil, message(id.Pos, 1911, "Column name '%s' does not exist in the target table or view.", id.Name)
		}
		ix.Included = append(ix.Included, t.Columns[i].Name)
	}
	for _, o := range d.Options {
		if o.Name == "IGNORE_DUP_KEY" && o.Word == "ON" {
			return nil, refuse(o.Pos, "IGNORE_DUP_KEY")
		}
	}
	t.Indexes = append(t.Indexes, ix)
	return &t.Indexes[len(t.Indexes)-1], nil
}

// DropIndex compiles one index of DROP INDEX.
func DropIndex(item ast.IndexName, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	old, err := c.target(&ast.TableRef{Pos: item.Table.Pos, Name: item.Table}, "DROP INDEX")
	if err != nil {
		return nil, located(err, item.Pos)
	}
	t := copyTable(old)
	for i, ix := range t.Indexes {
		if !sameName(ix.Name, item.Index) {
			continue
		}
		schema := "main."
		if t.Temporary {
			schema = "temp."
		}
		name := indexStored(t, ix.ID)
		t.Indexes = append(t.Indexes[:i:i], t.Indexes[i+1:]...)
		return &Definition{Table: t, DDL: []string{"DROP INDEX " + schema + quote(name), "DROP INDEX IF EXISTS " + schema + quote(name+"n")}}, nil
	}
	for _, k := range t.Keys {
		if sameName(k.Name, item.Index) {
			return nil, message(item.Pos, 3723, "An explicit DROP INDEX is not allowed on index '%s.%s'. It is being used for %s constraint enforcement.", objectName(t), k.Name, map[bool]string{true: "PRIMARY KEY", false: "UNIQUE KEY"}[k.Primary])
		}
	}
	return nil, message(item.Pos, 3701, "Cannot drop the index '%s.%s', because it does not exist or you do not have permission.", objectName(t), item.Index)
}

// DropTable compiles the removal of one table (3726 when a foreign key
// references it).
func DropTable(pos ast.Pos, table *catalog.Table, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	for _, other := range c.referencing(table) {
		if other.ObjectID != table.ObjectID {
			return nil, message(pos, 3726, "Could not drop object '%s' because it is referenced by a FOREIGN KEY constraint.", objectName(table))
		}
	}
	return &Definition{DDL: []string{"DROP TABLE " + stored(table)}}, nil
}

// CreateView compiles CREATE VIEW, ALTER VIEW and their like, and checks the
// view's query.
func CreateView(stmt *ast.CreateView, scope Scope) (*Definition, error) {
	c := newCompiler(scope)
	if stmt.CheckOption {
		return nil, refuse(stmt.Pos, "WITH CHECK OPTION")
	}
	if err := c.qualified(stmt.Name); err != nil {
		return nil, err
	}
	v := &catalog.View{Schema: orElse(stmt.Name.Schema, scope.DefaultSchema), Name: stmt.Name.Object, Definition: stmt.Text, Columns: names(stmt.Columns)}
	old, there := scope.Catalog.View(v.Schema, v.Name)
	_, table := scope.Catalog.Table(v.Schema, v.Name)
	switch {
	case table || there && stmt.Definition == ast.Create:
		return nil, message(stmt.Pos, 2714, "There is already an object named '%s' in the database.", v.Name)
	case !there && stmt.Definition == ast.Alter:
		return nil, message(stmt.Pos, 208, "Invalid object name '%s'.", v.Name)
	case there:
		v.ObjectID = old.ObjectID
	default:
		v.ObjectID = scope.NewObjectID()
	}
	c.with = c.with.add(stmt.With)
	q, err := c.query(stmt.Query, nil, queryUse{subquery: true})
	if err != nil {
		return nil, located(err, stmt.Pos)
	}
	if len(c.binds) > 0 && c.binds[0].Name != "@@now" {
		return nil, message(stmt.Pos, 4511, "Create View or Function failed because a variable is used in it.")
	}
	if _, err := c.derived(stmt.Pos, q, v.Name, v.Columns, &env{}); err != nil {
		return nil, ofView(stmt.Pos, err, q, v)
	}
	return &Definition{View: v}, nil
}

// ofView makes errors of a derived table's columns those of a view's.
func ofView(pos ast.Pos, err error, q *compiled, v *catalog.View) error {
	m, ok := value.MessageOf(err)
	switch {
	case !ok:
		return err
	case m.Number == 8155:
		for i, col := range q.columns {
			if col.name == "" {
				return message(pos, 4511, "Create View or Function failed because no column name was specified for column %d.", i+1)
			}
		}
	case m.Number == 8156:
		seen := map[string]bool{}
		for i, col := range q.columns {
			name := col.name
			if v.Columns != nil {
				name = v.Columns[i]
			}
			if seen[strings.ToLower(name)] {
				return message(pos, 4506, "Column names in each view or function must be unique. Column name '%s' in view or function '%s' is specified more than once.", name, v.Name)
			}
			seen[strings.ToLower(name)] = true
		}
	}
	return err
}

// ViewColumns are the columns of a view, for the catalog's views.
func ViewColumns(v *catalog.View, scope Scope) ([]catalog.Column, error) {
	c := newCompiler(scope)
	at := &env{}
	if _, err := c.view(&ast.TableRef{}, v, at); err != nil {
		return nil, err
	}
	var out []catalog.Column
	for i, col := range at.sources[0].columns {
		def := catalog.Column{ID: int32(i + 1)}
		def.Name, def.Type, def.Nullable = col.name, col.expr.typ, col.expr.nullable
		out = append(out, def)
	}
	return out, nil
}
