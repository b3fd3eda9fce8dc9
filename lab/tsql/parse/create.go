package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// create parses CREATE.
func (p *parser) create(first bool) ast.Statement {
	pos := p.pos()
	p.expect("CREATE")
	switch t := p.tok(); {
	case t.is("TABLE"):
		return p.createTable(pos)
	case t.is("UNIQUE") || t.is("CLUSTERED") || t.is("NONCLUSTERED") || t.is("INDEX"):
		return p.createIndex(pos)
	case t.is("OR"):
		p.at++
		p.expect("ALTER")
		return p.module(pos, ast.CreateOrAlter, "CREATE", first)
	case t.is("VIEW") || t.is("PROC") || t.is("PROCEDURE"):
		return p.module(pos, ast.Create, "CREATE", first)
	case t.is("SCHEMA"):
		return p.createSchema(pos, first)
	case t.is("DATABASE"):
		return p.createDatabase(pos)
	case t.is("LOGIN"):
		return p.createLogin(pos)
	case t.is("USER"):
		return p.createUser(pos)
	case t.is("ROLE"):
		p.at++
		s := &ast.CreateRole{Name: p.ident().Name}
		if p.accept("AUTHORIZATION") {
			s.Owner = p.ident().Name
		}
		s.Span = p.span(pos)
		return s
	}
	p.refuseObject("CREATE")
	return nil
}

// alter parses ALTER.
func (p *parser) alter(first bool) ast.Statement {
	pos := p.pos()
	p.expect("ALTER")
	switch t := p.tok(); {
	case t.is("TABLE"):
		return p.alterTable(pos)
	case t.is("VIEW") || t.is("PROC") || t.is("PROCEDURE"):
		return p.module(pos, ast.Alter, "ALTER", first)
	case t.is("DATABASE"):
		return p.alterDatabase(pos)
	case t.is("LOGIN"):
		return p.alterLogin(pos)
	case t.is("USER"):
		return p.alterUser(pos)
	case t.is("ROLE"):
		return p.alterRole(pos)
	}
	p.refuseObject("ALTER")
	return nil
}

// droppable are the kinds of objects that DROP takes by name, and whether one
// statement may name several.
var droppable = map[string]struct {
	kind    ast.ObjectKind
	several bool
}{
	"TABLE": {ast.TableObject, true}, "VIEW": {ast.ViewObject, true}, "PROC": {ast.ProcedureObject, true}, "PROCEDURE": {ast.ProcedureObject, true},
	"SCHEMA": {ast.SchemaObject, false}, "DATABASE": {ast.DatabaseObject, true}, "LOGIN": {ast.LoginObject, false},
	"USER": {ast.UserObject, false}, "ROLE": {ast.RoleObject, false},
}

// drop parses DROP.
func (p *parser) drop() ast.Statement {
	pos := p.pos()
	p.expect("DROP")
	t := p.tok()
	if t.is("INDEX") {
		return p.dropIndex(pos)
	}
	kind, ok := droppable[t.upper]
	switch next := p.look(1); {
	case !ok:
		p.refuseObject("DROP")
	case t.is("DATABASE") && (next.is("AUDIT") || next.is("ENCRYPTION") || next.is("SCOPED")) && p.look(2).kind == tokenWord:
		p.noStatement("DROP DATABASE " + next.upper + " " + p.look(2).upper)
	}
	p.at++
	s := &ast.DropObject{Kind: kind.kind, IfExists: p.accept("IF", "EXISTS")}
	if kind.several {
		p.list(func() { s.Names = append(s.Names, p.name()) })
	} else {
		id := p.ident()
		s.Names = []ast.Name{{Pos: id.Pos, Object: id.Name, Quoted: id.Quoted}}
	}
	s.Span = p.span(pos)
	return s
}

// module parses the view or procedure after CREATE, CREATE OR ALTER or ALTER.
func (p *parser) module(pos ast.Pos, d ast.Definition, verb string, first bool) ast.Statement {
	t := p.tok()
	if !t.is("VIEW") && !t.is("PROC") && !t.is("PROCEDURE") {
		p.refuseObject(verb)
	}
	if !first {
		name := t.upper
		if name == "PROC" {
			name = "PROCEDURE"
		}
		p.raise(nearMessage(111, t.line, "'%s' must be the first statement in a query batch.", verb+" "+name))
	}
	p.at++
	if t.is("VIEW") {
		return p.view(pos, d)
	}
	return p.procedure(pos, d)
}

func (p *parser) view(pos ast.Pos, d ast.Definition) ast.Statement {
	s := &ast.CreateView{Definition: d, Name: p.name(), Columns: p.optionalIdents(), Text: p.text}
	if p.accept("WITH") {
		p.list(func() {
			if p.is("ENCRYPTION") {
				p.noOption("ENCRYPTION")
			}
			s.Options = append(s.Options, ast.Option{Pos: p.pos(), Name: p.expectAny("SCHEMABINDING", "VIEW_METADATA")})
		})
	}
	p.expect("AS")
	if p.is("WITH") {
		s.With = p.with()
	}
	s.Query = p.query()
	s.CheckOption = p.accept("WITH", "CHECK", "OPTION")
	s.Span = p.span(pos)
	return s
}

func (p *parser) procedure(pos ast.Pos, d ast.Definition) ast.Statement {
	s := &ast.CreateProcedure{Definition: d, Name: p.name(), Text: p.text}
	switch {
	case p.isSymbol("("):
		p.at++
		s.Parameters = p.parameters()
		p.expectSymbol(")")
	case p.isVariable():
		s.Parameters = p.parameters()
	case p.isSymbol(";"):
		p.noOption("procedure number")
	}
	if p.accept("WITH") {
		p.list(func() {
			switch {
			case p.isAny("ENCRYPTION", "NATIVE_COMPILATION"):
				p.noOption(p.tok().upper)
			case p.is("EXECUTE") || p.is("EXEC"):
				p.noOption("EXECUTE AS")
			}
			s.Options = append(s.Options, ast.Option{Pos: p.pos(), Name: p.expectAny("RECOMPILE", "SCHEMABINDING")})
		})
	}
	if p.is("FOR", "REPLICATION") {
		p.noOption("FOR REPLICATION")
	}
	p.expect("AS")
	if p.is("EXTERNAL", "NAME") {
		p.noOption("EXTERNAL NAME")
	}
	p.inProc = true
	if s.Body = p.statements(false); len(s.Body) == 0 {
		p.fail()
	}
	s.Span = p.span(pos)
	return s
}

// parameters parses a procedure's parameters.
func (p *parser) parameters() []ast.Parameter {
	var list []ast.Parameter
	p.list(func() {
		a := ast.Parameter{Pos: p.pos(), Name: p.variable()}
		p.accept("AS")
		a.Type = p.dataType(1)
		if p.is("VARYING") {
			p.noOption("VARYING")
		}
		if p.accept("NOT", "NULL") {
			p.noOption("NOT NULL parameter")
		}
		p.accept("NULL")
		if p.acceptSymbol("=") {
			if t := p.tok(); t.isName() {
				p.at++
				a.Default = &ast.Literal{Pos: ast.Pos{Offset: t.start, Line: t.line}, Kind: ast.NString, Text: t.text}
			} else {
				a.Default = p.signedLiteral()
			}
		}
		if p.isAny("OUTPUT", "OUT") {
			p.at++
			a.Output = true
		}
		a.ReadOnly = p.accept("READONLY")
		list = append(list, a)
	})
	return list
}

func (p *parser) createSchema(pos ast.Pos, first bool) ast.Statement {
	line := p.tok().line
	p.expect("SCHEMA")
	s := &ast.CreateSchema{}
	if !p.is("AUTHORIZATION") {
		s.Name = p.ident().Name
	}
	if p.accept("AUTHORIZATION") {
		s.Owner = p.ident().Name
	}
	if p.isAny("CREATE", "GRANT", "DENY", "REVOKE") {
		p.noOption("CREATE SCHEMA with schema elements")
	}
	if !first {
		p.raise(nearMessage(111, line, "'%s' must be the first statement in a query batch.", "CREATE SCHEMA"))
	}
	s.Span = p.span(pos)
	return s
}
