package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// queryHints are the words with which a hint of OPTION (…) begins, and of
// those that end the list of words that may follow.
// Source: https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-query
var queryHints = map[string]string{
	"RECOMPILE": "", "MAXDOP": "n", "MAXRECURSION": "n", "FAST": "n", "QUERYTRACEON": "n", "NO_PERFORMANCE_SPOOL": "",
	"IGNORE_NONCLUSTERED_COLUMNSTORE_INDEX": "", "DISABLE_OPTIMIZED_PLAN_FORCING": "",
	"MIN_GRANT_PERCENT": "=", "MAX_GRANT_PERCENT": "=", "LABEL": "=",
	"FORCE": "ORDER", "KEEP": "PLAN", "KEEPFIXED": "PLAN", "EXPAND": "VIEWS", "ROBUST": "PLAN",
	"HASH": "GROUP UNION JOIN", "ORDER": "GROUP", "CONCAT": "UNION", "MERGE": "UNION JOIN", "LOOP": "JOIN", "PARAMETERIZATION": "SIMPLE FORCED",
}

// optionClause parses OPTION (hint, …).
func (p *parser) optionClause() []ast.Option {
	if !p.is("OPTION") {
		return nil
	}
	p.at++
	var list []ast.Option
	p.brackets(func() { list = append(list, p.queryHint()) })
	return list
}

func (p *parser) queryHint() ast.Option {
	o, t := ast.Option{Pos: p.pos()}, p.tok()
	if p.accept("USE", "HINT") {
		o.Name = "USE HINT"
		p.brackets(func() { o.Values = append(o.Values, ast.Option{Pos: p.pos(), Name: strings.ToUpper(p.stringText())}) })
		return o
	}
	if p.is("OPTIMIZE", "FOR") {
		return p.optimizeFor()
	}
	if p.is("USE", "PLAN") || p.is("TABLE", "HINT") || p.is("FOR", "TIMESTAMP") {
		p.noOption(t.upper + " " + p.look(1).upper)
	}
	shape, ok := queryHints[t.upper]
	if t.kind != tokenWord || !ok {
		p.fail()
	}
	p.at++
	o.Name = t.upper
	switch shape {
	case "":
	case "n":
		o.Value = &ast.Literal{Pos: p.pos(), Kind: ast.Integer, Text: p.tok().text}
		p.small()
	case "=":
		p.expectSymbol("=")
		if o.Value = p.signedLiteral(); o.Value == nil {
			p.fail()
		}
	default:
		o.Name += " " + p.expectAny(strings.Fields(shape)...)
	}
	return o
}

// optimizeFor parses OPTIMIZE FOR UNKNOWN and OPTIMIZE FOR (@v = literal, …).
func (p *parser) optimizeFor() ast.Option {
	o := ast.Option{Pos: p.pos(), Name: "OPTIMIZE FOR"}
	p.at += 2
	if p.accept("UNKNOWN") {
		o.Word = "UNKNOWN"
		return o
	}
	p.brackets(func() {
		v := ast.Option{Pos: p.pos(), Name: p.variable()}
		if p.accept("UNKNOWN") {
			v.Word = "UNKNOWN"
		} else {
			p.expectSymbol("=")
			v.Value = p.signedLiteral()
		}
		o.Values = append(o.Values, v)
	})
	return o
}

// settings parses name = value, … as they stand after WITH: each value is a
// constant, a word, or settings in brackets; a name may stand alone.
func (p *parser) settings() []ast.Option {
	var list []ast.Option
	p.list(func() { list = append(list, p.setting()) })
	return list
}

func (p *parser) setting() ast.Option {
	defer p.enter()()
	o, t := ast.Option{Pos: p.pos()}, p.tok()
	if t.kind != tokenWord {
		p.fail()
	}
	p.at++
	o.Name = t.upper
	if p.acceptSymbol("=") {
		p.settingValue(&o)
	}
	if p.isSymbol("(") {
		p.at++
		o.Values = p.settings()
		p.expectSymbol(")")
	}
	if p.is("ON", "PARTITIONS") {
		p.noOption("ON PARTITIONS")
	}
	return o
}

func (p *parser) settingValue(o *ast.Option) {
	t := p.tok()
	switch {
	case p.isSymbol("("):
		p.at++
		o.Values = p.settings()
		p.expectSymbol(")")
	case t.kind == tokenWord && t.upper != "NULL":
		p.at++
		o.Word = t.upper
		if p.tok().kind == tokenWord && unitWords[p.tok().upper] {
			o.Word += " " + p.next().upper
		}
	case t.kind == tokenQuoted:
		p.at++
		o.Word = t.text
	default:
		o.Value = p.signedLiteral()
		if p.tok().kind == tokenWord && unitWords[p.tok().upper] {
			o.Word = p.next().upper
		}
	}
}

// unitWords may follow a number in a setting.
var unitWords = wordSet("KB MB GB TB PERCENT MINUTE MINUTES HOUR HOURS DAY DAYS SECONDS")
