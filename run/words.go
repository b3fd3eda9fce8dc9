package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// describeStep says what a step does, as the object of "refused to".
func describeStep(s plan.Step) string {
	switch s.Kind {
	case plan.Grant:
		return fmt.Sprintf("let the identity of %s use the keys of vault %s", s.Server, s.VaultName)
	case plan.Register:
		return fmt.Sprintf("register %s on %s", s.Key.Short(), s.Server)
	case plan.SetProtector:
		if s.Key.IsZero() {
			return fmt.Sprintf("make the protector of %s service-managed", s.Server)
		}
		return fmt.Sprintf("make %s the protector of %s", s.Key.Short(), s.Server)
	case plan.PlannedFailover:
		return fmt.Sprintf("make %s the primary of failover group %s", s.Server, s.Group)
	case plan.VerifyEncryption:
		return "verify every DEK on every side"
	}
	return string(s.Kind)
}

// sawOf says what a read showed of what the step changes.
func sawOf(s plan.Step, t tde.Topology) string {
	server, _ := t.Server(s.Server)
	switch s.Kind {
	case plan.Grant:
		if s.Reached(t) {
			return fmt.Sprintf("the identity of %s has get, wrapKey and unwrapKey on vault %s", s.Server, s.VaultName)
		}
		return fmt.Sprintf("the identity of %s lacks rights on vault %s", s.Server, s.VaultName)
	case plan.Register:
		if k, listed := server.Registered(s.Key); listed {
			return fmt.Sprintf("%s is among the %d keys of %s, thumbprint %s", s.Key.Short(), len(server.Keys), s.Server, k.Thumbprint)
		}
		return fmt.Sprintf("%s is not among the %d keys of %s", s.Key.Short(), len(server.Keys), s.Server)
	case plan.SetProtector:
		return fmt.Sprintf("the protector of %s is %s", s.Server, protectorText(server.Protector))
	case plan.PlannedFailover:
		g, _ := t.FailoverGroup(s.Group)
		if g.DisagreementOnMember != "" {
			return fmt.Sprintf("the members of %s disagree: %s", s.Group, g.DisagreementOnMember)
		}
		return fmt.Sprintf("%s is the primary of %s", g.Primary(), s.Group)
	case plan.VerifyEncryption:
	}
	return ""
}

func protectorText(p tde.Protector) string {
	text := p.Key.Short()
	if p.AutoRotation && !p.ServiceManaged() {
		text += " with auto-rotation"
	}
	return text
}

// result gathers what the run did and writes the journal's end. The last look
// at the world is taken even where the run was stopped by one that failed.
func (r *running) result(ctx context.Context, err error) Result {
	result := Result{Status: StatusDone, StartedAt: r.began, Findings: r.findings, Proof: r.proof, State: []string{}, Replanned: r.replanned}
	stop, stopped := errors.AsType[*StopError](err)
	switch {
	case stopped && stop.Reason == Interrupted:
		result.Status = StatusPaused
	case stopped && stop.Reason == Aborted:
		result.Status = StatusAborted
	case err != nil:
		result.Status = StatusStopped
	case r.options.DryRun:
		result.Status = StatusDryRun
	}
	if err != nil {
		result.Why = err.Error()
		r.lookAgain(ctx)
	}
	for _, s := range r.plan.Steps {
		step := StepResult{Step: s, Outcome: NotBegun}
		if known := r.results[s.Number]; known != nil {
			step = *known
		}
		result.Steps = append(result.Steps, step)
	}
	t := r.current()
	if r.verdict == nil && len(t.Servers) > 0 {
		v := check.Verify(t, nil, r.executor.Now())
		r.verdict = &v
	}
	result.Verification = r.verdict
	result.State = stateInWords(result.Steps, t, r.verdict)
	if stopped {
		result.Next = []string{stop.Hint}
	}
	result.EndedAt = r.executor.Now()
	if !stopped || stop.Reason != Elsewhere {
		r.writeEnd(result)
	}
	return result
}

// lookAgain observes what a stopped run leaves, for a short while only.
func (r *running) lookAgain(ctx context.Context) {
	if len(r.results) == 0 {
		return
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	t, err := r.executor.World.Observe(look)
	if err != nil {
		r.tell(Event{Name: Warned, Text: "what the run leaves could not be read: " + err.Error()})
		return
	}
	r.mu.Lock()
	r.seen, r.verdict = t, nil
	r.mu.Unlock()
}

// writeEnd: a run that could not write its end is one that a crash ended; the
// next one finds that out.
func (r *running) writeEnd(result Result) {
	if r.journal == nil {
		return
	}
	end := &journal.EndEntry{Status: string(result.Status), Seconds: result.EndedAt.Sub(result.StartedAt).Seconds(), Why: result.Why, State: result.State}
	if err := r.journal.Append(journal.Record{Kind: journal.End, End: end}); err != nil {
		r.tell(Event{Name: Warned, Text: "the journal's end could not be written: " + err.Error()})
	}
}

// stateInWords says what there is now and whether it is safe to stay there.
func stateInWords(steps []StepResult, t tde.Topology, v *check.Verification) []string {
	list := []string{stepsInWords(steps)}
	if len(t.Servers) == 0 {
		return append(list, "The component could not be read.")
	}
	for _, g := range t.Groups {
		if g.DisagreementOnMember != "" {
			list = append(list, fmt.Sprintf("The members of failover group %s disagree about their roles: %s.", g.Name, g.DisagreementOnMember))
			continue
		}
		list = append(list, fmt.Sprintf("%s is the primary of failover group %s.", g.Primary(), g.Name))
	}
	for _, s := range t.Servers {
		list = append(list, fmt.Sprintf("The protector of %s is %s; %d keys are registered on it.", s.Name, protectorText(s.Protector), len(s.Keys)))
	}
	return append(list, safety(v)...)
}

func stepsInWords(steps []StepResult) string {
	var effective, other []string
	for _, s := range steps {
		switch {
		case s.Outcome.Effective():
			effective = append(effective, fmt.Sprint(s.Step.Number))
		case s.Outcome != NotBegun:
			other = append(other, fmt.Sprintf("step %d: %s", s.Step.Number, s.Outcome))
		}
	}
	text := fmt.Sprintf("Of %d steps, %s", len(steps), "none took effect")
	if len(effective) > 0 {
		text = fmt.Sprintf("Of %d steps, %d took effect (%s)", len(steps), len(effective), strings.Join(effective, ", "))
	}
	if len(other) > 0 {
		text += "; " + strings.Join(other, "; ")
	}
	return text + "."
}

// safety says whether every server can open everything, now and after a
// failover, which is what makes a state one to stop in.
func safety(v *check.Verification) []string {
	if v == nil {
		return nil
	}
	var lacking []string
	for _, k := range v.Keys {
		if k.Verdict != check.OK {
			lacking = append(lacking, fmt.Sprintf("%s cannot use %s", k.Server, k.Key.Short()))
		}
	}
	if len(lacking) > 0 {
		return []string{"This is not a state to stay in: " + strings.Join(lacking, "; ") + "."}
	}
	list := []string{"Every server can use every key that it needs now and after a failover: it is safe to stay in this state."}
	moving := 0
	for _, d := range v.Databases {
		if d.Verdict != check.OK && d.Verdict != check.NotJudged {
			moving++
		}
	}
	if moving > 0 {
		list = append(list, fmt.Sprintf("%d of %d replicas are not (yet) seen to be wrapped by the protector they belong to; keep every key registered, enabled and granted.", moving, len(v.Databases)))
	}
	return list
}
