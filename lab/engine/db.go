package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	defaultCachePages = 4096
	defaultVLFSize    = 4 << 20
	// keepInactive is how many virtual log files stay after they have become inactive.
	keepInactive = 2
)

// DB is an open database. All of its methods may be called at the same time. A folder must be open only once.
type DB struct {
	o     Options
	log   *slog.Logger
	keys  keyring
	cache *pageCache
	pages *pageFile
	wal   *logFile
	roots *roots
	lock  writeLock
	// buffer is for the record that is made, under the write lock.
	buffer []byte

	// syncMu is held by the one whose fsync the others wait for.
	syncMu sync.Mutex
	// checkpointMu is held during a checkpoint, scanMu during a scan.
	checkpointMu, scanMu sync.Mutex

	// mu guards what follows. The boot record is written with mu held.
	mu         sync.Mutex
	boot       bootRecord
	rewrapping int
	quiesced   bool
	resumed    chan struct{}
	current    *dek // nil: new pages are plain
	broken     error

	// unfolded counts the bytes of log since the last checkpoint.
	unfolded atomic.Int64
	closed   atomic.Bool
	files    fileSet
	// backgroundMu orders the begin of background work and Close.
	backgroundMu sync.Mutex
	background   sync.WaitGroup
	folding      atomic.Bool
	stop         context.CancelFunc
	life         context.Context //nolint:containedctx // the lifetime of the background work, ended by Close
}

func (o *Options) check() error {
	if o.Dir == "" || o.Now == nil || o.Random == nil {
		return errors.New("a database needs Dir, Now and Random")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CachePages <= 0 {
		o.CachePages = defaultCachePages
	}
	if o.VLFSize <= 0 {
		o.VLFSize = defaultVLFSize
	}
	return nil
}

func newDB(ctx context.Context, o Options) *DB {
	o.Random = newRandomBytes(o.Random)
	d := &DB{o: o, log: o.Log, cache: newPageCache(o.CachePages), resumed: make(chan struct{})}
	d.life, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	return d
}

// Create makes a database in an empty or missing folder; without a DEK, TDE is off. It is a Primary of epoch 1.
func Create(ctx context.Context, o Options, databaseID string, dek *PlainDEK) (*DB, error) {
	boot := bootRecord{Boot: Boot{DatabaseID: databaseID, Role: Primary, Epoch: 1, State: StateUnencrypted}}
	d, err := create(ctx, o, &boot, dek)
	if err != nil {
		return nil, err
	}
	if err := writeBoot(o.Dir, boot, o.NoSync); err != nil {
		return nil, errors.Join(err, d.abandon())
	}
	d.start(boot)
	if err := d.format(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the first page: %w", err), d.Close())
	}
	return d, nil
}

// create makes the folder and the files of a database; the boot record, which makes it one, is left to the caller.
func create(ctx context.Context, o Options, boot *bootRecord, key *PlainDEK) (*DB, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(o.Dir, bootName)); err == nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrExists)
	}
	// What a making left that did not come to its end is no database.
	if err := errors.Join(os.RemoveAll(filepath.Join(o.Dir, logName)), os.RemoveAll(filepath.Join(o.Dir, dataName))); err != nil {
		return nil, fmt.Errorf("clearing the folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, logName), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	d := newDB(ctx, o)
	if key != nil {
		k, w, err := d.adopt(key)
		if err != nil {
			return nil, err
		}
		now := o.Now().UTC()
		d.current, boot.DEK, boot.State = k, &w, StateEncrypted
		boot.CreateDate, boot.RegenerateDate, boot.ModifyDate, boot.OpenedDate, boot.ScanModifyDate = w.CreatedAt, w.CreatedAt, now, now, now
	}
	return d, d.createFiles(boot)
}

// createFiles makes the page file and the first virtual log file.
func (d *DB) createFiles(boot *bootRecord) error {
	var err error
	if d.pages, err = openPageFile(d.o.Dir, os.O_CREATE|os.O_TRUNC); err != nil {
		return err
	}
	s, err := createSegment(d.o.Dir, vlfText{Sequence: 1, CreateLSN: boot.Checkpoint.LSN, BeginOffset: vlfHeader, Parity: 64, DEK: boot.DEK}, d.o.NoSync)
	if err != nil {
		return errors.Join(err, d.pages.file.Close())
	}
	d.wal = &logFile{dir: d.o.Dir, noSync: d.o.NoSync, segs: []*segment{s}}
	return nil
}

// start puts a database in motion whose files are open, empty of records, and as the boot record says.
func (d *DB) start(boot bootRecord) {
	d.boot = boot
	d.roots = newRoots(&root{base: boot.Checkpoint.LSN, checkpoint: boot.Checkpoint, epoch: boot.Epoch, state: boot.State, scan: boot.ScanNext})
	d.files.register(d)
}

// adopt puts a new DEK on the ring and completes its wrapping.
func (d *DB) adopt(key *PlainDEK) (*dek, WrappedDEK, error) {
	w := key.Wrapped
	k, err := newDEK(w.ID, append([]byte(nil), key.Key...))
	if err != nil {
		return nil, w, err
	}
	if len(w.Check) == 0 {
		if w.Check, err = k.makeCheck(d.o.Random); err != nil {
			return nil, w, err
		}
	}
	if !k.checks(w.Check) {
		return nil, w, fmt.Errorf("database encryption key %s: %w", w.ID, ErrWrongKey)
	}
	k, err = d.keys.add(k)
	return k, w, err
}

// abandon closes the files of a database that was not put in motion.
func (d *DB) abandon() error {
	d.stop()
	d.keys.clear()
	if d.wal != nil {
		d.wal.close()
	}
	if d.pages != nil {
		return d.pages.file.Close()
	}
	return nil
}

// Close ends the database: writes that wait are refused, connections fail from now on, DEKs and cached pages are
// overwritten. Connections must still be closed by whoever opened them.
func (d *DB) Close() error {
	d.backgroundMu.Lock()
	first := d.closed.CompareAndSwap(false, true)
	d.backgroundMu.Unlock()
	if !first {
		return nil
	}
	d.stop()
	d.lock.close()
	d.background.Wait()
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.broken == nil {
		if err = d.wal.sync(); err == nil {
			d.roots.setDurable(d.roots.head().LSN)
			err = d.writeBootLocked()
		}
	}
	d.files.unregister()
	err = errors.Join(err, d.abandon())
	d.cache.clear()
	return err
}

// writeBootLocked brings the boot record up to date and writes it; mu is held.
func (d *DB) writeBootLocked() error {
	r := d.roots.durable()
	d.boot.Floor = r.LSN
	d.boot.Epoch = max(d.boot.Epoch, r.epoch)
	if d.boot.Current <= r.LSN {
		d.boot.Current, d.boot.State, d.boot.ScanNext = r.LSN, r.state, r.scan
	}
	return writeBoot(d.o.Dir, d.boot, d.o.NoSync)
}

// Boot tells what the boot record says, with the progress of a scan.
func (d *DB) Boot() Boot {
	r := d.roots.durable()
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.boot.Boot
	b.Epoch = max(b.Epoch, r.epoch)
	b.State = r.state
	if r.state != StateUnencrypted && b.DEK != nil {
		w := *b.DEK
		b.DEK = &w
	} else {
		b.DEK = nil
	}
	if d.rewrapping > 0 && b.State == StateEncrypted {
		b.State = StateProtectionChange
	}
	b.PercentComplete = percent(b.State, r.scan, r.Pages)
	return b
}

// Last is the LSN of the last durable record.
func (d *DB) Last() LSN { return d.roots.durable().LSN }

// Transactions counts the transactions that the database ever committed.
func (d *DB) Transactions() uint64 { return d.roots.durable().Transactions }

// Checksum is the database's at Last: the XOR of its pages' sums, each bound to page number and LSN. Replicas of the same
// LSN have the same.
func (d *DB) Checksum() uint64 { return d.roots.durable().Checksum }

// Size is the database's, in pages.
func (d *DB) Size() uint32 { return d.roots.durable().Pages }

// VLFs lists the virtual log files, oldest first.
func (d *DB) VLFs() []VLF {
	d.mu.Lock()
	floor := d.boot.floor()
	d.mu.Unlock()
	return d.wal.list(floor)
}

// slotPool has buffers for slots.
var slotPool = sync.Pool{New: func() any { b := make([]byte, slotSize); return &b }}

// pagePool has buffers for pages that wait for their commit.
var pagePool = sync.Pool{New: func() any { return new([PageSize]byte) }}

// sumAt is the sum of a page in a state; 0 for a page that it does not have.
func (d *DB) sumAt(r *root, number uint32) uint64 {
	if number > r.Pages {
		return 0
	}
	if v, ok := r.tree.Get(number); ok {
		return v.sum
	}
	return d.pages.sum(number)
}

// readSlot fills slot with a page's slot in a state, and checks that it is the one that was written last.
func (d *DB) readSlot(r *root, number uint32, slot []byte) error {
	v, inLog := r.tree.Get(number)
	var err error
	if inLog {
		if _, err = v.seg.file.ReadAt(slot[:slotSize], v.off); errors.Is(err, io.EOF) {
			err = fmt.Errorf("page %d: log ends in it: %w", number, ErrCorrupt)
		}
	} else {
		v.sum = d.pages.sum(number)
		err = d.pages.read(number, slot)
	}
	if err != nil {
		if d.closed.Load() {
			return ErrClosed
		}
		return err
	}
	if sumOf(slot) != v.sum {
		return fmt.Errorf("page %d: not the version that was written last: %w", number, ErrCorrupt)
	}
	return nil
}

// readPage copies from a page in a state, at off, to dst. missed says that it was not in the cache.
func (d *DB) readPage(r *root, number uint32, off int, dst []byte) (missed bool, err error) {
	if d.closed.Load() {
		return false, ErrClosed
	}
	id := pageID{number, d.sumAt(r, number)}
	if d.cache.get(id, off, dst) {
		return false, nil
	}
	buf, _ := slotPool.Get().(*[]byte)
	defer slotPool.Put(buf)
	if err := d.readSlot(r, number, *buf); err != nil {
		return true, err
	}
	page, err := d.keys.openSlot(*buf, number)
	if err != nil {
		if d.closed.Load() {
			return true, ErrClosed
		}
		return true, err
	}
	d.cache.put(id, page)
	copy(dst, page[off:])
	return true, nil
}

// Verify reads every page of the last durable state, out of the files and not of the cache, and checks its seal, its sum,
// and the database's checksum.
func (d *DB) Verify(ctx context.Context) error {
	r := d.roots.acquire(false)
	defer d.roots.release(r)
	slot := make([]byte, slotSize)
	var sum uint64
	for number := uint32(1); number <= r.Pages; number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.readSlot(r, number, slot); err != nil {
			return err
		}
		sum ^= sumOf(slot)
		if _, err := d.keys.openSlot(slot, number); err != nil {
			return err
		}
	}
	if sum != r.Checksum {
		return fmt.Errorf("database checksum is %016x, its pages' is %016x: %w", r.Checksum, sum, ErrCorrupt)
	}
	return nil
}
