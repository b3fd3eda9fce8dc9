package builtin

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// texts are the string functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/string-functions-transact-sql
var texts = map[string]function{
	"LEN": {call: func(a *arguments) (any, error) {
		return int64(value.Units(strings.TrimRight(a.text(0), " "))), nil
	}},
	"DATALENGTH": {call: dataLength},
	"LEFT": {call: func(a *arguments) (any, error) {
		if a.int(1) < 0 {
			return nil, value.Errorf(537, "Invalid length parameter passed to the LEFT or SUBSTRING function.")
		}
		return cut(a, value.Slice(a.text(0), 0, clamp(a.int(1))))
	}},
	"RIGHT": {call: func(a *arguments) (any, error) {
		if a.int(1) < 0 {
			return nil, value.Errorf(536, "Invalid length parameter passed to the RIGHT function.")
		}
		n := value.Units(a.text(0))
		k := min(clamp(a.int(1)), n)
		return cut(a, value.Slice(a.text(0), n-k, k))
	}},
	"SUBSTRING": {call: substring},
	"UPPER":     {call: func(a *arguments) (any, error) { return strings.Map(toUpper, a.text(0)), nil }},
	"LOWER":     {call: func(a *arguments) (any, error) { return strings.Map(unicode.ToLower, a.text(0)), nil }},
	"LTRIM":     {call: func(a *arguments) (any, error) { return strings.TrimLeft(a.text(0), a.cutset(1)), nil }},
	"RTRIM":     {call: func(a *arguments) (any, error) { return strings.TrimRight(a.text(0), a.cutset(1)), nil }},
	"TRIM":      {call: func(a *arguments) (any, error) { return strings.Trim(a.text(0), a.cutset(1)), nil }},
	"REVERSE":   {call: func(a *arguments) (any, error) { return reverse(a.text(0)), nil }},
	"REPLACE":   {call: replace},
	"CHARINDEX": {call: func(a *arguments) (any, error) {
		from := 0
		if len(a.vals) > 2 {
			from = max(0, clamp(a.int(2))-1)
		}
		if a.text(0) == "" {
			return int64(0), nil
		}
		return int64(value.Index(a.text(1), a.text(0), from, a.extra) + 1), nil
	}},
	"PATINDEX": {call: func(a *arguments) (any, error) {
		return int64(value.PatternIndex(a.text(1), a.text(0), a.extra) + 1), nil
	}},
	"REPLICATE": {call: func(a *arguments) (any, error) {
		n := a.int(1)
		if n < 0 {
			return nil, nil
		}
		limit := 8000
		if a.ret.Length == sqltype.Max {
			limit = 1 << 26
		}
		if len(a.text(0)) > 0 {
			n = min(n, int64(limit/len(a.text(0))+1))
		} else {
			n = 0
		}
		return cut(a, strings.Repeat(a.text(0), int(n)))
	}},
	"SPACE": {call: func(a *arguments) (any, error) {
		if a.int(0) < 0 {
			return nil, nil
		}
		return strings.Repeat(" ", int(min(a.int(0), 8000))), nil
	}},
	"STUFF": {call: stuff},
	"ASCII": {call: func(a *arguments) (any, error) {
		if a.text(0) == "" {
			return nil, nil
		}
		b, _ := value.CodePage([]rune(a.text(0))[0])
		return int64(b), nil
	}},
	"UNICODE": {call: func(a *arguments) (any, error) {
		if a.text(0) == "" {
			return nil, nil
		}
		r := []rune(a.text(0))[0]
		if r > 0xFFFF {
			r, _ = utf16.EncodeRune(r)
		}
		return int64(r), nil
	}},
	"CHAR": {call: func(a *arguments) (any, error) {
		if a.int(0) < 0 || a.int(0) > 255 {
			return nil, nil
		}
		return string(value.FromCodePage(byte(a.int(0)))), nil
	}},
	"NCHAR": {call: func(a *arguments) (any, error) {
		if a.int(0) < 0 || a.int(0) > 65535 || utf16.IsSurrogate(rune(a.int(0))) {
			return nil, nil
		}
		return string(rune(a.int(0))), nil
	}},
	"STR":       {call: str},
	"CONCAT":    {nulls: true, call: func(a *arguments) (any, error) { return join(a, "", 0) }},
	"CONCAT_WS": {nulls: true, call: func(a *arguments) (any, error) { return join(a, a.text(0), 1) }},
	"QUOTENAME": {call: quoteName},
	"TRANSLATE": {call: translate},
	"split": {call: func(a *arguments) (any, error) {
		// STRING_SPLIT, as a JSON array.
		out, err := json.Marshal(strings.Split(a.text(0), a.text(1)))
		if err != nil {
			return nil, fmt.Errorf("splitting a string: %w", err)
		}
		return string(out), nil
	}},
	"SOUNDEX": {call: func(a *arguments) (any, error) { return soundex(a.text(0)), nil }},
	"DIFFERENCE": {call: func(a *arguments) (any, error) {
		x, y, n := soundex(a.text(0)), soundex(a.text(1)), int64(0)
		for i := range 4 {
			if x[i] == y[i] {
				n++
			}
		}
		return n, nil
	}},
}

// cut is a string within the result's length.
func cut(a *arguments, s string) (any, error) { return value.Convert(s, a.ret, a.ret) }

func (a *arguments) cutset(i int) string {
	if i < len(a.vals) {
		return a.text(i)
	}
	return " "
}

// clamp makes a count an int that cannot overflow when added to.
func clamp(n int64) int { return int(max(-1<<30, min(n, 1<<30))) }

// toUpper leaves the letters alone whose capital is not one letter more.
func toUpper(r rune) rune {
	if r == 'ß' || r == 'ı' || r == 'ſ' {
		return r
	}
	return unicode.ToUpper(r)
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

func dataLength(a *arguments) (any, error) {
	t := a.types[0]
	switch v := a.vals[0].(type) {
	case string:
		if value.IsUnicode(t) {
			return int64(2 * value.Units(v)), nil
		}
		return int64(value.Units(v)), nil
	case []byte:
		return int64(len(v)), nil
	}
	switch t.Kind {
	case sqltype.Bit, sqltype.TinyInt:
		return int64(1), nil
	case sqltype.SmallInt:
		return int64(2), nil
	case sqltype.Int, sqltype.Real, sqltype.SmallMoney, sqltype.SmallDateTime:
		return int64(4), nil
	case sqltype.Date:
		return int64(3), nil
	case sqltype.Decimal:
		return decimalLength(a.vals[0], t), nil
	case sqltype.Time, sqltype.DateTime2, sqltype.DateTimeOffset:
		n := int64(5)
		if t.Scale < 3 {
			n = 3
		} else if t.Scale < 5 {
			n = 4
		}
		return n + map[sqltype.Kind]int64{sqltype.DateTime2: 3, sqltype.DateTimeOffset: 5}[t.Kind], nil
	case sqltype.UniqueIdentifier:
		return int64(16), nil
	default:
		return int64(8), nil
	}
}

// decimalLength is the storage of a decimal by its type's precision.
func decimalLength(_ any, t sqltype.Type) int64 {
	switch {
	case t.Precision <= 9:
		return 5
	case t.Precision <= 19:
		return 9
	case t.Precision <= 28:
		return 13
	default:
		return 17
	}
}

func substring(a *arguments) (any, error) {
	start, n := a.int(1), a.int(2)
	if n < 0 {
		return nil, value.Errorf(537, "Invalid length parameter passed to the LEFT or SUBSTRING function.")
	}
	from := max(1, int64(clamp(start)))
	to := int64(clamp(start)) + int64(clamp(n))
	if b, ok := a.vals[0].([]byte); ok {
		lo, hi := min(from-1, int64(len(b))), min(max(to-1, 0), int64(len(b)))
		if lo >= hi {
			return []byte{}, nil
		}
		return b[lo:hi], nil
	}
	if to <= from {
		return "", nil
	}
	return cut(a, value.Slice(a.text(0), int(from-1), int(to-from)))
}

func replace(a *arguments) (any, error) {
	old := a.text(1)
	if old == "" {
		return cut(a, a.text(0))
	}
	s := []rune(a.text(0))
	n := len([]rune(old))
	var b strings.Builder
	at := 0
	for {
		i := value.Index(string(s[at:]), old, 0, a.extra)
		if i < 0 {
			break
		}
		b.WriteString(string(s[at : at+i]))
		b.WriteString(a.text(2))
		at += i + n
	}
	b.WriteString(string(s[at:]))
	return cut(a, b.String())
}

// stuff is STUFF(x, start, length, y); NULL for y is an empty string, which
// the compiler sees to.
func stuff(a *arguments) (any, error) {
	s := a.text(0)
	start, n, units := a.int(1), a.int(2), int64(value.Units(s))
	if start <= 0 || start > units || n < 0 {
		return nil, nil
	}
	n = min(n, units)
	return cut(a, value.Slice(s, 0, int(start-1))+a.text(3)+value.Slice(s, int(min(units, start-1+n)), int(units)))
}

// str is STR(float, length, decimals).
func str(a *arguments) (any, error) {
	length, decimals := int64(10), int64(0)
	if len(a.vals) > 1 {
		length = a.int(1)
	}
	if len(a.vals) > 2 {
		decimals = min(a.int(2), 16)
	}
	if length < 0 || length > 8000 || decimals < 0 {
		return nil, nil
	}
	f := a.float(0)
	if p := math.Pow(10, float64(decimals)); math.Abs(f*p) < 1e15 {
		f = math.Round(f*p) / p
	}
	text := strconv.FormatFloat(f, 'f', int(decimals), 64)
	if point := strings.IndexByte(text, '.'); point >= 0 && int64(len(text)) > length && int64(point) <= length {
		keep := max(0, length-int64(point)-1)
		text = strconv.FormatFloat(f, 'f', int(keep), 64)
	}
	if int64(len(text)) > length {
		return strings.Repeat("*", int(length)), nil
	}
	return strings.Repeat(" ", int(length)-len(text)) + text, nil
}

// join is CONCAT and CONCAT_WS; NULL counts as an empty string in the former
// and is left out of the latter.
func join(a *arguments, separator string, first int) (any, error) {
	var parts []string
	for _, v := range a.vals[first:] {
		if s, ok := v.(string); ok {
			parts = append(parts, s)
		}
	}
	return cut(a, strings.Join(parts, separator))
}

func quoteName(a *arguments) (any, error) {
	left, right := "[", "]"
	if len(a.vals) > 1 {
		switch q := a.text(1); q {
		case "'", "\"", "`":
			left, right = q, q
		case "[", "]":
		case "(", ")":
			left, right = "(", ")"
		case "{", "}":
			left, right = "{", "}"
		case "<", ">":
			left, right = "<", ">"
		default:
			return nil, nil
		}
	}
	if value.Units(a.text(0)) > 128 {
		return nil, nil
	}
	return left + strings.ReplaceAll(a.text(0), right, right+right) + right, nil
}

func translate(a *arguments) (any, error) {
	from, to := []rune(a.text(1)), []rune(a.text(2))
	if len(from) != len(to) {
		return nil, value.Errorf(9828, "The second and third arguments of the TRANSLATE built-in function must contain an equal number of characters.")
	}
	return strings.Map(func(r rune) rune {
		for i, f := range from {
			if value.Index(string(r), string(f), 0, a.extra) == 0 {
				return to[i]
			}
		}
		return r
	}, a.text(0)), nil
}

func soundex(s string) string {
	const codes = "01230120022455012623010202"
	out, last := []byte{}, byte('0')
	for _, c := range []byte(strings.ToUpper(s)) {
		if c < 'A' || c > 'Z' {
			break
		}
		code := codes[c-'A']
		switch {
		case len(out) == 0:
			out = append(out, c)
		case code != '0' && code != last:
			out = append(out, code)
		}
		if c != 'H' && c != 'W' {
			last = code
		}
		if len(out) == 4 {
			break
		}
	}
	return string(append(out, "0000"[len(out):]...))
}
