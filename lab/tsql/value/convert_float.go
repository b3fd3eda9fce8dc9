package value

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// AsFloat is an exact number as a float.
func AsFloat(n sqltype.Number) float64 {
	f, _ := new(big.Rat).SetFrac(n.Unscaled, pow10[n.Scale]).Float64()
	return f
}

func toFloat(v any, from, to sqltype.Type) (any, error) {
	switch v := v.(type) {
	case bool, int64, sqltype.Number:
		n, err := exact(v)
		if err != nil {
			return nil, err
		}
		return FitFloat(AsFloat(n), to)
	case float64:
		return FitFloat(v, to)
	case string:
		s := strings.Trim(v, " ")
		if s == "" {
			return 0.0, nil
		}
		if strings.Trim(s, "+-.0123456789eEdD") != "" {
			return nil, cannotConvert(from, to)
		}
		f, err := strconv.ParseFloat(strings.Map(exponent, s), 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, cannotConvert(from, to)
		}
		return FitFloat(f, to)
	case time.Time:
		if from.Kind != sqltype.DateTime && from.Kind != sqltype.SmallDateTime {
			return nil, NotAllowed(from, to)
		}
		return FitFloat(dayNumber(v), to)
	default:
		return nil, NotAllowed(from, to)
	}
}

func exponent(r rune) rune {
	if r == 'd' || r == 'D' {
		return 'e'
	}
	return r
}

// FitFloat is a float in its type, or an error: SQL Server has no infinities.
func FitFloat(f float64, to sqltype.Type) (any, error) {
	if math.IsNaN(f) {
		return nil, Errorf(3623, "An invalid floating point operation occurred.")
	}
	if to.Kind == sqltype.Real {
		small := float32(f)
		if math.IsInf(float64(small), 0) {
			return nil, Errorf(232, "Arithmetic overflow error for type real, value = %f.", f)
		}
		return float64(small), nil
	}
	if math.IsInf(f, 0) {
		return nil, overflowTo("expression", to)
	}
	return f, nil
}

// dayNumber is a datetime as days since 1900-01-01.
func dayNumber(v time.Time) float64 {
	return float64(daysSince(v)-days1900) + float64(ticksOfDay(v))/ticksPerDay
}

func toBinary(v any, from, to sqltype.Type, style int) (any, error) {
	if s, ok := v.(string); ok && (style == 1 || style == 2) {
		b, err := hexBytes(s, style)
		if err != nil {
			return nil, err
		}
		out, _ := fitBytes(b, to)
		return out, nil
	}
	switch v := v.(type) {
	case []byte:
		out, _ := fitBytes(v, to)
		return out, nil
	case string:
		b := EncodeCodePage(v)
		if IsUnicode(from) {
			b = EncodeUTF16(v)
		}
		out, _ := fitBytes(b, to)
		return out, nil
	case sqltype.GUID:
		out, _ := fitBytes(mixedEndian(v), to)
		return out, nil
	case bool, int64, float64:
		return fitRight(numberBytes(v, from), to), nil
	case sqltype.Number:
		if IsMoney(from) {
			b := binary.BigEndian.AppendUint64(nil, v.Unscaled.Uint64())
			if v.Unscaled.Sign() < 0 {
				b = binary.BigEndian.AppendUint64(nil, uint64(v.Unscaled.Int64()))
			}
			if from.Kind == sqltype.SmallMoney {
				b = b[4:]
			}
			return fitRight(b, to), nil
		}
		return nil, NotAllowed(from, to)
	case time.Time:
		return timeBytes(v, from, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

// numberBytes are a number's bytes, the highest first.
func numberBytes(v any, from sqltype.Type) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	case int64:
		b := binary.BigEndian.AppendUint64(nil, uint64(v))
		size := map[sqltype.Kind]int{sqltype.TinyInt: 1, sqltype.SmallInt: 2, sqltype.Int: 4, sqltype.BigInt: 8}[from.Kind]
		return b[8-size:]
	case float64:
		if from.Kind == sqltype.Real {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(v)))
		}
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(v))
	default:
		return nil
	}
}

// fitRight cuts or pads a number's bytes on the left.
func fitRight(b []byte, to sqltype.Type) []byte {
	if to.Length == sqltype.Max {
		return b
	}
	if len(b) > to.Length {
		return b[len(b)-to.Length:]
	}
	if to.Kind == sqltype.Binary && len(b) < to.Length {
		return append(make([]byte, to.Length-len(b)), b...)
	}
	return b
}

func timeBytes(v time.Time, from, to sqltype.Type) (any, error) {
	raw, err := encodeTime(from, v)
	if err != nil {
		return nil, err
	}
	n, _ := raw.(int64)
	switch from.Kind {
	case sqltype.DateTime:
		days, part := floorDiv(n, secondsPerDay*300)
		b := binary.BigEndian.AppendUint32(nil, uint32(int32(days)))
		return fitRight(binary.BigEndian.AppendUint32(b, uint32(part)), to), nil
	case sqltype.SmallDateTime:
		days, part := floorDiv(n, 1440)
		b := binary.BigEndian.AppendUint16(nil, uint16(days))
		return fitRight(binary.BigEndian.AppendUint16(b, uint16(part)), to), nil
	default:
		return nil, NotAllowed(from, to)
	}
}

// hexBytes reads binary text of style 1 (with 0x) or 2 (without).
func hexBytes(s string, style int) ([]byte, error) {
	if style == 1 {
		rest, ok := strings.CutPrefix(s, "0x")
		if !ok {
			return nil, cannotConvert(VarChar(0), sqltype.Type{Kind: sqltype.VarBinary})
		}
		s = rest
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, cannotConvert(VarChar(0), sqltype.Type{Kind: sqltype.VarBinary})
	}
	return b, nil
}

// mixedEndian are a uniqueidentifier's bytes as SQL Server stores them.
func mixedEndian(g sqltype.GUID) []byte {
	return []byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

func toGUID(v any, from, to sqltype.Type) (any, error) {
	switch v := v.(type) {
	case sqltype.GUID:
		return v, nil
	case []byte:
		b, _ := fitBytes(v, sqltype.Type{Kind: sqltype.Binary, Length: 16})
		return sqltype.GUID(mixedEndian(sqltype.GUID(b))), nil
	case string:
		g, ok := ParseGUID(v)
		if !ok {
			return nil, Errorf(8169, "Conversion failed when converting from a character string to uniqueidentifier.")
		}
		return g, nil
	default:
		return nil, NotAllowed(from, to)
	}
}

// ParseGUID reads a uniqueidentifier, perhaps in braces; what follows it is
// passed over, as SQL Server does.
func ParseGUID(s string) (sqltype.GUID, bool) {
	var g sqltype.GUID
	if rest, ok := strings.CutPrefix(s, "{"); ok {
		if len(rest) < 37 || rest[36] != '}' {
			return g, false
		}
		s = rest
	}
	if len(s) < 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, false
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36])
	if err != nil {
		return g, false
	}
	copy(g[:], b)
	return g, true
}

// FormatGUID is a uniqueidentifier's text.
func FormatGUID(g sqltype.GUID) string {
	h := strings.ToUpper(hex.EncodeToString(g[:]))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
