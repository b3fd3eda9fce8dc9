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
	met      []string // what the scenario was about
}

// String sums the ending up.
func (e ending) String() string {
	if e.blocked {
		return "not begun"
	}
	return fmt.Sprintf("%s %s after %d calls, %d writes, %d plans; others: %v; %v", e.status, e.reason, e.calls, e.writes, e.attempts, e.did, e.err)
}

// simulate runs a scenario in a bubble and checks it.
func simulate(t *testing.T, s scenario) ending {
	t.Helper()
	if s.moved {
		return simulateFrom(t, s, newStart(t, s))
	}
	return simulateIn(t, s, func(t *testing.T) *world { return newWorld(t, s) })
}

// simulateFrom does so from a start that others have, too.
func simulateFrom(t *testing.T, s scenario, st *start) ending {
	t.Helper()
	dir := t.TempDir()
	return simulateIn(t, s, func(t *testing.T) *world { return st.world(t, s, dir) })
}

func simulateIn(t *testing.T, s scenario, begin func(*testing.T) *world) (end ending) {
	t.Helper()
	journals := t.TempDir()
	// Where something waits that no virtual time helps, the bubble would stand
	// still for good.
	stuck := time.AfterFunc(patience, func() { panic(fmt.Sprintf("a scenario hangs:\n%s", s)) })
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t)
		defer w.close(t)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		tool := newTool(w, journals)
		tool.others, tool.seconds, tool.goal = s.other, s.second, w.desired()
		if s.moved {
			tool.forth = w.start.forth
			tool.goal = tool.forth.Back()
		}
		later, forget := context.WithCancel(ctx)
		defer tool.background.Wait()
		defer forget()
		tool.ctx = later
		end = tool.runScenario(ctx, t)
		end.virtual = time.Since(began)
		end.calls, end.writes, end.did, end.told = tool.calls, tool.writes, tool.did, tool.told
		end.changes, end.intents, end.crashed = tool.changes, tool.intents, tool.crashed
		if !end.blocked {
			end.met = append(s.about(), tool.met...)
		}
		if t.Failed() {
			t.Logf("what was told:\n%s", strings.Join(tool.told, "\n"))
		}
	})
	return end
}

// firstPlan makes the scenario's first plan, or takes the one that was made from
// the same start.
func (t *tool) firstPlan(ctx context.Context, o plan.Options) (bool, error) {
	s := t.world.scenario
	if s.moved && (t.forth.Blocked() || t.forth.Empty()) {
		return false, nil
	}
	st := t.world.start
	if st == nil {
		return t.makePlan(ctx, t.goal, o)
	}
	made, hash, known := st.planned(o)
	if known {
		t.plan, t.hash = made, hash
		t.planned(made)
		return true, nil
	}
	begin, err := t.makePlan(ctx, t.goal, o)
	noWay := t.blockedBy(check.RuleAutoRotationOneSide) && s.startsOneSided()
	if s.moved && err == nil && !begin && !noWay {
		err = fmt.Errorf("there is no way back from the plan's end: %v", blockersOf(t.plan.Findings))
	}
	if err == nil && begin {
		err = st.plannedAs(o, t.plan, t.hash)
	}
	return begin, err
}

// makePlan plans and proves as the verb plan does.
func (t *tool) makePlan(ctx context.Context, desired plan.Desired, o plan.Options) (bool, error) {
	topology, err := t.world.observe(ctx)
	if err != nil {
		return false, fmt.Errorf("observe: %w", err)
	}
	o.Now, o.Group = time.Now(), groupName(0)
	made, err := plan.Make(topology, desired, o)
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
	begin, err := t.firstPlan(ctx, plan.Options{Grant: s.grant, Drill: s.drill, Failback: s.failback})
	if err != nil {
		tt.Errorf("%v\n%s", err, s)
		return end
	}
	if !begin {
		end.blocked = true
		return end
	}
	if !s.moved {
		t.forth = t.plan
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
	if end.err != nil || t.spoiled() {
		if err := t.healed(ctx); err != nil {
			tt.Errorf("heal: %v\n%s", err, s)
		}
	}
	switch {
	case s.back && !s.moved:
		t.rollBack(end)
		end.attempts = t.recover(ctx, tt, plan.Options{Grant: s.grant})
	case end.err != nil:
		end.attempts = t.recover(ctx, tt, plan.Options{Grant: true})
	}
	t.checkGoal(ctx, tt)
	return end
}

// rollBack makes the way back the goal, from wherever the run ended.
func (t *tool) rollBack(end ending) {
	from := "a run that was done"
	if end.err != nil {
		from = "a run that stopped"
	}
	t.goal, t.seconds = t.forth.Back(), nil
	t.met = append(t.met, "a rollback after "+from)
}

// toTheEnd runs processes until one ends that does not die.
func (t *tool) toTheEnd(ctx context.Context, tt *testing.T, crashes []crash) (run.Result, error) {
	for i := range len(crashes) + 1 {
		var c *crash
		if i < len(crashes) {
			c = &crashes[i]
		}
		result, died, err := t.both(ctx, tt, c)
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
func (t *tool) recover(ctx context.Context, tt *testing.T, o plan.Options) (attempts int) {
	s := t.world.scenario
	for attempts = 1; attempts <= 3; attempts++ {
		begin, err := t.makePlan(ctx, t.goal, o)
		if err != nil {
			tt.Errorf("plan again: %v\n%s", err, s)
			return attempts
		}
		if !begin && t.plan.Empty() && !t.plan.Blocked() {
			return attempts
		}
		if !begin && (t.newer() || t.oneSided()) {
			attempts--
			continue
		}
		if !begin {
			tt.Errorf("the plan from what the run left is blocked: %v\n%s", blockersOf(t.plan.Findings), s)
			return attempts
		}
		result, err := t.toTheEnd(ctx, tt, nil)
		if err == nil && result.Status == run.StatusDone {
			return attempts
		}
		t.tell("the new plan stopped: %v", err)
		o.Grant = true
	}
	tt.Errorf("three new plans have not reached the goal\n%s", s)
	return attempts
}

// newer takes the newest versions in place of those that are wanted, where the
// plan is blocked since somebody has made newer ones: that is what there is, and
// what a person would do.
func (t *tool) newer() bool {
	if !t.blockedBy(check.RuleKeyNotNewest) {
		return false
	}
	goal, changed := t.world.renewed(t.goal)
	if changed {
		t.goal = goal
		t.met = append(t.met, "no way to an older version, which the plan said")
	}
	return changed
}

// oneSided: there is no way back to a start with automatic rotation of one key
// on one side alone, which Azure's rotation does not survive. What is wanted is
// the goal again.
func (t *tool) oneSided() bool {
	s := t.world.scenario
	if !t.blockedBy(check.RuleAutoRotationOneSide) || !s.back || !s.startsOneSided() {
		return false
	}
	t.goal = t.world.desired()
	t.met = append(t.met, "no way back to rotation on one side alone, which the plan said")
	return true
}

// blockedBy reports whether a rule is all that blocks the plan.
func (t *tool) blockedBy(rule string) bool {
	return !slices.ContainsFunc(t.plan.Findings, func(f check.Finding) bool { return f.Severity == check.Blocker && f.Rule != rule })
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
			v := check.Verify(topology, t.goal, time.Now())
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

// How much every test run goes through.
const (
	// wholeScenarios are the random scenarios, from the seed 1 on, of every test
	// run, which sets CROSSKEYS_WHOLE; ciScenarios those of go test alone;
	// shortScenarios those of short runs, and racedScenarios those under the race
	// detector, which makes them ten times as dear.
	wholeScenarios = 500
	ciScenarios    = 100
	shortScenarios = 10
	racedScenarios = 30
	// ciVariantPoints are the points of the failover matrix for each variant of
	// the move, beside those of the plain one; shortPoints are those for each of
	// all in short runs and under the race detector. Both about.
	ciVariantPoints = 25
	shortPoints     = 4
	// twoEvery is how many journal writes lie between two at which a second
	// process begins.
	twoEvery = 6
)

// whole reports whether as much is to be gone through as make test does.
func whole() bool { return os.Getenv("CROSSKEYS_WHOLE") != "" }

func TestSimulation(t *testing.T) {
	n := ciScenarios
	switch {
	case whole():
		n = wholeScenarios
	case testing.Short():
		n = shortScenarios
	case raced:
		n = racedScenarios
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
					what, came, _ := strings.Cut(strings.SplitN(what, ": ", 2)[1], ", ")
					if came != "<nil>" {
						what += ", which was refused"
					}
					counts["of which met: "+what]++
				}
				for _, what := range slices.Compact(slices.Sorted(slices.Values(end.met))) {
					counts["of which met: "+what]++
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
		if diff := gocmp.Diff(s, read, gocmp.AllowUnexported(scenario{}, serverIn{}, groupIn{}, linkIn{}, held{}, crash{}, other{}, second{})); diff != "" {
			t.Fatalf("%s\n%s", diff, s)
		}
	}
	for _, text := range []string{"", "seed x", "server eastus", "group primary 0 secondaries x databases 1", "option none", "fault nonsense", "nonsense"} {
		if _, err := parseScenario(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
