// Package sqlendpoint is the gateway and the servers that SQL clients talk
// to: it finds the logical server that a client means, lets it in or says why
// not, as Azure SQL Database does, and answers what lies outside a database:
// its server's catalog and dynamic management views, ALTER DATABASE, KILL.
// The wire is lab/tds's, the language lab/tsql's.
package sqlendpoint

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// Options are what an Endpoint needs; all but Log must be set.
type Options struct {
	SQL    *sqlserver.Service
	Entra  *entra.Service
	Now    func() time.Time // the lab's clock
	Random io.Reader
	Log    *slog.Logger
}

// Endpoint is the backend of a TDS server. It is safe for concurrent use.
type Endpoint struct {
	Options

	mu       sync.Mutex
	catalogs map[*engine.DB]*sharedCatalogs
}

// New makes an Endpoint.
func New(o Options) *Endpoint {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Endpoint{Options: o, catalogs: map[*engine.DB]*sharedCatalogs{}}
}

// Audiences are the resources whose tokens a SQL endpoint takes, those of all
// clouds, with and without the slash at the end.
// Source: https://learn.microsoft.com/azure/azure-sql/database/authentication-azure-ad-only-authentication
func Audiences() []string {
	var all []string
	for _, host := range Domains() {
		all = append(all, "https://"+host, "https://"+host+"/")
	}
	return all
}

// Domains are what follows a server's name, in each cloud.
// Source: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure#guidance-for-developers
func Domains() []string {
	return []string{"database.windows.net", "database.usgovcloudapi.net", "database.chinacloudapi.cn"}
}

// sharedCatalogs is what the sessions of one open database share.
type sharedCatalogs struct {
	tsql.Catalogs
	sessions int
}

// share counts a session in. The map is by the open database, not by name: a
// copy that was seeded anew is another one.
func (e *Endpoint) share(db *engine.DB) *tsql.Catalogs {
	e.mu.Lock()
	defer e.mu.Unlock()
	shared := e.catalogs[db]
	if shared == nil {
		shared = &sharedCatalogs{}
		e.catalogs[db] = shared
	}
	shared.sessions++
	return &shared.Catalogs
}

func (e *Endpoint) unshare(db *engine.DB) {
	e.mu.Lock()
	defer e.mu.Unlock()
	shared := e.catalogs[db]
	if shared == nil {
		return
	}
	if shared.sessions--; shared.sessions == 0 {
		delete(e.catalogs, db)
	}
}
