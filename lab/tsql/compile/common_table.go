package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// commonScope has the common tables that a query sees, the newest first.
type commonScope struct {
	def   *ast.CommonTable
	outer *commonScope
	// inside is set while the recursive part of def is compiled.
	inside *recursion
}

// recursion is a common table whose recursive part is being compiled.
type recursion struct {
	stored  string // its name in SQLite
	columns []output
	names   []string
	alias   string // where the recursive part refers to it
	times   int
}

// add puts common tables into scope, each seeing those before it and itself.
func (s *commonScope) add(list []ast.CommonTable) *commonScope {
	for i := range list {
		s = &commonScope{def: &list[i], outer: s}
	}
	return s
}

// find is the common table of a name, with the scope that it is in.
func (s *commonScope) find(name string) (*ast.CommonTable, *commonScope) {
	for at := s; at != nil; at = at.outer {
		if strings.EqualFold(at.def.Name, name) {
			return at.def, at
		}
	}
	return nil, nil
}

// commonTable is a reference to a common table: its query in brackets.
func (c *compiler) commonTable(t *ast.TableRef, def *ast.CommonTable, scope *commonScope, at *env) (string, error) {
	name := orElse(t.Alias, def.Name)
	if r := scope.inside; r != nil {
		return c.recursiveReference(t, r, name, at)
	}
	saved := c.with
	defer func() { c.with = saved }()
	if op, ok := def.Query.Body.(*ast.SetOperation); ok && refersTo(op.R, def.Name) {
		c.with = scope.outer
		q, columns, err := c.recursive(def, op, scope)
		if err != nil {
			return "", err
		}
		return c.derived(t.Pos, q, name, columns, at)
	}
	c.with = scope.outer
	q, err := c.query(def.Query, nil, queryUse{subquery: true})
	if err != nil {
		return "", err
	}
	return c.derived(def.Pos, q, name, names(def.Columns), at)
}

func (c *compiler) recursiveReference(t *ast.TableRef, r *recursion, name string, at *env) (string, error) {
	r.times++
	if r.times > 1 {
		return "", message(t.Pos, 253, "Recursive member of a common table expression '%s' has multiple recursive references.", t.Name.Object)
	}
	r.alias = c.alias()
	s := &source{pos: t.Pos, name: name, sql: r.alias + ".", use: -1}
	for i, col := range r.columns {
		e := outer(col.expr, i)
		e.sql, e.name, e.nullable = r.alias+"."+e.sql, r.names[i], true
		s.columns = append(s.columns, column{name: r.names[i], expr: e})
	}
	at.sources = append(at.sources, s)
	return r.stored + " AS " + r.alias, nil
}

// recursive compiles a recursive common table into a query.
func (c *compiler) recursive(def *ast.CommonTable, op *ast.SetOperation, scope *commonScope) (*compiled, []string, error) {
	if op.Op != ast.UnionAll {
		return nil, nil, message(op.Pos, 252, "Recursive common table expression '%s' does not contain a top-level UNION ALL operator.", def.Name)
	}
	anchor, err := c.body(op.L, nil, queryUse{subquery: true})
	if err != nil {
		return nil, nil, err
	}
	r := &recursion{stored: "r" + c.alias(), columns: anchor.columns, names: names(def.Columns)}
	if r.names == nil {
		for _, col := range anchor.columns {
			r.names = append(r.names, col.name)
		}
	}
	if len(r.names) != len(anchor.columns) {
		return nil, nil, message(def.Pos, 8158, "'%s' has more columns than were specified in the column list.", def.Name)
	}
	step, ok := op.R.(*ast.Select)
	if !ok || step.Distinct || step.Top != nil || len(step.GroupBy) > 0 {
		return nil, nil, message(op.Pos, 460, "DISTINCT operator is not allowed in the recursive part of a recursive common table expression '%s'.", def.Name)
	}
	c.with = &commonScope{def: def, outer: scope.outer, inside: r}
	next, err := c.selectQuery(step, nil, "", nil, queryUse{subquery: true, depth: func() string { return c.nextDepth(r) }})
	if err != nil {
		return nil, nil, err
	}
	if len(next.columns) != len(anchor.columns) {
		return nil, nil, message(op.Pos, 205, "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.")
	}
	out := &compiled{}
	cols := make([]string, len(anchor.columns))
	for i, col := range anchor.columns {
		got := next.columns[i].expr
		if !got.null && got.typ != col.expr.typ || col.expr.null {
			return nil, nil, message(op.Pos, 240, "Types don't match between the anchor and the recursive part in column \"%s\" of recursive query \"%s\".", r.names[i], def.Name)
		}
		cols[i] = fmt.Sprintf("c%d", i+1)
		col.expr.nullable, col.expr.base, col.name, col.identity = true, false, r.names[i], false
		out.columns = append(out.columns, col)
	}
	all := strings.Join(cols, ", ")
	out.sql = fmt.Sprintf("WITH RECURSIVE %s(%s, c0) AS (SELECT %s, 0 FROM (%s) UNION ALL %s) SELECT %s FROM %s",
		r.stored, all, all, anchor.sql, next.sql, all, r.stored)
	return out, r.names, nil
}

// nextDepth is how deep the recursion's next row lies, or error 530.
func (c *compiler) nextDepth(r *recursion) string {
	if c.maxRecursion == 0 {
		return r.alias + ".c0 + 1"
	}
	words := fmt.Sprintf("The statement terminated. The maximum recursion %d has been exhausted before statement completion.", c.maxRecursion)
	fail := call("fail", "", value.Int, textLiteral(words), intLiteral(530))
	return fmt.Sprintf("CASE WHEN %s.c0 < %d THEN %s.c0 + 1 ELSE %s END", r.alias, c.maxRecursion, r.alias, fail.sql)
}

// refersTo says whether a query's FROM names a table.
func refersTo(b ast.QueryExpression, name string) bool {
	switch b := b.(type) {
	case *ast.SetOperation:
		return refersTo(b.L, name) || refersTo(b.R, name)
	case *ast.Select:
		for _, t := range b.From {
			if sourceRefersTo(t, name) {
				return true
			}
		}
	}
	return false
}

func sourceRefersTo(t ast.TableSource, name string) bool {
	switch t := t.(type) {
	case *ast.TableRef:
		return t.Name.Schema == "" && strings.EqualFold(t.Name.Object, name)
	case *ast.Join:
		return sourceRefersTo(t.L, name) || sourceRefersTo(t.R, name)
	case *ast.DerivedTable:
		return refersTo(t.Query.Body, name)
	default:
		return false
	}
}
