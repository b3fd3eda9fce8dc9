package tsql

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// maxNesting is the deepest nesting of procedures.
const maxNesting = 32

// argument is an argument of a procedure, evaluated.
type argument struct {
	name   string // with its @; empty: by position
	value  any
	kind   sqltype.Type
	output *variable // takes the parameter's value at the end, nil if none
	isOut  bool
	preset bool // DEFAULT
}

// invocation is a call of a procedure.
type invocation struct {
	name string // as written
	args []argument
	// direct says that the client called it (an RPC), not a batch.
	direct bool
}

// execute is EXECUTE.
func (s *Session) execute(ctx context.Context, stmt *ast.Execute) error {
	if stmt.AsUser != "" {
		return refuse("EXECUTE AS")
	}
	defer func() { s.keepError = true }()
	if stmt.Strings != nil {
		return s.executeString(ctx, stmt)
	}
	call := invocation{}
	if stmt.Procedure != nil {
		call.name = stmt.Procedure.String()
	} else {
		v, ok := s.frame.lookup(stmt.ProcedureVariable)
		if !ok {
			return s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", stmt.ProcedureVariable))
		}
		call.name, _ = v.Value.(string)
	}
	for _, a := range stmt.Arguments {
		arg, err := s.argument(ctx, a)
		if err != nil {
			return err
		}
		call.args = append(call.args, arg)
	}
	status, err := s.invoke(ctx, call)
	if err != nil || stmt.ReturnTo == "" {
		return err
	}
	target, ok := s.frame.lookup(stmt.ReturnTo)
	if !ok {
		return s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", stmt.ReturnTo))
	}
	v, err := s.assignable(int64(status), intType, target.Type)
	if err != nil {
		return err
	}
	target.Value = v
	return nil
}

func (s *Session) argument(ctx context.Context, a ast.Argument) (argument, error) {
	arg := argument{name: a.Name, isOut: a.Output}
	if _, ok := a.Value.(*ast.DefaultValue); ok {
		arg.preset = true
		return arg, nil
	}
	if v, ok := a.Value.(*ast.Variable); ok {
		target, found := s.frame.lookup(v.Name)
		if !found {
			return arg, s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", v.Name))
		}
		arg.value, arg.kind = target.Value, target.Type
		if a.Output {
			arg.output = target
		}
		return arg, nil
	}
	if a.Output {
		return arg, s.compileFailure(classed(15, 1, 179, "Cannot use the OUTPUT option when passing a constant to a stored procedure."))
	}
	var err error
	arg.value, arg.kind, err = s.evaluate(ctx, a.Value)
	return arg, err
}

// executeString is EXEC ('…').
func (s *Session) executeString(ctx context.Context, stmt *ast.Execute) error {
	var b strings.Builder
	for _, e := range stmt.Strings {
		v, t, err := s.evaluate(ctx, e)
		if err != nil {
			return err
		}
		if v != nil {
			b.WriteString(printedAs(v, t))
		}
	}
	t, err := s.text("", b.String())
	if err != nil {
		return err
	}
	before := s.txn.count
	err = s.nested(newFrame(s.frame, t), func() error {
		if err := s.frame.begin(t.statements); err != nil {
			return s.compileFailure(err)
		}
		if err := s.bind(t, t.statements); err != nil {
			return err
		}
		err := s.runBody(ctx, t.statements)
		return err
	})
	if err != nil {
		return err
	}
	return s.compareCount(s.frame, before)
}

// nested runs f in a frame of its own, and drops what ends with it. An error
// that was reported and ends only that scope is over then.
func (s *Session) nested(f *frame, run func() error) error {
	if f.level > maxNesting {
		return message(217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).")
	}
	outer, settings := s.frame, s.settings
	s.settings.words = maps.Clone(s.settings.words)
	s.frame = f
	err := run()
	if err != nil {
		err = s.settle(err)
	}
	dropped := s.dropFrameTables(f)
	// What a scope sets ends with it.
	s.frame, s.settings = outer, settings
	var done reported
	if errors.As(err, &done) && done.extent == endsScope {
		err = nil
	}
	return errors.Join(err, dropped)
}

// invoke calls a procedure: the interpreter's own, the database's, the host's.
func (s *Session) invoke(ctx context.Context, call invocation) (status int32, err error) {
	parts, ok := splitName(call.name)
	if !ok || parts[len(parts)-1] == "" {
		return 0, message(2812, "Could not find stored procedure '%s'.", call.name)
	}
	name := lower(parts[len(parts)-1])
	if special, ok := specialNamed(name); ok && len(parts) <= 3 {
		return special(ctx, s, call)
	}
	if err := s.loadFirst(); err != nil {
		return 0, err
	}
	schema, object, local := s.localName(call.name)
	if local {
		if o, ok := (reader{s}).find(schema, object); ok && o.Procedure != nil {
			return s.invokeUser(ctx, o, call)
		}
	}
	handled, err := s.options.Host.Procedure(ctx, s.info(), call.remote(), s.out)
	if err != nil || handled {
		return 0, err
	}
	return 0, s.scopeFailure(message(2812, "Could not find stored procedure '%s'.", strings.Join(parts, ".")))
}

// scopeFailure is an error that a TRY around the call catches, and that ends
// only the statement elsewhere.
func (s *Session) scopeFailure(m sqltype.Message) error {
	m.State = 62
	return &failure{message: m, extent: endsStatement}
}

// remote is the call as the host sees it.
func (c invocation) remote() sqltype.Call {
	r := sqltype.Call{Procedure: c.name}
	for _, a := range c.args {
		r.Params = append(r.Params, sqltype.Param{Name: a.name, Type: a.kind, Value: a.value, Output: a.isOut})
	}
	return r
}

// invokeUser calls a stored procedure of the database.
func (s *Session) invokeUser(ctx context.Context, o *object, call invocation) (int32, error) {
	if err := s.permitObject(o, "EXECUTE"); err != nil {
		return 0, err
	}
	t, err := s.texts.get("procedure", o.Procedure.Definition, o.DoubleQuoted)
	if err != nil {
		return 0, err
	}
	definition, ok := t.statements[0].(*ast.CreateProcedure)
	if !ok {
		return 0, refuse("procedure definition")
	}
	f := newFrame(s.frame, t)
	f.procedure, f.procedureID, f.chained = o.Procedure.Schema+"."+o.Procedure.Name, o.ID, true
	if err := s.bindParameters(ctx, f, o, definition.Parameters, call.args); err != nil {
		return 0, err
	}
	before := s.txn.count
	err = s.nested(f, func() error {
		if err := f.begin(definition.Body); err != nil {
			return s.compileFailure(err)
		}
		if err := s.bind(t, definition.Body); err != nil {
			return err
		}
		err := s.runBody(ctx, definition.Body)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.passBack(f, definition.Parameters, call); err != nil {
		return 0, err
	}
	return f.status, s.compareCount(f, before)
}

// compareCount is error 266.
func (s *Session) compareCount(f *frame, before int) error {
	if s.txn.count == before {
		return nil
	}
	m := classed(16, 2, 266, "Transaction count after EXECUTE indicates a mismatching number of BEGIN and COMMIT statements. Previous count = %d, current count = %d.", before, s.txn.count)
	m.Procedure = f.procedure
	return &failure{message: m, extent: endsStatement, raised: true}
}

// bindParameters makes a procedure's parameters variables of its frame.
func (s *Session) bindParameters(ctx context.Context, f *frame, o *object, parameters []ast.Parameter, args []argument) error {
	given := make(map[string]argument, len(args))
	named := false
	for i, a := range args {
		name := lower(a.name)
		if name == "" {
			if named {
				return classed(15, 1, 119, "Must pass parameter number %d and subsequent parameters as '@name = value'. After the form '@name = value' has been used, all subsequent parameters must be passed in the form '@name = value'.", i+1)
			}
			if i >= len(parameters) {
				return message(8144, "Procedure or function %s has too many arguments specified.", o.Procedure.Name)
			}
			name = lower(parameters[i].Name)
		} else {
			named = true
		}
		given[name] = a
	}
	unknown := maps.Clone(given)
	for _, p := range parameters {
		delete(unknown, lower(p.Name))
	}
	if name, ok := anyKey(unknown); ok {
		return message(8145, "%s is not a parameter for procedure %s.", name, o.Procedure.Name)
	}
	for _, p := range parameters {
		if err := s.bindParameter(ctx, f, o, p, given); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) bindParameter(ctx context.Context, f *frame, o *object, p ast.Parameter, given map[string]argument) error {
	t, err := resolveType(&p.Type)
	if err != nil {
		return err
	}
	v := &variable{Type: t}
	f.variables[lower(p.Name)] = v
	a, ok := given[lower(p.Name)]
	if !ok || a.preset {
		if p.Default == nil {
			return classed(16, 4, 201, "Procedure or function '%s' expects parameter '%s', which was not supplied.", o.Procedure.Name, p.Name)
		}
		v.Value, err = s.evaluateAs(ctx, p.Default, t)
		return err
	}
	if a.isOut && !p.Output {
		return message(8162, "The formal parameter \"%s\" was not declared as an OUTPUT parameter, but the actual parameter passed in requested output.", p.Name)
	}
	v.Value, err = s.parameterValue(a, t)
	return err
}

// parameterValue converts an argument to its parameter's type; errors are 8114.
func (s *Session) parameterValue(a argument, t sqltype.Type) (any, error) {
	v, err := s.assignable(a.value, a.kind, t)
	var m sqltype.Message
	if err != nil && errors.As(err, &m) && m.Number != 257 {
		return nil, message(8114, "Error converting data type %s to %s.", value.Name(a.kind), value.Name(t))
	}
	return v, err
}

// passBack gives OUTPUT parameters' values to the caller.
func (s *Session) passBack(f *frame, parameters []ast.Parameter, call invocation) error {
	for i, p := range parameters {
		if !p.Output {
			continue
		}
		for j, a := range call.args {
			if !a.isOut || a.name == "" && j != i || a.name != "" && lower(a.name) != lower(p.Name) {
				continue
			}
			v, _ := f.lookup(p.Name)
			if err := s.handBack(a, p.Name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// handBack gives one OUTPUT parameter's value to a variable or to the client.
func (s *Session) handBack(a argument, name string, v *variable) error {
	if a.output == nil {
		if a.name != "" {
			name = a.name
		}
		s.returns = append(s.returns, sqltype.Param{Name: name, Type: v.Type, Value: v.Value, Output: true})
		return nil
	}
	out, err := s.assignable(v.Value, v.Type, a.output.Type)
	if err != nil {
		return err
	}
	a.output.Value = out
	return nil
}
