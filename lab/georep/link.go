package georep

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// retryAfter is how long, in the machine's time, a suspended link waits before
// it tries again when LinkOptions does not say.
const retryAfter = 250 * time.Millisecond

// holdPrefix begins the names of the holds on a primary's log.
const holdPrefix = "georep/"

// LinkOptions are what a link is made of.
type LinkOptions struct {
	// ID is the link's GUID.
	ID string
	// Primary and Secondary are the two copies.
	Primary, Secondary *Replica
	// Now tells the time of the primary's region.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// Reach, when not nil, is asked before anything crosses between the two
	// regions: it may wait, which delays the stream, and its error means that
	// the other region cannot be reached.
	Reach func(ctx context.Context) error
	// Delay, when not nil, is waited for before records are shipped, which
	// makes the secondary lag; its error ends the connection.
	Delay func(ctx context.Context) error
	// Dial makes the two ends of a connection; nil means an in-process pipe.
	Dial func(ctx context.Context) (primary, secondary io.ReadWriteCloser, err error)
	// RetryAfter is in the machine's time; 0 means 250 ms.
	RetryAfter time.Duration
	// Changed, when not nil, is told each change of State. It must not call
	// the link.
	Changed func(Status)
	// StartedAt is when the link was made, zero for now.
	StartedAt time.Time
	// Undoing marks a secondary that is an old primary after a forced failover.
	Undoing bool
}

// Link replicates one database to one secondary. It is safe for concurrent
// use. It does nothing before Start.
type Link struct {
	o    LinkOptions
	hold string // name of the hold on the primary's log

	mu      sync.Mutex
	changed chan struct{} // closed and made anew at each change below
	state   State
	reason  error
	held    error // what Suspend was given
	reseed  error // why the secondary must be seeded, nil when it need not be
	undoing bool
	percent int
	acked   position
	// heldAt is what the primary was last told to keep the log after, and when.
	heldAt position
	// lastReplication and the rest are what Status tells.
	lastReplication, modifiedAt time.Time
	seeds                       int
	interrupt                   context.CancelFunc // ends the current connection
	stop                        context.CancelFunc // ends run
	done                        chan struct{}      // closed when run has ended
}

// position is a point in a database's history.
type position struct {
	lsn      engine.LSN
	checksum uint64
	at       time.Time // when its record was committed, zero when not known
}

// NewLink makes a link.
func NewLink(o LinkOptions) *Link {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = pipe
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = retryAfter
	}
	if o.Changed == nil {
		o.Changed = func(Status) {}
	}
	if o.StartedAt.IsZero() {
		o.StartedAt = o.Now()
	}
	o.Log = o.Log.With("link", o.ID, "primary", o.Primary.Name(), "secondary", o.Secondary.Name())
	return &Link{
		o: o, hold: holdPrefix + o.ID, changed: make(chan struct{}), state: Pending,
		undoing: o.Undoing, percent: 100, modifiedAt: o.Now(),
	}
}

func pipe(context.Context) (primary, secondary io.ReadWriteCloser, err error) {
	near, far := net.Pipe()
	return near, far, nil
}

// ID is the link's GUID.
func (l *Link) ID() string { return l.o.ID }

// Primary is the copy that the link reads.
func (l *Link) Primary() *Replica { return l.o.Primary }

// Secondary is the copy that the link writes.
func (l *Link) Secondary() *Replica { return l.o.Secondary }

// Start begins to replicate, in the background, until ctx or Close ends it. It
// must be called once.
func (l *Link) Start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	l.mu.Lock()
	l.stop, l.done = cancel, done
	l.mu.Unlock()
	go func() {
		defer close(done)
		defer cancel()
		l.run(ctx)
	}()
}

// Close ends the link and waits until nothing is applied any more. The hold on
// the primary's log stays, so that a later link with the same ID goes on where
// this one was.
func (l *Link) Close() {
	l.mu.Lock()
	stop, done := l.stop, l.done
	l.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-done
}

// Suspend stops shipping until Resume; reason is what Status then gives. It
// does not wait for a record that is being applied.
func (l *Link) Suspend(reason error) {
	if reason == nil {
		reason = errors.New("suspended")
	}
	l.update(func() {
		l.held, l.state, l.reason = reason, Suspended, reason
		if l.interrupt != nil {
			l.interrupt()
		}
	})
}

// Resume lets a link go on that Suspend stopped, and makes one that is
// suspended for another reason try again at once.
func (l *Link) Resume() {
	l.update(func() { l.held = nil })
}

// update changes the link under its lock and wakes all who wait for a change.
func (l *Link) update(change func()) {
	l.mu.Lock()
	before := l.shownState()
	change()
	if l.shownState() != before {
		l.modifiedAt = l.o.Now()
	}
	after := l.shownState()
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if after != before {
		status := l.Status()
		l.o.Log.Info("replica.state", "state", status.State, "reason", status.Reason, "acknowledged", status.AcknowledgedLSN)
		l.o.Changed(status)
	}
}

// shownState hides the seeding of an old primary: the service shows a link as
// SUSPENDED while it undoes (message 45309).
func (l *Link) shownState() State {
	if l.undoing && l.state != CatchUp {
		return Suspended
	}
	return l.state
}

// Drain waits until the secondary has hardened the record lsn. It fails at once
// when the link is suspended, with a *SuspendedError, and with ctx's error when
// ctx ends first.
func (l *Link) Drain(ctx context.Context, lsn engine.LSN) error {
	for {
		l.mu.Lock()
		acked, state, reason, changed := l.acked.lsn, l.state, l.reason, l.changed
		l.mu.Unlock()
		if state == Suspended {
			return &SuspendedError{Link: l.o.ID, Err: reason}
		}
		if state == CatchUp && acked >= lsn {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Await waits until the link is in the given state.
func (l *Link) Await(ctx context.Context, state State) error {
	for {
		l.mu.Lock()
		now, changed := l.shownState(), l.changed
		l.mu.Unlock()
		if now == state {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reach asks the seam between the regions.
func (l *Link) reach(ctx context.Context) error {
	if l.o.Reach == nil {
		return ctx.Err()
	}
	err := l.o.Reach(ctx)
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return &UnreachableError{Replica: l.o.Secondary.Name(), Err: err}
}
