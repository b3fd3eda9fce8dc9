package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// predicate compiles a condition into an SQLite expression of 1, 0 or NULL.
func (c *compiler) predicate(x ast.Predicate, e *env) (string, error) {
	out, err := c.predicateAs(x, e)
	if err != nil {
		return "", located(err, x.Position())
	}
	return out, nil
}

func (c *compiler) predicateAs(x ast.Predicate, e *env) (string, error) {
	switch x := x.(type) {
	case *ast.Comparison:
		l, err := c.expr(x.L, e)
		if err != nil {
			return "", err
		}
		r, err := c.expr(x.R, e)
		if err != nil {
			return "", err
		}
		return compare(x.Pos, string(x.Op), l, r)
	case *ast.Logical:
		l, err := c.predicate(x.L, e)
		if err != nil {
			return "", err
		}
		r, err := c.predicate(x.R, e)
		if err != nil {
			return "", err
		}
		if x.Or {
			return "(" + l + " OR " + r + ")", nil
		}
		return "(" + l + " AND " + r + ")", nil
	case *ast.Not:
		p, err := c.predicate(x.X, e)
		return "(NOT " + p + ")", err
	case *ast.IsNull:
		v, err := c.expr(x.X, e)
		if err != nil {
			return "", err
		}
		if x.Not {
			return "((" + v.sql + ") IS NOT NULL)", nil
		}
		return "((" + v.sql + ") IS NULL)", nil
	case *ast.IsDistinct:
		return c.distinctFrom(x, e)
	case *ast.Between:
		return c.between(x, e)
	case *ast.Like:
		return c.like(x, e)
	case *ast.In:
		return c.in(x, e)
	case *ast.Exists:
		q, err := c.query(x.Query, e, queryUse{subquery: true, exists: true})
		if err != nil {
			return "", err
		}
		return "EXISTS (" + q.sql + ")", nil
	case *ast.Quantified:
		return c.quantified(x, e)
	default:
		return "", refuse(x.Position(), strings.TrimPrefix(fmt.Sprintf("%T", x), "*ast."))
	}
}

// comparands converts two operands to what they compare as.
func comparands(pos ast.Pos, op string, l, r expr) (expr, expr, error) {
	switch {
	case l.null && r.null:
		return l, r, nil
	case l.null:
		return l.to(r.typ), r, nil
	case r.null:
		return l, r.to(l.typ), nil
	}
	if l.explicit && r.explicit && l.coll != r.coll {
		return l, r, message(pos, 468, "Cannot resolve the collation conflict between \"%s\" and \"%s\" in the %s operation.", l.coll, r.coll, operationName(op))
	}
	if value.SameCoding(l.typ, r.typ) {
		// They compare as they are: decimals of one scale, any whole numbers,
		// any strings.
		return l, r, nil
	}
	t := value.Common(l.typ, r.typ)
	a, err := assign(pos, l, t)
	if err != nil {
		return l, r, comparisonError(pos, op, l, r, err)
	}
	b, err := assign(pos, r, t)
	if err != nil {
		return l, r, comparisonError(pos, op, l, r, err)
	}
	return a, b, nil
}

// comparisonError is error 402 where two types cannot be compared but one
// could be converted by hand.
func comparisonError(pos ast.Pos, op string, l, r expr, err error) error {
	from, to := l.typ, r.typ
	if value.Higher(from, to) {
		from, to = to, from
	}
	if value.RuleOf(from, to) == value.Never && value.IsTime(l.typ) && value.IsTime(r.typ) {
		return message(pos, 402, "The data types %s and %s are incompatible in the %s operator.", value.Name(l.typ), value.Name(r.typ), operationName(op))
	}
	return err
}

func operationName(op string) string {
	names := map[string]string{"=": "equal to", "<>": "not equal to", "<": "less than", "<=": "less than or equal to", ">": "greater than", ">=": "greater than or equal to"}
	if n, ok := names[op]; ok {
		return n
	}
	return strings.ToLower(op)
}

// compare is l op r.
func compare(pos ast.Pos, op string, l, r expr) (string, error) {
	a, b, err := comparands(pos, op, l, r)
	if err != nil {
		return "", err
	}
	return compared(op, a, b), nil
}

// compared is l op r of operands that compare as they are.
func compared(op string, a, b expr) string {
	if value.IsBinary(a.typ) && value.IsBinary(b.typ) && (loose(a.typ) || loose(b.typ) || a.typ.Length != b.typ.Length) {
		return "(" + bytesKey(a.sql, a.typ) + " " + op + " " + bytesKey(b.sql, b.typ) + ")"
	}
	coll := a.coll
	switch {
	case a.explicit:
	case b.explicit:
		coll = b.coll
	}
	if coll == "" {
		return "(" + a.sql + " " + op + " " + b.sql + ")"
	}
	if a.base && coll == collationOf(a.typ) {
		// The column's own collation is in force, and its index in reach.
		return "(" + a.sql + " " + op + " " + b.sql + ")"
	}
	return "(" + a.sql + " " + op + " " + b.sql + " COLLATE " + coll + ")"
}

func (c *compiler) distinctFrom(x *ast.IsDistinct, e *env) (string, error) {
	l, err := c.expr(x.L, e)
	if err != nil {
		return "", err
	}
	r, err := c.expr(x.R, e)
	if err != nil {
		return "", err
	}
	op := "IS NOT"
	if x.Not {
		op = "IS"
	}
	return compare(x.Pos, op, l, r)
}

func (c *compiler) between(x *ast.Between, e *env) (string, error) {
	v, err := c.expr(x.X, e)
	if err != nil {
		return "", err
	}
	low, err := c.expr(x.Low, e)
	if err != nil {
		return "", err
	}
	high, err := c.expr(x.High, e)
	if err != nil {
		return "", err
	}
	a, err := compare(x.Pos, ">=", v, low)
	if err != nil {
		return "", err
	}
	b, err := compare(x.Pos, "<=", v, high)
	if err != nil {
		return "", err
	}
	if x.Not {
		return "(NOT (" + a + " AND " + b + "))", nil
	}
	return "(" + a + " AND " + b + ")", nil
}

// asText is a value as a string for functions of strings; error 8116 when its
// type does not convert by itself.
func asText(pos ast.Pos, e expr, function string, arg int) (expr, error) {
	if e.null {
		return e.to(value.VarChar(1)), nil
	}
	if value.IsString(e.typ) {
		return e, nil
	}
	t := value.VarChar(textLength(e.typ))
	if value.IsBinary(e.typ) {
		t = value.VarChar(e.typ.Length)
	}
	if value.RuleOf(e.typ, t) != value.Implicit {
		return expr{}, message(pos, 8116, "Argument data type %s is invalid for argument %d of %s function.", value.Name(e.typ), arg, strings.ToLower(function))
	}
	out := e.to(t)
	out.base = false
	return out, nil
}

// textLength is how many characters a type's values need.
func textLength(t sqltype.Type) int {
	switch t.Kind {
	case sqltype.Bit:
		return 1
	case sqltype.TinyInt:
		return 3
	case sqltype.SmallInt:
		return 6
	case sqltype.Int:
		return 12
	case sqltype.BigInt:
		return 24
	case sqltype.Decimal:
		return 41
	case sqltype.UniqueIdentifier:
		return 36
	default:
		return 40
	}
}

func (c *compiler) like(x *ast.Like, e *env) (string, error) {
	args := []ast.Expression{x.X, x.Pattern}
	if x.Escape != nil {
		args = append(args, x.Escape)
	}
	var got []expr
	coll := value.Collation
	for i, a := range args {
		v, err := c.expr(a, e)
		if err != nil {
			return "", err
		}
		if v, err = asText(x.Pos, v, "like", i+1); err != nil {
			return "", err
		}
		if v.explicit {
			coll = v.coll
		}
		got = append(got, v)
	}
	name := "like"
	if unicodeOf(got...) {
		name = "nlike"
	}
	out := call(name, coll, value.Bit, got...)
	if x.Not {
		return "(NOT " + out.sql + ")", nil
	}
	return out.sql, nil
}

func (c *compiler) in(x *ast.In, e *env) (string, error) {
	v, err := c.expr(x.X, e)
	if err != nil {
		return "", err
	}
	not := ""
	if x.Not {
		not = "NOT "
	}
	if x.Query == nil {
		return c.inList(x, v, not, e)
	}
	q, err := c.query(x.Query, e, queryUse{subquery: true})
	if err != nil {
		return "", err
	}
	if len(q.columns) != 1 {
		return "", message(x.Pos, 116, "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.")
	}
	inner := q.columns[0].expr
	inner.sql, inner.base = "c1", false
	a, b, err := comparands(x.Pos, "=", v, inner)
	if err != nil {
		return "", err
	}
	if value.IsBinary(a.typ) && value.IsBinary(b.typ) {
		a.sql, b.sql, a.base = bytesKey(a.sql, a.typ), bytesKey(b.sql, b.typ), false
	}
	sub := q.sql
	if b.sql != "c1" {
		sub = "SELECT " + b.sql + " FROM (" + q.sql + ")"
	}
	left := a.sql
	if coll := inCollation(a, b); coll != "" {
		left = "((" + a.sql + ") COLLATE " + coll + ")"
		if a.base && coll == collationOf(a.typ) {
			left = a.sql
		}
	}
	return "(" + left + " " + not + "IN (" + sub + "))", nil
}

func inCollation(a, b expr) string {
	if b.explicit && !a.explicit {
		return b.coll
	}
	return a.coll
}

// inList compares with each element by itself, for each has its own type; if
// all compare alike it is one IN.
func (c *compiler) inList(x *ast.In, v expr, not string, e *env) (string, error) {
	var alike, alone []string
	for _, item := range x.List {
		i, err := c.expr(item, e)
		if err != nil {
			return "", err
		}
		a, b, err := comparands(x.Pos, "=", v, i)
		if err != nil {
			return "", err
		}
		if a.sql == v.sql && !b.explicit && !value.IsBinary(a.typ) {
			alike = append(alike, b.sql)
			continue
		}
		alone = append(alone, compared("=", a, b))
	}
	if len(alike) > 0 {
		left := v.sql
		if v.coll != "" && !v.base {
			left = "((" + v.sql + ") COLLATE " + v.coll + ")"
		}
		alone = append(alone, "("+left+" IN ("+strings.Join(alike, ", ")+"))")
	}
	return "(" + not + "(" + strings.Join(alone, " OR ") + "))", nil
}

// quantified is x op ANY (query) and x op ALL (query): true when some row
// makes it so, unknown when none does but some comparison is unknown.
func (c *compiler) quantified(x *ast.Quantified, e *env) (string, error) {
	v, err := c.expr(x.X, e)
	if err != nil {
		return "", err
	}
	q, err := c.query(x.Query, e, queryUse{subquery: true})
	if err != nil {
		return "", err
	}
	if len(q.columns) != 1 {
		return "", message(x.Pos, 116, "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.")
	}
	inner := q.columns[0].expr
	inner.sql, inner.base = "c1", false
	cond, err := compare(x.Pos, string(x.Op), v, inner)
	if err != nil {
		return "", err
	}
	from := " FROM (" + q.sql + ")"
	if x.All {
		return fmt.Sprintf("(CASE WHEN EXISTS (SELECT 1%s WHERE NOT %s) THEN 0 WHEN EXISTS (SELECT 1%s WHERE %s IS NULL) THEN NULL ELSE 1 END)", from, cond, from, cond), nil
	}
	return fmt.Sprintf("(CASE WHEN EXISTS (SELECT 1%s WHERE %s) THEN 1 WHEN EXISTS (SELECT 1%s WHERE %s IS NULL) THEN NULL ELSE 0 END)", from, cond, from, cond), nil
}
