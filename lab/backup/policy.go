package backup

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Period is a retention time of a long-term policy: an ISO 8601 duration in
// whole years, months, weeks and days, such as P1W, P12M or P5Y. The zero
// Period keeps nothing.
// Source: https://learn.microsoft.com/azure/azure-sql/database/long-term-retention-overview
type Period struct{ Years, Months, Weeks, Days int }

var periodForm = regexp.MustCompile(`^P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?$`)

// ParsePeriod reads an ISO 8601 duration. PT0S, which the service shows for
// "none", and the empty text give the zero Period; a part shorter than a day
// is refused.
func ParsePeriod(text string) (Period, error) {
	if text == "" || text == "PT0S" {
		return Period{}, nil
	}
	m := periodForm.FindStringSubmatch(text)
	if m == nil || text == "P" {
		return Period{}, fmt.Errorf("retention %q is not an ISO 8601 duration in whole days, weeks, months or years", text)
	}
	var p Period
	for i, to := range []*int{&p.Years, &p.Months, &p.Weeks, &p.Days} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Period{}, fmt.Errorf("retention %q: %w", text, err)
		}
		*to = n
	}
	return p, nil
}

// IsZero tells a policy's "none".
func (p Period) IsZero() bool { return p == Period{} }

// After is the end of the period that begins at t.
func (p Period) After(t time.Time) time.Time { return t.AddDate(p.Years, p.Months, 7*p.Weeks+p.Days) }

// String is the ISO 8601 form.
func (p Period) String() string {
	if p.IsZero() {
		return "PT0S"
	}
	text := "P"
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Years, "Y"}, {p.Months, "M"}, {p.Weeks, "W"}, {p.Days, "D"}} {
		if part.n > 0 {
			text += strconv.Itoa(part.n) + part.unit
		}
	}
	return text
}

// LongTermPolicy says which full backups are kept beyond the point-in-time
// window, and for how long: every week's, each month's first, and in each year
// that of ISO week WeekOfYear (1 to 52).
// Source: https://learn.microsoft.com/azure/azure-sql/database/long-term-retention-overview
type LongTermPolicy struct {
	Weekly, Monthly, Yearly Period
	WeekOfYear              int
}

// Check refuses a yearly retention without its week.
func (p LongTermPolicy) Check() error {
	if !p.Yearly.IsZero() && (p.WeekOfYear < 1 || p.WeekOfYear > 52) {
		return fmt.Errorf("week of year %d: a yearly retention needs one between 1 and 52", p.WeekOfYear)
	}
	return nil
}

// Expiry is until when a full backup taken at the given time is kept, where
// before are the times of the long-term copies that exist; false when the
// policy does not want it. The longest of the periods that apply counts.
func (p LongTermPolicy) Expiry(taken time.Time, before []time.Time) (time.Time, bool) {
	taken = taken.UTC()
	year, week := taken.ISOWeek()
	firstOfWeek, firstOfMonth := true, true
	for _, t := range before {
		y, w := t.UTC().ISOWeek()
		firstOfWeek = firstOfWeek && (y != year || w != week)
		firstOfMonth = firstOfMonth && (t.UTC().Year() != taken.Year() || t.UTC().Month() != taken.Month())
	}
	var until time.Time
	keep := func(wanted bool, period Period) {
		if end := period.After(taken); wanted && !period.IsZero() && end.After(until) {
			until = end
		}
	}
	keep(firstOfWeek, p.Weekly)
	keep(firstOfMonth, p.Monthly)
	keep(firstOfWeek && week == p.WeekOfYear, p.Yearly)
	return until, !until.IsZero()
}
