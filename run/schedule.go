package run

import (
	"context"
	"errors"
	"slices"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// ended is how one step's goroutine ended.
type ended struct {
	step plan.Step
	err  error
}

// steps carries out what is left. After the first failure, or when ctx ends,
// nothing more is begun, and what is under way is waited for.
func (r *running) steps(ctx context.Context) error {
	waits, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	var (
		ends  = make(chan ended)
		begun = map[int]bool{}
		busy  = map[int]plan.Step{}
		stop  error
	)
	for {
		if stop == nil && ctx.Err() == nil {
			for _, s := range r.ready(begun, busy) {
				begun[s.Number], busy[s.Number] = true, s
				go func() { ends <- ended{s, r.step(waits, s)} }()
			}
		}
		if len(busy) == 0 {
			break
		}
		end := <-ends
		delete(busy, end.step.Number)
		if end.err != nil {
			stop = graver(stop, end.err)
			// The others finish their calls but do not wait to repeat them.
			stopWaiting()
		}
	}
	switch {
	case stop != nil:
		return stop
	case r.finished():
		return nil
	case ctx.Err() != nil:
		return interrupted(ctx, 0)
	}
	return &StopError{Reason: Interrupted, What: "paused where it was asked to", Hint: hintApplyAgain}
}

// graver prefers a failure to the interruption that follows from it.
func graver(a, b error) error {
	stop, ok := errors.AsType[*StopError](a)
	if a == nil || (ok && (stop.Reason == Interrupted || stop.Reason == Aborted)) {
		return b
	}
	return a
}

// ready are the steps that can begin now: all before them are done, and of
// those that must be alone only one is under way.
func (r *running) ready(begun map[int]bool, busy map[int]plan.Step) []plan.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	alone := false
	for _, s := range busy {
		alone = alone || exclusive(s)
	}
	var list []plan.Step
	for _, s := range r.plan.Steps {
		if begun[s.Number] || r.effective(s.Number) || r.heldBack(s) {
			continue
		}
		if slices.ContainsFunc(s.DependsOn, func(n int) bool { return !r.effective(n) }) || (exclusive(s) && alone) {
			continue
		}
		alone = alone || exclusive(s)
		list = append(list, s)
	}
	return list
}

// heldBack reports whether the run was asked not to go as far as the step.
func (r *running) heldBack(s plan.Step) bool {
	return r.options.Until > 0 && s.Number > r.options.Until || slices.Contains(r.options.HoldBefore, s.Kind)
}

// effective reports whether the step's effect was seen. r.mu is held.
func (r *running) effective(step int) bool {
	result := r.results[step]
	return result != nil && result.Outcome.Effective()
}

func (r *running) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(r.plan.Steps, func(s plan.Step) bool { return !r.effective(s.Number) })
}

// exclusive steps change what wraps DEKs, or look at it.
func exclusive(s plan.Step) bool {
	switch s.Kind {
	case plan.SetProtector, plan.PlannedFailover, plan.VerifyEncryption:
		return true
	case plan.Grant, plan.Register:
	}
	return false
}

// step carries one step out, from reading to its result.
func (r *running) step(ctx context.Context, s plan.Step) error {
	began := r.executor.Now()
	result := &StepResult{Step: s}
	r.tell(Event{Name: StepStart, Step: s.Number, Server: s.Server, Text: describeStep(s)})
	err := r.carryOut(ctx, s, result)
	result.Seconds = r.executor.Now().Sub(began).Seconds()
	if err != nil {
		result.Outcome, result.Why = outcomeOf(err), err.Error()
		if stop, ok := errors.AsType[*StopError](err); ok && stop.Step == 0 {
			stop.Step = s.Number
		}
	}
	entry := &journal.ResultEntry{Outcome: result.Outcome, Seconds: result.Seconds, Attempts: result.Attempts, Why: result.Why}
	if writeErr := r.write(journal.Record{Kind: journal.Result, Step: s.Number, Result: entry}); err == nil {
		err = writeErr
	}
	r.mu.Lock()
	r.results[s.Number] = result
	r.mu.Unlock()
	event := Event{Name: StepDone, Step: s.Number, Server: s.Server, Text: string(result.Outcome)}
	if err != nil {
		event.Name, event.Text = StepStopped, result.Why
	}
	r.tell(event)
	return err
}

func outcomeOf(err error) journal.Outcome {
	stop, ok := errors.AsType[*StopError](err)
	switch {
	case !ok:
		return journal.Unknown
	case stop.Reason == Interrupted, stop.Reason == Aborted, stop.Reason == RoleChange:
		return journal.Interrupted
	case stop.Reason == Undecided, stop.Reason == Broken, stop.Reason == Elsewhere:
		return journal.Unknown
	}
	return journal.Refused
}
