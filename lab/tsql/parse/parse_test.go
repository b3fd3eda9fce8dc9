package parse_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// corpusCase is one case of testdata/corpus.sql.
type corpusCase struct {
	verdict string // accept, reject, refuse
	rest    string // a name, or number, line and text of the error
	text    string
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/corpus.sql")
	if err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	for _, part := range strings.Split(string(raw), "\n#### ")[1:] {
		head, text, _ := strings.Cut(part, "\n")
		verdict, rest, _ := strings.Cut(head, " ")
		cases = append(cases, corpusCase{verdict, rest, text})
	}
	return cases
}

func TestCorpus(t *testing.T) {
	count := map[string]int{}
	for _, c := range corpus(t) {
		count[c.verdict]++
		t.Run(c.verdict+" "+c.rest+" "+c.text[:min(len(c.text), 30)], func(t *testing.T) {
			b, err := parse.Batch(c.text)
			if c.verdict == "accept" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				for _, s := range b.Statements {
					if e := s.Extent(); e.Offset < 0 || e.End <= e.Offset || e.End > len(c.text) || e.Line < 1 {
						t.Errorf("a statement stands at %+v", e)
					}
				}
				return
			}
			var m sqltype.Message
			if !errors.As(err, &m) {
				t.Fatalf("got %v, which is no message", err)
			}
			if got := fmt.Sprintf("%d %d %s", m.Number, m.Line, m.Text); got != c.rest {
				t.Errorf("got  %s\nwant %s", got, c.rest)
			}
			if want := map[string]uint8{"reject": 15, "refuse": 16}[c.verdict]; m.Class != want && m.Number != 2716 && m.Number != 10709 {
				t.Errorf("class %d, want %d", m.Class, want)
			}
		})
	}
	if count["accept"] < 90 || count["reject"] < 40 || count["refuse"] < 35 {
		t.Errorf("the corpus has shrunk: %v", count)
	}
}
