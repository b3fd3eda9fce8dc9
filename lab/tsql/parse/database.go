package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (p *parser) createDatabase(pos ast.Pos) ast.Statement {
	p.expect("DATABASE")
	if p.is("SCOPED", "CREDENTIAL") || p.is("AUDIT", "SPECIFICATION") || p.is("ENCRYPTION", "KEY") {
		p.noStatement("CREATE DATABASE " + p.tok().upper + " " + p.look(1).upper)
	}
	s := &ast.CreateDatabase{Name: p.ident().Name}
	if p.isAny("ON", "CONTAINMENT", "LOG") {
		p.noOption(p.tok().upper)
	}
	if p.accept("COLLATE") {
		s.Collation = p.ident().Name
	}
	if p.is("AS") {
		if p.is("AS", "SNAPSHOT") {
			p.noOption("AS SNAPSHOT OF")
		}
		p.expect("AS", "COPY", "OF")
		parts := p.parts(2)
		s.CopyOf = parts[len(parts)-1].Name
		if len(parts) == 2 {
			s.CopyServer = parts[0].Name
		}
	}
	if p.isSymbol("(") {
		s.Edition = p.edition()
	}
	if p.accept("WITH") {
		bracket := p.acceptSymbol("(")
		s.Options = p.settings()
		if bracket {
			p.expectSymbol(")")
		}
		p.knownOptions(s.Options, "CATALOG_COLLATION BACKUP_STORAGE_REDUNDANCY LEDGER")
	}
	s.Span = p.span(pos)
	return s
}

// edition parses (EDITION = …, MAXSIZE = …, SERVICE_OBJECTIVE = …).
func (p *parser) edition() []ast.Option {
	var list []ast.Option
	p.expectSymbol("(")
	p.list(func() { list = append(list, p.editionSetting()) })
	p.expectSymbol(")")
	p.knownOptions(list, "EDITION MAXSIZE SERVICE_OBJECTIVE")
	return list
}

// editionSetting is a setting that may be ELASTIC_POOL (name = pool).
func (p *parser) editionSetting() ast.Option {
	if t := p.look(2); p.is("SERVICE_OBJECTIVE") && t.is("ELASTIC_POOL") {
		o := ast.Option{Pos: p.pos(), Name: "SERVICE_OBJECTIVE", Word: "ELASTIC_POOL"}
		p.at++
		p.expectSymbol("=")
		p.at++
		p.expectSymbol("(")
		o.Values = []ast.Option{p.setting()}
		p.expectSymbol(")")
		return o
	}
	return p.setting()
}

func (p *parser) alterDatabase(pos ast.Pos) ast.Statement {
	p.expect("DATABASE")
	if p.is("SCOPED") && (p.look(1).is("CONFIGURATION") || p.look(1).is("CREDENTIAL")) || p.is("AUDIT", "SPECIFICATION") || p.is("ENCRYPTION", "KEY") {
		p.noStatement("ALTER DATABASE " + p.tok().upper + " " + p.look(1).upper)
	}
	s := &ast.AlterDatabase{}
	if s.Current = p.accept("CURRENT"); !s.Current {
		s.Name = p.ident().Name
	}
	s.Action = p.databaseAction()
	s.Span = p.span(pos)
	return s
}

func (p *parser) databaseAction() ast.DatabaseAction {
	pos := p.pos()
	switch {
	case p.accept("SET"):
		return p.setDatabase(pos)
	case p.accept("MODIFY"):
		return p.modifyDatabase(pos)
	case p.accept("COLLATE"):
		return &ast.CollateDatabase{Pos: pos, Collation: p.ident().Name}
	case p.is("ADD", "SECONDARY"):
		p.at += 2
		p.expect("ON", "SERVER")
		a := &ast.AddSecondary{Pos: pos, Server: p.ident().Name}
		if p.accept("WITH") {
			p.expectSymbol("(")
			p.list(func() { a.Options = append(a.Options, p.editionSetting()) })
			p.expectSymbol(")")
			p.knownOptions(a.Options, "ALLOW_CONNECTIONS SERVICE_OBJECTIVE SECONDARY_TYPE DATABASE_NAME")
		}
		return a
	case p.accept("REMOVE", "SECONDARY"):
		p.expect("ON", "SERVER")
		return &ast.RemoveSecondary{Pos: pos, Server: p.ident().Name}
	case p.accept("FAILOVER"):
		return &ast.FailoverDatabase{Pos: pos}
	case p.accept("FORCE_FAILOVER_ALLOW_DATA_LOSS"):
		return &ast.FailoverDatabase{Pos: pos, AllowDataLoss: true}
	case p.isAny("ADD", "REMOVE") && p.look(1).kind == tokenWord:
		p.noOption("ALTER DATABASE " + p.tok().upper + " " + p.look(1).upper)
	case p.is("PERFORM_CUTOVER"):
		p.noOption("PERFORM_CUTOVER")
	}
	p.fail()
	return nil
}

func (p *parser) modifyDatabase(pos ast.Pos) ast.DatabaseAction {
	switch {
	case p.accept("NAME"):
		p.expectSymbol("=")
		return &ast.ModifyName{Pos: pos, Name: p.ident().Name}
	case p.isSymbol("("):
		a := &ast.ModifyEdition{Pos: pos, Options: p.edition()}
		a.Manual = p.accept("WITH", "MANUAL_CUTOVER")
		return a
	case p.is("BACKUP_STORAGE_REDUNDANCY"):
		return &ast.SetDatabaseOptions{Pos: pos, Options: []ast.Option{p.setting()}}
	case p.isAny("FILE", "FILEGROUP"):
		p.noOption("MODIFY " + p.tok().upper)
	}
	p.fail()
	return nil
}

// setDatabase parses SET ENCRYPTION and SET of any other options.
func (p *parser) setDatabase(pos ast.Pos) ast.DatabaseAction {
	if p.accept("ENCRYPTION") {
		return &ast.SetEncryption{Pos: pos, State: p.expectAny("ON", "OFF", "SUSPEND", "RESUME")}
	}
	a := &ast.SetDatabaseOptions{Pos: pos}
	p.list(func() { a.Options = append(a.Options, p.databaseOption()) })
	if p.accept("WITH") {
		switch p.expectAny("ROLLBACK", "NO_WAIT") {
		case "NO_WAIT":
			a.Termination = "NO_WAIT"
		default:
			if p.accept("IMMEDIATE") {
				a.Termination = "ROLLBACK IMMEDIATE"
				break
			}
			p.expect("AFTER")
			a.Termination = "ROLLBACK AFTER " + p.tok().text
			p.small()
			p.accept("SECONDS")
		}
	}
	return a
}

// databaseStates are options of one word.
var databaseStates = wordSet("READ_ONLY READ_WRITE SINGLE_USER RESTRICTED_USER MULTI_USER ONLINE OFFLINE EMERGENCY")

// databaseOption parses NAME ON, NAME = value, NAME (…), NAME word.
func (p *parser) databaseOption() ast.Option {
	t := p.tok()
	if t.kind != tokenWord || t.reserved {
		p.fail()
	}
	o := ast.Option{Pos: p.pos(), Name: t.upper}
	p.at++
	switch {
	case databaseStates[t.upper]:
	case p.acceptSymbol("="):
		p.settingValue(&o)
		if p.isSymbol("(") {
			p.at++
			o.Values = p.settings()
			p.expectSymbol(")")
		}
	case p.isSymbol("("):
		p.at++
		o.Values = p.settings()
		p.expectSymbol(")")
	case p.isAny("ON", "OFF"):
		o.Word = p.next().upper
		if p.isSymbol("(") {
			p.at++
			o.Values = p.settings()
			p.expectSymbol(")")
		}
	case p.is("FULL") || p.tok().isName() && p.tok().kind == tokenWord:
		o.Word = p.next().upper
	default:
		p.fail()
	}
	return o
}
