// Package oracle compares what package parse takes and refuses with two other
// parsers of Transact-SQL. It is a module of its own, so that neither of them
// is in the product's graph.
package oracle

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/antlr4-go/antlr/v4"
	"github.com/bytebase/parser/tsql"
	teesql "github.com/sqlc-dev/teesql/parser"

	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

type listener struct {
	*antlr.DefaultErrorListener
	errors int
}

func (l *listener) SyntaxError(antlr.Recognizer, any, int, int, string, antlr.RecognitionException) {
	l.errors++
}

// bytebase says whether bytebase/parser takes the text.
func bytebase(text string) bool {
	l := &listener{}
	lexer := tsql.NewTSqlLexer(antlr.NewInputStream(text))
	lexer.RemoveErrorListeners()
	lexer.AddErrorListener(l)
	p := tsql.NewTSqlParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	p.RemoveErrorListeners()
	p.AddErrorListener(l)
	p.Tsql_file()
	return l.errors == 0
}

// tee says whether teesql takes the text.
func tee(text string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	_, err := teesql.Parse(context.Background(), strings.NewReader(text))
	return err == nil
}

func TestOthersAgree(t *testing.T) {
	raw, err := os.ReadFile("../testdata/corpus.sql")
	if err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	for k := range differences {
		unused[k] = true
	}
	for _, part := range strings.Split(string(raw), "\n#### ")[1:] {
		head, text, _ := strings.Cut(part, "\n")
		verdict, _, _ := strings.Cut(head, " ")
		name := strings.TrimSpace(text)
		if verdict == "accept" {
			name = strings.TrimPrefix(head, "accept ")
		}
		_, err := parse.Batch(text)
		if (err == nil) != (verdict == "accept") {
			t.Errorf("%s: the parser itself says %v", head, err)
		}
		// What is refused by name is valid for the others.
		valid := verdict != "reject"
		for parser, takes := range map[string]bool{"bytebase": bytebase(text), "teesql": tee(text)} {
			key := parser + ": " + name
			_, known := differences[key]
			delete(unused, key)
			switch {
			case takes != valid && !known:
				t.Errorf("%s: %s: it says %v, the corpus %v", verdict, key, takes, valid)
			case takes == valid && known:
				t.Errorf("%s: %s: they agree now; take it off the list", verdict, key)
			}
		}
	}
	for k := range unused {
		t.Errorf("%s is on the list, but not in the corpus", k)
	}
}
