// Package georep is active geo-replication: it keeps geo-secondaries of a
// database, in other regions, up to date with its primary, and changes who is
// primary.
//
// A Replica is one copy of a database. A Link ships the log of the primary's
// copy to one secondary, continuously and without holding up a commit; records
// travel sealed, as they lie in the log, over a framed and checksummed stream
// (package stream). A Relationship is one database's primary with all of its
// links, and does the failovers.
//
//	           nothing there           pages sent            caught up
//	PENDING ───────────────► SEEDING ────────────► CATCH_UP ◄──────────┐
//	                            ▲                     │                │
//	                            │ history lost        │ key, region,   │ retried, or
//	                            │ or diverged         │ Suspend        │ Resume
//	                            └──────────────── SUSPENDED ───────────┘
//
// Who is primary is told by the copies' boot records alone: the one with the
// role of a primary and the highest epoch. A copy that finds a newer primary
// becomes its secondary; what it had committed that the new primary has not is
// counted (Loss) and then discarded by seeding it anew.
//
// Sources: https://learn.microsoft.com/azure/azure-sql/database/active-geo-replication-overview and
// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-geo-replication-link-status-azure-sql-database
package georep

import (
	"errors"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// State is a replication link's, in Azure Resource Manager's words.
type State string

// The states of a link.
const (
	// Pending: the link was made and has not begun.
	Pending State = "PENDING"
	// Seeding: the secondary is being filled, and cannot be read.
	Seeding State = "SEEDING"
	// CatchUp: the secondary follows the primary.
	CatchUp State = "CATCH_UP"
	// Suspended: nothing is shipped; Status.Reason says why.
	Suspended State = "SUSPENDED"
)

// Number is replication_state of sys.geo_replication_links.
func (s State) Number() int {
	switch s {
	case Seeding:
		return 1
	case CatchUp:
		return 2
	case Suspended:
		return 4
	default:
		return 0
	}
}

// Status is what a link tells at one moment.
type Status struct {
	ID string
	// Primary and Secondary are the names of the two replicas.
	Primary, Secondary string
	State              State
	// Reason is why the link is suspended, else nil: *UnreachableError,
	// *engine.KeyError, what Suspend was given, …
	Reason error
	// Undoing says that the secondary is an old primary that is being taken
	// back to the history of the new one. Its state is SUSPENDED until then.
	Undoing bool
	// PercentComplete is the progress of seeding; 100 when there is none.
	PercentComplete int
	// PrimaryLSN is the last record of the primary, 0 when it is not open;
	// AcknowledgedLSN is the last one that the secondary has hardened.
	PrimaryLSN, AcknowledgedLSN engine.LSN
	// LagRecords is how many records the secondary is behind; Lag is for how
	// long the oldest of them has been committed, in the primary's time.
	LagRecords uint64
	Lag        time.Duration
	// LastReplication is when the primary last received an acknowledgement;
	// LastCommit is the time of the last record hardened on the secondary.
	LastReplication, LastCommit time.Time
	// StartedAt is when the link was made, ModifiedAt when its state changed.
	StartedAt, ModifiedAt time.Time
	// Seeds counts how often the secondary was seeded by this link.
	Seeds int
}

var (
	// ErrStalePrimary says that the link's secondary has seen a newer primary
	// than the link's, so that shipping would overwrite newer data.
	ErrStalePrimary = errors.New("secondary has seen a newer primary")
	// ErrNotOpen says that a replica that has to act is not open.
	ErrNotOpen = errors.New("replica is not open")
	// ErrNoLink says that the named partner is not a secondary of this database.
	ErrNoLink = errors.New("no replication link with the partner")
	// ErrUndoing says that the partner is still being taken back to the history
	// of the new primary and cannot become primary (error 45309 of the service).
	ErrUndoing = errors.New("partner recovers from a role change")
	// ErrNotSynchronized says that after draining, position or checksum of the
	// two sides differ.
	ErrNotSynchronized = errors.New("replicas differ")

	errProtocol = errors.New("unexpected message on a replication stream")
)

// UnreachableError says that the other region cannot be reached.
type UnreachableError struct {
	Replica string
	Err     error
}

// Error names the replica and the cause.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %v", e.Replica, e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// SuspendedError says that a link cannot drain since it is suspended.
type SuspendedError struct {
	Link string
	Err  error // Status.Reason
}

// Error names the link and the cause.
func (e *SuspendedError) Error() string {
	return fmt.Sprintf("replication link %s is suspended: %v", e.Link, e.Err)
}

// Unwrap gives the cause.
func (e *SuspendedError) Unwrap() error { return e.Err }

// RolledBackError says that a planned failover was not done: the old primary
// goes on as primary. Err says why; with context.DeadlineExceeded the partner
// could not be synchronized in time (error 45337 of the service), with an
// *UnreachableError it could not be reached (45338).
type RolledBackError struct {
	Partner string
	Err     error
}

// Error names the partner and the cause.
func (e *RolledBackError) Error() string {
	return fmt.Sprintf("planned failover to %s rolled back: %v", e.Partner, e.Err)
}

// Unwrap gives the cause.
func (e *RolledBackError) Unwrap() error { return e.Err }
