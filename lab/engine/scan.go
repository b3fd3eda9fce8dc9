package engine

import (
	"context"
	"fmt"
)

const (
	// scanPages is how many pages a scan writes at once; scanLook is how many it looks at for them.
	scanPages = 64
	scanLook  = 4096
)

// Scan brings every page into the form that SetEncryption asked for, in small logged batches between which writers get
// their turn, and returns when that is done and the page file and the log hold nothing in the former form. It may be called
// again after a crash or a cancelled context and goes on where it was. It waits for readers of older states;
// log that a Hold keeps goes when the hold does. On a Secondary it waits for the primary's scan.
func (d *DB) Scan(ctx context.Context) error {
	d.scanMu.Lock()
	defer d.scanMu.Unlock()
	for {
		done, err := d.scanBatch(ctx)
		if err != nil {
			return fmt.Errorf("encryption scan: %w", err)
		}
		if done {
			return d.wipe(ctx)
		}
	}
}

// scanBatch does one batch; done says that there is no scan.
func (d *DB) scanBatch(ctx context.Context) (done bool, err error) {
	if err := d.scanMayRun(ctx); err != nil {
		return false, err
	}
	if err := d.lock.acquire(ctx); err != nil {
		return false, err
	}
	defer d.lock.release()
	head := d.roots.acquire(true)
	defer d.roots.release(head)
	if head.state != StateEncrypting && head.state != StateDecrypting {
		return true, nil
	}
	if err := d.writable(); err != nil {
		return false, nil // a change of role: scanMayRun waits, or gives the error of a database that is broken
	}
	c, err := d.findPages(head)
	if err != nil {
		return false, err
	}
	if len(c.dirty) == 0 && c.scan > head.Pages {
		c.kind, c.scan, c.state = RecordScanEnd, 0, StateEncrypted
		if head.state == StateDecrypting {
			c.state = StateUnencrypted
		}
	}
	r, err := d.write(c)
	if err != nil {
		return false, err
	}
	if err := d.flush(r.LSN); err != nil {
		return false, err
	}
	if c.kind == RecordScanEnd {
		return true, d.endScan(r)
	}
	return false, nil
}

// scanMayRun waits while the scan is suspended, or is the primary's.
func (d *DB) scanMayRun(ctx context.Context) error {
	for {
		r, changed := d.roots.wait()
		d.mu.Lock()
		role, suspended, resumed, broken := d.boot.Role, d.boot.ScanSuspended, d.resumed, d.broken
		d.mu.Unlock()
		switch {
		case d.closed.Load():
			return ErrClosed
		case broken != nil:
			return broken
		case r.state != StateEncrypting && r.state != StateDecrypting, role == Primary && !suspended:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.life.Done():
			return ErrClosed
		case <-changed:
		case <-resumed:
		}
	}
}

// findPages finds the next pages that are in the former form.
func (d *DB) findPages(head *root) (change, error) {
	d.mu.Lock()
	key := d.current
	d.mu.Unlock()
	c := change{kind: RecordScan, dirty: map[uint32][]byte{}, pages: head.Pages, state: head.state}
	slot := make([]byte, slotSize)
	number := max(1, head.scan)
	for end := number + scanLook; number <= head.Pages && number < end && len(c.dirty) < scanPages; number++ {
		if err := d.readSlot(head, number, slot); err != nil {
			return c, err
		}
		if key == nil && slot[12] == formatPlain || key != nil && slotKeyTag(slot) == key.tag {
			continue
		}
		page, err := d.keys.openSlot(slot, number)
		if err != nil {
			return c, err
		}
		c.dirty[number] = append([]byte(nil), page...)
	}
	c.scan = number
	return c, nil
}

// wipe removes what a scan left in the former form: the page file is brought up to the scan's end, and log before it
// removed.
func (d *DB) wipe(ctx context.Context) error {
	for {
		released := d.roots.whenReleased()
		if err := d.Checkpoint(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		left := d.boot.WipeBelow != 0 && (d.boot.Checkpoint.LSN < d.boot.WipeBelow || d.roots.floor() < d.boot.WipeBelow)
		d.mu.Unlock()
		if !left {
			return nil
		}
		// A reader of an older state is in the way.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.life.Done():
			return ErrClosed
		case <-released:
		}
	}
}

// SuspendScan makes a scan stop after its batch, and stay so until ResumeScan, over restarts too.
func (d *DB) SuspendScan(ctx context.Context) error { return d.suspendScan(ctx, true) }

// ResumeScan lets a suspended scan go on.
func (d *DB) ResumeScan(ctx context.Context) error { return d.suspendScan(ctx, false) }

func (d *DB) suspendScan(ctx context.Context, suspend bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	if d.boot.ScanSuspended == suspend {
		return nil
	}
	d.boot.ScanSuspended, d.boot.ScanModifyDate = suspend, d.o.Now().UTC()
	close(d.resumed)
	d.resumed = make(chan struct{})
	return d.writeBootLocked()
}
