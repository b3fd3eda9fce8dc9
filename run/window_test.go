package run_test

import (
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/run"
)

func TestWindows(t *testing.T) {
	cases := map[string]struct{ window, at, opens string }{
		"inside":                                   {"08:00-12:00", "2026-11-24T09:30:00Z", "2026-11-24T09:30:00Z"},
		"its first moment is inside":               {"08:00-12:00", "2026-11-24T08:00:00Z", "2026-11-24T08:00:00Z"},
		"its end is outside":                       {"08:00-12:00", "2026-11-24T12:00:00Z", "2026-11-25T08:00:00Z"},
		"before it":                                {"08:00-12:00", "2026-11-24T07:59:59Z", "2026-11-24T08:00:00Z"},
		"over midnight, before":                    {"22:00-04:00", "2026-11-24T21:00:00Z", "2026-11-24T22:00:00Z"},
		"over midnight, after":                     {"22:00-04:00", "2026-11-24T03:59:00Z", "2026-11-24T03:59:00Z"},
		"a day of the week is the one it opens on": {"Sat 22:00-04:00", "2026-11-29T03:00:00Z", "2026-11-29T03:00:00Z"},
		"not the next":                             {"Sat 22:00-04:00", "2026-11-29T22:30:00Z", "2026-12-05T22:00:00Z"},
		"days and ranges":                          {"Mon-Wed,sunday 10:00-11:00", "2026-11-26T10:30:00Z", "2026-11-29T10:00:00Z"},
		"a range over the week's end":              {"Sat-Mon 10:00-11:00", "2026-11-24T10:30:00Z", "2026-11-28T10:00:00Z"},
		"a zone":                                   {"22:00-23:00 Europe/Berlin", "2026-11-24T12:00:00Z", "2026-11-24T21:00:00Z"},
		"a zone's other day":                       {"Wed 00:30-02:00 Asia/Tokyo", "2026-11-24T12:00:00Z", "2026-11-24T15:30:00Z"},
		"clocks that went back":                    {"02:30-03:30 Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z"},
		"clocks that went forward":                 {"02:30-04:00 Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z"},
		"a whole day":                              {"Fri 00:00-24:00", "2026-11-27T23:59:59Z", "2026-11-27T23:59:59Z"},
		"from noon to noon":                        {"Fri 12:00-12:00", "2026-11-28T11:00:00Z", "2026-11-28T11:00:00Z"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, err := run.ParseWindow(c.window)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Opens(at).UTC().Format(time.RFC3339); got != c.opens {
				t.Errorf("at %s, %s opens %s, want %s", c.at, c.window, got, c.opens)
			}
		})
	}
	for _, text := range []string{
		"", "night", "22:00", "22:00-", "22-23", "22:00-23:60", "24:00-25:00", "24:00-01:00", "8:00-9:00", "Xyz 08:00-09:00", "Mon- 08:00-09:00",
		"08:00-09:00 Nowhere/Place", "Mon 08:00-09:00 UTC more", "Mon Tue 08:00-09:00", "+8:00-09:00",
	} {
		if w, err := run.ParseWindow(text); err == nil {
			t.Errorf("%q is read as %+v", text, w)
		}
	}
}

// A window that can be read opens within eight days, and is open then.
func FuzzParseWindow(f *testing.F) {
	for _, seed := range []string{"22:00-04:00", "Sat,Sun 08:00-12:00 Europe/Berlin", "Mon-Fri 00:00-24:00 UTC", "x", "Sun-Sat 02:30-03:00 America/New_York"} {
		f.Add(seed, int64(1795500000))
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		w, err := run.ParseWindow(text)
		if err != nil {
			return
		}
		from := time.Unix(at%4e9, 0)
		opens := w.Opens(from)
		if opens.Before(from) || opens.Sub(from) > 8*24*time.Hour || !w.Opens(opens).Equal(opens) {
			t.Errorf("%q at %s opens %s and then %s", text, from, opens, w.Opens(opens))
		}
	})
}
