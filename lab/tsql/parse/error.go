package parse

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// maxNear is how many characters of the text an error repeats.
const maxNear = 128

// maxIdentifier is the greatest length of a name, in UTF-16 units.
// Source: https://learn.microsoft.com/sql/relational-databases/databases/database-identifiers
const maxIdentifier = 128

func syntax(number int32, line int, text string) sqltype.Message {
	return sqltype.Message{Number: number, State: 1, Class: 15, Text: text, Line: int32(line)} //nolint:gosec // a line number fits
}

// grave is a message of class 16: what is wrong is more than the syntax.
func grave(number int32, line int, text string) sqltype.Message {
	m := syntax(number, line, text)
	m.Class = 16
	return m
}

// nearMessage fills in a piece of the text, cut to what an error repeats.
func nearMessage(number int32, line int, format, near string) sqltype.Message {
	return syntax(number, line, fmt.Sprintf(format, clip(near)))
}

func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) > maxNear {
		return string([]rune(s)[:maxNear])
	}
	return s
}

func unclosed(line int, text string) sqltype.Message {
	return nearMessage(105, line, "Unclosed quotation mark after the character string '%s'.", text)
}

func (s *scanner) broken(start, line int, m sqltype.Message) {
	s.at = len(s.text)
	s.tokens = append(s.tokens, token{kind: tokenBroken, start: start, end: s.at, line: line, err: &m})
}

// identifier adds a name, if it is one.
func (s *scanner) identifier(kind tokenKind, start, line int, text string) bool {
	units := 0
	for _, r := range text {
		units++
		if r > 0xFFFF {
			units++
		}
	}
	switch {
	case units > maxIdentifier:
		m := nearMessage(103, line, "The identifier that starts with '%s' is too long. Maximum length is 128.", text)
		m.State = 4
		s.broken(start, line, m)
		return false
	case text == "":
		m := syntax(1038, line, "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. "+
			"For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. Change the alias to a valid name.")
		m.State = 4
		s.broken(start, line, m)
		return false
	}
	s.add(kind, start, line, text)
	if t := &s.tokens[len(s.tokens)-1]; kind == tokenWord {
		t.upper = strings.ToUpper(text)
		t.reserved = reservedWords[t.upper]
	}
	return true
}

// raise ends the parse.
func (p *parser) raise(m sqltype.Message) { panic(bail{m}) }

// fail refuses the present token as SQL Server does: by the token itself, or at
// the batch's end by the one before it.
func (p *parser) fail() { p.failAt(p.at) }

func (p *parser) failAt(i int) {
	t := p.tokens[i]
	switch {
	case t.kind == tokenBroken:
		p.raise(*t.err)
	case t.kind == tokenEnd && i > 0:
		before := p.tokens[i-1]
		p.raise(nearMessage(102, before.line, "Incorrect syntax near '%s'.", before.text))
	case t.kind == tokenWord && t.upper == "WITH":
		p.raise(nearMessage(319, t.line, "Incorrect syntax near the keyword '%s'. If this statement is a common table expression, an xmlnamespaces "+
			"clause or a change tracking context clause, the previous statement must be terminated with a semicolon.", t.text))
	case t.kind == tokenWord && t.reserved:
		p.raise(nearMessage(156, t.line, "Incorrect syntax near the keyword '%s'.", t.text))
	case t.kind == tokenSymbol && (t.text == "{" || t.text == "}"):
		p.noOption("{ }")
	case t.kind == tokenSymbol && (t.text == "||" || t.text == "<<" || t.text == ">>"):
		p.noOption(t.text)
	default:
		p.raise(nearMessage(102, t.line, "Incorrect syntax near '%s'.", t.text))
	}
}

// noStatement refuses a valid statement that is not run here.
func (p *parser) noStatement(name string) {
	p.refuse(40510, "Statement '%s' is not supported in this version of SQL Server.", name)
}

// noFunction refuses a built-in function that is not run here.
func (p *parser) noFunction(name string) {
	p.refuse(40511, "Built-in function '%s' is not supported in this version of SQL Server.", name)
}

// noOption refuses a clause or option that is not run here.
func (p *parser) noOption(name string) {
	p.refuse(40517, "Keyword or statement option '%s' is not supported in this version of SQL Server.", name)
}

func (p *parser) refuse(number int32, format, name string) {
	m := nearMessage(number, p.tok().line, format, name)
	m.Class = 16
	p.raise(m)
}
