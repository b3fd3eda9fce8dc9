package parse

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// scanner cuts a batch into tokens.
type scanner struct {
	text          string
	at            int
	line          int
	doubleStrings bool
	tokens        []token
}

// scan returns the tokens of a text, ending in a tokenEnd, and for each
// opening bracket the index of its closing one, else -1. A tokenBroken ends
// the tokens early.
func scan(text string, doubleStrings bool) (tokens []token, match []int) {
	s := &scanner{text: text, line: 1, doubleStrings: doubleStrings, tokens: make([]token, 0, len(text)/6+4)}
	for s.token() {
	}
	s.add(tokenEnd, s.at, s.line, "")
	match = make([]int, len(s.tokens))
	var open []int
	for i, t := range s.tokens {
		match[i] = -1
		if t.kind != tokenSymbol {
			continue
		}
		switch {
		case t.text == "(":
			open = append(open, i)
		case t.text == ")" && len(open) > 0:
			match[open[len(open)-1]] = i
			open = open[:len(open)-1]
		}
	}
	return s.tokens, match
}

func (s *scanner) add(kind tokenKind, start, line int, text string) {
	s.tokens = append(s.tokens, token{kind: kind, text: text, start: start, end: s.at, line: line})
}

// peek is the byte n places on, 0 at the end.
func (s *scanner) peek(n int) byte {
	if s.at+n < len(s.text) {
		return s.text[s.at+n]
	}
	return 0
}

func (s *scanner) rune() (rune, int) { return utf8.DecodeRuneInString(s.text[s.at:]) }

// token adds the next token; false at the end.
func (s *scanner) token() bool {
	if !s.space() || s.at >= len(s.text) {
		return false
	}
	c, start := s.peek(0), s.at
	switch {
	case c == '\'':
		return s.str(tokenString, start)
	case (c == 'N' || c == 'n') && s.peek(1) == '\'':
		s.at++
		return s.str(tokenNString, start)
	case c == '"' && s.doubleStrings:
		return s.str(tokenString, start)
	case c == '"' || c == '[':
		return s.quoted()
	case c == '0' && (s.peek(1) == 'x' || s.peek(1) == 'X'):
		s.binary()
		return true
	case isDigit(c) || c == '.' && isDigit(s.peek(1)):
		s.number()
		return true
	}
	r, _ := s.rune()
	switch {
	case c == '$' && isLetter(s.runeAt(1)):
		s.at++
		s.word(tokenPseudo, start)
	case r == '$' || strings.ContainsRune("£¤¥€¢", r):
		s.money()
	case r == '@':
		s.word(tokenVariable, start)
	case r == '#' || r == '_' || isLetter(r):
		s.word(tokenWord, start)
	default:
		s.symbol()
	}
	return s.tokens[len(s.tokens)-1].kind != tokenBroken
}

func (s *scanner) runeAt(n int) rune {
	r, _ := utf8.DecodeRuneInString(s.text[min(s.at+n, len(s.text)):])
	return r
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(r rune) bool {
	return r == '_' || r != utf8.RuneError && unicode.IsLetter(r)
}

func isWordRune(r rune) bool {
	return r == '@' || r == '#' || r == '$' || r == '_' ||
		r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Pc, r))
}

// space skips white space and comments; false when a comment is not closed.
func (s *scanner) space() bool {
	for s.at < len(s.text) {
		switch c := s.peek(0); {
		case c == '\n':
			s.line++
			s.at++
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			s.at++
		case c == '-' && s.peek(1) == '-':
			for s.at < len(s.text) && s.peek(0) != '\n' {
				s.at++
			}
		case c == '/' && s.peek(1) == '*':
			if !s.comment() {
				return false
			}
		default:
			r, size := s.rune()
			if r == utf8.RuneError || !unicode.IsSpace(r) && r != '\uFEFF' && r != '\u200B' {
				return true
			}
			s.at += size
		}
	}
	return true
}

// comment skips a comment, in which others may be nested.
func (s *scanner) comment() bool {
	start, line, depth := s.at, s.line, 0
	for s.at < len(s.text) {
		switch c := s.peek(0); {
		case c == '/' && s.peek(1) == '*':
			depth++
			s.at += 2
		case c == '*' && s.peek(1) == '/':
			depth--
			s.at += 2
			if depth == 0 {
				return true
			}
		default:
			if c == '\n' {
				s.line++
			}
			s.at++
		}
	}
	s.broken(start, line, syntax(113, line, "Missing end comment mark '*/'."))
	return false
}

// str reads a string constant; a backslash before a line's end joins the lines.
func (s *scanner) str(kind tokenKind, start int) bool {
	quote, line := s.peek(0), s.line
	s.at++
	var b strings.Builder
	for s.at < len(s.text) {
		c := s.peek(0)
		switch {
		case c == quote && s.peek(1) == quote:
			b.WriteByte(c)
			s.at += 2
			continue
		case c == quote:
			s.at++
			s.add(kind, start, line, b.String())
			return true
		case c == '\\' && s.peek(1) == '\n':
			s.line++
			s.at += 2
			continue
		case c == '\\' && s.peek(1) == '\r' && s.peek(2) == '\n':
			s.line++
			s.at += 3
			continue
		case c == '\n':
			s.line++
		}
		b.WriteByte(c)
		s.at++
	}
	s.broken(start, line, unclosed(line, b.String()))
	return false
}

// quoted reads [x] or "x".
func (s *scanner) quoted() bool {
	start, line, closing := s.at, s.line, byte('"')
	if s.peek(0) == '[' {
		closing = ']'
	}
	s.at++
	var b strings.Builder
	for s.at < len(s.text) {
		c := s.peek(0)
		switch c {
		case closing:
			s.at++
			if s.peek(0) != closing {
				return s.identifier(tokenQuoted, start, line, b.String())
			}
		case '\n':
			s.line++
		}
		b.WriteByte(c)
		s.at++
	}
	s.broken(start, line, unclosed(line, b.String()))
	return false
}

// word reads an identifier, a variable or a pseudo-column from s.at on.
func (s *scanner) word(kind tokenKind, start int) {
	for s.at < len(s.text) {
		r, size := s.rune()
		if !isWordRune(r) {
			break
		}
		s.at += size
	}
	s.identifier(kind, start, s.line, s.text[start:s.at])
}

// binary reads 0x…; a backslash before a line's end joins the lines.
func (s *scanner) binary() {
	start, line := s.at, s.line
	s.at += 2
	var b strings.Builder
	for s.at < len(s.text) {
		switch c := s.peek(0); {
		case isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			b.WriteByte(c)
			s.at++
		case c == '\\' && s.peek(1) == '\n':
			s.line++
			s.at += 2
		case c == '\\' && s.peek(1) == '\r' && s.peek(2) == '\n':
			s.line++
			s.at += 3
		default:
			s.add(tokenBinary, start, line, b.String())
			return
		}
	}
	s.add(tokenBinary, start, line, b.String())
}

func (s *scanner) digits() {
	for isDigit(s.peek(0)) {
		s.at++
	}
}

func (s *scanner) number() {
	start, kind := s.at, tokenInteger
	s.digits()
	if s.peek(0) == '.' {
		kind = tokenDecimal
		s.at++
		s.digits()
	}
	if c := s.peek(0); c == 'e' || c == 'E' {
		n := 1
		if c := s.peek(1); c == '+' || c == '-' {
			n = 2
		}
		if isDigit(s.peek(n)) || !isLetter(s.runeAt(1)) {
			kind = tokenFloat
			s.at++
			if isDigit(s.peek(n - 1)) {
				s.at += n - 1
				s.digits()
			}
		}
	}
	s.add(kind, start, s.line, s.text[start:s.at])
}

func (s *scanner) money() {
	start := s.at
	_, size := s.rune()
	s.at += size
	digits := s.at
	s.digits()
	if s.peek(0) == '.' {
		s.at++
		s.digits()
	}
	text := s.text[digits:s.at]
	if text == "" || text == "." {
		text = "0"
	}
	s.add(tokenMoney, start, s.line, text)
}

func (s *scanner) symbol() {
	start := s.at
	if s.at+2 <= len(s.text) {
		switch two := s.text[s.at : s.at+2]; two {
		case "<=", ">=", "<>", "!=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "::", "||", "<<", ">>":
			s.at += 2
			s.add(tokenSymbol, start, s.line, two)
			return
		}
	}
	r, size := s.rune()
	s.at += size
	text := s.text[start:s.at]
	if r == utf8.RuneError || !strings.ContainsRune("()+-*/%&|^~=<>!,.;:{}", r) {
		s.broken(start, s.line, nearMessage(102, s.line, "Incorrect syntax near '%s'.", text))
		return
	}
	s.add(tokenSymbol, start, s.line, text)
}
