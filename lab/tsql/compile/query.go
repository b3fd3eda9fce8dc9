package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// output is a column of a compiled query; in SQLite it is called c1, c2 ….
type output struct {
	name     string
	expr     expr
	identity bool
	variable string
	readOnly bool
}

// compiled is a query in SQLite.
type compiled struct {
	sql     string
	columns []output
	single  bool // has at most one row
	ordered bool
	into    *ast.Name
}

// queryUse says where a query stands.
type queryUse struct {
	subquery  bool // ORDER BY needs TOP or OFFSET (1033)
	exists    bool // its columns do not matter
	statement bool // may assign variables and make a table
	insert    bool // its order counts
	// depth is what a recursive part adds to its select list.
	depth func() string
}

// query compiles a query. Its columns may refer to e's.
func (c *compiler) query(q *ast.Query, e *env, use queryUse) (*compiled, error) {
	if use.subquery && len(q.OrderBy) > 0 && q.Offset == nil && !hasTop(q.Body) {
		return nil, message(q.Pos, 1033, "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.")
	}
	limit, err := c.limit(q)
	if err != nil {
		return nil, err
	}
	if s, ok := q.Body.(*ast.Select); ok {
		return c.selectQuery(s, q.OrderBy, limit, e, use)
	}
	got, err := c.body(q.Body, e, use)
	if err != nil {
		return nil, err
	}
	order, err := c.outputOrder(q.OrderBy, got)
	if err != nil {
		return nil, err
	}
	if order != "" || limit != "" {
		got.sql = "SELECT * FROM (" + got.sql + ")" + order + limit
		got.ordered = order != ""
	}
	return got, nil
}

func hasTop(b ast.QueryExpression) bool {
	s, ok := b.(*ast.Select)
	return ok && s.Top != nil
}

// limit is OFFSET and FETCH.
func (c *compiler) limit(q *ast.Query) (string, error) {
	if q.Offset == nil {
		return "", nil
	}
	if len(q.OrderBy) == 0 {
		return "", message(q.Pos, 102, "Incorrect syntax near 'OFFSET'.")
	}
	offset, err := c.count(q.Offset, 10742, "The offset specified in a OFFSET clause may not be negative.")
	if err != nil {
		return "", err
	}
	rows := "-1"
	if q.Fetch != nil {
		if rows, err = c.count(q.Fetch, 10744, "The number of rows provided for a FETCH clause must be greater then zero."); err != nil {
			return "", err
		}
	}
	return " LIMIT " + rows + " OFFSET " + offset, nil
}

// count is a number of rows; a negative one is an error when it runs, for in
// SQLite it would mean all rows.
func (c *compiler) count(x ast.Expression, number int32, words string) (string, error) {
	plain := &env{clause: "TOP"}
	got, err := c.expr(x, plain)
	if err != nil {
		return "", err
	}
	if got.null || !value.IsInteger(got.typ) && (got.typ.Kind != sqltype.Decimal || got.typ.Scale > 0) {
		return "", message(x.Position(), 1060, "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.")
	}
	n := got.to(value.BigInt)
	if v, ok := n.constant.(int64); ok && v >= 0 && (v > 0 || number != 10744) {
		return n.sql, nil
	}
	least := "0"
	if number == 10744 {
		least = "1"
	}
	fail := call("fail", "", value.BigInt, textLiteral(words), intLiteral(int64(number)))
	none := call("fail", "", value.BigInt, textLiteral("The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer."), intLiteral(1060))
	return fmt.Sprintf("(CASE WHEN %s >= %s THEN %s WHEN %s IS NULL THEN %s ELSE %s END)", n.sql, least, n.sql, n.sql, none.sql, fail.sql), nil
}

// body compiles a query's body without its order.
func (c *compiler) body(b ast.QueryExpression, e *env, use queryUse) (*compiled, error) {
	switch b := b.(type) {
	case *ast.Select:
		return c.selectQuery(b, nil, "", e, use)
	case *ast.SetOperation:
		return c.setOperation(b, e, use)
	default:
		return nil, refuse(b.Position(), fmt.Sprintf("%T", b))
	}
}

var setOperators = map[ast.SetOperator]string{ast.Union: "UNION", ast.UnionAll: "UNION ALL", ast.Except: "EXCEPT", ast.Intersect: "INTERSECT"}

func (c *compiler) setOperation(x *ast.SetOperation, e *env, use queryUse) (*compiled, error) {
	l, err := c.body(x.L, e, use)
	if err != nil {
		return nil, err
	}
	r, err := c.body(x.R, e, queryUse{subquery: use.subquery})
	if err != nil {
		return nil, err
	}
	if len(l.columns) != len(r.columns) {
		return nil, message(x.Pos, 205, "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.")
	}
	lefts, rights := make([]string, len(l.columns)), make([]string, len(l.columns))
	out := &compiled{into: l.into}
	for i := range l.columns {
		if l.columns[i].variable != "" || r.columns[i].variable != "" {
			return nil, message(x.Pos, 10734, "Variable assignment is not allowed in a statement containing a top level UNION, INTERSECT or EXCEPT operator.")
		}
		a, b := outer(l.columns[i].expr, i), outer(r.columns[i].expr, i)
		both, t, err := common(x.Pos, []expr{a, b})
		if err != nil {
			return nil, err
		}
		lefts[i] = fmt.Sprintf("%s AS c%d", both[0].collated(), i+1)
		rights[i] = fmt.Sprintf("%s AS c%d", both[1].sql, i+1)
		made := expr{typ: t, nullable: a.nullable || b.nullable, coll: both[0].coll, explicit: both[0].explicit, name: l.columns[i].name}
		if a.null && b.null {
			made.typ = value.Int
		}
		out.columns = append(out.columns, output{name: l.columns[i].name, expr: made})
	}
	if x.Op != ast.UnionAll && looseColumns(out.columns) {
		if x.Op != ast.Union {
			return nil, refuse(x.Pos, setOperators[x.Op]+" of varbinary")
		}
		all := fmt.Sprintf("SELECT %s FROM (%s) UNION ALL SELECT %s FROM (%s)", strings.Join(lefts, ", "), l.sql, strings.Join(rights, ", "), r.sql)
		out.sql = distinctByGroup(all, out.columns)
		return out, nil
	}
	out.sql = fmt.Sprintf("SELECT %s FROM (%s) %s SELECT %s FROM (%s)", strings.Join(lefts, ", "), l.sql, setOperators[x.Op], strings.Join(rights, ", "), r.sql)
	return out, nil
}

// outer is a query's column i as the query about it sees it.
func outer(e expr, i int) expr {
	out := e
	out.sql, out.base, out.constant, out.written, out.single = fmt.Sprintf("c%d", i+1), false, nil, false, true
	return out
}

// outputOrder is ORDER BY of a set operation: its columns by name or number.
func (c *compiler) outputOrder(items []ast.OrderItem, q *compiled) (string, error) {
	var parts []string
	for _, item := range items {
		at := -1
		switch x := item.Expr.(type) {
		case *ast.Literal:
			n, err := ordinal(x, len(q.columns))
			if err != nil {
				return "", err
			}
			at = n - 1
		case *ast.ColumnRef:
			for i, col := range q.columns {
				if x.Table == nil && strings.EqualFold(col.name, x.Column) {
					at = i
					break
				}
			}
			if at < 0 {
				return "", message(x.Pos, 207, "Invalid column name '%s'.", x.Column)
			}
		}
		if at < 0 {
			return "", message(item.Pos, 104, "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.")
		}
		parts = append(parts, outer(q.columns[at].expr, at).collate()+direction(item))
	}
	if len(parts) == 0 {
		return "", nil
	}
	return " ORDER BY " + strings.Join(parts, ", "), nil
}

func direction(item ast.OrderItem) string {
	if item.Descending {
		return " DESC"
	}
	return ""
}

// ordinal is a position in the select list.
func ordinal(x *ast.Literal, n int) (int, error) {
	e, err := literalOf(x)
	if err != nil {
		return 0, err
	}
	at, ok := e.constant.(int64)
	if !ok {
		return 0, message(x.Pos, 408, "A constant expression was encountered in the ORDER BY list, position 1.")
	}
	if at < 1 || at > int64(n) {
		return 0, message(x.Pos, 108, "The ORDER BY position number %d is out of range of the number of items in the select list.", at)
	}
	return int(at), nil
}

// types are the types of the columns.
func (q *compiled) types() []sqltype.Type {
	out := make([]sqltype.Type, len(q.columns))
	for i, col := range q.columns {
		out[i] = col.expr.typ
	}
	return out
}

// result are the columns as a client sees them.
func (q *compiled) result() []sqltype.Column {
	out := make([]sqltype.Column, len(q.columns))
	for i, col := range q.columns {
		out[i] = sqltype.Column{Name: col.name, Type: col.expr.typ, Nullable: col.expr.nullable, Identity: col.identity, ReadOnly: col.readOnly}
	}
	return out
}
