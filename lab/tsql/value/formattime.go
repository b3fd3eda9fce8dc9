package value

import (
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// layouts are the styles of CONVERT that are only a layout, with a year of
// two digits below 100 where there are both.
// Source: https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql#date-and-time-styles
var layouts = map[int]string{
	1: "01/02/06", 2: "06.01.02", 3: "02/01/06", 4: "02.01.06", 5: "02-01-06", 6: "02 Jan 06", 7: "Jan 02, 06",
	10: "01-02-06", 11: "06/01/02", 12: "060102", 23: "2006-01-02",
	101: "01/02/2006", 102: "2006.01.02", 103: "02/01/2006", 104: "02.01.2006", 105: "02-01-2006", 106: "02 Jan 2006",
	107: "Jan 02, 2006", 110: "01-02-2006", 111: "2006/01/02", 112: "20060102",
	8: "15:04:05", 24: "15:04:05", 108: "15:04:05", 20: "2006-01-02 15:04:05", 120: "2006-01-02 15:04:05",
	22: "01/02/06 _3:04:05 PM",
}

// FormatTime is a date or time as a string, in a style of CONVERT; false when
// there is no such style.
func FormatTime(v time.Time, from sqltype.Type, style int) (string, bool) {
	legacyType := from.Kind == sqltype.DateTime || from.Kind == sqltype.SmallDateTime
	if style == NoStyle {
		style = 121
		if legacyType {
			style = 0
		}
	}
	if from.Kind == sqltype.Date {
		style = dateOnly(style)
	}
	if from.Kind == sqltype.Time {
		return formatClock(v, from, style)
	}
	if layout, ok := layouts[style]; ok {
		return v.Format(layout), true
	}
	day, suffix := "", ""
	if from.Kind == sqltype.DateTimeOffset {
		suffix = v.Format(" -07:00")
	}
	switch style {
	case 0, 100:
		return v.Format("Jan _2 2006 ") + clock12(v, "") + suffix, true
	case 9, 109:
		return v.Format("Jan _2 2006 ") + clock12(v, ":05"+colonFraction(v, from)) + suffix, true
	case 13, 113:
		day = v.Format("02 Jan 2006 15:04:05") + colonFraction(v, from)
	case 14, 114:
		day = v.Format("15:04:05") + colonFraction(v, from)
	case 21, 25, 121:
		day = v.Format("2006-01-02 15:04:05") + fractionText(v, from)
	case 126, 127:
		return formatISO(v, from, style), true
	case 1000: // the date alone, of style 0
		return v.Format("Jan _2 2006"), true
	default:
		return "", false
	}
	return day + suffix, true
}

// dateOnly is the style that shows of a style only the date.
func dateOnly(style int) int {
	switch style {
	case 20, 21, 25, 120, 121, 126, 127:
		return 23
	case 0, 9, 100, 109:
		return 1000
	case 13, 113:
		return 106
	case 22:
		return 1
	case 8, 14, 24, 108, 114:
		return -2
	default:
		return style
	}
}

func formatClock(v time.Time, from sqltype.Type, style int) (string, bool) {
	switch style {
	// A time alone is not padded.
	case 0, 100:
		return strings.TrimLeft(clock12(v, ""), " "), true
	case 9, 109:
		return strings.TrimLeft(clock12(v, ":05"+colonFraction(v, from)), " "), true
	case 8, 20, 24, 108, 120:
		return v.Format("15:04:05"), true
	case 13, 14, 21, 25, 113, 114, 121, 126, 127:
		return v.Format("15:04:05") + fractionText(v, from), true
	default:
		return "", false
	}
}

// clock12 is a clock of twelve hours, the hour padded to two.
func clock12(v time.Time, rest string) string {
	h := v.Hour() % 12
	if h == 0 {
		h = 12
	}
	half := "AM"
	if v.Hour() >= 12 {
		half = "PM"
	}
	text := fmt.Sprintf("%2d:%02d", h, v.Minute())
	if rest != "" {
		text += fmt.Sprintf(":%02d", v.Second()) + rest[len(":05"):]
	}
	return text + half
}

// fractionText is the fraction of a second with as many digits as the type
// shows.
func fractionText(v time.Time, from sqltype.Type) string {
	ticks := ticksOfDay(v) % ticksPerSecond
	switch from.Kind {
	case sqltype.DateTime:
		return fmt.Sprintf(".%03d", roundDiv(ticks, 10_000))
	case sqltype.SmallDateTime:
		return ".000"
	default:
		if from.Scale == 0 {
			return ""
		}
		return fmt.Sprintf(".%07d", ticks)[:1+from.Scale]
	}
}

func colonFraction(v time.Time, from sqltype.Type) string {
	text := fractionText(v, from)
	if text != "" && (from.Kind == sqltype.DateTime || from.Kind == sqltype.SmallDateTime) {
		return ":" + text[1:]
	}
	return text
}

func formatISO(v time.Time, from sqltype.Type, style int) string {
	suffix := ""
	if from.Kind == sqltype.DateTimeOffset {
		suffix = v.Format("-07:00")
		if style == 127 {
			v, suffix = v.UTC(), "Z"
		}
	}
	text := v.Format("2006-01-02T15:04:05")
	if v.Nanosecond() >= 100 {
		text += fractionText(v, from)
	}
	return text + suffix
}
