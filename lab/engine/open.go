package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Open opens a database: it unwraps the DEK by the boot record and by every active virtual log file, then replays the log
// since the last checkpoint. A transaction whose record is torn was never acknowledged, and is dropped.
func Open(ctx context.Context, o Options) (*DB, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	boot, err := readBoot(o.Dir)
	if err != nil {
		return nil, err
	}
	d := newDB(ctx, o)
	if err := d.open(ctx, &boot); err != nil {
		return nil, errors.Join(fmt.Errorf("opening database %s: %w", boot.DatabaseID, err), d.abandon())
	}
	d.files.register(d)
	if d.boot.WipeBelow != 0 || d.unfolded.Load() >= o.VLFSize {
		d.foldInBackground()
	}
	return d, nil
}

func (d *DB) open(ctx context.Context, boot *bootRecord) error {
	segs, err := listSegments(d.o.Dir, os.O_RDWR)
	if err != nil {
		return err
	}
	d.wal = &logFile{dir: d.o.Dir, noSync: d.o.NoSync, segs: segs}
	if len(segs) == 0 {
		return fmt.Errorf("no log: %w", ErrCorrupt)
	}
	active := activeFrom(segs, boot.floor())
	if err := d.unwrapAll(ctx, boot, segs[active:]); err != nil {
		return err
	}
	if d.pages, err = openPageFile(d.o.Dir, 0); err != nil {
		return err
	}
	if err := d.pages.loadSums(boot.Checkpoint.Pages); err != nil {
		return err
	}
	rec := recovery{d: d, boot: boot}
	if err := rec.run(active); err != nil {
		return err
	}
	if d.roots.head().state == StateUnencrypted {
		boot.DEK = nil // of an encryption whose record was not written
	}
	d.boot = *boot
	if err := d.useKey(); err != nil {
		return err
	}
	if boot.DEK != nil {
		d.boot.OpenedDate = d.o.Now().UTC()
	}
	if cur := d.wal.current(); boot.WipeBelow != 0 && cur.CreateLSN < boot.WipeBelow {
		return d.wal.begin(boot.DEK)
	}
	return nil
}

// useKey makes new pages be sealed as the encryption state says.
func (d *DB) useKey() error {
	d.current = nil
	if state := d.roots.head().state; state != StateEncrypting && state != StateEncrypted {
		return nil
	}
	if d.boot.DEK == nil {
		return fmt.Errorf("database is encrypted, and its boot record has no key: %w", ErrCorrupt)
	}
	if d.current = d.keys.byID(d.boot.DEK.ID); d.current == nil {
		return &KeyError{Thumbprint: d.boot.DEK.Thumbprint, Err: ErrWrongKey}
	}
	return nil
}

// unwrapAll opens each wrapping that is needed, once.
func (d *DB) unwrapAll(ctx context.Context, boot *bootRecord, active []*segment) error {
	var wrappings []*WrappedDEK
	if boot.State != StateUnencrypted {
		wrappings = append(wrappings, boot.DEK)
	}
	for _, s := range active {
		wrappings = append(wrappings, s.DEK)
	}
	done := map[string]bool{}
	for _, w := range wrappings {
		if w == nil {
			continue
		}
		name := w.ID + " " + w.Thumbprint + " " + w.KeyURI + " " + string(w.Wrapped)
		if done[name] {
			continue
		}
		done[name] = true
		if err := d.keys.unwrap(ctx, d.o.Open, *w); err != nil {
			return err
		}
	}
	return nil
}

// recovery replays the log.
type recovery struct {
	d    *DB
	boot *bootRecord
	root *root
}

func (r *recovery) run(active int) error {
	segs := r.d.wal.segs
	if r.boot.Checkpoint.LSN < segs[active].CreateLSN {
		return fmt.Errorf("log begins after %d, the page file ends at %d: %w", segs[active].CreateLSN, r.boot.Checkpoint.LSN, ErrCorrupt)
	}
	c := r.boot.Checkpoint
	r.root = &root{base: c.LSN, checkpoint: c, epoch: r.boot.Epoch, state: r.boot.State, scan: r.boot.ScanNext}
	for i, s := range segs {
		err := r.segment(s, i == len(segs)-1)
		if err == nil && i+1 < len(segs) && s.last() != segs[i+1].CreateLSN {
			err = fmt.Errorf("log file %d ends at %d, the next begins after %d: %w", s.Sequence, s.last(), segs[i+1].CreateLSN, ErrCorrupt)
		}
		switch {
		case err != nil && i < active:
			// Nothing needs this one, nor those before it, any more.
			r.d.log.Warn("dropping an inactive log file that cannot be read", "file", s.name, "error", err)
			if err := r.drop(i + 1 - (len(segs) - len(r.d.wal.segs))); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	if r.root.LSN < r.boot.Floor {
		return fmt.Errorf("log ends at %d, it had reached %d: %w", r.root.LSN, r.boot.Floor, ErrCorrupt)
	}
	r.d.roots = newRoots(r.root)
	return r.checkSum()
}

// drop removes the first n log files.
func (r *recovery) drop(n int) error {
	for _, s := range r.d.wal.segs[:n] {
		if err := errors.Join(s.file.Close(), os.Remove(s.name)); err != nil {
			return fmt.Errorf("removing log file: %w", err)
		}
	}
	r.d.wal.segs = r.d.wal.segs[n:]
	return nil
}

// checkSum compares the pages, by their headers and seals, with what the last record says of all of them.
func (r *recovery) checkSum() error {
	var sum uint64
	for number := uint32(1); number <= r.root.Pages; number++ {
		sum ^= r.d.sumAt(r.root, number)
	}
	if sum != r.root.Checksum {
		return fmt.Errorf("database checksum is %016x, its pages' is %016x: %w", r.root.Checksum, sum, ErrCorrupt)
	}
	return nil
}

// segment reads one log file: the places of its records, and of those after the checkpoint the contents.
func (r *recovery) segment(s *segment, last bool) error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	for s.size < info.Size() {
		n, err := r.record(s, info.Size())
		if err == nil {
			s.size += n
			continue
		}
		if !last || s.last() < r.boot.Floor {
			return err
		}
		torn, terr := r.torn(s, info.Size())
		if terr != nil {
			return terr
		}
		if !torn {
			return err
		}
		r.d.log.Warn("dropping a torn record at the end of the log", "lsn", uint64(s.last()+1), "bytes", info.Size()-s.size)
		if err := s.file.Truncate(s.size); err != nil {
			return fmt.Errorf("shortening the log: %w", err)
		}
		break
	}
	return nil
}

// record reads the record at the end of what is known of s.
func (r *recovery) record(s *segment, end int64) (int64, error) {
	lsn := s.last() + 1
	if end-s.size < frameSize {
		return 0, fmt.Errorf("log record %d: log ends in its frame: %w", lsn, ErrCorrupt)
	}
	var frame [frameSize]byte
	if _, err := s.file.ReadAt(frame[:], s.size); err != nil {
		return 0, fmt.Errorf("reading the log: %w", err)
	}
	length, _, ok := parseFrame(frame[:])
	if !ok || s.size+frameSize+length > end {
		return 0, fmt.Errorf("log record %d: no frame, or log ends in it: %w", lsn, ErrCorrupt)
	}
	b := make([]byte, length)
	if _, err := s.file.ReadAt(b, s.size+frameSize); err != nil {
		return 0, fmt.Errorf("reading the log: %w", err)
	}
	rec, err := parseRecord(b)
	if err != nil {
		return 0, err
	}
	if rec.LSN != lsn {
		return 0, fmt.Errorf("log record %d stands where %d should: %w", rec.LSN, lsn, ErrCorrupt)
	}
	if lsn > r.boot.Checkpoint.LSN {
		if err := r.replay(&rec, s); err != nil {
			return 0, err
		}
	}
	s.offsets = append(s.offsets, s.size)
	return frameSize + length, nil
}

// replay checks a record and makes the state after it the recovered one.
func (r *recovery) replay(rec *Record, s *segment) error {
	if err := rec.verify(r.d.keys.byID(rec.DEKID)); err != nil {
		return err
	}
	if rec.LSN != r.root.LSN+1 || rec.Before != r.root.Checksum {
		return fmt.Errorf("log record %d does not follow %d: %w", rec.LSN, r.root.LSN, ErrCorrupt)
	}
	boot := *r.boot
	state := r.root.state
	if rec.LSN > r.boot.Current {
		var err error
		if state, err = boot.change(rec, state); err != nil {
			return err
		}
	}
	next := after(r.root, rec, s, s.size+frameSize, state)
	if rec.LSN <= r.boot.Current {
		next.scan = r.root.scan
	}
	// From here on the body is decrypted in place.
	err := rec.slots(func(_ int, slot []byte) error {
		if slotLSN(slot) != rec.LSN {
			return fmt.Errorf("log record %d: has a page of %d: %w", rec.LSN, slotLSN(slot), ErrCorrupt)
		}
		_, err := r.d.keys.openSlot(slot, slotPage(slot))
		return err
	})
	if err != nil {
		return err
	}
	r.root = next
	*r.boot = boot
	r.d.unfolded.Add(frameSize + int64(rec.size()))
	return nil
}

// change notes in the boot record what a record changes of the encryption, and gives the state after it.
func (b *bootRecord) change(rec *Record, state State) (State, error) {
	switch rec.Kind {
	case RecordEncryption:
		b.ModifyDate, b.ScanModifyDate = rec.Time, rec.Time
		if len(rec.Body) == 0 {
			return StateDecrypting, nil
		}
		var w WrappedDEK
		if err := json.Unmarshal(rec.Body, &w); err != nil {
			return state, fmt.Errorf("log record %d: %w: %w", rec.LSN, err, ErrCorrupt)
		}
		// The same DEK may have been wrapped anew meanwhile.
		if b.DEK == nil || b.DEK.ID != w.ID {
			b.DEK = &w
		}
		b.CreateDate, b.RegenerateDate = w.CreatedAt, w.CreatedAt
		return StateEncrypting, nil
	case RecordScanEnd:
		b.ScanModifyDate = rec.Time
		if state == StateDecrypting {
			b.DEK = nil
			return StateUnencrypted, nil
		}
		b.WipeBelow = rec.LSN
		return StateEncrypted, nil
	default:
		return state, nil
	}
}

// torn tells a record that a crash cut off from one that was damaged later. Log files are written once, from the front,
// and grow as they are written: what a crash left out is missing at the end, or reads as zeros. A record that another one
// calls durable was whole.
func (r *recovery) torn(s *segment, end int64) (bool, error) {
	rest := make([]byte, end-s.size)
	if _, err := s.file.ReadAt(rest, s.size); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the log: %w", err)
	}
	lsn := s.last() + 1
	magic := []byte{recordMagic & 0xff, recordMagic >> 8 & 0xff, recordMagic >> 16 & 0xff, recordMagic >> 24}
	for i := frameSize; i < len(rest); i++ {
		n := bytes.Index(rest[i:], magic)
		if n < 0 {
			break
		}
		i += n
		if _, durable, ok := parseFrame(rest[i-frameSize : i]); ok && durable >= lsn && i > frameSize {
			return false, nil
		}
	}
	if len(rest) < frameSize {
		return true, nil
	}
	length, _, ok := parseFrame(rest)
	if ok && frameSize+length > int64(len(rest)) {
		return true, nil
	}
	return hasZeroSector(rest, s.size), nil
}

// hasZeroSector looks for a sector of the disk, or the rest of one, that was never written.
func hasZeroSector(b []byte, off int64) bool {
	const sector = 512
	for start := int(-off&(sector-1)) - sector; start < len(b); start += sector {
		from, to := max(0, start), min(len(b), start+sector)
		if to-from >= sector/2 && allZero(b[from:to]) {
			return true
		}
	}
	return false
}
