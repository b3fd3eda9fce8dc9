package compile

import (
	"testing"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

func program(tb testing.TB, w *world, sql string) *Program {
	tb.Helper()
	b, err := parse.Batch(sql)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := Statement(b.Statements[0], w.scope())
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorldFor(b)
	w.types["@id"], w.types["@s"] = value.Int, value.NVarChar(50)
	for _, sql := range []string{"CREATE TABLE p (id int PRIMARY KEY, s nvarchar(50) NOT NULL, d datetime2(3) NOT NULL, m decimal(10,2) NOT NULL)", "CREATE INDEX ix ON p (s)"} {
		batch, err := parse.Batch(sql)
		if err != nil {
			b.Fatal(err)
		}
		var def *Definition
		switch s := batch.Statements[0].(type) {
		case *ast.CreateTable:
			def, err = CreateTable(s, w.scope())
		case *ast.CreateIndex:
			def, err = CreateIndex(s, w.scope())
		}
		if err != nil {
			b.Fatal(err)
		}
		if err := w.define(def); err != nil {
			b.Fatal(err)
		}
	}
	w.vars["@s"] = "some text"
	return w
}

func BenchmarkInsert(b *testing.B) {
	w := benchWorld(b)
	p := program(b, w, "INSERT INTO p (id, s, d, m) VALUES (@id, @s, '2020-01-01', 12.5)")
	for i := range b.N {
		w.vars["@id"] = int64(i)
		if _, err := p.Run(b.Context(), w.conn, w.rt, w); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPointSelect(b *testing.B) {
	w := benchWorld(b)
	in := program(b, w, "INSERT INTO p (id, s, d, m) VALUES (@id, @s, '2020-01-01', 12.5)")
	for i := range 1000 {
		w.vars["@id"] = int64(i)
		if _, err := in.Run(b.Context(), w.conn, w.rt, w); err != nil {
			b.Fatal(err)
		}
	}
	p := program(b, w, "SELECT id, s, d, m FROM p WHERE id = @id")
	b.ResetTimer()
	for i := range b.N {
		w.vars["@id"], w.rows = int64(i%1000), w.rows[:0]
		if _, err := p.Run(b.Context(), w.conn, w.rt, w); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAndCompile(b *testing.B) {
	w := benchWorld(b)
	for range b.N {
		program(b, w, "SELECT id, s, d, m FROM p WHERE id = @id")
	}
}

// TestIndexesAreUsed guards the speed of searches: conversions and collations
// must leave a column bare that an index has.
func TestIndexesAreUsed(t *testing.T) {
	w := newWorld(t)
	w.must("CREATE TABLE p (id int PRIMARY KEY, s nvarchar(50), d datetime2(3), m decimal(10,2), b varbinary(20)); CREATE INDEX a ON p (s); CREATE INDEX b ON p (d); CREATE INDEX c ON p (m); CREATE INDEX e ON p (b)")
	w.types["@x"] = sqltype.Type{Kind: sqltype.VarChar, Length: 20}
	for _, where := range []string{"id = 5", "id = '5'", "id IN (1, 2)", "s = 'x'", "s = @x", "s IN ('a', 'b')", "d >= '2020-01-01'", "d = GETDATE()", "m = 5", "m = 5.25", "m BETWEEN 1 AND 2", "id = @x", "b = 0x01"} {
		t.Run(where, func(t *testing.T) {
			p := program(t, w, "SELECT id FROM p WHERE "+where)
			stmt, _, err := w.conn.Prepare("EXPLAIN QUERY PLAN " + p.Steps[0].SQL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stmt.Close() }()
			plan := ""
			for stmt.Step() {
				plan += stmt.ColumnText(3) + "; "
			}
			if len(plan) < 6 || plan[:6] != "SEARCH" {
				t.Errorf("%s\n%s", plan, p.Steps[0].SQL)
			}
		})
	}
}
