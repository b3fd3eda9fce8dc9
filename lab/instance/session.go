package instance

import (
	"slices"
	"sync"
	"time"
)

// Client says who connects: what sys.dm_exec_sessions and
// sys.dm_exec_connections show of a session.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-sessions-transact-sql
type Client struct {
	Login     string // as logged in: a SQL login, or the name of an Entra principal
	Host      string // workstation, as the client says
	Program   string // application, as the client says
	Library   string // client interface name
	ProcessID int    // of the client, as it says
	Address   string // the client's address without port
	Port      int    // the client's
	Encrypted bool   // the connection has TLS
	Entra     bool   // authenticated by an access token
}

// firstSPID is the first session id that a user's session gets: those up to
// 50 are the system's.
const firstSPID = 51

// Request is what a session is executing.
type Request struct {
	ID        int
	Command   string // SELECT, INSERT …
	Text      string
	StartedAt time.Time
	Reads     uint64 // logical
	Writes    uint64
}

// SessionInfo is one session at one instant.
type SessionInfo struct {
	SPID             int
	Ref              Ref
	Client           Client
	ConnectedAt      time.Time
	LastRequestStart time.Time
	LastRequestEnd   time.Time
	Requests         uint64 // begun
	Rows             uint64 // returned
	Reads, Writes    uint64
	Transactions     int      // open
	Running          *Request // nil: sleeping
}

// registry knows the sessions of all servers.
type registry struct {
	mu     sync.Mutex
	next   map[string]int // by server
	leases map[string]map[int]*Lease
}

func newRegistry() *registry {
	return &registry{next: map[string]int{}, leases: map[string]map[int]*Lease{}}
}

// add gives the lease the lowest free session id of its server.
func (r *registry) add(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.leases[l.ref.Server]
	if of == nil {
		of = map[int]*Lease{}
		r.leases[l.ref.Server] = of
	}
	l.info.SPID = firstSPID
	for of[l.info.SPID] != nil {
		l.info.SPID++
	}
	of[l.info.SPID] = l
}

func (r *registry) remove(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.leases[l.ref.Server]; of[l.info.SPID] == l {
		delete(of, l.info.SPID)
	}
}

func (r *registry) find(server string, spid int) *Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leases[server][spid]
}

func (r *registry) of(server string) []*Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	leases := make([]*Lease, 0, len(r.leases[server]))
	for _, l := range r.leases[server] {
		leases = append(leases, l)
	}
	slices.SortFunc(leases, func(a, b *Lease) int { return a.info.SPID - b.info.SPID })
	return leases
}

// Sessions lists the sessions of a server by session id.
func (i *Instances) Sessions(server string) []SessionInfo {
	var list []SessionInfo
	for _, l := range i.sessions.of(lower(server)) {
		list = append(list, l.Info())
	}
	return list
}

// Kill ends a session of a server; false when there is none of that id.
func (i *Instances) Kill(server string, spid int) bool {
	l := i.sessions.find(lower(server), spid)
	if l == nil {
		return false
	}
	l.end(ErrKilled)
	return true
}
