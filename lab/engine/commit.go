package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// change is what one record does.
type change struct {
	kind  RecordKind
	dirty map[uint32][]byte // of a page set, the pages
	body  []byte            // of another record, its body
	pages uint32
	state State
	scan  uint32
}

// randomBytes lets several read random bytes, which it fetches many at a time.
type randomBytes struct {
	mu sync.Mutex
	r  *bufio.Reader
}

func newRandomBytes(r io.Reader) *randomBytes {
	return &randomBytes{r: bufio.NewReaderSize(r, 512)}
}

func (l *randomBytes) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(b)
}

// write seals a change, appends it to the log and makes it the head. The caller holds the write lock; it is durable after
// flush.
func (d *DB) write(c change) (*root, error) {
	d.mu.Lock()
	key, epoch, broken := d.current, d.boot.Epoch, d.broken
	d.mu.Unlock()
	if broken != nil {
		return nil, broken
	}
	if d.closed.Load() {
		return nil, ErrClosed
	}
	head := d.roots.head()
	rec := Record{
		LSN: head.LSN + 1, Epoch: max(epoch, head.epoch), Kind: c.kind, Time: d.o.Now(), Before: head.Checksum,
		After: head.Checksum, Pages: c.pages, Scan: c.scan, Body: c.body,
	}
	if key != nil {
		rec.DEKID = key.id
	}
	if rec.paged() {
		fillHoles(&c, head.Pages)
		if len(c.dirty)*slotSize > maxRecord-recordHeader-vlfHeader {
			return nil, fmt.Errorf("transaction of %d pages is too large for a log record: %w", len(c.dirty), sqlite3.FULL)
		}
	}
	at := frameSize + recordHeader + len(rec.DEKID)
	buf := d.recordBuffer(at + len(c.dirty)*slotSize + len(c.body))
	copy(buf[at:], c.body)
	rec.Body = buf[at:]
	numbers := slices.Sorted(maps.Keys(c.dirty))
	if err := d.sealPages(&rec, key, numbers, c.dirty); err != nil {
		return nil, err
	}
	d.account(&rec, head)
	if err := rec.seal(key, d.o.Random); err != nil {
		return nil, err
	}
	rec.putHeader(buf[frameSize:])
	next, err := d.append(append(buf, rec.Seal...), &rec, c.state)
	if err != nil {
		return nil, err
	}
	for i, number := range numbers {
		d.cache.put(pageID{number, sumOf(rec.Body[i*slotSize:])}, c.dirty[number])
	}
	return next, nil
}

// recordBuffer gives a buffer of n bytes and room for a seal; the next one is the same. The caller holds the write lock.
func (d *DB) recordBuffer(n int) []byte {
	const keep = 1 << 20
	if n+sealedSeal > keep {
		return make([]byte, n, n+sealedSeal)
	}
	if cap(d.buffer) < n+sealedSeal {
		d.buffer = make([]byte, n+n/2+sealedSeal)
	}
	return d.buffer[:n]
}

// fillHoles adds the pages by which a database grew and which SQLite did not write: they read as zeros.
func fillHoles(c *change, before uint32) {
	for number := before + 1; number <= c.pages; number++ {
		if _, ok := c.dirty[number]; !ok {
			if c.dirty == nil {
				c.dirty = map[uint32][]byte{}
			}
			c.dirty[number] = make([]byte, PageSize)
		}
	}
}

func (d *DB) sealPages(rec *Record, key *dek, numbers []uint32, dirty map[uint32][]byte) error {
	var nonces []byte
	if key != nil {
		nonces = make([]byte, nonceSize*len(numbers))
		if _, err := io.ReadFull(d.o.Random, nonces); err != nil {
			return fmt.Errorf("reading random bytes: %w", err)
		}
	}
	for i, number := range numbers {
		var nonce []byte
		if key != nil {
			nonce = nonces[i*nonceSize : (i+1)*nonceSize]
		}
		sealSlot(rec.Body[i*slotSize:(i+1)*slotSize], key, rec.LSN, number, dirty[number], nonce)
	}
	return nil
}

// account computes the database's checksum after a record.
func (d *DB) account(rec *Record, head *root) {
	rec.After = d.checksumAfter(rec, head)
}

func (d *DB) checksumAfter(rec *Record, head *root) uint64 {
	sum := head.Checksum
	if !rec.paged() {
		return sum
	}
	for i := 0; i+slotSize <= len(rec.Body); i += slotSize {
		slot := rec.Body[i : i+slotSize]
		if number := slotPage(slot); number <= rec.Pages {
			sum ^= sumOf(slot) ^ d.sumAt(head, number)
		}
	}
	for number := rec.Pages + 1; number <= head.Pages; number++ {
		sum ^= d.sumAt(head, number)
	}
	return sum
}

// append writes a framed record to the log, and makes the state after it the head.
func (d *DB) append(framed []byte, rec *Record, state State) (*root, error) {
	// The next state is made of the head, and may point at the same log: a checkpoint meanwhile must not remove it.
	head := d.roots.acquire(true)
	defer d.roots.release(head)
	if d.wal.current().size >= d.o.VLFSize {
		if err := d.beginVLF(); err != nil {
			return nil, err
		}
	}
	seg, at, err := d.wal.append(framed, d.roots.durable().LSN)
	if err != nil {
		return nil, err
	}
	next := after(head, rec, seg, at, state)
	d.roots.setHead(next)
	d.unfolded.Add(int64(len(framed)))
	return next, nil
}

// after is the state after a record that lies at an offset of a log file.
func after(head *root, rec *Record, seg *segment, at int64, state State) *root {
	next := *head
	next.LSN, next.Checksum, next.epoch, next.state = rec.LSN, rec.After, max(head.epoch, rec.Epoch), state
	switch rec.Kind {
	case RecordScan:
		next.scan = rec.Scan
	case RecordEncryption:
		next.scan = 1
	case RecordScanEnd:
		next.scan = 0
	case RecordTransaction:
		next.Transactions++
	}
	if !rec.paged() {
		return &next
	}
	at += recordHeader + int64(len(rec.DEKID))
	for i := 0; i+slotSize <= len(rec.Body); i += slotSize {
		slot := rec.Body[i : i+slotSize]
		if number := slotPage(slot); number <= rec.Pages {
			next.tree = next.tree.Put(number, version{seg: seg, off: at + int64(i), lsn: rec.LSN, sum: sumOf(slot)})
		}
	}
	for number := rec.Pages + 1; number <= head.Pages; number++ {
		next.tree = next.tree.Delete(number)
	}
	next.Pages = rec.Pages
	return &next
}

// beginVLF begins a new virtual log file, with the wrapping that is current; the caller holds the write lock.
func (d *DB) beginVLF() error {
	d.mu.Lock()
	w := d.boot.DEK
	d.mu.Unlock()
	return d.wal.begin(w)
}

// BeginVLF makes the log move on to a new virtual log file when the current one has records; so a log backup ends one.
func (d *DB) BeginVLF(ctx context.Context) error {
	if err := d.lock.acquire(ctx); err != nil {
		return fmt.Errorf("waiting for the writer: %w", err)
	}
	defer d.lock.release()
	if d.wal.current().size == vlfHeader {
		return nil
	}
	return d.beginVLF()
}

// flush returns when the log up to lsn is durable. Those who come while an fsync is going on share the next.
func (d *DB) flush(lsn LSN) error {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	if d.roots.durable().LSN >= lsn {
		return nil
	}
	if d.closed.Load() {
		return ErrClosed
	}
	d.mu.Lock()
	broken := d.broken
	d.mu.Unlock()
	if broken != nil {
		return broken
	}
	written := d.roots.head().LSN
	if err := d.wal.sync(); err != nil {
		// After a failed fsync nobody knows what is on disk: nothing is acknowledged any more.
		d.mu.Lock()
		d.broken = err
		d.mu.Unlock()
		return err
	}
	d.roots.setDurable(written)
	if d.unfolded.Load() >= d.o.VLFSize {
		d.foldInBackground()
	}
	return nil
}
