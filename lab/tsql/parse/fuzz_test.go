package parse_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

func FuzzBatch(f *testing.F) {
	for _, c := range corpus(f) {
		f.Add(c.text)
	}
	f.Add(strings.Repeat("(", 5000))
	f.Add("SELECT " + strings.Repeat("-", 3) + "1")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parse.Batch(text)
		if err != nil {
			var m sqltype.Message
			if !errors.As(err, &m) || m.Number == 0 || m.Text == "" || m.Line < 1 || m.Class < 15 || m.Class > 16 {
				t.Fatalf("%#v is no proper message", err)
			}
			return
		}
		end := 0
		for _, s := range b.Statements {
			e := s.Extent()
			if e.Offset < end || e.End <= e.Offset || e.End > len(text) {
				t.Fatalf("a statement stands at %d to %d, the one before ends at %d, the text at %d", e.Offset, e.End, end, len(text))
			}
			end = e.End
		}
	})
}

// FuzzName holds that a name that is read and written again is the same name.
func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "[a].[b]", "a..b", `"x y".z`, "a.b.c.d", "[]]]", "#t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parse.Name(text)
		if err != nil {
			return
		}
		again, err := parse.Name(n.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, n.String(), err)
		}
		again.Pos, again.Quoted = n.Pos, n.Quoted
		if again != n {
			t.Fatalf("%+v came back as %+v", n, again)
		}
	})
}

func TestTextsThatNestDeeplyAreRefused(t *testing.T) {
	const n = 20_000
	for name, text := range map[string]string{
		"brackets":        "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"open brackets":   "SELECT 1 WHERE " + strings.Repeat("(", n),
		"signs":           "SELECT " + strings.Repeat("- ", n) + "1",
		"complements":     "SELECT " + strings.Repeat("~", n) + "1",
		"negations":       "SELECT 1 WHERE " + strings.Repeat("NOT ", n) + "1 = 1",
		"sums":            "SELECT 1" + strings.Repeat("+1", n),
		"conditions":      "SELECT 1 WHERE 1 = 1" + strings.Repeat(" AND 1 = 1", n),
		"unions":          "SELECT 1" + strings.Repeat(" UNION SELECT 1", n),
		"subqueries":      strings.Repeat("SELECT (", n),
		"derived tables":  strings.Repeat("SELECT * FROM (", n),
		"bracketed joins": "SELECT * FROM " + strings.Repeat("(", n) + "t",
		"joins":           "SELECT * FROM t" + strings.Repeat(" CROSS JOIN t", n),
		"inner joins":     "SELECT * FROM t" + strings.Repeat(" JOIN t", n),
		"calls":           "SELECT " + strings.Repeat("f(", n),
		"cases":           "SELECT " + strings.Repeat("CASE ", n),
		"blocks":          strings.Repeat("BEGIN ", n),
		"ifs":             strings.Repeat("IF 1 = 1 ", n) + "SELECT 1",
		"collations":      "SELECT a" + strings.Repeat(" COLLATE c", n),
		"groupings":       "SELECT a FROM t GROUP BY " + strings.Repeat("ROLLUP (", n),
		"options":         "ALTER DATABASE d SET a = " + strings.Repeat("(a = ", n),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse.Batch(text)
			var m sqltype.Message
			if !errors.As(err, &m) || m.Number != 191 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLongListsAreNotNesting(t *testing.T) {
	b, err := parse.Batch("SELECT 1 WHERE 1 IN (1" + strings.Repeat(", 1", 20_000) + ")" + strings.Repeat(" PRINT 1", 20_000))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Statements) != 20_001 {
		t.Errorf("%d statements", len(b.Statements))
	}
	if _, ok := b.Statements[0].(*ast.SelectStatement); !ok {
		t.Errorf("the first is %T", b.Statements[0])
	}
}

func BenchmarkBatch(b *testing.B) {
	text := "SELECT o.id, SUM(l.amount * l.price) AS total FROM dbo.orders AS o JOIN dbo.lines AS l ON l.order_id = o.id WHERE o.day BETWEEN @a AND @b GROUP BY o.id HAVING SUM(l.amount) > 10 ORDER BY total DESC"
	for b.Loop() {
		if _, err := parse.Batch(text); err != nil {
			b.Fatal(err)
		}
	}
}
