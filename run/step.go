package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// carryOut reads, decides, writes the intent, calls, and reads back.
func (r *running) carryOut(ctx context.Context, s plan.Step, result *StepResult) error {
	if s.Kind == plan.VerifyEncryption {
		return r.verify(ctx, s, result)
	}
	if err := r.waitForWindow(ctx, s); err != nil {
		return err
	}
	if there, err := r.look(ctx, s, result); there || err != nil {
		return err
	}
	if r.executor.Before != nil {
		if err := r.before(ctx, s); err != nil {
			return err
		}
		// It may have taken its time.
		if there, err := r.look(ctx, s, result); there || err != nil {
			return err
		}
	}
	if err := r.permit(ctx, s); err != nil {
		return err
	}
	intent := &journal.IntentEntry{What: describeStep(s), Saw: sawOf(s, r.current())}
	if err := r.write(journal.Record{Kind: journal.Intent, Step: s.Number, Intent: intent}); err != nil {
		return err
	}
	if err := r.act(ctx, s, result); err != nil {
		return err
	}
	result.Outcome = journal.Done
	r.follow(s)
	r.after(ctx, s)
	return nil
}

// look reads what the decision on the step rests on. there says that its
// effect is seen already; otherwise it may be carried out now.
func (r *running) look(ctx context.Context, s plan.Step, result *StepResult) (there bool, err error) {
	if err := r.readBefore(ctx, s); err != nil {
		return false, err
	}
	t := r.current()
	if s.Reached(t) {
		result.Outcome = journal.AlreadyThere
		r.follow(s)
		return true, nil
	}
	if err := r.guard(s, t); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, interrupted(ctx, s.Number)
	}
	return false, nil
}

// act calls until the step's effect is seen, or until it will not come.
func (r *running) act(ctx context.Context, s plan.Step, result *StepResult) error {
	pace := r.executor.callPace()
	for {
		result.Attempts++
		failure, err := r.call(ctx, s, result.Attempts)
		if err != nil {
			return err
		}
		reached, err := r.readBack(ctx, s, failure)
		if reached || err != nil {
			return err
		}
		if failure == nil {
			return &StopError{
				Reason: Undecided, Step: s.Number, Hint: "look at the server; " + hintApplyAgain,
				What: fmt.Sprintf("Azure reported success, yet after %s this is not seen: %s", r.limits.Settle, s.After),
			}
		}
		limit := r.patience(s, failure)
		if limit == 0 {
			return r.refused(ctx, s, failure)
		}
		r.tell(Event{Name: StepWait, Step: s.Number, Server: s.Server, Text: "trying again: " + failure.Error()})
		more, err := pace.wait(ctx, limit, failure.RetryAfter)
		if err != nil {
			return interrupted(ctx, s.Number)
		}
		if !more {
			return outOfPatience(s, failure, limit)
		}
		// The effect, or that of an earlier call whose answer was lost, may have
		// come meanwhile.
		if r.seenMeanwhile(ctx, s) {
			return r.write(journal.Record{Kind: journal.ReadBack, Step: s.Number, ReadBack: &journal.ReadBackEntry{Reached: true, Saw: sawOf(s, r.current()), Reads: 1}})
		}
	}
}

// seenMeanwhile looks once for the step's effect before its call is repeated.
func (r *running) seenMeanwhile(ctx context.Context, s plan.Step) bool {
	hand, cancel := r.inHand(ctx)
	defer cancel()
	return r.reread(hand, s) == nil && s.Reached(r.current())
}

// patience is how long a call that failed so is repeated; 0 for not at all.
func (r *running) patience(s plan.Step, failure *CallError) time.Duration {
	switch {
	case failure.missingPermissions() && r.grantedByUs(s):
		return r.limits.Grant
	case failure.missingPermissions():
		return 0
	case failure.Lost, failure.Retryable:
		return r.limits.Retry
	}
	return 0
}

// grantedByUs reports whether the plan gives a right that the step needs, so
// that it may not be in force yet.
func (r *running) grantedByUs(s plan.Step) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.plan.Steps {
		if g.Kind == plan.Grant && r.effective(g.Number) && g.VaultName == s.Key.Vault() {
			return true
		}
	}
	return false
}

// refused tells a refusal for good, or what is behind it: somebody else's
// failover makes Azure refuse what fitted the roles before.
func (r *running) refused(ctx context.Context, s plan.Step, failure *CallError) error {
	hand, cancel := r.inHand(ctx)
	defer cancel()
	if exclusive(s) && r.readFor(hand, s) == nil {
		if err := r.sameRoles(s, r.current()); err != nil {
			return err
		}
	}
	hint := failure.Hint
	if hint == "" {
		hint = hintPlanAgain
	}
	return &StopError{Reason: RefusedByService, Step: s.Number, What: "Azure refused to " + describeStep(s), Hint: hint, Err: failure}
}

func outOfPatience(s plan.Step, failure *CallError, limit time.Duration) error {
	stop := &StopError{
		Reason: RefusedByService, Step: s.Number, Hint: hintApplyAgain, Err: failure,
		What: fmt.Sprintf("Azure did not %s within %s", describeStep(s), limit),
	}
	if failure.Lost {
		stop.Reason = Undecided
	}
	if failure.missingPermissions() {
		stop.Hint = "check that the grant is the right one and still there; then " + hintApplyAgain
	}
	return stop
}

// permit asks whether the run may still change something.
func (r *running) permit(ctx context.Context, s plan.Step) error {
	if r.executor.Permit == nil {
		return nil
	}
	err := r.executor.Permit(ctx)
	if err == nil {
		return nil
	}
	if stop := LostServers(s.Number, err); stop != nil {
		return stop
	}
	if stop, ok := errors.AsType[*StopError](err); ok {
		return stop
	}
	return &StopError{
		Reason: Broken, Step: s.Number, What: "nothing more is called, since it is not certain that this run still has the servers", Err: err, Hint: hintApplyAgain,
	}
}

// call makes the call once and writes down what came of it. failure is the
// call's; err says that the journal cannot be written.
func (r *running) call(ctx context.Context, s plan.Step, attempt int) (failure *CallError, err error) {
	hand, cancel := r.inHand(ctx)
	defer cancel()
	accepted := func(a Accepted) error {
		r.tell(Event{Name: StepAccepted, Step: s.Number, Server: s.Server, Text: "accepted " + a.Operation})
		return r.write(journal.Record{Kind: journal.Call, Step: s.Number, Call: &journal.CallEntry{
			Attempt: attempt, Operation: a.Operation, ResumeToken: a.ResumeToken, RequestID: a.RequestID,
		}})
	}
	permitted := context.WithValue(hand, permitKey{}, func(hand context.Context) error {
		err := r.permit(hand, s)
		// A run that has just been told that it lost its servers says so, and not
		// that it could not ask.
		if stop, told := errors.AsType[*StopError](context.Cause(ctx)); err != nil && told && stop.Reason == Elsewhere {
			return interrupted(ctx, s.Number)
		}
		return err
	})
	if err := Permitted(permitted); err != nil {
		return nil, err
	}
	answer, callErr := r.executor.World.Act(permitted, s, accepted)
	if stop, ok := errors.AsType[*StopError](callErr); ok {
		return nil, stop
	}
	if callErr != nil {
		failure = asCallError(callErr)
	}
	return failure, r.write(journal.Record{Kind: journal.Answer, Step: s.Number, Answer: answerEntry(attempt, answer, callErr)})
}

func answerEntry(attempt int, answer Answer, err error) *journal.AnswerEntry {
	if err == nil {
		return &journal.AnswerEntry{Attempt: attempt, OK: true, Status: answer.Status, RequestID: answer.RequestID}
	}
	call := asCallError(err)
	entry := &journal.AnswerEntry{
		Attempt: attempt, Lost: call.Lost, Code: call.Code, Status: call.Status, InPoll: call.InPoll, Message: call.Message, RequestID: call.RequestID,
	}
	if entry.Message == "" {
		entry.Message = call.Error()
	}
	return entry
}

// readBack looks for the step's effect: for long after a success, for a while
// after a lost reply, or where a change is under way that may be ours, once after a refusal, which may be that of a repetition.
func (r *running) readBack(ctx context.Context, s plan.Step, failure *CallError) (bool, error) {
	var limit time.Duration
	switch {
	case failure == nil:
		limit = r.limits.Settle
	case failure.Lost:
		limit = r.limits.Lost
	case failure.underWay():
		limit = r.limits.UnderWay
	}
	hand, cancel := r.inHand(ctx)
	defer cancel()
	entry := &journal.ReadBackEntry{}
	pace := r.executor.readPace()
	for {
		entry.Reads++
		readErr := r.reread(hand, s)
		t := r.current()
		entry.Reached, entry.Saw = readErr == nil && s.Reached(t), sawOf(s, t)
		if readErr != nil {
			entry.Saw = "could not be read: " + readErr.Error()
		}
		if entry.Reached {
			break
		}
		if call, final := finalCall(readErr); final && failure == nil {
			stop := &StopError{Reason: Undecided, Step: s.Number, What: "Azure reported success; whether it took effect could not be read", Hint: call.hint(), Err: readErr}
			return false, errors.Join(stop, r.write(journal.Record{Kind: journal.ReadBack, Step: s.Number, ReadBack: entry}))
		}
		// A pause that is asked for does not wait for an effect that may never
		// come; the next run looks again.
		if ctx.Err() != nil && failure != nil {
			break
		}
		more, err := pace.wait(hand, limit, 0)
		if !more || err != nil {
			break
		}
	}
	return entry.Reached, r.write(journal.Record{Kind: journal.ReadBack, Step: s.Number, ReadBack: entry})
}
