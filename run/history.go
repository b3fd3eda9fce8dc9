package run

import (
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/tde"
)

// history is what the plan's journal says of earlier runs.
type history struct {
	done map[int]bool // steps whose effect was seen
	// open are steps with an intent and no result: the process died in them.
	open  map[int]bool
	token map[int]string // by which an open step's last operation is followed
	// called is when a step was first called; what a grant of ours needs.
	called map[int]time.Time
	seen   *tde.Topology // the first observation; nil when none was written
	// replanned: the plan has taken the place of another.
	replanned bool
}

func newHistory() history {
	return history{done: map[int]bool{}, open: map[int]bool{}, token: map[int]string{}, called: map[int]time.Time{}}
}

// readHistory reads what was done of the newest plan.
func readHistory(records []journal.Record) history {
	h := newHistory()
	for _, r := range records {
		switch r.Kind {
		case journal.Replan:
			h = newHistory()
			h.replanned = true
		case journal.Seen:
			if h.seen == nil {
				h.seen = &r.Seen.Topology
			}
		case journal.Intent:
			h.open[r.Step] = true
			if h.called[r.Step].IsZero() {
				h.called[r.Step] = r.At
			}
		case journal.Call:
			h.token[r.Step] = r.Call.ResumeToken
		case journal.Answer:
			if !r.Answer.Lost {
				delete(h.token, r.Step)
			}
		case journal.Result:
			// What is unknown may still be under way.
			if r.Result.Outcome != journal.Unknown {
				delete(h.open, r.Step)
				delete(h.token, r.Step)
			}
			h.done[r.Step] = h.done[r.Step] || r.Result.Outcome.Effective()
		case journal.Begin, journal.Resume, journal.ReadBack, journal.Note, journal.End:
		}
	}
	return h
}

// begun reports whether an earlier run may have changed anything.
func (h history) begun() bool {
	return h.replanned || len(h.done) > 0 || len(h.open) > 0 || len(h.called) > 0
}
