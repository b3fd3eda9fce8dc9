// Package clock is the lab's only source of time: the machine's clock plus an
// offset that can be moved forward, so that ten minutes or ten years can be
// rehearsed in a moment.
package clock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the lab's time. It is safe for concurrent use.
type Clock struct {
	real func() time.Time

	mu      sync.Mutex
	offset  time.Duration
	changed chan struct{} // closed and replaced whenever the offset moves
}

// New gives a clock that is offset ahead of the machine's own.
func New(offset time.Duration) *Clock {
	return &Clock{real: time.Now, offset: offset, changed: make(chan struct{})}
}

// Now is the lab's time, in UTC, without a monotonic reading.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time { return c.real().Add(c.offset).UTC().Round(0) }

// Offset is how far the lab's time is ahead of the machine's.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Advance moves the clock forward by d and wakes every waiter whose time has
// come. A negative d is ignored: the lab's time never runs backwards, since
// tokens and operations already carry later stamps.
func (c *Clock) Advance(d time.Duration) {
	if d <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	close(c.changed)
	c.changed = make(chan struct{})
}

// WaitUntil returns when the lab's time has reached t, or with ctx's error
// when ctx ends first.
func (c *Clock) WaitUntil(ctx context.Context, t time.Time) error {
	for {
		c.mu.Lock()
		left, changed := t.Sub(c.now()), c.changed
		c.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
