package tsql

import (
	"context"
	"errors"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// reach is what a statement may change.
type reach uint8

const (
	reachNothing reach = iota
	reachSession       // # tables and table variables
	reachDatabase
)

// reachOf says what a data statement may change, before it is compiled: it must
// be known which lock to take before its names are looked up.
func reachOf(stmt ast.Statement) reach {
	switch stmt := stmt.(type) {
	case *ast.SelectStatement:
		if into := intoOf(stmt.Query); into != nil {
			return reachOfName(into.Object)
		}
		return reachNothing
	case *ast.Insert:
		return max(reachOfTarget(stmt.Target, nil), reachOfOutput(stmt.OutputInto))
	case *ast.Update:
		return max(reachOfTarget(stmt.Target, stmt.From), reachOfOutput(stmt.OutputInto))
	case *ast.Delete:
		return max(reachOfTarget(stmt.Target, stmt.From), reachOfOutput(stmt.OutputInto))
	case *ast.Merge:
		return max(reachOfTarget(stmt.Target, nil), reachOfOutput(stmt.OutputInto))
	case *ast.TruncateTable:
		return reachOfName(stmt.Table.Object)
	default:
		return reachNothing
	}
}

func intoOf(q *ast.Query) *ast.Name {
	for body := q.Body; ; {
		switch b := body.(type) {
		case *ast.Select:
			return b.Into
		case *ast.SetOperation:
			body = b.L
		default:
			return nil
		}
	}
}

func reachOfName(name string) reach {
	if strings.HasPrefix(name, "#") {
		return reachSession
	}
	return reachDatabase
}

func reachOfOutput(o *ast.Output) reach {
	if o == nil {
		return reachNothing
	}
	return reachOfTarget(o.Into, nil)
}

// reachOfTarget looks at the target of a change, which may be an alias of FROM.
func reachOfTarget(target ast.TableSource, from []ast.TableSource) reach {
	switch t := target.(type) {
	case *ast.TableVariable:
		return reachSession
	case *ast.TableRef:
		if t.Name.Schema == "" {
			for _, source := range from {
				if r, ok := aliased(source, t.Name.Object); ok {
					return r
				}
			}
		}
		return reachOfName(t.Name.Object)
	default:
		return reachNothing
	}
}

func aliased(source ast.TableSource, alias string) (reach, bool) {
	switch t := source.(type) {
	case *ast.TableRef:
		return reachOfName(t.Name.Object), lower(t.Alias) == lower(alias)
	case *ast.TableVariable:
		return reachSession, lower(t.Alias) == lower(alias)
	case *ast.Join:
		if r, ok := aliased(t.L, alias); ok {
			return r, true
		}
		return aliased(t.R, alias)
	default:
		return reachNothing, false
	}
}

// within runs f in the engine transaction that a reach needs.
func (s *Session) within(ctx context.Context, r reach, f func() error) error {
	s.scratching = r == reachSession
	defer func() { s.scratching = false }()
	switch r {
	case reachDatabase:
		return s.write(ctx, f)
	case reachSession:
		return s.scratch(ctx, f)
	case reachNothing:
	}
	return s.read(f)
}

// data runs a query, INSERT, UPDATE, DELETE, MERGE or TRUNCATE TABLE.
func (s *Session) data(ctx context.Context, stmt ast.Statement) error {
	env := s.environment()
	var p *compile.Program
	var count int64
	r := reachOf(stmt)
	if err := s.implicitBegin(stmt); err != nil {
		return err
	}
	err := s.within(ctx, r, func() error {
		var err error
		if p, err = s.compiled(stmt, compile.Statement); err != nil {
			return err
		}
		if r != reachNothing && s.settings.rowCount > 0 {
			return refuse("SET ROWCOUNT with a statement that changes rows")
		}
		if p.Into != nil && !p.Into.Temporary {
			if err := s.permitCreate("CREATE TABLE", p.Into.Schema); err != nil {
				return err
			}
		}
		count, err = s.runProgram(ctx, p, env)
		if p.Truncates && err == nil {
			return s.forgetIdentity(p.Target)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, s.endCaught(err, env))
	}
	s.rowCount = count
	assigns := p.Columns == nil && p.Command == sqltype.CommandSelect && p.Into == nil
	counts := !s.settings.noCount && !assigns && !p.Truncates
	return s.out.Done(sqltype.Done{Count: count, HasCount: counts, Command: p.Command})
}

// endCaught ends the result set of a statement whose error a TRY will catch: the
// client is told nothing of the error, but has begun to read rows.
func (s *Session) endCaught(err error, env *environment) error {
	f, ok := asFailure(err)
	if !ok || !env.sent || !s.catchable(f) {
		return nil
	}
	return s.out.Done(sqltype.Done{Count: env.rows, HasCount: !s.settings.noCount, Command: sqltype.CommandSelect})
}

// implicitBegin begins a transaction before a query, as IMPLICIT_TRANSACTIONS
// asks for.
// Source: https://learn.microsoft.com/sql/t-sql/statements/set-implicit-transactions-transact-sql
func (s *Session) implicitBegin(stmt ast.Statement) error {
	if !s.settings.implicitTransactions || s.txn.count > 0 {
		return nil
	}
	if q, ok := stmt.(*ast.SelectStatement); ok {
		if body, ok := q.Query.Body.(*ast.Select); ok && len(body.From) == 0 {
			return nil
		}
	}
	return s.begin("")
}

// runProgram runs a compiled program, inside an engine transaction, and keeps
// what goes with it: identity values, the new table of SELECT INTO.
func (s *Session) runProgram(ctx context.Context, p *compile.Program, env *environment) (int64, error) {
	s.fatal = nil
	s.identities = nil
	count, err := p.Run(ctx, s.conn, s.runtime, env)
	s.consume()
	if s.fatal != nil {
		return 0, s.fatal
	}
	if env.full {
		count, err = env.rows, nil
	}
	if err != nil {
		return 0, s.fromEngine(err)
	}
	if p.Into != nil {
		if err := s.enterTable(p.Into); err != nil {
			return 0, err
		}
	}
	if err := s.saveIdentities(); err != nil {
		return 0, err
	}
	return count, nil
}

// compiled answers the program of a statement: the one that was kept, if the
// catalog and the session's tables are still what it was compiled against.
func (s *Session) compiled(stmt ast.Statement, f func(ast.Statement, compile.Scope) (*compile.Program, error)) (*compile.Program, error) {
	return s.program(stmt, func(scope compile.Scope) (*compile.Program, error) { return f(stmt, scope) })
}

func (s *Session) program(node ast.Node, f func(scope compile.Scope) (*compile.Program, error)) (*compile.Program, error) {
	p, err := s.compileNode(node, f)
	if err != nil {
		return nil, err
	}
	return p, s.permit(p.Uses)
}

// compileNode is program without the check of permissions.
func (s *Session) compileNode(node ast.Node, f func(scope compile.Scope) (*compile.Program, error)) (*compile.Program, error) {
	t := s.frame.text
	if t != nil {
		c, ok := t.programs[node]
		if ok && c.version == s.definitions.version && (!c.session || c.tables == s.tables) && c.identityInsert == s.settings.identityInsert {
			return c.program, nil
		}
	}
	s.touched = false
	p, err := f(s.scope())
	if err != nil {
		return nil, s.statementFailure(err)
	}
	if t != nil {
		t.programs[node] = &compiled{program: p, version: s.definitions.version, session: s.touched || p.Into != nil, tables: s.tables, identityInsert: s.settings.identityInsert}
	}
	return p, nil
}

// scope is what names are looked up in.
func (s *Session) scope() compile.Scope {
	return compile.Scope{
		Catalog:        reader{s},
		Variables:      s.variableType,
		Function:       s.functionNamed,
		DefaultSchema:  s.defaultSchema(),
		Database:       s.options.Database.Name(),
		Referencing:    s.referencing,
		IdentityInsert: func(id int32) bool { return id != 0 && id == s.settings.identityInsert },
		TemporaryHere:  s.temporaryHere,
		NewObjectID:    s.newObjectID,
	}
}

func (s *Session) variableType(name string) (sqltype.Type, bool) {
	if strings.HasPrefix(name, "@@") {
		g, ok := globals[lower(name)]
		return g.Type, ok
	}
	return s.frame.variableType(name)
}

// reader is the session's catalog.Reader: its own tables, the database's
// objects, and the system views.
type reader struct{ s *Session }

// Table finds a table, a # table or a table variable.
func (r reader) Table(schema, name string) (*catalog.Table, bool) {
	switch {
	case strings.HasPrefix(name, "@"):
		r.s.touched = true
		t := r.s.frame.tables[lower(name)]
		return t, t != nil
	case strings.HasPrefix(name, "#"):
		r.s.touched = true
		t, ok := r.s.temporary[lower(name)]
		if !ok {
			return nil, false
		}
		return t.table, true
	}
	o, ok := r.find(schema, name)
	if !ok || o.Table == nil {
		return nil, false
	}
	return o.Table, true
}

// View finds a user view.
func (r reader) View(schema, name string) (*catalog.View, bool) {
	o, ok := r.find(schema, name)
	if !ok || o.View == nil {
		return nil, false
	}
	return o.View, true
}

// Procedure finds a stored procedure.
func (r reader) Procedure(schema, name string) (*catalog.Procedure, bool) {
	o, ok := r.find(schema, name)
	if !ok || o.Procedure == nil {
		return nil, false
	}
	return o.Procedure, true
}

// System finds a system view or function; sys is looked in without its name
// too, for compatibility views.
func (r reader) System(schema, name string) (*catalog.System, bool) {
	v, ok := r.s.views[lower(schema)+"."+lower(name)]
	if !ok {
		return nil, false
	}
	return &v.System, true
}

func (r reader) find(schema, name string) (*object, bool) {
	if schema != "" {
		return r.s.definitions.find(schema, name)
	}
	if o, ok := r.s.definitions.find(r.s.defaultSchema(), name); ok {
		return o, true
	}
	return r.s.definitions.find("dbo", name)
}

// evaluate computes a value. Its type is the expression's.
func (s *Session) evaluate(ctx context.Context, e ast.Expression) (any, sqltype.Type, error) {
	if l, ok := e.(*ast.Literal); ok && l.Kind == ast.Null {
		return nil, sqltype.Type{Kind: sqltype.Int}, nil
	}
	var row []any
	var t sqltype.Type
	err := s.read(func() error {
		p, err := s.program(e, func(scope compile.Scope) (*compile.Program, error) { return compile.Expression(e, scope) })
		if err != nil {
			return err
		}
		if len(p.Columns) > 0 {
			t = p.Columns[0].Type
		}
		row, err = s.single(ctx, p)
		return err
	})
	if err != nil || len(row) == 0 {
		return nil, t, err
	}
	return row[0], t, nil
}

// single runs a program of one row.
func (s *Session) single(ctx context.Context, p *compile.Program) ([]any, error) {
	env := s.environment()
	env.collect = func([]sqltype.Column) rowFunc {
		return func(values []any) error {
			env.last = values
			return nil
		}
	}
	_, err := s.runProgram(ctx, p, env)
	return env.last, err
}

// evaluateAs computes a value as a variable of a type would take it.
func (s *Session) evaluateAs(ctx context.Context, e ast.Expression, t sqltype.Type) (any, error) {
	v, from, err := s.evaluate(ctx, e)
	if err != nil || v == nil {
		return nil, err
	}
	return s.assignable(v, from, t)
}

// condition computes a condition: unknown counts as false.
func (s *Session) condition(ctx context.Context, c ast.Predicate) (bool, error) {
	yes := false
	err := s.one(ctx, func() error {
		return s.read(func() error {
			p, err := s.program(c, func(scope compile.Scope) (*compile.Program, error) { return compile.Condition(c, scope) })
			if err != nil {
				return err
			}
			row, err := s.single(ctx, p)
			if err == nil && len(row) > 0 {
				yes = truth(row[0])
			}
			return err
		})
	})
	if err == nil {
		s.rowCount = 0
	}
	return yes, err
}

func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case int64:
		return v != 0
	default:
		return false
	}
}
