package parse

import (
	"fmt"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (p *parser) executeStatement() ast.Statement {
	if t := p.look(1); t.is("AS") {
		p.noStatement("EXECUTE AS")
	}
	return p.execute()
}

// execute parses EXECUTE of a procedure or a string.
func (p *parser) execute() *ast.Execute {
	pos := p.pos()
	p.at++
	s := &ast.Execute{}
	if p.isSymbol("(") {
		p.executeString(s)
		s.Span = p.span(pos)
		return s
	}
	if p.isVariable() && p.look(1).isSymbol("=") {
		s.ReturnTo = p.variable()
		p.at++
	}
	if p.isVariable() {
		s.ProcedureVariable = p.variable()
	} else {
		n := p.name()
		s.Procedure = &n
	}
	p.executeRest(s, pos)
	return s
}

// implicitExecute parses a procedure's name and arguments at the beginning of
// a batch.
func (p *parser) implicitExecute() ast.Statement {
	pos := p.pos()
	n := p.name()
	s := &ast.Execute{Procedure: &n, Implicit: true}
	p.executeRest(s, pos)
	return s
}

func (p *parser) executeRest(s *ast.Execute, pos ast.Pos) {
	if p.beginsArgument() {
		p.list(func() { s.Arguments = append(s.Arguments, p.argument(s.Arguments)) })
	}
	if p.is("WITH") && (p.look(1).is("RECOMPILE") || p.look(1).is("RESULT")) {
		p.at++
		if p.is("RESULT") {
			p.noOption("EXECUTE WITH RESULT SETS")
		}
		s.Options = append(s.Options, ast.Option{Pos: p.pos(), Name: p.next().upper})
		if p.isSymbol(",") && p.look(1).is("RESULT") {
			p.noOption("EXECUTE WITH RESULT SETS")
		}
	}
	s.Span = p.span(pos)
}

func (p *parser) beginsArgument() bool {
	switch t := p.tok(); t.kind {
	default:
		return true
	case tokenEnd, tokenBroken, tokenPseudo:
		return false
	case tokenSymbol:
		return t.text == "-" || t.text == "+"
	case tokenWord:
		return (!t.reserved || t.upper == "NULL" || t.upper == "DEFAULT") && !p.look(1).isSymbol(":")
	}
}

// argument parses one argument; before are those in front of it.
func (p *parser) argument(before []ast.Argument) ast.Argument {
	a := ast.Argument{Pos: p.pos()}
	line := p.tok().line
	if p.isVariable() && p.look(1).isSymbol("=") {
		a.Name = p.variable()
		p.at++
	} else if len(before) > 0 && before[len(before)-1].Name != "" {
		p.raise(syntax(119, line, fmt.Sprintf("Must pass parameter number %d and subsequent parameters as '@name = value'. After the form '@name = value' "+
			"has been used, all subsequent parameters must be passed in the form '@name = value'.", len(before)+1)))
	}
	switch pos, t := p.pos(), p.tok(); {
	case p.accept("DEFAULT"):
		a.Value = &ast.DefaultValue{Pos: pos}
	case t.isName():
		p.at++
		a.Value = &ast.Literal{Pos: pos, Kind: ast.NString, Text: t.text}
	default:
		a.Value = p.signedLiteral()
	}
	if p.isAny("OUTPUT", "OUT") {
		p.at++
		a.Output = true
	}
	return a
}

// executeString parses ('…' + @v …) and what may follow.
func (p *parser) executeString(s *ast.Execute) {
	p.expectSymbol("(")
	for {
		switch p.tok().kind {
		case tokenString, tokenNString, tokenVariable:
			s.Strings = append(s.Strings, p.operand())
		default:
			p.fail()
		}
		if !p.acceptSymbol("+") {
			break
		}
	}
	if p.isSymbol(",") {
		p.noOption("EXECUTE … AT")
	}
	p.expectSymbol(")")
	switch {
	case p.is("AT"):
		p.noOption("EXECUTE … AT")
	case p.is("WITH", "RESULT"):
		p.noOption("EXECUTE WITH RESULT SETS")
	case p.is("AS", "USER") || p.is("AS", "LOGIN"):
		p.noOption("EXECUTE … AS " + p.look(1).upper)
	}
}
