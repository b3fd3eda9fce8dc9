package builtin

import (
	"math"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// dates are the date and time functions.
// Source: https://learn.microsoft.com/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql
var dates = map[string]function{
	"DATEADD": {call: func(a *arguments) (any, error) {
		p, t := a.part(), a.time(1)
		out, err := value.DateAdd(p, a.int(0), t, a.ret)
		if err != nil {
			return nil, err
		}
		return out, nil
	}},
	"DATEDIFF": {call: func(a *arguments) (any, error) {
		n := value.DateDiff(a.part(), a.time(0), a.time(1))
		if a.ret.Kind == sqltype.Int && (n > math.MaxInt32 || n < math.MinInt32) {
			return nil, value.Errorf(535, "The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff with a less precise datepart.")
		}
		return n, nil
	}},
	"DATEPART": {call: func(a *arguments) (any, error) { return value.DatePart(a.part(), a.time(0)), nil }},
	"DATENAME": {call: func(a *arguments) (any, error) { return value.DateName(a.part(), a.time(0)), nil }},
	"DATETRUNC": {call: func(a *arguments) (any, error) {
		t, _ := value.TruncateDate(a.part(), a.time(0))
		return t, nil
	}},
	"EOMONTH": {call: func(a *arguments) (any, error) {
		t := a.time(0)
		n := int64(1)
		if len(a.vals) > 1 {
			n += a.int(1)
		}
		if n > 1<<20 || n < -1<<20 {
			return nil, value.Errorf(517, "Adding a value to a 'date' column caused an overflow.")
		}
		end := time.Date(t.Year(), t.Month()+time.Month(n), 0, 0, 0, 0, 0, time.UTC)
		if end.Year() < 1 || end.Year() > 9999 {
			return nil, value.Errorf(517, "Adding a value to a 'date' column caused an overflow.")
		}
		return end, nil
	}},
	"DATEFROMPARTS":           {call: func(a *arguments) (any, error) { return fromParts(a, "date", 3, 0, 0) }},
	"DATETIMEFROMPARTS":       {call: func(a *arguments) (any, error) { return fromParts(a, "datetime", 6, 6, 3) }},
	"SMALLDATETIMEFROMPARTS":  {call: func(a *arguments) (any, error) { return fromParts(a, "smalldatetime", 5, 0, 0) }},
	"DATETIME2FROMPARTS":      {call: func(a *arguments) (any, error) { return fromParts(a, "datetime2", 6, 6, int(a.ret.Scale)) }},
	"DATETIMEOFFSETFROMPARTS": {call: func(a *arguments) (any, error) { return fromParts(a, "datetimeoffset", 6, 6, int(a.ret.Scale)) }},
	"TIMEFROMPARTS":           {call: timeFromParts},
	"SWITCHOFFSET": {call: func(a *arguments) (any, error) {
		zone, err := offset(a)
		if err != nil {
			return nil, err
		}
		return a.time(0).In(zone), nil
	}},
	"TODATETIMEOFFSET": {call: func(a *arguments) (any, error) {
		zone, err := offset(a)
		if err != nil {
			return nil, err
		}
		t := a.time(0)
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone), nil
	}},
	"ISDATE": {call: func(a *arguments) (any, error) {
		if s, ok := a.vals[0].(string); ok && strings.TrimSpace(s) == "" {
			return int64(0), nil // although it converts
		}
		if _, err := value.Convert(a.vals[0], a.types[0], value.DateTime); err != nil {
			return int64(0), nil
		}
		return int64(1), nil
	}},
}

func (a *arguments) part() value.Part {
	p, _ := value.PartOf(a.extra)
	return p
}

func (a *arguments) time(i int) time.Time {
	t, _ := a.vals[i].(time.Time)
	return t
}

// fromParts makes a date of its year, month, day, hour, minute, second, and
// of the fraction at an index, in a unit of so many digits. Minutes of a zone
// follow the fraction.
func fromParts(a *arguments, name string, n, fraction, digits int) (any, error) {
	fail := value.Errorf(289, "Cannot construct data type %s, some of the arguments have values which are not valid.", name)
	var p [6]int64
	for i := range n {
		p[i] = a.int(i)
	}
	if p[0] < 1 || p[0] > 9999 || p[1] < 1 || p[1] > 12 || p[2] < 1 || p[2] > 31 || p[3] < 0 || p[3] > 23 || p[4] < 0 || p[4] > 59 || p[5] < 0 || p[5] > 59 {
		return nil, fail
	}
	nanos := int64(0)
	if fraction > 0 {
		limit := int64(math.Pow10(digits))
		if a.int(fraction) < 0 || a.int(fraction) >= limit {
			return nil, fail
		}
		nanos = a.int(fraction) * int64(math.Pow10(9-digits))
	}
	zone := time.UTC
	if a.ret.Kind == sqltype.DateTimeOffset {
		h, m := a.int(7), a.int(8)
		if h < -14 || h > 14 || m < -59 || m > 59 || h*m < 0 {
			return nil, fail
		}
		zone = time.FixedZone("", int(h*3600+m*60))
	}
	t := time.Date(int(p[0]), time.Month(p[1]), int(p[2]), int(p[3]), int(p[4]), int(p[5]), int(nanos), zone)
	if t.Day() != int(p[2]) {
		return nil, fail
	}
	out, ok := value.FitTime(t, a.ret)
	if !ok {
		return nil, fail
	}
	return out, nil
}

func timeFromParts(a *arguments) (any, error) {
	h, m, s, f := a.int(0), a.int(1), a.int(2), a.int(3)
	if h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59 || f < 0 || f >= int64(math.Pow10(int(a.ret.Scale))) {
		return nil, value.Errorf(289, "Cannot construct data type time, some of the arguments have values which are not valid.")
	}
	nanos := f * int64(math.Pow10(9-int(a.ret.Scale)))
	return sqltype.Zero().Add(time.Duration(h*3600+m*60+s)*time.Second + time.Duration(nanos)), nil
}

// offset is the zone in a function's second argument: minutes, or ±hh:mm.
func offset(a *arguments) (*time.Location, error) {
	fail := value.Errorf(9812, "The timezone provided to builtin function %s is invalid.", a.extra)
	if n, ok := a.vals[1].(int64); ok {
		if n < -840 || n > 840 {
			return nil, fail
		}
		return time.FixedZone("", int(n)*60), nil
	}
	t, err := time.Parse("-07:00", a.text(1))
	if err != nil {
		return nil, fail
	}
	_, seconds := t.Zone()
	return time.FixedZone("", seconds), nil
}
