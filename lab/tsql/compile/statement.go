package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// Statement compiles a query, INSERT, UPDATE, DELETE, MERGE or TRUNCATE TABLE.
// Its errors are of type sqltype.Message.
func Statement(stmt ast.Statement, scope Scope) (*Program, error) {
	c := newCompiler(scope)
	p, err := c.statement(stmt)
	if err != nil {
		return nil, located(err, stmt.Position())
	}
	p.Uses = used(c.uses)
	return p, nil
}

// used leaves out the reading of a table that is changed but of which no
// column is read.
func used(list []Use) []Use {
	var out []Use
	for _, u := range list {
		changed := false
		for _, other := range list {
			changed = changed || other.Action != "SELECT" && other.ObjectID == u.ObjectID && sameName(other.Name, u.Name) && sameName(other.Schema, u.Schema)
		}
		if u.Action != "SELECT" || !changed || len(u.Columns) > 0 {
			out = append(out, u)
		}
	}
	return out
}

func (c *compiler) statement(stmt ast.Statement) (*Program, error) {
	switch s := stmt.(type) {
	case *ast.SelectStatement:
		c.options(s.Options)
		c.with = c.with.add(s.With)
		return c.selectStatement(s)
	case *ast.Insert:
		c.options(s.Options)
		c.with = c.with.add(s.With)
		return c.insert(s)
	case *ast.Update:
		c.options(s.Options)
		c.with = c.with.add(s.With)
		return c.update(s)
	case *ast.Delete:
		c.options(s.Options)
		c.with = c.with.add(s.With)
		return c.delete(s)
	case *ast.Merge:
		c.options(s.Options)
		c.with = c.with.add(s.With)
		return c.merge(s)
	case *ast.TruncateTable:
		return c.truncate(s)
	default:
		return nil, refuse(stmt.Position(), "statement")
	}
}

// options are those of OPTION (…); all but MAXRECURSION are hints.
func (c *compiler) options(list []ast.Option) {
	for _, o := range list {
		if o.Name != "MAXRECURSION" || o.Value == nil {
			continue
		}
		if l, ok := o.Value.(*ast.Literal); ok {
			if e, err := literalOf(l); err == nil {
				if n, ok := e.constant.(int64); ok && n >= 0 {
					c.maxRecursion = n
				}
			}
		}
	}
}

func (c *compiler) selectStatement(s *ast.SelectStatement) (*Program, error) {
	q, err := c.query(s.Query, nil, queryUse{statement: true})
	if err != nil {
		return nil, err
	}
	if q.into != nil {
		return c.selectInto(s, q)
	}
	p := &Program{Command: sqltype.CommandSelect}
	step := Step{SQL: q.sql, Binds: c.binds, Types: q.types(), Counts: true, Rows: ReturnRows}
	if len(q.columns) > 0 && q.columns[0].variable != "" {
		step.Rows = AssignRows
		for _, col := range q.columns {
			step.Assign = append(step.Assign, col.variable)
		}
	} else {
		p.Columns = q.result()
	}
	p.Steps = []Step{step}
	return p, nil
}

// Expression compiles a value: the program returns one row of one column.
func Expression(e ast.Expression, scope Scope) (*Program, error) {
	c := newCompiler(scope)
	got, err := c.expr(e, &env{clause: "expression", noAggregate: true})
	if err != nil {
		return nil, located(err, e.Position())
	}
	if got.null {
		got.typ = value.Int
	}
	return &Program{
		Steps:   []Step{{SQL: "SELECT " + got.sql, Binds: c.binds, Types: []sqltype.Type{got.typ}, Rows: ReturnRows}},
		Columns: []sqltype.Column{{Type: got.typ, Nullable: true}},
		Uses:    c.uses,
	}, nil
}

// Condition compiles a condition: the program returns one row of one bit
// column, 1 when the condition is true and 0 when it is false or unknown.
func Condition(p ast.Predicate, scope Scope) (*Program, error) {
	c := newCompiler(scope)
	got, err := c.predicate(p, &env{clause: "condition", noAggregate: true})
	if err != nil {
		return nil, located(err, p.Position())
	}
	return &Program{
		Steps:   []Step{{SQL: "SELECT CASE WHEN " + got + " THEN 1 ELSE 0 END", Binds: c.binds, Types: []sqltype.Type{value.Bit}, Rows: ReturnRows}},
		Columns: []sqltype.Column{{Type: value.Bit}},
		Uses:    c.uses,
	}, nil
}

// sameName compares names without regard to case.
func sameName(a, b string) bool { return strings.EqualFold(a, b) }
