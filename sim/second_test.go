package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/run"
)

// asleep lets a process do nothing while it is stopped. What it has sent is on
// its way all the same.
func (p *process) asleep() {
	for {
		p.mu.Lock()
		left := time.Until(p.wakes)
		p.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// seconded begins the second process where its time has come, and stops this
// one.
func (p *process) seconded(what string, n int) {
	t := p.tool
	t.mu.Lock()
	if len(t.seconds) == 0 || t.seconds[0].what != what || t.seconds[0].n != n {
		t.mu.Unlock()
		return
	}
	due, start := t.seconds[0], t.starting
	t.seconds = nil
	t.mu.Unlock()
	if due.pause > 0 {
		t.tell("%s is stopped for %s", p.name(), due.pause)
		p.mu.Lock()
		p.wakes = time.Now().Add(due.pause)
		p.mu.Unlock()
	}
	start()
}

// leads looks at a call that is about to be sent: only the process that has the
// servers may change anything.
func (p *process) leads(r *http.Request) {
	if r.Method == http.MethodGet {
		return
	}
	p.tool.mu.Lock()
	leader := p.tool.leader
	p.tool.mu.Unlock()
	if leader != p.number {
		p.tool.wrong("%s changes something by %s %s while process %d has the servers", p.name(), r.Method, r.URL.Path, leader)
	}
}

// both runs a process and, where the scenario has one, a second one of the same
// plan. The result is that of whichever had the servers last; the other must
// have been kept from them, or have ended before.
func (t *tool) both(ctx context.Context, tt *testing.T, c *crash) (run.Result, bool, error) {
	s := t.world.scenario
	second := make(chan struct{})
	var started atomic.Bool
	t.mu.Lock()
	t.starting = func() {
		started.Store(true)
		go func() { defer close(second); _, _, _ = t.process(ctx, tt, nil) }()
	}
	first := len(t.begun)
	t.mu.Unlock()
	result, died, err := t.process(ctx, tt, c)
	if !started.Load() {
		return result, died, err
	}
	<-second
	t.mu.Lock()
	defer t.mu.Unlock()
	lead := t.begun[first]
	for _, b := range t.begun[first:] {
		if b.number == t.leader {
			lead = b
		}
	}
	for _, b := range t.begun[first:] {
		if b.number == lead.number || b.died {
			continue
		}
		stop, ok := errors.AsType[*run.StopError](b.err)
		switch {
		case ok && stop.Reason == run.Elsewhere && strings.Contains(b.err.Error(), fmt.Sprintf("process %d", lead.number)):
			what := "a second process was refused"
			if b.number < lead.number {
				what = "a process that was stopped past its hold woke, and did nothing more"
			}
			t.met = append(t.met, what)
		case ok && stop.Reason == run.Elsewhere:
			tt.Errorf("a process was kept from the servers and does not say who has them: %v\n%s", b.err, s)
		default:
			t.met = append(t.met, "a second process after the first")
		}
	}
	return lead.result, lead.died, lead.err
}

// TestTwoProcesses begins a second apply of the same plan at the journal writes
// of the article's move, with the first one at work, and with the first one
// stopped for longer than its hold on the servers lasts, and woken. One of them
// acts at a time, and each flip happens once. All writes take CROSSKEYS_SOAK.
func TestTwoProcesses(t *testing.T) {
	base := articleMove("")
	st := common.of(t, base)
	end := simulateFrom(t, base, st)
	if end.err != nil || end.writes == 0 {
		t.Fatalf("the undisturbed move: %s", end)
	}
	every := twoEvery
	switch {
	case os.Getenv("CROSSKEYS_SOAK") != "":
		every = 1
	case testing.Short() || raced:
		every = 4 * twoEvery
	}
	var mu sync.Mutex
	met := map[string]int{}
	t.Run("writes", func(t *testing.T) {
		for n := 1; n <= end.writes; n += every {
			for _, pause := range []time.Duration{0, 2 * time.Minute} {
				t.Run(fmt.Sprintf("write %d, stopped for %s", n, pause), func(t *testing.T) {
					t.Parallel()
					s := base
					s.second = []second{{"write", n, pause}}
					end := simulateFrom(t, s, st)
					if end.err != nil {
						t.Errorf("one of them was to be done: %v\n%s", end.err, s)
					}
					if len(end.met) == 0 {
						t.Errorf("the second process did not begin\n%s", s)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, what := range end.met {
						met[what]++
					}
				})
			}
		}
	})
	for _, what := range slices.Sorted(maps.Keys(met)) {
		note("  %4d %s", met[what], what)
	}
}
