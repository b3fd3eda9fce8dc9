package sqlendpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// database is an open database as the interpreter sees it.
type database struct {
	db   *engine.DB
	name string
	id   int32
}

// Conn opens a connection of the engine.
func (d *database) Conn(ctx context.Context) (*sqlite3.Conn, error) { return d.db.Conn(ctx) }

// Name is the database's name.
func (d *database) Name() string { return d.name }

// ID is its database_id.
func (d *database) ID() int32 { return d.id }

// ReadOnly says that it is a geo-secondary.
func (d *database) ReadOnly() bool { return d.db.Boot().Role == engine.Secondary }

// attempts bounds how often a login goes after a database that changes its
// role at that moment.
const attempts = 3

// open attaches to the database and starts the session in it.
func (e *Endpoint) open(ctx context.Context, a *attempt) (*session, error) {
	who, err := e.identify(a)
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		s, err := e.tryOpen(ctx, a, who)
		var gone *instance.UnavailableError
		var broken *tsql.BrokenError
		switch {
		case err == nil:
			return s, nil
		case errors.As(err, &broken): // it went away between two steps
			if i+1 < attempts && ctx.Err() == nil {
				continue
			}
			return nil, notAvailable(a.ref())
		case !errors.As(err, &gone):
			return nil, err
		case gone.Status == instance.Missing:
			return nil, e.missing(a, who)
		case gone.Status != instance.RoleChange || i+1 == attempts:
			e.Log.Debug("sql.not_available", "server", a.target.Server, "database", a.database, "status", gone.Status)
			return nil, notAvailable(a.ref())
		}
		if err := e.route(a); err != nil { // a listener may lead elsewhere by now
			return nil, err
		}
	}
}

func (a *attempt) ref() instance.Ref { return instance.NewRef(a.target.Server, a.database) }

// missing refuses a database that is not there. Only who is known to the
// server learns that.
func (e *Endpoint) missing(a *attempt, who identity) error {
	switch {
	case who.admin:
		return cannotOpenDatabase(a.database, who.name)
	case who.claims != nil:
		return loginFailed(tokenPrincipal)
	default:
		return loginFailed(a.user)
	}
}

func (e *Endpoint) tryOpen(ctx context.Context, a *attempt, who identity) (_ *session, err error) {
	info, found, err := e.SQL.Database(a.target.Server, a.database)
	if err != nil {
		return nil, fmt.Errorf("find database %s: %w", a.ref(), err)
	}
	if !found {
		return nil, &instance.UnavailableError{Ref: a.ref(), Status: instance.Missing}
	}
	lease, err := e.SQL.Instances().Attach(ctx, a.ref(), a.client(who))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lease.Release()
		}
	}()
	s := &session{endpoint: e, attempt: a, lease: lease, database: &database{db: lease.DB(), name: info.Name, id: int32(info.Number)}} //nolint:gosec // a small number
	principal, err := e.principal(ctx, a, who, s.database)
	if err != nil {
		return nil, err
	}
	return s, s.begin(ctx, principal, info)
}

// begin starts the interpreter.
func (s *session) begin(ctx context.Context, principal tsql.Principal, info sqlserver.DatabaseInfo) error {
	e := s.endpoint
	catalogs := e.share(s.lease.DB())
	inner, err := tsql.NewSession(ctx, tsql.SessionOptions{
		Database: s.database, Host: &host{endpoint: e, attempt: s.attempt, lease: s.lease, database: info}, Principal: principal, SPID: s.lease.SPID(),
		ServerName: s.attempt.server.Name, AppName: s.attempt.AppName, HostName: s.attempt.HostName,
		Catalogs: catalogs, Now: e.Now, Random: e.Random, Log: e.Log,
	})
	if err != nil {
		e.unshare(s.lease.DB())
		return err
	}
	s.inner = inner
	return nil
}

// client is what the session views show of a client.
func (a *attempt) client(who identity) instance.Client {
	c := instance.Client{
		Login: who.name, Host: a.HostName, Program: a.AppName, Library: a.Library, ProcessID: int(a.ProcessID), Address: addressOf(a.Remote),
		Encrypted: a.Encrypted, Entra: who.claims != nil,
	}
	if a.Remote != nil {
		if _, port, err := net.SplitHostPort(a.Remote.String()); err == nil {
			c.Port, _ = strconv.Atoi(port)
		}
	}
	return c
}
