package value

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// NoStyle is the style of a conversion that names none.
const NoStyle = -1

// Convert turns a value of one type into one of another, as CAST does:
// strings and binary values that are too long are cut. Its errors are of type
// sqltype.Message.
// Source: https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql
func Convert(v any, from, to sqltype.Type) (any, error) {
	return ConvertStyle(v, from, to, NoStyle)
}

// ConvertStyle is Convert with CONVERT's style.
func ConvertStyle(v any, from, to sqltype.Type, style int) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch {
	case IsString(to):
		return toString(v, from, to, style)
	case IsInteger(to):
		return toInteger(v, from, to)
	case to.Kind == sqltype.Decimal:
		return toDecimal(v, from, to)
	case IsMoney(to):
		return toMoney(v, from, to)
	case IsFloat(to):
		return toFloat(v, from, to)
	case IsTime(to):
		return toTime(v, from, to, style)
	case IsBinary(to):
		return toBinary(v, from, to, style)
	case to.Kind == sqltype.UniqueIdentifier:
		return toGUID(v, from, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

// Store is Convert for a value that is put into a column: cut tells that the
// value is too long for it, which is an error there (2628).
func Store(v any, from, to sqltype.Type) (out any, cut bool, err error) {
	if v == nil {
		return nil, false, nil
	}
	switch {
	case IsString(to) && IsString(from):
		s, _ := v.(string)
		out, cut = fitString(s, to)
		return out, cut, nil
	case IsBinary(to) && IsBinary(from):
		b, _ := v.([]byte)
		out, cut = fitBytes(b, to)
		return out, cut, nil
	default:
		out, err = Convert(v, from, to)
		return out, false, err
	}
}

// intRange are a whole number type's bounds.
func intRange(k sqltype.Kind) (lo, hi int64) {
	switch k {
	case sqltype.TinyInt:
		return 0, 255
	case sqltype.SmallInt:
		return math.MinInt16, math.MaxInt16
	case sqltype.Int:
		return math.MinInt32, math.MaxInt32
	default:
		return math.MinInt64, math.MaxInt64
	}
}

// InRange says whether a whole number fits its type.
func InRange(n int64, t sqltype.Type) bool {
	lo, hi := intRange(t.Kind)
	return n >= lo && n <= hi
}

func toInteger(v any, from, to sqltype.Type) (any, error) {
	if to.Kind == sqltype.Bit {
		return toBit(v, from, to)
	}
	switch v := v.(type) {
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case int64:
		if !InRange(v, to) {
			if to.Kind == sqltype.Int {
				return nil, Overflow(to)
			}
			return nil, Errorf(220, "Arithmetic overflow error for data type %s, value = %d.", Name(to), v)
		}
		return v, nil
	case sqltype.Number:
		return numberToInteger(v, from, to)
	case float64:
		t := math.Trunc(v)
		lo, hi := intRange(to.Kind)
		if t < float64(lo) || t > float64(hi) || t >= 1<<63 {
			return nil, Errorf(232, "Arithmetic overflow error for type %s, value = %f.", Name(to), v)
		}
		return int64(t), nil
	case string:
		return stringToInteger(v, from, to)
	case []byte:
		var n uint64
		size := map[sqltype.Kind]int{sqltype.TinyInt: 1, sqltype.SmallInt: 2, sqltype.Int: 4, sqltype.BigInt: 8}[to.Kind]
		for _, b := range v[max(0, len(v)-size):] {
			n = n<<8 | uint64(b)
		}
		switch to.Kind {
		case sqltype.SmallInt:
			return int64(int16(n)), nil
		case sqltype.Int:
			return int64(int32(n)), nil
		default:
			return int64(n), nil
		}
	case time.Time:
		if from.Kind != sqltype.DateTime && from.Kind != sqltype.SmallDateTime {
			return nil, NotAllowed(from, to)
		}
		return toInteger(math.Floor(dayNumber(v)+0.5), Float, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

func numberToInteger(n sqltype.Number, from, to sqltype.Type) (any, error) {
	u := divTrunc(n.Unscaled, pow10[n.Scale])
	if IsMoney(from) {
		u = divRound(n.Unscaled, pow10[n.Scale])
	}
	if !u.IsInt64() || !InRange(u.Int64(), to) {
		return nil, overflowTo(Name(from), to)
	}
	return u.Int64(), nil
}

func toBit(v any, from, to sqltype.Type) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case sqltype.Number:
		return v.Unscaled.Sign() != 0, nil
	case float64:
		return v != 0, nil
	case string:
		s := strings.Trim(v, " ")
		switch {
		case strings.EqualFold(s, "true"):
			return true, nil
		case strings.EqualFold(s, "false"):
			return false, nil
		}
		u, ok := wholeNumber(s)
		if !ok {
			return nil, conversionFailed(from, v, to)
		}
		return u.Sign() != 0, nil
	case []byte:
		for _, b := range v {
			if b != 0 {
				return true, nil
			}
		}
		return false, nil
	default:
		return nil, NotAllowed(from, to)
	}
}

// wholeNumber reads digits with a sign; nothing is 0.
func wholeNumber(s string) (*big.Int, bool) {
	s = strings.Trim(s, " ")
	if s == "" {
		return new(big.Int), true
	}
	digits := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+"), " ")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return nil, false
	}
	u, ok := new(big.Int).SetString(digits, 10)
	if ok && s[0] == '-' {
		u.Neg(u)
	}
	return u, ok
}

func stringToInteger(s string, from, to sqltype.Type) (any, error) {
	u, ok := wholeNumber(s)
	switch {
	case !ok && to.Kind == sqltype.BigInt:
		return nil, cannotConvert(from, to)
	case !ok:
		return nil, conversionFailed(from, s, to)
	case u.IsInt64() && InRange(u.Int64(), to):
		return u.Int64(), nil
	}
	switch to.Kind {
	case sqltype.TinyInt:
		return nil, Errorf(244, "The conversion of the %s value '%s' overflowed an INT1 column. Use a larger integer column.", Name(from), s)
	case sqltype.SmallInt:
		return nil, Errorf(244, "The conversion of the %s value '%s' overflowed an INT2 column. Use a larger integer column.", Name(from), s)
	case sqltype.Int:
		return nil, Errorf(248, "The conversion of the %s value '%s' overflowed an int column.", Name(from), s)
	default:
		return nil, Overflow(to)
	}
}

func toDecimal(v any, from, to sqltype.Type) (any, error) {
	switch v := v.(type) {
	case bool, int64:
		n, err := exact(v)
		if err != nil {
			return nil, err
		}
		return orNil(fit(n, Name(from), to))
	case sqltype.Number:
		return orNil(fit(v, Name(from), to))
	case float64:
		n, ok := floatToNumber(v, to.Scale)
		if !ok {
			return nil, overflowTo(Name(from), to)
		}
		return orNil(fit(n, Name(from), to))
	case string:
		n, ok := ParseNumber(v)
		if !ok {
			return nil, cannotConvert(from, to)
		}
		return orNil(fit(n, Name(from), to))
	case time.Time:
		if from.Kind != sqltype.DateTime && from.Kind != sqltype.SmallDateTime {
			return nil, NotAllowed(from, to)
		}
		return toDecimal(dayNumber(v), Float, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

// orNil is a conversion's result, nil when it failed.
func orNil(n sqltype.Number, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return n, nil
}

// exact is a whole number or decimal as a Number.
func exact(v any) (sqltype.Number, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return sqltype.Number{Unscaled: big.NewInt(1)}, nil
		}
		return sqltype.Number{Unscaled: new(big.Int)}, nil
	case int64:
		return sqltype.Number{Unscaled: big.NewInt(v)}, nil
	case sqltype.Number:
		return v, nil
	default:
		return sqltype.Number{}, fmt.Errorf("not an exact number: %T", v)
	}
}

// floatToNumber rounds a float to a scale; its 17 first digits count.
func floatToNumber(f float64, scale uint8) (sqltype.Number, bool) {
	if math.IsNaN(f) || math.Abs(f) >= 1e38 {
		return sqltype.Number{}, false
	}
	// The shortest decimal that is this float is what a person means by it.
	n, ok := ParseNumber(fmt.Sprintf("%.*f", decimalsOf(f), f))
	if !ok {
		return n, false
	}
	return sqltype.Number{Unscaled: rescale(n.Unscaled, n.Scale, scale), Scale: scale}, true
}

// decimalsOf is how many decimals show a float to 17 significant digits.
func decimalsOf(f float64) int {
	if f == 0 {
		return 0
	}
	return min(60, max(0, 16-int(math.Floor(math.Log10(math.Abs(f))))))
}

// ParseNumber reads digits with a sign and a point, as T-SQL converts strings
// to decimal.
func ParseNumber(s string) (sqltype.Number, bool) {
	s = strings.Trim(s, " ")
	digits := strings.TrimLeft(s, " ")
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		digits = strings.TrimLeft(s[1:], " ")
	}
	whole, part, _ := strings.Cut(digits, ".")
	if whole+part == "" || strings.Trim(whole+part, "0123456789") != "" || len(part) > 60 || len(whole) > 400 {
		return sqltype.Number{}, false
	}
	u, ok := new(big.Int).SetString(whole+part, 10)
	if !ok {
		return sqltype.Number{}, false
	}
	if negative {
		u.Neg(u)
	}
	return sqltype.Number{Unscaled: u, Scale: uint8(len(part))}, true
}

func toMoney(v any, from, to sqltype.Type) (any, error) {
	switch v := v.(type) {
	case bool, int64, sqltype.Number:
		n, err := exact(v)
		if err != nil {
			return nil, err
		}
		return orNil(fitMoney(rescale(n.Unscaled, n.Scale, 4), Name(from), to))
	case float64:
		n, ok := floatToNumber(v, 4)
		if !ok {
			return nil, overflowTo(Name(from), to)
		}
		return orNil(fitMoney(n.Unscaled, Name(from), to))
	case string:
		s := strings.ReplaceAll(strings.Trim(v, " "), ",", "")
		s = strings.Replace(s, "$", "", 1)
		if s == "" {
			s = "0"
		}
		n, ok := ParseNumber(s)
		if !ok {
			return nil, Errorf(235, "Cannot convert a char value to money. The char value has incorrect syntax.")
		}
		return orNil(fitMoney(rescale(n.Unscaled, n.Scale, 4), Name(from), to))
	case []byte:
		n, err := toInteger(v, from, BigInt)
		if err != nil {
			return nil, err
		}
		i, _ := n.(int64)
		return orNil(fitMoney(big.NewInt(i), Name(from), to))
	case time.Time:
		return toDecimalMoney(v, from, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

func toDecimalMoney(v time.Time, from, to sqltype.Type) (any, error) {
	if from.Kind != sqltype.DateTime && from.Kind != sqltype.SmallDateTime {
		return nil, NotAllowed(from, to)
	}
	return toMoney(dayNumber(v), Float, to)
}
