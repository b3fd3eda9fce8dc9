package engine

import (
	"context"
	"fmt"
	"maps"
)

// Cursor reads the log in order of LSNs, and waits at its end for more. It is for one goroutine at a time.
type Cursor struct {
	d    *DB
	next LSN
}

// Read gives a cursor whose first record is the one after an LSN. It does not keep the log: Hold does.
func (d *DB) Read(ctx context.Context, after LSN) (*Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.closed.Load() {
		return nil, ErrClosed
	}
	if last := d.Last(); after > last {
		return nil, fmt.Errorf("reading the log after %d, it ends at %d: %w", after, last, ErrDiverged)
	}
	if first := d.wal.first(); after+1 < first {
		return nil, fmt.Errorf("reading the log after %d, it begins at %d: %w", after, first, ErrLogTruncated)
	}
	return &Cursor{d: d, next: after + 1}, nil
}

// Next gives the next record that is durable, and waits for it.
func (c *Cursor) Next(ctx context.Context) (Record, error) {
	for {
		r, changed := c.d.roots.wait()
		if c.d.closed.Load() {
			return Record{}, ErrClosed
		}
		if r.LSN >= c.next {
			return c.read()
		}
		select {
		case <-ctx.Done():
			return Record{}, context.Cause(ctx)
		case <-c.d.life.Done():
			return Record{}, ErrClosed
		case <-changed:
		}
	}
}

func (c *Cursor) read() (Record, error) {
	rec, err := c.d.wal.read(c.next)
	if err != nil {
		return Record{}, err
	}
	if k := c.d.keys.byID(rec.DEKID); k != nil || rec.DEKID == "" {
		if err := rec.verify(k); err != nil {
			return Record{}, err
		}
		if err := rec.slots(func(_ int, slot []byte) error { return c.d.keys.checkSlot(slot, slotPage(slot)) }); err != nil {
			return Record{}, fmt.Errorf("log record %d: %w", rec.LSN, err)
		}
	}
	c.next++
	return rec, nil
}

// Close ends the cursor.
func (c *Cursor) Close() error { return nil }

// Hold keeps the log after an LSN for a replica or a log backup, or moves that name's hold. Holds are in the boot record; a
// move may be forgotten by a crash, which keeps more and never less.
func (d *DB) Hold(name string, after LSN) error {
	// checkpointMu keeps the log from being trimmed meanwhile.
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	if first := d.wal.first(); after+1 < first {
		return fmt.Errorf("holding the log after %d, it begins at %d: %w", after, first, ErrLogTruncated)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return ErrClosed
	}
	_, known := d.boot.Holds[name]
	holds := maps.Clone(d.boot.Holds)
	if holds == nil {
		holds = map[string]LSN{}
	}
	holds[name] = after
	d.boot.Holds = holds
	if known {
		return nil
	}
	return d.writeBootLocked()
}

// Release ends a hold; the log that it kept goes.
func (d *DB) Release(name string) error {
	d.mu.Lock()
	if d.closed.Load() {
		d.mu.Unlock()
		return ErrClosed
	}
	if _, ok := d.boot.Holds[name]; !ok {
		d.mu.Unlock()
		return nil
	}
	holds := maps.Clone(d.boot.Holds)
	delete(holds, name)
	d.boot.Holds = holds
	err := d.writeBootLocked()
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return d.trim()
}

// Holds lists the holds.
func (d *DB) Holds() map[string]LSN {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.boot.Holds)
}

// Apply applies one record of the primary's to a Secondary; see ApplyAll.
func (d *DB) Apply(ctx context.Context, r Record) error { return d.ApplyAll(ctx, []Record{r}) }

// ApplyAll applies records of the primary's to a Secondary, in order, with one fsync. Each must follow the one before: a
// gap, an old epoch or another checksum is ErrDiverged. A record that begins encryption brings a DEK that goes through the
// Opener, whose error comes back as a KeyError. Records before the one that failed stay applied.
func (d *DB) ApplyAll(ctx context.Context, records []Record) error {
	if err := d.lock.acquire(ctx); err != nil {
		return fmt.Errorf("waiting to apply: %w", err)
	}
	defer d.lock.release()
	d.mu.Lock()
	role := d.boot.Role
	d.mu.Unlock()
	if role != Secondary {
		return ErrNotSecondary
	}
	var failed error
	for i := range records {
		if failed = d.apply(ctx, &records[i]); failed != nil {
			break
		}
	}
	if err := d.flush(d.roots.head().LSN); err != nil {
		return err
	}
	return failed
}

func (d *DB) apply(ctx context.Context, rec *Record) error {
	head := d.roots.head()
	d.mu.Lock()
	boot := d.boot
	d.mu.Unlock()
	epoch := max(boot.Epoch, head.epoch)
	switch {
	case rec.LSN != head.LSN+1:
		return fmt.Errorf("log record %d follows %d: %w", rec.LSN, head.LSN, ErrDiverged)
	case rec.Epoch < epoch:
		return fmt.Errorf("log record %d is of epoch %d, the database of %d: %w", rec.LSN, rec.Epoch, epoch, ErrDiverged)
	case rec.Before != head.Checksum:
		return fmt.Errorf("log record %d is for database checksum %016x, not %016x: %w", rec.LSN, rec.Before, head.Checksum, ErrDiverged)
	}
	state, err := boot.change(rec, head.state)
	if err != nil {
		return err
	}
	if rec.Kind == RecordEncryption && state == StateEncrypting {
		if err := d.keys.unwrap(ctx, d.o.Open, *boot.DEK); err != nil {
			return err
		}
	}
	if err := rec.verify(d.keys.byID(rec.DEKID)); err != nil {
		return err
	}
	if err := d.checkPages(rec); err != nil {
		return err
	}
	if after := d.checksumAfter(rec, head); after != rec.After {
		return fmt.Errorf("log record %d leads to database checksum %016x, not %016x: %w", rec.LSN, after, rec.After, ErrDiverged)
	}
	framed, err := rec.AppendBinary(make([]byte, frameSize, frameSize+rec.size()))
	if err != nil {
		return err
	}
	return d.follow(framed, rec, state, &boot)
}

// checkPages opens every page of a record; readers find them in the cache then.
func (d *DB) checkPages(rec *Record) error {
	buf, _ := slotPool.Get().(*[]byte)
	defer slotPool.Put(buf)
	before := uint32(0)
	return rec.slots(func(_ int, slot []byte) error {
		number := slotPage(slot)
		if slotLSN(slot) != rec.LSN || number <= before || number > rec.Pages {
			return fmt.Errorf("log record %d: page %d of %d: %w", rec.LSN, number, slotLSN(slot), ErrCorrupt)
		}
		before = number
		copy(*buf, slot)
		page, err := d.keys.openSlot(*buf, number)
		if err != nil {
			return err
		}
		d.cache.put(pageID{number, sumOf(slot)}, page)
		return nil
	})
}

// follow appends a record of the primary's, and does what it says of the encryption.
func (d *DB) follow(framed []byte, rec *Record, state State, boot *bootRecord) error {
	if rec.Kind == RecordEncryption {
		// The log file that has the record has the wrapping in its header, or recovery could not open the record.
		if err := d.wal.begin(boot.DEK); err != nil {
			return err
		}
	}
	r, err := d.append(framed, rec, state)
	if err != nil || rec.paged() {
		return err
	}
	if err := d.flush(r.LSN); err != nil {
		return err
	}
	d.mu.Lock()
	d.boot.DEK, d.boot.CreateDate, d.boot.RegenerateDate = boot.DEK, boot.CreateDate, boot.RegenerateDate
	d.boot.ModifyDate, d.boot.ScanModifyDate = boot.ModifyDate, boot.ScanModifyDate
	if rec.Kind == RecordEncryption && boot.DEK != nil {
		d.boot.OpenedDate = d.o.Now().UTC()
	}
	err = d.useKey()
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if rec.Kind == RecordScanEnd {
		if err := d.endScan(r); err != nil {
			return err
		}
		d.foldInBackground()
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeBootLocked()
}
