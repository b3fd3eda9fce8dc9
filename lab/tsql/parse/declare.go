package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (p *parser) declare() ast.Statement {
	pos := p.pos()
	p.expect("DECLARE")
	if p.tok().isName() {
		return p.declareCursor(pos)
	}
	s := &ast.Declare{}
	p.list(func() { s.Variables = append(s.Variables, p.variableDeclaration()) })
	if len(s.Variables) > 1 {
		for _, v := range s.Variables {
			if v.Table != nil {
				p.raise(nearMessage(102, v.Line, "Incorrect syntax near '%s'.", v.Name))
			}
		}
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) variableDeclaration() ast.VariableDeclaration {
	v := ast.VariableDeclaration{Pos: p.pos(), Name: p.variable()}
	p.accept("AS")
	if p.accept("TABLE") {
		t := p.tableElements(tableOfVariable)
		v.Table = &t
		return v
	}
	t := p.dataType(1)
	v.Type = &t
	if p.acceptSymbol("=") {
		v.Value = p.value()
	}
	return v
}

// set parses SET of a variable or of options.
func (p *parser) set() ast.Statement {
	pos := p.pos()
	p.expect("SET")
	if p.isVariable() {
		s := &ast.SetVariable{Name: p.variable(), Op: p.assignmentOperator()}
		if p.is("CURSOR") {
			p.noOption("CURSOR")
		}
		s.Value = p.value()
		s.Span = p.span(pos)
		return s
	}
	s := p.setOption()
	s.Span = p.span(pos)
	return s
}

// switches are the options of SET that are ON or OFF.
// Source: https://learn.microsoft.com/sql/t-sql/statements/set-statements-transact-sql
var switches = wordSet(`ANSI_DEFAULTS ANSI_NULL_DFLT_OFF ANSI_NULL_DFLT_ON ANSI_NULLS ANSI_PADDING ANSI_WARNINGS ARITHABORT ARITHIGNORE
CONCAT_NULL_YIELDS_NULL CURSOR_CLOSE_ON_COMMIT FMTONLY FORCEPLAN IMPLICIT_TRANSACTIONS NO_BROWSETABLE NOCOUNT NOEXEC NUMERIC_ROUNDABORT PARSEONLY
QUOTED_IDENTIFIER REMOTE_PROC_TRANSACTIONS RESULT_SET_CACHING SHOWPLAN_ALL SHOWPLAN_TEXT SHOWPLAN_XML XACT_ABORT`)

// settingsOfValue are the options of SET that take a value.
var settingsOfValue = wordSet("CONTEXT_INFO DATEFIRST DATEFORMAT DEADLOCK_PRIORITY LANGUAGE LOCK_TIMEOUT QUERY_GOVERNOR_COST_LIMIT ROWCOUNT TEXTSIZE")

func (p *parser) setOption() *ast.SetOption {
	s, t := &ast.SetOption{}, p.tok()
	if t.kind != tokenWord {
		p.fail()
	}
	switch {
	case p.accept("TRANSACTION"):
		p.expect("ISOLATION", "LEVEL")
		s.Names = []string{"TRANSACTION ISOLATION LEVEL"}
		s.Word = p.isolationLevel()
	case p.accept("IDENTITY_INSERT"):
		s.Names = []string{t.upper}
		n := p.name()
		s.Table = &n
		s.Word = p.expectAny("ON", "OFF")
	case p.accept("STATISTICS"):
		p.list(func() { s.Names = append(s.Names, "STATISTICS "+p.expectAny("IO", "TIME", "XML", "PROFILE")) })
		s.Word = p.expectAny("ON", "OFF")
	case settingsOfValue[t.upper]:
		p.at++
		s.Names = []string{t.upper}
		if word := p.tok(); word.isName() {
			s.Word = strings.ToUpper(word.text)
			p.at++
		} else {
			s.Value = p.signedLiteral()
		}
	case switches[t.upper]:
		p.list(func() {
			if !switches[p.tok().upper] {
				p.fail()
			}
			s.Names = append(s.Names, p.next().upper)
		})
		s.Word = p.expectAny("ON", "OFF")
	case t.reserved:
		p.fail()
	case t.upper == "FIPS_FLAGGER" || t.upper == "OFFSETS":
		p.noOption("SET " + t.upper)
	default:
		p.raise(nearMessage(195, t.line, "'%s' is not a recognized SET option.", t.text))
	}
	return s
}

func (p *parser) isolationLevel() string {
	switch p.expectAny("READ", "REPEATABLE", "SNAPSHOT", "SERIALIZABLE") {
	case "READ":
		return "READ " + p.expectAny("COMMITTED", "UNCOMMITTED")
	case "REPEATABLE":
		p.expect("READ")
		return "REPEATABLE READ"
	}
	return p.tokens[p.at-1].upper
}

// cursorOptions are the words between CURSOR and FOR.
var cursorOptions = wordSet("LOCAL GLOBAL FORWARD_ONLY SCROLL STATIC KEYSET DYNAMIC FAST_FORWARD READ_ONLY SCROLL_LOCKS OPTIMISTIC TYPE_WARNING INSENSITIVE")

func (p *parser) declareCursor(pos ast.Pos) ast.Statement {
	s := &ast.DeclareCursor{Name: p.ident().Name}
	for p.isAny("INSENSITIVE", "SCROLL") {
		s.Options = append(s.Options, p.next().upper)
	}
	p.expect("CURSOR")
	for p.tok().kind == tokenWord && cursorOptions[p.tok().upper] {
		s.Options = append(s.Options, p.next().upper)
	}
	p.expect("FOR")
	if p.is("WITH") {
		s.With = p.with()
	}
	s.Query = p.query()
	switch {
	case p.accept("FOR", "UPDATE"):
		s.Update = true
		if p.accept("OF") {
			p.list(func() { s.Columns = append(s.Columns, p.ident()) })
		}
	case p.accept("FOR"):
		p.expect("READ", "ONLY")
		s.Options = append(s.Options, "READ_ONLY")
	}
	s.Span = p.span(pos)
	return s
}

// cursor parses OPEN, FETCH, CLOSE and DEALLOCATE.
func (p *parser) cursor() ast.Statement {
	pos, word := p.pos(), p.next().upper
	if word == "FETCH" {
		return p.fetch(pos)
	}
	if t := p.tok(); word != "DEALLOCATE" && (t.is("MASTER") || t.is("SYMMETRIC") || t.is("ALL")) && p.look(1).kind == tokenWord {
		p.noStatement(word + " " + t.upper + " " + p.look(1).upper)
	}
	name := p.cursorName()
	switch word {
	case "OPEN":
		return &ast.OpenCursor{Span: p.span(pos), Name: name}
	case "CLOSE":
		return &ast.CloseCursor{Span: p.span(pos), Name: name}
	}
	return &ast.DeallocateCursor{Span: p.span(pos), Name: name}
}

func (p *parser) cursorName() string {
	if p.isVariable() {
		p.noOption("CURSOR variable")
	}
	if p.is("GLOBAL") && p.look(1).isName() {
		p.at++
	}
	return p.ident().Name
}

func (p *parser) fetch(pos ast.Pos) ast.Statement {
	s := &ast.FetchCursor{Direction: "NEXT"}
	if p.isAny("NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE") && !p.look(1).is("INTO") {
		s.Direction = p.next().upper
		if s.Direction == "ABSOLUTE" || s.Direction == "RELATIVE" {
			s.Offset = p.signedLiteral()
		}
		p.expect("FROM")
	} else {
		p.accept("FROM")
	}
	s.Name = p.cursorName()
	if p.accept("INTO") {
		p.list(func() { s.Into = append(s.Into, p.variable()) })
	}
	s.Span = p.span(pos)
	return s
}
