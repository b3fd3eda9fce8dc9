package engine

import (
	"context"
	"slices"
	"sync"
)

// writeLock lets one writer at a time in, in order of arrival.
type writeLock struct {
	mu     sync.Mutex
	held   bool
	closed bool
	queue  []chan bool
}

// try takes the lock when it is free.
func (l *writeLock) try() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held || l.closed {
		return false
	}
	l.held = true
	return true
}

// acquire waits for the lock.
func (l *writeLock) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	if !l.held {
		l.held = true
		l.mu.Unlock()
		return nil
	}
	turn := make(chan bool, 1)
	l.queue = append(l.queue, turn)
	l.mu.Unlock()
	select {
	case ok := <-turn:
		if !ok {
			return ErrClosed
		}
		return nil
	case <-ctx.Done():
		l.leave(turn)
		return context.Cause(ctx)
	}
}

// leave ends a wait; a lock that was given just now is passed on.
func (l *writeLock) leave(turn chan bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, turn); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		return
	}
	if <-turn {
		l.pass()
	}
}

func (l *writeLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass()
}

// pass hands the lock to the next; mu is held.
func (l *writeLock) pass() {
	if len(l.queue) == 0 {
		l.held = false
		return
	}
	l.queue[0] <- true
	l.queue = l.queue[1:]
}

// close turns everybody away.
func (l *writeLock) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, turn := range l.queue {
		turn <- false
	}
	l.queue = nil
}
