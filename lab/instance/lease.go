package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Why a lease ended before its session did.
var (
	// ErrKilled is the reason after KILL.
	ErrKilled = errors.New("the session was killed")
	// ErrRoleChanged is the reason after a failover, and after the end of a
	// replication relation.
	ErrRoleChanged = errors.New("the database changed its replication role")
	// ErrDropped is the reason after the database was dropped.
	ErrDropped = errors.New("the database was dropped")
	// ErrInaccessible is the reason when the database lost its key.
	ErrInaccessible = errors.New("the database has no access to its key")
	// ErrStopped is the reason when the lab stops.
	ErrStopped = errors.New("the server is stopping")
)

// UnavailableError says that a database takes no sessions now, and why.
type UnavailableError struct {
	Ref    Ref
	Status Status
	Err    error // the cause; nil where the status says all
}

// Error says which database and which state.
func (u *UnavailableError) Error() string {
	text := fmt.Sprintf("database %s on %s is not available: %s", u.Ref.Database, u.Ref.Server, u.Status)
	if u.Err != nil {
		text += ": " + u.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (u *UnavailableError) Unwrap() error { return u.Err }

// Lease is a session's hold on a database. It is safe for concurrent use.
type Lease struct {
	instances *Instances
	ref       Ref
	id        string
	db        *engine.DB
	done      chan struct{}

	mu     sync.Mutex
	info   SessionInfo // SPID is set before the lease is handed out and stays
	reason error
}

// DB is the database. Connections that were taken from it fail once Done is
// closed.
func (l *Lease) DB() *engine.DB { return l.db }

// Ref names the database.
func (l *Lease) Ref() Ref { return l.ref }

// DatabaseID is the database's id, a GUID; empty for master.
func (l *Lease) DatabaseID() string { return l.id }

// SPID is the session's id on its server.
func (l *Lease) SPID() int { return l.info.SPID }

// Done is closed when the database goes away from under the session: role
// change, drop, lost key, KILL, stop. The session must end at once.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Reason says why Done was closed; nil while it is open.
func (l *Lease) Reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// Release gives the lease back; it may be called more than once.
func (l *Lease) Release() {
	l.instances.sessions.remove(l)
	if d := l.instances.find(l.ref); d != nil {
		d.mu.Lock()
		delete(d.leases, l)
		d.mu.Unlock()
	}
}

// end closes Done with a reason; the first one stands.
func (l *Lease) end(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		l.reason = reason
		close(l.done)
	}
}

// Info is the session as it is now.
func (l *Lease) Info() SessionInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	info := l.info
	if info.Running != nil {
		running := *info.Running
		info.Running = &running
	}
	return info
}

// Begin notes that the session executes a request from now on.
func (l *Lease) Begin(command, text string) {
	now := l.instances.o.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.info.Requests++
	l.info.LastRequestStart = now
	l.info.Running = &Request{ID: int(l.info.Requests), Command: command, Text: text, StartedAt: now} //nolint:gosec // a counter that begins at one
}

// Counters are what a request has done.
type Counters struct{ Rows, Reads, Writes uint64 }

// End notes that the request has ended, what it did, and how many
// transactions the session has open then.
func (l *Lease) End(done Counters, transactions int) {
	now := l.instances.o.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.info.Rows += done.Rows
	l.info.Reads += done.Reads
	l.info.Writes += done.Writes
	l.info.Transactions, l.info.Running, l.info.LastRequestEnd = transactions, nil, now
}

// attachPatience bounds, in the machine's time, how long Attach waits for a
// database that is being opened or whose role is changing.
const attachPatience = 5 * time.Second

// Attach leases a database to a session. It waits a moment for one that is
// being opened. Its error is *UnavailableError; with the status RoleChange it
// comes when the change is over, so that the caller looks up again which
// server a listener's name leads to.
func (i *Instances) Attach(ctx context.Context, ref Ref, client Client) (*Lease, error) {
	ref = ref.lower()
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	for {
		l, wait, err := i.tryAttach(ctx, ref, client)
		if wait == nil {
			return l, err
		}
		select {
		case <-wait:
			if gone, ok := errors.AsType[*UnavailableError](err); ok && gone.Status == RoleChange {
				return nil, err
			}
		case <-ctx.Done():
			return nil, err
		}
	}
}
