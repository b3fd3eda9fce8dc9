package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// The exit codes; newExitCodes explains them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitRefused  = 3
	exitPaused   = 4
	exitOperator = 5
)

// reportAt is where a failure that nobody foresaw is to be told.
const reportAt = "https://github.com/crosskeys/crosskeys/issues"

// verbError is an error with its exit code and what to do about it.
type verbError struct {
	code int
	hint string
	err  error
}

// Error gives the cause's text.
func (e *verbError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *verbError) Unwrap() error { return e.err }

// usageError says that the command line makes no sense.
func usageError(format string, args ...any) error {
	return &verbError{code: exitUsage, err: fmt.Errorf(format, args...), hint: "crosskeys COMMAND --help shows how it is used"}
}

// hinted adds what to do to an error.
func hinted(err error, hint string) error { return &verbError{code: exitFailed, hint: hint, err: err} }

// refusal says that findings stand against it.
func refusal(hint, format string, args ...any) error {
	return &verbError{code: exitRefused, hint: hint, err: fmt.Errorf(format, args...)}
}

// judge finds an error's exit code and hint by its type.
func (a *app) judge(err error) (code int, hint string) {
	if verb, ok := errors.AsType[*verbError](err); ok {
		return verb.code, verb.hint
	}
	if child, ok := errors.AsType[*exitError](err); ok {
		return child.code, ""
	}
	if stop, ok := errors.AsType[*run.StopError](err); ok {
		return stopCode(stop.Reason), stop.Hint
	}
	if desire, ok := errors.AsType[*plan.DesireError](err); ok {
		return exitUsage, desire.Hint
	}
	if file, ok := errors.AsType[*plan.FileError](err); ok {
		return exitUsage, file.Hint
	}
	if _, ok := errors.AsType[*journal.ChainError](err); ok {
		return exitFailed, "the journal is no evidence from that record on; look for another copy of the file, and inspect the servers themselves"
	}
	if errors.Is(err, journal.ErrAborted) {
		return exitRefused, "make a new plan; it begins from what is there"
	}
	if errors.Is(err, journal.ErrHeld) {
		return exitOperator, "wait until the other run has ended, or end it"
	}
	if errors.Is(err, context.Canceled) {
		return exitPaused, ""
	}
	if target, ok := errors.AsType[*azure.TargetError](err); ok {
		return exitUsage, target.Hint
	}
	if service, ok := errors.AsType[*azure.ServiceError](err); ok {
		return exitFailed, service.Hint
	}
	if failure, ok := errors.AsType[*sqlconn.Error](err); ok {
		return exitFailed, failure.Hint
	}
	if !a.begun {
		return exitUsage, "crosskeys --help lists the commands"
	}
	return exitFailed, "if this is not a fault of yours, tell it at " + reportAt
}

func stopCode(reason run.Reason) int {
	switch reason {
	case run.Changed, run.Blocked:
		return exitRefused
	case run.Interrupted:
		return exitPaused
	case run.Undecided, run.Elsewhere, run.RoleChange:
		return exitOperator
	case run.RefusedByService, run.Broken, run.Aborted:
	}
	return exitFailed
}

// end tells an error, once, and gives the exit code.
func (a *app) end(err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := a.judge(err)
	if child, ok := errors.AsType[*exitError](err); ok {
		return child.code
	}
	text := fmt.Sprintf("crosskeys: %s\n", err)
	if hint != "" {
		text += fmt.Sprintf("hint: %s\n", hint)
	}
	_, _ = fmt.Fprint(a.talk, strings.ReplaceAll(text, "\r", ""))
	return code
}
