package compile

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// Environment is what a running program asks of its session.
type Environment interface {
	// Value gives the value of a Bind.
	Value(name string) (any, error)
	// Assign sets a variable.
	Assign(name string, value any) error
	// Columns begins the program's rows.
	Columns(columns []sqltype.Column) error
	// Row is one of the program's rows; it may be kept.
	Row(values []any) error
}

// runner runs one program.
type runner struct {
	p     *Program
	conn  *sqlite3.Conn
	rt    *builtin.Runtime
	env   Environment
	count int64
}

// Run runs the program and returns its row count. Its errors are of type
// sqltype.Message when T-SQL's, else they wrap SQLite's or env's. It ends
// early when ctx does.
func (p *Program) Run(ctx context.Context, c *sqlite3.Conn, rt *builtin.Runtime, env Environment) (int64, error) {
	old := c.SetInterrupt(ctx)
	defer c.SetInterrupt(old)
	r := &runner{p: p, conn: c, rt: rt, env: env}
	if p.Columns != nil {
		if err := env.Columns(p.Columns); err != nil {
			return 0, err
		}
	}
	for i := range p.Steps {
		if err := r.step(&p.Steps[i]); err != nil {
			return r.count, err
		}
	}
	return r.count, nil
}

// step runs one step; a message takes the place of an error that carries one.
func (r *runner) step(s *Step) error {
	err := r.execute(s)
	if err == nil {
		return nil
	}
	if m, ok := value.MessageOf(err); ok {
		return m
	}
	if errors.Is(err, sqlite3.CONSTRAINT) {
		for i := range s.Diagnose {
			if derr := r.execute(&s.Diagnose[i]); derr != nil {
				if m, ok := value.MessageOf(derr); ok {
					return m
				}
			}
		}
	}
	return fmt.Errorf("running a statement: %w", err)
}

// deepest is how deep brackets lie in each other in what SQLite always takes.
const deepest = 200

// nesting is how deep a statement's brackets lie in each other.
func nesting(sql string) int {
	deep, most := 0, 0
	for i := range len(sql) {
		switch sql[i] {
		case '(':
			deep++
			most = max(most, deep)
		case ')':
			deep--
		}
	}
	return most
}

func (r *runner) execute(s *Step) error {
	stmt, err := r.rt.Prepare(s.SQL)
	if errors.Is(err, sqlite3.ERROR) && nesting(s.SQL) > deepest {
		return sqltype.Message{Number: 191, Class: 15, State: 1, Text: "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries."}
	}
	if err != nil {
		return err
	}
	err = r.rows(stmt, s)
	if rerr := r.rt.Release(stmt, s.SQL, err == nil); err == nil && rerr != nil {
		return rerr
	}
	return err
}

func (r *runner) rows(stmt *sqlite3.Stmt, s *Step) error {
	// A parameter that fell away in compiling still has its number.
	bound := stmt.BindCount()
	for i, b := range s.Binds {
		if i >= bound {
			break
		}
		v, err := r.env.Value(b.Name)
		if err != nil {
			return err
		}
		if err := value.Bind(stmt, i+1, b.Type, v); err != nil {
			return fmt.Errorf("binding %s: %w", b.Name, err)
		}
	}
	before := r.conn.TotalChanges()
	rows := int64(0)
	for stmt.Step() {
		rows++
		if err := r.row(stmt, s); err != nil {
			return err
		}
	}
	if err := stmt.Err(); err != nil {
		return err
	}
	if s.Counts {
		if s.Rows == NoRows || !stmt.ReadOnly() {
			rows = r.conn.TotalChanges() - before
		}
		r.count += rows
	}
	return nil
}

func (r *runner) row(stmt *sqlite3.Stmt, s *Step) error {
	values := make([]any, len(s.Types))
	for i, t := range s.Types {
		v, err := value.Column(stmt, i, t)
		if err != nil {
			return fmt.Errorf("reading a column: %w", err)
		}
		values[i] = v
	}
	switch s.Rows {
	case ReturnRows:
		return r.env.Row(values)
	case AssignRows:
		for i, name := range s.Assign {
			if err := r.env.Assign(name, values[i]); err != nil {
				return err
			}
		}
	case FailOnRow:
		return s.Fail(values)
	default:
	}
	return nil
}
