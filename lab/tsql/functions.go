package tsql

import (
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// function is a T-SQL function that the session answers.
type function struct {
	least, most int // numbers of arguments
	args        []sqltype.Type
	result      sqltype.Type
	call        func(s *Session, args []any) (any, error)
}

// functionNamed is compile.Scope's Function.
func (s *Session) functionNamed(name string, args int) (compile.Function, bool) {
	f, ok := s.functions[name]
	if !ok || args < f.least || args > f.most {
		return compile.Function{}, false
	}
	return compile.Function{Stored: "ck_" + lower(name), Args: f.args, Result: f.result, Nullable: true}, true
}

// registerFunctions makes the session's functions known to its connection.
func (s *Session) registerFunctions() error {
	s.functions = map[string]function{}
	for _, group := range []map[string]function{errorFunctions(), sessionFunctions(), nameFunctions(), propertyFunctions(), securityFunctions()} {
		for name, f := range group {
			s.functions[name] = f
			if err := s.conn.CreateFunction("ck_"+lower(name), -1, 0, s.callable(f)); err != nil {
				return fmt.Errorf("register function %s: %w", name, err)
			}
		}
	}
	if err := s.conn.CreateFunction("ck_identity", 1, 0, s.nextIdentity); err != nil {
		return fmt.Errorf("register identity values: %w", err)
	}
	if err := s.conn.CreateFunction("ck_identity_seen", 2, 0, s.explicitIdentity); err != nil {
		return fmt.Errorf("register identity values: %w", err)
	}
	return nil
}

// callable is a function as SQLite calls it.
func (s *Session) callable(f function) sqlite3.ScalarFunction {
	return func(ctx sqlite3.Context, raw ...sqlite3.Value) {
		args := make([]any, len(raw))
		for i, v := range raw {
			t := textType
			if n := len(f.args); n > 0 {
				t = f.args[min(i, n-1)]
			}
			var err error
			if args[i], err = value.Arg(v, t); err != nil {
				value.Raise(ctx, err)
				return
			}
		}
		result, err := f.call(s, args)
		if err != nil {
			value.Raise(ctx, err)
			return
		}
		value.Result(ctx, f.result, result)
	}
}

// text is an argument that is a string; ok is false for NULL or one left out.
func argText(args []any, i int) (string, bool) {
	if i >= len(args) {
		return "", false
	}
	v, ok := args[i].(string)
	return strings.TrimRight(v, " "), ok
}

func argInt(args []any, i int) (int64, bool) {
	if i >= len(args) {
		return 0, false
	}
	v, ok := args[i].(int64)
	return v, ok
}

// caught is the error of the innermost CATCH that is open.
func (s *Session) caught() (sqltype.Message, bool) {
	for f := s.frame; f != nil; f = f.parent {
		if n := len(f.caught); n > 0 {
			return f.caught[n-1], true
		}
	}
	return sqltype.Message{}, false
}

// errorFunctions are ERROR_NUMBER and its kin: NULL outside a CATCH.
// Source: https://learn.microsoft.com/sql/t-sql/functions/error-number-transact-sql
func errorFunctions() map[string]function {
	of := func(t sqltype.Type, get func(m sqltype.Message) any) function {
		return function{result: t, call: func(s *Session, _ []any) (any, error) {
			if m, ok := s.caught(); ok {
				return get(m), nil
			}
			return nil, nil
		}}
	}
	return map[string]function{
		"ERROR_NUMBER":   of(intType, func(m sqltype.Message) any { return int64(m.Number) }),
		"ERROR_MESSAGE":  of(textType, func(m sqltype.Message) any { return m.Text }),
		"ERROR_SEVERITY": of(intType, func(m sqltype.Message) any { return int64(m.Class) }),
		"ERROR_STATE":    of(intType, func(m sqltype.Message) any { return int64(m.State) }),
		"ERROR_LINE":     of(intType, func(m sqltype.Message) any { return int64(m.Line) }),
		"ERROR_PROCEDURE": of(sysname, func(m sqltype.Message) any {
			if m.Procedure == "" {
				return nil
			}
			return m.Procedure
		}),
	}
}

// sessionFunctions tell of the session.
func sessionFunctions() map[string]function {
	of := func(t sqltype.Type, get func(s *Session) any) function {
		return function{result: t, call: func(s *Session, _ []any) (any, error) { return get(s), nil }}
	}
	return map[string]function{
		"XACT_STATE":     of(smallType, func(s *Session) any { return s.txn.state() }),
		"SCOPE_IDENTITY": of(identityType, func(s *Session) any { return s.frame.scopeIdentity }),
		"ROWCOUNT_BIG":   of(bigIntType, func(s *Session) any { return s.rowCount }),
		"APP_NAME":       of(sysname, func(s *Session) any { return s.options.AppName }),
		"HOST_NAME":      of(sysname, func(s *Session) any { return s.options.HostName }),
		"HOST_ID":        of(char(10), func(*Session) any { return "1         " }),
		"CURRENT_TRANSACTION_ID": of(bigIntType, func(s *Session) any {
			return int64(s.txn.descriptor)
		}),
		"SESSION_CONTEXT": {least: 1, most: 1, args: []sqltype.Type{sysname}, result: textType, call: func(s *Session, args []any) (any, error) {
			key, ok := argText(args, 0)
			if !ok {
				return nil, message(15665, "The value was not set for key '' because the key is NULL.")
			}
			return s.context[lower(key)].value, nil
		}},
		"FORMATMESSAGE": {least: 1, most: 21, args: []sqltype.Type{textType}, result: textType, call: func(_ *Session, args []any) (any, error) {
			format, ok := args[0].(string)
			if !ok {
				return nil, nil
			}
			typed := make([]typedValue, len(args)-1)
			for i, v := range args[1:] {
				typed[i] = typedValue{value: v, kind: textType, loose: true}
			}
			return formatMessage(format, typed)
		}},
		"IDENT_CURRENT": {least: 1, most: 1, args: []sqltype.Type{sysname}, result: identityType, call: identCurrent},
		"IDENT_SEED":    {least: 1, most: 1, args: []sqltype.Type{sysname}, result: identityType, call: identSeed},
		"IDENT_INCR":    {least: 1, most: 1, args: []sqltype.Type{sysname}, result: identityType, call: identIncrement},
	}
}

// identityOf finds the identity column that an argument names a table of.
func (s *Session) identityOf(args []any) (id int32, seed, increment int64, ok bool) {
	name, ok := argText(args, 0)
	if !ok {
		return 0, 0, 0, false
	}
	o, ok := s.objectNamed(name)
	if !ok || o.Table == nil || !s.visible(o) {
		return 0, 0, 0, false
	}
	c := identityColumn(o.Table)
	if c == nil {
		return 0, 0, 0, false
	}
	return o.ID, c.Seed, c.Increment, true
}

func identCurrent(s *Session, args []any) (any, error) {
	id, seed, _, ok := s.identityOf(args)
	if !ok {
		return nil, nil
	}
	c, err := s.counterOf(id)
	if err != nil {
		return nil, err
	}
	if !c.some {
		return sqltype.Number{Unscaled: bigInt(seed)}, nil
	}
	return sqltype.Number{Unscaled: bigInt(c.last)}, nil
}

func identSeed(s *Session, args []any) (any, error) {
	_, seed, _, ok := s.identityOf(args)
	if !ok {
		return nil, nil
	}
	return sqltype.Number{Unscaled: bigInt(seed)}, nil
}

func identIncrement(s *Session, args []any) (any, error) {
	_, _, increment, ok := s.identityOf(args)
	if !ok {
		return nil, nil
	}
	return sqltype.Number{Unscaled: bigInt(increment)}, nil
}
