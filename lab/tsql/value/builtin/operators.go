package builtin

import (
	"bytes"
	"math"
	"math/bits"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// operators are the arithmetic ones, all of one result type, and LIKE.
var operators = map[string]function{
	"+":   {call: func(a *arguments) (any, error) { return arithmetic('+', a) }},
	"-":   {call: func(a *arguments) (any, error) { return arithmetic('-', a) }},
	"*":   {call: func(a *arguments) (any, error) { return arithmetic('*', a) }},
	"/":   {call: func(a *arguments) (any, error) { return arithmetic('/', a) }},
	"%":   {call: func(a *arguments) (any, error) { return arithmetic('%', a) }},
	"neg": {call: negate},
	// like(x, pattern, escape)
	"like":  {call: func(a *arguments) (any, error) { return like(a, true) }},
	"nlike": {call: func(a *arguments) (any, error) { return like(a, false) }},
	// bkey(binary): what tells binary values apart.
	"bkey": {call: func(a *arguments) (any, error) {
		b, _ := a.vals[0].([]byte)
		return bytes.TrimRight(b, "\x00"), nil
	}},
	"bytes": {call: func(a *arguments) (any, error) {
		// + of binary values.
		l, _ := a.vals[0].([]byte)
		r, _ := a.vals[1].([]byte)
		return value.Convert(append(append([]byte{}, l...), r...), sqltype.Type{Kind: sqltype.VarBinary, Length: sqltype.Max}, a.ret)
	}},
	"time+": {call: func(a *arguments) (any, error) { return addTimes(a, 1) }},
	"time-": {call: func(a *arguments) (any, error) { return addTimes(a, -1) }},
}

// like is LIKE; blanks at the end of a varchar do not count, those of an
// nvarchar do.
func like(a *arguments, blanks bool) (any, error) {
	escape := rune(0)
	if len(a.vals) > 2 {
		e := []rune(a.text(2))
		if len(e) != 1 {
			return nil, value.Errorf(506, "The invalid escape character \"%s\" was specified in a LIKE predicate.", a.text(2))
		}
		escape = e[0]
	}
	if blanks {
		return value.Like(a.text(0), a.text(1), escape, a.extra), nil
	}
	return value.LikeExactly(a.text(0), a.text(1), escape, a.extra), nil
}

func arithmetic(op byte, a *arguments) (any, error) {
	switch {
	case value.IsFloat(a.ret):
		return floats(op, a)
	case value.IsInteger(a.ret):
		return whole(op, a.int(0), a.int(1), a.ret)
	}
	l, err := number(a.vals[0], a.types[0])
	if err != nil {
		return nil, err
	}
	r, err := number(a.vals[1], a.types[1])
	if err != nil {
		return nil, err
	}
	var n sqltype.Number
	if value.IsMoney(a.ret) {
		n, err = value.CalculateMoney(op, l, r, a.ret)
	} else {
		n, err = value.Calculate(op, l, r, a.ret)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// number is an exact value as a Number.
func number(v any, t sqltype.Type) (sqltype.Number, error) {
	if n, ok := v.(sqltype.Number); ok {
		return n, nil
	}
	out, err := value.Convert(v, t, value.AsDecimal(t))
	n, _ := out.(sqltype.Number)
	return n, err
}

func floats(op byte, a *arguments) (any, error) {
	l, r := a.float(0), a.float(1)
	var f float64
	switch op {
	case '+':
		f = l + r
	case '-':
		f = l - r
	case '*':
		f = l * r
	case '/':
		if r == 0 {
			return nil, value.DivideByZero()
		}
		f = l / r
	default:
		if r == 0 {
			return nil, value.DivideByZero()
		}
		f = math.Mod(l, r)
	}
	return value.FitFloat(f, a.ret)
}

func whole(op byte, l, r int64, t sqltype.Type) (any, error) {
	var n int64
	over := false
	switch op {
	case '+':
		n = l + r
		over = (n > l) != (r > 0) && r != 0
	case '-':
		n = l - r
		over = (n < l) != (r > 0) && r != 0
	case '*':
		hi, lo := bits.Mul64(uint64(abs(l)), uint64(abs(r)))
		n = l * r
		over = hi != 0 || lo > 1<<63 || lo == 1<<63 && (l < 0) == (r < 0)
	case '/', '%':
		if r == 0 {
			return nil, value.DivideByZero()
		}
		switch {
		case r == -1 && op == '%':
			n = 0
		case r == -1:
			n, over = -l, l == math.MinInt64
		case op == '/':
			n = l / r
		default:
			n = l % r
		}
	}
	if over || !value.InRange(n, t) {
		return nil, value.Overflow(t)
	}
	return n, nil
}

// abs is the magnitude, right as a uint64 also for the smallest number.
func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

func negate(a *arguments) (any, error) {
	switch v := a.vals[0].(type) {
	case int64:
		return whole('-', 0, v, a.ret)
	case float64:
		return -v, nil
	case sqltype.Number:
		if value.IsMoney(a.ret) {
			return value.CalculateMoney('-', sqltype.Number{Unscaled: zero(), Scale: 4}, v, a.ret)
		}
		return value.Calculate('-', sqltype.Number{Unscaled: zero(), Scale: v.Scale}, v, a.ret)
	default:
		return nil, value.Errorf(8117, "Operand data type %s is invalid for minus operator.", value.Name(a.types[0]))
	}
}

// addTimes is datetime + datetime, which adds their distances from 1900.
func addTimes(a *arguments, sign float64) (any, error) {
	l, err := value.Encode(value.DateTime, a.vals[0])
	if err != nil {
		return nil, err
	}
	r, err := value.Encode(value.DateTime, a.vals[1])
	if err != nil {
		return nil, err
	}
	x, _ := l.(int64)
	y, _ := r.(int64)
	t, err := value.Decode(value.DateTime, x+int64(sign)*y)
	if err != nil {
		return nil, err
	}
	out, err := value.Convert(t, value.DateTime, a.ret)
	if err != nil {
		return nil, value.Overflow(a.ret)
	}
	return out, nil
}
