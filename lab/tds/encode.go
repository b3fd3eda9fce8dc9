package tds

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// valueError says that a session gave a value that its column cannot hold.
func valueError(t sqltype.Type, v any) error {
	return fmt.Errorf("a value of Go type %T does not fit a column of kind %d, length %d", v, t.Kind, t.Length)
}

// appendValue appends a value in the form of its type. On an error, b may
// have grown.
func appendValue(b []byte, t sqltype.Type, v any) ([]byte, error) {
	if v == nil {
		return appendNull(b, t), nil
	}
	switch value := v.(type) {
	case int64:
		return appendInteger(b, t, value)
	case string:
		return appendString(b, t, value)
	case bool:
		if t.Kind == sqltype.Bit {
			return append(b, 1, boolByte(value)), nil
		}
	case float64:
		switch t.Kind {
		case sqltype.Real:
			return binary.LittleEndian.AppendUint32(append(b, 4), math.Float32bits(float32(value))), nil
		case sqltype.Float:
			return binary.LittleEndian.AppendUint64(append(b, 8), math.Float64bits(value)), nil
		default:
		}
	case sqltype.Number:
		return appendNumber(b, t, value)
	case []byte:
		if t.Kind == sqltype.Binary || t.Kind == sqltype.VarBinary {
			return appendBytes(b, t, value)
		}
	case time.Time:
		return appendTime(b, t, value)
	case sqltype.GUID:
		if t.Kind == sqltype.UniqueIdentifier {
			wire := swapGUID(value)
			return append(append(b, 16), wire[:]...), nil
		}
	}
	return b, valueError(t, v)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendNull(b []byte, t sqltype.Type) []byte {
	switch t.Kind {
	case sqltype.Char, sqltype.VarChar, sqltype.NChar, sqltype.NVarChar, sqltype.Binary, sqltype.VarBinary:
		if isPartial(t) {
			return binary.LittleEndian.AppendUint64(b, partialNull)
		}
		return binary.LittleEndian.AppendUint16(b, nullLength)
	default:
		return append(b, 0)
	}
}

func appendInteger(b []byte, t sqltype.Type, v int64) ([]byte, error) {
	//nolint:gosec // each is within the range that is asked for
	switch {
	case t.Kind == sqltype.TinyInt && v >= 0 && v <= math.MaxUint8:
		return append(b, 1, byte(v)), nil
	case t.Kind == sqltype.SmallInt && v >= math.MinInt16 && v <= math.MaxInt16:
		return binary.LittleEndian.AppendUint16(append(b, 2), uint16(v)), nil
	case t.Kind == sqltype.Int && v >= math.MinInt32 && v <= math.MaxInt32:
		return binary.LittleEndian.AppendUint32(append(b, 4), uint32(v)), nil
	case t.Kind == sqltype.BigInt:
		return binary.LittleEndian.AppendUint64(append(b, 8), uint64(v)), nil
	}
	return b, valueError(t, v)
}

// appendNumber appends a decimal or an amount of money, brought to the
// type's scale.
func appendNumber(b []byte, t sqltype.Type, v sqltype.Number) ([]byte, error) {
	scale := t.Scale
	if t.Kind == sqltype.Money || t.Kind == sqltype.SmallMoney {
		scale = moneyScale
	}
	unscaled, err := rescale(v, scale)
	if err != nil {
		return b, err
	}
	switch t.Kind {
	case sqltype.Decimal:
		size := decimalSize(decimalPrecision(t))
		if unscaled.BitLen() > 8*(size-1) {
			return b, valueError(t, v)
		}
		sign := byte(1)
		if unscaled.Sign() < 0 {
			sign = 0
		}
		b = append(b, byte(size), sign)
		var magnitude [16]byte
		new(big.Int).Abs(unscaled).FillBytes(magnitude[:])
		for i := range size - 1 {
			b = append(b, magnitude[len(magnitude)-1-i])
		}
		return b, nil
	case sqltype.Money:
		if !unscaled.IsInt64() {
			return b, valueError(t, v)
		}
		bits := uint64(unscaled.Int64()) //nolint:gosec // its bits, as they are
		b = binary.LittleEndian.AppendUint32(append(b, 8), uint32(bits>>32))
		return binary.LittleEndian.AppendUint32(b, uint32(bits)), nil //nolint:gosec // the low half
	case sqltype.SmallMoney:
		if !unscaled.IsInt64() || unscaled.Int64() < math.MinInt32 || unscaled.Int64() > math.MaxInt32 {
			return b, valueError(t, v)
		}
		return binary.LittleEndian.AppendUint32(append(b, 4), uint32(unscaled.Int64())), nil //nolint:gosec // within the range
	default:
		return b, valueError(t, v)
	}
}

// rescale gives a number's digits at a scale. Digits are never lost.
func rescale(v sqltype.Number, scale uint8) (*big.Int, error) {
	if v.Unscaled == nil {
		return nil, fmt.Errorf("a number without digits")
	}
	if v.Scale == scale {
		return v.Unscaled, nil
	}
	ten := big.NewInt(10)
	if v.Scale < scale {
		return new(big.Int).Mul(v.Unscaled, ten.Exp(ten, big.NewInt(int64(scale-v.Scale)), nil)), nil
	}
	quotient, rest := new(big.Int).QuoRem(v.Unscaled, ten.Exp(ten, big.NewInt(int64(v.Scale-scale)), nil), new(big.Int))
	if rest.Sign() != 0 {
		return nil, fmt.Errorf("a number of scale %d does not fit scale %d", v.Scale, scale)
	}
	return quotient, nil
}

func appendString(b []byte, t sqltype.Type, v string) ([]byte, error) {
	var encode func([]byte, string) []byte
	limit := t.Length
	switch t.Kind {
	case sqltype.NChar, sqltype.NVarChar:
		encode, limit = appendUTF16, 2*t.Length
	case sqltype.Char, sqltype.VarChar:
		encode = append1252
	default:
		return b, valueError(t, v)
	}
	if isPartial(t) {
		return appendPartial(b, encode(nil, v)), nil
	}
	b = append(b, 0, 0)
	start := len(b)
	b = encode(b, v)
	if len(b)-start > max(limit, 1) {
		return b, valueError(t, v)
	}
	return setLength16(b, start), nil
}

func appendBytes(b []byte, t sqltype.Type, v []byte) ([]byte, error) {
	if isPartial(t) {
		return appendPartial(b, v), nil
	}
	if len(v) > max(t.Length, 1) {
		return b, valueError(t, v)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(v))) //nolint:gosec // at most 8000
	return append(b, v...), nil
}

// maxChunk is the longest chunk of a long value.
const maxChunk = 1 << 20

// appendPartial appends a long value in chunks; an empty one has none.
func appendPartial(b, v []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(v)))
	for len(v) > 0 {
		n := min(len(v), maxChunk)
		b = binary.LittleEndian.AppendUint32(b, uint32(n)) //nolint:gosec // at most maxChunk
		b, v = append(b, v[:n]...), v[n:]
	}
	return binary.LittleEndian.AppendUint32(b, 0)
}

func appendTime(b []byte, t sqltype.Type, v time.Time) ([]byte, error) {
	utc := v.UTC()
	day := daysBetween(sqltype.Zero(), utc)
	if day < 0 || day > lastDay {
		return b, valueError(t, v)
	}
	scale := timeScale(t)
	switch t.Kind {
	case sqltype.Date:
		return appendDay(append(b, 3), day), nil
	case sqltype.Time:
		return appendClock(append(b, byte(timeSize(scale))), utc, scale), nil
	case sqltype.DateTime2:
		return appendDay(appendClock(append(b, byte(timeSize(scale)+3)), utc, scale), day), nil
	case sqltype.DateTimeOffset:
		_, offset := v.Zone()
		b = appendDay(appendClock(append(b, byte(timeSize(scale)+5)), utc, scale), day)
		return binary.LittleEndian.AppendUint16(b, uint16(int16(offset/60))), nil //nolint:gosec // at most 14 hours
	case sqltype.DateTime:
		return appendDateTime(b, utc), nil
	case sqltype.SmallDateTime:
		days := daysBetween(epoch1900(), utc)
		if days < 0 || days > math.MaxUint16 {
			return b, valueError(t, v)
		}
		b = binary.LittleEndian.AppendUint16(append(b, 4), uint16(days))
		return binary.LittleEndian.AppendUint16(b, uint16(utc.Hour()*60+utc.Minute())), nil //nolint:gosec // under 1440
	default:
		return b, valueError(t, v)
	}
}

// daysBetween counts the days from one midnight to the day of a time, both in
// UTC.
func daysBetween(from, to time.Time) int64 {
	seconds := to.Unix() - from.Unix()
	days := seconds / secondsPerDay
	if seconds%secondsPerDay < 0 {
		days--
	}
	return days
}

func appendDay(b []byte, day int64) []byte { return append(b, byte(day), byte(day>>8), byte(day>>16)) }

// sinceMidnight is a time's time of day, in nanoseconds.
func sinceMidnight(utc time.Time) int64 {
	return int64(utc.Hour()*3600+utc.Minute()*60+utc.Second())*int64(time.Second) + int64(utc.Nanosecond())
}

func appendClock(b []byte, utc time.Time, scale uint8) []byte {
	count := sinceMidnight(utc) / nanosecondsPer(scale)
	for range timeSize(scale) {
		b, count = append(b, byte(count)), count>>8
	}
	return b
}

// appendDateTime appends a datetime, in 300ths of a second.
func appendDateTime(b []byte, utc time.Time) []byte {
	const half = int64(time.Second) / 2
	days, ticks := daysBetween(epoch1900(), utc), (sinceMidnight(utc)*300+half)/int64(time.Second)
	if ticks >= ticksPerDay {
		days, ticks = days+1, 0
	}
	b = binary.LittleEndian.AppendUint32(append(b, 8), uint32(int32(days))) //nolint:gosec // days of our calendar
	return binary.LittleEndian.AppendUint32(b, uint32(ticks))               //nolint:gosec // under a day's
}
