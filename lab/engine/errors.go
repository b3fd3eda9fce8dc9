package engine

import (
	"errors"
	"fmt"
)

// What the engine refuses. Errors of an SQLite connection wrap them too, where it was the engine that refused.
var (
	// ErrReadOnly refuses a write on a Secondary.
	ErrReadOnly = errors.New("database is a read-only secondary")
	// ErrCorrupt says that stored bytes are not what was written: a flipped bit, a page of another place or time.
	ErrCorrupt = errors.New("stored page or log record is corrupt")
	// ErrClosed says that the database was closed.
	ErrClosed = errors.New("database is closed")
	// ErrLogTruncated says that the log no longer reaches back to where a reader wants to go on.
	ErrLogTruncated = errors.New("log is truncated before the wanted position")
	// ErrDiverged says that a record does not continue this database's log.
	ErrDiverged = errors.New("log has diverged")
	// ErrExists says that the folder already holds a database.
	ErrExists = errors.New("database exists")
	// ErrNotFound says that the folder holds no database.
	ErrNotFound = errors.New("no database in the folder")
	// ErrScanInProgress refuses a change of encryption while a scan is going on.
	ErrScanInProgress = errors.New("encryption scan in progress")
	// ErrWrongState refuses a change of encryption that is already so, or a wrapping of another DEK.
	ErrWrongState = errors.New("encryption state does not allow this")
	// ErrWrongKey says that an unwrapped key is not the DEK.
	ErrWrongKey = errors.New("key does not open the database")
	// ErrNotSecondary refuses Apply on a Primary.
	ErrNotSecondary = errors.New("database is not a secondary")
)

// KeyError says that a wrapped DEK could not be opened.
type KeyError struct {
	// Thumbprint is of the protector that wrapped it.
	Thumbprint string
	// Err is the Opener's error, or ErrWrongKey.
	Err error
}

// Error names the protector and the cause.
func (e *KeyError) Error() string {
	return fmt.Sprintf("opening the database encryption key wrapped by protector %s: %v", e.Thumbprint, e.Err)
}

// Unwrap gives the cause.
func (e *KeyError) Unwrap() error { return e.Err }
