package sim

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

// start is a world at a scenario's start, in a lab's folder, of which each trial
// takes a copy.
type start struct {
	once       sync.Once
	made       bool
	dir        string
	at         time.Time // when the lab was closed, by the bubble's clock
	given      int64     // RSA keys that the lab was given
	principals []string
	keys       map[string]tde.KeyID
	forth      plan.Plan // what the tool has carried out there, where the scenario begins after that

	mu    sync.Mutex
	plans map[plan.Options]*firstPlan
}

// firstPlan is the plan that is made from a start, and how often it was asked
// for.
type firstPlan struct {
	plan  plan.Plan
	hash  string
	asked int
}

// madeEvery is how often the plan from a start is made anew all the same, to see
// that it is the one that was made before.
const madeEvery = 16

// planned gives the plan that was made from the start, unless it is to be made
// anew: once more, and once in a while.
func (st *start) planned(o plan.Options) (plan.Plan, string, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	known := st.plans[o]
	if known == nil {
		return plan.Plan{}, "", false
	}
	known.asked++
	if known.asked <= 1 || known.asked%madeEvery == 0 {
		return plan.Plan{}, "", false
	}
	return known.plan, known.hash, true
}

// plannedAs keeps the plan that was made from the start. Another one than before
// is an error: then trials do not begin in the same world.
func (st *start) plannedAs(o plan.Options, made plan.Plan, hash string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	known := st.plans[o]
	if known == nil {
		if st.plans == nil {
			st.plans = map[plan.Options]*firstPlan{}
		}
		st.plans[o] = &firstPlan{plan: made, hash: hash}
		return nil
	}
	if known.hash != hash {
		return fmt.Errorf("the same start was planned from twice, with different plans: %s", gocmp.Diff(known.plan, made))
	}
	return nil
}

// starts are the starts that several scenarios have, made once each.
type starts struct {
	root string // a folder for them, removed by TestMain
	mu   sync.Mutex
	made map[string]*start
}

// common are the starts of all tests.
var common = &starts{made: map[string]*start{}}

// of gives the start of a scenario, made where it is the first to ask. It is not
// to be called in a bubble.
func (all *starts) of(t *testing.T, s scenario) *start {
	t.Helper()
	all.mu.Lock()
	text := s.start().String()
	found := all.made[text]
	if found == nil {
		found = &start{}
		all.made[text] = found
	}
	all.mu.Unlock()
	found.once.Do(func() {
		dir, err := os.MkdirTemp(all.root, "start-") //nolint:usetesting // it outlives the test that is the first to ask
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) { found.make(t, s.start(), dir) })
	})
	if !found.made {
		t.Fatal("the scenario's start could not be made")
	}
	return found
}

// newStart makes a start for one scenario alone.
func newStart(t *testing.T, s scenario) *start {
	t.Helper()
	alone := starts{root: t.TempDir(), made: map[string]*start{}}
	return alone.of(t, s)
}

// resting is longer than anything goes on that was begun for a start.
const resting = 5 * time.Minute

func (st *start) make(t *testing.T, s scenario, dir string) {
	t.Helper()
	w := &world{scenario: s, keys: map[string]tde.KeyID{}, newest: map[string]tde.KeyID{}}
	w.open(t, dir)
	defer func() {
		w.close(t)
		st.at, st.made = time.Now(), !t.Failed()
	}()
	w.make(t)
	if s.moved {
		st.forth = move(t, w)
	}
	time.Sleep(resting)
	st.dir, st.given, st.principals, st.keys = dir, w.given.Load(), w.principals, w.keys
}

// move has the tool bring about what the scenario wants, with nobody in its way;
// the plan is empty, or blocked, where there is nothing to do, or no way.
func move(t *testing.T, w *world) plan.Plan {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	tool := newTool(w, t.TempDir())
	begin, err := tool.makePlan(ctx, w.desired(), plan.Options{Grant: w.scenario.grant})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.scenario)
	}
	if begin {
		if result, _, err := tool.process(ctx, t, nil); err != nil || result.Status != run.StatusDone {
			t.Fatalf("the move before the scenario: %s, %v\n%s", result.Status, err, w.scenario)
		}
	}
	return tool.plan
}

// takingUp is how long a lab that has just started may still be taking its
// replication up again.
const takingUp = 10 * time.Second

// world begins a trial: at the moment when the start was closed, from a copy of
// it.
func (st *start) world(t *testing.T, s scenario, dir string) *world {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(st.dir)); err != nil {
		t.Fatalf("copy the scenario's start: %v", err)
	}
	w := &world{scenario: s, start: st, principals: slices.Clone(st.principals), keys: maps.Clone(st.keys), newest: map[string]tde.KeyID{}}
	w.given.Store(st.given)
	time.Sleep(time.Until(st.at))
	w.open(t, dir)
	time.Sleep(takingUp)
	return w
}
