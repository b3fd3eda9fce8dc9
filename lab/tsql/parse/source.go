package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// tableHints are the words that WITH (…) after a table may hold.
// Source: https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table
var tableHints = wordSet(`FORCESCAN FORCESEEK HOLDLOCK IGNORE_CONSTRAINTS IGNORE_TRIGGERS INDEX KEEPDEFAULTS KEEPIDENTITY NOEXPAND
NOLOCK NOWAIT PAGLOCK READCOMMITTED READCOMMITTEDLOCK READPAST READUNCOMMITTED REPEATABLEREAD ROWLOCK SERIALIZABLE SNAPSHOT
SPATIAL_WINDOW_MAX_CELLS TABLOCK TABLOCKX UPDLOCK XLOCK`)

// rowsetFunctions reach outside the database.
var rowsetFunctions = wordSet(`OPENROWSET OPENQUERY OPENXML OPENDATASOURCE CONTAINSTABLE FREETEXTTABLE SEMANTICKEYPHRASETABLE
SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE CHANGETABLE PREDICT`)

// notAliases are words that are not reserved but do not name a table after it.
var notAliases = wordSet("USING WINDOW")

// from parses the table sources of a FROM clause.
func (p *parser) from() []ast.TableSource {
	var list []ast.TableSource
	p.list(func() { list = append(list, p.joined()) })
	return list
}

// joined parses a table source and what is joined to it.
func (p *parser) joined() ast.TableSource {
	defer p.enter()()
	l, n := p.source(), 0
	for {
		j, ok := p.joinOperator()
		if !ok {
			return l
		}
		p.chain(&n)
		l = p.join(l, j)
	}
}

// join parses the right side of a join and its condition.
func (p *parser) join(l ast.TableSource, j *ast.Join) ast.TableSource {
	defer p.enter()()
	j.L, j.R = l, p.source()
	switch j.Kind {
	case ast.CrossJoin, ast.CrossApply, ast.OuterApply:
		return j
	default:
	}
	// a JOIN b JOIN c ON … ON …: the first ON is that of the last JOIN.
	for n := 0; !p.is("ON"); p.chain(&n) {
		inner, ok := p.joinOperator()
		if !ok {
			p.fail()
		}
		j.R = p.join(j.R, inner)
	}
	p.expect("ON")
	j.On = p.predicate()
	return j
}

// joinOperator takes JOIN and the words before it, or an APPLY.
func (p *parser) joinOperator() (*ast.Join, bool) {
	j := &ast.Join{Pos: p.pos()}
	switch {
	case p.accept("JOIN"):
		j.Kind = ast.InnerJoin
		return j, true
	case p.accept("CROSS", "APPLY"):
		j.Kind = ast.CrossApply
		return j, true
	case p.accept("OUTER", "APPLY"):
		j.Kind = ast.OuterApply
		return j, true
	case p.accept("CROSS"):
		j.Kind = ast.CrossJoin
		p.expect("JOIN")
		return j, true
	case p.accept("INNER"):
		j.Kind = ast.InnerJoin
	case p.accept("LEFT"):
		j.Kind = ast.LeftJoin
	case p.accept("RIGHT"):
		j.Kind = ast.RightJoin
	case p.accept("FULL"):
		j.Kind = ast.FullJoin
	case p.isAny("PIVOT", "UNPIVOT", "TABLESAMPLE"):
		p.noOption(p.tok().upper)
	default:
		return nil, false
	}
	if j.Kind != ast.InnerJoin {
		p.accept("OUTER")
	}
	if p.isAny("LOOP", "HASH", "MERGE", "REMOTE") {
		j.Hint = p.next().upper
	}
	p.expect("JOIN")
	return j, true
}

// source parses one table source.
func (p *parser) source() ast.TableSource {
	pos, t := p.pos(), p.tok()
	switch {
	case p.isSymbol("("):
		return p.bracketedSource()
	case p.isVariable():
		v := &ast.TableVariable{Pos: pos, Name: p.variable()}
		v.Alias = p.tableAlias()
		return v
	case t.kind == tokenWord && rowsetFunctions[t.upper]:
		p.noOption(t.upper)
	case t.isSymbol("::"):
		p.noOption("::")
	}
	name := p.name()
	if p.isSymbol("(") && !p.oldHints() {
		return p.functionTable(name)
	}
	return p.tableRef(name, true)
}

// tableRef parses what follows a table's name.
func (p *parser) tableRef(name ast.Name, alias bool) *ast.TableRef {
	r := &ast.TableRef{Pos: name.Pos, Name: name}
	if p.is("FOR", "SYSTEM_TIME") {
		p.noOption("FOR SYSTEM_TIME")
	}
	if alias {
		r.Alias = p.tableAlias()
	}
	if p.oldHints() {
		p.brackets(func() { r.Hints = append(r.Hints, p.tableHint()) })
	}
	r.Hints = append(r.Hints, p.hints()...)
	return r
}

// oldHints says whether hints without WITH come next: FROM t (NOLOCK).
func (p *parser) oldHints() bool {
	t, after := p.look(1), p.look(2)
	return p.isSymbol("(") && t.kind == tokenWord && tableHints[t.upper] && (after.isSymbol(")") || after.isSymbol(",") && tableHints[p.look(3).upper] || t.is("INDEX"))
}

// hints parses WITH (hint, …).
func (p *parser) hints() []ast.Option {
	if !p.is("WITH") {
		return nil
	}
	after := p.look(1)
	if after.isName() {
		p.raise(nearMessage(336, after.line, "Incorrect syntax near '%s'. If this is intended to be a common table expression, "+
			"you need to explicitly terminate the previous statement with a semi-colon.", after.text))
	}
	if !after.isSymbol("(") {
		return nil
	}
	p.at++
	p.expectSymbol("(")
	var list []ast.Option
	for {
		list = append(list, p.tableHint())
		p.acceptSymbol(",")
		if p.acceptSymbol(")") {
			return list
		}
	}
}

func (p *parser) tableHint() ast.Option {
	t := p.tok()
	o := ast.Option{Pos: p.pos(), Name: t.upper}
	if t.kind != tokenWord {
		p.fail()
	}
	if !tableHints[t.upper] {
		p.raise(nearMessage(321, t.line, "\"%s\" is not a recognized table hints option. If it is intended as a parameter to a table-valued function "+
			"or to the CHANGETABLE function, ensure that your database compatibility mode is set to 90.", t.text))
	}
	p.at++
	switch {
	case t.upper == "INDEX" && p.acceptSymbol("="):
		if p.isSymbol("(") {
			p.brackets(func() { o.Values = append(o.Values, p.indexValue()) })
		} else {
			o.Values = append(o.Values, p.indexValue())
		}
	case t.upper == "INDEX":
		p.brackets(func() { o.Values = append(o.Values, p.indexValue()) })
	case t.upper == "FORCESEEK" && p.isSymbol("("):
		p.noOption("FORCESEEK (…)")
	case t.upper == "SPATIAL_WINDOW_MAX_CELLS":
		p.noOption(t.upper)
	}
	return o
}

// indexValue takes an index's name or number.
func (p *parser) indexValue() ast.Option {
	pos := p.pos()
	if p.tok().kind == tokenInteger {
		return ast.Option{Pos: pos, Value: p.literal()}
	}
	return ast.Option{Pos: pos, Word: p.ident().Name}
}

// tableAlias takes [AS] alias; empty when there is none.
func (p *parser) tableAlias() string {
	if p.accept("AS") {
		return p.ident().Name
	}
	if t := p.tok(); t.isName() && (t.kind == tokenQuoted || !notAliases[t.upper]) && !p.look(1).isSymbol(":") {
		return p.ident().Name
	}
	return ""
}

// bracketedSource parses (query) alias, (VALUES …) alias and (joins).
func (p *parser) bracketedSource() ast.TableSource {
	defer p.enter()()
	pos := p.pos()
	if p.startsQuery(p.at) {
		d := &ast.DerivedTable{Pos: pos, Query: p.subquery()}
		d.Alias = p.neededAlias()
		d.Columns = p.optionalIdents()
		return d
	}
	if t := p.look(1); t.is("INSERT") || t.is("UPDATE") || t.is("DELETE") || t.is("MERGE") {
		p.noOption("FROM (" + t.upper + " …)")
	}
	p.at++
	if p.accept("VALUES") {
		v := &ast.ValuesTable{Pos: pos, Rows: p.rows(false)}
		p.expectSymbol(")")
		v.Alias = p.neededAlias()
		v.Columns = p.optionalIdents()
		return v
	}
	s := p.joined()
	p.expectSymbol(")")
	return s
}

func (p *parser) neededAlias() string {
	a := p.tableAlias()
	if a == "" {
		p.fail()
	}
	return a
}

// functionTable parses the arguments of a table-valued function.
func (p *parser) functionTable(name ast.Name) ast.TableSource {
	f := &ast.FunctionTable{Pos: name.Pos, Name: name}
	p.expectSymbol("(")
	if !p.isSymbol(")") {
		p.list(func() {
			if pos := p.pos(); p.accept("DEFAULT") {
				f.Args = append(f.Args, &ast.DefaultValue{Pos: pos})
				return
			}
			f.Args = append(f.Args, p.value())
		})
	}
	p.expectSymbol(")")
	if strings.EqualFold(name.Object, "OPENJSON") && name.Schema == "" && p.accept("WITH") {
		p.brackets(func() { f.Schema = append(f.Schema, p.schemaColumn()) })
	}
	f.Alias = p.tableAlias()
	if f.Alias != "" {
		f.Columns = p.optionalIdents()
	}
	return f
}

func (p *parser) schemaColumn() ast.SchemaColumn {
	c := ast.SchemaColumn{Pos: p.pos(), Name: p.ident().Name, Type: p.dataType(1)}
	if k := p.tok().kind; k == tokenString || k == tokenNString {
		c.Path = p.next().text
	}
	if p.accept("AS", "JSON") {
		c.AsJSON = true
	}
	return c
}
