package value

import (
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// dateOrder is the order of the parts of a date in digits.
type dateOrder uint8

const (
	monthFirst dateOrder = iota
	dayFirst
	yearFirst
)

// orderOf is the order that a style of CONVERT means; us_english has the
// month first.
func orderOf(style int) dateOrder {
	switch style {
	case 3, 4, 5, 103, 104, 105:
		return dayFirst
	case 2, 11, 12, 20, 21, 23, 25, 102, 111, 112, 120, 121, 126, 127:
		return yearFirst
	default:
		return monthFirst
	}
}

// moment is a date and time in the making.
type moment struct {
	year, month, day int
	hour, minute     int
	second           int
	nanos            int
	digits           int // of the fraction
	offset           int // minutes
	hasOffset        bool
	hasDate, hasTime bool
}

// parseTime reads a date, a time or both, as T-SQL converts strings under
// us_english.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/date-transact-sql#supported-string-literal-formats-for-date
func parseTime(s string, to sqltype.Type, style int) (time.Time, error) {
	var m moment
	text := strings.TrimSpace(s)
	if text != "" && !m.read(text, orderOf(style)) {
		return time.Time{}, failTime(to)
	}
	if !m.hasDate {
		m.year, m.month, m.day = 1900, 1, 1
		if to.Kind == sqltype.Time {
			m.year = 1
		}
	}
	old := to.Kind == sqltype.DateTime || to.Kind == sqltype.SmallDateTime
	if old && (m.hasOffset && m.offset != 0 || m.digits > 3) {
		return time.Time{}, failTime(to)
	}
	if m.digits > 7 || m.year < 1 || m.year > 9999 {
		return time.Time{}, failTime(to)
	}
	if m.month < 1 || m.month > 12 || m.day < 1 || m.day > daysIn(m.year, m.month) || m.hour > 23 || m.minute > 59 || m.second > 59 {
		if old {
			return time.Time{}, outOfRange(VarChar(0), to)
		}
		return time.Time{}, failTime(to)
	}
	loc := time.UTC
	if to.Kind == sqltype.DateTimeOffset {
		loc = zone(m.offset)
	}
	return time.Date(m.year, time.Month(m.month), m.day, m.hour, m.minute, m.second, m.nanos, loc), nil
}

func failTime(to sqltype.Type) error {
	if to.Kind == sqltype.SmallDateTime {
		return Errorf(295, "Conversion failed when converting character string to smalldatetime data type.")
	}
	return dateText()
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// read reads the whole of a text.
func (m *moment) read(s string, order dateOrder) bool {
	if len(s) > 11 && (s[10] == 'T' || s[10] == 't') && s[4] == '-' && s[7] == '-' {
		return m.readDate(s[:10], yearFirst) && m.readClock(s[11:])
	}
	datePart, clock := splitClock(s)
	if datePart != "" && !m.readDate(datePart, order) {
		return false
	}
	return clock == "" || m.readClock(clock)
}

// splitClock parts a text into its date and its time, which begins at the
// word that has the first colon or an AM or PM behind a number.
func splitClock(s string) (datePart, clock string) {
	words := strings.Fields(s)
	for i, w := range words {
		lower := strings.ToLower(w)
		if strings.Contains(w, ":") || strings.HasSuffix(lower, "am") && isDigits(lower[:len(lower)-2]) ||
			strings.HasSuffix(lower, "pm") && isDigits(lower[:len(lower)-2]) {
			from := i
			if (lower == "am" || lower == "pm") && i > 0 {
				from = i - 1
			}
			return strings.Join(words[:from], " "), strings.Join(words[from:], " ")
		}
	}
	return strings.Join(words, " "), ""
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// number reads 1 to n digits.
func number(s string, n int) (int, bool) {
	if s == "" || len(s) > n || !isDigits(s) {
		return 0, false
	}
	v, err := strconv.Atoi(s)
	return v, err == nil
}

func (m *moment) readDate(s string, order dateOrder) bool {
	m.hasDate = true
	if strings.ContainsAny(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz") {
		return m.readNamed(s)
	}
	if isDigits(s) {
		return m.readDigits(s)
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '-' || r == '/' || r == '.' })
	if len(parts) != 3 || strings.Contains(s, " ") || strings.Count(s, "-")+strings.Count(s, "/")+strings.Count(s, ".") != 2 {
		return false
	}
	var n [3]int
	for i, p := range parts {
		v, ok := number(p, 4)
		if !ok {
			return false
		}
		n[i] = v
	}
	switch {
	case len(parts[0]) == 4:
		m.year, m.month, m.day = n[0], n[1], n[2]
		// The old types read a hyphenated year-first date by DATEFORMAT too,
		// which is mdy here: year, month, day.
		return true
	case len(parts[2]) != 4 && order == yearFirst:
		m.year, m.month, m.day = century(n[0], len(parts[0])), n[1], n[2]
	case order == dayFirst:
		m.day, m.month, m.year = n[0], n[1], century(n[2], len(parts[2]))
	default:
		m.month, m.day, m.year = n[0], n[1], century(n[2], len(parts[2]))
	}
	return len(parts[1]) <= 2
}

// century completes a year of two digits: the cutoff is 2049.
func century(year, digits int) int {
	if digits > 2 {
		return year
	}
	if year < 50 {
		return 2000 + year
	}
	return 1900 + year
}

func (m *moment) readDigits(s string) bool {
	v, ok := number(s, 8)
	if !ok {
		return false
	}
	switch len(s) {
	case 8:
		m.year, m.month, m.day = v/10000, v/100%100, v%100
	case 6:
		m.year, m.month, m.day = century(v/10000, 2), v/100%100, v%100
	case 4:
		m.year, m.month, m.day = v, 1, 1
	default:
		return false
	}
	return true
}

var monthNames = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

// readNamed reads a date with its month's name: a name, a day and a year in
// any order.
func (m *moment) readNamed(s string) bool {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '-' || r == '/' || r == '.' })
	m.day = 1
	var numbers []string
	for _, p := range parts {
		if n, ok := monthOf(p); ok && m.month == 0 {
			m.month = n
			continue
		}
		numbers = append(numbers, p)
	}
	if m.month == 0 || len(numbers) == 0 || len(numbers) > 2 {
		return false
	}
	year := numbers[len(numbers)-1]
	if len(numbers) == 2 {
		day := numbers[0]
		if len(day) == 4 {
			day, year = year, day
		}
		d, ok := number(day, 2)
		if !ok {
			return false
		}
		m.day = d
	}
	y, ok := number(year, 4)
	if !ok || len(year) == 3 || len(numbers) == 1 && len(year) != 4 {
		return false
	}
	m.year = century(y, len(year))
	return true
}

func monthOf(s string) (int, bool) {
	s = strings.ToLower(s)
	for i, name := range monthNames {
		if s == name || s == name[:3] {
			return i + 1, true
		}
	}
	return 0, false
}

// readClock reads a time of day, with AM or PM, a fraction and an offset.
func (m *moment) readClock(s string) bool {
	m.hasTime = true
	s, ok := m.readOffset(strings.TrimSpace(s))
	if !ok {
		return false
	}
	half := 0
	if lower := strings.ToLower(s); strings.HasSuffix(lower, "am") || strings.HasSuffix(lower, "pm") {
		half = 1
		if lower[len(s)-2] == 'p' {
			half = 2
		}
		s = strings.TrimSpace(s[:len(s)-2])
	}
	s, fraction, dotted := strings.Cut(s, ".")
	parts := strings.Split(s, ":")
	if len(parts) == 4 && !dotted {
		// hh:mm:ss:mmm, in thousandths.
		fraction, parts = strings.Repeat("0", max(0, 3-len(parts[3])))+parts[3], parts[:3]
	}
	if len(parts) > 3 || len(parts) == 1 && half == 0 || fraction != "" && len(parts) < 3 || dotted && fraction == "" {
		return false
	}
	var n [3]int
	for i, p := range parts {
		v, ok := number(p, 2)
		if !ok {
			return false
		}
		n[i] = v
	}
	m.hour, m.minute, m.second = n[0], n[1], n[2]
	if !m.readFraction(fraction) {
		return false
	}
	switch {
	case half > 0 && m.hour > 12 && half == 1, half > 0 && m.hour == 0 && half == 2:
		return false
	case half == 2 && m.hour < 12:
		m.hour += 12
	case half == 1 && m.hour == 12:
		m.hour = 0
	}
	return true
}

func (m *moment) readFraction(s string) bool {
	m.digits = len(s)
	if s == "" {
		return true
	}
	if !isDigits(s) || len(s) > 9 {
		return false
	}
	v, ok := number((s + "000000000")[:9], 9)
	m.nanos = v
	return ok
}

// readOffset takes Z or ±hh:mm off the end of a time.
func (m *moment) readOffset(s string) (string, bool) {
	if strings.HasSuffix(s, "Z") || strings.HasSuffix(s, "z") {
		m.hasOffset = true
		return strings.TrimSpace(s[:len(s)-1]), true
	}
	i := strings.LastIndexAny(s, "+-")
	if i < 0 {
		return s, true
	}
	h, mm, found := strings.Cut(s[i+1:], ":")
	hour, ok1 := number(h, 2)
	minute, ok2 := number(mm, 2)
	if !found || !ok1 || !ok2 || minute > 59 || hour*60+minute > 14*60 {
		return s, false
	}
	m.hasOffset = true
	m.offset = hour*60 + minute
	if s[i] == '-' {
		m.offset = -m.offset
	}
	return strings.TrimSpace(s[:i]), true
}
