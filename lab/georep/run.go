package georep

import (
	"context"
	"errors"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep/stream"
)

// run connects, replicates and connects again until ctx ends.
func (l *Link) run(ctx context.Context) {
	for {
		if err := l.awaitTurn(ctx); err != nil {
			return
		}
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if wait := l.judge(err); wait && l.pause(ctx) != nil {
			return
		}
	}
}

// awaitTurn waits until the link is not held by Suspend, the primary is open,
// and the secondary is open or has to be seeded.
func (l *Link) awaitTurn(ctx context.Context) error {
	for {
		primary, primaryChanged := l.o.Primary.watch()
		secondary, secondaryChanged := l.o.Secondary.watch()
		l.mu.Lock()
		held, reseed, changed := l.held, l.reseed, l.changed
		l.mu.Unlock()
		if held == nil && primary != nil && (secondary != nil || reseed != nil || l.unseeded()) {
			return ctx.Err()
		}
		if held == nil {
			l.suspended(notOpen(primary, l.o.Primary, l.o.Secondary))
		}
		select {
		case <-primaryChanged:
		case <-secondaryChanged:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unseeded tells that there is no secondary yet. A folder that cannot be read
// is no reason to overwrite it.
func (l *Link) unseeded() bool {
	seeded, err := l.o.Secondary.seeded()
	return err == nil && !seeded
}

func notOpen(primary *engine.DB, first, second *Replica) error {
	if primary == nil {
		return &UnreachableError{Replica: first.Name(), Err: ErrNotOpen}
	}
	return &UnreachableError{Replica: second.Name(), Err: ErrNotOpen}
}

// suspended shows the link as suspended; it changes nothing when it already is
// for a reason of the same kind, so that waiting for a change does not make one.
func (l *Link) suspended(reason error) {
	l.mu.Lock()
	same := l.state == Suspended && l.reason != nil && l.reason.Error() == reason.Error()
	l.mu.Unlock()
	if !same {
		l.update(func() { l.state, l.reason = Suspended, reason })
	}
}

// failure is how a connection ended, and at which end, since the cures differ.
type failure struct {
	err       error
	secondary bool
}

// needsSeed tells that the secondary cannot go on from where it is.
func (f failure) needsSeed() bool {
	if f.secondary {
		return errors.Is(f.err, engine.ErrDiverged) || errors.Is(f.err, engine.ErrCorrupt)
	}
	return errors.Is(f.err, engine.ErrDiverged) || errors.Is(f.err, engine.ErrLogTruncated)
}

// judge decides what follows the end of a connection, and whether the link
// waits before it tries again.
func (l *Link) judge(f failure) (wait bool) {
	l.mu.Lock()
	held, again := l.held, l.reseed
	l.mu.Unlock()
	switch {
	case held != nil:
		return false
	case again == nil && f.needsSeed():
		l.o.Log.Info("replica.reseed", "error", f.err)
		l.update(func() { l.reseed, l.acked = f.err, position{} })
		return false
	case errors.Is(f.err, stream.ErrDamaged):
		// The next connection goes on after the last record that was hardened.
		l.o.Log.Warn("replica.stream_damaged", "error", f.err)
		return true
	default:
		l.suspended(f.err)
		return true
	}
}

// pause waits for the retry time, or for a change that may make a retry worth
// while: Resume, or a replica that was opened.
func (l *Link) pause(ctx context.Context) error {
	_, primaryChanged := l.o.Primary.watch()
	_, secondaryChanged := l.o.Secondary.watch()
	l.mu.Lock()
	changed := l.changed
	l.mu.Unlock()
	timer := time.NewTimer(l.o.RetryAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-primaryChanged:
	case <-secondaryChanged:
	case <-changed:
	case <-ctx.Done():
	}
	return ctx.Err()
}
