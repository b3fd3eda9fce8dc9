package parse

import (
	"encoding/hex"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// literalKinds are the constants that are one token.
var literalKinds = map[tokenKind]ast.LiteralKind{
	tokenInteger: ast.Integer, tokenDecimal: ast.Decimal, tokenFloat: ast.Float, tokenMoney: ast.Money,
	tokenString: ast.String, tokenNString: ast.NString, tokenBinary: ast.Binary,
}

// niladic are the functions without brackets.
var niladic = wordSet("CURRENT_TIMESTAMP CURRENT_USER SESSION_USER SYSTEM_USER USER CURRENT_DATE")

// operand parses an expression without operators.
func (p *parser) operand() ast.Expression {
	pos, t := p.pos(), p.tok()
	switch t.kind {
	case tokenVariable:
		p.at++
		if strings.HasPrefix(t.text, "@@") {
			return &ast.SystemVariable{Pos: pos, Name: strings.ToUpper(t.text)}
		}
		return &ast.Variable{Pos: pos, Name: t.text}
	case tokenPseudo:
		return p.pseudoColumn(nil)
	case tokenSymbol:
		return p.bracketed()
	case tokenQuoted:
		return p.columnOrCall()
	case tokenWord:
		return p.wordOperand()
	default:
		if l := p.literal(); l != nil {
			return l
		}
	}
	p.fail()
	return nil
}

// literal takes a constant, NULL too; nil when none is there.
func (p *parser) literal() *ast.Literal {
	pos, t := p.pos(), p.tok()
	if p.accept("NULL") {
		return &ast.Literal{Pos: pos, Kind: ast.Null}
	}
	kind, ok := literalKinds[t.kind]
	if !ok {
		return nil
	}
	p.at++
	if kind != ast.Binary {
		return &ast.Literal{Pos: pos, Kind: kind, Text: t.text}
	}
	return &ast.Literal{Pos: pos, Kind: kind, Bytes: binaryOf(t)}
}

// binaryOf is the value of 0x…; an odd number of digits gets a 0 in front.
func binaryOf(t token) []byte {
	digits := t.text
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil // the scanner lets only digits in
	}
	return b
}

// signedLiteral takes a constant with perhaps a sign, a variable or a system
// variable: what the arguments of statements may be.
func (p *parser) signedLiteral() ast.Expression {
	pos := p.pos()
	for _, op := range []ast.UnaryOperator{ast.Negative, ast.Positive} {
		if p.acceptSymbol(string(op)) {
			switch p.tok().kind {
			case tokenInteger, tokenDecimal, tokenFloat, tokenMoney:
				return &ast.Unary{Pos: pos, Op: op, X: p.literal()}
			default:
				p.fail()
			}
		}
	}
	if p.tok().kind == tokenVariable {
		return p.operand()
	}
	l := p.literal()
	if l == nil {
		p.fail()
	}
	return l
}

func (p *parser) pseudoColumn(table *ast.Name) ast.Expression {
	pos, name := p.pos(), strings.ToUpper(p.tok().text)
	switch name {
	case "$ACTION", "$IDENTITY", "$ROWGUID":
		p.at++
		return &ast.PseudoColumn{Pos: pos, Table: table, Name: name}
	case "$PARTITION", "$CUID", "$NODE_ID", "$EDGE_ID", "$FROM_ID", "$TO_ID":
		p.noOption(name)
	}
	p.fail()
	return nil
}

// bracketed parses ( value ) and ( query ).
func (p *parser) bracketed() ast.Expression {
	if !p.isSymbol("(") {
		p.fail()
	}
	defer p.enter()()
	pos := p.pos()
	if p.startsQuery(p.at) {
		return &ast.Subquery{Pos: pos, Query: p.subquery()}
	}
	p.at++
	x := p.value()
	p.expectSymbol(")")
	return x
}

// wordOperand parses what begins with a word: keywords that are functions,
// CASE, NULL, a column or a call.
func (p *parser) wordOperand() ast.Expression {
	pos, t := p.pos(), p.tok()
	switch {
	case t.upper == "NULL":
		return p.literal()
	case t.upper == "CASE":
		return p.caseExpression()
	case niladic[t.upper]:
		p.at++
		if p.isSymbol("(") {
			p.fail()
		}
		return &ast.Call{Pos: pos, Name: ast.Name{Pos: pos, Object: t.upper}, Niladic: true}
	case p.is("NEXT", "VALUE", "FOR"):
		p.noOption("NEXT VALUE FOR")
	case t.upper == "IDENTITY":
		p.noFunction("IDENTITY")
	case t.upper == "IDENTITYCOL" || t.upper == "ROWGUIDCOL":
		p.at++
		return &ast.PseudoColumn{Pos: pos, Name: "$" + strings.TrimSuffix(t.upper, "COL")}
	case p.look(1).isSymbol("("):
		if x := p.special(); x != nil {
			return x
		}
		if isKeywordFunction(t.upper) {
			p.at++
			return p.call(ast.Name{Pos: pos, Object: t.upper})
		}
	case p.look(1).isSymbol("::"):
		p.noOption(t.text + "::")
	}
	return p.columnOrCall()
}

func isKeywordFunction(word string) bool {
	switch word {
	case "LEFT", "RIGHT", "COALESCE", "NULLIF":
		return true
	}
	return false
}

func (p *parser) caseExpression() ast.Expression {
	defer p.enter()()
	c := &ast.Case{Pos: p.pos()}
	p.expect("CASE")
	if !p.is("WHEN") {
		c.Operand = p.value()
	}
	for p.is("WHEN") {
		w := ast.When{Pos: p.pos()}
		p.at++
		if c.Operand != nil {
			w.Value = p.value()
		} else {
			w.If = p.predicate()
		}
		p.expect("THEN")
		w.Then = p.value()
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		p.fail()
	}
	if p.accept("ELSE") {
		c.Else = p.value()
	}
	p.expect("END")
	return c
}

// columnOrCall parses a name, which brackets make a call.
func (p *parser) columnOrCall() ast.Expression {
	var parts []ast.Ident
	for {
		if p.tok().kind == tokenPseudo && len(parts) > 0 {
			table := nameOf(parts)
			return p.pseudoColumn(&table)
		}
		parts = append(parts, p.ident())
		for p.isSymbol(".") && p.look(1).isSymbol(".") && len(parts) < 5 {
			p.at++
			parts = append(parts, ast.Ident{Pos: p.pos()})
		}
		if !p.isSymbol(".") {
			break
		}
		if len(parts) == 5 {
			p.raise(nearMessage(4104, p.tok().line, "The multi-part identifier \"%s\" could not be bound.", p.since(parts[0].Pos)))
		}
		p.at++
	}
	last := parts[len(parts)-1]
	if p.isSymbol("(") && len(parts) <= 4 {
		n := nameOf(parts)
		if len(parts) == 1 && !last.Quoted {
			n.Object = strings.ToUpper(n.Object)
		}
		return p.call(n)
	}
	c := &ast.ColumnRef{Pos: parts[0].Pos, Column: last.Name, Quoted: last.Quoted}
	if len(parts) > 1 {
		table := nameOf(parts[:len(parts)-1])
		c.Table = &table
	}
	return c
}
