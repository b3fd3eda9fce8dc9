package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// move is the article's change: one key per region.
func move() plan.Desired {
	return plan.Desired{
		tdetest.PrimaryServer:   {Key: tdetest.Key(tdetest.Subham)},
		tdetest.SecondaryServer: {Key: tdetest.Key(tdetest.Tey)},
	}
}

// ungranted is the article's start without the rights that the move needs.
func ungranted() *tdetest.World {
	w := tdetest.Article()
	for _, server := range []string{tdetest.PrimaryServer, tdetest.SecondaryServer} {
		for _, key := range []string{tdetest.Subham, tdetest.Tey} {
			w.Revoke(server, tdetest.Key(key).Vault())
		}
	}
	return w
}

func planFor(t *testing.T, w *tdetest.World, desired plan.Desired, o plan.Options) plan.Plan {
	t.Helper()
	o.Now = tdetest.Now()
	p, err := plan.Make(w.Clone().Topology, desired, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// trial is a component, a plan for it, and the journal of its runs.
type trial struct {
	*azure
	paper  *paper
	plan   plan.Plan
	events []run.Event
	limits run.Limits
	// options and with change what the next process is asked to do, and how.
	options run.Options
	with    func(e *run.Executor)
}

func newTrial(t *testing.T, w *tdetest.World, desired plan.Desired, o plan.Options) *trial {
	a := newAzure(t, w)
	return &trial{azure: a, paper: &paper{azure: a, left: -1}, plan: planFor(t, w, desired, o)}
}

// apply is one process: it begins alive, with all that is in the journal.
func (tr *trial) apply(ctx context.Context) (run.Result, error) {
	tr.mu.Lock()
	tr.dead = false
	tr.mu.Unlock()
	e := &run.Executor{
		World: tr.azure, Now: time.Now, Limits: tr.limits,
		Begin: func(context.Context, []string) (run.Journal, []journal.Record, error) {
			return tr.paper, slices.Clone(tr.paper.records), nil
		},
		Wait: func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
				return nil
			}
		},
		Progress: func(event run.Event) { tr.events = append(tr.events, event) },
	}
	if tr.with != nil {
		tr.with(e)
	}
	return e.Apply(ctx, tr.plan, tr.options)
}

// noViolation fails when a safety rule was broken at any time.
func (tr *trial) noViolation(t *testing.T) {
	t.Helper()
	for _, v := range tr.violations {
		t.Errorf("a rule was broken: %s", v)
	}
}

// goal is the end state that a full run must reach.
func (tr *trial) goal(t *testing.T, primary string) {
	t.Helper()
	w := tr.world
	for server, want := range tr.plan.Desired() {
		if is := w.At(server).Protector.Key; is != want.Key {
			t.Errorf("the protector of %s is %s, want %s", server, is.Short(), want.Key.Short())
		}
	}
	if g, _ := w.FailoverGroup(tdetest.Group); g.Primary() != primary {
		t.Errorf("primary is %s, want %s", g.Primary(), primary)
	}
	if v := check.Verify(w.Clone().Topology, tr.plan.Desired(), tdetest.Now()); !v.OK {
		t.Errorf("not verified: %+v", v.Findings)
	}
}

func stopOf(t *testing.T, err error) *run.StopError {
	t.Helper()
	stop, ok := errors.AsType[*run.StopError](err)
	if !ok {
		t.Fatalf("want a *StopError, got %v", err)
	}
	return stop
}

func inBubble(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func full() plan.Options { return plan.Options{Drill: true, Failback: true} }

func TestTheMove(t *testing.T) {
	inBubble(t, "one shared key becomes one key per region, drilled there and back", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		result, err := tr.apply(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if result.Status != run.StatusDone {
			t.Errorf("status is %s", result.Status)
		}
		for _, s := range result.Steps {
			if s.Outcome != journal.Done {
				t.Errorf("step %d is %s", s.Step.Number, s.Outcome)
			}
		}
		tr.goal(t, tdetest.PrimaryServer)
		tr.noViolation(t)
	})
	inBubble(t, "intents are written before calls and results after", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range tr.plan.Steps {
			var kinds []journal.Kind
			for _, r := range tr.paper.records {
				if r.Step == s.Number {
					kinds = append(kinds, r.Kind)
				}
			}
			want := []journal.Kind{journal.Intent, journal.Call, journal.Answer, journal.ReadBack, journal.Result}
			if s.Kind == plan.VerifyEncryption {
				want = []journal.Kind{journal.ReadBack, journal.Result}
			}
			if diff := cmp.Diff(want, kinds); diff != "" {
				t.Errorf("step %d (-want +got):\n%s", s.Number, diff)
			}
		}
	})
	inBubble(t, "registrations run side by side and take the time of one", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		began := time.Now()
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		registrations := 0
		for _, s := range tr.plan.Steps {
			if s.Kind == plan.Register {
				registrations++
			}
		}
		if registrations != 4 || tr.maxBusy != registrations {
			t.Errorf("%d of %d registrations ran side by side", tr.maxBusy, registrations)
		}
		// One registration, two flips, and the DEKs on both sides.
		chain := 3*tr.opTime + 2*tr.rewrap
		if took := time.Since(began); took > chain*110/100 {
			t.Errorf("it took %s, the longest forced chain %s", took, chain)
		}
		tr.noViolation(t)
	})
	inBubble(t, "grants of ours that are not yet in force are waited for", func(t *testing.T) {
		tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true})
		began := time.Now()
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		chain := tr.grant + 4*tr.opTime + 2*tr.rewrap
		if took := time.Since(began); took > chain*110/100 {
			t.Errorf("it took %s, the longest forced chain %s", took, chain)
		}
		tr.goal(t, tdetest.PrimaryServer)
		tr.noViolation(t)
	})
	inBubble(t, "service-managed servers come back to it and nothing is left to do", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), plan.Desired{tdetest.PrimaryServer: {}, tdetest.SecondaryServer: {}}, plan.Options{})
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
		again := planFor(t, tr.world, tr.plan.Desired(), plan.Options{})
		if !again.Empty() {
			t.Errorf("a second plan has %d steps", len(again.Steps))
		}
	})
}

func TestEveryCrashEndsInTheSameState(t *testing.T) {
	t.Run("after each journal record", func(t *testing.T) {
		records := 0
		synctest.Test(t, func(t *testing.T) {
			tr := newTrial(t, tdetest.Article(), move(), full())
			if _, err := tr.apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			records = len(tr.paper.records)
		})
		for n := 1; n < records; n++ {
			inBubble(t, fmt.Sprintf("record %d", n), func(t *testing.T) {
				tr := newTrial(t, tdetest.Article(), move(), full())
				tr.paper.left = n
				if _, err := tr.apply(t.Context()); err == nil {
					t.Fatal("the crash was not noticed")
				}
				tr.paper.left = -1
				resume(t, tr)
			})
		}
	})
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true, Drill: true, Failback: true})
		tr.grant = 0
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		calls = len(tr.calls)
	})
	for what, happens := range map[string]accident{
		"after the effect, before its reply": {die: true},
		"while the operation is under way":   {dieBegun: true},
	} {
		t.Run(what, func(t *testing.T) {
			for n := 1; n <= calls; n++ {
				inBubble(t, fmt.Sprintf("call %d", n), func(t *testing.T) {
					tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true, Drill: true, Failback: true})
					tr.grant = 0
					tr.accidents = map[int]accident{n: happens}
					if _, err := tr.apply(t.Context()); err == nil {
						t.Fatal("the crash was not noticed")
					}
					resume(t, tr)
				})
			}
		})
	}
}

// resume applies the plan again after a crash and demands the one end state,
// and no protector change or failover made twice.
func resume(t *testing.T, tr *trial) {
	t.Helper()
	if _, err := tr.apply(t.Context()); err != nil {
		t.Fatalf("resuming: %v", err)
	}
	tr.goal(t, tdetest.PrimaryServer)
	tr.noViolation(t)
	times := map[string]int{}
	for _, effect := range tr.effects {
		times[effect]++
	}
	for effect, n := range times {
		if n > 1 && !strings.HasPrefix(effect, "Register") && !strings.HasPrefix(effect, "Grant") {
			t.Errorf("%s took effect %d times", effect, n)
		}
	}
}

func TestLostReplies(t *testing.T) {
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), full())
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		calls = len(tr.calls)
	})
	for what, happens := range map[string]accident{
		"lost before the effect":             {lostBefore: true},
		"lost after the effect":              {lostAfter: true},
		"lost, and the effect comes at once": {lostLate: 3 * time.Second},
		"lost, and the effect comes late":    {lostLate: 40 * time.Second},
	} {
		for n := 1; n <= calls; n++ {
			inBubble(t, fmt.Sprintf("%s of call %d", what, n), func(t *testing.T) {
				tr := newTrial(t, tdetest.Article(), move(), full())
				tr.accidents = map[int]accident{n: happens}
				result, err := tr.apply(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if result.Status != run.StatusDone {
					t.Errorf("status is %s", result.Status)
				}
				tr.goal(t, tdetest.PrimaryServer)
				tr.noViolation(t)
				if flips := protectorChanges(tr.effects); flips != 2 {
					t.Errorf("%d flips took effect, want 2", flips)
				}
			})
		}
	}
}

func protectorChanges(list []string) int {
	n := 0
	for _, text := range list {
		if strings.HasPrefix(text, "SetProtector") {
			n++
		}
	}
	return n
}

func TestRefusals(t *testing.T) {
	inBubble(t, "a flip refused in the poll stops safely and says what is left", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.accidents = map[int]accident{5: {refuse: poll("SameKeyMaterialNotFoundOnRemoteServer")}}
		result, err := tr.apply(t.Context())
		stop := stopOf(t, err)
		if stop.Reason != run.RefusedByService || stop.Step != 5 || stop.Hint != "do what the message says" {
			t.Errorf("stopped by %+v", stop)
		}
		if n := len(tr.calls); n != 5 {
			t.Errorf("%d calls, want none after the refused one", n)
		}
		var outcomes []journal.Outcome
		for _, s := range result.Steps {
			outcomes = append(outcomes, s.Outcome)
		}
		want := []journal.Outcome{journal.Done, journal.Done, journal.Done, journal.Done, journal.Refused, run.NotBegun, run.NotBegun}
		if diff := cmp.Diff(want, outcomes); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		state := strings.Join(result.State, " ")
		if !strings.Contains(state, "4 took effect (1, 2, 3, 4)") || !strings.Contains(state, "safe to stay") {
			t.Errorf("state: %s", state)
		}
		answers := tr.paper.of(journal.Answer)
		if last := answers[len(answers)-1].Answer; !last.InPoll || last.Code != "SameKeyMaterialNotFoundOnRemoteServer" {
			t.Errorf("the journal has the answer %+v", last)
		}
		tr.accidents = nil
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatalf("applying again from there: %v", err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "a refused registration lets the others finish and begins no flip", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.accidents = map[int]accident{2: {refuse: poll("AzureKeyVaultKeyDisabled")}}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.RefusedByService {
			t.Errorf("stopped by %+v", stop)
		}
		if len(tr.effects) != 3 || protectorChanges(tr.calls) != 0 {
			t.Errorf("effects %q, calls %q", tr.effects, tr.calls)
		}
	})
	inBubble(t, "missing permissions without a grant of ours are a refusal at once", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.accidents = map[int]accident{1: {refuse: poll("AzureKeyVaultMissingPermissions")}}
		began := time.Now()
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.RefusedByService {
			t.Errorf("stopped by %+v", stop)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
	inBubble(t, "a grant that never comes into force is given up on", func(t *testing.T) {
		tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true})
		tr.grant = 1000 * time.Hour
		_, err := tr.apply(t.Context())
		stop := stopOf(t, err)
		if stop.Reason != run.RefusedByService || !strings.Contains(stop.Hint, "grant") {
			t.Errorf("stopped by %+v", stop)
		}
		if protectorChanges(tr.effects) != 0 {
			t.Error("a protector was changed")
		}
	})
	inBubble(t, "a busy service is asked again within the limit", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		busy := accident{refuse: &run.CallError{Code: "TooManyRequests", Status: 503, Retryable: true, RetryAfter: 17 * time.Second}}
		tr.accidents = map[int]accident{5: busy, 6: busy, 7: busy}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "a service that stays busy stops the run", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.accidents = map[int]accident{}
		for n := 5; n < 2000; n++ {
			tr.accidents[n] = accident{refuse: &run.CallError{Code: "EncryptionProtectorChangeInProgress", Status: 409, Retryable: true}}
		}
		began := time.Now()
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.RefusedByService {
			t.Errorf("stopped by %+v", stop)
		}
		if took := time.Since(began); took < 14*time.Minute || took > 20*time.Minute {
			t.Errorf("it gave up after %s", took)
		}
	})
	inBubble(t, "a success that is never seen needs a person", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.accidents = map[int]accident{5: {silent: true}}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Undecided || stop.Step != 5 {
			t.Errorf("stopped by %+v", stop)
		}
		if protectorChanges(tr.calls) != 1 {
			t.Errorf("calls %q", tr.calls)
		}
	})
}

func TestAChangedWorldIsRefused(t *testing.T) {
	other := tdetest.Key("https://testanu2.vault.azure.net/keys/other/29497babb0cb4af58a773104a5dd61e6")
	cases := map[string]func(*tdetest.World){
		"a foreign key was registered": func(w *tdetest.World) { w.AddKey(other, "other"); w.Register(tdetest.PrimaryServer, other) },
		"a key was disabled":           func(w *tdetest.World) { w.AtKey(tdetest.Key(tdetest.Tey)).Enabled = false },
		"a grant was taken away":       func(w *tdetest.World) { w.Revoke(tdetest.SecondaryServer, "testanu2") },
		"somebody failed over":         func(w *tdetest.World) { w.Failover(tdetest.Group, tdetest.SecondaryServer) },
		"a database was added":         func(w *tdetest.World) { w.AddDatabase(tdetest.PrimaryServer, "new") },
		"a protector is another one": func(w *tdetest.World) {
			w.Register(tdetest.PrimaryServer, other)
			w.SetProtector(tdetest.PrimaryServer, other, false)
		},
		"auto-rotation was turned on":           func(w *tdetest.World) { w.SetProtector(tdetest.PrimaryServer, tdetest.Key(tdetest.Shared), true) },
		"something could not be read this time": func(w *tdetest.World) { w.Unread = append(w.Unread, tde.Unread{What: "vault testanu2", Reason: "403"}) },
	}
	for name, change := range cases {
		inBubble(t, name, func(t *testing.T) {
			tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
			change(tr.world)
			result, err := tr.apply(t.Context())
			stop := stopOf(t, err)
			if stop.Reason != run.Changed || stop.Hint == "" {
				t.Errorf("stopped by %+v", stop)
			}
			if len(tr.calls) != 0 || len(tr.paper.of(journal.Intent)) != 0 {
				t.Errorf("calls %q", tr.calls)
			}
			if result.Status != run.StatusStopped {
				t.Errorf("status is %s", result.Status)
			}
			t.Log(err)
		})
	}
	inBubble(t, "what somebody undid between two runs is not done again", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.options.Until = 5
		if _, err := tr.apply(t.Context()); stopOf(t, err).Reason != run.Interrupted {
			t.Fatal(err)
		}
		tr.world.SetProtector(tdetest.SecondaryServer, tdetest.Key(tdetest.Shared), false)
		tr.options.Until = 0
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Changed || stop.Step != 5 {
			t.Errorf("stopped by %+v", stop)
		}
	})
	inBubble(t, "a foreign change between two runs is named", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.options.Until = 5
		if _, err := tr.apply(t.Context()); stopOf(t, err).Reason != run.Interrupted {
			t.Fatal(err)
		}
		tr.world.AtVault("testanu2").PurgeProtection = false
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Changed || !strings.Contains(stop.Error(), "purgeProtection was true and is false") {
			t.Errorf("stopped by %v", stop)
		}
	})
	inBubble(t, "a plan with a blocking finding is refused", func(t *testing.T) {
		tr := newTrial(t, ungranted(), move(), plan.Options{})
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Blocked {
			t.Errorf("stopped by %+v", stop)
		}
	})
	inBubble(t, "what preflight finds only now stops it", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		// The momentary state of a DEK is not part of the fingerprint.
		tr.world.AtDatabase(tdetest.PrimaryServer, "orders").Encryption.State = 6
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Blocked {
			t.Errorf("stopped by %+v", stop)
		}
	})
}

func TestHalfDonePlans(t *testing.T) {
	first := func(n int) func(*testing.T, *trial) {
		return func(t *testing.T, tr *trial) {
			for _, s := range tr.plan.Steps[:n] {
				tr.mu.Lock()
				if err := tr.effect(s); err != nil {
					t.Fatal(err)
				}
				tr.mu.Unlock()
			}
		}
	}
	// Without drill: 4 grants, 4 registrations, 2 flips, verify.
	for n := 0; n <= 10; n++ {
		inBubble(t, fmt.Sprintf("%d steps done by hand and no journal", n), func(t *testing.T) {
			tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true})
			tr.grant = 0
			first(n)(t, tr)
			result, err := tr.apply(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := 10 - n; len(tr.calls) != want {
				t.Errorf("%d calls, want %d", len(tr.calls), want)
			}
			for _, s := range result.Steps[:n] {
				if s.Outcome != journal.AlreadyThere || !s.Earlier {
					t.Errorf("step %d is %s", s.Step.Number, s.Outcome)
				}
			}
			tr.goal(t, tdetest.PrimaryServer)
		})
	}
	inBubble(t, "a grant that completes an access policy that was there is recognised", func(t *testing.T) {
		w := ungranted()
		w.Grants = append(w.Grants, tde.Grant{
			Server: tdetest.PrimaryServer, PrincipalID: w.At(tdetest.PrimaryServer).Identity.PrincipalID, Vault: "testanu2", Via: "access policy", Get: true, Wrap: true,
		})
		tr := newTrial(t, w, move(), plan.Options{Grant: true})
		tr.grant = 0
		for i := range w.Grants {
			w.Grants[i].Unwrap = true
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "a finished plan applied again calls nothing", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		calls := len(tr.calls)
		if _, err := tr.apply(t.Context()); err != nil || len(tr.calls) != calls {
			t.Errorf("err %v, %d more calls", err, len(tr.calls)-calls)
		}
	})
}

func TestTheWorldMovesDuringTheRun(t *testing.T) {
	inBubble(t, "a failover by somebody else stops it before the next flip", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.onEffect = func(s plan.Step, w *tdetest.World) {
			if s.Kind == plan.SetProtector {
				w.Failover(tdetest.Group, tdetest.SecondaryServer)
			}
		}
		result, err := tr.apply(t.Context())
		stop := stopOf(t, err)
		if stop.Reason != run.RoleChange || stop.Step != 6 || !strings.Contains(stop.What, "failed it over") {
			t.Errorf("stopped by %+v", stop)
		}
		if protectorChanges(tr.calls) != 1 {
			t.Errorf("calls %q", tr.calls)
		}
		if !strings.Contains(strings.Join(result.State, " "), tdetest.SecondaryServer+" is the primary") {
			t.Errorf("state %q", result.State)
		}
		tr.noViolation(t)
	})
	inBubble(t, "a key that somebody took away again stops it before the flip", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		// All registrations have been seen by then, and the flip has been looked
		// at once.
		tr.with = func(e *run.Executor) {
			e.Before = func(_ context.Context, s plan.Step) error {
				if s.Kind == plan.SetProtector {
					tr.mu.Lock()
					defer tr.mu.Unlock()
					tr.world.Deregister(tdetest.PrimaryServer, tdetest.Key(tdetest.Tey))
				}
				return nil
			}
		}
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Changed || protectorChanges(tr.calls) != 0 {
			t.Errorf("stopped by %+v after %q", stop, tr.calls)
		}
	})
	inBubble(t, "a failover waits for links in CATCH_UP", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), nil, plan.Options{Drill: true})
		n := 0
		tr.readError = func() error { // counts reads; the link goes out of step after the first
			if n++; n == 1 {
				tr.world.Links[0].State = "SEEDING"
				time.AfterFunc(5*time.Minute, func() {
					tr.mu.Lock()
					defer tr.mu.Unlock()
					tr.world.Links[0].State = tde.StateCatchUp
				})
			}
			return nil
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.SecondaryServer)
	})
	inBubble(t, "replicas that never follow are a refusal by verification", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.rewrap = 1000 * time.Hour
		began := time.Now()
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Blocked || stop.Step != 7 {
			t.Errorf("stopped by %+v", stop)
		}
		if took := time.Since(began); took < 15*time.Minute || took > 17*time.Minute {
			t.Errorf("it gave up after %s", took)
		}
	})
	inBubble(t, "an encryption state that cannot be read is not waited for long", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		for i := range tr.world.Servers {
			for d := range tr.world.Servers[i].Databases {
				tr.world.Servers[i].Databases[d].Encryption = nil
			}
		}
		tr.rewrap = 1000 * time.Hour
		began := time.Now()
		_, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Blocked {
			t.Errorf("stopped by %+v", stop)
		}
		if took := time.Since(began); took > 3*time.Minute {
			t.Errorf("it gave up after %s", took)
		}
	})
}

func TestPause(t *testing.T) {
	inBubble(t, "the call in hand is finished and written down", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(12*time.Second, cancel) // in the middle of the first flip
		result, err := tr.apply(ctx)
		if stop := stopOf(t, err); stop.Reason != run.Interrupted || result.Status != run.StatusPaused {
			t.Errorf("stopped by %+v, status %s", stop, result.Status)
		}
		if protectorChanges(tr.effects) != 1 || result.Steps[4].Outcome != journal.Done || result.Steps[5].Outcome != run.NotBegun {
			t.Errorf("effects %q, %+v", tr.effects, result.Steps[4:])
		}
		ends := tr.paper.of(journal.End)
		if len(ends) != 1 || ends[0].End.Status != string(run.StatusPaused) {
			t.Errorf("the journal ends with %+v", ends)
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
		if protectorChanges(tr.effects) != 2 {
			t.Errorf("effects %q", tr.effects)
		}
	})
	inBubble(t, "a wait for a grant is left at once", func(t *testing.T) {
		tr := newTrial(t, ungranted(), move(), plan.Options{Grant: true})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		time.AfterFunc(5*time.Minute, cancel)
		_, err := tr.apply(ctx)
		if stop := stopOf(t, err); stop.Reason != run.Interrupted {
			t.Errorf("stopped by %+v", stop)
		}
		if took := time.Since(began); took > 5*time.Minute+2*tr.opTime {
			t.Errorf("it went on for %s", took)
		}
		if _, err := tr.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		tr.goal(t, tdetest.PrimaryServer)
	})
	inBubble(t, "it goes as far as it is told", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		tr.options.Until = 4
		result, err := tr.apply(t.Context())
		if stop := stopOf(t, err); stop.Reason != run.Interrupted || result.Status != run.StatusPaused || len(tr.calls) != 4 {
			t.Errorf("stopped by %+v, calls %q", stop, tr.calls)
		}
	})
}

func TestDryRunAndExclusion(t *testing.T) {
	inBubble(t, "a dry run judges and calls nothing", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		e := &run.Executor{World: tr.azure, Now: time.Now}
		result, err := e.Apply(t.Context(), tr.plan, run.Options{DryRun: true})
		if err != nil || result.Status != run.StatusDryRun || len(tr.calls) != 0 {
			t.Errorf("err %v, status %s, calls %q", err, result.Status, tr.calls)
		}
		tr.world.AtKey(tdetest.Key(tdetest.Tey)).Enabled = false
		if _, err := e.Apply(t.Context(), tr.plan, run.Options{DryRun: true}); stopOf(t, err).Reason != run.Changed {
			t.Error(err)
		}
	})
	inBubble(t, "a component that another run holds is left alone", func(t *testing.T) {
		tr := newTrial(t, tdetest.Article(), move(), plan.Options{})
		var asked []string
		e := &run.Executor{World: tr.azure, Now: time.Now, Begin: func(_ context.Context, servers []string) (run.Journal, []journal.Record, error) {
			asked = servers
			return nil, nil, journal.ErrHeld
		}}
		_, err := e.Apply(t.Context(), tr.plan, run.Options{})
		if stop := stopOf(t, err); stop.Reason != run.Elsewhere || !errors.Is(err, journal.ErrHeld) || len(asked) != 2 || len(tr.calls) != 0 {
			t.Errorf("stopped by %+v", stop)
		}
	})
}
