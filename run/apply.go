package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// Apply carries the plan out, or on. When ctx ends, the call in hand is
// finished and read back, its result is written, and nothing more is begun.
// The error is a *StopError unless the plan is done; the Result says in either
// case what was done and what is left. Applying a plan again is safe.
func (e *Executor) Apply(ctx context.Context, p plan.Plan, o Options) (Result, error) {
	r := &running{
		executor: e, limits: e.Limits.withDefaults(), plan: p, options: o, earlier: newHistory(),
		began: e.Now(), results: map[int]*StepResult{}, primaries: map[string]string{},
	}
	err := r.all(ctx)
	for err != nil {
		var replanned bool
		if replanned, err = r.replan(ctx, err); !replanned {
			break
		}
		err = r.all(ctx)
	}
	return r.result(ctx, err), err
}

// running is one run of a plan.
type running struct {
	executor  *Executor
	limits    Limits
	plan      plan.Plan
	options   Options
	journal   Journal // nil until it is opened
	earlier   history
	began     time.Time
	findings  []check.Finding
	proof     *plan.Proof
	replanned []string

	telling sync.Mutex // serialises Progress

	mu        sync.Mutex
	seen      tde.Topology // the newest that is known, pieced together from reads
	primaries map[string]string
	results   map[int]*StepResult
	verdict   *check.Verification
}

func (r *running) all(ctx context.Context) error {
	if r.plan.Blocked() {
		return &StopError{Reason: Blocked, What: "the plan was made with findings that forbid to carry it out", Hint: "cure them and make the plan again"}
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if r.options.DryRun {
		return nil
	}
	return r.steps(ctx)
}

// prepare reads the world, finds out what is done already, and lets preflight
// judge what is not.
func (r *running) prepare(ctx context.Context) error {
	t, err := r.observe(ctx)
	if err != nil {
		return err
	}
	if err := r.begin(ctx, t); err != nil {
		return err
	}
	if err := r.finishOpen(ctx); err != nil {
		return err
	}
	if r.earlier.begun() && !r.options.DryRun {
		// What an earlier process did while this one read, or waited for the
		// servers, is in the journal and not in what was read.
		if t, err = r.observe(ctx); err != nil {
			return err
		}
	}
	done, err := r.settled(ctx, t)
	if err != nil {
		return err
	}
	t = r.current()
	for _, g := range t.Groups {
		r.primaries[strings.ToLower(g.Name)] = g.Primary()
	}
	for _, s := range r.plan.Steps {
		if done[s.Number] {
			r.results[s.Number] = &StepResult{Step: s, Outcome: journal.AlreadyThere, Earlier: true}
		}
	}
	if err := r.prove(t); err != nil {
		return err
	}
	if r.options.DryRun {
		return nil
	}
	return r.writeSeen(t, done)
}

// prove explores, from what is there now, every state that the rest of the
// plan can lead to; a plan that is not safe from here is not begun, or not
// gone on with.
func (r *running) prove(t tde.Topology) error {
	proof, err := plan.Prove(t, r.plan, r.executor.Now())
	if err != nil {
		return &StopError{Reason: Blocked, What: "the plan could not be proved from what is there", Err: err, Hint: "make a new plan"}
	}
	r.proof = &proof
	if !proof.Proved {
		return &StopError{
			Reason: Blocked, What: "the plan is not safe from what is there: " + strings.Join(proof.Story, "; then "),
			Hint: "nothing more was changed; make a new plan, which is proved anew",
		}
	}
	r.tell(Event{Name: Proved, Text: "proved from what is there: " + proof.Summary()})
	return nil
}

// settled observes until the world fits the plan and preflight has nothing
// against it. A world that a run of ours has left in the middle of something is
// given time to come to rest; any other has to be at rest already.
func (r *running) settled(ctx context.Context, t tde.Topology) (map[int]bool, error) {
	pace := r.executor.readPace()
	for {
		done, err := r.judge(t)
		if err == nil {
			return done, nil
		}
		if !r.earlier.begun() || !restless(t) {
			return nil, err
		}
		r.tell(Event{Name: StepWait, Text: "waiting for what an earlier run began to come to rest: " + err.Error()})
		more, waitErr := pace.wait(ctx, r.limits.Settle, time.Second)
		switch {
		case waitErr != nil:
			return nil, interrupted(ctx, 0)
		case !more:
			return nil, err
		}
		if t, err = r.observe(ctx); err != nil {
			return nil, err
		}
	}
}

// restless reports whether an operation seems to be under way.
func restless(t tde.Topology) bool {
	for _, g := range t.Groups {
		if g.DisagreementOnMember != "" || g.Primary() == "" || !inStep(g.ReplicationState) {
			return true
		}
	}
	for _, l := range t.Links {
		if !inStep(l.State) {
			return true
		}
	}
	findings := check.Preflight(t, nil, t.ReadAt)
	return slices.ContainsFunc(findings, func(f check.Finding) bool { return f.Rule == check.RuleChangeInProgress })
}

func inStep(state string) bool { return state == "" || strings.EqualFold(state, tde.StateCatchUp) }

// judge compares the world with the plan and lets preflight look at what is
// left to do.
func (r *running) judge(t tde.Topology) (map[int]bool, error) {
	done, err := recognise(r.plan, t, r.earlier)
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(r.plan.Steps), func(s plan.Step) bool { return done[s.Number] || s.Kind == plan.VerifyEncryption })
	r.findings = r.preflight(t)
	if len(left) > 0 && check.Blocked(r.findings) {
		return nil, &StopError{Reason: Blocked, What: "preflight forbids it: " + blockers(r.findings), Hint: "see the findings, cure them, and make a new plan"}
	}
	return done, nil
}

// preflight leaves out what the plan's own grants cure.
func (r *running) preflight(t tde.Topology) []check.Finding {
	findings := check.Preflight(t, r.plan.Desired(), r.executor.Now())
	return slices.DeleteFunc(findings, func(f check.Finding) bool {
		if f.Rule != check.RuleMissingGrant {
			return false
		}
		s, _ := t.Server(f.Server)
		return slices.ContainsFunc(r.plan.Steps, func(step plan.Step) bool {
			return step.Kind == plan.Grant && step.PrincipalID == s.Identity.PrincipalID && strings.EqualFold(step.VaultName, f.Key.Vault())
		})
	})
}

func blockers(findings []check.Finding) string {
	var list []string
	for _, f := range findings {
		if f.Severity == check.Blocker {
			list = append(list, f.What)
		}
	}
	if len(list) > 2 {
		list = append(list[:2], fmt.Sprintf("and %d more", len(list)-2))
	}
	return strings.Join(list, "; ")
}

// begin takes the servers and opens the journal, once a run. A run that has
// been given a new plan goes on with that.
func (r *running) begin(ctx context.Context, t tde.Topology) error {
	if r.options.DryRun || r.journal != nil {
		return nil
	}
	names := make([]string, len(t.Servers))
	for i, s := range t.Servers {
		names[i] = s.Name
	}
	opened, records, err := r.executor.Begin(ctx, names)
	if err != nil {
		if ctx.Err() != nil {
			return interrupted(ctx, 0)
		}
		if errors.Is(err, journal.ErrHeld) {
			return &StopError{
				Reason: Elsewhere, What: "another run works on this component", Err: err,
				Hint: "wait until it has ended, or end it with crosskeys pause; two changes at a time are never safe",
			}
		}
		return err
	}
	r.journal, r.earlier = opened, readHistory(records)
	for _, record := range slices.Backward(records) {
		if record.Kind == journal.Replan {
			r.plan = record.Replan.Plan
			break
		}
	}
	return nil
}

// finishOpen follows to their end the operations that an earlier process began
// and did not live to see ended. How they end is read back afterwards.
func (r *running) finishOpen(ctx context.Context) error {
	if r.options.DryRun {
		return nil
	}
	for _, s := range r.plan.Steps {
		token := r.earlier.token[s.Number]
		if !r.earlier.open[s.Number] || token == "" {
			continue
		}
		r.tell(Event{Name: StepWait, Step: s.Number, Server: s.Server, Text: "following the operation that an earlier run began"})
		hand, cancel := r.inHand(ctx)
		answer, err := r.executor.World.Await(hand, s, token)
		cancel()
		if err := r.write(journal.Record{Kind: journal.Answer, Step: s.Number, Answer: answerEntry(0, answer, err)}); err != nil {
			return err
		}
	}
	return nil
}

// inHand is the context of a call that is to be finished whatever happens.
func (r *running) inHand(ctx context.Context) (context.Context, context.CancelFunc) {
	hand, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.Call)
	// A call of a run that has lost its servers is nobody's to be followed here.
	undo := context.AfterFunc(ctx, func() {
		if stop, ok := errors.AsType[*StopError](context.Cause(ctx)); ok && stop.Reason == Elsewhere {
			cancel()
		}
	})
	return hand, func() { undo(); cancel() }
}

// observe reads the whole component, a few times if it must.
func (r *running) observe(ctx context.Context) (tde.Topology, error) {
	pace := r.executor.readPace()
	for {
		t, err := r.executor.World.Observe(ctx)
		if err == nil {
			err = passing(t)
		}
		if err == nil {
			r.mu.Lock()
			r.seen = t
			r.mu.Unlock()
			r.tell(Event{Name: Observed, Text: fmt.Sprintf("read %d servers, %d failover groups, %d links", len(t.Servers), len(t.Groups), len(t.Links))})
			return t, nil
		}
		if ctx.Err() != nil {
			return t, interrupted(ctx, 0)
		}
		call := asCallError(err)
		more := false
		// What does not answer before anything was begun is told at once: it is
		// the sign-in or the network, as a rule.
		if call.Retryable || call.Lost && r.journal != nil {
			more, _ = pace.wait(ctx, r.limits.Retry, call.RetryAfter)
		}
		if !more {
			return t, &StopError{Reason: Broken, What: "read the component", Hint: call.hint(), Err: err}
		}
	}
}

// passing is the failure to read a part of the component that may be read
// later: a throttled call, a region that is down. What is missing then is not
// what somebody has changed.
func passing(t tde.Topology) error {
	for _, u := range t.Unread {
		if u.Passing {
			return &CallError{Message: u.What + " could not be read: " + u.Reason, Hint: u.Hint, Retryable: true}
		}
	}
	return nil
}

func (r *running) current() tde.Topology {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

func (r *running) writeSeen(t tde.Topology, done map[int]bool) error {
	fingerprint, err := t.Fingerprint()
	if err != nil {
		return &StopError{Reason: Broken, What: "write what was seen", Err: err}
	}
	entry := &journal.SeenEntry{Topology: t, Fingerprint: fingerprint, Findings: r.findings, Proof: r.proof}
	for _, s := range r.plan.Steps {
		if done[s.Number] {
			entry.DoneBefore = append(entry.DoneBefore, s.Number)
		}
	}
	return r.write(journal.Record{Kind: journal.Seen, Seen: entry})
}

func (r *running) write(record journal.Record) error {
	if err := r.journal.Append(record); err != nil {
		if stop := LostServers(record.Step, err); stop != nil {
			return stop
		}
		return &StopError{
			Reason: Broken, Step: record.Step, What: "nothing more is called, since it could not be written down", Err: err,
			Hint: "see that the journal can be written (room on the disk, the database), and apply the same plan again",
		}
	}
	return nil
}

func (r *running) tell(event Event) {
	if r.executor.Progress == nil {
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	event.At = r.executor.Now()
	r.executor.Progress(event)
}

// interrupted says that the run stops because ctx has ended, for the reason
// that whoever ended it gave as its cause.
func interrupted(ctx context.Context, step int) error {
	if cause, ok := errors.AsType[*StopError](context.Cause(ctx)); ok {
		stop := *cause
		stop.Step = step
		return &stop
	}
	return &StopError{Reason: Interrupted, Step: step, What: "paused", Hint: hintApplyAgain, Err: ignoreCancel(ctx.Err())}
}

// ignoreCancel leaves out what says no more than that the run was paused.
func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
