package tsql

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// verb is one % of a message's format.
type verb struct {
	flags     string
	width     int
	star      bool
	precision int // -1: none
	starPrec  bool
	size      string // h, l, I64
	letter    byte
}

// formatMessage fills a message's format as RAISERROR and FORMATMESSAGE do,
// with at most 2,047 characters.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql ("msg_str")
func formatMessage(format string, args []typedValue) (string, error) {
	var b strings.Builder
	next := 0
	take := func() (typedValue, bool) {
		next++
		if next > len(args) {
			return typedValue{}, false
		}
		return args[next-1], true
	}
	for i := 0; i < len(format); {
		if format[i] != '%' {
			b.WriteByte(format[i])
			i++
			continue
		}
		if i+1 < len(format) && format[i+1] == '%' {
			b.WriteByte('%')
			i += 2
			continue
		}
		v, n := parseVerb(format[i:])
		if n == 0 {
			return "", message(2787, "Invalid format specification: '%s'.", format[i:])
		}
		i += n
		text, err := v.fill(take)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return cutRunes(b.String(), 2047), nil
}

// cutRunes shortens a text as SQL Server does, with an ellipsis.
func cutRunes(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-3]) + "..."
}

// parseVerb reads one specification, and answers how long it is; 0 if it is none.
func parseVerb(text string) (verb, int) {
	v := verb{precision: -1}
	i := 1
	for i < len(text) && strings.IndexByte("-+0# ", text[i]) >= 0 {
		v.flags += text[i : i+1]
		i++
	}
	v.width, v.star, i = parseMeasure(text, i)
	if i < len(text) && text[i] == '.' {
		v.precision, v.starPrec, i = parseMeasure(text, i+1)
	}
	for _, size := range []string{"I64", "h", "l"} {
		if strings.HasPrefix(text[min(i, len(text)):], size) {
			v.size = size
			i += len(size)
			break
		}
	}
	if i >= len(text) || strings.IndexByte("diosuxXp", text[i]) < 0 {
		return v, 0
	}
	v.letter = text[i]
	return v, i + 1
}

func parseMeasure(text string, i int) (n int, star bool, next int) {
	if i < len(text) && text[i] == '*' {
		return 0, true, i + 1
	}
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		n = min(n*10+int(text[i]-'0'), 4096)
		i++
	}
	return n, false, i
}

// fill writes one argument.
func (v verb) fill(take func() (typedValue, bool)) (string, error) {
	if v.star {
		v.width = measure(take)
	}
	if v.starPrec {
		v.precision = measure(take)
	}
	arg, ok := take()
	if !ok || arg.value == nil {
		return v.pad("(null)"), nil
	}
	if text, isText := arg.value.(string); isText && arg.loose && v.letter != 's' {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			arg.value = n
		}
	}
	switch value := arg.value.(type) {
	case string:
		if v.letter != 's' {
			return "", message(2786, "The data type of substitution parameter 1 does not match the expected type of the format specification.")
		}
		if runes := []rune(value); v.precision >= 0 && v.precision < len(runes) {
			value = string(runes[:v.precision])
		}
		return v.pad(value), nil
	case int64:
		if v.letter == 's' {
			return "", message(2786, "The data type of substitution parameter 1 does not match the expected type of the format specification.")
		}
		return v.pad(v.number(value)), nil
	case bool:
		return v.pad(v.number(bit(value))), nil
	default:
		return "", message(2748, "Cannot specify %s data type (parameter 1) as a substitution parameter.", kindName(arg.kind))
	}
}

func kindName(t sqltype.Type) string { return typeRowOf(t).name }

func measure(take func() (typedValue, bool)) int {
	arg, _ := take()
	n, _ := arg.value.(int64)
	return int(min(max(n, -4096), 4096))
}

// number writes a whole number as C's printf does.
func (v verb) number(n int64) string {
	bits := 32
	if v.size == "I64" {
		bits = 64
	}
	unsigned := new(big.Int).SetInt64(n)
	if n < 0 {
		unsigned.Add(unsigned, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	}
	var digits, sign string
	switch v.letter {
	case 'd', 'i':
		digits = new(big.Int).Abs(big.NewInt(n)).String()
		switch {
		case n < 0:
			sign = "-"
		case strings.Contains(v.flags, "+"):
			sign = "+"
		case strings.Contains(v.flags, " "):
			sign = " "
		}
	case 'u':
		digits = unsigned.String()
	case 'o':
		digits = unsigned.Text(8)
	case 'x', 'p':
		digits = unsigned.Text(16)
	case 'X':
		digits = strings.ToUpper(unsigned.Text(16))
	}
	if strings.Contains(v.flags, "#") && n != 0 {
		sign += map[byte]string{'x': "0x", 'X': "0X", 'o': "0"}[v.letter]
	}
	if short := v.precision - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	if short := v.width - len(digits) - len(sign); strings.Contains(v.flags, "0") && !strings.Contains(v.flags, "-") && short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	return sign + digits
}

// pad gives a text its width.
func (v verb) pad(text string) string {
	width := v.width
	left := strings.Contains(v.flags, "-") || width < 0
	if width < 0 {
		width = -width
	}
	if left {
		return fmt.Sprintf("%-*s", width, text)
	}
	return fmt.Sprintf("%*s", width, text)
}
