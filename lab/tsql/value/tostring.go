package value

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

func toString(v any, from, to sqltype.Type, style int) (any, error) {
	var text string
	switch v := v.(type) {
	case string:
		s, _ := fitString(v, to)
		return s, nil
	case bool:
		text = "0"
		if v {
			text = "1"
		}
	case int64:
		text = strconv.FormatInt(v, 10)
	case sqltype.Number:
		text = Text(v)
		if IsMoney(from) {
			text = moneyText(v, style)
		}
	case float64:
		text = FloatText(v, style)
	case time.Time:
		s, ok := FormatTime(v, from, style)
		if !ok {
			return nil, Errorf(281, "%d is not a valid style number when converting from %s to a character string.", style, Name(from))
		}
		// A date that does not fit is cut.
		s, _ = fitString(s, to)
		return s, nil
	case sqltype.GUID:
		text = FormatGUID(v)
		if to.Length != sqltype.Max && to.Length < len(text) {
			return nil, Errorf(8170, "Insufficient result space to convert uniqueidentifier value to char.")
		}
	case []byte:
		return bytesToString(v, to, style)
	default:
		return nil, NotAllowed(from, to)
	}
	return fitNumberText(text, from, to, v)
}

// fitNumberText is a number's text in a string type, which must hold it.
func fitNumberText(text string, from, to sqltype.Type, v any) (any, error) {
	if to.Length == sqltype.Max || len(text) <= to.Length {
		s, _ := fitString(text, to)
		return s, nil
	}
	switch {
	case IsInteger(from) && IsUnicode(to):
		return nil, Overflow(to)
	case IsInteger(from) && from.Kind != sqltype.BigInt:
		s, _ := fitString("*", to)
		return s, nil
	case IsMoney(from):
		return nil, Errorf(234, "There is insufficient result space to convert a money value to %s.", Name(to))
	case IsFloat(from):
		return nil, Errorf(232, "Arithmetic overflow error for type %s, value = %f.", Name(to), v)
	case from.Kind == sqltype.Decimal:
		return nil, overflowTo("numeric", to)
	default:
		return nil, Overflow(to)
	}
}

// moneyText is money in style 0 (two decimals), 1 (with commas), 2 (four).
func moneyText(n sqltype.Number, style int) string {
	if style == 2 || style == 126 {
		return Text(n)
	}
	text := Text(sqltype.Number{Unscaled: rescale(n.Unscaled, n.Scale, 2), Scale: 2})
	if style != 1 {
		return text
	}
	whole, part, _ := strings.Cut(text, ".")
	sign := ""
	if rest, ok := strings.CutPrefix(whole, "-"); ok {
		sign, whole = "-", rest
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + "." + part
}

// FloatText is a float in style 0 (up to six digits), 1 (eight), 2 (sixteen),
// 3 (seventeen).
func FloatText(f float64, style int) string {
	switch style {
	case 1:
		return threeDigits(strconv.FormatFloat(f, 'e', 7, 64))
	case 2:
		return threeDigits(strconv.FormatFloat(f, 'e', 15, 64))
	case 3:
		return threeDigits(strconv.FormatFloat(f, 'e', 16, 64))
	}
	if f == 0 {
		return "0"
	}
	e := strconv.FormatFloat(f, 'e', 5, 64)
	at := strings.IndexByte(e, 'e')
	exp, err := strconv.Atoi(e[at+1:])
	if err != nil || exp < -4 || exp >= 6 {
		mantissa := e[:at]
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		return threeDigits(mantissa + e[at:])
	}
	text := strconv.FormatFloat(f, 'f', max(0, 5-exp), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// threeDigits gives an exponent three digits, as Windows' C library does.
func threeDigits(s string) string {
	at := strings.IndexByte(s, 'e')
	if at < 0 || len(s)-at >= 5 {
		return s
	}
	return s[:at+2] + strings.Repeat("0", 5-(len(s)-at)) + s[at+2:]
}

func bytesToString(b []byte, to sqltype.Type, style int) (any, error) {
	switch style {
	case 1, 2:
		text := strings.ToUpper(hex.EncodeToString(b))
		if style == 1 {
			text = "0x" + text
		}
		s, _ := fitString(text, to)
		return s, nil
	case NoStyle, 0:
		if IsUnicode(to) {
			s, _ := fitString(DecodeUTF16(b), to)
			return s, nil
		}
		s, _ := fitString(DecodeCodePage(b), to)
		return s, nil
	default:
		return nil, Errorf(9809, "The style %d is not supported for conversions from varbinary to %s.", style, Name(to))
	}
}

// Print is a value's text in messages of constraint violations and
// truncations.
func Print(v any, t sqltype.Type) string {
	switch v := v.(type) {
	case nil:
		return "<NULL>"
	case []byte:
		return "0x" + hex.EncodeToString(v)
	case string:
		return strings.TrimRight(v, " ")
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	s, err := toString(v, t, VarChar(sqltype.Max), NoStyle)
	if err != nil {
		return fmt.Sprint(v)
	}
	text, _ := s.(string)
	return text
}
