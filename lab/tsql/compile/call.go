package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// invocation is a call of a scalar function whose arguments are compiled.
type invocation struct {
	c    *compiler
	x    *ast.Call
	name string
	part value.Part // of DATEADD and its kin
	args []expr
}

// scalar is a scalar function: how many arguments it takes (a negative most is
// no limit), and what makes it.
type scalar struct {
	least, most int
	build       func(i *invocation) (expr, error)
}

// scalars are the scalar functions by name.
var scalars = func() map[string]scalar {
	all := map[string]scalar{}
	for _, group := range []map[string]scalar{stringScalars, dateScalars, numberScalars, otherScalars} {
		for name, s := range group {
			all[name] = s
		}
	}
	return all
}()

// call compiles a call of any function.
func (c *compiler) call(x *ast.Call, e *env) (expr, error) {
	name := strings.ToUpper(x.Name.Object)
	if x.Name.Schema != "" || x.Name.Database != "" {
		if x.Name.Schema == "sys" || x.Name.Schema == "SYS" {
			return c.sessionFunction(x, name, e)
		}
		return expr{}, message(x.Pos, 4121, "Cannot find either column \"%s\" or the user-defined function or aggregate \"%s\", or the name is ambiguous.", x.Name.Schema, x.Name.Schema+"."+x.Name.Object)
	}
	if x.Over != nil {
		return c.window(x, name, e)
	}
	if isAggregate(name) {
		return c.aggregate(x, name, e)
	}
	if windowOnly[name] {
		return expr{}, message(x.Pos, 10753, "The function '%s' must have an OVER clause.", x.Name.Object)
	}
	switch name {
	case "COALESCE":
		return c.coalesce(x, e)
	case "NULLIF":
		return c.nullIf(x, e)
	case "CHOOSE":
		return c.choose(x, e)
	}
	s, ok := scalars[name]
	if !ok {
		return c.sessionFunction(x, name, e)
	}
	i := &invocation{c: c, x: x, name: name}
	args := x.Args
	if len(args) > 0 {
		if p, ok := args[0].(*ast.DatePart); ok {
			part, known := value.PartOf(p.Name)
			if !known {
				return expr{}, message(x.Pos, 155, "'%s' is not a recognized %s option.", strings.ToLower(p.Name), strings.ToLower(name))
			}
			i.part, args = part, args[1:]
		}
	}
	if (name == "CONCAT" || name == "CONCAT_WS") && (len(args) < s.least || len(args) > 254) {
		return expr{}, message(x.Pos, 189, "The %s function requires %d to 254 arguments.", strings.ToLower(name), s.least)
	}
	if len(args) < s.least || s.most >= 0 && len(args) > s.most {
		return expr{}, message(x.Pos, 174, "The %s function requires %d argument(s).", strings.ToLower(name), s.least)
	}
	for _, a := range args {
		got, err := c.expr(a, e)
		if err != nil {
			return expr{}, err
		}
		i.args = append(i.args, got)
	}
	return s.build(i)
}

// sessionFunction is a function that the session answers.
func (c *compiler) sessionFunction(x *ast.Call, name string, e *env) (expr, error) {
	var f Function
	ok := false
	if c.scope.Function != nil {
		f, ok = c.scope.Function(name, len(x.Args))
	}
	if !ok {
		return expr{}, message(x.Pos, 195, "'%s' is not a recognized built-in function name.", x.Name.Object)
	}
	var parts []string
	for n, a := range x.Args {
		got, err := c.expr(a, e)
		if err != nil {
			return expr{}, err
		}
		t := value.NVarChar(4000)
		if len(f.Args) > 0 {
			t = f.Args[min(n, len(f.Args)-1)]
		}
		if got, err = assign(x.Pos, got, t); err != nil {
			return expr{}, err
		}
		parts = append(parts, got.sql)
	}
	return expr{sql: f.Stored + "(" + strings.Join(parts, ", ") + ")", typ: f.Result, nullable: f.Nullable, coll: collationOf(f.Result), single: true}, nil
}

func (c *compiler) coalesce(x *ast.Call, e *env) (expr, error) {
	if len(x.Args) < 2 {
		return expr{}, message(x.Pos, 102, "Incorrect syntax near ')'.")
	}
	var args []expr
	allNull := true
	for _, a := range x.Args {
		got, err := c.expr(a, e)
		if err != nil {
			return expr{}, err
		}
		allNull = allNull && got.null
		args = append(args, got)
	}
	if allNull {
		return expr{}, message(x.Pos, 4127, "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.")
	}
	args, t, err := common(x.Pos, args)
	if err != nil {
		return expr{}, err
	}
	parts := make([]string, len(args))
	nullable := true
	for i, a := range args {
		parts[i] = a.sql
		nullable = nullable && a.nullable
	}
	return expr{sql: "coalesce(" + strings.Join(parts, ", ") + ")", typ: t, nullable: nullable, coll: args[0].coll, explicit: args[0].explicit, single: true}, nil
}

func (c *compiler) nullIf(x *ast.Call, e *env) (expr, error) {
	if len(x.Args) != 2 {
		return expr{}, message(x.Pos, 174, "The nullif function requires 2 argument(s).")
	}
	l, err := c.expr(x.Args[0], e)
	if err != nil {
		return expr{}, err
	}
	if l.null {
		return expr{}, message(x.Pos, 4151, "The type of the first argument to NULLIF cannot be the NULL constant because the type of the first argument has to be known.")
	}
	r, err := c.expr(x.Args[1], e)
	if err != nil {
		return expr{}, err
	}
	equal, err := compare(x.Pos, "=", l, r)
	if err != nil {
		return expr{}, err
	}
	out := l
	out.sql, out.nullable, out.base, out.constant, out.single, out.name = "CASE WHEN "+equal+" THEN NULL ELSE "+l.sql+" END", true, false, nil, true, ""
	return out, nil
}

func (c *compiler) choose(x *ast.Call, e *env) (expr, error) {
	if len(x.Args) < 2 {
		return expr{}, message(x.Pos, 189, "The choose function requires 2 to 254 arguments.")
	}
	index, err := c.expr(x.Args[0], e)
	if err != nil {
		return expr{}, err
	}
	if index, err = assign(x.Pos, index, value.Int); err != nil {
		return expr{}, err
	}
	var args []expr
	for _, a := range x.Args[1:] {
		got, err := c.expr(a, e)
		if err != nil {
			return expr{}, err
		}
		args = append(args, got)
	}
	args, t, err := common(x.Pos, args)
	if err != nil {
		return expr{}, err
	}
	var b strings.Builder
	b.WriteString("CASE " + index.sql)
	for i, a := range args {
		b.WriteString(" WHEN " + intLiteral(int64(i+1)).sql + " THEN " + a.sql)
	}
	b.WriteString(" END")
	return expr{sql: b.String(), typ: t, nullable: true, coll: args[0].coll, explicit: args[0].explicit, single: true}, nil
}

// text is argument n as a string.
func (i *invocation) text(n int) (expr, error) {
	return asText(i.x.Pos, i.args[n], i.name, n+1)
}

// as is argument n as a value of a type to which it converts by itself; error
// 8116.
func (i *invocation) as(n int, t sqltype.Type) (expr, error) {
	e := i.args[n]
	if !e.null && value.RuleOf(e.typ, t) != value.Implicit {
		return expr{}, message(i.x.Pos, 8116, "Argument data type %s is invalid for argument %d of %s function.", value.Name(e.typ), n+1, strings.ToLower(i.name))
	}
	return e.to(t), nil
}

// all are the arguments as values of types, the last of which repeats.
func (i *invocation) all(types ...sqltype.Type) ([]expr, error) {
	out := make([]expr, len(i.args))
	for n := range i.args {
		var err error
		if out[n], err = i.as(n, types[min(n, len(types)-1)]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// collation is that of the arguments from first on.
func (i *invocation) collation(args ...expr) string {
	for _, a := range args {
		if a.explicit {
			return a.coll
		}
	}
	return value.Collation
}
