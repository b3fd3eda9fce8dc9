package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// maxReplans is how often one process replaces its plan. A group that is
// failed over more often needs a person, not a tool.
const maxReplans = 3

const hintRoleChange = "nothing more was changed; see who has failed over, and go on with --auto-replan, or make a new plan"

// replan answers a failover by somebody else: it observes once all is at rest,
// plans for what was wanted from there, proves that, asks, and writes the new
// plan down. Any other cause, and a no, is given back as it is.
func (r *running) replan(ctx context.Context, cause error) (bool, error) {
	stop, ok := errors.AsType[*StopError](cause)
	if !ok || stop.Reason != RoleChange || r.executor.Agree == nil || r.journal == nil || len(r.replanned) >= maxReplans {
		return false, cause
	}
	t, err := r.atRest(ctx)
	if err != nil {
		return false, err
	}
	next, err := r.planFrom(t)
	if err != nil {
		return false, &StopError{Reason: RoleChange, Step: stop.Step, What: stop.What + "; there is no new plan", Err: err, Hint: hintPlanAgain}
	}
	by, err := r.executor.Agree(ctx, stop.Error(), next)
	if ctx.Err() != nil {
		return false, interrupted(ctx, 0)
	}
	if err != nil || by == "" {
		return false, errors.Join(cause, err)
	}
	text, err := plan.Hash(next)
	if err != nil {
		return false, &StopError{Reason: Broken, What: "write the new plan", Err: err}
	}
	entry := &journal.ReplanEntry{Why: stop.Error(), By: by, PlanHash: text, Plan: next}
	if err := r.write(journal.Record{Kind: journal.Replan, Replan: entry}); err != nil {
		return false, err
	}
	r.tell(Event{Name: Replanned, Text: fmt.Sprintf("%s: going on with a new plan of %d steps", by, len(next.Steps))})
	r.plan, r.earlier, r.replanned = next, newHistory(), append(r.replanned, stop.Error())
	r.earlier.replanned = true
	r.results, r.primaries, r.verdict = map[int]*StepResult{}, map[string]string{}, nil
	// Numbers and kinds that were to be stopped at were those of the old plan.
	r.options.Until = 0
	return true, nil
}

// atRest observes until no operation seems to be under way.
func (r *running) atRest(ctx context.Context) (tde.Topology, error) {
	pace := r.executor.readPace()
	for {
		t, err := r.observe(ctx)
		if err != nil || !restless(t) {
			return t, err
		}
		more, err := pace.wait(ctx, r.limits.Settle, time.Second)
		if err != nil {
			return t, interrupted(ctx, 0)
		}
		if !more {
			return t, &StopError{
				Reason: Undecided, Hint: hintApplyAgain,
				What: fmt.Sprintf("after somebody else's failover the component has not come to rest within %s", r.limits.Settle),
			}
		}
	}
}

// planFrom makes and proves a plan from what is there to what the present plan
// is for. Of a drill that has begun nothing is planned anew: what was to be
// shown by it has been done by somebody else, or undone.
func (r *running) planFrom(t tde.Topology) (plan.Plan, error) {
	options := plan.Options{Group: r.plan.Group, Now: r.executor.Now()}
	failovers, begun := 0, false
	for _, s := range r.plan.Steps {
		switch s.Kind {
		case plan.Grant:
			options.Grant = true
		case plan.PlannedFailover:
			failovers++
			begun = begun || r.results[s.Number] != nil
		case plan.Register, plan.SetProtector, plan.VerifyEncryption:
		}
	}
	options.Drill, options.Failback = failovers > 0 && !begun, failovers > 1 && !begun
	options.Unverified = !slices.ContainsFunc(r.plan.Steps, func(s plan.Step) bool { return s.Kind == plan.VerifyEncryption })
	next, err := plan.Make(t, r.plan.Desired(), options)
	if err != nil {
		return next, err
	}
	if next.Blocked() {
		return next, errors.New("it is forbidden by what was found: " + blockers(next.Findings))
	}
	if next.Empty() {
		return next, nil
	}
	proof, err := plan.Prove(t, next, r.executor.Now())
	if err != nil {
		return next, err
	}
	if !proof.Proved {
		return next, errors.New("it is not safe: " + strings.Join(proof.Story, "; then "))
	}
	next.Proof = &proof
	return next, nil
}
