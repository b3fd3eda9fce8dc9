// Package store keeps the lab's state in one crash-safe file: tables of JSON
// records, changed in serial transactions that are on disk when they return.
// A transaction that has returned survives kill -9; one that has not leaves
// no trace.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Store is an open state file. It is safe for concurrent use: one Update runs
// at a time, beside any number of Views, each of which sees one instant.
type Store struct {
	db      *bbolt.DB
	watcher atomic.Pointer[func(Committed)]
}

// Options say how a state file is opened.
type Options struct {
	// NoSync leaves out the fsync of each commit. For state that is thrown
	// away with the process; a power loss may then lose commits, a killed
	// process does not.
	NoSync bool
	// LockTimeout is how long to wait for another process to let go of the
	// file; zero means one second.
	LockTimeout time.Duration
}

// ErrLocked is returned by Open when another process holds the state file.
var ErrLocked = errors.New("another lab is running on this state folder")

// Open opens the state file at path, making it where there is none.
func Open(path string, options Options) (*Store, error) {
	if options.LockTimeout == 0 {
		options.LockTimeout = time.Second
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      options.LockTimeout,
		NoSync:       options.NoSync,
		FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open lab state %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open lab state %s: %w", path, err)
	}
	return &Store{db: db}, nil
}

// Close waits for running transactions and closes the file.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close lab state: %w", err)
	}
	return nil
}

// Tx is one transaction. It must not be used after the function that it was
// given to returns, nor by two goroutines at once.
type Tx struct {
	bolt  *bbolt.Tx
	cause any
	wrote map[string]bool // tables
}

// Committed says what a transaction that is on disk has changed.
type Committed struct {
	Cause  any             // as the transaction was told, nil for nothing
	Tables map[string]bool // that were written to
}

// Watch has fn told of every transaction that has changed something. fn must
// not wait for a transaction. It may be called once, before the first Update.
func (s *Store) Watch(fn func(Committed)) { s.watcher.Store(&fn) }

// SetCause notes in whose name the transaction changes what it does.
func (tx *Tx) SetCause(cause any) { tx.cause = cause }

// Cause is what SetCause noted.
func (tx *Tx) Cause() any { return tx.cause }

func (tx *Tx) note(table []byte) {
	if tx.wrote == nil {
		tx.wrote = map[string]bool{}
	}
	tx.wrote[string(table)] = true
}

// OnCommit has fn called after the transaction is on disk; not at all when it
// fails.
func (tx *Tx) OnCommit(fn func()) { tx.bolt.OnCommit(fn) }

// Update runs fn in a transaction that may write. When fn returns an error,
// nothing is changed and the error is returned as it is. fn must do no
// network calls and must not begin another transaction: writers are serial.
func (s *Store) Update(fn func(tx *Tx) error) error {
	tx := &Tx{}
	err := s.db.Update(func(b *bbolt.Tx) error {
		tx.bolt = b
		return fn(tx)
	})
	if watcher := s.watcher.Load(); err == nil && watcher != nil && len(tx.wrote) > 0 {
		(*watcher)(Committed{Cause: tx.cause, Tables: tx.wrote})
	}
	return err
}

// View runs fn on one consistent instant of the state. Writing in it fails.
func (s *Store) View(fn func(tx *Tx) error) error {
	return s.db.View(func(b *bbolt.Tx) error { return fn(&Tx{bolt: b}) })
}

// Table is a named set of records of one type, ordered by key. The zero
// value is of no use: make it with NewTable. It holds no state of its own.
type Table[T any] struct{ name []byte }

// NewTable names a table. Two tables of one name are the same table.
func NewTable[T any](name string) Table[T] { return Table[T]{name: []byte(name)} }

// Get reads the record under key; found is false when there is none.
func (t Table[T]) Get(tx *Tx, key string) (record T, found bool, err error) {
	bucket := tx.bolt.Bucket(t.name)
	if bucket == nil {
		return record, false, nil
	}
	text := bucket.Get([]byte(key))
	if text == nil {
		return record, false, nil
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return record, false, fmt.Errorf("read %s %q: %w", t.name, key, err)
	}
	return record, true, nil
}

// Put writes the record under key, over one that is there.
func (t Table[T]) Put(tx *Tx, key string, record T) error {
	tx.note(t.name)
	bucket, err := tx.bolt.CreateBucketIfNotExists(t.name)
	if err != nil {
		return fmt.Errorf("write %s: %w", t.name, err)
	}
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s %q: %w", t.name, key, err)
	}
	if err := bucket.Put([]byte(key), text); err != nil {
		return fmt.Errorf("write %s %q: %w", t.name, key, err)
	}
	return nil
}

// Delete removes the record under key; none there is no error.
func (t Table[T]) Delete(tx *Tx, key string) error {
	tx.note(t.name)
	bucket := tx.bolt.Bucket(t.name)
	if bucket == nil {
		return nil
	}
	if err := bucket.Delete([]byte(key)); err != nil {
		return fmt.Errorf("delete %s %q: %w", t.name, key, err)
	}
	return nil
}

// Entry is a record with its key.
type Entry[T any] struct {
	Key    string
	Record T
}

// Scan reads every record whose key begins with prefix, in key order.
func (t Table[T]) Scan(tx *Tx, prefix string) ([]Entry[T], error) {
	bucket := tx.bolt.Bucket(t.name)
	if bucket == nil {
		return nil, nil
	}
	var entries []Entry[T]
	cursor := bucket.Cursor()
	for key, text := cursor.Seek([]byte(prefix)); key != nil && hasPrefix(key, prefix); key, text = cursor.Next() {
		var record T
		if err := json.Unmarshal(text, &record); err != nil {
			return nil, fmt.Errorf("read %s %q: %w", t.name, key, err)
		}
		entries = append(entries, Entry[T]{Key: string(key), Record: record})
	}
	return entries, nil
}

func hasPrefix(key []byte, prefix string) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix
}
