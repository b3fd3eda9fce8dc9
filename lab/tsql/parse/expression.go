package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// The order in which operators bind, the tightest first, is: ~ and COLLATE;
// * / %; + - (of one operand and of two) & ^ |; comparisons; NOT; AND; OR with
// BETWEEN, IN, LIKE. A sign binds looser than *, so -a * b is -(a * b).
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/operator-precedence-transact-sql

var (
	sumOperators = map[string]ast.ArithmeticOperator{
		"+": ast.Add, "-": ast.Subtract, "&": ast.BitwiseAnd, "|": ast.BitwiseOr, "^": ast.BitwiseXor,
	}
	productOperators    = map[string]ast.ArithmeticOperator{"*": ast.Multiply, "/": ast.Divide, "%": ast.Modulo}
	comparisonOperators = map[string]ast.ComparisonOperator{
		"=": ast.Equal, "<>": ast.NotEqual, "!=": ast.NotEqual, "<": ast.Less, "!>": ast.LessOrEqual, "<=": ast.LessOrEqual,
		">": ast.Greater, "!<": ast.GreaterOrEqual, ">=": ast.GreaterOrEqual,
	}
)

// value parses an expression that yields a value.
func (p *parser) value() ast.Expression {
	defer p.enter()()
	return p.sum(nil)
}

// sum parses + - & | ^; first, if there is one, is its first operand, of which
// the brackets are already read.
func (p *parser) sum(first ast.Expression) ast.Expression {
	l, n := p.product(first), 0
	for {
		op, ok := sumOperators[p.symbolText()]
		if !ok {
			return l
		}
		p.chain(&n)
		pos := p.pos()
		p.at++
		l = &ast.Arithmetic{Pos: pos, Op: op, L: l, R: p.product(nil)}
	}
}

// symbolText is the present token if it is a symbol.
func (p *parser) symbolText() string {
	if t := p.tok(); t.kind == tokenSymbol {
		return t.text
	}
	return ""
}

func (p *parser) product(first ast.Expression) ast.Expression {
	l, n := p.signed(first), 0
	for {
		op, ok := productOperators[p.symbolText()]
		if !ok {
			return l
		}
		p.chain(&n)
		pos := p.pos()
		p.at++
		l = &ast.Arithmetic{Pos: pos, Op: op, L: l, R: p.signed(nil)}
	}
}

func (p *parser) signed(first ast.Expression) ast.Expression {
	pos := p.pos()
	if first == nil {
		for _, op := range []ast.UnaryOperator{ast.Negative, ast.Positive} {
			if p.acceptSymbol(string(op)) {
				defer p.enter()()
				return &ast.Unary{Pos: pos, Op: op, X: p.product(nil)}
			}
		}
	}
	return p.tight(first)
}

// tight parses ~x and what is appended to an operand.
func (p *parser) tight(x ast.Expression) ast.Expression {
	pos := p.pos()
	if x == nil && p.acceptSymbol("~") {
		defer p.enter()()
		if p.isSymbol("-") || p.isSymbol("+") {
			sign := p.pos()
			op := ast.UnaryOperator(p.next().text)
			return &ast.Unary{Pos: pos, Op: ast.BitwiseNot, X: &ast.Unary{Pos: sign, Op: op, X: p.tight(nil)}}
		}
		return &ast.Unary{Pos: pos, Op: ast.BitwiseNot, X: p.tight(nil)}
	}
	if x == nil {
		x = p.operand()
	}
	for n := 0; ; p.chain(&n) {
		pos := p.pos()
		switch {
		case p.accept("COLLATE"):
			x = &ast.Collate{Pos: pos, X: x, Collation: p.ident().Name}
		case p.accept("AT", "TIME", "ZONE"):
			x = &ast.AtTimeZone{Pos: pos, X: x, Zone: p.operand()}
		case p.isSymbol(".") && p.look(1).isName():
			p.noOption("." + p.look(1).text) // a method of a value
		default:
			return x
		}
	}
}

// predicate parses a condition.
func (p *parser) predicate() ast.Predicate { return p.condition(p.or()) }

// condition is e, which has to be a condition.
func (p *parser) condition(e ast.Expression) ast.Predicate {
	c, ok := e.(ast.Predicate)
	if ok {
		return c
	}
	t := p.tok()
	if t.kind == tokenBroken || t.kind == tokenSymbol && t.text != ")" && t.text != "," && t.text != ";" {
		p.fail()
	}
	if t.kind == tokenEnd && p.at > 0 {
		t = p.tokens[p.at-1]
	}
	p.raise(nearMessage(4145, t.line, "An expression of non-boolean type specified in a context where a condition is expected, near '%s'.", t.text))
	return nil
}

// or parses a condition or a value: which of them, an opening bracket does not
// tell.
func (p *parser) or() ast.Expression {
	defer p.enter()()
	l, n := p.and(), 0
	for p.is("OR") {
		p.chain(&n)
		lc, pos := p.condition(l), p.pos()
		p.at++
		l = &ast.Logical{Pos: pos, Or: true, L: lc, R: p.condition(p.and())}
	}
	return l
}

func (p *parser) and() ast.Expression {
	l, n := p.not(), 0
	for p.is("AND") {
		p.chain(&n)
		lc, pos := p.condition(l), p.pos()
		p.at++
		l = &ast.Logical{Pos: pos, L: lc, R: p.condition(p.not())}
	}
	return l
}

func (p *parser) not() ast.Expression {
	pos := p.pos()
	if p.accept("NOT") {
		defer p.enter()()
		return &ast.Not{Pos: pos, X: p.condition(p.not())}
	}
	return p.comparison()
}

// comparison parses a condition without NOT, AND and OR, or a value.
func (p *parser) comparison() ast.Expression {
	pos := p.pos()
	switch {
	case p.accept("EXISTS"):
		return &ast.Exists{Pos: pos, Query: p.subquery()}
	case p.isAny("CONTAINS", "FREETEXT", "UPDATE", "TSEQUAL", "MATCH", "REGEXP_LIKE") && p.look(1).isSymbol("("):
		p.noOption(p.tok().upper)
	}
	var l ast.Expression
	if p.isSymbol("(") && !p.startsQuery(p.at) {
		p.at++
		l = p.or()
		p.expectSymbol(")")
		if c, ok := l.(ast.Predicate); ok {
			return c
		}
		l = p.sum(l)
	} else {
		l = p.sum(nil)
	}
	return p.compared(l)
}

// compared parses what makes a value a condition, if it is there.
func (p *parser) compared(l ast.Expression) ast.Expression {
	pos := p.pos()
	if op, ok := p.comparisonOperator(); ok {
		if p.isAny("ALL", "ANY", "SOME") {
			all := p.next().upper == "ALL"
			return &ast.Quantified{Pos: pos, Op: op, All: all, X: l, Query: p.subquery()}
		}
		return &ast.Comparison{Pos: pos, Op: op, L: l, R: p.value()}
	}
	if p.accept("IS") {
		not := p.accept("NOT")
		if p.accept("DISTINCT", "FROM") {
			return &ast.IsDistinct{Pos: pos, Not: not, L: l, R: p.value()}
		}
		p.expect("NULL")
		return &ast.IsNull{Pos: pos, Not: not, X: l}
	}
	not := p.is("NOT")
	if not {
		if t := p.look(1); !t.is("BETWEEN") && !t.is("LIKE") && !t.is("IN") {
			return l
		}
		p.at++
	}
	switch {
	case p.accept("BETWEEN"):
		b := &ast.Between{Pos: pos, Not: not, X: l, Low: p.value()}
		p.expect("AND")
		b.High = p.value()
		return b
	case p.accept("LIKE"):
		k := &ast.Like{Pos: pos, Not: not, X: l, Pattern: p.value()}
		if p.accept("ESCAPE") {
			k.Escape = p.value()
		}
		return k
	case p.accept("IN"):
		return p.in(pos, not, l)
	}
	return l
}

func (p *parser) in(pos ast.Pos, not bool, x ast.Expression) ast.Expression {
	in := &ast.In{Pos: pos, Not: not, X: x}
	if p.isSymbol("(") && p.startsQuery(p.at) {
		in.Query = p.subquery()
		return in
	}
	p.brackets(func() { in.List = append(in.List, p.value()) })
	return in
}

// comparisonOperator takes one; white space may stand between its characters.
func (p *parser) comparisonOperator() (ast.ComparisonOperator, bool) {
	if p.tok().kind != tokenSymbol {
		return "", false
	}
	text, n := p.tok().text, 1
	switch second := p.look(1); text {
	case "<", ">", "!":
		if second.isSymbol("=") || text != ">" && second.isSymbol(">") || text == "!" && second.isSymbol("<") {
			text, n = text+second.text, 2
		}
	}
	op, ok := comparisonOperators[text]
	if ok {
		p.at += n
	}
	return op, ok
}

// startsQuery says whether the bracket at token i holds a query. More brackets
// may follow it; then what comes after each decides.
func (p *parser) startsQuery(i int) bool {
	last := i
	for last+1 < len(p.tokens) && p.tokens[last+1].isSymbol("(") {
		last++
		if last-i > maxDepth {
			p.tooDeep()
		}
	}
	if !p.tokens[last+1].is("SELECT") {
		return false
	}
	for j := i + 1; j <= last; j++ {
		m := p.match[j]
		if m < 0 {
			return true
		}
		after := p.tokens[m+1]
		if !after.isSymbol(")") && !after.is("UNION") && !after.is("EXCEPT") && !after.is("INTERSECT") {
			return false
		}
	}
	return true
}

// subquery parses ( query ).
func (p *parser) subquery() *ast.Query {
	p.expectSymbol("(")
	q := p.query()
	p.expectSymbol(")")
	return q
}
