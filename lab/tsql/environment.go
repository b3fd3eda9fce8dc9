package tsql

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// rowFunc takes a row.
type rowFunc func(values []any) error

// environment is what a running program asks of its session.
type environment struct {
	s   *Session
	now time.Time
	// collect takes the rows in the client's stead, when it is set.
	collect func(columns []sqltype.Column) rowFunc
	row     rowFunc
	last    []any
	rows    int64
	// sent says that the client has been told of a result set.
	sent  bool
	limit int64
	// full says that SET ROWCOUNT has stopped the program.
	full bool
}

// errFull ends a program that has given as many rows as SET ROWCOUNT allows.
var errFull = errors.New("tsql: SET ROWCOUNT is reached")

func (s *Session) environment() *environment {
	return &environment{s: s, now: s.options.Now().UTC(), limit: s.settings.rowCount}
}

// Value answers a variable's value or a system variable's.
func (e *environment) Value(name string) (any, error) {
	if name == "@@now" {
		return e.now, nil
	}
	if g, ok := globals[lower(name)]; ok {
		return g.value(e.s), nil
	}
	v, ok := e.s.frame.lookup(name)
	if !ok {
		return nil, classed(15, 2, 137, "Must declare the scalar variable \"%s\".", name)
	}
	return v.Value, nil
}

// Assign sets a variable.
func (e *environment) Assign(name string, v any) error {
	target, ok := e.s.frame.lookup(name)
	if !ok {
		return classed(15, 2, 137, "Must declare the scalar variable \"%s\".", name)
	}
	target.Value = v
	return nil
}

// Columns begins a result set.
func (e *environment) Columns(columns []sqltype.Column) error {
	if e.collect != nil {
		e.row = e.collect(columns)
		return nil
	}
	e.row, e.sent = e.s.textSized(columns), true
	return e.s.out.Columns(columns)
}

// textSized cuts values of (max) types as TEXTSIZE says.
// Source: https://learn.microsoft.com/sql/t-sql/statements/set-textsize-transact-sql
func (s *Session) textSized(columns []sqltype.Column) rowFunc {
	most := int(s.settings.textSize)
	if most == maxTextSize || most < 0 {
		return s.out.Row
	}
	if most == 0 {
		most = 4096
	}
	return func(values []any) error {
		cut := slices.Clone(values)
		for i, c := range columns {
			if c.Type.Length == sqltype.Max {
				cut[i] = cutValue(values[i], most, value.IsUnicode(c.Type))
			}
		}
		return s.out.Row(cut)
	}
}

// cutValue keeps so many bytes of a value.
func cutValue(v any, most int, unicode bool) any {
	switch v := v.(type) {
	case string:
		if unicode {
			return value.Slice(v, 0, most/2)
		}
		return value.Slice(v, 0, most)
	case []byte:
		return v[:min(len(v), most)]
	default:
		return v
	}
}

// Row is a row of the result set.
func (e *environment) Row(values []any) error {
	if e.limit > 0 && e.rows >= e.limit {
		e.full = true
		return errFull
	}
	e.rows++
	return e.row(values)
}

// assignable converts a value as an assignment does, which refuses what only
// CAST may do.
func (s *Session) assignable(v any, from, to sqltype.Type) (any, error) {
	if v == nil || from == to {
		return v, nil
	}
	switch value.RuleOf(from, to) {
	case value.Implicit:
	default:
		return nil, message(257, "Implicit conversion from data type %s to %s is not allowed. Use the CONVERT function to run this query.", value.Name(from), value.Name(to))
	}
	out, err := value.Convert(v, from, to)
	if err != nil {
		return nil, fmt.Errorf("convert a value: %w", err)
	}
	return out, nil
}
