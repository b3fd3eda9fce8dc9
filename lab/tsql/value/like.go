package value

import (
	"bytes"
)

// Like says whether a varchar matches a pattern of LIKE. escape is 0 for none;
// a pattern that ends in its escape character matches nothing.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/like-transact-sql
func Like(s, pattern string, escape rune, collation string) bool {
	text := fold(s, collation)
	items := parsePattern(fold(pattern, collation), foldOne(escape, collation))
	if match(text, items, collation) {
		return true
	}
	// Blanks at the end of the string do not count unless the pattern asks
	// for them.
	for len(text) > 0 && text[len(text)-1] == ' ' {
		text = text[:len(text)-1]
		if match(text, items, collation) {
			return true
		}
	}
	return false
}

// LikeExactly is Like for nvarchar, in which blanks at the end count.
func LikeExactly(s, pattern string, escape rune, collation string) bool {
	return match(fold(s, collation), parsePattern(fold(pattern, collation), foldOne(escape, collation)), collation)
}

func foldOne(r rune, collation string) rune {
	if r == 0 {
		return 0
	}
	return fold(string(r), collation)[0]
}

// PatternIndex is where a pattern first matches within a string, in
// characters from 0; -1 for nowhere. The pattern is as PATINDEX has it, with
// its % at both ends.
func PatternIndex(s, pattern, collation string) int {
	text := fold(s, collation)
	items := parsePattern(fold(pattern, collation), 0)
	if len(items) == 0 || items[0].kind != anyRun {
		if match(text, items, collation) {
			return 0
		}
		return -1
	}
	for len(items) > 0 && items[0].kind == anyRun {
		items = items[1:]
	}
	for i := 0; i <= len(text); i++ {
		if match(text[i:], items, collation) {
			return i
		}
	}
	return -1
}

type itemKind uint8

const (
	oneRune itemKind = iota
	anyRune
	anyRun
	set
)

type span struct{ lo, hi rune }

type item struct {
	kind  itemKind
	r     rune
	not   bool
	spans []span
}

func parsePattern(p []rune, escape rune) []item {
	var items []item
	for i := 0; i < len(p); i++ {
		switch r := p[i]; {
		case escape != 0 && r == escape:
			if i+1 == len(p) {
				// Nothing to escape: a pattern that matches nothing.
				return append(items, item{kind: set})
			}
			i++
			items = append(items, item{kind: oneRune, r: p[i]})
		case r == '%':
			items = append(items, item{kind: anyRun})
		case r == '_':
			items = append(items, item{kind: anyRune})
		case r == '[':
			it, n := parseSet(p[i+1:], escape)
			items = append(items, it)
			i += n
		default:
			items = append(items, item{kind: oneRune, r: r})
		}
	}
	return items
}

// parseSet reads a set behind its bracket; n is how much it took. A set
// without an end matches nothing.
func parseSet(p []rune, escape rune) (it item, n int) {
	it.kind = set
	i := 0
	if i < len(p) && p[i] == '^' {
		it.not = true
		i++
	}
	for first := true; i < len(p); first = false {
		if p[i] == ']' && !first {
			return it, i + 1
		}
		if p[i] == ']' && first && (i+1 >= len(p) || p[i+1] != ']') {
			return it, i + 1
		}
		if escape != 0 && p[i] == escape && i+1 < len(p) {
			i++
		}
		lo := p[i]
		hi := lo
		if i+2 < len(p) && p[i+1] == '-' && p[i+2] != ']' {
			hi = p[i+2]
			i += 2
		}
		it.spans = append(it.spans, span{lo, hi})
		i++
	}
	return item{kind: set}, len(p)
}

func (it item) matches(r rune, collation string) bool {
	switch it.kind {
	case anyRune:
		return true
	case oneRune:
		return r == it.r
	default:
	}
	for _, s := range it.spans {
		if s.lo == r || s.hi == r || s.lo != s.hi && between(r, s, collation) {
			return !it.not
		}
	}
	return it.not && len(it.spans) > 0
}

// between compares as the collation sorts, so that [a-z] has é too.
func between(r rune, s span, collation string) bool {
	cmp := bytes.Compare
	if collation != BinaryCollation {
		cmp = ComparatorOf(collation)
	}
	c := []byte(string(r))
	return cmp(c, []byte(string(s.lo))) >= 0 && cmp(c, []byte(string(s.hi))) <= 0
}

// match matches the whole text, going back to the last % when it fails.
func match(text []rune, items []item, collation string) bool {
	i, j := 0, 0
	star, mark := -1, 0
	for i < len(text) {
		switch {
		case j < len(items) && items[j].kind == anyRun:
			star, mark = j, i
			j++
		case j < len(items) && items[j].matches(text[i], collation):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(items) && items[j].kind == anyRun {
		j++
	}
	return j == len(items)
}
