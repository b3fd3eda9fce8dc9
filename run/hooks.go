package run

import (
	"context"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// before runs what was asked for before a change.
func (r *running) before(ctx context.Context, s plan.Step) error {
	err := r.executor.Before(ctx, s)
	if ctx.Err() != nil {
		return interrupted(ctx, s.Number)
	}
	if err != nil {
		return &StopError{
			Reason: Blocked, Step: s.Number, What: "the pre-hook speaks against it", Err: err,
			Hint: "nothing of this step was called; cure what the hook found, and " + hintApplyAgain,
		}
	}
	return r.write(journal.Record{Kind: journal.Note, Step: s.Number, Note: "the pre-hook let the step begin"})
}

// after runs what was asked for after a change. The change is made; what the
// hook does not like is told and written down.
func (r *running) after(ctx context.Context, s plan.Step) {
	if r.executor.After == nil {
		return
	}
	text := "the post-hook ended well"
	if err := r.executor.After(context.WithoutCancel(ctx), s); err != nil {
		text = "the post-hook failed: " + err.Error()
		r.tell(Event{Name: Warned, Step: s.Number, Server: s.Server, Text: text})
	}
	if err := r.write(journal.Record{Kind: journal.Note, Step: s.Number, Note: text}); err != nil {
		r.tell(Event{Name: Warned, Step: s.Number, Text: err.Error()})
	}
}

// windowCheck is how often a run that waits for a window looks at the clock,
// which may be set meanwhile.
const windowCheck = time.Minute

// waitForWindow waits until a step that changes what wraps DEKs may begin. The
// world is judged and the rest proved anew after a wait, since much may have
// changed.
func (r *running) waitForWindow(ctx context.Context, s plan.Step) error {
	if s.Kind != plan.SetProtector && s.Kind != plan.PlannedFailover {
		return nil
	}
	waited := false
	for {
		now := r.executor.Now()
		opens := opening(r.options.Windows, now)
		if !opens.After(now) {
			break
		}
		if !waited {
			text := fmt.Sprintf("waiting for the maintenance window that opens at %s", opens.Format(time.RFC3339))
			r.tell(Event{Name: StepWait, Step: s.Number, Server: s.Server, Text: text})
			if err := r.write(journal.Record{Kind: journal.Note, Step: s.Number, Note: text}); err != nil {
				return err
			}
		}
		waited = true
		if err := r.executor.Wait(ctx, min(opens.Sub(now), windowCheck)); err != nil {
			return interrupted(ctx, s.Number)
		}
	}
	if !waited {
		return nil
	}
	t, err := r.observe(ctx)
	if err != nil {
		return err
	}
	if _, err := r.judge(t); err != nil {
		return err
	}
	return r.prove(t)
}
