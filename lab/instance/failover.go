package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/georep"
)

// Loss says what a forced failover of one database threw away.
type Loss struct {
	Ref          Ref // the new primary
	Known        bool
	FromLSN      uint64
	ToLSN        uint64
	Transactions uint64
}

// Turn keeps sessions away from databases whose roles have changed until the
// control plane's records say so too.
type Turn struct {
	once      sync.Once
	databases []*database
}

// End lets sessions in again. It may be called more than once, and of nil.
func (t *Turn) End() {
	if t == nil {
		return
	}
	t.once.Do(func() {
		for _, d := range t.databases {
			d.mu.Lock()
			d.turning--
			d.wake()
			d.mu.Unlock()
		}
	})
}

// begin ends the sessions on all copies of the links' databases and keeps new
// ones away.
func (i *Instances) begin(turns []turning) *Turn {
	turn := &Turn{}
	for _, each := range turns {
		for _, d := range []*database{each.from, each.to} {
			d.mu.Lock()
			d.turning++
			d.breakLeases(ErrRoleChanged)
			d.mu.Unlock()
			turn.databases = append(turn.databases, d)
		}
	}
	return turn
}

// turning is one database's failover.
type turning struct {
	relation *relation
	link     *georep.Link
	from, to *database
}

func (i *Instances) turnings(links []LinkSpec) ([]turning, error) {
	turns := make([]turning, 0, len(links))
	for _, spec := range links {
		r, link := i.findLink(spec.ID)
		from, to := i.find(spec.Primary), i.find(spec.Secondary)
		if link == nil || from == nil || to == nil {
			return nil, fmt.Errorf("fail over to %s: %w", spec.Secondary, georep.ErrNoLink)
		}
		turns = append(turns, turning{relation: r, link: link, from: from, to: to})
	}
	return turns, nil
}

// PlannedFailover makes the secondaries of links primaries, all of them or
// none, and loses nothing. The links are as they are on record: it goes on
// where a crash left it. When it cannot be done before ctx ends, all is as it
// was and the error wraps a *georep.RolledBackError. The caller ends the Turn
// when the new roles are on record.
func (i *Instances) PlannedFailover(ctx context.Context, links []LinkSpec) (*Turn, error) {
	turns, err := i.turnings(links)
	if err != nil {
		return nil, err
	}
	if err := i.drain(ctx, turns); err != nil {
		return nil, err
	}
	turn := i.begin(turns)
	failures := make([]error, len(turns))
	var work sync.WaitGroup
	for n, each := range turns {
		work.Go(func() { failures[n] = each.relation.PlannedFailover(ctx, each.to.replica.Name()) })
	}
	work.Wait()
	if err := errors.Join(failures...); err != nil {
		err = errors.Join(err, turnBack(context.WithoutCancel(ctx), turns, failures))
		turn.End()
		return nil, err
	}
	i.takeUpScans(turns)
	return turn, nil
}

// takeUpScans has the new primaries go on with the scans of the old ones.
func (i *Instances) takeUpScans(turns []turning) {
	for _, each := range turns {
		i.takeUp(each.to)
	}
}

// drain lets the secondaries come close while clients still write, so that
// little is left to be waited for when they no longer can.
func (i *Instances) drain(ctx context.Context, turns []turning) error {
	for _, each := range turns {
		db := each.link.Primary().DB()
		if db == nil || each.link.Secondary() != each.to.replica {
			continue // it was turned before a crash, or PlannedFailover says why it cannot be
		}
		i.awaitConnected(ctx, each.link)
		if err := each.link.Drain(ctx, db.Last()); err != nil {
			return &georep.RolledBackError{Partner: each.to.replica.Name(), Err: err}
		}
	}
	return nil
}

// connectPatience bounds, in the machine's time, how long a failover waits
// for a link that has not connected yet: the lab may just have started.
const connectPatience = 3 * time.Second

// awaitConnected waits while the other region does not answer.
func (i *Instances) awaitConnected(ctx context.Context, link *georep.Link) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for {
		wake := i.linkWaiter()
		status := link.Status()
		_, unreachable := errors.AsType[*georep.UnreachableError](status.Reason)
		if status.State == georep.CatchUp || (status.State == georep.Suspended && !unreachable) {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// turnBack gives the databases their old roles back whose failover succeeded
// where another one's did not.
func turnBack(ctx context.Context, turns []turning, failures []error) error {
	var errs []error
	for n, each := range turns {
		if failures[n] == nil {
			errs = append(errs, each.relation.PlannedFailover(ctx, each.from.replica.Name()))
		}
	}
	return errors.Join(errs...)
}

// ForcedFailover makes the secondaries of links primaries at once, with what
// they have, and says what was lost; the old primaries become secondaries,
// now or when they come back. Repeated after a crash it says the same. The
// caller ends the Turn when the new roles are on record.
func (i *Instances) ForcedFailover(ctx context.Context, links []LinkSpec) (*Turn, []Loss, error) {
	turns, err := i.turnings(links)
	if err != nil {
		return nil, nil, err
	}
	turn := i.begin(turns)
	losses, failures := make([]Loss, len(turns)), make([]error, len(turns))
	var work sync.WaitGroup
	for n, each := range turns {
		work.Go(func() {
			lost, err := each.relation.ForcedFailover(ctx, each.to.replica.Name())
			failures[n] = err
			losses[n] = Loss{Ref: each.to.ref, Known: lost.Known, FromLSN: uint64(lost.FromLSN), ToLSN: uint64(lost.ToLSN), Transactions: lost.Transactions}
		})
	}
	work.Wait()
	if err := errors.Join(failures...); err != nil {
		turn.End()
		return nil, nil, err
	}
	i.takeUpScans(turns)
	return turn, losses, nil
}
