package run

import (
	"errors"
	"fmt"
	"time"
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

const hintPlanAgain = "look at the group with crosskeys inspect, then make a new plan; what is done already will not be planned again"
const hintApplyAgain = "apply the same plan again; what is done already is recognised"
