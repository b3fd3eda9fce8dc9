// Package backup keeps a database's automated backups: the chain for
// point-in-time restore (PITR), of a full backup every week and a log backup
// every few minutes, and the long-term retention (LTR) copies of full backups.
//
// Pages and records lie in a backup sealed, exactly as they lay in the page
// file and in the log, beside the database encryption key as it was wrapped at
// that time. So a restore needs the protector of every part of the chain, just
// as in the service, although the database may have moved on to another one:
// https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
//
// A store is one folder:
//
//	pitr/<time of the full backup>/<number>.full, .log
//	ltr/<taken>-<expires>.full
//
// A file is written under a temporary name, flushed and renamed; each has a
// header, pages or records, and an end, in the frames of package stream, so
// that a cut or a flipped bit is an error.
package backup

import (
	"errors"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Kind is full or log.
type Kind string

// The kinds of backups.
const (
	Full Kind = "full"
	Log  Kind = "log"
)

// Backup is one backup file.
type Backup struct {
	Kind Kind `json:"kind"`
	// Database is the id of the database.
	Database string `json:"database"`
	// Time is the last moment that the backup holds everything of: what was
	// acknowledged by then is in it, or in an earlier backup of its chain.
	Time time.Time `json:"time"`
	// A log backup holds the records after From, up to To; a full one the
	// database at To. Checksum is the database's at To.
	From     engine.LSN `json:"from"`
	To       engine.LSN `json:"to"`
	Checksum uint64     `json:"checksum"`
	// Key is the DEK as it was wrapped then, nil when TDE was off.
	Key *engine.WrappedDEK `json:"key,omitempty"`
	// Source is of a full backup what its pages are of.
	Source *engine.SnapshotInfo `json:"source,omitempty"`
	// File is the path, Size is in bytes.
	File string `json:"-"`
	Size int64  `json:"-"`
}

// Chain is a full backup and the log backups that continue it, oldest first.
type Chain struct {
	Full Backup
	Logs []Backup
}

// last is the chain's newest backup.
func (c Chain) last() Backup {
	if len(c.Logs) == 0 {
		return c.Full
	}
	return c.Logs[len(c.Logs)-1]
}

// Through is the last moment that the chain can be restored to.
func (c Chain) Through() time.Time { return c.last().Time }

// Keys are the distinct wrappings in the chain, oldest first: each of their
// protectors is needed to restore.
func (c Chain) Keys() []engine.WrappedDEK {
	return wrappings(append([]Backup{c.Full}, c.Logs...))
}

// LongTerm is a full backup that is kept under a long-term policy.
type LongTerm struct {
	Backup
	// Expires is when it is deleted.
	Expires time.Time
}

// RangeError says that a moment cannot be restored to.
type RangeError struct {
	Wanted, Earliest, Latest time.Time
}

// Error tells the moments that can be.
func (e *RangeError) Error() string {
	if e.Latest.IsZero() {
		return fmt.Sprintf("no backup to restore %s from", e.Wanted.Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%s is not between the earliest restore point %s and the latest %s",
		e.Wanted.Format(time.RFC3339Nano), e.Earliest.Format(time.RFC3339Nano), e.Latest.Format(time.RFC3339Nano))
}

// MissingKeyError says that a restore lacks a protector: the target's server
// has not got the key, or may not use it. The service's errors are
// MissingKeyVaultUriForRestore and "Target server … doesn't have access to all
// AKV URIs".
type MissingKeyError struct {
	// KeyURI is the customer-managed key; empty when ServiceOf names the server
	// whose service-managed key it is.
	KeyURI, ServiceOf, Thumbprint string
	Err                           error
}

// Error names the key.
func (e *MissingKeyError) Error() string {
	key := e.KeyURI
	if key == "" {
		key = "service-managed key of server " + e.ServiceOf
	}
	return fmt.Sprintf("restore needs %s (thumbprint %s): %v", key, e.Thumbprint, e.Err)
}

// Unwrap gives the cause.
func (e *MissingKeyError) Unwrap() error { return e.Err }

var (
	// ErrDamaged says that a backup file is not as it was written.
	ErrDamaged = errors.New("backup is damaged")
	// ErrSecondary refuses to back a geo-secondary up: its primary is.
	ErrSecondary = errors.New("a geo-secondary has no backups of its own")
	errFormat    = errors.New("not a backup of this form")
)

// wrappings are the distinct keys of backups, in their order.
func wrappings(backups []Backup) []engine.WrappedDEK {
	var keys []engine.WrappedDEK
	seen := map[string]bool{}
	for _, b := range backups {
		if b.Key != nil && !seen[string(b.Key.Wrapped)] {
			seen[string(b.Key.Wrapped)] = true
			keys = append(keys, *b.Key)
		}
	}
	return keys
}
