package engine

import (
	"context"
	"fmt"
	"sync"
)

// Quiesce waits for the writer, then holds new writes back until resume is called; what was written is durable when it
// returns. Writers wait meanwhile, readers go on. SetRole may be called in between.
func (d *DB) Quiesce(ctx context.Context) (resume func(), err error) {
	if err := d.lock.acquire(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the writer: %w", err)
	}
	if err := d.flush(d.roots.head().LSN); err != nil {
		d.lock.release()
		return nil, err
	}
	d.mu.Lock()
	d.quiesced = true
	d.mu.Unlock()
	var once sync.Once
	return func() {
		once.Do(func() {
			d.mu.Lock()
			d.quiesced = false
			d.mu.Unlock()
			d.lock.release()
		})
	}, nil
}

// SetRole changes the role, durably, once the writer is through; a write that waited then fails with ErrReadOnly. The epoch
// may not go back.
func (d *DB) SetRole(ctx context.Context, r Role, epoch uint64) error {
	d.mu.Lock()
	quiesced := d.quiesced
	d.mu.Unlock()
	if !quiesced {
		if err := d.lock.acquire(ctx); err != nil {
			return fmt.Errorf("waiting for the writer: %w", err)
		}
		defer d.lock.release()
	}
	if err := d.flush(d.roots.head().LSN); err != nil {
		return err
	}
	last := d.roots.durable()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	if now := max(d.boot.Epoch, last.epoch); epoch < now {
		return fmt.Errorf("epoch %d is before %d: %w", epoch, now, ErrDiverged)
	}
	was := d.boot.Boot
	d.boot.Role, d.boot.Epoch = r, epoch
	if err := d.writeBootLocked(); err != nil {
		d.boot.Boot = was
		return err
	}
	close(d.resumed)
	d.resumed = make(chan struct{})
	return nil
}
