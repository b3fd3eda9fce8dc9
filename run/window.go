package run

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Window is a time of day, on some days of the week, in which protectors may
// be changed and groups failed over.
type Window struct {
	text     string
	days     [7]bool // by time.Weekday: on which it opens
	from, to int     // minutes after midnight; to may be next day's
	zone     *time.Location
}

// ParseWindow reads "[DAYS] HH:MM-HH:MM [ZONE]", such as "22:00-04:00" or
// "Sat,Sun 08:00-12:00 Europe/Berlin". Days are those on which the window
// opens, names or ranges of names; without them, it is every day. The zone is
// UTC unless it is named. A window that ends where it begins lasts a day.
func ParseWindow(text string) (Window, error) {
	w := Window{text: text, zone: time.UTC}
	words := strings.Fields(text)
	at := slices.IndexFunc(words, func(word string) bool { return strings.Contains(word, ":") })
	if at < 0 || at > 1 || len(words) > at+2 {
		return w, fmt.Errorf("window %q: want [DAYS] HH:MM-HH:MM [ZONE], such as Sat,Sun 22:00-04:00 Europe/Berlin", text)
	}
	w.days = [7]bool{true, true, true, true, true, true, true}
	var err error
	if at == 1 {
		if w.days, err = parseDays(words[0]); err != nil {
			return w, fmt.Errorf("window %q: %w", text, err)
		}
	}
	if w.from, w.to, err = parseSpan(words[at]); err != nil {
		return w, fmt.Errorf("window %q: %w", text, err)
	}
	if len(words) == at+2 {
		if w.zone, err = time.LoadLocation(words[at+1]); err != nil {
			return w, fmt.Errorf("window %q: %w", text, err)
		}
	}
	return w, nil
}

func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := weekday(first), weekday(last)
		if from < 0 || to < 0 {
			return days, fmt.Errorf("%q names no day: want Mon, Tue, Wed, Thu, Fri, Sat or Sun", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			days[day] = true
			if day == to {
				break
			}
		}
	}
	return days, nil
}

func weekday(name string) int {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(name, day.String()) || strings.EqualFold(name, day.String()[:3]) {
			return int(day)
		}
	}
	return -1
}

func parseSpan(text string) (from, to int, err error) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return 0, 0, fmt.Errorf("%q is no span: want HH:MM-HH:MM", text)
	}
	if from, err = minutes(first); err != nil {
		return 0, 0, err
	}
	if to, err = minutes(last); err != nil {
		return 0, 0, err
	}
	if from >= dayMinutes {
		return 0, 0, fmt.Errorf("%q is no time to begin at", first)
	}
	if to <= from {
		to += dayMinutes
	}
	return from, to, nil
}

const dayMinutes = 24 * 60

// minutes after midnight; 24:00 is the day's end.
func minutes(text string) (int, error) {
	hours, rest, ok := strings.Cut(text, ":")
	h, hErr := strconv.ParseUint(hours, 10, 8)
	m, mErr := strconv.ParseUint(rest, 10, 8)
	if !ok || hErr != nil || mErr != nil || len(hours) != 2 || len(rest) != 2 || m > 59 || h*60+m > dayMinutes {
		return 0, fmt.Errorf("%q is no time of day: want HH:MM", text)
	}
	return int(h*60 + m), nil //nolint:gosec // both are below 61
}

// String is the window as it was written.
func (w Window) String() string { return w.text }

// Opens says when the window is open next: at itself while it is open. The
// zero value is always open.
func (w Window) Opens(at time.Time) time.Time {
	if w.zone == nil {
		return at
	}
	local := at.In(w.zone)
	for offset := -1; offset <= 8; offset++ {
		// Of a time that a change of the clocks leaves out, time.Date makes the
		// one that stands in its place.
		day := time.Date(local.Year(), local.Month(), local.Day()+offset, 0, 0, 0, 0, w.zone)
		moment := func(minute int) time.Time {
			return time.Date(day.Year(), day.Month(), day.Day(), 0, minute, 0, 0, w.zone)
		}
		if !w.days[day.Weekday()] || !at.Before(moment(w.to)) {
			continue
		}
		if opens := moment(w.from); opens.After(at) {
			return opens
		}
		return at
	}
	return at // not reached: some day of a week is set
}

// opening says when the first of the windows opens; at itself where one is
// open, or where there is none.
func opening(windows []Window, at time.Time) time.Time {
	if len(windows) == 0 {
		return at
	}
	first := windows[0].Opens(at)
	for _, w := range windows[1:] {
		if opens := w.Opens(at); opens.Before(first) {
			first = opens
		}
	}
	return first
}
