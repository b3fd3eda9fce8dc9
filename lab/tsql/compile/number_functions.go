package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// numberScalars are the mathematical functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/mathematical-functions-transact-sql
var numberScalars = func() map[string]scalar {
	all := map[string]scalar{
		"ABS":     {1, 1, func(i *invocation) (expr, error) { return numeric(i, false) }},
		"SIGN":    {1, 1, func(i *invocation) (expr, error) { return numeric(i, false) }},
		"CEILING": {1, 1, func(i *invocation) (expr, error) { return numeric(i, true) }},
		"FLOOR":   {1, 1, func(i *invocation) (expr, error) { return numeric(i, true) }},
		"ROUND":   {2, 3, func(i *invocation) (expr, error) { return numeric(i, false) }},
		"POWER":   {2, 2, power},
		"PI":      {0, 0, func(*invocation) (expr, error) { return literal(3.141592653589793, value.Float), nil }},
		"ATN2":    {2, 2, func(i *invocation) (expr, error) { return i.simple(value.Float, value.Float) }},
		"LOG":     {1, 2, func(i *invocation) (expr, error) { return i.simple(value.Float, value.Float) }},
		"RAND":    {0, 1, random},
		"DEGREES": {1, 1, angle},
		"RADIANS": {1, 1, angle},
	}
	for _, name := range []string{"SQRT", "SQUARE", "EXP", "LOG10", "SIN", "COS", "TAN", "COT", "ASIN", "ACOS", "ATAN"} {
		all[name] = scalar{1, 1, func(i *invocation) (expr, error) { return i.simple(value.Float, value.Float) }}
	}
	return all
}()

// numberOf is argument n as a number: strings become floats, the small whole
// numbers int, reals float.
func (i *invocation) numberOf(n int) (expr, error) {
	e := i.args[n]
	switch {
	case e.null:
		return e.to(value.Int), nil
	case e.typ.Kind == sqltype.TinyInt || e.typ.Kind == sqltype.SmallInt:
		return e.to(value.Int), nil
	case value.IsMoney(e.typ):
		return e.to(value.Money), nil
	case e.typ.Kind == sqltype.Bit, value.IsFloat(e.typ), value.IsString(e.typ):
		return e.to(value.Float), nil
	case value.IsNumber(e.typ):
		return e, nil
	default:
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument %d of %s function.", value.Name(e.typ), n+1, strings.ToLower(i.name))
	}
}

// numeric is a function whose result has its argument's type, a decimal
// without its fraction when it makes whole numbers.
func numeric(i *invocation, whole bool) (expr, error) {
	a, err := i.numberOf(0)
	if err != nil {
		return expr{}, err
	}
	t := a.typ
	if t.Kind == sqltype.Decimal && whole {
		t = value.DecimalOf(int(t.Precision), 0)
	}
	if i.name == "SIGN" && t.Kind == sqltype.Decimal && t.Precision == t.Scale {
		t = value.DecimalOf(int(t.Precision)+1, int(t.Scale)) // -1 and 1 must fit
	}
	args := []expr{a}
	for n := 1; n < len(i.args); n++ {
		arg, err := i.as(n, value.BigInt)
		if err != nil {
			return expr{}, err
		}
		args = append(args, arg)
	}
	return call(i.name, "", t, args...), nil
}

// angle has its argument's type, so that the radians of a whole number are a
// whole number; a decimal's is decimal(38, 18).
// Source: https://learn.microsoft.com/sql/t-sql/functions/radians-transact-sql
func angle(i *invocation) (expr, error) {
	a, err := i.numberOf(0)
	if err != nil {
		return expr{}, err
	}
	t := a.typ
	if t.Kind == sqltype.Decimal {
		t = value.DecimalOf(38, 18)
	}
	return call(i.name, "", t, a), nil
}

// power has its first argument's type; a decimal's is decimal(38, s).
func power(i *invocation) (expr, error) {
	a, err := i.numberOf(0)
	if err != nil {
		return expr{}, err
	}
	y, err := i.as(1, value.Float)
	if err != nil {
		return expr{}, err
	}
	t := a.typ
	if t.Kind == sqltype.Decimal {
		t = value.DecimalOf(38, int(t.Scale))
	}
	return call("POWER", "", t, a, y), nil
}

// random is RAND(), one number for the whole statement; a seed would need
// SQL Server's own generator.
func random(i *invocation) (expr, error) {
	if len(i.args) > 0 {
		return expr{}, refuse(i.x.Pos, "RAND(seed)")
	}
	out := callAs(builtin.Volatile, "RAND", "", value.Float)
	out.sql = "(SELECT " + out.sql + ")"
	return out, nil
}
