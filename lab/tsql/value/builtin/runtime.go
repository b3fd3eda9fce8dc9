// Package builtin has the functions, aggregates and collations that compiled
// T-SQL calls in SQLite.
//
// Scalar functions all go through one SQLite function, whose first argument
// is a signature that Signature writes: the function's name and the types of
// its arguments and result. Values are decoded, the Go function is called and
// its answer encoded. NULL among the arguments makes NULL, but for the few
// functions that look at it themselves.
package builtin

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// The names under which SQLite has the functions: of one that answers the
// same for the same arguments, and of one that does not.
const (
	Pure     = "ck"
	Volatile = "ckv"
)

// Runtime is one connection's functions. It is used by the goroutine that
// uses the connection.
type Runtime struct {
	conn       *sqlite3.Conn
	random     io.Reader
	signatures map[string]*signature
	statements map[string]*sqlite3.Stmt
	recent     []string
}

// keptStatements is how many prepared statements a connection keeps.
const keptStatements = 64

// Register makes the functions known to a connection. NEWID and RAND take
// their bits from random.
func Register(c *sqlite3.Conn, random io.Reader) (*Runtime, error) {
	r := &Runtime{conn: c, random: random, signatures: map[string]*signature{}, statements: map[string]*sqlite3.Stmt{}}
	for _, name := range []string{value.Collation, value.CaseCollation, value.BinaryCollation, value.OffsetCollation} {
		if err := c.CreateCollation(name, value.ComparatorOf(name)); err != nil {
			return nil, fmt.Errorf("registering collation %s: %w", name, err)
		}
	}
	if err := c.CreateFunction(Pure, -1, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, r.call); err != nil {
		return nil, fmt.Errorf("registering functions: %w", err)
	}
	if err := c.CreateFunction(Volatile, -1, 0, r.call); err != nil {
		return nil, fmt.Errorf("registering functions: %w", err)
	}
	if err := registerAggregates(c); err != nil {
		return nil, err
	}
	if err := registerPack(c); err != nil {
		return nil, err
	}
	return r, nil
}

// Prepare gives a prepared statement, kept from an earlier call if possible.
// The caller must hand it back to Release, and not prepare the same text again
// before.
func (r *Runtime) Prepare(sql string) (*sqlite3.Stmt, error) {
	if s, ok := r.statements[sql]; ok {
		delete(r.statements, sql)
		for i, text := range r.recent {
			if text == sql {
				r.recent = append(r.recent[:i], r.recent[i+1:]...)
				break
			}
		}
		return s, nil
	}
	s, tail, err := r.conn.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("preparing a statement: %w", err)
	}
	if strings.TrimSpace(tail) != "" || s == nil {
		if s != nil {
			err = s.Close()
		}
		return nil, fmt.Errorf("preparing a statement: not exactly one (%q): %w", sql, err)
	}
	return s, nil
}

// Release takes a statement back; keep says that it may be used again.
func (r *Runtime) Release(s *sqlite3.Stmt, sql string, keep bool) error {
	// A statement that failed says so again when it is reset.
	_ = s.Reset()
	if _, there := r.statements[sql]; !keep || there {
		return s.Close()
	}
	if err := s.ClearBindings(); err != nil {
		return fmt.Errorf("clearing bindings: %w", err)
	}
	r.statements[sql] = s
	r.recent = append(r.recent, sql)
	if len(r.recent) <= keptStatements {
		return nil
	}
	oldest := r.recent[0]
	r.recent = r.recent[1:]
	old := r.statements[oldest]
	delete(r.statements, oldest)
	return old.Close()
}

// Close closes the statements that are kept, before the connection is closed.
func (r *Runtime) Close() error {
	var first error
	for _, s := range r.statements {
		if err := s.Close(); err != nil && first == nil {
			first = err
		}
	}
	clear(r.statements)
	r.recent = nil
	return first
}

// arguments are a call's.
type arguments struct {
	rt    *Runtime
	extra string // what the signature says behind the name
	vals  []any
	types []sqltype.Type
	ret   sqltype.Type
}

// function is a scalar function on Go values.
type function struct {
	nulls bool // looks at NULL itself
	call  func(a *arguments) (any, error)
}

type signature struct {
	function
	extra string
	types []sqltype.Type
	ret   sqltype.Type
}

// Signature writes a call's signature. extra is what the function is told
// beside its arguments, such as a collation or a date part.
func Signature(name, extra string, args []sqltype.Type, ret sqltype.Type) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	b.WriteString(extra)
	b.WriteByte('|')
	for i, t := range args {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(value.Code(t), 10))
	}
	b.WriteByte('|')
	b.WriteString(strconv.FormatInt(value.Code(ret), 10))
	return b.String()
}

func (r *Runtime) parse(text string) (*signature, error) {
	fields := strings.Split(text, "|")
	if len(fields) != 3 {
		return nil, fmt.Errorf("malformed signature %q", text)
	}
	name, extra, _ := strings.Cut(fields[0], ":")
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("unknown function %q", name)
	}
	s := &signature{function: f, extra: extra}
	if fields[1] != "" {
		for _, code := range strings.Split(fields[1], ",") {
			t, err := value.ParseCode(code)
			if err != nil {
				return nil, err
			}
			s.types = append(s.types, t)
		}
	}
	ret, err := value.ParseCode(fields[2])
	s.ret = ret
	return s, err
}

func (r *Runtime) call(ctx sqlite3.Context, args ...sqlite3.Value) {
	raw := args[0].RawText()
	s, ok := r.signatures[string(raw)]
	if !ok {
		var err error
		if s, err = r.parse(string(raw)); err != nil {
			ctx.ResultError(err)
			return
		}
		r.signatures[string(raw)] = s
	}
	a := arguments{rt: r, extra: s.extra, types: s.types, ret: s.ret, vals: make([]any, len(args)-1)}
	for i, v := range args[1:] {
		got, err := value.Arg(v, s.types[min(i, len(s.types)-1)])
		if err != nil {
			value.Raise(ctx, err)
			return
		}
		if got == nil && !s.nulls {
			ctx.ResultNull()
			return
		}
		a.vals[i] = got
	}
	out, err := s.call(&a)
	if err != nil {
		value.Raise(ctx, err)
		return
	}
	value.Result(ctx, s.ret, out)
}

// text is a string argument.
func (a *arguments) text(i int) string {
	s, _ := a.vals[i].(string)
	return s
}

// int is a whole number argument.
func (a *arguments) int(i int) int64 {
	n, _ := a.vals[i].(int64)
	return n
}

// float is a float argument.
func (a *arguments) float(i int) float64 {
	f, _ := a.vals[i].(float64)
	return f
}
