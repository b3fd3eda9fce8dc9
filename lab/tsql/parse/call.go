package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// datePartFunctions take a date part, which is no column, as first argument.
var datePartFunctions = wordSet("DATEADD DATEDIFF DATEDIFF_BIG DATEPART DATENAME DATETRUNC DATE_BUCKET")

// aggregates are the functions whose argument DISTINCT or ALL may precede.
var aggregates = wordSet("AVG CHECKSUM_AGG COUNT COUNT_BIG MAX MIN STDEV STDEVP SUM VAR VARP")

// refusedFunctions have a syntax of their own that is not read here.
var refusedFunctions = wordSet("PARSE TRY_PARSE JSON_OBJECT JSON_ARRAY JSON_OBJECTAGG JSON_ARRAYAGG")

// special parses the functions with a syntax of their own; nil for the others.
func (p *parser) special() ast.Expression {
	pos, name := p.pos(), p.tok().upper
	switch name {
	case "CAST", "TRY_CAST":
		p.at += 2
		c := &ast.Cast{Pos: pos, Try: name == "TRY_CAST", X: p.value()}
		p.expect("AS")
		c.Type = p.dataType(30)
		p.expectSymbol(")")
		return c
	case "CONVERT", "TRY_CONVERT":
		p.at += 2
		c := &ast.Convert{Pos: pos, Try: name == "TRY_CONVERT", Type: p.dataType(30)}
		p.expectSymbol(",")
		c.X = p.value()
		if p.acceptSymbol(",") {
			c.Style = p.value()
		}
		p.expectSymbol(")")
		return c
	case "IIF":
		p.at += 2
		c := &ast.IIF{Pos: pos, If: p.predicate()}
		p.expectSymbol(",")
		c.Then = p.value()
		p.expectSymbol(",")
		c.Else = p.value()
		p.expectSymbol(")")
		return c
	case "TRIM":
		return p.trim()
	}
	if refusedFunctions[name] {
		p.noFunction(name)
	}
	return nil
}

func (p *parser) trim() ast.Expression {
	pos := p.pos()
	p.at += 2
	t := &ast.Trim{Pos: pos}
	if p.isAny("LEADING", "TRAILING", "BOTH") && !p.look(1).isSymbol(")") && !p.look(1).isSymbol(".") {
		t.Side = p.next().upper
	}
	t.X = p.value()
	if p.accept("FROM") {
		t.Chars, t.X = t.X, p.value()
	}
	p.expectSymbol(")")
	if t.Side == "" && t.Chars == nil {
		return &ast.Call{Pos: pos, Name: ast.Name{Pos: pos, Object: "TRIM"}, Args: []ast.Expression{t.X}}
	}
	return t
}

// call parses the arguments of a function and what may follow them.
func (p *parser) call(name ast.Name) ast.Expression {
	defer p.enter()()
	c := &ast.Call{Pos: name.Pos, Name: name}
	p.expectSymbol("(")
	switch {
	case p.isSymbol("*") && p.look(1).isSymbol(")"):
		if name.Object != "COUNT" && name.Object != "COUNT_BIG" && name.Object != "CHECKSUM" && name.Object != "BINARY_CHECKSUM" {
			p.fail()
		}
		p.at++
		c.Star = true
	case p.isSymbol(")"):
	default:
		if p.isAny("DISTINCT", "ALL") {
			if !aggregates[name.Object] || name.Schema != "" {
				p.fail()
			}
			c.Distinct = p.next().upper == "DISTINCT"
		}
		if datePartFunctions[name.Object] && name.Schema == "" {
			c.Args = append(c.Args, p.datePart())
			p.expectSymbol(",")
		}
		p.list(func() { c.Args = append(c.Args, p.value()) })
	}
	p.expectSymbol(")")
	p.afterCall(c)
	return c
}

func (p *parser) datePart() ast.Expression {
	pos, t := p.pos(), p.tok()
	if t.kind != tokenWord || t.reserved {
		p.fail()
	}
	p.at++
	return &ast.DatePart{Pos: pos, Name: t.upper}
}

func (p *parser) afterCall(c *ast.Call) {
	if p.accept("WITHIN", "GROUP") {
		p.expectSymbol("(")
		c.Within = p.orderBy()
		p.expectSymbol(")")
	}
	if p.isAny("IGNORE", "RESPECT") && p.look(1).is("NULLS") {
		c.Nulls = p.next().upper
		p.at++
	}
	if p.is("OVER") {
		c.Over = p.over()
	}
}

func (p *parser) over() *ast.Over {
	o := &ast.Over{Pos: p.pos()}
	p.expect("OVER")
	if !p.isSymbol("(") {
		p.ident()
		p.noOption("WINDOW")
	}
	p.at++
	if p.accept("PARTITION", "BY") {
		p.list(func() { o.PartitionBy = append(o.PartitionBy, p.value()) })
	}
	if p.tok().isName() && !p.isAny("ROWS", "RANGE") {
		p.noOption("WINDOW")
	}
	if p.is("ORDER") {
		o.OrderBy = p.orderBy()
	}
	if p.isAny("ROWS", "RANGE") {
		o.Frame = p.frame()
	}
	p.expectSymbol(")")
	return o
}

func (p *parser) frame() *ast.Frame {
	f := &ast.Frame{Pos: p.pos(), Range: p.is("RANGE")}
	p.at++
	if p.accept("BETWEEN") {
		f.Start = p.frameBound()
		p.expect("AND")
		end := p.frameBound()
		f.End = &end
		return f
	}
	f.Start = p.frameBound()
	return f
}

func (p *parser) frameBound() ast.FrameBound {
	b := ast.FrameBound{Pos: p.pos()}
	switch {
	case p.accept("UNBOUNDED"):
		b.Kind = ast.UnboundedPreceding
		if p.expectAny("PRECEDING", "FOLLOWING") == "FOLLOWING" {
			b.Kind = ast.UnboundedFollowing
		}
	case p.accept("CURRENT"):
		p.expect("ROW")
		b.Kind = ast.CurrentRow
	default:
		if p.tok().kind != tokenInteger && !p.isVariable() {
			p.fail()
		}
		b.Offset = p.operand()
		b.Kind = ast.Preceding
		if p.expectAny("PRECEDING", "FOLLOWING") == "FOLLOWING" {
			b.Kind = ast.Following
		}
	}
	return b
}
