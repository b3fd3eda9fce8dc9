package engine

import (
	"context"
	"encoding/json"
	"fmt"
)

// Rewrap puts a new wrapping of the same DEK into the boot record. It does not depend on the database's size, and touches
// no virtual log file that exists already. The new wrapping is opened first, since a database whose DEK cannot be opened is
// lost. It is not logged: the wrappings of replicas are the control plane's to carry. encryption_state is 6 meanwhile.
func (d *DB) Rewrap(ctx context.Context, w WrappedDEK) error {
	d.mu.Lock()
	now := d.boot.DEK
	if now == nil || now.ID != w.ID {
		d.mu.Unlock()
		return fmt.Errorf("wrapping database encryption key %s anew: %w", w.ID, ErrWrongState)
	}
	if len(w.Check) == 0 {
		w.Check = now.Check
	}
	d.rewrapping++
	d.mu.Unlock()
	err := d.keys.unwrap(ctx, d.o.Open, w)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rewrapping--
	if err != nil {
		return err
	}
	if d.closed.Load() {
		return ErrClosed
	}
	was := d.boot.Boot
	if was.DEK == nil || was.DEK.ID != w.ID {
		return fmt.Errorf("wrapping database encryption key %s anew: %w", w.ID, ErrWrongState)
	}
	d.boot.DEK, d.boot.ModifyDate = &w, d.o.Now().UTC()
	if err := d.writeBootLocked(); err != nil {
		d.boot.Boot = was
		return err
	}
	return nil
}

// SetEncryption turns TDE on, with a new DEK, or off, with nil. From then on new pages are written in the new form; Scan
// brings the others into it. It is logged, so that replicas follow.
func (d *DB) SetEncryption(ctx context.Context, key *PlainDEK) error {
	if err := d.lock.acquire(ctx); err != nil {
		return fmt.Errorf("waiting for the writer: %w", err)
	}
	defer d.lock.release()
	if err := d.writable(); err != nil {
		return err
	}
	head := d.roots.head()
	switch {
	case head.state == StateEncrypting || head.state == StateDecrypting:
		return ErrScanInProgress
	case (head.state == StateEncrypted) == (key != nil):
		return fmt.Errorf("encryption is already %v: %w", key != nil, ErrWrongState)
	}
	c := change{kind: RecordEncryption, pages: head.Pages, state: StateDecrypting}
	var k *dek
	d.mu.Lock()
	wrapped := d.boot.DEK
	d.mu.Unlock()
	if key != nil {
		var w WrappedDEK
		var err error
		if k, w, err = d.adopt(key); err != nil {
			return err
		}
		if c.body, err = json.Marshal(w); err != nil {
			return fmt.Errorf("encoding the wrapped key: %w", err)
		}
		wrapped, c.state = &w, StateEncrypting
	}
	// The log file that has the record has the wrapping in its header, or recovery could not open the record.
	if err := d.wal.begin(wrapped); err != nil {
		return err
	}
	return d.setEncryption(c, k, wrapped)
}

func (d *DB) setEncryption(c change, k *dek, wrapped *WrappedDEK) error {
	now := d.o.Now().UTC()
	d.mu.Lock()
	was, wasKey := d.boot, d.current
	d.boot.DEK, d.current = wrapped, k
	d.boot.ModifyDate, d.boot.ScanModifyDate, d.boot.ScanSuspended = now, now, false
	if k != nil {
		d.boot.CreateDate, d.boot.RegenerateDate, d.boot.OpenedDate = wrapped.CreatedAt, wrapped.CreatedAt, now
	}
	d.mu.Unlock()
	r, err := d.write(c)
	if err != nil {
		d.mu.Lock()
		d.boot.Boot, d.current = was.Boot, wasKey
		d.mu.Unlock()
		return err
	}
	if err := d.flush(r.LSN); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeBootLocked()
}

// endScan notes that the record of a scan's end is durable; the caller holds the write lock.
func (d *DB) endScan(end *root) error {
	d.mu.Lock()
	if end.state == StateUnencrypted {
		d.boot.DEK = nil
	} else {
		d.boot.WipeBelow = end.LSN
	}
	d.boot.ScanModifyDate = d.o.Now().UTC()
	w := d.boot.DEK
	d.mu.Unlock()
	if err := d.wal.begin(w); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeBootLocked()
}
