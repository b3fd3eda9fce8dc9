package entra

import (
	"net/http"
	"slices"
	"strings"
)

// principalFilter is a read $filter: one property that has to equal a value,
// or hold it when it is a list. The zero value lets everything through.
type principalFilter struct{ property, value string }

// parseFilter reads the forms of $filter that clients send:
//
//	property eq 'value'
//	property/any(x:x eq 'value')
//
// Anything else is a *graphError; nothing is guessed.
// Source: https://learn.microsoft.com/graph/filter-query-parameter
func parseFilter(text string) (principalFilter, error) {
	if strings.TrimSpace(text) == "" {
		return principalFilter{}, nil
	}
	p := &filterParser{rest: text}
	filter := principalFilter{property: strings.ToLower(p.word())}
	if p.symbol("/") {
		if p.word() != "any" || !p.symbol("(") {
			return principalFilter{}, invalidFilter(text)
		}
		variable := p.word()
		if variable == "" || !p.symbol(":") || p.word() != variable {
			return principalFilter{}, invalidFilter(text)
		}
		filter.value = p.equals()
		if !p.symbol(")") || filter.property != "serviceprincipalnames" {
			return principalFilter{}, invalidFilter(text)
		}
	} else {
		filter.value = p.equals()
		if !slices.Contains([]string{"appid", "id", "displayname"}, filter.property) {
			return principalFilter{}, invalidFilter(text)
		}
	}
	if p.failed || strings.TrimSpace(p.rest) != "" {
		return principalFilter{}, invalidFilter(text)
	}
	return filter, nil
}

func invalidFilter(text string) error {
	return &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: '" + text + "' is none of the forms that the lab serves."}
}

func (f principalFilter) matches(p graphPrincipal) bool {
	switch f.property {
	case "":
		return true
	case "appid":
		return strings.EqualFold(p.AppID, f.value)
	case "id":
		return strings.EqualFold(p.ID, f.value)
	case "displayname":
		return strings.EqualFold(p.DisplayName, f.value)
	}
	return slices.ContainsFunc(p.Names, func(name string) bool { return strings.EqualFold(name, f.value) })
}

// filterParser reads from the left; failed stays set once something was not
// as expected.
type filterParser struct {
	rest   string
	failed bool
}

func (p *filterParser) word() string {
	p.rest = strings.TrimLeft(p.rest, " ")
	end := strings.IndexFunc(p.rest, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') })
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

func (p *filterParser) symbol(s string) bool {
	rest, found := strings.CutPrefix(strings.TrimLeft(p.rest, " "), s)
	if found {
		p.rest = rest
	}
	return found
}

// equals reads "eq 'value'"; a quote within the value is doubled.
func (p *filterParser) equals() string {
	if p.word() != "eq" || !p.symbol("'") {
		p.failed = true
		return ""
	}
	var value strings.Builder
	for {
		before, after, closed := strings.Cut(p.rest, "'")
		if !closed {
			p.failed = true
			return ""
		}
		value.WriteString(before)
		p.rest = after
		if !strings.HasPrefix(after, "'") {
			return value.String()
		}
		value.WriteByte('\'')
		p.rest = after[1:]
	}
}
