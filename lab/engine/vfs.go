package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// fileSet is a database's SQLite VFS, registered while the database is open or a connection to it is.
type fileSet struct {
	d        *DB
	name     string
	mu       sync.Mutex
	counter  uint64
	expected map[string]*file
	open     int
	closing  bool
}

func (s *fileSet) register(d *DB) {
	s.d, s.name, s.expected = d, fmt.Sprintf("crosskeys-%p", d), map[string]*file{}
	vfs.Register(s.name, s)
}

// unregister takes the VFS away: now, or when the last connection is closed.
func (s *fileSet) unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	if s.open == 0 {
		vfs.Unregister(s.name)
	}
}

// expect makes a file that the next Open of the name gives.
func (s *fileSet) expect() (string, *file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return "", nil, ErrClosed
	}
	s.counter++
	name := fmt.Sprintf("/%d", s.counter)
	f := &file{d: s.d, set: s}
	s.expected[name] = f
	s.open++
	return name, f, nil
}

// gone ends a file that was expected or open.
func (s *fileSet) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 && s.closing {
		vfs.Unregister(s.name)
	}
}

// Open gives the database file of a connection. SQLite has no other: OPEN_MEMORY keeps its journal in memory, and
// temp_store its temporary tables.
func (s *fileSet) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.expected[name]
	if !ok || flags&vfs.OPEN_MAIN_DB == 0 {
		return nil, flags, sqlite3.CANTOPEN
	}
	delete(s.expected, name)
	f.opened = true
	return f, flags | vfs.OPEN_MEMORY, nil
}

// Delete is for journals; there are none.
func (*fileSet) Delete(string, bool) error { return sqlite3.IOERR_DELETE_NOENT }

// Access is for journals; there are none.
func (*fileSet) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }

// FullPathname is the name.
func (*fileSet) FullPathname(name string) (string, error) { return name, nil }

// file is the database as one connection sees it. A connection is used by one goroutine at a time, and so is its file.
type file struct {
	d      *DB
	set    *fileSet
	opened bool
	level  vfs.LockLevel
	root   *root // the state that is read, from SHARED on
	owns   bool  // the write lock is held
	// writing says that there is something to commit: dirty pages, or another size.
	writing bool
	dirty   map[uint32][]byte
	size    uint32
	failure error
	ahead   readAhead
}

var (
	_ vfs.FileLockState      = (*file)(nil)
	_ vfs.FileCommitPhaseTwo = (*file)(nil)
)

// fail reports an error to SQLite. The library tells the last VFS call's error to its caller; SQLite unlocks after a
// failed read, so that ok has to tell it again.
func (f *file) fail(err error, code sqlite3.ExtendedErrorCode) error {
	f.failure = err
	return vfs.SystemError(err, code)
}

func (f *file) ok() error {
	if f.failure == nil {
		return nil
	}
	return vfs.SystemError(f.failure, sqlite3.ErrorCode(0))
}

// Close ends the connection's part in the database; what was not committed is dropped.
func (f *file) Close() error {
	f.dropWrites()
	f.d.roots.release(f.root)
	f.root, f.level = nil, vfs.LOCK_NONE
	f.set.gone()
	return nil
}

func (f *file) dropWrites() {
	for _, page := range f.dirty {
		pagePool.Put((*[PageSize]byte)(page))
	}
	f.writing, f.dirty, f.size = false, nil, 0
	if f.owns {
		f.owns = false
		f.d.lock.release()
	}
}

// ReadAt reads from one page.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	number := uint32(off/PageSize) + 1
	if page, ok := f.dirty[number]; ok {
		return copy(b, page[off%PageSize:]), nil
	}
	r := f.root
	if r == nil {
		r = f.d.roots.acquire(false)
		defer f.d.roots.release(r)
	}
	if number > f.pages(r) {
		return 0, io.EOF
	}
	if off%PageSize+int64(len(b)) > PageSize {
		return 0, f.fail(fmt.Errorf("read of %d bytes at %d crosses a page", len(b), off), sqlite3.IOERR_READ)
	}
	if number > r.Pages {
		clear(b) // grown in this transaction, and not written yet
		return len(b), nil
	}
	missed, err := f.d.readPage(r, number, int(off%PageSize), b)
	f.ahead.note(f.d, r, number, missed)
	if err != nil {
		code := sqlite3.IOERR_READ
		if errors.Is(err, ErrCorrupt) {
			code = sqlite3.IOERR_DATA
		}
		return 0, f.fail(err, code)
	}
	return len(b), nil
}

// pages is the size that the connection sees.
func (f *file) pages(r *root) uint32 {
	if f.writing {
		return f.size
	}
	return r.Pages
}

// WriteAt keeps a page for the commit.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	if !f.owns || len(b) != PageSize || off%PageSize != 0 {
		return 0, f.fail(fmt.Errorf("write of %d bytes at %d is not of a page of %d in a transaction", len(b), off, PageSize), sqlite3.IOERR_WRITE)
	}
	f.begin()
	number := uint32(off/PageSize) + 1
	if page, ok := f.dirty[number]; ok {
		copy(page, b)
	} else {
		buf, _ := pagePool.Get().(*[PageSize]byte)
		copy(buf[:], b)
		f.dirty[number] = buf[:]
	}
	f.size = max(f.size, number)
	return len(b), nil
}

func (f *file) begin() {
	if !f.writing {
		f.writing, f.dirty, f.size = true, map[uint32][]byte{}, f.root.Pages
	}
}

// Truncate makes the database smaller, or larger by pages of zeros.
func (f *file) Truncate(size int64) error {
	if !f.owns {
		return f.fail(errors.New("truncation outside of a transaction"), sqlite3.IOERR_TRUNCATE)
	}
	f.begin()
	f.size = uint32(size / PageSize)
	for number := range f.dirty {
		if number > f.size {
			delete(f.dirty, number)
		}
	}
	return nil
}

// Size is in bytes.
func (f *file) Size() (int64, error) {
	r := f.root
	if r == nil {
		r = f.d.roots.durable()
	}
	return int64(f.pages(r)) * PageSize, f.ok()
}

// Sync does nothing: the commit does.
func (f *file) Sync(vfs.SyncFlag) error { return f.ok() }

// Lock takes a state to read at SHARED, and the write lock at RESERVED.
func (f *file) Lock(level vfs.LockLevel) error {
	if f.level >= level {
		return f.ok()
	}
	if level == vfs.LOCK_SHARED {
		f.failure = nil
		if f.d.closed.Load() {
			f.dropWrites()
			return f.fail(ErrClosed, sqlite3.IOERR_LOCK)
		}
		f.root = f.d.roots.acquire(f.owns)
		f.level = level
		return nil
	}
	if f.level < vfs.LOCK_RESERVED {
		if err := f.reserve(); err != nil {
			return err
		}
	}
	f.level = level
	return f.ok()
}

// reserve takes the write lock. A state that is no longer the newest cannot be written to.
func (f *file) reserve() error {
	if err := f.d.writable(); err != nil {
		f.dropWrites()
		return f.fail(err, sqlite3.IOERR_LOCK)
	}
	if f.d.roots.head().LSN != f.root.LSN {
		f.dropWrites()
		return sqlite3.BUSY_SNAPSHOT
	}
	if f.owns {
		return nil
	}
	if !f.d.lock.try() {
		return sqlite3.BUSY
	}
	f.owns = true
	// Roles and states change with the lock held.
	if err := f.d.writable(); err != nil {
		f.dropWrites()
		return f.fail(err, sqlite3.IOERR_LOCK)
	}
	if f.d.roots.head().LSN != f.root.LSN {
		f.dropWrites()
		return sqlite3.BUSY_SNAPSHOT
	}
	return nil
}

// writable says whether the database takes a transaction.
func (d *DB) writable() error {
	if d.closed.Load() {
		return ErrClosed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boot.Role != Primary {
		return ErrReadOnly
	}
	return d.broken
}

// busy is SQLite's busy handler: it waits in the writers' queue. The write lock that it comes back with is used by the
// attempt that follows, or given up by Unlock.
func (f *file) busy(ctx context.Context, _ int) bool {
	if f.owns {
		return false
	}
	err := f.d.lock.acquire(ctx)
	f.owns = err == nil
	// When the database was closed, the next attempt says so.
	return err == nil || errors.Is(err, ErrClosed)
}

// Unlock goes back to SHARED or to NONE. Without a commit before, what was written is dropped.
func (f *file) Unlock(level vfs.LockLevel) error {
	if f.level > vfs.LOCK_SHARED || level == vfs.LOCK_NONE {
		f.dropWrites()
	}
	if level == vfs.LOCK_NONE {
		f.d.roots.release(f.root)
		f.root = nil
	}
	f.level = min(f.level, level)
	return f.ok()
}

// CheckReservedLock says whether somebody writes.
func (f *file) CheckReservedLock() (bool, error) { return f.owns, f.ok() }

// CommitPhaseTwo commits: it gives the write lock up once the record is in the log, and returns once it is durable.
func (f *file) CommitPhaseTwo() error {
	if !f.writing {
		return f.ok()
	}
	state := f.root.state
	next, err := f.d.write(change{kind: RecordTransaction, dirty: f.dirty, pages: f.size, state: state, scan: 0})
	if err != nil {
		return f.fail(err, sqlite3.IOERR_WRITE)
	}
	f.d.roots.release(f.root)
	f.root = f.d.roots.acquire(true)
	f.dropWrites()
	if err := f.d.flush(next.LSN); err != nil {
		return f.fail(err, sqlite3.IOERR_FSYNC)
	}
	return nil
}

// LockState is the lock that is held.
func (f *file) LockState() vfs.LockLevel { return f.level }

// SectorSize is a page's.
func (*file) SectorSize() int { return PageSize }

// DeviceCharacteristics says that a transaction is written as a whole or not at all.
func (*file) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_ATOMIC | vfs.IOCAP_SEQUENTIAL | vfs.IOCAP_SAFE_APPEND | vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_SUBPAGE_READ
}
