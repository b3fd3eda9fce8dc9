package monitor_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/monitor"
)

// A call that changes something while the truth is being read, every time that
// it is read, and ends before what it did is seen, is still what is blamed for
// it, and no earlier one that names the key.
func TestWhatIsNotedDuringASnapshotIsBlamedForWhatTheNextShows(t *testing.T) {
	uri := pair().Servers[0].Protector
	earlier := monitor.Cause{Method: "PUT", Path: "/servers/first/keys/" + uri}
	call := monitor.Cause{Method: "PATCH", Path: uri}
	var m *monitor.Monitor
	taken, noted := 0, 0
	m = monitor.New(monitor.Options{
		Clock: clock.New(0), Log: slog.New(slog.DiscardHandler),
		Turns: func(time.Time, time.Time) ([]monitor.Turn, error) { return nil, nil },
		Keep:  func([]monitor.Interval) error { return nil },
		Snapshot: func(time.Time) (monitor.Snapshot, error) {
			s := pair()
			if taken++; taken > 4 { // the first judgement has one, the second three
				without(&s.Servers[0], uri)
			} else if taken > 1 {
				noted++
				m.Note(&call)
			}
			return s, nil
		},
	})
	m.Note(&earlier)
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); m.Wait() }()
	m.Run(ctx)
	m.Settle(5 * time.Second)
	m.Note(nil)
	m.Settle(5 * time.Second)
	m.Note(nil)
	m.Settle(5 * time.Second)
	intervals, err := m.Intervals()
	if err != nil || len(intervals) == 0 || noted == 0 {
		t.Fatalf("%+v %v, noted %d times", intervals, err, noted)
	}
	for _, i := range intervals {
		if i.By.Method != call.Method || i.By.Event != "" {
			t.Errorf("%s is laid at %+v", i.Rule, i.By)
		}
	}
}
