package georep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// siblingDrain is for how long, in the machine's time, a planned failover waits
// for the secondaries that do not become primary. They follow the new primary
// afterwards from wherever they are.
const siblingDrain = 250 * time.Millisecond

// RelationshipOptions are what the links of a database have in common.
type RelationshipOptions struct {
	// Now tells the lab's time.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// Reach, when not nil, is asked with the replicas' names before anything
	// crosses between two of them; see LinkOptions.Reach.
	Reach func(ctx context.Context, from, to string) error
	// Delay, when not nil, is waited for before records are shipped; see
	// LinkOptions.Delay.
	Delay func(ctx context.Context) error
	// RetryAfter is a link's; 0 means 250 ms of the machine's time.
	RetryAfter time.Duration
	// Changed, when not nil, is told each change of a link's state. It must
	// not call the relationship.
	Changed func(Status)
}

// Relationship is one geo-replicated database: its primary and the links to
// its secondaries. It is safe for concurrent use; failovers run one at a time.
type Relationship struct {
	o  RelationshipOptions
	op chan struct{} // held by whoever changes roles or links

	mu      sync.Mutex
	primary *Replica
	links   map[string]*Link // by the name of the secondary
}

// NewRelationship makes a database's relationship without secondaries.
func NewRelationship(o RelationshipOptions, primary *Replica) *Relationship {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Relationship{o: o, op: make(chan struct{}, 1), primary: primary, links: map[string]*Link{}}
}

// begin waits until no other change of roles is going on.
func (r *Relationship) begin(ctx context.Context) (end func(), err error) {
	select {
	case r.op <- struct{}{}:
		return func() { <-r.op }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Primary is the copy that takes writes.
func (r *Relationship) Primary() *Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary
}

// Link is the link to the named secondary, nil when there is none.
func (r *Relationship) Link(secondary string) *Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.links[secondary]
}

// Links are all links, in no order.
func (r *Relationship) Links() []*Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	links := make([]*Link, 0, len(r.links))
	for _, link := range r.links {
		links = append(links, link)
	}
	return links
}

// Add makes a link to a secondary and starts it; where there is one it is
// returned. startedAt is when the link was first made, zero for now. The link
// outlives ctx: Remove and Close end it.
func (r *Relationship) Add(ctx context.Context, id string, secondary *Replica, startedAt time.Time) (*Link, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if link := r.Link(secondary.Name()); link != nil {
		return link, nil
	}
	return r.start(ctx, id, r.Primary(), secondary, startedAt), nil
}

// start makes a link and lets it run.
func (r *Relationship) start(ctx context.Context, id string, primary, secondary *Replica, startedAt time.Time) *Link {
	o := LinkOptions{
		ID: id, Primary: primary, Secondary: secondary, Now: r.o.Now, Log: r.o.Log, RetryAfter: r.o.RetryAfter, Changed: r.o.Changed,
		StartedAt: startedAt, Undoing: undoes(primary, secondary), Delay: r.o.Delay,
	}
	if r.o.Reach != nil {
		o.Reach = func(ctx context.Context) error { return r.o.Reach(ctx, primary.Name(), secondary.Name()) }
	}
	link := NewLink(o)
	r.mu.Lock()
	r.links[secondary.Name()] = link
	r.mu.Unlock()
	link.Start(context.WithoutCancel(ctx))
	return link
}

// undoes tells that the secondary is a primary of an older epoch.
func undoes(primary, secondary *Replica) bool {
	newer, err := primary.boot()
	older, errOlder := secondary.boot()
	return err == nil && errOlder == nil && older.Role == engine.Primary && older.Epoch < newer.Epoch
}

// Remove terminates the link to a secondary, which becomes a primary of its own
// when it is open and was seeded. It does nothing when there is no link.
func (r *Relationship) Remove(ctx context.Context, secondary string) error {
	end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	link := r.Link(secondary)
	if link == nil {
		return nil
	}
	link.Close()
	err = releaseHold(link)
	if db := link.Secondary().DB(); db != nil && db.Boot().Role == engine.Secondary {
		if err := db.SetRole(ctx, engine.Primary, db.Boot().Epoch+1); err != nil {
			return fmt.Errorf("make %s a primary of its own: %w", secondary, err)
		}
	}
	r.mu.Lock()
	delete(r.links, secondary)
	r.mu.Unlock()
	return err
}

// releaseHold lets the primary's log go that was kept for the link.
func releaseHold(link *Link) error {
	db := link.Primary().DB()
	if db == nil {
		return nil
	}
	for _, name := range []string{link.hold, forkHold(link.Secondary())} {
		if err := db.Release(name); err != nil && !errors.Is(err, engine.ErrClosed) {
			return fmt.Errorf("release log of link %s: %w", link.ID(), err)
		}
	}
	return nil
}

// Close stops all links and waits for them; databases stay open.
func (r *Relationship) Close() {
	for _, link := range r.Links() {
		link.Close()
	}
}

// Recover makes the relationship right after a restart, or after a crash of a
// failover at any point: the boot records decide. Call it when every copy that
// can be opened is open and has been added, and before the primary takes
// writes. It may be called at any time.
//
// The primary is the one of the highest epoch. When no copy is primary, a
// planned failover was interrupted after the old primary had stepped down; it
// alone has the highest epoch and every record, and becomes primary again.
func (r *Relationship) Recover(ctx context.Context) error {
	end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return r.recover(ctx)
}

func (r *Relationship) recover(ctx context.Context) error {
	var first, newest *Replica // of the primaries, and of all
	var firstEpoch, newestEpoch uint64
	for _, replica := range r.replicas() {
		boot, err := replica.boot()
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read role of %s: %w", replica.Name(), err)
		}
		if boot.Role == engine.Primary && (first == nil || boot.Epoch > firstEpoch) {
			first, firstEpoch = replica, boot.Epoch
		}
		if newest == nil || boot.Epoch > newestEpoch {
			newest, newestEpoch = replica, boot.Epoch
		}
	}
	if first == nil {
		if newest == nil || newest.DB() == nil {
			return fmt.Errorf("no primary: %w", ErrNotOpen)
		}
		if err := newest.DB().SetRole(ctx, engine.Primary, newestEpoch+1); err != nil {
			return fmt.Errorf("make %s primary again: %w", newest.Name(), err)
		}
		first = newest
	}
	if first == r.Primary() {
		return nil
	}
	r.closeLinks()
	if err := r.stepDownAll(ctx, first); err != nil {
		return err
	}
	return r.point(ctx, first)
}

// stepDownAll makes every open copy of an older epoch a secondary, and writes
// down what only the old primary has while its log is still there.
func (r *Relationship) stepDownAll(ctx context.Context, primary *Replica) error {
	db := primary.DB()
	if db == nil {
		return nil
	}
	for _, replica := range r.replicas() {
		if replica == primary {
			continue
		}
		if _, err := stepDown(ctx, replica, db); untold(err) {
			r.o.Log.Warn("failover.loss_unknown", "replica", replica.Name(), "error", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// replicas are the primary and all secondaries.
func (r *Relationship) replicas() []*Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []*Replica{r.primary}
	for _, link := range r.links {
		all = append(all, link.Secondary())
	}
	return all
}

func (r *Relationship) closeLinks() {
	var ends sync.WaitGroup
	for _, link := range r.Links() {
		ends.Go(link.Close)
	}
	ends.Wait()
}

// point makes primary the primary of all links, which were closed. The link
// with the new primary keeps its GUID and leads to the old one now; the others
// keep theirs and their secondaries.
func (r *Relationship) point(ctx context.Context, primary *Replica) error {
	old, links := r.Primary(), r.Links()
	var errs []error
	for _, link := range links {
		errs = append(errs, releaseHold(link))
	}
	r.mu.Lock()
	r.primary, r.links = primary, map[string]*Link{}
	r.mu.Unlock()
	for _, link := range links {
		secondary := link.Secondary()
		if secondary == primary {
			secondary = old
		}
		r.start(ctx, link.ID(), primary, secondary, link.o.StartedAt)
	}
	return errors.Join(errs...)
}

// boot reads the boot record, of an open or a closed copy.
func (r *Replica) boot() (engine.Boot, error) {
	if db := r.DB(); db != nil {
		return db.Boot(), nil
	}
	return engine.ReadBoot(r.options.Dir)
}
