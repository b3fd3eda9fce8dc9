package compile

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestIntegerArithmeticAgreesWithBigNumbers draws int and bigint operations,
// whose outcome is exact, an overflow or a division by zero.
func TestIntegerArithmeticAgreesWithBigNumbers(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		typ, bits := "int", uint(31)
		if rapid.Bool().Draw(t, "big") {
			typ, bits = "bigint", 63
		}
		limit := new(big.Int).Lsh(big.NewInt(1), bits)
		draw := func(label string) *big.Int {
			n := big.NewInt(rapid.Int64().Draw(t, label))
			return n.Rem(n, limit)
		}
		a, b := draw("a"), draw("b")
		op := rapid.SampledFrom([]string{"+", "-", "*", "/", "%"}).Draw(t, "op")
		want := new(big.Int)
		switch op {
		case "+":
			want.Add(a, b)
		case "-":
			want.Sub(a, b)
		case "*":
			want.Mul(a, b)
		default:
			if b.Sign() == 0 {
				want = nil
				break
			}
			q, r := new(big.Int).QuoRem(a, b, new(big.Int))
			want = q
			if op == "%" {
				want = r
			}
		}
		got := w.query(fmt.Sprintf("SELECT CAST('%s' AS %s) %s CAST('%s' AS %s)", a, typ, op, b, typ))
		expected := ""
		switch {
		case want == nil:
			expected = "8134: Divide by zero error encountered."
		case want.Cmp(limit) >= 0 || want.Cmp(new(big.Int).Neg(limit)) < 0:
			expected = "8115: Arithmetic overflow error converting expression to data type " + typ + "."
		default:
			expected = want.String()
		}
		if got != expected {
			t.Fatalf("%s %s %s: %s, want %s\n%s", a, op, b, got, expected, w.sql())
		}
	})
}

// TestConditionsFollowThreeValuedLogic compares conditions over NULLs with
// logic worked out here.
func TestConditionsFollowThreeValuedLogic(t *testing.T) {
	w := newWorld(t)
	type truth int // 0 false, 1 unknown, 2 true
	var condition func(t *rapid.T, depth int) (string, truth)
	condition = func(t *rapid.T, depth int) (string, truth) {
		if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
			leaf := rapid.SampledFrom([]struct {
				sql  string
				then truth
			}{
				{"1 = 1", 2}, {"1 = 2", 0}, {"NULL = 1", 1}, {"NULL IS NULL", 2}, {"'a' IN ('b', NULL)", 1}, {"'a' IN ('A ', NULL)", 2}, {"1 NOT IN (2, NULL)", 1},
				{"NULL LIKE 'x'", 1}, {"2 BETWEEN 1 AND NULL", 1}, {"0 BETWEEN 1 AND NULL", 0}, {"1 > ALL (SELECT 0 WHERE 1 = 0)", 2}, {"1 = ANY (SELECT NULL)", 1},
				{"NULL IS NOT DISTINCT FROM NULL", 2}, {"EXISTS (SELECT NULL)", 2}, {"1 > ALL (SELECT x FROM (VALUES (0), (NULL)) v(x))", 1},
			}).Draw(t, "condition")
			return leaf.sql, leaf.then
		}
		l, a := condition(t, depth-1)
		switch rapid.IntRange(0, 2).Draw(t, "connective") {
		case 0:
			return "NOT (" + l + ")", 2 - a
		case 1:
			r, b := condition(t, depth-1)
			return "(" + l + ") AND (" + r + ")", min(a, b)
		default:
			r, b := condition(t, depth-1)
			return "(" + l + ") OR (" + r + ")", max(a, b)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		sql, want := condition(t, 4)
		got := w.query("SELECT CASE WHEN " + sql + " THEN 2 WHEN NOT (" + sql + ") THEN 0 ELSE 1 END")
		if got != fmt.Sprint(int(want)) {
			t.Fatalf("%s: %s, want %d", sql, got, want)
		}
	})
}

// TestAnUpdateIsTheSameOneByOneAndAtOnce shifts keys by UPDATE and compares
// with what the numbers say.
func TestAnUpdateIsTheSameOneByOneAndAtOnce(t *testing.T) {
	w := newWorld(t)
	w.must("CREATE TABLE k (id int NOT NULL PRIMARY KEY, u int NULL UNIQUE, s varchar(10) NOT NULL)")
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.IntRange(-20, 20), 1, 8, rapid.ID[int]).Draw(t, "ids")
		shift := rapid.IntRange(-5, 5).Draw(t, "shift")
		rows := make([]string, len(ids))
		for i, id := range ids {
			rows[i] = fmt.Sprintf("(%d, %d, 'x')", id, id)
		}
		if err := w.exec("DELETE FROM k; INSERT INTO k VALUES " + strings.Join(rows, ", ")); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, id := range ids {
			sum += id + shift
		}
		if err := w.exec(fmt.Sprintf("UPDATE k SET id = id + (%d), u = -u", shift)); err != nil {
			t.Fatal(err)
		}
		if w.count != int64(len(ids)) {
			t.Fatalf("%d rows, want %d", w.count, len(ids))
		}
		if got, want := w.query("SELECT SUM(id), COUNT(*), SUM(CASE WHEN id + u = "+fmt.Sprint(shift)+" THEN 1 ELSE 0 END) FROM k"), fmt.Sprintf("%d|%d|%d", sum, len(ids), len(ids)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
