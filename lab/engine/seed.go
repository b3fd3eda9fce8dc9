package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Snapshot is the database as of one LSN, while writes go on. It keeps checkpoints from going past it until it is closed.
// It is for one goroutine at a time.
type Snapshot struct {
	d    *DB
	root *root
	info SnapshotInfo
	next uint32
	slot []byte
}

// Snapshot takes the last state.
func (d *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	// With the write lock held, encryption does not change between the state and the boot record.
	if err := d.lock.acquire(ctx); err != nil {
		return nil, fmt.Errorf("taking a snapshot: %w", err)
	}
	defer d.lock.release()
	if err := d.flush(d.roots.head().LSN); err != nil {
		return nil, err
	}
	r := d.roots.acquire(false)
	boot := d.Boot()
	boot.State = r.state
	return &Snapshot{d: d, root: r, next: 1, slot: make([]byte, slotSize), info: SnapshotInfo{
		Boot: boot, LSN: r.LSN, Checksum: r.Checksum, Pages: r.Pages, Transactions: r.Transactions, ScanNext: r.scan, Time: d.o.Now().UTC(),
	}}, nil
}

// Info tells what the pages are of.
func (s *Snapshot) Info() SnapshotInfo { return s.info }

// Next gives the next page, sealed; it has been opened once, so that no damage goes into a backup.
func (s *Snapshot) Next(ctx context.Context) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	if s.root == nil {
		return Page{}, ErrClosed
	}
	if s.next > s.root.Pages {
		return Page{}, io.EOF
	}
	if err := s.d.readSlot(s.root, s.next, s.slot); err != nil {
		return Page{}, err
	}
	if err := s.d.keys.checkSlot(s.slot, s.next); err != nil {
		return Page{}, err
	}
	s.next++
	return Page{Number: s.next - 1, Slot: s.slot}, nil
}

// checkSlot opens a copy of a slot.
func (r *keyring) checkSlot(slot []byte, number uint32) error {
	if len(slot) != slotSize {
		return fmt.Errorf("page %d: slot has %d bytes: %w", number, len(slot), ErrCorrupt)
	}
	buf, _ := slotPool.Get().(*[]byte)
	defer slotPool.Put(buf)
	copy(*buf, slot)
	_, err := r.openSlot(*buf, number)
	return err
}

// Close ends the snapshot.
func (s *Snapshot) Close() error {
	s.d.roots.release(s.root)
	s.root = nil
	return nil
}

// CreateFrom makes a Secondary out of the pages of another database: the seeding of a replica, or the restore of a backup,
// whose end is SetRole. The DEK is opened through the Opener. progress may be nil. A folder in which it did not come to its
// end holds no database.
func CreateFrom(ctx context.Context, o Options, databaseID string, src PageSource, progress func(done, total uint32)) (*DB, error) {
	info := src.Info()
	boot := bootRecord{
		Boot:       info.Boot,
		Checkpoint: checkpoint{LSN: info.LSN, Checksum: info.Checksum, Pages: info.Pages, Transactions: info.Transactions},
		Current:    info.LSN, Floor: info.LSN, ScanNext: info.ScanNext,
	}
	boot.DatabaseID, boot.Role, boot.PercentComplete = databaseID, Secondary, 0
	if boot.State == StateProtectionChange {
		boot.State = StateEncrypted
	}
	if boot.State == StateUnencrypted {
		boot.DEK = nil
	}
	d, err := create(ctx, o, &boot, nil)
	if err != nil {
		return nil, err
	}
	if err := d.fill(ctx, &boot, src, progress); err != nil {
		return nil, errors.Join(fmt.Errorf("seeding database %s: %w", databaseID, err), d.abandon())
	}
	d.start(boot)
	if err := d.useKey(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// fill fills the page file, and writes the boot record when all pages are there.
func (d *DB) fill(ctx context.Context, boot *bootRecord, src PageSource, progress func(done, total uint32)) error {
	if boot.State != StateUnencrypted {
		if boot.DEK == nil {
			return fmt.Errorf("no wrapped key in state %d: %w", boot.State, ErrCorrupt)
		}
		if err := d.keys.unwrap(ctx, d.o.Open, *boot.DEK); err != nil {
			return err
		}
		boot.OpenedDate = d.o.Now().UTC()
	}
	w := slotWriter{file: d.pages.file}
	var sum uint64
	total := boot.Checkpoint.Pages
	for number := uint32(1); number <= total; number++ {
		page, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("pages end before %d of %d: %w", number, total, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if page.Number != number {
			return fmt.Errorf("page %d comes where %d should: %w", page.Number, number, ErrCorrupt)
		}
		if err := d.keys.checkSlot(page.Slot, number); err != nil {
			return err
		}
		slot, err := w.next(number)
		if err != nil {
			return err
		}
		copy(slot, page.Slot)
		sum ^= sumOf(slot)
		d.pages.sums = append(d.pages.sums, sumOf(slot))
		if progress != nil && (number%slotRun == 0 || number == total) {
			progress(number, total)
		}
	}
	if sum != boot.Checkpoint.Checksum {
		return fmt.Errorf("database checksum is %016x, its pages' is %016x: %w", boot.Checkpoint.Checksum, sum, ErrCorrupt)
	}
	if err := w.flush(); err != nil {
		return err
	}
	if !d.o.NoSync {
		if err := d.pages.file.Sync(); err != nil {
			return fmt.Errorf("flushing page file: %w", err)
		}
	}
	return writeBoot(d.o.Dir, *boot, d.o.NoSync)
}
