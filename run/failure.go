package run

import (
	"errors"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/journal"
)

// CallError is why a call failed, as the world understood it.
type CallError struct {
	Code      string // the service's, such as SameKeyMaterialNotFoundOnRemoteServer
	Status    int    // of HTTP; 0 when there was no answer
	Message   string // the service's
	RequestID string
	Hint      string // what a person can do
	InPoll    bool   // the call was taken and its operation failed
	// Lost says that no answer came, so that the call may have taken effect.
	Lost bool
	// Retryable says that the same call may succeed later: the service was
	// busy or throttled.
	Retryable  bool
	RetryAfter time.Duration // what the service asked for; 0 when it did not
	Err        error
}

// Error gives the service's code and message, or the cause of the loss.
func (e *CallError) Error() string {
	switch {
	case e.Lost && e.Err != nil:
		return "no answer came: " + e.Err.Error()
	case e.Code != "" && e.Message != "":
		return e.Code + ": " + e.Message
	case e.Code != "":
		return e.Code
	case e.Err != nil:
		return e.Err.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// asCallError takes every error that is not explained as a lost reply, which
// is the careful reading: the effect is then looked for.
func asCallError(err error) *CallError {
	if call, ok := errors.AsType[*CallError](err); ok {
		return call
	}
	return &CallError{Lost: true, Err: err}
}

// The codes by which the service says that an identity may not use a key, as
// it does for some ten minutes after a grant.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (e *CallError) missingPermissions() bool {
	switch e.Code {
	case "AzureKeyVaultMissingPermissions", "UmiMissingAkvPermissions", "PrimaryIdentityMissingPermissionForKeyId":
		return true
	}
	return false
}

// hint is what a person can do: the world's word, or else to try again.
func (e *CallError) hint() string {
	if e.Hint != "" {
		return e.Hint
	}
	return hintApplyAgain
}

// underWay reports whether the service refused since a change of the same kind
// is under way: as a rule that of an earlier call whose answer was lost. Its
// effect is waited for; a call that is repeated just when it has come would
// make the change twice.
func (e *CallError) underWay() bool {
	switch e.Code {
	case "EncryptionProtectorChangeInProgress", "FailoverGroupBusy":
		return true
	}
	return false
}

// Reason says why a run stopped before its end.
type Reason string

// The reasons.
const (
	// Changed: the world is not the one that the plan was made for.
	Changed Reason = "changed"
	// Blocked: preflight or verification found something against it.
	Blocked Reason = "blocked"
	// RefusedByService: the service refused a call for good.
	RefusedByService Reason = "refused"
	// Interrupted: the run was asked to stop, or to go no further.
	Interrupted Reason = "interrupted"
	// Aborted: the run was asked to stop for good.
	Aborted Reason = "aborted"
	// Elsewhere: another run has the servers, or may have them.
	Elsewhere Reason = "elsewhere"
	// RoleChange: somebody else has failed over during the run.
	RoleChange Reason = "role change"
	// Undecided: what happened cannot be told, or a limit has passed; a person
	// has to look.
	Undecided Reason = "undecided"
	// Broken: the journal or the reading of the world failed.
	Broken Reason = "broken"
)

// StopError says why a run stopped, and what to do.
type StopError struct {
	Reason Reason
	Step   int // 0 when it was before the first step
	What   string
	Hint   string
	Err    error
}

// Error gives what stopped the run; Hint is for the line below it.
func (e *StopError) Error() string {
	text := e.What
	if e.Step > 0 {
		text = fmt.Sprintf("step %d: %s", e.Step, text)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *StopError) Unwrap() error { return e.Err }

// LostServers says that another run has, or may have, the servers; nil when err
// says something else.
func LostServers(step int, err error) *StopError {
	_, fenced := errors.AsType[*journal.FencedError](err)
	_, lapsed := errors.AsType[*journal.LapsedError](err)
	if !fenced && !lapsed {
		return nil
	}
	return &StopError{
		Reason: Elsewhere, Step: step, What: "this process no longer has the servers, and calls nothing more", Err: err,
		Hint: "see with crosskeys runs list who has them; what this process began is recognised by whoever goes on with the plan",
	}
}

const hintPlanAgain = "look at the group with crosskeys inspect, then make a new plan; what is done already will not be planned again"
const hintApplyAgain = "apply the same plan again; what is done already is recognised"
