package georep

import (
	"context"
	"errors"
	"fmt"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// PlannedFailover makes the named secondary primary without losing anything.
// Writes on the old primary wait meanwhile; those that waited fail with
// engine.ErrReadOnly once it is done. The other secondaries follow the new
// primary.
//
// When it cannot be done before ctx ends the old primary goes on as primary and
// the error is a *RolledBackError. It is safe to call again after a crash at
// any point: the roles and epochs in the boot records decide, and it does
// nothing when the partner is primary already.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func (r *Relationship) PlannedFailover(ctx context.Context, partner string) error {
	end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := r.recover(ctx); err != nil {
		return fmt.Errorf("before planned failover to %s: %w", partner, err)
	}
	if r.Primary().Name() == partner {
		return nil
	}
	link := r.Link(partner)
	if link == nil {
		return fmt.Errorf("%s: %w", partner, ErrNoLink)
	}
	if err := r.change(ctx, link); err != nil {
		r.o.Log.Info("failover.rolled_back", "partner", partner, "error", err)
		return &RolledBackError{Partner: partner, Err: err}
	}
	r.o.Log.Info("failover.done", "kind", "planned", "primary", partner)
	return nil
}

// change is the failover between the checks that cost no outage and the
// release of the writers.
func (r *Relationship) change(ctx context.Context, link *Link) error {
	if err := link.readyToLead(ctx); err != nil {
		return err
	}
	old := link.Primary().DB()
	if old == nil {
		return &UnreachableError{Replica: link.Primary().Name(), Err: ErrNotOpen}
	}
	// Most of the way, or a whole seeding, is made while writes go on.
	if err := link.Drain(ctx, old.Last()); err != nil {
		return err
	}
	resume, err := old.Quiesce(ctx)
	if err != nil {
		return fmt.Errorf("hold writes back: %w", err)
	}
	defer resume()
	lsn, sum := Position(old)
	if err := link.Drain(ctx, lsn); err != nil {
		return err
	}
	r.drainSiblings(ctx, link, lsn)
	// From here on nothing may stop between the two roles but a crash.
	ctx = context.WithoutCancel(ctx)
	r.closeLinks()
	if err := link.swapRoles(ctx, position{lsn: lsn, checksum: sum}); err != nil {
		return errors.Join(err, r.point(ctx, r.Primary()))
	}
	return r.point(ctx, link.Secondary())
}

// readyToLead checks what can be checked while writes go on: that the partner
// is reached, is not being undone, is not suspended, and that its server can
// open the DEK as it is wrapped now.
func (l *Link) readyToLead(ctx context.Context) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	state, undoing, reason := l.state, l.undoing, l.reason
	l.mu.Unlock()
	if undoing {
		return fmt.Errorf("%s: %w", l.o.Secondary.Name(), ErrUndoing)
	}
	if state == Suspended {
		return &SuspendedError{Link: l.o.ID, Err: reason}
	}
	db := l.o.Secondary.DB()
	if db == nil {
		return &UnreachableError{Replica: l.o.Secondary.Name(), Err: ErrNotOpen}
	}
	return l.o.Secondary.opensDEK(ctx, db.Boot())
}

// opensDEK asks the replica's own server to unwrap the DEK of a boot record.
func (r *Replica) opensDEK(ctx context.Context, boot engine.Boot) error {
	if boot.DEK == nil {
		return nil
	}
	if r.options.Open == nil {
		return &engine.KeyError{Thumbprint: boot.DEK.Thumbprint, Err: errors.New("replica has no opener")}
	}
	key, err := r.options.Open(ctx, *boot.DEK)
	clear(key)
	if err != nil {
		return &engine.KeyError{Thumbprint: boot.DEK.Thumbprint, Err: err}
	}
	return nil
}

// drainSiblings lets the other secondaries take what the old primary has. A
// sibling that is suspended or slow does not hold the failover up.
func (r *Relationship) drainSiblings(ctx context.Context, chosen *Link, lsn engine.LSN) {
	ctx, cancel := context.WithTimeout(ctx, siblingDrain)
	defer cancel()
	for _, link := range r.Links() {
		if link == chosen {
			continue
		}
		if err := link.Drain(ctx, lsn); err != nil {
			r.o.Log.Info("failover.sibling_behind", "link", link.ID(), "error", err)
		}
	}
}

// swapRoles makes the secondary primary when it is at the given position. The
// old primary steps down first, so that there are never two; should the partner
// then fail, the old one becomes primary again in a newer epoch.
func (l *Link) swapRoles(ctx context.Context, at position) error {
	old, fresh := l.o.Primary.DB(), l.o.Secondary.DB()
	if old == nil || fresh == nil {
		return ErrNotOpen
	}
	lsn, sum := Position(fresh)
	if lsn != at.lsn || sum != at.checksum {
		return fmt.Errorf("primary at %d with checksum %016x, %s at %d with %016x: %w", at.lsn, at.checksum, l.o.Secondary.Name(), lsn, sum, ErrNotSynchronized)
	}
	epoch := max(old.Boot().Epoch, fresh.Boot().Epoch) + 1
	if err := old.SetRole(ctx, engine.Secondary, epoch); err != nil {
		return fmt.Errorf("make %s a secondary: %w", l.o.Primary.Name(), err)
	}
	if err := fresh.SetRole(ctx, engine.Primary, epoch); err != nil {
		err = fmt.Errorf("make %s primary: %w", l.o.Secondary.Name(), err)
		return errors.Join(err, old.SetRole(ctx, engine.Primary, epoch+1))
	}
	return nil
}
