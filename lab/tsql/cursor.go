package tsql

import (
	"context"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// cursor is a cursor over a copy of its rows, taken when it is opened: STATIC,
// and FAST_FORWARD, which the server may make static too.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/declare-cursor-transact-sql
type cursor struct {
	query *ast.SelectStatement
	// frame holds the variables as they were when the cursor was declared.
	frame   *frame
	scroll  bool
	open    bool
	columns []sqltype.Column
	rows    [][]any
	at      int // 1: the first row; 0: before it
}

// performCursor carries out the statements of cursors; ok is false for others.
func (s *Session) performCursor(ctx context.Context, stmt ast.Statement) (ok bool, err error) {
	switch stmt := stmt.(type) {
	case *ast.DeclareCursor:
		return true, s.declareCursor(stmt)
	case *ast.OpenCursor:
		return true, s.openCursor(ctx, stmt.Name)
	case *ast.FetchCursor:
		return true, s.fetch(ctx, stmt)
	case *ast.CloseCursor:
		return true, s.closeCursor(stmt.Name)
	case *ast.DeallocateCursor:
		return true, s.deallocate(stmt.Name)
	default:
		return false, nil
	}
}

func (s *Session) declareCursor(stmt *ast.DeclareCursor) error {
	static, local, scroll := false, false, false
	for _, o := range stmt.Options {
		switch o {
		case "LOCAL":
			local = true
		case "GLOBAL", "FORWARD_ONLY", "READ_ONLY":
		case "STATIC", "INSENSITIVE", "FAST_FORWARD":
			static = true
		case "SCROLL":
			scroll = true
		default:
			return refuse("CURSOR " + o)
		}
	}
	if !static || stmt.Update {
		return refuse("CURSOR that is not STATIC, INSENSITIVE or FAST_FORWARD")
	}
	if _, taken := s.cursorNamed(stmt.Name); taken {
		return classed(16, 1, 16915, "A cursor with the name '%s' already exists.", stmt.Name)
	}
	f := newFrame(s.frame.parent, nil)
	f.level, f.tables, f.chained, f.procedure = s.frame.level, s.frame.tables, s.frame.chained, s.frame.procedure
	for name, v := range s.frame.variables {
		kept := *v
		f.variables[name] = &kept
	}
	c := &cursor{query: &ast.SelectStatement{Span: stmt.Span, With: stmt.With, Query: stmt.Query}, frame: f, scroll: scroll}
	if local {
		if s.frame.cursors == nil {
			s.frame.cursors = map[string]*cursor{}
		}
		s.frame.cursors[lower(stmt.Name)] = c
		return nil
	}
	s.cursors[lower(stmt.Name)] = c
	return nil
}

// cursorNamed finds a cursor of the scope or of the session.
func (s *Session) cursorNamed(name string) (*cursor, bool) {
	if c, ok := s.frame.cursors[lower(name)]; ok {
		return c, true
	}
	c, ok := s.cursors[lower(name)]
	return c, ok
}

func (s *Session) existingCursor(name string, open bool) (*cursor, error) {
	c, ok := s.cursorNamed(name)
	switch {
	case !ok:
		return nil, message(16916, "A cursor with the name '%s' does not exist.", name)
	case open && !c.open:
		return nil, message(16917, "Cursor is not open.")
	default:
		return c, nil
	}
}

func (s *Session) openCursor(ctx context.Context, name string) error {
	c, err := s.existingCursor(name, false)
	if err != nil {
		return err
	}
	if c.open {
		return message(16905, "The cursor is already open.")
	}
	outer := s.frame
	s.frame = c.frame
	defer func() { s.frame = outer }()
	c.rows, c.at, c.columns = nil, 0, nil
	err = s.read(func() error {
		p, err := s.compiled(c.query, compile.Statement)
		if err != nil {
			return err
		}
		env := s.environment()
		env.collect = func(columns []sqltype.Column) rowFunc {
			c.columns = columns
			return func(values []any) error {
				c.rows = append(c.rows, values)
				return nil
			}
		}
		_, err = s.runProgram(ctx, p, env)
		return err
	})
	if err != nil {
		return err
	}
	c.open = true
	s.rowCount, s.cursorRows = 0, int64(len(c.rows))
	return nil
}

func (s *Session) closeCursor(name string) error {
	c, err := s.existingCursor(name, true)
	if err != nil {
		return err
	}
	c.open, c.rows = false, nil
	return nil
}

func (s *Session) deallocate(name string) error {
	if _, err := s.existingCursor(name, false); err != nil {
		return err
	}
	if _, ok := s.frame.cursors[lower(name)]; ok {
		delete(s.frame.cursors, lower(name))
		return nil
	}
	delete(s.cursors, lower(name))
	return nil
}

// fetch is FETCH: into variables, or as a result set of at most one row.
func (s *Session) fetch(ctx context.Context, stmt *ast.FetchCursor) error {
	c, err := s.existingCursor(stmt.Name, true)
	if err != nil {
		return err
	}
	if err := s.move(ctx, c, stmt); err != nil {
		return err
	}
	var row []any
	s.fetchStatus, s.rowCount = -1, 0
	if c.at >= 1 && c.at <= len(c.rows) {
		row, s.fetchStatus, s.rowCount = c.rows[c.at-1], 0, 1
	}
	if len(stmt.Into) > 0 {
		return s.fetchInto(c, row, stmt.Into)
	}
	if err := s.out.Columns(c.columns); err != nil {
		return err
	}
	if row != nil {
		if err := s.out.Row(row); err != nil {
			return err
		}
	}
	return s.out.Done(sqltype.Done{Count: s.rowCount, HasCount: !s.settings.noCount, Command: sqltype.CommandSelect})
}

// move goes to the row that a FETCH names.
func (s *Session) move(ctx context.Context, c *cursor, stmt *ast.FetchCursor) error {
	if stmt.Direction != "" && stmt.Direction != "NEXT" && !c.scroll {
		return message(16911, "fetch: The fetch type %s cannot be used with forward only cursors.", stmt.Direction)
	}
	n := int64(1)
	if stmt.Offset != nil {
		v, err := s.evaluateAs(ctx, stmt.Offset, intType)
		if err != nil {
			return err
		}
		n, _ = v.(int64)
	}
	end := len(c.rows) + 1
	switch stmt.Direction {
	case "PRIOR":
		c.at--
	case "FIRST":
		c.at = 1
	case "LAST":
		c.at = len(c.rows)
	case "ABSOLUTE":
		c.at = int(n)
		if n < 0 {
			c.at = end + int(n)
		}
	case "RELATIVE":
		c.at += int(n)
	default:
		c.at++
	}
	c.at = min(max(c.at, 0), end)
	return nil
}

func (s *Session) fetchInto(c *cursor, row []any, into []string) error {
	if len(into) != len(c.columns) {
		return message(16924, "Cursorfetch: The number of variables declared in the INTO list must match that of selected columns.")
	}
	for i, name := range into {
		v, ok := s.frame.lookup(name)
		if !ok {
			return s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", name))
		}
		if row == nil {
			continue
		}
		out, err := s.assignable(row[i], c.columns[i].Type, v.Type)
		if err != nil {
			return err
		}
		v.Value = out
	}
	return nil
}
