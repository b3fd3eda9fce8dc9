package engine

import (
	"context"
	"errors"
	"fmt"
)

// Checkpoint folds the log into the page file, up to the oldest state that is still read, and removes virtual log files
// that are no longer needed.
func (d *DB) Checkpoint(ctx context.Context) error {
	if err := d.fold(ctx); err != nil {
		return err
	}
	return d.trim()
}

// foldInBackground does a checkpoint unless one is going on.
func (d *DB) foldInBackground() {
	if !d.folding.CompareAndSwap(false, true) {
		return
	}
	started := d.inBackground(func() {
		defer d.folding.Store(false)
		if err := d.Checkpoint(d.life); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			d.log.ErrorContext(d.life, "checkpoint failed", "database", d.o.Dir, "error", err)
		}
	})
	if !started {
		d.folding.Store(false)
	}
}

// inBackground starts work that Close waits for; it reports whether it did.
func (d *DB) inBackground(f func()) bool {
	d.backgroundMu.Lock()
	defer d.backgroundMu.Unlock()
	if d.closed.Load() {
		return false
	}
	d.background.Go(f)
	return true
}

func (d *DB) fold(ctx context.Context) error {
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	r := d.roots.oldest()
	defer d.roots.release(r)
	d.mu.Lock()
	base := d.boot.Checkpoint.LSN
	d.mu.Unlock()
	if r.LSN <= base {
		return nil
	}
	unfolded := d.unfolded.Load()
	if err := d.copyPages(ctx, r, base); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	d.mu.Lock()
	was := d.boot.Checkpoint
	d.boot.Checkpoint = r.checkpoint
	err := d.writeBootLocked()
	if err != nil {
		d.boot.Checkpoint = was
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	d.roots.prune(r, func() { d.pages.folded(r, base) })
	d.unfolded.Add(-unfolded)
	return nil
}

// copyPages copies the slots of a state from the log to the page file, and makes them durable.
func (d *DB) copyPages(ctx context.Context, r *root, base LSN) error {
	w := slotWriter{file: d.pages.file}
	for number, v := range r.tree.Ascend() {
		if v.lsn <= base {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		slot, err := w.next(number)
		if err != nil {
			return err
		}
		if _, err := v.seg.file.ReadAt(slot, v.off); err != nil {
			return fmt.Errorf("page %d: reading the log: %w", number, err)
		}
		if sumOf(slot) != v.sum {
			return fmt.Errorf("page %d: not the version that was written last: %w", number, ErrCorrupt)
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	size := int64(r.Pages) * slotSize
	if info, err := d.pages.file.Stat(); err != nil {
		return fmt.Errorf("reading page file: %w", err)
	} else if info.Size() > size {
		if err := d.pages.file.Truncate(size); err != nil {
			return fmt.Errorf("shortening page file: %w", err)
		}
	}
	if d.o.NoSync {
		return nil
	}
	if err := d.pages.file.Sync(); err != nil {
		return fmt.Errorf("flushing page file: %w", err)
	}
	return nil
}

// folded takes the sums over of pages that a checkpoint copied.
func (p *pageFile) folded(r *root, base LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uint32(len(p.sums)) < r.Pages {
		p.sums = append(p.sums, 0)
	}
	p.sums = p.sums[:r.Pages]
	for number, v := range r.tree.Ascend() {
		if v.lsn > base {
			p.sums[number-1] = v.sum
		}
	}
}

// trim removes virtual log files that nothing needs.
func (d *DB) trim() error {
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	d.mu.Lock()
	floor, wipe := min(d.boot.floor(), d.roots.floor()), d.boot.WipeBelow
	d.mu.Unlock()
	if err := d.wal.trim(floor, wipe, keepInactive); err != nil {
		return err
	}
	if wipe == 0 || d.wal.hasUpTo(wipe) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot.WipeBelow == wipe {
		d.boot.WipeBelow = 0
	}
	return nil
}
