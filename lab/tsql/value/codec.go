package value

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// smallDigits is the largest precision of a decimal that lies as an INTEGER.
const smallDigits = 18

var (
	epoch1    = sqltype.Zero()
	epoch1900 = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	bias      = new(big.Int).Lsh(big.NewInt(1), 127)
)

const (
	ticksPerSecond = 10_000_000
	secondsPerDay  = 86400
	ticksPerDay    = ticksPerSecond * secondsPerDay
)

// days1900 is the number of days from 0001-01-01 to 1900-01-01.
const days1900 = 693595

// Wide says whether a type's values lie as 16-byte BLOBs although numbers.
func Wide(t sqltype.Type) bool { return t.Kind == sqltype.Decimal && t.Precision > smallDigits }

// SameCoding says whether values of the two types lie alike, so that a value
// of one may be compared with one of the other, or taken for it when it fits.
func SameCoding(a, b sqltype.Type) bool {
	switch {
	case IsInteger(a) && IsInteger(b), IsMoney(a) && IsMoney(b), IsFloat(a) && IsFloat(b), IsBinary(a) && IsBinary(b):
		return true
	case IsString(a) && IsString(b):
		return true
	case a.Kind == sqltype.Decimal && b.Kind == sqltype.Decimal:
		return a.Scale == b.Scale && Wide(a) == Wide(b)
	case IsInteger(a) && b.Kind == sqltype.Decimal:
		return b.Scale == 0 && !Wide(b)
	case a.Kind == sqltype.Decimal && IsInteger(b):
		return a.Scale == 0 && !Wide(a)
	default:
		return a.Kind == b.Kind
	}
}

// guidOrder is where the byte i of a stored uniqueidentifier stands in its
// text: SQL Server compares the last group first.
var guidOrder = [16]int{10, 11, 12, 13, 14, 15, 8, 9, 7, 6, 5, 4, 3, 2, 1, 0}

// Encode turns a value of a type into what SQLite keeps: nil, int64, float64,
// string or []byte. The value must be of the type's Go type.
func Encode(t sqltype.Type, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case int64, float64:
		return v, nil
	case string:
		return v, nil
	case []byte:
		return v, nil
	case sqltype.Number:
		return encodeNumber(t, v)
	case time.Time:
		return encodeTime(t, v)
	case sqltype.GUID:
		out := make([]byte, 16)
		for i, from := range guidOrder {
			out[i] = v[from]
		}
		return out, nil
	default:
		return nil, fmt.Errorf("encoding a %s: unexpected %T", Name(t), v)
	}
}

func encodeNumber(t sqltype.Type, n sqltype.Number) (any, error) {
	scale := t.Scale
	if IsMoney(t) {
		scale = 4
	}
	u := rescale(n.Unscaled, n.Scale, scale)
	if !Wide(t) {
		if !u.IsInt64() {
			return nil, overflowTo(Name(t), t)
		}
		return u.Int64(), nil
	}
	out := make([]byte, 16)
	sum := new(big.Int).Add(u, bias)
	if sum.Sign() < 0 || sum.BitLen() > 128 {
		return nil, overflowTo(Name(t), t)
	}
	sum.FillBytes(out)
	return out, nil
}

func encodeTime(t sqltype.Type, v time.Time) (any, error) {
	switch t.Kind {
	case sqltype.Date:
		return daysSince(v), nil
	case sqltype.Time:
		return ticksOfDay(v), nil
	case sqltype.DateTime2:
		return daysSince(v)*ticksPerDay + ticksOfDay(v), nil
	case sqltype.DateTime:
		return (daysSince(v)-days1900)*secondsPerDay*300 + roundDiv(ticksOfDay(v)*3, 100_000), nil
	case sqltype.SmallDateTime:
		return (daysSince(v)-days1900)*1440 + roundDiv(ticksOfDay(v), 60*ticksPerSecond), nil
	case sqltype.DateTimeOffset:
		utc := v.UTC()
		_, offset := v.Zone()
		var b [10]byte
		binary.BigEndian.PutUint64(b[:8], uint64(daysSince(utc)*ticksPerDay+ticksOfDay(utc)+ticksPerDay))
		binary.BigEndian.PutUint16(b[8:], uint16(int16(offset/60)))
		return hex.EncodeToString(b[:]), nil
	default:
		return nil, fmt.Errorf("encoding a %s: unexpected time", Name(t))
	}
}

func daysSince(v time.Time) int64 {
	return (time.Date(v.Year(), v.Month(), v.Day(), 0, 0, 0, 0, time.UTC).Unix() - epoch1.Unix()) / secondsPerDay
}

func ticksOfDay(v time.Time) int64 {
	h, m, s := v.Clock()
	return int64(h*3600+m*60+s)*ticksPerSecond + int64(v.Nanosecond())/100
}

func roundDiv(n, d int64) int64 { return (n + d/2) / d }

var errStored = errors.New("a stored value is not of its column's type")

// Decode turns what SQLite keeps of a value back into its Go value.
func Decode(t sqltype.Type, raw any) (any, error) {
	switch raw := raw.(type) {
	case nil:
		return nil, nil
	case int64:
		return decodeInt(t, raw)
	case float64:
		if IsFloat(t) {
			return raw, nil
		}
	case string:
		if IsString(t) {
			return raw, nil
		}
		if t.Kind == sqltype.DateTimeOffset {
			return decodeOffset(raw)
		}
	case []byte:
		return decodeBlob(t, raw)
	}
	return nil, fmt.Errorf("%w: a %s as %T", errStored, Name(t), raw)
}

func decodeInt(t sqltype.Type, n int64) (any, error) {
	switch t.Kind {
	case sqltype.Bit:
		return n != 0, nil
	case sqltype.TinyInt, sqltype.SmallInt, sqltype.Int, sqltype.BigInt:
		return n, nil
	case sqltype.Decimal:
		return sqltype.Number{Unscaled: big.NewInt(n), Scale: t.Scale}, nil
	case sqltype.Money, sqltype.SmallMoney:
		return sqltype.Number{Unscaled: big.NewInt(n), Scale: 4}, nil
	case sqltype.Real, sqltype.Float:
		return float64(n), nil
	case sqltype.Date:
		return fromDays(n), nil
	case sqltype.Time:
		return fromTicks(n), nil
	case sqltype.DateTime2:
		return fromTicks(n), nil
	case sqltype.DateTime:
		days, part := floorDiv(n, secondsPerDay*300)
		return fromDays(days + days1900).Add(time.Duration(roundDiv(part*100_000, 3)) * 100), nil
	case sqltype.SmallDateTime:
		return epoch1900.Add(time.Duration(n) * time.Minute), nil
	default:
		return nil, fmt.Errorf("%w: a %s as a whole number", errStored, Name(t))
	}
}

func floorDiv(n, d int64) (q, r int64) {
	q, r = n/d, n%d
	if r < 0 {
		q, r = q-1, r+d
	}
	return q, r
}

func fromDays(n int64) time.Time { return time.Unix(epoch1.Unix()+n*secondsPerDay, 0).UTC() }

func fromTicks(n int64) time.Time {
	s, part := floorDiv(n, ticksPerSecond)
	return time.Unix(epoch1.Unix()+s, part*100).UTC()
}

func decodeOffset(text string) (any, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 10 {
		return nil, fmt.Errorf("%w: a datetimeoffset", errStored)
	}
	utc := fromTicks(int64(binary.BigEndian.Uint64(b)) - ticksPerDay)
	return utc.In(zone(int(int16(binary.BigEndian.Uint16(b[8:]))))), nil
}

// zone is a fixed zone, so many minutes east of UTC.
func zone(minutes int) *time.Location {
	if minutes == 0 {
		return time.UTC
	}
	return time.FixedZone("", minutes*60)
}

func decodeBlob(t sqltype.Type, b []byte) (any, error) {
	switch {
	case IsBinary(t):
		return b, nil
	case t.Kind == sqltype.UniqueIdentifier && len(b) == 16:
		var g sqltype.GUID
		for i, to := range guidOrder {
			g[to] = b[i]
		}
		return g, nil
	case t.Kind == sqltype.Decimal && len(b) == 16:
		u := new(big.Int).SetBytes(b)
		return sqltype.Number{Unscaled: u.Sub(u, bias), Scale: t.Scale}, nil
	default:
		return nil, fmt.Errorf("%w: a %s as %d bytes", errStored, Name(t), len(b))
	}
}

// Bind binds a value to a statement's parameter i, from 1.
func Bind(s *sqlite3.Stmt, i int, t sqltype.Type, v any) error {
	raw, err := Encode(t, v)
	if err != nil {
		return err
	}
	switch raw := raw.(type) {
	case int64:
		return s.BindInt64(i, raw)
	case float64:
		return s.BindFloat(i, raw)
	case string:
		return s.BindText(i, raw)
	case []byte:
		if raw == nil {
			raw = []byte{}
		}
		return s.BindBlob(i, raw)
	default:
		return s.BindNull(i)
	}
}

// Column is the value in a statement's column i, from 0.
func Column(s *sqlite3.Stmt, i int, t sqltype.Type) (any, error) {
	switch s.ColumnType(i) {
	case sqlite3.INTEGER:
		return decodeInt(t, s.ColumnInt64(i))
	case sqlite3.FLOAT:
		return Decode(t, s.ColumnFloat(i))
	case sqlite3.TEXT:
		return Decode(t, s.ColumnText(i))
	case sqlite3.BLOB:
		return Decode(t, s.ColumnBlob(i, []byte{}))
	default:
		return nil, nil
	}
}

// Arg is the value of a function's argument.
func Arg(v sqlite3.Value, t sqltype.Type) (any, error) {
	switch v.Type() {
	case sqlite3.INTEGER:
		return decodeInt(t, v.Int64())
	case sqlite3.FLOAT:
		return Decode(t, v.Float())
	case sqlite3.TEXT:
		return Decode(t, v.Text())
	case sqlite3.BLOB:
		return Decode(t, v.Blob([]byte{}))
	default:
		return nil, nil
	}
}

// Result is a function's answer.
func Result(ctx sqlite3.Context, t sqltype.Type, v any) {
	raw, err := Encode(t, v)
	if err != nil {
		Raise(ctx, err)
		return
	}
	switch raw := raw.(type) {
	case int64:
		ctx.ResultInt64(raw)
	case float64:
		ctx.ResultFloat(raw)
	case string:
		ctx.ResultText(raw)
	case []byte:
		if len(raw) == 0 {
			ctx.ResultZeroBlob(0)
			return
		}
		ctx.ResultBlob(raw)
	default:
		ctx.ResultNull()
	}
}
