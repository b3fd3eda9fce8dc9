package backup_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/backup"
)

func TestParsePeriod(t *testing.T) {
	for text, want := range map[string]backup.Period{
		"P1W": {Weeks: 1}, "P12M": {Months: 12}, "P5Y": {Years: 5}, "P10D": {Days: 10}, "P1Y2M3W4D": {Years: 1, Months: 2, Weeks: 3, Days: 4}, "PT0S": {}, "": {},
	} {
		got, err := backup.ParsePeriod(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"P", "1W", "P1", "PT5H", "P1WT1H", "P-1W", "P1M1Y", "p1w", "P99999Y"} {
		if got, err := backup.ParsePeriod(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func FuzzPeriod(f *testing.F) {
	for _, seed := range []string{"P1W", "P1Y2M3W4D", "PT0S", "P"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := backup.ParsePeriod(text)
		if err != nil {
			return
		}
		again, err := backup.ParsePeriod(p.String())
		if err != nil || again != p {
			t.Errorf("%q is %v, whose form %q is %v (%v)", text, p, p.String(), again, err)
		}
	})
}

func TestLongTermPolicy(t *testing.T) {
	policy := backup.LongTermPolicy{Weekly: backup.Period{Weeks: 4}, Monthly: backup.Period{Months: 6}, Yearly: backup.Period{Years: 5}, WeekOfYear: 6}
	day := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("every week's, the month's first and the year's week are kept, each for the longest period that applies", func(t *testing.T) {
		var kept []time.Time
		got := map[string]string{}
		for at := day("2026-01-05"); at.Before(day("2026-03-10")); at = at.AddDate(0, 0, 7) {
			if until, ok := policy.Expiry(at, kept); ok {
				kept = append(kept, at)
				got[at.Format(time.DateOnly)] = until.Format(time.DateOnly)
			}
		}
		want := map[string]string{
			"2026-01-05": "2026-07-05", "2026-01-12": "2026-02-09", "2026-01-19": "2026-02-16", "2026-01-26": "2026-02-23",
			"2026-02-02": "2031-02-02", "2026-02-09": "2026-03-09", "2026-02-16": "2026-03-16", "2026-02-23": "2026-03-23",
			"2026-03-02": "2026-09-02", "2026-03-09": "2026-04-06",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a second backup of the same week is not kept again", func(t *testing.T) {
		if _, ok := policy.Expiry(day("2026-02-12"), []time.Time{day("2026-02-02"), day("2026-02-09")}); ok {
			t.Error("kept")
		}
	})
	t.Run("a yearly retention needs its week", func(t *testing.T) {
		if err := (backup.LongTermPolicy{Yearly: backup.Period{Years: 1}}).Check(); err == nil {
			t.Error("accepted")
		}
	})
}
