package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// windowOnly are the functions that there are only with OVER.
var windowOnly = map[string]bool{
	"ROW_NUMBER": true, "RANK": true, "DENSE_RANK": true, "NTILE": true, "LAG": true, "LEAD": true, "FIRST_VALUE": true, "LAST_VALUE": true,
	"CUME_DIST": true, "PERCENT_RANK": true, "PERCENTILE_CONT": true, "PERCENTILE_DISC": true,
}

// window compiles a window function.
func (c *compiler) window(x *ast.Call, name string, e *env) (expr, error) {
	if !e.windowed || e.clause != "SELECT" && e.clause != "ORDER BY" {
		return expr{}, message(x.Pos, 4108, "Windowed functions can only appear in the SELECT or ORDER BY clauses.")
	}
	inner := *e
	inner.windowed = false
	over, err := c.over(x.Over, &inner)
	if err != nil {
		return expr{}, err
	}
	if isAggregate(name) {
		return c.aggregateOf(x, name, &inner, over)
	}
	if len(x.Over.OrderBy) == 0 && windowOnly[name] {
		return expr{}, message(x.Pos, 4112, "The function '%s' must have an OVER clause with ORDER BY.", x.Name.Object)
	}
	if x.Nulls == "IGNORE" {
		return expr{}, refuse(x.Pos, "IGNORE NULLS")
	}
	if x.Over.Frame != nil && name != "FIRST_VALUE" && name != "LAST_VALUE" {
		return expr{}, message(x.Pos, 10752, "The function '%s' may not have a window frame.", x.Name.Object)
	}
	switch name {
	case "ROW_NUMBER", "RANK", "DENSE_RANK":
		return expr{sql: strings.ToLower(name) + "()" + over, typ: value.BigInt, nullable: true, single: true}, nil
	case "CUME_DIST", "PERCENT_RANK":
		return expr{sql: strings.ToLower(name) + "()" + over, typ: value.Float, single: true}, nil
	case "NTILE":
		n, err := c.windowArgument(x, 0, &inner)
		if err != nil {
			return expr{}, err
		}
		return expr{sql: "ntile(" + n.to(value.BigInt).sql + ")" + over, typ: value.BigInt, nullable: true, single: true}, nil
	case "FIRST_VALUE", "LAST_VALUE":
		a, err := c.windowArgument(x, 0, &inner)
		if err != nil {
			return expr{}, err
		}
		return shifted(a, strings.ToLower(name)+"("+a.sql+")"+over), nil
	case "LAG", "LEAD":
		return c.lag(x, name, &inner, over)
	default:
		return expr{}, refuse(x.Pos, name+" OVER")
	}
}

func shifted(a expr, sql string) expr {
	return expr{sql: sql, typ: a.typ, nullable: true, coll: a.coll, explicit: a.explicit, single: true}
}

func (c *compiler) windowArgument(x *ast.Call, i int, e *env) (expr, error) {
	if i >= len(x.Args) {
		return expr{}, message(x.Pos, 174, "The %s function requires %d argument(s).", strings.ToLower(x.Name.Object), i+1)
	}
	return c.expr(x.Args[i], e)
}

// lag is LAG and LEAD.
func (c *compiler) lag(x *ast.Call, name string, e *env, over string) (expr, error) {
	a, err := c.windowArgument(x, 0, e)
	if err != nil {
		return expr{}, err
	}
	args := []string{a.sql}
	if len(x.Args) > 1 {
		n, err := c.windowArgument(x, 1, e)
		if err != nil {
			return expr{}, err
		}
		k, ok := n.constant.(int64)
		if !ok || k < 0 {
			return expr{}, refuse(x.Pos, name+" with an offset that is no constant")
		}
		args = append(args, n.sql)
	}
	if len(x.Args) > 2 {
		d, err := c.windowArgument(x, 2, e)
		if err != nil {
			return expr{}, err
		}
		if d, err = assign(x.Pos, d, a.typ); err != nil {
			return expr{}, err
		}
		args = append(args, d.sql)
	}
	return shifted(a, strings.ToLower(name)+"("+strings.Join(args, ", ")+")"+over), nil
}

// over compiles a window.
func (c *compiler) over(o *ast.Over, e *env) (string, error) {
	var b strings.Builder
	for i, p := range o.PartitionBy {
		got, err := c.expr(p, e)
		if err != nil {
			return "", err
		}
		if i == 0 {
			b.WriteString(" PARTITION BY ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(got.collate())
	}
	order, err := c.windowOrder(o.OrderBy, e)
	if err != nil {
		return "", err
	}
	b.WriteString(order)
	if o.Frame != nil {
		if len(o.OrderBy) == 0 {
			return "", message(o.Pos, 10756, "Window frame with ROWS or RANGE must have an ORDER BY clause.")
		}
		frame, err := frameOf(o.Frame)
		if err != nil {
			return "", err
		}
		b.WriteString(frame)
	}
	return " OVER (" + strings.TrimSpace(b.String()) + ")", nil
}

// windowOrder lets ORDER BY (SELECT NULL) pass, which orders nothing.
func (c *compiler) windowOrder(items []ast.OrderItem, e *env) (string, error) {
	if len(items) == 1 {
		if sub, ok := items[0].Expr.(*ast.Subquery); ok {
			if s, ok := sub.Query.Body.(*ast.Select); ok && len(s.From) == 0 && len(s.Items) == 1 {
				return "", nil
			}
		}
	}
	return c.orderItems(items, e)
}

func frameOf(f *ast.Frame) (string, error) {
	unit := " ROWS"
	if f.Range {
		unit = " RANGE"
	}
	start, err := boundOf(f.Start, f.Range)
	if err != nil {
		return "", err
	}
	end := "CURRENT ROW"
	if f.End != nil {
		if end, err = boundOf(*f.End, f.Range); err != nil {
			return "", err
		}
	}
	return unit + " BETWEEN " + start + " AND " + end, nil
}

func boundOf(b ast.FrameBound, ranged bool) (string, error) {
	switch b.Kind {
	case ast.UnboundedPreceding:
		return "UNBOUNDED PRECEDING", nil
	case ast.UnboundedFollowing:
		return "UNBOUNDED FOLLOWING", nil
	case ast.CurrentRow:
		return "CURRENT ROW", nil
	default:
	}
	l, ok := b.Offset.(*ast.Literal)
	if !ok || l.Kind != ast.Integer || ranged {
		return "", message(b.Pos, 4194, "RANGE is only supported with UNBOUNDED and CURRENT ROW window frame delimiters.")
	}
	word := "PRECEDING"
	if b.Kind == ast.Following {
		word = "FOLLOWING"
	}
	return fmt.Sprintf("%s %s", l.Text, word), nil
}
