package value

import (
	"math"
	"math/big"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Bounds of the time types.
// Source: https://learn.microsoft.com/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql
var (
	dateTimeMin      = time.Date(1753, 1, 1, 0, 0, 0, 0, time.UTC)
	smallDateTimeMin = epoch1900
	smallDateTimeEnd = time.Date(2079, 6, 7, 0, 0, 0, 0, time.UTC)
	timeEnd          = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

func toTime(v any, from, to sqltype.Type, style int) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return timeToTime(v, from, to)
	case string:
		t, err := parseTime(v, to, style)
		if err != nil {
			return nil, err
		}
		out, ok := FitTime(t, to)
		if !ok {
			return nil, outOfRange(from, to)
		}
		return out, nil
	case bool, int64, sqltype.Number, float64:
		return numberToTime(v, from, to)
	case []byte:
		return bytesToTime(v, from, to)
	default:
		return nil, NotAllowed(from, to)
	}
}

func timeToTime(v time.Time, from, to sqltype.Type) (any, error) {
	switch {
	case from.Kind == sqltype.Date && to.Kind == sqltype.Time, from.Kind == sqltype.Time && to.Kind == sqltype.Date:
		return nil, NotAllowed(from, to)
	case from.Kind == sqltype.Time && to.Kind != sqltype.Time:
		v = epoch1900.Add(v.Sub(epoch1))
	}
	if to.Kind != sqltype.DateTimeOffset {
		// The wall clock of its own zone stays.
		v = wallClock(v)
	}
	out, ok := FitTime(v, to)
	if !ok {
		return nil, outOfRange(from, to)
	}
	return out, nil
}

// wallClock is what a time's clock shows, as a time of UTC.
func wallClock(v time.Time) time.Time {
	return time.Date(v.Year(), v.Month(), v.Day(), v.Hour(), v.Minute(), v.Second(), v.Nanosecond(), time.UTC)
}

// FitTime rounds a time to what its type keeps; false when out of its range.
func FitTime(v time.Time, to sqltype.Type) (time.Time, bool) {
	switch to.Kind {
	case sqltype.Date:
		out := time.Date(v.Year(), v.Month(), v.Day(), 0, 0, 0, 0, time.UTC)
		return out, v.Year() >= 1 && v.Year() <= 9999
	case sqltype.Time:
		ticks := roundTicks(ticksOfDay(v), to.Scale) % ticksPerDay
		return fromTicks(ticks), true
	case sqltype.DateTime:
		if v.Before(dateTimeMin) || !v.Before(timeEnd) {
			return v, false
		}
		n := (daysSince(v)-days1900)*secondsPerDay*300 + roundDiv(ticksOfDay(v)*3, 100_000)
		out, _ := decodeInt(to, n)
		t, ok := out.(time.Time)
		return t, ok && t.Before(timeEnd)
	case sqltype.SmallDateTime:
		if v.Before(smallDateTimeMin) || !v.Before(smallDateTimeEnd) {
			return v, false
		}
		t := epoch1900.Add(time.Duration((daysSince(v)-days1900)*1440+roundDiv(ticksOfDay(v), 60*ticksPerSecond)) * time.Minute)
		return t, t.Before(smallDateTimeEnd)
	default:
		day := time.Date(v.Year(), v.Month(), v.Day(), 0, 0, 0, 0, v.Location())
		ticks := roundTicks(ticksOfDay(v), to.Scale)
		if ticks == ticksPerDay && !day.AddDate(0, 0, 1).Before(timeEnd) {
			// The last moment of all time stays where it is.
			ticks = ticksPerDay - scaleTicks(to.Scale)
		}
		out := day.Add(time.Duration(ticks) * 100)
		utc := out.UTC()
		return out, utc.Year() >= 1 && utc.Before(timeEnd) && v.Year() >= 1 && v.Year() <= 9999
	}
}

// scaleTicks is the smallest step of a scale, in 100 ns.
func scaleTicks(scale uint8) int64 {
	n := int64(1)
	for i := scale; i < 7; i++ {
		n *= 10
	}
	return n
}

func roundTicks(ticks int64, scale uint8) int64 {
	step := scaleTicks(scale)
	return roundDiv(ticks, step) * step
}

func numberToTime(v any, from, to sqltype.Type) (any, error) {
	if to.Kind != sqltype.DateTime && to.Kind != sqltype.SmallDateTime {
		return nil, NotAllowed(from, to)
	}
	var n int64 // 1/300 s since 1900
	if f, ok := v.(float64); ok {
		if math.Abs(f) > 1e7 {
			return nil, overflowTo("expression", to)
		}
		n = int64(math.Round(f * secondsPerDay * 300))
	} else {
		e, err := exact(v)
		if err != nil {
			return nil, err
		}
		u := divRound(new(big.Int).Mul(e.Unscaled, big.NewInt(secondsPerDay*300)), pow10[e.Scale])
		if !u.IsInt64() || u.CmpAbs(pow10[16]) > 0 {
			return nil, overflowTo("expression", to)
		}
		n = u.Int64()
	}
	raw, err := decodeInt(DateTime, n)
	if err != nil {
		return nil, err
	}
	t, _ := raw.(time.Time)
	out, ok := FitTime(t, to)
	if !ok {
		return nil, overflowTo("expression", to)
	}
	return out, nil
}

func bytesToTime(b []byte, from, to sqltype.Type) (any, error) {
	if to.Kind != sqltype.DateTime {
		return nil, NotAllowed(from, to)
	}
	full := fitRight(b, sqltype.Type{Kind: sqltype.Binary, Length: 8})
	var days, part int64
	for _, c := range full[:4] {
		days = days<<8 | int64(c)
	}
	for _, c := range full[4:] {
		part = part<<8 | int64(c)
	}
	if part >= secondsPerDay*300 {
		return nil, overflowTo(Name(from), to)
	}
	raw, err := decodeInt(to, int64(int32(days))*secondsPerDay*300+part)
	if err != nil {
		return nil, err
	}
	t, _ := raw.(time.Time)
	out, ok := FitTime(t, to)
	if !ok {
		return nil, overflowTo(Name(from), to)
	}
	return out, nil
}
