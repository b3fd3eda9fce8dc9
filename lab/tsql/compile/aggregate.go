package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

var aggregates = map[string]bool{
	"COUNT": true, "COUNT_BIG": true, "SUM": true, "AVG": true, "MIN": true, "MAX": true, "STDEV": true, "STDEVP": true, "VAR": true,
	"VARP": true, "STRING_AGG": true, "CHECKSUM_AGG": true, "APPROX_COUNT_DISTINCT": true, "GROUPING": true, "GROUPING_ID": true,
}

func isAggregate(name string) bool { return aggregates[name] }

// hasAggregate says whether an expression calls an aggregate of its own
// query.
func hasAggregate(x ast.Node) bool {
	found := false
	walk(x, func(n ast.Node) bool {
		if f, ok := n.(*ast.Call); ok && f.Over == nil && f.Name.Schema == "" && isAggregate(strings.ToUpper(f.Name.Object)) {
			found = true
		}
		return !found
	})
	return found
}

// aggregate compiles a call of an aggregate without a window.
func (c *compiler) aggregate(x *ast.Call, name string, e *env) (expr, error) {
	switch {
	case e.aggregate:
		return expr{}, message(x.Pos, 130, "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.")
	case e.noAggregate && e.clause == "WHERE":
		return expr{}, message(x.Pos, 147, "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.")
	case e.noAggregate && e.clause == "GROUP BY":
		return expr{}, message(x.Pos, 144, "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY clause.")
	case e.noAggregate || e.grouped == nil:
		return expr{}, message(x.Pos, 157, "An aggregate may not appear in the set list of an UPDATE statement.")
	}
	inner := *e
	inner.aggregate, inner.windowed = true, false
	return c.aggregateOf(x, name, &inner, "")
}

// aggregateOf compiles an aggregate; over is its window.
func (c *compiler) aggregateOf(x *ast.Call, name string, e *env, over string) (expr, error) {
	if x.Star {
		if name != "COUNT" && name != "COUNT_BIG" {
			return expr{}, message(x.Pos, 102, "Incorrect syntax near '*'.")
		}
		return expr{sql: "count(*)" + over, typ: countResult(name), single: true}, nil
	}
	if name == "STRING_AGG" {
		return c.stringAgg(x, e, over)
	}
	if len(x.Args) != 1 {
		return expr{}, message(x.Pos, 174, "The %s function requires 1 argument(s).", strings.ToLower(name))
	}
	if _, ok := x.Args[0].(*ast.Subquery); ok && over == "" {
		return expr{}, message(x.Pos, 130, "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.")
	}
	a, err := c.expr(x.Args[0], e)
	if err != nil {
		return expr{}, err
	}
	distinct := ""
	if x.Distinct {
		if over != "" {
			return expr{}, message(x.Pos, 10759, "Use of DISTINCT is not allowed with the OVER clause.")
		}
		distinct = "DISTINCT "
	}
	switch name {
	case "COUNT", "COUNT_BIG":
		if a.null {
			return expr{}, message(x.Pos, 8117, "Operand data type NULL is invalid for count operator.")
		}
		return expr{sql: "count(" + distinct + a.keyed() + ")" + over, typ: countResult(name), single: true}, nil
	case "MIN", "MAX":
		if a.null || a.typ.Kind == sqltype.Bit {
			return expr{}, invalidOperand(x, a, name)
		}
		out := a
		out.sql, out.nullable, out.base, out.constant, out.single, out.name = strings.ToLower(name)+"("+a.collated()+")"+over, true, false, nil, true, ""
		return out, nil
	case "SUM", "AVG":
		return c.sum(x, name, a, distinct, over)
	case "STDEV", "STDEVP", "VAR", "VARP":
		if !value.IsNumber(a.typ) || a.null {
			return expr{}, invalidOperand(x, a, name)
		}
		function := map[string]string{"STDEV": builtin.StDev, "STDEVP": builtin.StDevP, "VAR": builtin.Var, "VARP": builtin.VarP}[name]
		return expr{sql: function + "(" + distinct + a.to(value.Float).sql + ")" + over, typ: value.Float, nullable: true, single: true}, nil
	case "CHECKSUM_AGG":
		if !value.IsInteger(a.typ) {
			return expr{}, invalidOperand(x, a, name)
		}
		return expr{sql: builtin.Checksum + "(" + distinct + a.to(value.Int).sql + ")" + over, typ: value.Int, nullable: true, single: true}, nil
	default:
		return expr{}, refuse(x.Pos, name)
	}
}

func invalidOperand(x *ast.Call, a expr, name string) error {
	kind := value.Name(a.typ)
	if a.null {
		kind = "NULL"
	}
	return message(x.Pos, 8117, "Operand data type %s is invalid for %s operator.", kind, strings.ToLower(name))
}

func countResult(name string) sqltype.Type {
	if name == "COUNT_BIG" {
		return value.BigInt
	}
	return value.Int
}

// sum is SUM and AVG.
// Source: https://learn.microsoft.com/sql/t-sql/functions/sum-transact-sql#return-types
func (c *compiler) sum(x *ast.Call, name string, a expr, distinct, over string) (expr, error) {
	if a.null || !value.IsNumber(a.typ) || a.typ.Kind == sqltype.Bit {
		return expr{}, invalidOperand(x, a, name)
	}
	t, function := a.typ, builtin.SumWhole
	total := value.BigInt
	switch {
	case value.IsInteger(t):
		if t.Kind != sqltype.BigInt {
			t = value.Int
		}
	case value.IsMoney(t):
		t, total = value.Money, value.Money
	case t.Kind == sqltype.Decimal:
		function, t = builtin.SumDecimal, value.DecimalOf(38, int(t.Scale))
		total = t
	default:
		function, t, total, a = builtin.SumFloat, value.Float, value.Float, a.to(value.Float)
	}
	sum := expr{sql: function + "(" + distinct + a.sql + ")" + over, typ: total, nullable: true, single: true}
	if name == "SUM" {
		return sum.to(t), nil
	}
	if t.Kind == sqltype.Decimal {
		t = value.DecimalOf(38, max(int(t.Scale), 6))
	}
	count := expr{sql: "count(" + distinct + a.sql + ")" + over, typ: value.BigInt, single: true}
	if value.IsInteger(t) {
		// The sum must fit the type too, or it is error 8115.
		sum = sum.to(t)
	}
	return call("average", "", t, sum, count), nil
}

// stringAgg is STRING_AGG.
func (c *compiler) stringAgg(x *ast.Call, e *env, over string) (expr, error) {
	if len(x.Args) != 2 || x.Distinct {
		return expr{}, message(x.Pos, 174, "The string_agg function requires 2 argument(s).")
	}
	if over != "" {
		return expr{}, message(x.Pos, 4113, "The function 'STRING_AGG' is not a valid windowing function, and cannot be used with the OVER clause.")
	}
	a, err := c.expr(x.Args[0], e)
	if err != nil {
		return expr{}, err
	}
	separator, err := c.expr(x.Args[1], e)
	if err != nil {
		return expr{}, err
	}
	if a, err = asText(x.Pos, a, "string_agg", 1); err != nil {
		return expr{}, err
	}
	if separator, err = asText(x.Pos, separator, "string_agg", 2); err != nil {
		return expr{}, err
	}
	order, err := c.orderItems(x.Within, e)
	if err != nil {
		return expr{}, err
	}
	t := longest(a)
	sep := separator.sql
	if separator.nullable {
		sep = "ifnull(" + sep + ", '')"
	}
	joined := expr{sql: "group_concat(" + a.sql + ", " + sep + order + ")", typ: t, nullable: true, coll: a.coll, explicit: a.explicit, single: true}
	if t.Length == sqltype.Max {
		return joined, nil
	}
	// 9829: the result is cut nowhere, it fails.
	fail := call("fail", "", t, textLiteral("STRING_AGG aggregation result exceeded the limit of 8000 bytes. Use LOB types to avoid result truncation."), intLiteral(9829))
	joined.sql = "(SELECT CASE WHEN length(column1) > " + intLiteral(int64(t.Length)).sql + " THEN " + fail.sql + " ELSE column1 END FROM (VALUES (" + joined.sql + ")))"
	return joined, nil
}

// orderItems is ORDER BY within an aggregate or a window.
func (c *compiler) orderItems(items []ast.OrderItem, e *env) (string, error) {
	var parts []string
	for _, item := range items {
		if l, ok := item.Expr.(*ast.Literal); ok {
			return "", message(l.Pos, 5308, "Windowed functions, aggregates and NEXT VALUE FOR functions do not support integer indices as ORDER BY clause expressions.")
		}
		got, err := c.expr(item.Expr, e)
		if err != nil {
			return "", err
		}
		parts = append(parts, got.collate()+direction(item))
	}
	if len(parts) == 0 {
		return "", nil
	}
	return " ORDER BY " + strings.Join(parts, ", "), nil
}
