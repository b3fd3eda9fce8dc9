package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (p *parser) alterTable(pos ast.Pos) ast.Statement {
	p.expect("TABLE")
	s := &ast.AlterTable{Name: p.name()}
	s.Action = p.tableAction()
	s.Span = p.span(pos)
	return s
}

func (p *parser) tableAction() ast.TableAction {
	pos := p.pos()
	withCheck, withNoCheck := p.accept("WITH", "CHECK"), false
	if !withCheck {
		withNoCheck = p.accept("WITH", "NOCHECK")
	}
	switch {
	case p.accept("ADD"):
		if p.is("PERIOD", "FOR") {
			p.noOption("PERIOD FOR")
		}
		a := &ast.AddElements{Pos: pos, NoCheck: withNoCheck}
		p.list(func() { p.tableElement(&a.TableElements, tableOfAlter) })
		return a
	case p.isAny("CHECK", "NOCHECK"):
		return p.enableConstraints(pos, withCheck)
	case withCheck || withNoCheck:
		p.fail()
	case p.accept("DROP"):
		return p.dropElements(pos)
	case p.accept("ALTER"):
		if p.is("INDEX") {
			p.noOption("ALTER TABLE ALTER INDEX")
		}
		p.expect("COLUMN")
		return p.alterColumn(pos)
	case p.isAny("REBUILD", "SWITCH", "SPLIT", "MERGE") || p.isAny("ENABLE", "DISABLE", "SET"):
		name := p.tok().upper
		if next := p.look(1); next.kind == tokenWord && name != "REBUILD" && name != "SWITCH" {
			name += " " + next.upper
		}
		p.noOption("ALTER TABLE " + name)
	}
	p.fail()
	return nil
}

func (p *parser) enableConstraints(pos ast.Pos, trust bool) ast.TableAction {
	a := &ast.EnableConstraints{Pos: pos, Trust: trust, Enable: p.next().upper == "CHECK"}
	p.expect("CONSTRAINT")
	if a.All = p.accept("ALL"); !a.All {
		p.list(func() { a.Names = append(a.Names, p.ident()) })
	}
	return a
}

// dropElements parses what follows ALTER TABLE … DROP. COLUMN or CONSTRAINT
// holds on for the names after it.
func (p *parser) dropElements(pos ast.Pos) ast.TableAction {
	a := &ast.DropElements{Pos: pos}
	column, ifExists := false, false
	p.list(func() {
		switch {
		case p.accept("COLUMN"):
			column, ifExists = true, p.accept("IF", "EXISTS")
		case p.accept("CONSTRAINT"):
			column, ifExists = false, p.accept("IF", "EXISTS")
		case p.is("PERIOD", "FOR"):
			p.noOption("PERIOD FOR")
		case p.is("INDEX"):
			p.noOption("ALTER TABLE DROP INDEX")
		}
		id := p.ident()
		a.Items = append(a.Items, ast.DropElement{Pos: id.Pos, Column: column, IfExists: ifExists, Name: id.Name})
		if !column && p.is("WITH") && p.look(1).isSymbol("(") {
			p.at += 2
			p.knownOptions(p.settings(), "MAXDOP ONLINE")
			p.expectSymbol(")")
		}
	})
	return a
}

func (p *parser) alterColumn(pos ast.Pos) ast.TableAction {
	a := &ast.AlterColumn{Pos: pos, Name: p.ident().Name}
	if p.isAny("ADD", "DROP") {
		p.noOption("ALTER COLUMN " + p.tok().upper)
	}
	a.Type = p.dataType(1)
	if p.accept("COLLATE") {
		a.Collation = p.ident().Name
	}
	switch {
	case p.accept("NULL"):
		a.Null = ast.Nullable
	case p.accept("NOT", "NULL"):
		a.Null = ast.NotNull
	}
	if t := p.tok(); t.kind == tokenWord && refusedColumnClauses[t.upper] || p.is("WITH") && p.look(1).isSymbol("(") {
		p.noOption("ALTER COLUMN " + t.upper)
	}
	return a
}
