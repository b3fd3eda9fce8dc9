package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	azureworld "github.com/crosskeys/crosskeys/azure/world"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
)

// tool is the tool over all its processes: the journals that it keeps, and how
// many calls and journal writes there were so far.
type tool struct {
	world    *world
	journals string
	plan     plan.Plan
	hash     string

	mu        sync.Mutex
	calls     int
	writes    int
	others    []other  // what somebody else is yet to do
	did       []string // what somebody else did
	processes int
	crashed   int
	changes   []int // the calls that are not only reading, and the writes that are intents
	intents   []int
	told      []string
	// protectors are how the true protectors went, intended the flips of the
	// plans, by server.
	protectors history
	intended   map[string][]string
	foreign    map[string][]string    // what somebody else set, or tried to
	meddled    map[string][]time.Time // when somebody else set a protector
	wrongs     []string

	forth      plan.Plan    // from whose end a rollback begins
	goal       plan.Desired // what is to be there in the end
	ctx        context.Context
	background sync.WaitGroup // what somebody else does later
	met        []string       // what the scenario was about, for counting

	leader   int // the process that has the servers
	begun    []begun
	seconds  []second // that are yet to begin
	starting func()   // begins the second process
}

func newTool(w *world, journals string) *tool {
	return &tool{world: w, journals: journals, protectors: history{}, intended: map[string][]string{}, foreign: map[string][]string{}, meddled: map[string][]time.Time{}}
}

// begun is how a process went.
type begun struct {
	number int
	result run.Result
	died   bool
	err    error
}

// process is one process of the tool, from its start to its end or its death.
type process struct {
	tool    *tool
	crash   *crash
	number  int
	dead    chan struct{}
	cancel  context.CancelCauseFunc
	once    sync.Once
	mu      sync.Mutex
	calls   int
	writes  int
	seen    map[string]int // calls by method and path
	lease   *journal.Lease
	watched sync.WaitGroup
	wakes   time.Time // until when it is stopped
}

// deathError is what a dead process would see, if it saw anything.
type deathError struct{}

func (deathError) Error() string { return "the process has died" }
func (deathError) NonRetriable() {}

func (p *process) die() { p.once.Do(func() { close(p.dead); p.cancel(deathError{}) }) }

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// strike ends the process where its time has come.
func (p *process) strike(what string, n int, after bool) bool {
	if c := p.crash; c != nil && c.what == what && c.n == n && c.after == after {
		p.die()
	}
	return p.isDead()
}

// somebody does what somebody else does at this point of the tool's run.
func (t *tool) somebody(ctx context.Context, what string, n int) {
	t.mu.Lock()
	var due []other
	rest := t.others[:0:0]
	for _, o := range t.others {
		if o.what == what && o.n == n {
			due = append(due, o)
		} else {
			rest = append(rest, o)
		}
	}
	t.others = rest
	t.mu.Unlock()
	for _, o := range due {
		does, err := t.meddle(context.WithoutCancel(ctx), o)
		t.mu.Lock()
		t.did = append(t.did, fmt.Sprintf("%s: %s, %v", time.Now().Format(time.TimeOnly), does, err))
		t.mu.Unlock()
	}
}

// Do carries the tool's calls: each takes some time, and on any of them the
// process may die, before the call is sent or before its answer is there.
func (p *process) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		p.asleep()
	}
	if p.isDead() {
		return nil, deathError{}
	}
	p.mu.Lock()
	p.calls++
	n := p.calls
	place := r.Method + " " + r.URL.Host + r.URL.Path
	p.seen[place]++
	nth := p.seen[place]
	p.mu.Unlock()
	p.tool.mu.Lock()
	p.tool.calls++
	all := p.tool.calls
	if r.Method != http.MethodGet {
		p.tool.changes = append(p.tool.changes, all)
	}
	p.tool.mu.Unlock()
	if p.strike("call", n, false) {
		return nil, deathError{}
	}
	p.tool.somebody(r.Context(), "call", all)
	p.seconded("call", all)
	if err := wait(r.Context(), p.delay(place, nth)); err != nil {
		return nil, err
	}
	if p.isDead() {
		return nil, deathError{}
	}
	p.tool.sending(r)
	p.leads(r)
	answer, err := p.tool.world.client.Do(r)
	if err == nil {
		err = readWhole(answer)
	}
	p.asleep()
	if p.strike("call", n, true) {
		return nil, deathError{}
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func readWhole(answer *http.Response) error {
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

// delay is how long a call is on its way: by what it asks and how often that
// was asked, never twice the same, so that what happens side by side happens in
// the same order each time.
func (p *process) delay(place string, nth int) time.Duration {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%d %d %s %d", p.tool.world.scenario.seed, p.number, place, nth)
	return 100*time.Millisecond + time.Duration(sum.Sum64()%uint64(400*time.Millisecond))
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait is how the process waits.
func (p *process) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		p.asleep()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.dead:
		return deathError{}
	}
}

// written is a journal that a dead process writes no more to.
type written struct {
	process *process
	run     *journal.Run
}

func (w written) Append(record journal.Record) error {
	p := w.process
	p.asleep()
	if p.isDead() {
		return deathError{}
	}
	p.mu.Lock()
	p.writes++
	n := p.writes
	p.mu.Unlock()
	p.tool.mu.Lock()
	p.tool.writes++
	all := p.tool.writes
	if record.Kind == journal.Intent {
		p.tool.intents = append(p.tool.intents, all)
	}
	p.tool.mu.Unlock()
	if p.strike("write", n, false) {
		return deathError{}
	}
	p.tool.somebody(context.Background(), "write", all)
	p.seconded("write", all)
	p.asleep()
	err := w.run.Append(record)
	if p.strike("write", n, true) {
		return deathError{}
	}
	return err
}

// term is how long a hold on servers lasts, as in cmd/crosskeys.
const term = 30 * time.Second

// begin takes the servers and opens the plan's journal, as the command does.
func (p *process) begin(store *journal.Store, found string) func(context.Context, []string) (run.Journal, []journal.Record, error) {
	return func(ctx context.Context, servers []string) (run.Journal, []journal.Record, error) {
		lease, err := p.acquire(ctx, store, found, servers)
		if err != nil {
			return nil, nil, err
		}
		p.lease = lease
		p.tool.mu.Lock()
		p.tool.leader = p.number
		p.tool.mu.Unlock()
		var opened *journal.Run
		var records []journal.Record
		if found != "" {
			run, log, err := store.Resume(ctx, found, journal.Who{Version: "sim"}, lease)
			if err != nil {
				return nil, nil, err
			}
			opened, records = run, log.Records
		} else {
			run, err := store.Begin(ctx, journal.BeginEntry{Verb: "apply", PlanHash: p.tool.hash, Plan: p.tool.plan, Target: groupName(0), Who: journal.Who{Version: "sim"}}, lease)
			if err != nil {
				return nil, nil, err
			}
			opened = run
		}
		p.watched.Go(func() {
			if err := lease.Keep(ctx, p.wait); err != nil && !p.isDead() {
				p.cancel(&run.StopError{Reason: run.Elsewhere, What: "the hold on the servers was lost", Err: err})
			}
		})
		return written{p, opened}, records, nil
	}
}

// acquire waits for the hold of a process that died, until its term is over.
// That of one that lives is renewed, and so is not waited for.
func (p *process) acquire(ctx context.Context, store *journal.Store, found string, servers []string) (*journal.Lease, error) {
	began := time.Now()
	var first *journal.HeldError
	for {
		p.asleep()
		lease, err := store.Acquire(ctx, found, p.name(), servers, term)
		held, ok := errors.AsType[*journal.HeldError](err)
		if !ok {
			return lease, err
		}
		if first != nil && (held.Holder != first.Holder || held.Until.Sub(first.Until) > time.Millisecond) || time.Since(began) > 2*term {
			return nil, err
		}
		if first == nil {
			first = held
		}
		if err := p.wait(ctx, term/10); err != nil {
			return nil, err
		}
	}
}

func (p *process) name() string { return fmt.Sprintf("process %d", p.number) }

func (p *process) permit(ctx context.Context) error {
	p.asleep()
	if p.isDead() {
		return deathError{}
	}
	return p.lease.Ensure(ctx)
}

// process runs the tool once, from the plan's journal on, and says whether it
// died.
func (t *tool) process(ctx context.Context, tt *testing.T, c *crash) (result run.Result, died bool, err error) {
	tt.Helper()
	t.mu.Lock()
	t.processes++
	p := &process{tool: t, crash: c, number: t.processes, dead: make(chan struct{}), seen: map[string]int{}}
	t.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.cancel = cancel
	store, err := journal.OpenStore(context.WithoutCancel(ctx), t.journals, time.Now)
	if err != nil {
		tt.Fatalf("open the journals: %v", err)
	}
	found, err := store.Unfinished(context.WithoutCancel(ctx), t.hash)
	if err != nil {
		tt.Fatalf("find the run: %v", err)
	}
	executor := &run.Executor{
		World: &azureworld.World{Cloud: t.world.connect(tt, p), Target: t.world.target()},
		Now:   time.Now, Wait: p.wait, Begin: p.begin(store, found), Permit: p.permit,
		Jitter: func() float64 { return 0.5 },
		Progress: func(e run.Event) {
			t.tell("%d %s %s step %d %s %s", p.number, e.At.Format("15:04:05.000"), e.Name, e.Step, e.Server, e.Text)
		},
	}
	if t.world.scenario.replan {
		executor.Agree = func(_ context.Context, _ string, next plan.Plan) (string, error) {
			t.planned(next)
			return "--auto-replan", nil
		}
	}
	t.tell("process %d begins", p.number)
	result, err = executor.Apply(ctx, t.plan, run.Options{})
	died = p.isDead()
	cancel(nil)
	p.watched.Wait()
	if !died && p.lease != nil {
		if released := p.lease.Release(context.WithoutCancel(ctx)); released != nil {
			tt.Errorf("let go of the servers: %v", released)
		}
	}
	if closed := store.Close(); closed != nil {
		tt.Errorf("close the journals: %v", closed)
	}
	t.mu.Lock()
	if died {
		t.crashed++
	}
	t.begun = append(t.begun, begun{p.number, result, died, err})
	t.mu.Unlock()
	t.tell("process %d ends, died %t: %s %v", p.number, died, result.Status, err)
	return result, died, err
}

func (t *tool) tell(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told = append(t.told, fmt.Sprintf(format, args...))
}
