package builtin

import (
	"math"
	"math/big"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

func zero() *big.Int { return new(big.Int) }

// number38 is a whole number as a decimal.
func number38(u *big.Int) sqltype.Number { return sqltype.Number{Unscaled: new(big.Int).Set(u)} }

// numbers are the mathematical functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/mathematical-functions-transact-sql
var numbers = map[string]function{
	"ABS": {call: func(a *arguments) (any, error) {
		switch v := a.vals[0].(type) {
		case int64:
			if v < 0 {
				return whole('-', 0, v, a.ret)
			}
		case float64:
			return math.Abs(v), nil
		case sqltype.Number:
			return sqltype.Number{Unscaled: new(big.Int).Abs(v.Unscaled), Scale: v.Scale}, nil
		}
		return a.vals[0], nil
	}},
	"SIGN": {call: func(a *arguments) (any, error) {
		s := 0
		switch v := a.vals[0].(type) {
		case int64:
			s = big.NewInt(v).Sign()
		case float64:
			s = big.NewFloat(v).Sign()
		case sqltype.Number:
			s = v.Unscaled.Sign()
		}
		return value.Convert(int64(s), value.Int, a.ret)
	}},
	"CEILING": {call: func(a *arguments) (any, error) { return toWhole(a, math.Ceil, 1) }},
	"FLOOR":   {call: func(a *arguments) (any, error) { return toWhole(a, math.Floor, -1) }},
	"ROUND":   {call: round},
	"POWER":   {call: power},
	"SQRT":    {call: ofFloat(math.Sqrt)},
	"SQUARE":  {call: ofFloat(func(f float64) float64 { return f * f })},
	"EXP":     {call: ofFloat(math.Exp)},
	"LOG10":   {call: ofFloat(math.Log10)},
	"SIN":     {call: ofFloat(math.Sin)},
	"COS":     {call: ofFloat(math.Cos)},
	"TAN":     {call: ofFloat(math.Tan)},
	"COT":     {call: ofFloat(func(f float64) float64 { return 1 / math.Tan(f) })},
	"ASIN":    {call: ofFloat(math.Asin)},
	"ACOS":    {call: ofFloat(math.Acos)},
	"ATAN":    {call: ofFloat(math.Atan)},
	"DEGREES": {call: angle(func(f float64) float64 { return f * 180 / math.Pi })},
	"RADIANS": {call: angle(func(f float64) float64 { return f * math.Pi / 180 })},
	"ATN2":    {call: func(a *arguments) (any, error) { return value.FitFloat(math.Atan2(a.float(0), a.float(1)), a.ret) }},
	"LOG": {call: func(a *arguments) (any, error) {
		f := math.Log(a.float(0))
		if a.float(0) <= 0 {
			f = math.NaN()
		}
		if len(a.vals) > 1 {
			f /= math.Log(a.float(1))
		}
		return value.FitFloat(f, a.ret)
	}},
	// divide(sum, count): AVG.
	"average": {call: func(a *arguments) (any, error) {
		n := a.int(1)
		if n == 0 {
			return nil, nil
		}
		switch v := a.vals[0].(type) {
		case int64:
			return whole('/', v, n, a.ret)
		case float64:
			return v / float64(n), nil
		case sqltype.Number:
			count := sqltype.Number{Unscaled: big.NewInt(n)}
			if value.IsMoney(a.ret) {
				return value.CalculateMoney('/', v, count, a.ret)
			}
			return value.Calculate('/', v, count, a.ret)
		}
		return nil, nil
	}},
}

// ofFloat is a function of one float; an outcome that is none is error 3623.
func ofFloat(f func(float64) float64) func(a *arguments) (any, error) {
	return func(a *arguments) (any, error) {
		out := f(a.float(0))
		if math.IsInf(out, -1) && a.float(0) == 0 {
			out = math.NaN() // LOG10(0)
		}
		return value.FitFloat(out, a.ret)
	}
}

// angle is a function of an angle, in the type of its argument.
func angle(f func(float64) float64) func(a *arguments) (any, error) {
	return func(a *arguments) (any, error) {
		v, err := value.Convert(a.vals[0], a.types[0], value.Float)
		if err != nil {
			return nil, err
		}
		x, _ := v.(float64)
		return value.Convert(f(x), value.Float, a.ret)
	}
}

// toWhole is CEILING (direction 1) or FLOOR (-1).
func toWhole(a *arguments, f func(float64) float64, direction int) (any, error) {
	switch v := a.vals[0].(type) {
	case float64:
		return f(v), nil
	case sqltype.Number:
		ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(v.Scale)), nil)
		q, r := new(big.Int).QuoRem(v.Unscaled, ten, new(big.Int))
		if r.Sign() == direction {
			q.Add(q, big.NewInt(int64(direction)))
		}
		return value.Convert(sqltype.Number{Unscaled: q}, value.DecimalOf(38, 0), a.ret)
	default:
		return v, nil
	}
}

// round is ROUND(x, length, function): rounds half away from zero, or cuts
// when the function is not 0.
func round(a *arguments) (any, error) {
	length, cut := a.int(1), len(a.vals) > 2 && a.int(2) != 0
	switch v := a.vals[0].(type) {
	case float64:
		return roundFloat(v, length, cut), nil
	case int64:
		n := roundNumber(sqltype.Number{Unscaled: big.NewInt(v)}, length, cut)
		if !n.Unscaled.IsInt64() || !value.InRange(n.Unscaled.Int64(), a.ret) {
			return nil, value.Overflow(a.ret)
		}
		return n.Unscaled.Int64(), nil
	case sqltype.Number:
		n := roundNumber(v, length, cut)
		return value.Convert(n, value.DecimalOf(38, int(n.Scale)), a.ret)
	default:
		return v, nil
	}
}

func roundFloat(f float64, length int64, cut bool) float64 {
	if length > 300 || length < -300 {
		if length > 0 {
			return f
		}
		return 0
	}
	p := math.Pow(10, float64(length))
	if cut {
		return math.Trunc(f*p) / p
	}
	return math.Round(f*p) / p
}

func roundNumber(n sqltype.Number, length int64, cut bool) sqltype.Number {
	drop := int64(n.Scale) - length
	if drop <= 0 {
		return n
	}
	if drop > 60 {
		return sqltype.Number{Unscaled: zero(), Scale: n.Scale}
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(drop), nil)
	q, r := new(big.Int).QuoRem(n.Unscaled, unit, new(big.Int))
	if !cut && new(big.Int).Lsh(r, 1).CmpAbs(unit) >= 0 {
		q.Add(q, big.NewInt(int64(n.Unscaled.Sign())))
	}
	return sqltype.Number{Unscaled: q.Mul(q, unit), Scale: n.Scale}
}

// power is POWER(x, y), in the type of x.
func power(a *arguments) (any, error) {
	base, err := value.Convert(a.vals[0], a.types[0], value.Float)
	if err != nil {
		return nil, err
	}
	f, _ := base.(float64)
	if f == 0 && a.float(1) < 0 {
		return nil, value.DivideByZero()
	}
	out, err := value.FitFloat(math.Pow(f, a.float(1)), value.Float)
	if err != nil {
		return nil, err
	}
	if value.IsInteger(a.ret) {
		got, err := value.Convert(out, value.Float, a.ret)
		if err != nil {
			return nil, value.Errorf(232, "Arithmetic overflow error for type %s, value = %f.", value.Name(a.ret), out)
		}
		return got, nil
	}
	return value.Convert(out, value.Float, a.ret)
}
