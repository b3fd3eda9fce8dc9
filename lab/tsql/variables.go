package tsql

import (
	"reflect"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// mention is a place where a variable is used or declared.
type mention struct {
	ast.Pos
	name     string
	table    bool
	declares bool
}

// undeclared finds a variable that is used before its declaration, or without
// one: as SQL Server does, before anything of the batch runs. known says what is
// declared outside, such as parameters.
func undeclared(statements []ast.Statement, known map[string]*variable) error {
	var all []mention
	for _, stmt := range statements {
		walkMentions(reflect.ValueOf(stmt), func(m mention) { all = append(all, m) })
	}
	declared := map[string]int{}
	for _, m := range all {
		if at, ok := declared[lower(m.name)]; m.declares && (!ok || m.Offset < at) {
			declared[lower(m.name)] = m.Offset
		}
	}
	for _, m := range all {
		if m.declares {
			continue
		}
		at, ok := declared[lower(m.name)]
		_, outside := known[lower(m.name)]
		if outside || ok && at <= m.Offset {
			continue
		}
		out := classed(15, 2, 137, "Must declare the scalar variable \"%s\".", m.name)
		if m.table {
			out = classed(15, 2, 1087, "Must declare the table variable \"%s\".", m.name)
		}
		out.Line = int32(m.Line)
		return out
	}
	return nil
}

// walkMentions goes over a syntax tree. The bodies of procedures have scopes of
// their own and are left out.
func walkMentions(v reflect.Value, visit func(mention)) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			walkMentions(v.Elem(), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkMentions(v.Index(i), visit)
		}
	case reflect.Struct:
		if !v.CanInterface() {
			return
		}
		if _, ok := v.Interface().(ast.CreateProcedure); ok {
			return
		}
		mentionsOf(v.Interface(), visit)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				walkMentions(v.Field(i), visit)
			}
		}
	default:
	}
}

// mentionsOf are the variables that one node names itself.
func mentionsOf(node any, visit func(mention)) {
	use := func(pos ast.Pos, name string) {
		if name != "" {
			visit(mention{Pos: pos, name: name})
		}
	}
	switch n := node.(type) {
	case ast.VariableDeclaration:
		visit(mention{Pos: n.Pos, name: n.Name, declares: true})
	case ast.Variable:
		use(n.Pos, n.Name)
	case ast.TableVariable:
		visit(mention{Pos: n.Pos, name: n.Name, table: true})
	case ast.SetVariable:
		use(n.Pos, n.Name)
	case ast.SelectItem:
		use(n.Pos, n.Variable)
	case ast.Assignment:
		use(n.Pos, n.Variable)
	case ast.Execute:
		use(n.Pos, n.ReturnTo)
		use(n.Pos, n.ProcedureVariable)
	case ast.FetchCursor:
		for _, name := range n.Into {
			use(n.Pos, name)
		}
	case ast.CommitTransaction:
		use(n.Pos, n.Variable)
	case ast.RollbackTransaction:
		use(n.Pos, n.Variable)
	case ast.SaveTransaction:
		use(n.Pos, n.Variable)
	case ast.BeginTransaction:
		use(n.Pos, n.Variable)
	}
}
