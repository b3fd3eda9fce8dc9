package run

import (
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// Status is how a run ended.
type Status string

// The statuses.
const (
	StatusDone    Status = journal.StatusDone
	StatusDryRun  Status = "dry run"
	StatusPaused  Status = "paused"
	StatusStopped Status = "stopped"
	StatusAborted Status = journal.StatusAborted
)

// NotBegun is the outcome of a step that the run did not come to.
const NotBegun journal.Outcome = "not begun"

// Result is what a run did and what it leaves.
type Result struct {
	Status    Status       `json:"status"`
	StartedAt time.Time    `json:"startedAt"`
	EndedAt   time.Time    `json:"endedAt"`
	Steps     []StepResult `json:"steps"` // every step of the plan, in its order
	// Why says what stopped the run; empty when it is done.
	Why string `json:"why,omitempty"`
	// State is what the run leaves, in words, one sentence each.
	State []string `json:"state"`
	// Next is what to do now, one sentence each.
	Next []string `json:"next,omitempty"`
	// Verification is the last judgement of the encryption; nil when none was
	// possible.
	Verification *check.Verification `json:"verification,omitempty"`
	// Findings are those of the preflight before the first step.
	Findings []check.Finding `json:"findings,omitempty"`
	// Proof is that of the rest of the plan from what was there when the run
	// began.
	Proof *plan.Proof `json:"proof,omitempty"`
	// Replanned says why plans were replaced, one sentence each; the steps are
	// those of the last plan.
	Replanned []string `json:"replanned,omitempty"`
}

// StepResult is how one step ended.
type StepResult struct {
	Step     plan.Step       `json:"step"`
	Outcome  journal.Outcome `json:"outcome"`
	Attempts int             `json:"attempts,omitempty"`
	Seconds  float64         `json:"seconds,omitempty"`
	Why      string          `json:"why,omitempty"`
	// Earlier says that the step was done before this run began.
	Earlier bool `json:"earlier,omitempty"`
}
