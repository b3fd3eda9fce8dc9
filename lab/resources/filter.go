package resources

import (
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
)

// predicate decides on one resource.
type predicate func(Resource) bool

// parseFilter reads the part of OData's $filter that clients send for
// resource lists: comparisons with eq, substringof, and, or, parentheses.
// Source: https://learn.microsoft.com/rest/api/resources/resources/list
func parseFilter(text string) (predicate, error) {
	if strings.TrimSpace(text) == "" {
		return func(Resource) bool { return true }, nil
	}
	p := parser{tokens: tokens(text)}
	result, ok := p.either(0)
	if !ok || len(p.tokens) > 0 {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string.", text)
	}
	return result, nil
}

// maxDepth bounds nested parentheses.
const maxDepth = 50

type parser struct{ tokens []string }

// tokens splits a filter into words, quoted texts (with their quotes) and
// punctuation.
func tokens(text string) []string {
	var list []string
	for i := 0; i < len(text); {
		switch text[i] {
		case ' ', '\t':
			i++
		case '(', ')', ',':
			list = append(list, text[i:i+1])
			i++
		case '\'':
			end := i + 1
			for end < len(text) && (text[end] != '\'' || end+1 < len(text) && text[end+1] == '\'') {
				if text[end] == '\'' {
					end++
				}
				end++
			}
			if end >= len(text) {
				return append(list, "'")
			}
			list = append(list, text[i:end+1])
			i = end + 1
		default:
			end := i
			for end < len(text) && !strings.ContainsRune(" \t(),'", rune(text[end])) {
				end++
			}
			list = append(list, text[i:end])
			i = end
		}
	}
	return list
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	token := p.tokens[0]
	p.tokens = p.tokens[1:]
	return token
}

func (p *parser) word(word string) bool {
	if len(p.tokens) > 0 && strings.EqualFold(p.tokens[0], word) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *parser) either(depth int) (predicate, bool) {
	left, ok := p.both(depth)
	for ok && p.word("or") {
		var right predicate
		a := left
		if right, ok = p.both(depth); ok {
			left = func(r Resource) bool { return a(r) || right(r) }
		}
	}
	return left, ok
}

func (p *parser) both(depth int) (predicate, bool) {
	left, ok := p.term(depth)
	for ok && p.word("and") {
		var right predicate
		a := left
		if right, ok = p.term(depth); ok {
			left = func(r Resource) bool { return a(r) && right(r) }
		}
	}
	return left, ok
}

func (p *parser) term(depth int) (predicate, bool) {
	if p.word("(") {
		if depth == maxDepth {
			return nil, false
		}
		inner, ok := p.either(depth + 1)
		return inner, ok && p.word(")")
	}
	if p.word("substringof") {
		return p.substring()
	}
	read, known := field(p.next())
	if !known || !p.word("eq") {
		return nil, false
	}
	value, quoted := unquote(p.next())
	return func(r Resource) bool { return strings.EqualFold(read(r), value) }, quoted
}

func (p *parser) substring() (predicate, bool) {
	opened := p.word("(")
	value, quoted := unquote(p.next())
	comma := p.word(",")
	read, known := field(p.next())
	closed := p.word(")")
	holds := func(r Resource) bool { return strings.Contains(strings.ToLower(read(r)), strings.ToLower(value)) }
	return holds, opened && quoted && comma && known && closed
}

func unquote(token string) (string, bool) {
	if len(token) < 2 || token[0] != '\'' || token[len(token)-1] != '\'' {
		return "", false
	}
	return strings.ReplaceAll(token[1:len(token)-1], "''", "'"), true
}

func field(name string) (func(Resource) string, bool) {
	switch strings.ToLower(name) {
	case "resourcetype":
		return func(r Resource) string { return r.Type }, true
	case "name":
		return func(r Resource) string { return r.Name }, true
	case "location":
		return func(r Resource) string { return r.Location }, true
	case "resourcegroup":
		return func(r Resource) string { return groupOf(r.ID) }, true
	}
	return nil, false
}

func groupOf(id string) string {
	if parts := strings.Split(id, "/"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}
