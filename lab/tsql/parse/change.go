package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// maxRows is the greatest number of rows of INSERT … VALUES.
const maxRows = 1000

// optionalTop takes TOP (n) of a change.
func (p *parser) optionalTop() *ast.Top {
	if !p.is("TOP") {
		return nil
	}
	return p.top(false)
}

// target parses the table of a change with its hints.
func (p *parser) target() ast.TableSource {
	pos, t := p.pos(), p.tok()
	if p.isVariable() {
		return &ast.TableVariable{Pos: pos, Name: p.variable()}
	}
	if t.kind == tokenWord && rowsetFunctions[t.upper] {
		p.noOption(t.upper)
	}
	name := p.name()
	r := &ast.TableRef{Pos: name.Pos, Name: name}
	r.Hints = p.hints()
	return r
}

// outputs parses OUTPUT … INTO … and OUTPUT ….
func (p *parser) outputs() (into, client *ast.Output) {
	for p.is("OUTPUT") {
		o := &ast.Output{Pos: p.pos()}
		p.at++
		p.list(func() { o.Items = append(o.Items, p.selectItem(false)) })
		switch {
		case client != nil || into != nil && p.is("INTO"):
			p.fail()
		case p.accept("INTO"):
			o.Into = p.target()
			o.Columns = p.optionalIdents()
			into = o
		default:
			client = o
		}
	}
	return into, client
}

func (p *parser) insert(pos ast.Pos, with []ast.CommonTable) ast.Statement {
	p.expect("INSERT")
	if p.is("BULK") {
		p.noStatement("INSERT BULK")
	}
	s := &ast.Insert{With: with, Top: p.optionalTop()}
	p.accept("INTO")
	s.Target = p.target()
	if p.isSymbol("(") && !p.startsQuery(p.at) {
		s.Columns = p.idents()
	}
	s.OutputInto, s.Output = p.outputs()
	switch {
	case p.accept("DEFAULT"):
		p.expect("VALUES")
		s.DefaultValues = true
	case p.accept("VALUES"):
		rows := p.pos()
		s.Rows = p.rows(true)
		if len(s.Rows) > maxRows {
			p.raise(syntax(10738, rows.Line, "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 row values."))
		}
	case p.isAny("EXEC", "EXECUTE"):
		e := p.execute()
		s.Execute = e
	case p.is("SELECT") || p.isSymbol("("):
		s.Query = p.query()
	default:
		p.fail()
	}
	s.Options = p.optionClause()
	s.Span = p.span(pos)
	return s
}

// rows parses the rows after VALUES, which have to be of one length.
func (p *parser) rows(defaults bool) [][]ast.Expression {
	var rows [][]ast.Expression
	p.list(func() {
		line := p.tok().line
		var row []ast.Expression
		p.brackets(func() { row = append(row, p.valueOrDefault(defaults)) })
		if len(rows) > 0 && len(row) != len(rows[0]) {
			p.raise(grave(10709, line, "The number of columns for each row in a table value constructor must be the same."))
		}
		rows = append(rows, row)
	})
	return rows
}

func (p *parser) valueOrDefault(allowed bool) ast.Expression {
	if pos := p.pos(); allowed && p.accept("DEFAULT") {
		return &ast.DefaultValue{Pos: pos}
	}
	return p.value()
}

func (p *parser) update(pos ast.Pos, with []ast.CommonTable) ast.Statement {
	p.expect("UPDATE")
	if p.is("STATISTICS") {
		p.noStatement("UPDATE STATISTICS")
	}
	s := &ast.Update{With: with, Top: p.optionalTop(), Target: p.target()}
	p.expect("SET")
	s.Set = p.assignments()
	s.OutputInto, s.Output = p.outputs()
	if p.accept("FROM") {
		s.From = p.from()
	}
	s.Where, s.CurrentOf = p.where()
	s.Options = p.optionClause()
	s.Span = p.span(pos)
	return s
}

// where parses WHERE, also of a cursor's row.
func (p *parser) where() (where ast.Predicate, cursor string) {
	if !p.accept("WHERE") {
		return nil, ""
	}
	if p.accept("CURRENT", "OF") {
		if p.is("GLOBAL") && p.look(1).isName() {
			p.at++
		}
		return nil, p.ident().Name
	}
	return p.predicate(), ""
}

func (p *parser) assignments() []ast.Assignment {
	var list []ast.Assignment
	p.list(func() { list = append(list, p.assignment()) })
	return list
}

// assignment parses column = value, @v = value and @v = column = value.
func (p *parser) assignment() ast.Assignment {
	a := ast.Assignment{Pos: p.pos()}
	if p.isVariable() {
		a.Variable = p.variable()
		if !p.isSymbol("=") || !p.columnAssignedNext() {
			a.Op = p.assignmentOperator()
			a.Value = p.value()
			return a
		}
		p.at++
	}
	parts := p.parts(5)
	last := parts[len(parts)-1]
	a.Column = &ast.ColumnRef{Pos: parts[0].Pos, Column: last.Name, Quoted: last.Quoted}
	if len(parts) > 1 {
		table := nameOf(parts[:len(parts)-1])
		a.Column.Table = &table
	}
	if p.isSymbol("(") && len(parts) > 1 && strings.EqualFold(last.Name, "WRITE") {
		p.noOption(".WRITE")
	}
	a.Op = p.assignmentOperator()
	a.Value = p.valueOrDefault(a.Op == "" && a.Variable == "")
	return a
}

// columnAssignedNext says whether, after the = that comes next, a column and
// another assignment stand.
func (p *parser) columnAssignedNext() bool {
	n := 1
	for p.look(n).isName() {
		n++
		if !p.look(n).isSymbol(".") {
			return p.look(n).isAssignment()
		}
		for p.look(n).isSymbol(".") {
			n++
		}
	}
	return false
}

func (p *parser) delete(pos ast.Pos, with []ast.CommonTable) ast.Statement {
	p.expect("DELETE")
	s := &ast.Delete{With: with, Top: p.optionalTop()}
	p.accept("FROM")
	s.Target = p.target()
	s.OutputInto, s.Output = p.outputs()
	if p.accept("FROM") {
		s.From = p.from()
	}
	s.Where, s.CurrentOf = p.where()
	s.Options = p.optionClause()
	s.Span = p.span(pos)
	return s
}

func (p *parser) truncate() ast.Statement {
	pos := p.pos()
	p.expect("TRUNCATE", "TABLE")
	s := &ast.TruncateTable{Table: p.name()}
	if p.is("WITH") && p.look(1).isSymbol("(") {
		p.noOption("TRUNCATE TABLE WITH")
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) merge(pos ast.Pos, with []ast.CommonTable) ast.Statement {
	p.expect("MERGE")
	s := &ast.Merge{With: with, Top: p.optionalTop()}
	p.accept("INTO")
	s.Target = p.target()
	alias := p.tableAlias()
	switch t := s.Target.(type) {
	case *ast.TableRef:
		t.Alias = alias
	case *ast.TableVariable:
		t.Alias = alias
	}
	p.expect("USING")
	s.Using = p.joined()
	p.expect("ON")
	s.On = p.predicate()
	for p.is("WHEN") {
		s.Whens = append(s.Whens, p.mergeWhen())
	}
	if len(s.Whens) == 0 {
		p.fail()
	}
	s.OutputInto, s.Output = p.outputs()
	s.Options = p.optionClause()
	s.Span = p.span(pos)
	if !p.isSymbol(";") {
		if k := p.tok().kind; k == tokenBroken || k == tokenSymbol {
			p.fail()
		}
		line := p.tok().line
		if p.tok().kind == tokenEnd {
			line = p.tokens[p.at-1].line
		}
		p.raise(syntax(10713, line, "A MERGE statement must be terminated by a semi-colon (;)."))
	}
	return s
}

func (p *parser) mergeWhen() ast.MergeWhen {
	w := ast.MergeWhen{Pos: p.pos(), Match: ast.Matched}
	p.expect("WHEN")
	if p.accept("NOT") {
		w.Match = ast.NotMatchedByTarget
	}
	p.expect("MATCHED")
	if w.Match == ast.NotMatchedByTarget && p.accept("BY") && p.expectAny("TARGET", "SOURCE") == "SOURCE" {
		w.Match = ast.NotMatchedBySource
	}
	if p.accept("AND") {
		w.And = p.predicate()
	}
	p.expect("THEN")
	switch {
	case w.Match == ast.NotMatchedByTarget:
		p.mergeInsert(&w)
	case p.accept("UPDATE"):
		p.expect("SET")
		w.Set = p.assignments()
	case p.accept("DELETE"):
		w.Delete = true
	default:
		p.fail()
	}
	return w
}

func (p *parser) mergeInsert(w *ast.MergeWhen) {
	p.expect("INSERT")
	w.Columns = p.optionalIdents()
	if p.accept("DEFAULT", "VALUES") {
		w.DefaultValues = true
		return
	}
	p.expect("VALUES")
	p.brackets(func() { w.Values = append(w.Values, p.valueOrDefault(true)) })
}
