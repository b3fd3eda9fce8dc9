package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// maxDepth bounds how deep a text may nest, and maxChain how long a row of
// operators may be, so that neither this package nor those who walk its trees
// run out of stack.
const (
	maxDepth = 400
	maxChain = 4000
)

// parser is a recursive descent over the tokens of one text.
type parser struct {
	text   string
	tokens []token
	match  []int // closing bracket of an opening one
	at     int
	depth  int

	outermost bool // the query that comes next is a statement's own: it may have INTO and assign variables
	inProc    bool // within CREATE PROCEDURE
	loops     int  // WHILE around the present statement
	catches   int  // CATCH around it
	labels    map[string]bool
	gotos     []*ast.Goto
}

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

func (p *parser) tok() token { return p.tokens[p.at] }

// look is the token n places on.
func (p *parser) look(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

// next takes the present token.
func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind == tokenEnd || t.kind == tokenBroken {
		p.fail()
	}
	p.at++
	return t
}

func (p *parser) pos() ast.Pos {
	t := p.tok()
	return ast.Pos{Offset: t.start, Line: t.line}
}

// last is where the token that was taken last ends.
func (p *parser) last() int {
	if p.at == 0 {
		return 0
	}
	return p.tokens[p.at-1].end
}

// span ends a statement that began at pos.
func (p *parser) span(pos ast.Pos) ast.Span { return ast.Span{Pos: pos, End: p.last()} }

// since is the source text from pos to the last token taken.
func (p *parser) since(pos ast.Pos) string { return p.text[pos.Offset:p.last()] }

func (t token) is(word string) bool { return t.kind == tokenWord && t.upper == word }

func (t token) isSymbol(s string) bool { return t.kind == tokenSymbol && t.text == s }

// isName says whether the token can be a name: not a reserved word.
func (t token) isName() bool {
	return t.kind == tokenQuoted || t.kind == tokenWord && !t.reserved
}

// is says whether the next tokens are these words.
func (p *parser) is(words ...string) bool {
	for i, w := range words {
		if !p.look(i).is(w) {
			return false
		}
	}
	return true
}

// isAny says whether the next token is one of these words.
func (p *parser) isAny(words ...string) bool {
	for _, w := range words {
		if p.tok().is(w) {
			return true
		}
	}
	return false
}

// accept takes these words if they come next.
func (p *parser) accept(words ...string) bool {
	if !p.is(words...) {
		return false
	}
	p.at += len(words)
	return true
}

// expect takes these words or fails at the first that is missing.
func (p *parser) expect(words ...string) {
	for _, w := range words {
		if !p.accept(w) {
			p.fail()
		}
	}
}

// expectAny takes one of these words and returns it.
func (p *parser) expectAny(words ...string) string {
	if !p.isAny(words...) {
		p.fail()
	}
	return p.next().upper
}

func (p *parser) isSymbol(s string) bool { return p.tok().isSymbol(s) }

func (p *parser) acceptSymbol(s string) bool {
	if !p.isSymbol(s) {
		return false
	}
	p.at++
	return true
}

func (p *parser) expectSymbol(s string) {
	if !p.acceptSymbol(s) {
		p.fail()
	}
}

// list parses one or more elements with commas between.
func (p *parser) list(element func()) {
	for {
		element()
		if !p.acceptSymbol(",") {
			return
		}
	}
}

// brackets parses ( one or more elements with commas between ).
func (p *parser) brackets(element func()) {
	p.expectSymbol("(")
	p.list(element)
	p.expectSymbol(")")
}

// end fails unless the text is used up.
func (p *parser) end() {
	if p.tok().kind != tokenEnd {
		p.fail()
	}
}

// enter goes one level deeper; the caller defers what it returns.
func (p *parser) enter() (leave func()) {
	p.depth++
	if p.depth > maxDepth {
		p.tooDeep()
	}
	return func() { p.depth-- }
}

func (p *parser) tooDeep() {
	p.raise(syntax(191, p.tok().line, "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries."))
}

// chain counts the operators of a row.
func (p *parser) chain(n *int) {
	*n++
	if *n > maxChain {
		p.tooDeep()
	}
}

// ident takes a name of one part.
func (p *parser) ident() ast.Ident {
	pos, t := p.pos(), p.tok()
	if !t.isName() {
		p.fail()
	}
	p.at++
	return ast.Ident{Pos: pos, Name: t.text, Quoted: t.kind == tokenQuoted}
}

// idents takes names in brackets.
func (p *parser) idents() []ast.Ident {
	var list []ast.Ident
	p.brackets(func() { list = append(list, p.ident()) })
	return list
}

// optionalIdents takes names in brackets if a bracket comes next.
func (p *parser) optionalIdents() []ast.Ident {
	if !p.isSymbol("(") {
		return nil
	}
	return p.idents()
}

// parts takes a name of parts with dots between; those left out are empty.
func (p *parser) parts(most int) []ast.Ident {
	start := p.at
	list := []ast.Ident{p.ident()}
	for p.acceptSymbol(".") {
		for p.isSymbol(".") && len(list) < most {
			list = append(list, ast.Ident{Pos: p.pos()})
			p.at++
		}
		if len(list) >= most {
			t := p.tokens[start]
			p.raise(nearMessage(117, t.line, "The object name '%s' contains more than the maximum number of prefixes. The maximum is 3.", p.text[t.start:p.tok().end]))
		}
		list = append(list, p.ident())
	}
	return list
}

// name takes an object's name of up to four parts.
func (p *parser) name() ast.Name { return nameOf(p.parts(4)) }

func nameOf(parts []ast.Ident) ast.Name {
	last := parts[len(parts)-1]
	n := ast.Name{Pos: parts[0].Pos, Object: last.Name, Quoted: last.Quoted}
	for i, target := range []*string{&n.Schema, &n.Database, &n.Server} {
		if at := len(parts) - 2 - i; at >= 0 {
			*target = parts[at].Name
		}
	}
	return n
}

// variable takes @name, but not @@name.
func (p *parser) variable() string {
	t := p.tok()
	if t.kind != tokenVariable || strings.HasPrefix(t.text, "@@") {
		p.fail()
	}
	p.at++
	return t.text
}

func (p *parser) isVariable() bool {
	t := p.tok()
	return t.kind == tokenVariable && !strings.HasPrefix(t.text, "@@")
}

// stringText takes a string constant.
func (p *parser) stringText() string {
	if k := p.tok().kind; k != tokenString && k != tokenNString {
		p.fail()
	}
	return p.next().text
}
