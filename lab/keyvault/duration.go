package keyvault

import (
	"errors"
	"time"
)

// duration is an ISO 8601 duration: calendar parts and clock time are kept
// apart, since a month is no fixed number of days.
type duration struct {
	years, months, days int
	clock               time.Duration
}

// errDuration says that a text is no duration.
var errDuration = errors.New("not an ISO 8601 duration")

// maxDurationPart bounds each number, so that no sum can overflow.
const maxDurationPart = 10_000

// parseDuration reads a duration such as P90D, P1Y6M, P2W or PT12H.
func parseDuration(text string) (duration, error) {
	var d duration
	if len(text) < 3 || text[0] != 'P' {
		return d, errDuration
	}
	units, clock := "YMWD", false
	for rest := text[1:]; rest != ""; {
		if rest[0] == 'T' && !clock && len(rest) > 1 {
			units, clock, rest = "HMS", true, rest[1:]
			continue
		}
		number, length := 0, 0
		for length < len(rest) && rest[length] >= '0' && rest[length] <= '9' {
			number = number*10 + int(rest[length]-'0')
			if length++; number > maxDurationPart {
				return d, errDuration
			}
		}
		if length == 0 || length == len(rest) {
			return d, errDuration
		}
		unit := rest[length]
		for units != "" && units[0] != unit {
			units = units[1:]
		}
		if units == "" {
			return d, errDuration
		}
		units, rest = units[1:], rest[length+1:]
		d.add(number, unit, clock)
	}
	return d, nil
}

func (d *duration) add(number int, unit byte, clock bool) {
	switch {
	case unit == 'Y':
		d.years = number
	case unit == 'M' && !clock:
		d.months = number
	case unit == 'W':
		d.days += 7 * number
	case unit == 'D':
		d.days += number
	case unit == 'H':
		d.clock += time.Duration(number) * time.Hour
	case unit == 'M':
		d.clock += time.Duration(number) * time.Minute
	case unit == 'S':
		d.clock += time.Duration(number) * time.Second
	}
}

// after is the moment that lies the duration after t.
func (d duration) after(t time.Time) time.Time {
	return t.AddDate(d.years, d.months, d.days).Add(d.clock)
}

// before is the moment that lies the duration before t.
func (d duration) before(t time.Time) time.Time {
	return t.AddDate(-d.years, -d.months, -d.days).Add(-d.clock)
}
