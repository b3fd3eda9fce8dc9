package value

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// decimalOf draws a decimal type and a value of it.
func decimalOf(t *rapid.T, label string) (sqltype.Type, sqltype.Number) {
	p := rapid.IntRange(1, 38).Draw(t, label+" precision")
	typ := DecimalOf(p, rapid.IntRange(0, p).Draw(t, label+" scale"))
	digits := rapid.StringMatching(`[0-9]{1,38}`).Draw(t, label+" digits")
	u, _ := new(big.Int).SetString(digits[:min(len(digits), p)], 10)
	if rapid.Bool().Draw(t, label+" negative") {
		u.Neg(u)
	}
	return typ, sqltype.Number{Unscaled: u, Scale: typ.Scale}
}

func rat(n sqltype.Number) *big.Rat {
	return new(big.Rat).SetFrac(n.Unscaled, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n.Scale)), nil))
}

// order compares two stored values as SQLite does.
func order(t *rapid.T, a, b any) int {
	switch a := a.(type) {
	case int64:
		n, _ := b.(int64)
		return big.NewInt(a).Cmp(big.NewInt(n))
	case []byte:
		n, _ := b.([]byte)
		return bytes.Compare(a, n)
	case string:
		n, _ := b.(string)
		return CompareOffset([]byte(a), []byte(n))
	default:
		t.Fatalf("stored as %T", a)
		return 0
	}
}

func roundTrip(t *rapid.T, typ sqltype.Type, v any) any {
	raw, err := Encode(typ, v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(typ, raw)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(v, back, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }), cmp.Comparer(func(a, b time.Time) bool {
		_, x := a.Zone()
		_, y := b.Zone()
		return a.Equal(b) && x == y
	})) {
		t.Fatalf("%s: %v became %v", Describe(typ), v, back)
	}
	return raw
}

func TestDecimalsKeepTheirValueAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ, a := decimalOf(t, "a")
		_, b := decimalOf(t, "b")
		b.Scale = typ.Scale
		if !fits(b.Unscaled, typ.Precision) {
			b.Unscaled = new(big.Int).Rem(b.Unscaled, pow10[typ.Precision])
		}
		if got, want := order(t, roundTrip(t, typ, a), roundTrip(t, typ, b)), a.Unscaled.Cmp(b.Unscaled); got != want {
			t.Fatalf("%s and %s: %d, want %d", Text(a), Text(b), got, want)
		}
	})
}

func TestDecimalArithmeticAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ta, a := decimalOf(t, "a")
		tb, b := decimalOf(t, "b")
		op := rapid.SampledFrom([]byte("+-*/%")).Draw(t, "op")
		to := DecimalResult(op, ta, tb)
		if to.Precision > 38 || to.Scale > to.Precision {
			t.Fatalf("%s", Describe(to))
		}
		got, err := Calculate(op, a, b, to)
		if (op == '/' || op == '%') && b.Unscaled.Sign() == 0 {
			if m, ok := MessageOf(err); !ok || m.Number != 8134 {
				t.Fatalf("%v", err)
			}
			return
		}
		x, y, want := rat(a), rat(b), new(big.Rat)
		switch op {
		case '+':
			want.Add(x, y)
		case '-':
			want.Sub(x, y)
		case '*':
			want.Mul(x, y)
		case '/':
			want.Quo(x, y)
		default:
			q := new(big.Rat).Quo(x, y)
			whole := new(big.Rat).SetInt(new(big.Int).Quo(q.Num(), q.Denom()))
			want.Sub(x, whole.Mul(whole, y))
		}
		// One unit of the result's last digit, which may be cut or rounded.
		unit := new(big.Rat).SetFrac(big.NewInt(1), pow10[to.Scale])
		limit := new(big.Rat).SetFrac(pow10[to.Precision], pow10[to.Scale])
		if err != nil {
			if new(big.Rat).Abs(want).Cmp(new(big.Rat).Sub(limit, unit)) < 0 {
				t.Fatalf("%s %c %s: %v", Text(a), op, Text(b), err)
			}
			return
		}
		if diff := new(big.Rat).Sub(rat(got), want); diff.Abs(diff).Cmp(unit) >= 0 {
			t.Fatalf("%s %c %s = %s, want %s", Text(a), op, Text(b), Text(got), want.FloatString(40))
		}
	})
}

func TestTimesKeepTheirValueAndOrder(t *testing.T) {
	types := []sqltype.Type{{Kind: sqltype.Date}, {Kind: sqltype.Time, Scale: 7}, DateTime, {Kind: sqltype.SmallDateTime}, Now, {Kind: sqltype.DateTimeOffset, Scale: 7}, {Kind: sqltype.DateTime2, Scale: 3}}
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(types).Draw(t, "type")
		draw := func(label string) time.Time {
			v := fromDays(rapid.Int64Range(0, 3652058).Draw(t, label+" day")).Add(time.Duration(rapid.Int64Range(0, ticksPerDay-1).Draw(t, label+" ticks")) * 100)
			if typ.Kind == sqltype.DateTimeOffset {
				v = v.In(zone(rapid.IntRange(-840, 840).Draw(t, label+" offset")))
			}
			return v
		}
		a, ok := FitTime(draw("a"), typ)
		b, okB := FitTime(draw("b"), typ)
		if !ok || !okB {
			t.Skip("out of range")
		}
		if got, want := order(t, roundTrip(t, typ, a), roundTrip(t, typ, b)), a.Compare(b); got != want {
			t.Fatalf("%s: %v and %v: %d, want %d", Describe(typ), a, b, got, want)
		}
	})
}

func TestUniqueIdentifiersSortAsInSQLServer(t *testing.T) {
	// The last group counts first, then the fourth; the first group's bytes
	// count from its last on.
	texts := []string{
		"01000000-0000-0000-0000-000000000000", "00000001-0000-0000-0000-000000000000", "00000000-0100-0000-0000-000000000000", "00000000-0001-0000-0000-000000000000",
		"00000000-0000-0001-0000-000000000000", "00000000-0000-0000-0001-000000000000", "00000000-0000-0000-0100-000000000000", "00000000-0000-0000-0000-000000000001",
	}
	var last []byte
	for _, s := range []string{texts[0], texts[1], texts[2], texts[3], texts[4], texts[5], texts[6], texts[7]} {
		g, ok := ParseGUID(s)
		if !ok || FormatGUID(g) != s {
			t.Fatalf("%s became %s", s, FormatGUID(g))
		}
		raw, err := Encode(GUID, g)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := raw.([]byte)
		if bytes.Compare(last, b) >= 0 {
			t.Errorf("%s does not come after the one before it", s)
		}
		last = b
	}
}

func TestCollationIsAnOrder(t *testing.T) {
	letters := rapid.StringOfN(rapid.SampledFrom([]rune("aAbBéEÉßsöO 1_-~日")), 0, 5, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := []byte(letters.Draw(t, "a")), []byte(letters.Draw(t, "b")), []byte(letters.Draw(t, "c"))
		for _, f := range []func(a, b []byte) int{Compare, CompareCase, CompareBinary} {
			if f(a, b) != -f(b, a) {
				t.Fatalf("%q and %q: %d and %d", a, b, f(a, b), f(b, a))
			}
			if f(a, b) <= 0 && f(b, c) <= 0 && f(a, c) > 0 {
				t.Fatalf("%q <= %q <= %q, but not %q <= %q", a, b, c, a, c)
			}
			if f(a, append(append([]byte{}, a...), ' ')) != 0 {
				t.Fatalf("blanks at the end of %q count", a)
			}
		}
		if Compare(a, b) == 0 != (CompareCase([]byte(strings.ToLower(string(a))), []byte(strings.ToLower(string(b)))) == 0) {
			t.Fatalf("%q and %q differ in more than case", a, b)
		}
	})
}

func TestStringsAndNumbersConvertBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ, n := decimalOf(t, "n")
		s, err := Convert(n, typ, VarChar(50))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Convert(s, VarChar(50), typ)
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := back.(sqltype.Number); m.Unscaled.Cmp(n.Unscaled) != 0 {
			t.Fatalf("%s became %s", Text(n), Text(m))
		}
	})
}

func TestMessagesPassThroughConversions(t *testing.T) {
	for _, k := range []struct {
		v        any
		from, to sqltype.Type
		number   int32
	}{
		{"abc", VarChar(3), Int, 245}, {"abc", NVarChar(3), BigInt, 8114}, {"99999999999", VarChar(11), Int, 248}, {"70000", VarChar(5), sqltype.Type{Kind: sqltype.SmallInt}, 244},
		{int64(70000), Int, sqltype.Type{Kind: sqltype.SmallInt}, 220}, {int64(1) << 40, BigInt, Int, 8115}, {1e300, Float, Int, 232}, {"x", VarChar(1), Money, 235},
		{"x", VarChar(1), GUID, 8169}, {"x", VarChar(1), DateTime, 241}, {"17520101", VarChar(8), DateTime, 242}, {int64(1), Int, sqltype.Type{Kind: sqltype.Date}, 529},
		{"2079-06-07", VarChar(10), sqltype.Type{Kind: sqltype.SmallDateTime}, 242}, {1e39, Float, DecimalOf(38, 0), 8115},
	} {
		_, err := Convert(k.v, k.from, k.to)
		if m, ok := MessageOf(err); !ok || m.Number != k.number {
			t.Errorf("%v to %s: %v, want %d", k.v, Name(k.to), err, k.number)
		}
	}
}

func TestDatesAreReadAndWritten(t *testing.T) {
	for _, k := range []struct{ in, want string }{
		{"", "1900-01-01 00:00:00.0000000"}, {"Jan 2 2020", "2020-01-02 00:00:00.0000000"}, {"2 January 2020 3:04PM", "2020-01-02 15:04:00.0000000"},
		{"01/02/2020", "2020-01-02 00:00:00.0000000"}, {"1/2/49", "2049-01-02 00:00:00.0000000"}, {"1/2/50", "1950-01-02 00:00:00.0000000"}, {"200102", "2020-01-02 00:00:00.0000000"},
		{"2020-01-02T03:04:05.1234567", "2020-01-02 03:04:05.1234567"}, {"20200102 12am", "2020-01-02 00:00:00.0000000"}, {"2020/1/2 1:2", "2020-01-02 01:02:00.0000000"},
	} {
		v, err := Convert(k.in, VarChar(40), Now)
		if err != nil {
			t.Errorf("%q: %v", k.in, err)
			continue
		}
		if got, err := Convert(v, Now, VarChar(40)); err != nil || got != k.want {
			t.Errorf("%q: %v, %v, want %s", k.in, got, err, k.want)
		}
	}
	at := time.Date(2020, 1, 2, 15, 4, 5, 677000000, time.UTC)
	for style, want := range map[int]string{
		0: "Jan  2 2020  3:04PM", 1: "01/02/20", 2: "20.01.02", 3: "02/01/20", 4: "02.01.20", 5: "02-01-20", 10: "01-02-20", 12: "200102", 20: "2020-01-02 15:04:05",
		21: "2020-01-02 15:04:05.677", 23: "2020-01-02", 101: "01/02/2020", 106: "02 Jan 2020", 107: "Jan 02, 2020", 108: "15:04:05", 109: "Jan  2 2020  3:04:05:677PM",
		112: "20200102", 113: "02 Jan 2020 15:04:05:677", 114: "15:04:05:677", 121: "2020-01-02 15:04:05.677", 126: "2020-01-02T15:04:05.677",
	} {
		if got, ok := FormatTime(at, DateTime, style); !ok || got != want {
			t.Errorf("style %d: %q, want %q", style, got, want)
		}
	}
}

func TestLike(t *testing.T) {
	for _, k := range []struct {
		s, pattern string
		escape     rune
		want       bool
	}{
		{"abc", "A%", 0, true}, {"abc", "a_c", 0, true}, {"abc", "[x-z]%", 0, false}, {"a]c", "a[]]c", 0, true}, {"a-c", "a[-]c", 0, true}, {"abc ", "abc", 0, true}, {"abc", "abc ", 0, false},
		{"5%", "5[%]", 0, true}, {"50", "5!%", '!', false}, {"5%", "5!%", '!', true}, {"aXbXc", "%x%x%", 0, true}, {"", "%", 0, true}, {"abc", "[^a]bc", 0, false}, {"a", "[", 0, false},
		{"mississippi", "m%iss%pi", 0, true}, {"mississippi", "m%iss%pa", 0, false},
	} {
		if got := Like(k.s, k.pattern, k.escape, Collation); got != k.want {
			t.Errorf("%q LIKE %q: %v", k.s, k.pattern, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2020-01-02T03:04:05Z", "Jan 2 2020 3:04PM", "12:00:00:123", "1/2/20", "+-::.", "20200101 25:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, to := range []sqltype.Type{Now, DateTime, {Kind: sqltype.DateTimeOffset, Scale: 7}, {Kind: sqltype.Time, Scale: 3}} {
			v, err := Convert(s, VarChar(100), to)
			if err != nil {
				continue
			}
			raw, err := Encode(to, v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(to, raw); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzLike(f *testing.F) {
	f.Add("abc", "a[b-c]%")
	f.Add("x", "[")
	f.Add("", "[^]")
	f.Fuzz(func(t *testing.T, s, pattern string) {
		Like(s, pattern, '!', Collation)
		PatternIndex(s, pattern, BinaryCollation)
	})
}
