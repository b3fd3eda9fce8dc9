package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// with parses a WITH clause of common table expressions.
func (p *parser) with() []ast.CommonTable {
	p.expect("WITH")
	if p.isAny("XMLNAMESPACES", "CHANGE_TRACKING_CONTEXT") && p.look(1).isSymbol("(") {
		p.noOption("WITH " + p.tok().upper)
	}
	var list []ast.CommonTable
	p.list(func() {
		c := ast.CommonTable{Pos: p.pos(), Name: p.ident().Name, Columns: p.optionalIdents()}
		p.expect("AS")
		c.Query = p.subquery()
		list = append(list, c)
	})
	return list
}

// selectStatement parses a query as a statement, after its WITH.
func (p *parser) selectStatement(pos ast.Pos, with []ast.CommonTable) ast.Statement {
	p.outermost = true
	q := p.query()
	s := &ast.SelectStatement{With: with, Query: q, Options: p.optionClause()}
	s.Span = p.span(pos)
	return s
}

// query parses a query with what applies to its whole result.
func (p *parser) query() *ast.Query {
	defer p.enter()()
	q := &ast.Query{Pos: p.pos()}
	q.Body = p.setOperations()
	if p.is("ORDER") {
		q.OrderBy = p.orderBy()
		if p.accept("OFFSET") {
			q.Offset = p.value()
			p.expectAny("ROW", "ROWS")
			if p.accept("FETCH") {
				p.expectAny("FIRST", "NEXT")
				q.Fetch = p.value()
				p.expectAny("ROW", "ROWS")
				p.expect("ONLY")
			}
		}
	}
	if p.is("FOR") {
		if t := p.look(1); t.is("XML") || t.is("JSON") || t.is("BROWSE") {
			p.noOption("FOR " + t.upper)
		}
	}
	return q
}

func (p *parser) orderBy() []ast.OrderItem {
	p.expect("ORDER", "BY")
	var list []ast.OrderItem
	p.list(func() {
		o := ast.OrderItem{Pos: p.pos(), Expr: p.value()}
		if o.Descending = p.accept("DESC"); !o.Descending {
			p.accept("ASC")
		}
		list = append(list, o)
	})
	return list
}

// setOperations parses queries joined by UNION, EXCEPT and, tighter, INTERSECT.
func (p *parser) setOperations() ast.QueryExpression {
	l, n := p.intersections(), 0
	for p.isAny("UNION", "EXCEPT") {
		p.chain(&n)
		pos, op := p.pos(), ast.Except
		if p.next().upper == "UNION" {
			op = ast.Union
			if p.accept("ALL") {
				op = ast.UnionAll
			}
		}
		l = &ast.SetOperation{Pos: pos, Op: op, L: l, R: p.intersections()}
	}
	return l
}

func (p *parser) intersections() ast.QueryExpression {
	l, n := p.querySpecification(), 0
	for p.is("INTERSECT") {
		p.chain(&n)
		pos := p.pos()
		p.at++
		l = &ast.SetOperation{Pos: pos, Op: ast.Intersect, L: l, R: p.querySpecification()}
	}
	return l
}

func (p *parser) querySpecification() ast.QueryExpression {
	if p.acceptSymbol("(") {
		defer p.enter()()
		q := p.setOperations()
		p.expectSymbol(")")
		return q
	}
	outermost := p.outermost
	p.outermost = false
	s := &ast.Select{Pos: p.pos()}
	p.expect("SELECT")
	if s.Distinct = p.accept("DISTINCT"); !s.Distinct {
		p.accept("ALL")
	}
	if p.is("TOP") {
		s.Top = p.top(true)
	}
	p.list(func() { s.Items = append(s.Items, p.selectItem(outermost)) })
	p.assigns(s)
	if p.is("INTO") && !outermost {
		p.fail()
	}
	if p.accept("INTO") {
		into := p.name()
		s.Into = &into
		if p.is("ON") {
			p.noOption("SELECT INTO ON")
		}
	}
	if p.accept("FROM") {
		s.From = p.from()
	}
	if p.accept("WHERE") {
		s.Where = p.predicate()
	}
	if p.accept("GROUP", "BY") {
		s.GroupBy = p.groupBy()
	}
	if p.accept("HAVING") {
		s.Having = p.predicate()
	}
	if p.is("WINDOW") && p.look(2).is("AS") {
		p.noOption("WINDOW")
	}
	return s
}

// assigns refuses a select list that assigns some variables and returns others.
func (p *parser) assigns(s *ast.Select) {
	n := 0
	for _, item := range s.Items {
		if item.Variable != "" {
			n++
		}
	}
	if n > 0 && n < len(s.Items) {
		p.raise(syntax(141, s.Line, "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations."))
	}
}

// top parses TOP. A query may leave the brackets away before a number.
func (p *parser) top(query bool) *ast.Top {
	t := &ast.Top{Pos: p.pos()}
	p.expect("TOP")
	switch {
	case p.isSymbol("("):
		p.at++
		t.Count = p.value()
		p.expectSymbol(")")
	case query && (p.tok().kind == tokenInteger || p.tok().kind == tokenDecimal || p.tok().kind == tokenFloat):
		t.Count = p.literal()
	default:
		p.fail()
	}
	t.Percent = p.accept("PERCENT")
	t.WithTies = query && p.accept("WITH", "TIES")
	return t
}

// assignmentOperators are those of @v op= value.
var assignmentOperators = map[string]ast.ArithmeticOperator{
	"=": "", "+=": ast.Add, "-=": ast.Subtract, "*=": ast.Multiply, "/=": ast.Divide, "%=": ast.Modulo,
	"&=": ast.BitwiseAnd, "|=": ast.BitwiseOr, "^=": ast.BitwiseXor,
}

func (t token) isAssignment() bool {
	_, ok := assignmentOperators[t.text]
	return ok && t.kind == tokenSymbol
}

// assignmentOperator takes = or a compound assignment.
func (p *parser) assignmentOperator() ast.ArithmeticOperator {
	if !p.tok().isAssignment() {
		p.fail()
	}
	return assignmentOperators[p.next().text]
}

// selectItem parses an element of a select list or an OUTPUT clause; assign
// says whether it may set a variable.
func (p *parser) selectItem(assign bool) ast.SelectItem {
	item := ast.SelectItem{Pos: p.pos()}
	t := p.tok()
	switch {
	case p.acceptSymbol("*"):
		item.Star = true
		return item
	case p.qualifiedStar(&item):
		return item
	case assign && p.isVariable() && p.look(1).isAssignment():
		item.Variable = p.variable()
		item.Op = p.assignmentOperator()
		item.Expr = p.value()
		return item
	case (t.isName() || t.kind == tokenString) && p.look(1).isSymbol("="):
		if t.text == "" {
			p.fail()
		}
		p.at += 2
		item.Alias = t.text
		item.Expr = p.value()
		return item
	}
	item.Expr = p.value()
	item.Alias = p.columnAlias()
	return item
}

// qualifiedStar takes t.* if it comes next.
func (p *parser) qualifiedStar(item *ast.SelectItem) bool {
	n := 0
	for p.look(n).isName() && p.look(n+1).isSymbol(".") {
		n += 2
		if p.look(n).isSymbol(".") {
			n++
		}
	}
	if n == 0 || !p.look(n).isSymbol("*") || n > 8 {
		return false
	}
	end := p.at + n
	var parts []ast.Ident
	for p.at < end {
		if p.isSymbol(".") {
			parts = append(parts, ast.Ident{Pos: p.pos()})
		} else {
			parts = append(parts, p.ident())
		}
		p.acceptSymbol(".")
	}
	p.at++
	table := nameOf(parts[:min(len(parts), 4)])
	item.Star, item.Table = true, &table
	return true
}

// columnAlias takes [AS] alias; empty when there is none.
func (p *parser) columnAlias() string {
	as := p.accept("AS")
	t := p.tok()
	if t.isName() && !as && p.look(1).isSymbol(":") {
		return ""
	}
	if t.isName() || t.kind == tokenString || as && t.kind == tokenNString {
		if t.text == "" {
			p.fail()
		}
		p.at++
		return t.text
	}
	if as {
		p.fail()
	}
	return ""
}

func (p *parser) groupBy() []ast.Grouping {
	if p.is("ALL") {
		p.noOption("GROUP BY ALL")
	}
	var list []ast.Grouping
	p.list(func() { list = append(list, p.grouping()) })
	for kind, words := range map[ast.GroupingKind]string{ast.GroupRollup: "ROLLUP", ast.GroupCube: "CUBE"} {
		if pos := p.pos(); p.accept("WITH", words) {
			return []ast.Grouping{{Pos: pos, Kind: kind, Items: list}}
		}
	}
	return list
}

func (p *parser) grouping() ast.Grouping {
	defer p.enter()()
	g := ast.Grouping{Pos: p.pos()}
	switch {
	case p.is("ROLLUP") && p.look(1).isSymbol("("):
		g.Kind = ast.GroupRollup
		p.at++
	case p.is("CUBE") && p.look(1).isSymbol("("):
		g.Kind = ast.GroupCube
		p.at++
	case p.is("GROUPING", "SETS"):
		g.Kind = ast.GroupSets
		p.at += 2
	case p.isSymbol("(") && p.look(1).isSymbol(")"):
		p.at += 2
		g.Kind = ast.GroupComposite
		return g
	case p.isComposite():
		g.Kind = ast.GroupComposite
	default:
		g.Expr = p.value()
		return g
	}
	p.brackets(func() { g.Items = append(g.Items, p.grouping()) })
	return g
}

// isComposite says whether the bracket that comes next holds several elements
// and is a whole element of GROUP BY: (a, b).
func (p *parser) isComposite() bool {
	if !p.isSymbol("(") || p.startsQuery(p.at) || p.match[p.at] < 0 {
		return false
	}
	depth := 0
	for i := p.at; i <= p.match[p.at]; i++ {
		switch t := p.tokens[i]; {
		case t.isSymbol("("):
			depth++
		case t.isSymbol(")"):
			depth--
		case depth == 1 && t.isSymbol(","):
			return true
		}
	}
	return false
}
