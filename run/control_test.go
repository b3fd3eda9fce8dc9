package run_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func failovers(list []string) int {
	return len(slices.DeleteFunc(slices.Clone(list), func(text string) bool { return !strings.HasPrefix(text, "PlannedFailover") }))
}

// somebodyFailsOver makes somebody else fail the group over right after our
// n-th effect.
func somebodyFailsOver(tr *trial, n int) {
	seen := 0
	tr.onEffect = func(_ plan.Step, w *tdetest.World) {
		if seen++; seen == n {
			g, _ := w.FailoverGroup(tdetest.Group)
			w.Failover(tdetest.Group, g.Secondaries()[0])
			tr.propagate()
		}
	}
}

func TestAFailoverBySomebodyElse(t *testing.T) {
	agree := func(e *run.Executor) {
		e.Agree = func(_ context.Context, why string, next plan.Plan) (string, error) {
			if !strings.Contains(why, "failed it over") && !strings.Contains(why, "failed over") {
				return "", errors.New("why is not told: " + why)
			}
			if next.Proof == nil && !next.Empty() {
				return "", errors.New("the new plan is not proved")
			}
			return "the test", nil
		}
	}
	t.Run("a new plan is agreed to and carried out, whenever it came", func(t *testing.T) {
		for n := 1; n <= 6; n++ {
			inBubble(t, "after effect", func(t *testing.T) {
				tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
				tr.with = agree
				somebodyFailsOver(tr, n)
				result, err := tr.apply(t.Context())
				if err != nil {
					t.Fatalf("after effect %d: %v", n, err)
				}
				tr.goal(t, tdetest.SecondaryServer)
				tr.noViolation(t)
				replans := tr.paper.of(journal.Replan)
				if n <= 5 && (len(replans) != 1 || replans[0].Replan.By != "the test" || len(result.Replanned) != 1) {
					t.Errorf("after effect %d: %d replans in the journal, %q", n, len(replans), result.Replanned)
				}
				if flips := protectorChanges(tr.effects); flips != 2 {
					t.Errorf("after effect %d: %d flips took effect", n, flips)
				}
			})
		}
	})
	inBubble(t, "nobody agrees: it stops and says why", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = func(e *run.Executor) {
			e.Agree = func(context.Context, string, plan.Plan) (string, error) { return "", nil }
		}
		somebodyFailsOver(tr, 5)
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.RoleChange || !strings.Contains(stop.Hint, "--auto-replan") {
			t.Errorf("%+v", stop)
		}
		if len(tr.paper.of(journal.Replan)) != 0 || protectorChanges(tr.calls) != 1 {
			t.Errorf("%q", tr.calls)
		}
		tr.onEffect = nil
		// The next process finds the same, and is told to go on.
		if _, err := tr.apply(t.Context()); stopOf(t, err).Reason != run.RoleChange {
			t.Error(err)
		}
		tr.with = agree
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.SecondaryServer)
		tr.noViolation(t)
		if flips := protectorChanges(tr.effects); flips != 2 {
			t.Errorf("%d flips took effect", flips)
		}
	})
	inBubble(t, "a process that dies after the new plan is followed by one that goes on with it", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = agree
		somebodyFailsOver(tr, 5)
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(tr.paper.records, func(r journal.Record) bool { return r.Kind == journal.Replan })
		for left := at + 1; left < len(tr.paper.records); left++ {
			again := newTrial(t, tdetest.Article(), move(), plan.Options{})
			again.with = agree
			somebodyFailsOver(again, 5)
			again.paper.left = left
			if _, err := again.apply(t.Context()); err == nil {
				t.Fatal("the crash was not noticed")
			}
			again.paper.left = -1
			if _, err := again.apply(t.Context()); err != nil {
				t.Fatalf("after record %d: %v", left, err)
			}
			again.goal(t, tdetest.SecondaryServer)
			again.noViolation(t)
			if flips := protectorChanges(again.effects); flips != 2 || len(again.paper.of(journal.Replan)) != 1 {
				t.Errorf("after record %d: %d flips took effect, %d replans", left, flips, len(again.paper.of(journal.Replan)))
			}
		}
	})
	inBubble(t, "a drill that has not begun is part of the new plan", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		tr.with = agree
		somebodyFailsOver(tr, 5)
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.SecondaryServer) // there and back again from where it was
		if n := failovers(tr.effects); n != 2 {
			t.Errorf("%d failovers of ours", n)
		}
		tr.noViolation(t)
	})
	inBubble(t, "what another process did while this one read is not taken for undone", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		first := true
		tr.with = func(e *run.Executor) {
			begin := e.Begin
			e.Begin = func(ctx context.Context, servers []string) (run.Journal, []journal.Record, error) {
				if first {
					first = false
					if _, err := tr.apply(ctx); err != nil {
						t.Errorf("the other process: %v", err)
					}
				}
				return begin(ctx, servers)
			}
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
		if flips, there := protectorChanges(tr.effects), failovers(tr.effects); flips != 2 || there != 2 {
			t.Errorf("%d flips and %d failovers took effect", flips, there)
		}
	})
	inBubble(t, "one who fails over again and again is no match for a tool", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = func(e *run.Executor) {
			e.Agree = func(context.Context, string, plan.Plan) (string, error) {
				g, _ := tr.world.FailoverGroup(tdetest.Group)
				tr.world.Failover(tdetest.Group, g.Secondaries()[0])
				return "the test", nil
			}
			e.Before = func(context.Context, plan.Step) error {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				g, _ := tr.world.FailoverGroup(tdetest.Group)
				tr.world.Failover(tdetest.Group, g.Secondaries()[0])
				return nil
			}
		}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.RoleChange || len(tr.paper.of(journal.Replan)) > 3 {
			t.Errorf("%+v", stop)
		}
		tr.noViolation(t)
	})
}

func TestWindowsHoldsAndHooks(t *testing.T) {
	inBubble(t, "protectors change in the window only; registrations do not wait", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		w, err := run.ParseWindow("05:00-05:30 UTC") // the bubble begins at midnight
		if err != nil {
			t.Fatal(err)
		}
		tr.options.Windows = []run.Window{w}
		began := time.Now()
		registered, flipped := time.Duration(0), []time.Duration{}
		tr.onEffect = func(s plan.Step, _ *tdetest.World) {
			if s.Kind == plan.SetProtector {
				flipped = append(flipped, time.Since(began))
			} else {
				registered = time.Since(began)
			}
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if registered > time.Minute || len(flipped) != 2 || flipped[0] < 5*time.Hour || flipped[1] > 5*time.Hour+2*time.Minute {
			t.Errorf("registered after %s, flipped after %s", registered, flipped)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "what changes while it waits for the window is seen", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		w, err := run.ParseWindow("05:00-05:30")
		if err != nil {
			t.Fatal(err)
		}
		tr.options.Windows = []run.Window{w}
		time.AfterFunc(3*time.Hour, func() {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.world.AtKey(tdetest.Key(tdetest.Tey)).Enabled = false
		})
		_, err = tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Changed && stop.Reason != run.Blocked {
			t.Errorf("%+v", stop)
		}
		if protectorChanges(tr.calls) != 0 {
			t.Errorf("%q", tr.calls)
		}
	})
	inBubble(t, "a wait for a window is left when the run is to pause", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		w, err := run.ParseWindow("05:00-05:30")
		if err != nil {
			t.Fatal(err)
		}
		tr.options.Windows = []run.Window{w}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Hour, cancel)
		if _, err := tr.apply(ctx); stopOf(t, err).Reason != run.Interrupted {
			t.Error(err)
		}
	})
	inBubble(t, "it holds before the first flip, and before the drill", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		tr.options.HoldBefore = []plan.Kind{plan.SetProtector}
		if _, err := tr.apply(t.Context()); stopOf(t, err).Reason != run.Interrupted || protectorChanges(tr.calls) != 0 || len(tr.calls) != 4 {
			t.Errorf("%v %q", err, tr.calls)
		}
		tr.options.HoldBefore = []plan.Kind{plan.PlannedFailover}
		if _, err := tr.apply(t.Context()); stopOf(t, err).Reason != run.Interrupted || protectorChanges(tr.effects) != 2 || failovers(tr.calls) != 0 {
			t.Errorf("%v %q", err, tr.calls)
		}
		tr.options.HoldBefore = nil
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "hooks run around each change and around nothing else", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		before, after := map[int]int{}, map[int]int{}
		count := func(of map[int]int) func(context.Context, plan.Step) error {
			return func(_ context.Context, s plan.Step) error {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				of[s.Number]++
				return nil
			}
		}
		tr.with = func(e *run.Executor) { e.Before, e.After = count(before), count(after) }
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range tr.plan.Steps {
			want := 1
			if s.Kind == plan.VerifyEncryption {
				want = 0
			}
			if before[s.Number] != want || after[s.Number] != want {
				t.Errorf("step %d (%s): %d before, %d after", s.Number, s.Kind, before[s.Number], after[s.Number])
			}
		}
	})
	inBubble(t, "a pre-hook that fails stops the run before the call", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = func(e *run.Executor) {
			e.Before = func(_ context.Context, s plan.Step) error {
				if s.Kind == plan.SetProtector {
					return errors.New("the change board says no")
				}
				return nil
			}
		}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Blocked || stop.Step != 5 || !strings.Contains(err.Error(), "board says no") || protectorChanges(tr.calls) != 0 {
			t.Errorf("%+v %q", stop, tr.calls)
		}
	})
	inBubble(t, "a post-hook that fails is a warning and is written down", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = func(e *run.Executor) {
			e.After = func(context.Context, plan.Step) error { return errors.New("the pager is broken") }
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		told := slices.ContainsFunc(tr.events, func(e run.Event) bool { return e.Name == run.Warned && strings.Contains(e.Text, "pager") })
		noted := slices.ContainsFunc(tr.paper.of(journal.Note), func(r journal.Record) bool { return strings.Contains(r.Note, "pager") })
		if !told || !noted {
			t.Errorf("told %t, noted %t", told, noted)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
}

func TestWhoeverLosesTheServersCallsNothing(t *testing.T) {
	fenced := &journal.FencedError{Server: tdetest.PrimaryServer, Run: "another"}
	inBubble(t, "when it is asked right before a call", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		asked := 0
		tr.with = func(e *run.Executor) {
			e.Permit = func(context.Context) error {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				if asked++; asked > 8 { // before each intent, and before each call
					return fenced
				}
				return nil
			}
		}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Elsewhere || !errors.Is(err, fenced) || len(tr.calls) != 4 || protectorChanges(tr.calls) != 0 {
			t.Errorf("%+v %q", stop, tr.calls)
		}
		tr.with = nil
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "when the journal refuses what it writes", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.with = func(e *run.Executor) {
			begin := e.Begin
			e.Begin = func(ctx context.Context, servers []string) (run.Journal, []journal.Record, error) {
				j, records, err := begin(ctx, servers)
				return refusing{j, journal.Intent, fenced}, records, err
			}
		}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Elsewhere || len(tr.calls) != 0 {
			t.Errorf("%+v %q", stop, tr.calls)
		}
	})
	inBubble(t, "when its context ends for that cause, in the middle of a call", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		time.AfterFunc(12*time.Second, func() { cancel(run.LostServers(0, fenced)) })
		result, err := tr.apply(ctx)
		if stop := stopOf(t, err); stop.Reason != run.Elsewhere || result.Status != run.StatusStopped || protectorChanges(tr.calls) != 1 {
			t.Errorf("%+v %q", stop, tr.calls)
		}
		if len(tr.paper.of(journal.End)) != 0 {
			t.Error("it wrote an end into a journal that is another's now")
		}
	})
	inBubble(t, "an aborted run ends as one", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		time.AfterFunc(12*time.Second, func() { cancel(&run.StopError{Reason: run.Aborted, What: "aborted by somebody"}) })
		result, err := tr.apply(ctx)
		if stop := stopOf(t, err); stop.Reason != run.Aborted || result.Status != run.StatusAborted || !strings.Contains(err.Error(), "by somebody") {
			t.Errorf("%+v %s", stop, result.Status)
		}
		if ends := tr.paper.of(journal.End); len(ends) != 1 || ends[0].End.Status != journal.StatusAborted {
			t.Errorf("%+v", ends)
		}
	})
}

// refusing is a journal that refuses records of one kind.
type refusing struct {
	run.Journal
	kind journal.Kind
	err  error
}

func (j refusing) Append(r journal.Record) error {
	if r.Kind == j.kind {
		return j.err
	}
	return j.Journal.Append(r)
}

func TestReadsThatFail(t *testing.T) {
	failing := func(tr *trial, from, until int, err error) {
		reads := 0
		tr.readError = func() error {
			if reads++; reads >= from && reads < until {
				return err
			}
			return nil
		}
	}
	inBubble(t, "a throttled read waits as long as the service asks", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		failing(tr, 1, 4, &run.CallError{Code: "TooManyRequests", Status: 429, Retryable: true, RetryAfter: 40 * time.Second})
		began := time.Now()
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 120*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	inBubble(t, "a read that is refused for good is not repeated", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		failing(tr, 4, 1000, &run.CallError{Code: "AuthorizationFailed", Status: 403, Hint: "ask for Reader"})
		began := time.Now()
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Broken && stop.Reason != run.Undecided || stop.Hint != "ask for Reader" || time.Since(began) > 2*time.Minute {
			t.Errorf("%+v after %s", stop, time.Since(began))
		}
	})
	inBubble(t, "a part that cannot be read for a while is waited for, and is no change of the world", func(t *testing.T) {
		unread := tde.Unread{What: "server " + tdetest.SecondaryServer, Reason: "GatewayTimeout", Passing: true}
		for _, lasts := range []time.Duration{90 * time.Second, time.Hour} {
			tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
			tr.world.Unread = append(tr.world.Unread, unread)
			over := time.AfterFunc(lasts, func() {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				tr.world.Unread = nil
			})
			_, err := tr.apply(t.Context())
			over.Stop()
			if lasts < time.Hour {
				if err != nil {
					t.Error(err)
				}
				tr.goal(t, tdetest.PrimaryServer)
				continue
			}
			if stop := stopOf(t, err); stop.Reason != run.Broken || stop.Hint == "" || !strings.Contains(err.Error(), unread.What) || len(tr.calls) > 0 {
				t.Errorf("%+v after %v", stop, tr.calls)
			}
		}
	})
	inBubble(t, "repetitions are spread in time", func(t *testing.T) {
		took := map[float64]time.Duration{}
		for _, jitter := range []float64{0, 0.99} {
			tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
			tr.with = func(e *run.Executor) { e.Jitter = func() float64 { return jitter } }
			busy := accident{refuse: &run.CallError{Code: "TooManyRequests", Status: 429, Retryable: true, RetryAfter: 20 * time.Second}}
			tr.accidents = map[int]accident{5: busy, 6: busy}
			began := time.Now()
			if _, err := tr.apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			took[jitter] = time.Since(began)
		}
		if more := took[0.99] - took[0]; more < 5*time.Second || more > 25*time.Second {
			t.Errorf("%s more", more)
		}
	})
}
