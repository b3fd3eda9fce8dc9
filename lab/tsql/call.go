package tsql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// Call runs a remote procedure call.
func (s *Session) Call(ctx context.Context, call sqltype.Call, out sqltype.Results) error {
	return s.request(ctx, out, func(ctx context.Context) error {
		s.frame.scopeIdentity = s.rootIdentity
		i := invocation{name: call.Procedure, direct: true}
		for _, p := range call.Params {
			i.args = append(i.args, argument{name: p.Name, value: p.Value, kind: p.Type, isOut: p.Output})
		}
		s.returns = nil
		status, err := s.invoke(ctx, i)
		s.watch()
		if err != nil {
			if ctx.Err() != nil {
				return givenUp(ctx, err)
			}
			if err := s.settle(err); err != nil {
				return err
			}
			status = -6
		}
		if err := s.out.ReturnStatus(status); err != nil {
			return err
		}
		for _, p := range s.returns {
			if err := s.out.ReturnValue(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// executeSQL is sp_executesql.
func executeSQL(ctx context.Context, s *Session, call invocation) (int32, error) {
	args := call.args
	if len(args) == 0 {
		return 0, message(201, "Procedure or function 'sp_executesql' expects parameter '@statement', which was not supplied.")
	}
	source, err := unicodeText(args[0], "@statement")
	if err != nil {
		return 0, err
	}
	params := ""
	if len(args) > 1 {
		if params, err = unicodeText(args[1], "@params"); err != nil {
			return 0, err
		}
	}
	p, err := s.prepareText(params, source)
	if err != nil {
		return 0, err
	}
	return 0, s.runPrepared(ctx, p, args[min(2, len(args)):])
}

// unicodeText is an argument that must be nvarchar.
func unicodeText(a argument, name string) (string, error) {
	text, ok := a.value.(string)
	switch {
	case ok && (a.kind.Kind == sqltype.NVarChar || a.kind.Kind == sqltype.NChar), a.value == nil:
		return text, nil
	default:
		return "", classed(16, 2, 214, "Procedure expects parameter '%s' of type 'ntext/nchar/nvarchar'.", name)
	}
}

// preparedText is a text with the declarations of its parameters.
type preparedText struct {
	text       *text
	parameters []ast.Parameter
}

// prepareText parses a parameterized text.
func (s *Session) prepareText(params, source string) (*preparedText, error) {
	t, err := s.text(params, source)
	if err != nil {
		return nil, err
	}
	p := &preparedText{text: t}
	if strings.TrimSpace(params) == "" {
		return p, nil
	}
	declared, err := s.texts.getParameters(params)
	if err != nil {
		return nil, err
	}
	p.parameters = declared
	return p, nil
}

// getParameters parses the declarations of sp_executesql.
func (c *texts) getParameters(params string) ([]ast.Parameter, error) {
	if known, ok := c.parameters[params]; ok {
		return known, nil
	}
	declared, err := parse.Parameters(params)
	if err != nil {
		return nil, err
	}
	if c.parameters == nil || len(c.parameters) > maxTexts {
		c.parameters = map[string][]ast.Parameter{}
	}
	c.parameters[params] = declared
	return declared, nil
}

// runPrepared runs a parameterized text.
func (s *Session) runPrepared(ctx context.Context, p *preparedText, args []argument) error {
	f := newFrame(s.frame, p.text)
	if err := s.bindTyped(ctx, f, p.parameters, args); err != nil {
		return err
	}
	before := s.txn.count
	err := s.nested(f, func() error {
		if err := f.begin(p.text.statements); err != nil {
			return s.compileFailure(err)
		}
		if err := s.bind(p.text, p.text.statements); err != nil {
			return err
		}
		err := s.runBody(ctx, p.text.statements)
		return err
	})
	if err != nil {
		return err
	}
	if f.parent != nil && f.parent.parent == nil && f.parent.text == nil {
		s.rootIdentity = f.scopeIdentity
	}
	if err := s.passBack(f, p.parameters, invocation{args: args}); err != nil {
		return err
	}
	return s.compareCount(s.frame, before)
}

// bindTyped makes parameters variables; their names are those of the
// declaration.
func (s *Session) bindTyped(ctx context.Context, f *frame, parameters []ast.Parameter, args []argument) error {
	if len(args) > len(parameters) {
		return classed(16, 1, 8144, "Procedure or function  has too many arguments specified.")
	}
	given := map[string]argument{}
	for i, a := range args {
		name := lower(a.name)
		if name == "" {
			name = lower(parameters[i].Name)
		}
		if !strings.HasPrefix(name, "@") {
			name = "@" + name
		}
		given[name] = a
	}
	for _, p := range parameters {
		a, ok := given[lower(p.Name)]
		if (!ok || a.preset) && p.Default == nil {
			return message(8178, "The parameterized query '%s' expects the parameter '%s', which was not supplied.", cutRunes("("+describe(parameters)+")"+f.text.batch.Text, 128), p.Name)
		}
		t, err := resolveType(&p.Type)
		if err != nil {
			return err
		}
		v := &variable{Type: t}
		f.variables[lower(p.Name)] = v
		if ok && !a.preset {
			v.Value, err = s.parameterValue(a, t)
		} else {
			v.Value, err = s.evaluateAs(ctx, p.Default, t)
		}
		if err != nil {
			return err
		}
		delete(given, lower(p.Name))
	}
	if name, ok := anyKey(given); ok {
		return message(8145, "%s is not a parameter for procedure .", name)
	}
	return nil
}

// anyKey is one of the keys of a map, if it has any.
func anyKey(m map[string]argument) (string, bool) {
	keys := slices.Sorted(maps.Keys(m))
	if len(keys) == 0 {
		return "", false
	}
	return keys[0], true
}

func describe(parameters []ast.Parameter) string {
	all := make([]string, len(parameters))
	for i, p := range parameters {
		all[i] = fmt.Sprintf("%s %s", p.Name, p.Type.Name.Object)
	}
	return strings.Join(all, ",")
}
