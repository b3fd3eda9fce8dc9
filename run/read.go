package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// readBefore reads anew what the decision on the step rests on.
func (r *running) readBefore(ctx context.Context, s plan.Step) error {
	pace := r.executor.readPace()
	for {
		err := r.readFor(ctx, s)
		if err == nil && s.Kind == plan.PlannedFailover {
			err = r.linksInStep(s)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return interrupted(ctx, s.Number)
		}
		r.tell(Event{Name: StepWait, Step: s.Number, Server: s.Server, Text: err.Error()})
		call, final := finalCall(err)
		if final {
			return &StopError{Reason: Broken, Step: s.Number, What: "read what the step starts from", Hint: call.hint(), Err: err}
		}
		more, waitErr := pace.wait(ctx, r.limits.Settle, call.RetryAfter)
		switch {
		case waitErr != nil:
			return interrupted(ctx, s.Number)
		case !more:
			return &StopError{Reason: Undecided, Step: s.Number, What: "the state before the step is not the one it needs", Hint: hintApplyAgain, Err: err}
		}
	}
}

// finalCall reports whether a read failed in a way that repeating it does not
// cure. What is no *CallError is worth another look.
func finalCall(err error) (*CallError, bool) {
	call, ok := errors.AsType[*CallError](err)
	if !ok {
		return &CallError{}, false
	}
	return call, !call.Lost && !call.Retryable
}

// linksInStep: a planned failover needs every link of the group in CATCH_UP; it
// would be rolled back otherwise.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func (r *running) linksInStep(s plan.Step) error {
	t := r.current()
	if s.Reached(t) {
		return nil
	}
	for _, l := range t.Links {
		if strings.EqualFold(l.Group, s.Group) && !strings.EqualFold(l.State, tde.StateCatchUp) {
			return fmt.Errorf("replication of %s to %s is in state %s, not %s", l.Database, l.Secondary, l.State, tde.StateCatchUp)
		}
	}
	return nil
}

func (r *running) readFor(ctx context.Context, s plan.Step) error {
	t := r.current()
	switch s.Kind {
	case plan.Register:
		return r.readKeys(ctx, t, s.Server)
	case plan.Grant:
		return nil // as observed at the start
	case plan.SetProtector, plan.PlannedFailover, plan.VerifyEncryption:
	}
	reads := make([]func() error, 0, 2*len(t.Servers)+len(t.Groups))
	for _, server := range t.Servers {
		reads = append(reads,
			func() error { return r.readKeys(ctx, t, server.Name) },
			func() error { return r.readProtector(ctx, t, server.Name) },
		)
	}
	for _, g := range t.Groups {
		reads = append(reads, func() error { return r.readGroup(ctx, t, g) })
	}
	return sideBySide(reads)
}

// reread reads anew what shows the step's effect.
func (r *running) reread(ctx context.Context, s plan.Step) error {
	t := r.current()
	switch s.Kind {
	case plan.Register:
		return r.readKeys(ctx, t, s.Server)
	case plan.SetProtector:
		return r.readProtector(ctx, t, s.Server)
	case plan.PlannedFailover:
		g, _ := t.FailoverGroup(s.Group)
		return r.readGroup(ctx, t, g)
	case plan.Grant, plan.VerifyEncryption:
	}
	fresh, err := r.executor.World.Observe(ctx)
	if err != nil {
		return err
	}
	r.change(func(t *tde.Topology) { t.Grants, t.Vaults, t.Keys = fresh.Grants, fresh.Vaults, fresh.Keys })
	return nil
}

func sideBySide(reads []func() error) error {
	var group sync.WaitGroup
	failed := make([]error, len(reads))
	for i, read := range reads {
		group.Go(func() { failed[i] = read() })
	}
	group.Wait()
	return errors.Join(failed...)
}

func (r *running) readKeys(ctx context.Context, t tde.Topology, server string) error {
	s, _ := t.Server(server)
	keys, err := r.executor.World.ReadKeys(ctx, s)
	if err != nil {
		return fmt.Errorf("read the keys of %s: %w", server, err)
	}
	r.change(func(t *tde.Topology) {
		if s := at(t, server); s != nil {
			s.Keys = keys
		}
	})
	return nil
}

func (r *running) readProtector(ctx context.Context, t tde.Topology, server string) error {
	s, _ := t.Server(server)
	protector, err := r.executor.World.ReadProtector(ctx, s)
	if err != nil {
		return fmt.Errorf("read the protector of %s: %w", server, err)
	}
	r.change(func(t *tde.Topology) {
		if s := at(t, server); s != nil {
			s.Protector = protector
		}
	})
	return nil
}

func (r *running) readGroup(ctx context.Context, t tde.Topology, g tde.FailoverGroup) error {
	group, links, err := r.executor.World.ReadGroup(ctx, g, t.Servers)
	if err != nil {
		return fmt.Errorf("read failover group %s: %w", g.Name, err)
	}
	r.change(func(t *tde.Topology) {
		for i := range t.Groups {
			if strings.EqualFold(t.Groups[i].Name, g.Name) {
				t.Groups[i] = group
			}
		}
		t.Links = slices.DeleteFunc(t.Links, func(l tde.ReplicationLink) bool { return strings.EqualFold(l.Group, g.Name) })
		t.Links = append(t.Links, links...)
	})
	return nil
}

// change replaces what is known by a changed copy, so that a topology that was
// handed out stays as it is.
func (r *running) change(edit func(*tde.Topology)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.seen
	t.Servers, t.Groups, t.Links = slices.Clone(t.Servers), slices.Clone(t.Groups), slices.Clone(t.Links)
	t.ReadAt = r.executor.Now()
	edit(&t)
	r.seen = t
}

// guard decides whether the step may be carried out now.
func (r *running) guard(s plan.Step, t tde.Topology) error {
	if s.Kind == plan.SetProtector || s.Kind == plan.PlannedFailover {
		if err := r.sameRoles(s, t); err != nil {
			return err
		}
		if err := r.keysInPlace(s, t); err != nil {
			return err
		}
	}
	if err := s.CheckBefore(t); err != nil {
		return &StopError{Reason: Changed, Step: s.Number, What: "somebody has changed what the step starts from", Hint: hintPlanAgain, Err: err}
	}
	return nil
}

// sameRoles stops when somebody else has failed over, or is doing so: the
// order of the steps rests on who is primary.
func (r *running) sameRoles(s plan.Step, t tde.Topology) error {
	for _, g := range t.Groups {
		r.mu.Lock()
		want := r.primaries[strings.ToLower(g.Name)]
		r.mu.Unlock()
		if g.DisagreementOnMember == "" && strings.EqualFold(g.Primary(), want) {
			continue
		}
		now := g.Primary() + " is primary now"
		if g.DisagreementOnMember != "" {
			now = "its members disagree: " + g.DisagreementOnMember
		}
		return &StopError{
			Reason: RoleChange, Step: s.Number, Hint: hintRoleChange,
			What: fmt.Sprintf("failover group %s had %s as its primary and %s; somebody has failed it over, and the order of the steps rests on the roles", g.Name, want, now),
		}
	}
	return nil
}

// keysInPlace looks once more, right before a protector changes or roles do,
// that every server holds each key it needs, before and after.
func (r *running) keysInPlace(s plan.Step, t tde.Topology) error {
	desired := plan.Desired{}
	if s.Kind == plan.SetProtector {
		auto := s.AutoRotation
		desired[s.Server] = plan.DesiredProtector{Key: s.Key}
		if !s.Key.IsZero() {
			desired[s.Server] = plan.DesiredProtector{Key: s.Key, AutoRotation: &auto}
		}
	}
	for _, q := range check.Requirements(t, desired, r.executor.Now()) {
		concerns := s.Kind == plan.PlannedFailover || slices.Contains(q.Owners, s.Server)
		if concerns && !q.Registered {
			return &StopError{
				Reason: Changed, Step: s.Number, Hint: hintPlanAgain,
				What: fmt.Sprintf("key %s is not registered on %s, which would need it", q.Use.Short(), q.Server),
			}
		}
	}
	return nil
}

// follow remembers the roles that a failover of ours has given.
func (r *running) follow(s plan.Step) {
	if s.Kind != plan.PlannedFailover {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.primaries[strings.ToLower(s.Group)] = s.Server
}
