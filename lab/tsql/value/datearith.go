package value

import (
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Part is a part of a date.
type Part uint8

// The parts of a date.
const (
	Year Part = iota + 1
	Quarter
	Month
	DayOfYear
	Day
	Week
	ISOWeek
	Weekday
	Hour
	Minute
	Second
	Millisecond
	Microsecond
	Nanosecond
	Offset
)

// parts are the names of date parts.
// Source: https://learn.microsoft.com/sql/t-sql/functions/datepart-transact-sql
var parts = map[string]Part{
	"YEAR": Year, "YY": Year, "YYYY": Year, "QUARTER": Quarter, "QQ": Quarter, "Q": Quarter, "MONTH": Month, "MM": Month, "M": Month,
	"DAYOFYEAR": DayOfYear, "DY": DayOfYear, "Y": DayOfYear, "DAY": Day, "DD": Day, "D": Day, "WEEK": Week, "WK": Week, "WW": Week,
	"ISO_WEEK": ISOWeek, "ISOWK": ISOWeek, "ISOWW": ISOWeek, "WEEKDAY": Weekday, "DW": Weekday, "W": Weekday, "HOUR": Hour, "HH": Hour,
	"MINUTE": Minute, "MI": Minute, "N": Minute, "SECOND": Second, "SS": Second, "S": Second, "MILLISECOND": Millisecond, "MS": Millisecond,
	"MICROSECOND": Microsecond, "MCS": Microsecond, "NANOSECOND": Nanosecond, "NS": Nanosecond, "TZOFFSET": Offset, "TZ": Offset,
}

// PartOf is a date part by its name or one of its short names.
func PartOf(name string) (Part, bool) {
	p, ok := parts[strings.ToUpper(name)]
	return p, ok
}

// DatePart is a part of a date. The week begins on Sunday, as under
// us_english.
func DatePart(p Part, t time.Time) int64 {
	switch p {
	case Year:
		return int64(t.Year())
	case Quarter:
		return int64(t.Month()-1)/3 + 1
	case Month:
		return int64(t.Month())
	case DayOfYear:
		return int64(t.YearDay())
	case Day:
		return int64(t.Day())
	case Week:
		first := time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC).Weekday()
		return int64(t.YearDay()-1+int(first))/7 + 1
	case ISOWeek:
		_, w := t.ISOWeek()
		return int64(w)
	case Weekday:
		return int64(t.Weekday()) + 1
	case Hour:
		return int64(t.Hour())
	case Minute:
		return int64(t.Minute())
	case Second:
		return int64(t.Second())
	case Millisecond:
		return int64(t.Nanosecond()) / 1e6
	case Microsecond:
		return int64(t.Nanosecond()) / 1e3
	case Nanosecond:
		return int64(t.Nanosecond())
	default:
		_, off := t.Zone()
		return int64(off / 60)
	}
}

// DateName is a part of a date as DATENAME writes it.
func DateName(p Part, t time.Time) string {
	switch p {
	case Month:
		return t.Month().String()
	case Weekday:
		return t.Weekday().String()
	case Offset:
		return t.Format("-07:00")
	default:
		return strconv.FormatInt(DatePart(p, t), 10)
	}
}

// DateAdd adds so many parts to a date of a type; error 517 when the outcome
// is out of the type's range.
func DateAdd(p Part, n int64, t time.Time, of sqltype.Type) (time.Time, error) {
	fail := Errorf(517, "Adding a value to a '%s' column caused an overflow.", Name(of))
	if n > 1<<40 || n < -(1<<40) {
		return t, fail
	}
	var out time.Time
	switch p {
	case Year:
		out = addMonths(t, 12*n)
	case Quarter:
		out = addMonths(t, 3*n)
	case Month:
		out = addMonths(t, n)
	case Week:
		out = addDays(t, 7*n)
	case Day, DayOfYear, Weekday:
		out = addDays(t, n)
	default:
		out = addTicks(t, p, n)
	}
	if of.Kind == sqltype.Time {
		out = fromTicks(ticksOfDay(out))
	}
	out, ok := FitTime(out, of)
	if !ok {
		return t, fail
	}
	return out, nil
}

// addMonths stays within the month that it reaches.
func addMonths(t time.Time, n int64) time.Time {
	month := int64(t.Year())*12 + int64(t.Month()) - 1 + n
	year, m := floorDiv(month, 12)
	if year < 0 || year > 20000 {
		year = 20000
	}
	day := min(t.Day(), daysIn(int(year), int(m)+1))
	return time.Date(int(year), time.Month(m+1), day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
}

func addDays(t time.Time, n int64) time.Time {
	if n > 4_000_000 || n < -4_000_000 {
		n = 8_000_000
	}
	return t.AddDate(0, 0, int(n))
}

// addTicks adds parts shorter than a day, in days and the rest, since a
// time.Duration does not reach far enough.
func addTicks(t time.Time, p Part, n int64) time.Time {
	perDay := map[Part]int64{Hour: 24, Minute: 1440, Second: secondsPerDay, Millisecond: secondsPerDay * 1e3, Microsecond: secondsPerDay * 1e6, Nanosecond: secondsPerDay * 1e9}[p]
	if perDay == 0 {
		return t
	}
	days, rest := floorDiv(n, perDay)
	return addDays(t, days).Add(time.Duration(rest * (secondsPerDay * 1e9 / perDay)))
}

// DateDiff is how many boundaries of a part lie between two dates.
func DateDiff(p Part, a, b time.Time) int64 {
	a, b = a.UTC(), b.UTC()
	switch p {
	case Year:
		return int64(b.Year() - a.Year())
	case Quarter:
		return int64(b.Year()-a.Year())*4 + DatePart(Quarter, b) - DatePart(Quarter, a)
	case Month:
		return int64(b.Year()-a.Year())*12 + int64(b.Month()-a.Month())
	case Week:
		// Weeks begin on Sunday; 0001-01-01 is a Monday.
		wa, _ := floorDiv(daysSince(a)+1, 7)
		wb, _ := floorDiv(daysSince(b)+1, 7)
		return wb - wa
	case Day, DayOfYear, Weekday:
		return daysSince(b) - daysSince(a)
	default:
	}
	per := map[Part]int64{Hour: 3600 * ticksPerSecond, Minute: 60 * ticksPerSecond, Second: ticksPerSecond, Millisecond: 10_000, Microsecond: 10}[p]
	ta, tb := daysSince(a)*ticksPerDay+ticksOfDay(a), daysSince(b)*ticksPerDay+ticksOfDay(b)
	if per == 0 {
		return (tb - ta) * 100
	}
	return tb/per - ta/per
}

// TruncateDate is a date cut down to the beginning of its part; false for a
// part that has no beginning.
func TruncateDate(p Part, t time.Time) (time.Time, bool) {
	y, m, d := t.Date()
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, t.Location()) }
	switch p {
	case Year:
		return day(y, 1, 1), true
	case Quarter:
		return day(y, (m-1)/3*3+1, 1), true
	case Month:
		return day(y, m, 1), true
	case Week:
		return day(y, m, d-int(t.Weekday())), true
	case ISOWeek:
		return day(y, m, d-(int(t.Weekday())+6)%7), true
	case Day, DayOfYear:
		return day(y, m, d), true
	case Hour, Minute, Second, Millisecond, Microsecond:
		unit := map[Part]int64{Hour: 3600 * ticksPerSecond, Minute: 60 * ticksPerSecond, Second: ticksPerSecond, Millisecond: 10_000, Microsecond: 10}[p]
		return day(y, m, d).Add(time.Duration(ticksOfDay(t)/unit*unit) * 100), true
	default:
		return t, false
	}
}
