package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// selectInto is SELECT … INTO: the table is made, then filled.
func (c *compiler) selectInto(s *ast.SelectStatement, q *compiled) (*Program, error) {
	t, err := c.newTable(*q.into)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i, col := range q.columns {
		if col.name == "" {
			return nil, message(s.Pos, 1038, "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. Change the alias to a valid name.")
		}
		if seen[strings.ToLower(col.name)] {
			return nil, message(s.Pos, 2705, "Column names in each table must be unique. Column name '%s' in table '%s' is specified more than once.", col.name, t.Name)
		}
		seen[strings.ToLower(col.name)] = true
		t.Columns = append(t.Columns, catalog.Column{ID: int32(i + 1), Column: sqltype.Column{Name: col.name, Type: col.expr.typ, Nullable: col.expr.nullable}})
	}
	p := c.changing(t, "CREATE TABLE", sqltype.CommandSelect)
	p.Into = t
	ddl, err := c.tableDDL(t, stored(t))
	if err != nil {
		return nil, err
	}
	for _, sql := range ddl {
		p.Steps = append(p.Steps, Step{SQL: sql})
	}
	cols := make([]string, len(q.columns))
	for i := range cols {
		cols[i] = fmt.Sprintf("c%d", i+1)
	}
	sql := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM (%s LIMIT -1)", stored(t), columnNames(t, physical(t)), strings.Join(cols, ", "), "SELECT * FROM ("+q.sql+")")
	p.Steps = append(p.Steps, Step{SQL: sql, Binds: c.binds, Counts: true})
	return p, nil
}

// newTable is a table that is to be made, without columns yet.
func (c *compiler) newTable(n ast.Name) (*catalog.Table, error) {
	if err := c.qualified(n); err != nil {
		return nil, err
	}
	t := &catalog.Table{ObjectID: c.scope.NewObjectID(), Schema: n.Schema, Name: n.Object, Temporary: strings.HasPrefix(n.Object, "#") || strings.HasPrefix(n.Object, "@")}
	if t.Schema == "" && !t.Temporary {
		t.Schema = c.scope.DefaultSchema
	}
	if t.Temporary {
		t.Schema = ""
		if strings.HasPrefix(n.Object, "##") {
			return nil, refuse(n.Pos, "global temporary table")
		}
	}
	_, there := c.scope.Catalog.Table(t.Schema, t.Name)
	if there && strings.HasPrefix(t.Name, "#") && c.scope.TemporaryHere != nil {
		there = c.scope.TemporaryHere(t.Name)
	}
	if there {
		return nil, message(n.Pos, 2714, "There is already an object named '%s' in the database.", t.Name)
	}
	if _, there := c.scope.Catalog.View(t.Schema, t.Name); there && !t.Temporary {
		return nil, message(n.Pos, 2714, "There is already an object named '%s' in the database.", t.Name)
	}
	t.Stored = fmt.Sprintf("t%d", t.ObjectID)
	if t.Temporary {
		t.Stored = fmt.Sprintf("#t%d", t.ObjectID)
	}
	return t, nil
}
