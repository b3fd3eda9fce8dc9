package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

// LinkSpec is a geo-replication relation as the control plane has it on
// record.
type LinkSpec struct {
	ID                 string
	Primary, Secondary Ref
	StartedAt          time.Time
}

// relation is a geo-replicated database: its copies on all servers, and who
// replicates to whom.
type relation struct {
	*georep.Relationship
	members map[string]*database // by the name of their replica; guarded by Instances.mu
}

// link finds the relation's link of an id; nil when there is none.
func (r *relation) link(id string) *georep.Link {
	for _, link := range r.Links() {
		if link.ID() == id {
			return link
		}
	}
	return nil
}

// SetLink starts a link: seeding begins where the secondary has no files, and
// where it cannot go on. A link that is there stays as it is, in whichever
// direction the databases' own roles give it. Both databases must be known:
// by Load, Create or Prepare.
func (i *Instances) SetLink(spec LinkSpec) error {
	i.mu.Lock()
	if i.relationOf(spec.ID) != nil {
		i.mu.Unlock()
		return nil
	}
	primary, secondary := i.databases[spec.Primary], i.databases[spec.Secondary]
	if primary == nil || secondary == nil {
		i.mu.Unlock()
		return fmt.Errorf("replicate %s to %s: %w", spec.Primary, spec.Secondary, &UnavailableError{Ref: spec.Secondary, Status: Missing})
	}
	r := primary.relation
	if r == nil {
		r = i.newRelation(primary)
	}
	if secondary.relation != nil && secondary.relation != r {
		i.mu.Unlock()
		return fmt.Errorf("replicate %s to %s: it takes part in another relation", spec.Primary, spec.Secondary)
	}
	secondary.relation, r.members[secondary.replica.Name()] = r, secondary
	i.mu.Unlock()
	_, err := r.Add(i.ctx, spec.ID, secondary.replica, spec.StartedAt)
	return err
}

// newRelation makes a relation without links. The caller holds mu.
func (i *Instances) newRelation(primary *database) *relation {
	r := &relation{members: map[string]*database{primary.replica.Name(): primary}}
	r.Relationship = georep.NewRelationship(georep.RelationshipOptions{
		Now: i.o.Clock.Now, Log: i.o.Log, Changed: func(georep.Status) { i.linkChanged() }, Reach: i.o.Reach, Delay: i.o.Delay,
	}, primary.replica)
	primary.relation = r
	return r
}

// relationOf finds the relation of a link. The caller holds mu.
func (i *Instances) relationOf(id string) *relation {
	for _, d := range i.databases {
		if d.relation != nil && d.relation.link(id) != nil {
			return d.relation
		}
	}
	return nil
}

func (i *Instances) findLink(id string) (*relation, *georep.Link) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	r := i.relationOf(id)
	if r == nil {
		return nil, nil
	}
	return r, r.link(id)
}

// linkChanged wakes those who wait for a link.
func (i *Instances) linkChanged() {
	i.linkMu.Lock()
	defer i.linkMu.Unlock()
	close(i.linkWake)
	i.linkWake = make(chan struct{})
}

func (i *Instances) linkWaiter() <-chan struct{} {
	i.linkMu.Lock()
	defer i.linkMu.Unlock()
	return i.linkWake
}

// Prepare names a database that a link will seed: it is Creating until then.
func (i *Instances) Prepare(ref Ref, id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if d := i.databases[ref.lower()]; d == nil || d.id != id {
		d = i.newDatabase(ref, id)
		i.databases[d.ref] = d
	}
}

// LinkStatus tells how a link is; false when there is none of that id.
func (i *Instances) LinkStatus(id string) (georep.Status, bool) {
	_, link := i.findLink(id)
	if link == nil {
		return georep.Status{}, false
	}
	return link.Status(), true
}

// AwaitSeeded waits until the secondary of a link follows its primary. It
// gives up when the secondary's server cannot open the DEK: the error is an
// *engine.KeyError then.
func (i *Instances) AwaitSeeded(ctx context.Context, id string) error {
	for {
		wake := i.linkWaiter()
		status, found := i.LinkStatus(id)
		if !found {
			return fmt.Errorf("await link %s: %w", id, georep.ErrNoLink)
		}
		if status.State == georep.CatchUp {
			return nil
		}
		if lost, ok := errors.AsType[*engine.KeyError](status.Reason); ok && status.State == georep.Suspended {
			return lost
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AwaitSync waits until the secondary of a link has hardened what its primary
// has committed by now: sp_wait_for_database_copy_sync.
func (i *Instances) AwaitSync(ctx context.Context, id string) error {
	_, link := i.findLink(id)
	if link == nil {
		return fmt.Errorf("await link %s: %w", id, georep.ErrNoLink)
	}
	db := link.Primary().DB()
	if db == nil {
		return fmt.Errorf("await link %s: %w", id, georep.ErrNotOpen)
	}
	return link.Drain(ctx, db.Last())
}

// Suspend pauses a link until Continue. One that is not there is no error.
func (i *Instances) Suspend(id string, reason error) {
	if _, link := i.findLink(id); link != nil {
		link.Suspend(reason)
	}
}

// Continue ends Suspend.
func (i *Instances) Continue(id string) {
	if _, link := i.findLink(id); link != nil && link.Status().State == georep.Suspended {
		link.Resume()
	}
}

// EndLink ends a link at once; its secondary, where it has been seeded, is a
// primary of its own from then on. One that is not there is no error.
func (i *Instances) EndLink(ctx context.Context, id string) error {
	r, link := i.findLink(id)
	if link == nil {
		return nil
	}
	name := link.Secondary().Name()
	err := r.Remove(ctx, name)
	i.mu.Lock()
	secondary := r.members[name]
	delete(r.members, name)
	if secondary != nil {
		secondary.relation = nil
	}
	if len(r.members) == 1 {
		for _, last := range r.members {
			last.relation = nil
		}
	}
	i.mu.Unlock()
	i.linkChanged()
	if secondary != nil {
		secondary.mu.Lock()
		secondary.breakLeases(ErrRoleChanged)
		secondary.mu.Unlock()
		i.takeUp(secondary)
	}
	if err != nil {
		return fmt.Errorf("end link %s: %w", id, err)
	}
	return nil
}
