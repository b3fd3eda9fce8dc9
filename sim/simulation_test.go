package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
)

// deadline is how long a scenario may take on its own time. It has to end well
// before.
const deadline = 12 * time.Hour

// patience is how long a scenario may take on the machine's clock.
const patience = 3 * time.Minute

// ending is how a scenario went.
type ending struct {
	blocked  bool // nothing was begun: there was no plan, or findings forbid it
	status   run.Status
	reason   run.Reason
	err      error
	result   run.Result
	calls    int
	writes   int
	did      []string
	crashed  int
	virtual  time.Duration
	attempts int // further plans until the goal was reached
	told     []string
	struck   int   // calls that a fault has struck
	changes  []int // see tool
	intents  []int
}

// String sums the ending up.
func (e ending) String() string {
	if e.blocked {
		return "not begun"
	}
	return fmt.Sprintf("%s %s after %d calls, %d writes, %d plans; others: %v; %v", e.status, e.reason, e.calls, e.writes, e.attempts, e.did, e.err)
}

// simulate runs a scenario in a bubble and checks it.
func simulate(t *testing.T, s scenario) (end ending) {
	t.Helper()
	journals := t.TempDir()
	// Where something waits that no virtual time helps, the bubble would stand
	// still for good.
	stuck := time.AfterFunc(patience, func() { panic(fmt.Sprintf("a scenario hangs:\n%s", s)) })
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s)
		defer w.close(t)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		tool := &tool{world: w, journals: journals, others: s.other, protectors: history{}, intended: map[string][]string{}}
		end = tool.runScenario(ctx, t)
		end.virtual = time.Since(began)
		end.calls, end.writes, end.did, end.told = tool.calls, tool.writes, tool.did, tool.told
		end.changes, end.intents, end.crashed = tool.changes, tool.intents, tool.crashed
		if t.Failed() {
			t.Logf("what was told:\n%s", strings.Join(tool.told, "\n"))
		}
	})
	return end
}

// makePlan plans and proves as the verb plan does.
func (t *tool) makePlan(ctx context.Context, o plan.Options) (bool, error) {
	topology, err := t.world.observe(ctx)
	if err != nil {
		return false, fmt.Errorf("observe: %w", err)
	}
	o.Now, o.Group = time.Now(), groupName(0)
	made, err := plan.Make(topology, t.world.desired(), o)
	if err != nil {
		return false, fmt.Errorf("plan: %w", err)
	}
	t.plan = made
	if made.Blocked() || made.Empty() {
		return false, nil
	}
	proof, err := plan.Prove(topology, made, time.Now())
	if err != nil {
		return false, fmt.Errorf("prove: %w", err)
	}
	if !proof.Proved {
		return false, fmt.Errorf("the plan is not safe: %s", strings.Join(proof.Story, "; then "))
	}
	t.plan.Proof = &proof
	t.planned(t.plan)
	t.hash, err = plan.Hash(t.plan)
	return true, err
}

func (t *tool) runScenario(ctx context.Context, tt *testing.T) (end ending) {
	s := t.world.scenario
	begin, err := t.makePlan(ctx, plan.Options{Grant: s.grant, Drill: s.drill, Failback: s.failback})
	if err != nil {
		tt.Errorf("%v\n%s", err, s)
		return end
	}
	if !begin {
		end.blocked = true
		return end
	}
	began := time.Now()
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); t.watch(watching) }()
	defer func() {
		stop()
		<-watched
		for _, wrong := range append(t.flipsWrong(), t.rulesBroken(began)...) {
			tt.Errorf("%s\n%s", wrong, s)
		}
	}()
	if err := t.world.lab.SetFaults(fmt.Sprintf("seed %d\n%s", s.seed%1000000+1, strings.Join(s.faults, "\n"))); err != nil {
		tt.Errorf("%v\n%s", err, s)
		return end
	}
	end.result, end.err = t.toTheEnd(ctx, tt, s.crashes)
	end.status = end.result.Status
	if stop, ok := errors.AsType[*run.StopError](end.err); ok {
		end.reason = stop.Reason
	}
	t.checkWord(tt, end)
	if ctx.Err() != nil {
		tt.Errorf("the run has not ended within %s\n%s", deadline, s)
		return end
	}
	end.struck = len(t.world.lab.Faults().Hits)
	if err := t.world.lab.SetFaults(""); err != nil {
		tt.Error(err)
	}
	t.mu.Lock()
	t.others = nil
	t.mu.Unlock()
	if end.err != nil {
		end.attempts = t.recover(ctx, tt)
	}
	t.checkGoal(ctx, tt)
	return end
}

// toTheEnd runs processes until one ends that does not die.
func (t *tool) toTheEnd(ctx context.Context, tt *testing.T, crashes []crash) (run.Result, error) {
	for i := range len(crashes) + 1 {
		var c *crash
		if i < len(crashes) {
			c = &crashes[i]
		}
		result, died, err := t.process(ctx, tt, c)
		if !died {
			return result, err
		}
		// Somebody notices and starts it again.
		if wait(ctx, time.Duration(1+t.writes%90)*time.Second) != nil {
			return result, err
		}
	}
	tt.Error("the last process died, which was not to die")
	return run.Result{}, nil
}

// recover plans anew from what is there, as the stopped run says, until the
// goal is reached.
func (t *tool) recover(ctx context.Context, tt *testing.T) (attempts int) {
	s := t.world.scenario
	if err := t.healed(ctx); err != nil {
		tt.Errorf("heal: %v\n%s", err, s)
	}
	for attempts = 1; attempts <= 3; attempts++ {
		begin, err := t.makePlan(ctx, plan.Options{Grant: true})
		if err != nil {
			tt.Errorf("plan again: %v\n%s", err, s)
			return attempts
		}
		if !begin && t.plan.Empty() {
			return attempts
		}
		if !begin {
			tt.Errorf("the plan from what a stopped run left is blocked: %v\n%s", blockersOf(t.plan.Findings), s)
			return attempts
		}
		result, err := t.toTheEnd(ctx, tt, nil)
		if err == nil && result.Status == run.StatusDone {
			return attempts
		}
		t.tell("the new plan stopped: %v", err)
	}
	tt.Errorf("three new plans have not reached the goal\n%s", s)
	return attempts
}

// healed gives back what was revoked and waits until all is at rest.
func (t *tool) healed(ctx context.Context) error {
	for _, o := range t.world.scenario.other {
		if o.does == "revoke" {
			if err := t.world.regrant(ctx, t.world.revocable(), o.to, true); err != nil {
				return err
			}
		}
	}
	return wait(ctx, 16*time.Minute)
}

func blockersOf(findings []check.Finding) []string {
	var list []string
	for _, f := range findings {
		if f.Severity == check.Blocker {
			list = append(list, f.Rule+": "+f.What)
		}
	}
	return list
}

// checkGoal: once all is at rest, every protector is as wanted and wraps every
// DEK that it must.
func (t *tool) checkGoal(ctx context.Context, tt *testing.T) {
	for range 20 {
		topology, err := t.world.observe(ctx)
		if err == nil {
			v := check.Verify(topology, t.world.desired(), time.Now())
			if v.OK {
				return
			}
			err = fmt.Errorf("%v", blockersOf(v.Findings))
		}
		t.tell("the goal is not reached: %v", err)
		if wait(ctx, 30*time.Second) != nil {
			break
		}
	}
	tt.Errorf("the goal is not reached\n%s", t.world.scenario)
}

// ciScenarios is how many scenarios every test run goes through, from the seed
// 1 on; fewer in short runs, and under the race detector, which makes them ten
// times as dear.
const ciScenarios = 150

func TestSimulation(t *testing.T) {
	n := ciScenarios
	switch {
	case testing.Short():
		n = 10
	case raced:
		n = 30
	}
	simulateSeeds(t, 1, n)
}

// TestSoakSimulation goes through CROSSKEYS_SCENARIOS further scenarios (10,000),
// or as many as the test's time limit allows.
func TestSoakSimulation(t *testing.T) {
	if os.Getenv("CROSSKEYS_SOAK") == "" {
		t.Skip("CROSSKEYS_SOAK is not set")
	}
	n, err := strconv.Atoi(cmp.Or(os.Getenv("CROSSKEYS_SCENARIOS"), "10000"))
	if err != nil {
		t.Fatal(err)
	}
	from, err := strconv.ParseUint(cmp.Or(os.Getenv("CROSSKEYS_SEED"), "1000"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	simulateSeeds(t, from, n)
}

// reserve is how long before the test's time limit no scenario is begun any
// more.
const reserve = time.Minute

// leaveInTime skips what there is no time left for, as a soak means to; where CI
// is set nothing may be left out unseen, so there it fails.
func leaveInTime(t *testing.T, limit time.Time, limited bool) {
	t.Helper()
	if !limited || time.Until(limit) >= reserve {
		return
	}
	if os.Getenv("CI") != "" && os.Getenv("CROSSKEYS_SOAK") == "" {
		t.Fatal("there is no time left")
	}
	t.Skip("there is no time left")
}

// simulateSeeds runs n scenarios side by side, and says how many ended how.
func simulateSeeds(t *testing.T, from uint64, n int) {
	var mu sync.Mutex
	counts := map[string]int{}
	limit, limited := t.Deadline()
	began := cpu()
	t.Run("seeds", func(t *testing.T) {
		for seed := from; seed < from+uint64(n); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				leaveInTime(t, limit, limited)
				end := simulate(t, randomScenario(seed))
				mu.Lock()
				defer mu.Unlock()
				counts[end.kind()]++
				for _, what := range end.did {
					counts["of which met: "+strings.Split(strings.SplitN(what, ": ", 2)[1], ",")[0]]++
				}
				if end.crashed > 0 {
					counts["of which the tool died in"]++
				}
			})
		}
	})
	kinds := slices.Sorted(maps.Keys(counts))
	ran := 0
	for _, kind := range kinds {
		if !strings.HasPrefix(kind, "of which") {
			ran += counts[kind]
		}
		note("  %4d %s", counts[kind], kind)
	}
	note("%d of %d random scenarios (seeds %d to %d), %s of the processors' time", ran, n, from, from+uint64(n)-1, (cpu() - began).Round(time.Second))
}

// kind is how a scenario ended, for counting.
func (e ending) kind() string {
	switch {
	case e.blocked:
		return "not begun, nothing to do or findings against it"
	case e.err == nil:
		return "done"
	}
	return "stopped (" + string(e.reason) + "), then reached by a new plan"
}

// TestReplay runs the scenario that CROSSKEYS_SCENARIO gives: the text that a
// failure has printed, in a file, or a seed.
func TestReplay(t *testing.T) {
	text := os.Getenv("CROSSKEYS_SCENARIO")
	if text == "" {
		t.Skip("CROSSKEYS_SCENARIO names no file with a scenario, and no seed")
	}
	var s scenario
	if seed, err := strconv.ParseUint(text, 10, 64); err == nil {
		s = randomScenario(seed)
	} else {
		content, err := os.ReadFile(text)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = parseScenario(string(content)); err != nil {
			t.Fatal(err)
		}
	}
	end := simulate(t, s)
	t.Logf("%s\n%s\n%s", s, strings.Join(end.told, "\n"), end)
}

func TestAScenarioIsItsText(t *testing.T) {
	for seed := range uint64(2000) {
		s := randomScenario(seed)
		read, err := parseScenario(s.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		if diff := gocmp.Diff(s, read, gocmp.AllowUnexported(scenario{}, serverIn{}, groupIn{}, held{}, crash{}, other{})); diff != "" {
			t.Fatalf("%s\n%s", diff, s)
		}
	}
	for _, text := range []string{"", "seed x", "server eastus", "group primary 0 secondaries x databases 1", "option none", "fault nonsense", "nonsense"} {
		if _, err := parseScenario(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
