package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// operatorNames are the operators as error 8117 and 402 name them.
var operatorNames = map[ast.ArithmeticOperator]string{
	ast.Add: "add", ast.Subtract: "subtract", ast.Multiply: "multiply", ast.Divide: "divide", ast.Modulo: "modulo",
	ast.BitwiseAnd: "'&'", ast.BitwiseOr: "'|'", ast.BitwiseXor: "'^'",
}

func (c *compiler) unary(x *ast.Unary, e *env) (expr, error) {
	got, err := c.expr(x.X, e)
	if err != nil {
		return expr{}, err
	}
	switch x.Op {
	case ast.Positive:
		return got, nil
	case ast.BitwiseNot:
		if !value.IsInteger(got.typ) {
			return expr{}, message(x.Pos, 8117, "Operand data type %s is invalid for '~' operator.", value.Name(got.typ))
		}
		out := expr{sql: "(~(" + got.sql + "))", typ: got.typ, nullable: got.nullable, single: true}
		switch got.typ.Kind {
		case sqltype.Bit:
			out.sql = "(1-(" + got.sql + "))"
		case sqltype.TinyInt:
			out.sql = "(255-(" + got.sql + "))"
		default:
		}
		return out, nil
	default:
	}
	if got.null {
		return got, nil
	}
	if value.IsString(got.typ) {
		return expr{}, message(x.Pos, 8117, "Operand data type %s is invalid for minus operator.", value.Name(got.typ))
	}
	if !value.IsNumber(got.typ) || got.typ.Kind == sqltype.Bit {
		return expr{}, message(x.Pos, 8117, "Operand data type %s is invalid for minus operator.", value.Name(got.typ))
	}
	t := got.typ
	if t.Kind == sqltype.TinyInt {
		t = sqltype.Type{Kind: sqltype.SmallInt}
		got = got.to(t)
	}
	if l, ok := x.X.(*ast.Literal); ok && got.constant != nil {
		if folded, ok := negated(l, got); ok {
			return folded, nil
		}
	}
	return call("neg", "", t, got), nil
}

// negated is a literal with its sign turned.
func negated(l *ast.Literal, got expr) (expr, bool) {
	switch v := got.constant.(type) {
	case int64:
		e := literal(-v, got.typ)
		e.written = got.written
		return e, true
	case float64:
		return literal(-v, got.typ), true
	case sqltype.Number:
		if l.Text == "2147483648" {
			// It is a numeric even with its sign, as in SQL Server.
			break
		}
	}
	return expr{}, false
}

func (c *compiler) arithmetic(x *ast.Arithmetic, e *env) (expr, error) {
	l, err := c.expr(x.L, e)
	if err != nil {
		return expr{}, err
	}
	r, err := c.expr(x.R, e)
	if err != nil {
		return expr{}, err
	}
	return operate(x.Pos, x.Op, l, r)
}

// operate is l op r.
func operate(pos ast.Pos, op ast.ArithmeticOperator, l, r expr) (expr, error) {
	switch {
	case l.null && r.null:
		return l, nil
	case l.null:
		l = l.to(r.typ)
	case r.null:
		r = r.to(l.typ)
	}
	switch op {
	case ast.BitwiseAnd, ast.BitwiseOr, ast.BitwiseXor:
		return bitwise(pos, op, l, r)
	case ast.Add:
		if value.IsString(l.typ) && value.IsString(r.typ) {
			return concat(l, r), nil
		}
		if value.IsBinary(l.typ) && value.IsBinary(r.typ) {
			t := sqltype.Type{Kind: sqltype.VarBinary, Length: sumLength(l.typ, r.typ, 8000)}
			return call("bytes", "", t, l, r), nil
		}
	default:
	}
	if out, ok, err := timeArithmetic(pos, op, l, r); ok || err != nil {
		return out, err
	}
	t := l.typ
	if value.Higher(r.typ, l.typ) {
		t = r.typ
	}
	if !value.IsNumber(t) || t.Kind == sqltype.Bit {
		return expr{}, incompatible(pos, op, l, r)
	}
	if value.IsFloat(t) && op == ast.Modulo {
		return expr{}, message(pos, 402, "The data types %s and %s are incompatible in the modulo operator.", value.Name(l.typ), value.Name(r.typ))
	}
	if t.Kind == sqltype.Decimal {
		return decimals(pos, op, l, r)
	}
	var err error
	if l, err = assign(pos, l, t); err != nil {
		return expr{}, err
	}
	if r, err = assign(pos, r, t); err != nil {
		return expr{}, err
	}
	return call(string(op), "", t, l, r), nil
}

// decimals keeps the operands' own precision: the result's follows from it.
func decimals(pos ast.Pos, op ast.ArithmeticOperator, l, r expr) (expr, error) {
	side := func(x, other expr) (expr, error) {
		if x.typ.Kind == sqltype.Decimal {
			return x, nil
		}
		if value.IsInteger(x.typ) || value.IsMoney(x.typ) {
			t := value.AsDecimal(x.typ)
			if n, ok := x.constant.(int64); ok && x.written {
				// A literal has just the digits that it needs.
				t = value.DecimalOf(len(strings.TrimPrefix(literal(n, value.BigInt).sqlDigits(), "-")), 0)
			}
			return x.to(t), nil
		}
		return assign(pos, x, other.typ)
	}
	a, err := side(l, r)
	if err != nil {
		return expr{}, err
	}
	b, err := side(r, l)
	if err != nil {
		return expr{}, err
	}
	return call(string(op), "", value.DecimalResult(op[0], a.typ, b.typ), a, b), nil
}

// sqlDigits are the digits of a whole number literal.
func (e expr) sqlDigits() string { return strings.Trim(e.sql, "()-") }

func incompatible(pos ast.Pos, op ast.ArithmeticOperator, l, r expr) error {
	if l.typ.Kind == r.typ.Kind {
		return message(pos, 8117, "Operand data type %s is invalid for %s operator.", value.Name(l.typ), operatorNames[op])
	}
	if value.RuleOf(l.typ, r.typ) == value.Never || value.RuleOf(r.typ, l.typ) == value.Never {
		return message(pos, 206, "Operand type clash: %s is incompatible with %s", value.Name(l.typ), value.Name(r.typ))
	}
	return message(pos, 402, "The data types %s and %s are incompatible in the %s operator.", value.Name(l.typ), value.Name(r.typ), operatorNames[op])
}

// sumLength is the length of two values one behind the other.
func sumLength(a, b sqltype.Type, limit int) int {
	if a.Length == sqltype.Max || b.Length == sqltype.Max {
		return sqltype.Max
	}
	return min(a.Length+b.Length, limit)
}

// concat is + of strings.
func concat(l, r expr) expr {
	t := value.VarChar(sumLength(l.typ, r.typ, 8000))
	if value.IsUnicode(l.typ) || value.IsUnicode(r.typ) {
		t = value.NVarChar(sumLength(l.typ, r.typ, 4000))
	}
	out := expr{sql: "(" + l.sql + " || " + r.sql + ")", typ: t, nullable: l.nullable || r.nullable, coll: l.coll, explicit: l.explicit, single: true}
	if r.explicit && !l.explicit {
		out.coll, out.explicit = r.coll, true
	}
	if t.Length != sqltype.Max && l.typ.Length+r.typ.Length > t.Length {
		wide := out
		wide.typ = value.NVarChar(sqltype.Max)
		if !value.IsUnicode(t) {
			wide.typ = value.VarChar(sqltype.Max)
		}
		cut := call("cast", "", t, wide)
		cut.coll, cut.explicit, cut.nullable = out.coll, out.explicit, out.nullable
		return cut
	}
	return out
}

func bitwise(pos ast.Pos, op ast.ArithmeticOperator, l, r expr) (expr, error) {
	t := l.typ
	if value.Higher(r.typ, l.typ) {
		t = r.typ
	}
	if !value.IsInteger(t) || value.IsBinary(l.typ) && value.IsBinary(r.typ) {
		return expr{}, message(pos, 402, "The data types %s and %s are incompatible in the %s operator.", value.Name(l.typ), value.Name(r.typ), operatorNames[op])
	}
	var err error
	if l, err = assign(pos, l, t); err != nil {
		return expr{}, err
	}
	if r, err = assign(pos, r, t); err != nil {
		return expr{}, err
	}
	out := expr{typ: t, nullable: l.nullable || r.nullable, single: true, sql: "((" + l.sql + ") " + string(op) + " (" + r.sql + "))"}
	if op == ast.BitwiseXor {
		out.sql = "(((" + l.sql + ") | (" + r.sql + ")) - ((" + l.sql + ") & (" + r.sql + ")))"
	}
	return out, nil
}

// timeArithmetic is datetime + number and datetime - datetime, which only the
// old types have.
func timeArithmetic(pos ast.Pos, op ast.ArithmeticOperator, l, r expr) (expr, bool, error) {
	if !value.IsTime(l.typ) && !value.IsTime(r.typ) {
		return expr{}, false, nil
	}
	old := func(t sqltype.Type) bool { return t.Kind == sqltype.DateTime || t.Kind == sqltype.SmallDateTime }
	if op != ast.Add && op != ast.Subtract {
		return expr{}, false, incompatible(pos, op, l, r)
	}
	if value.IsTime(l.typ) && !old(l.typ) || value.IsTime(r.typ) && !old(r.typ) {
		return expr{}, false, incompatible(pos, op, l, r)
	}
	t := value.DateTime
	if l.typ.Kind == sqltype.SmallDateTime && r.typ.Kind != sqltype.DateTime || r.typ.Kind == sqltype.SmallDateTime && l.typ.Kind != sqltype.DateTime {
		t = sqltype.Type{Kind: sqltype.SmallDateTime}
	}
	a, err := assign(pos, l, value.DateTime)
	if err != nil {
		return expr{}, false, err
	}
	b, err := assign(pos, r, value.DateTime)
	if err != nil {
		return expr{}, false, err
	}
	return call("time"+string(op), "", t, a, b), true, nil
}
