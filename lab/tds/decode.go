package tds

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// The two lengths of a value in chunks that are none.
// Source: MS-TDS 2.2.5.2.3
const (
	partialNull    = math.MaxUint64
	partialUnknown = math.MaxUint64 - 1
)

// readValue reads a parameter's value.
func readValue(s *scanner, w wireType) (any, error) {
	raw, null := readRaw(s, w)
	if s.err != nil {
		return nil, s.err
	}
	if null {
		return nil, nil //nolint:nilnil // nil is NULL
	}
	switch w.Kind {
	case sqltype.Bit, sqltype.TinyInt, sqltype.SmallInt, sqltype.Int, sqltype.BigInt, sqltype.Real, sqltype.Float, sqltype.Money, sqltype.SmallMoney:
		if len(raw) != w.size {
			return nil, malformed("a value of %d bytes in a type of %d", len(raw), w.size)
		}
		return decodeNumber(w.Kind, raw), nil
	case sqltype.Decimal:
		return decodeDecimal(raw, w.Scale)
	case sqltype.Char, sqltype.VarChar:
		if w.collation.isUTF8() {
			return string(raw), nil
		}
		return decode1252(raw), nil
	case sqltype.NChar, sqltype.NVarChar:
		if len(raw)%2 != 0 {
			return nil, malformed("nvarchar of %d bytes", len(raw))
		}
		return decodeUTF16(raw), nil
	case sqltype.Binary, sqltype.VarBinary:
		return slices.Clone(raw), nil
	case sqltype.UniqueIdentifier:
		if len(raw) != 16 {
			return nil, malformed("uniqueidentifier of %d bytes", len(raw))
		}
		return swapGUID(sqltype.GUID(raw)), nil
	default:
		return decodeTime(w, raw)
	}
}

// readRaw reads a value's bytes, which are the message's own where they are
// in one piece.
func readRaw(s *scanner, w wireType) (raw []byte, null bool) {
	switch w.id {
	case typeNull:
		return nil, true
	case typeInt1, typeBit, typeInt2, typeInt4, typeInt8, typeFloat4, typeFloat8, typeMoney, typeMoney4, typeDateTime, typeDateTime4:
		return s.take(w.size), false
	case typeChar, typeVarChar, typeNChar, typeNVarChar, typeBinary, typeVarBinary:
		if w.size == partialLength {
			return readPartial(s)
		}
		length := int(s.u16())
		if length == nullLength {
			return nil, true
		}
		if length > w.size {
			s.fail(malformed("a value of %d bytes in a type of %d", length, w.size))
		}
		return s.take(length), false
	case typeText, typeNText, typeImage:
		length := s.u32()
		if length == math.MaxUint32 {
			return nil, true
		}
		return s.take(int(min(length, math.MaxInt32))), false
	}
	length := int(s.u8())
	if length > w.size {
		s.fail(malformed("a value of %d bytes in a type of %d", length, w.size))
	}
	return s.take(length), length == 0
}

// readPartial reads a value in chunks.
func readPartial(s *scanner) (raw []byte, null bool) {
	length := s.u64()
	if length == partialNull {
		return nil, true
	}
	if length != partialUnknown && length > uint64(s.left()) { //nolint:gosec // what is left is not negative
		s.fail(malformed("a value of %d bytes is cut off", length))
		return nil, false
	}
	for s.err == nil {
		chunk := s.u32()
		if chunk == 0 {
			break
		}
		raw = append(raw, s.take(int(min(chunk, math.MaxInt32)))...)
	}
	if s.err == nil && length != partialUnknown && uint64(len(raw)) != length {
		s.fail(malformed("a value of %d bytes has %d", length, len(raw)))
	}
	return raw, false
}

// decodeNumber reads a number of fixed size. tinyint alone has no sign.
func decodeNumber(kind sqltype.Kind, raw []byte) any {
	switch kind {
	case sqltype.Bit:
		return raw[0] != 0
	case sqltype.TinyInt:
		return int64(raw[0])
	case sqltype.SmallInt:
		return int64(int16(binary.LittleEndian.Uint16(raw))) //nolint:gosec // its bits, as they are
	case sqltype.Int:
		return int64(int32(binary.LittleEndian.Uint32(raw))) //nolint:gosec // its bits, as they are
	case sqltype.BigInt:
		return int64(binary.LittleEndian.Uint64(raw)) //nolint:gosec // its bits, as they are
	case sqltype.Real:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
	case sqltype.Float:
		return math.Float64frombits(binary.LittleEndian.Uint64(raw))
	case sqltype.SmallMoney:
		return sqltype.Number{Unscaled: big.NewInt(int64(int32(binary.LittleEndian.Uint32(raw)))), Scale: moneyScale} //nolint:gosec // its bits, as they are
	default: // money: the high half comes first
		value := uint64(binary.LittleEndian.Uint32(raw))<<32 | uint64(binary.LittleEndian.Uint32(raw[4:]))
		return sqltype.Number{Unscaled: big.NewInt(int64(value)), Scale: moneyScale} //nolint:gosec // its bits, as they are
	}
}

func decodeDecimal(raw []byte, scale uint8) (any, error) {
	if len(raw) < 2 || raw[0] > 1 {
		return nil, malformed("a decimal of %d bytes", len(raw))
	}
	magnitude := slices.Clone(raw[1:])
	slices.Reverse(magnitude)
	value := new(big.Int).SetBytes(magnitude)
	if value.Cmp(decimalLimit()) >= 0 {
		return nil, malformed("a decimal of more than %d digits", maxPrecision)
	}
	if raw[0] == 0 {
		value.Neg(value)
	}
	return sqltype.Number{Unscaled: value, Scale: scale}, nil
}

// decimalLimit is 10^38, which no decimal reaches.
func decimalLimit() *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(maxPrecision), nil) }

// swapGUID turns the wire's order of a uniqueidentifier, whose first three
// groups are little-endian, into that of its text, and back.
func swapGUID(g sqltype.GUID) sqltype.GUID {
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g
}

const (
	secondsPerDay = 24 * 60 * 60
	minutesPerDay = 24 * 60
	ticksPerDay   = 300 * secondsPerDay // of datetime
	lastDay       = 3652058             // 9999-12-31, from 0001-01-01
	maxOffset     = 14 * 60             // minutes, of datetimeoffset
)

func decodeTime(w wireType, raw []byte) (any, error) {
	if len(raw) != w.size {
		return nil, malformed("a date or time of %d bytes", len(raw))
	}
	switch w.Kind {
	case sqltype.Date:
		return decodeDate(raw)
	case sqltype.Time:
		return decodeClock(raw, w.Scale, sqltype.Zero())
	case sqltype.DateTime:
		return decodeDateTime(raw)
	case sqltype.SmallDateTime:
		days, minutes := binary.LittleEndian.Uint16(raw), binary.LittleEndian.Uint16(raw[2:])
		if minutes >= minutesPerDay {
			return nil, malformed("a smalldatetime with %d minutes", minutes)
		}
		return epoch1900().AddDate(0, 0, int(days)).Add(time.Duration(minutes) * time.Minute), nil
	case sqltype.DateTimeOffset:
		return decodeOffset(raw, w.Scale)
	default: // datetime2
		size := timeSize(w.Scale)
		day, err := decodeDate(raw[size:])
		if err != nil {
			return nil, err
		}
		return decodeClock(raw[:size], w.Scale, day)
	}
}

func epoch1900() time.Time { return time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }

func decodeDate(raw []byte) (time.Time, error) {
	days := int(raw[0]) | int(raw[1])<<8 | int(raw[2])<<16
	if days > lastDay {
		return time.Time{}, malformed("a date %d days after 0001-01-01", days)
	}
	return sqltype.Zero().AddDate(0, 0, days), nil
}

// decodeClock reads a time of day of a scale and adds it to a day.
func decodeClock(raw []byte, scale uint8, day time.Time) (time.Time, error) {
	var count uint64
	for i, c := range raw {
		count |= uint64(c) << (8 * i)
	}
	unit := nanosecondsPer(scale)
	if count >= uint64(secondsPerDay*int64(time.Second)/unit) {
		return time.Time{}, malformed("a time of day of more than 24 hours")
	}
	return day.Add(time.Duration(int64(count) * unit)), nil //nolint:gosec // less than a day
}

// nanosecondsPer is the length of a unit of a scale.
func nanosecondsPer(scale uint8) int64 {
	unit := int64(time.Second)
	for range scale {
		unit /= 10
	}
	return unit
}

// decodeDateTime reads a datetime: its 300ths of a second are shown as
// milliseconds that end in 0, 3 or 7.
func decodeDateTime(raw []byte) (any, error) {
	days := int32(binary.LittleEndian.Uint32(raw)) //nolint:gosec // its bits, as they are
	ticks := int64(binary.LittleEndian.Uint32(raw[4:]))
	const first, last = -53690, 2958463 // 1753-01-01 and 9999-12-31, from 1900-01-01
	if days < first || days > last || ticks >= ticksPerDay {
		return nil, malformed("a datetime out of its range")
	}
	milliseconds := (ticks*10 + 1) / 3
	return epoch1900().AddDate(0, 0, int(days)).Add(time.Duration(milliseconds) * time.Millisecond), nil
}

func decodeOffset(raw []byte, scale uint8) (any, error) {
	size := timeSize(scale)
	day, err := decodeDate(raw[size:])
	if err != nil {
		return nil, err
	}
	at, err := decodeClock(raw[:size], scale, day)
	if err != nil {
		return nil, err
	}
	minutes := int(int16(binary.LittleEndian.Uint16(raw[size+3:]))) //nolint:gosec // its bits, as they are
	if minutes < -maxOffset || minutes > maxOffset {
		return nil, malformed("an offset of %d minutes", minutes)
	}
	return at.In(zone(minutes)), nil
}

// zone is a time zone of an offset in minutes.
func zone(minutes int) *time.Location {
	if minutes == 0 {
		return time.UTC
	}
	return time.FixedZone("", minutes*60)
}
