package builtin

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// functions are the scalar functions by the name in their signature.
var functions = func() map[string]function {
	all := map[string]function{}
	for _, group := range []map[string]function{conversions, operators, texts, numbers, dates, systems} {
		for name, f := range group {
			all[name] = f
		}
	}
	return all
}()

// conversions are CAST and what guards a column.
var conversions = map[string]function{
	// CAST(x, style)
	"cast": {call: func(a *arguments) (any, error) {
		return value.ConvertStyle(a.vals[0], a.types[0], a.ret, a.style())
	}},
	"try_cast": {call: func(a *arguments) (any, error) {
		out, err := value.ConvertStyle(a.vals[0], a.types[0], a.ret, a.style())
		if err != nil {
			return nil, nil
		}
		return out, nil
	}},
	// store(x, table, column): the value of a column, error 2628 when it is
	// too long for it.
	"store": {nulls: true, call: func(a *arguments) (any, error) {
		out, cut, err := value.Store(a.vals[0], a.types[0], a.ret)
		if cut {
			shown := value.Print(out, a.ret)
			return nil, value.Errorf(2628, "String or binary data would be truncated in table '%s', column '%s'. Truncated value: '%s'.", a.text(1), a.text(2), shown)
		}
		return out, err
	}},
	// notnull(x, column, table, verb): error 515.
	"notnull": {nulls: true, call: func(a *arguments) (any, error) {
		if a.vals[0] == nil {
			return nil, value.Errorf(515, "Cannot insert the value NULL into column '%s', table '%s'; column does not allow nulls. %s fails.", a.text(1), a.text(2), a.text(3))
		}
		return a.vals[0], nil
	}},
	// guard(condition, text): error 547 unless the condition is true or
	// unknown.
	"guard": {nulls: true, call: func(a *arguments) (any, error) {
		if n, ok := a.vals[0].(int64); ok && n == 0 {
			return nil, sqltype.Message{Number: 547, State: 0, Class: 16, Text: a.text(1)}
		}
		return int64(1), nil
	}},
}

func (a *arguments) style() int {
	if len(a.vals) < 2 {
		return value.NoStyle
	}
	return int(a.int(1))
}
