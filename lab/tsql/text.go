package tsql

import (
	"container/list"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// maxTexts is how many parsed texts a session keeps.
const maxTexts = 256

// text is a parsed batch or procedure with what its statements compiled to.
type text struct {
	key        string
	batch      *ast.Batch
	statements []ast.Statement
	programs   map[ast.Node]*compiled
	// sound says that its variables were found to be declared.
	sound bool
	// bound is the version of the catalog against which all of it was found to
	// compile.
	bound string
}

// compiled is a program with what it was compiled against.
type compiled struct {
	program *compile.Program
	// version is the catalog's. If the program touches the session's own tables,
	// session is set and tables tells which they were.
	version string
	session bool
	tables  int64
	// identityInsert is the option's value at that time.
	identityInsert int32
}

// texts keeps the session's parsed texts, the least recently used go first.
type texts struct {
	byKey map[string]*list.Element
	order list.List // of *text
	// parameters are parsed declarations of sp_executesql.
	parameters map[string][]ast.Parameter
}

// text parses a text as the session's options say.
func (s *Session) text(params, source string) (*text, error) {
	return s.texts.get(params, source, s.settings.doubleQuotedStrings)
}

// get parses a text, or answers what it parsed to before. params are the
// declarations of sp_executesql: programs depend on them. doubleQuoted says that
// "…" is a string, as with QUOTED_IDENTIFIER OFF.
func (c *texts) get(params, source string, doubleQuoted bool) (*text, error) {
	key := params + "\x00" + source
	if doubleQuoted {
		key = "\x00" + key
	}
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		if t, ok := e.Value.(*text); ok {
			return t, nil
		}
	}
	batch, err := parse.Options{DoubleQuotedStrings: doubleQuoted}.Batch(source)
	if err != nil {
		return nil, err
	}
	t := &text{key: key, batch: batch, statements: batch.Statements, programs: map[ast.Node]*compiled{}}
	c.put(t)
	return t, nil
}

func (c *texts) put(t *text) {
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	c.byKey[t.key] = c.order.PushFront(t)
	if c.order.Len() <= maxTexts {
		return
	}
	last := c.order.Back()
	c.order.Remove(last)
	if old, ok := last.Value.(*text); ok {
		delete(c.byKey, old.key)
	}
}

// lower is the key of a name: catalogs compare names without regard to case.
func lower(name string) string { return strings.ToLower(name) }
