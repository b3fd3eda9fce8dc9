package run

import (
	"context"
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
	if err := r.readBefore(ctx, s); err != nil {
		return err
	}
	t := r.current()
	if s.Reached(t) {
		result.Outcome = journal.AlreadyThere
		r.follow(s)
		return nil
	}
	if err := r.guard(s, t); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return interrupted(s.Number, ctx.Err())
	}
	intent := &journal.IntentEntry{What: describeStep(s), Saw: sawOf(s, t)}
	if err := r.write(journal.Record{Kind: journal.Intent, Step: s.Number, Intent: intent}); err != nil {
		return err
	}
	if err := r.act(ctx, s, result); err != nil {
		return err
	}
	result.Outcome = journal.Done
	r.follow(s)
	return nil
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
			return refused(s, failure)
		}
		r.tell(Event{Name: StepWait, Step: s.Number, Server: s.Server, Text: "trying again: " + failure.Error()})
		more, err := pace.wait(ctx, limit, failure.RetryAfter)
		if err != nil {
			return interrupted(s.Number, err)
		}
		if !more {
			return outOfPatience(s, failure, limit)
		}
	}
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

func refused(s plan.Step, failure *CallError) error {
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
	answer, callErr := r.executor.World.Act(hand, s, accepted)
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
// after a lost reply, once after a refusal, which may be that of a repetition.
func (r *running) readBack(ctx context.Context, s plan.Step, failure *CallError) (bool, error) {
	var limit time.Duration
	switch {
	case failure == nil:
		limit = r.limits.Settle
	case failure.Lost:
		limit = r.limits.Lost
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
