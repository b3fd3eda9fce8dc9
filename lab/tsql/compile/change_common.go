package compile

import (
	"fmt"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// changeCommon is an UPDATE or DELETE of a common table, which changes the
// rows of the one table that it is made of: the common table carries the
// row's number along.
func (c *compiler) changeCommon(t *ast.TableRef, def *ast.CommonTable, scope *commonScope, where ast.Predicate, verb string) (*changeSource, error) {
	s, ok := def.Query.Body.(*ast.Select)
	if !ok || len(s.From) != 1 || s.Distinct || len(s.GroupBy) > 0 || s.Having != nil || len(def.Columns) > 0 || def.Query.Offset != nil || len(def.Query.OrderBy) > 0 && s.Top == nil {
		return nil, refuse(t.Pos, verb+" of this common table")
	}
	aggregates := false
	for _, item := range s.Items {
		aggregates = aggregates || item.Expr != nil && hasAggregate(item.Expr)
	}
	ref, ok := s.From[0].(*ast.TableRef)
	if !ok || aggregates || s.Top != nil && (s.Top.Percent || s.Top.WithTies) {
		return nil, refuse(t.Pos, verb+" of this common table")
	}
	saved := c.with
	c.with = scope.outer
	defer func() { c.with = saved }()
	base, err := c.target(ref, verb)
	if err != nil {
		return nil, err
	}
	// The table is the first to be given an alias within the query.
	inner := fmt.Sprintf("s%d.%s AS rid", c.aliases+1, rowID(base))
	q, err := c.query(def.Query, nil, queryUse{subquery: true, depth: func() string { return inner }})
	if err != nil {
		return nil, err
	}
	c.with = saved
	out := &changeSource{at: &env{clause: "WHERE", noAggregate: true}, joined: true}
	sql, err := c.derived(t.Pos, q, orElse(t.Alias, def.Name), nil, out.at)
	if err != nil {
		return nil, err
	}
	view := out.at.sources[0]
	hidden := &env{}
	table, err := c.baseTable(t.Pos, base, base.Name, false, hidden)
	if err != nil {
		return nil, err
	}
	out.target = hidden.sources[0]
	out.target.name, out.target.schema = def.Name, ""
	out.from = fmt.Sprintf("%s JOIN %s ON %s%s = %srid", sql, table, out.target.sql, rowID(base), view.sql)
	out.through = map[string]bool{}
	for _, col := range q.columns {
		if col.expr.base && sameName(col.name, col.expr.name) {
			out.through[col.name] = true
		}
	}
	if where == nil {
		return out, nil
	}
	out.where, err = c.predicate(where, out.at)
	return out, err
}
