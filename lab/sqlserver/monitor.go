package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// probePace is the time between two probes of all keys, on the lab's clock.
const probePace = time.Minute

// monitor probes the keys that the databases of all servers need: those that
// wrap their DEKs, and those whose thumbprint an active virtual log file
// carries. It wakes when the clock moves past its next probe, and when told
// that keys may have changed.
type monitor struct {
	s    *Service
	wake chan struct{}
	work sync.WaitGroup

	mu      sync.Mutex
	good    map[DBRef]time.Time // when all keys of a database last worked
	changed time.Time           // when keys may last have changed
}

func newMonitor(s *Service) *monitor {
	return &monitor{s: s, wake: make(chan struct{}, 1), good: map[DBRef]time.Time{}}
}

// KeysMayHaveChanged has the keys probed at once: something about a vault, a
// key or a permission was changed at the given time.
func (s *Service) KeysMayHaveChanged(at time.Time) {
	s.monitor.mu.Lock()
	s.monitor.changed = at
	s.monitor.mu.Unlock()
	s.monitor.nudge()
}

func (m *monitor) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *monitor) wait() { m.work.Wait() }

// run probes until ctx ends.
func (m *monitor) run(ctx context.Context) {
	m.work.Go(func() {
		for ctx.Err() == nil {
			next := m.s.Clock.Now().Add(probePace)
			m.round(ctx)
			waitFor(ctx, m.s.Clock, next, m.wake)
		}
	})
}

// waitFor waits until the lab's time has reached next, or until woken.
func waitFor(ctx context.Context, c *clock.Clock, next time.Time, wake <-chan struct{}) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	due := make(chan struct{})
	go func() {
		defer close(due)
		_ = c.WaitUntil(waiting, next) // it ended: that is all that matters
	}()
	select {
	case <-due:
	case <-wake:
	}
	cancel()
	<-due
}

// round probes the keys of all servers and takes each database a step on in
// its course.
func (m *monitor) round(ctx context.Context) {
	var servers []Server
	databases := map[string][]Database{}
	err := m.s.Store.View(func(tx *store.Tx) error {
		entries, err := m.s.servers.Scan(tx, "")
		for _, entry := range entries {
			servers = append(servers, entry.Record)
			list, listErr := m.s.databasesOf(tx, entry.Record.Name)
			if listErr != nil {
				return listErr
			}
			databases[entry.Record.key()] = list
		}
		return err
	})
	if err != nil {
		m.s.Log.Error("monitor.failed", "error", err)
		return
	}
	for _, server := range servers {
		probes, at := map[string]verdict{}, m.s.Clock.Now() // a verdict is at least as old as the round
		for _, db := range databases[server.key()] {
			if db.Status == statusCreating || (db.Loss != nil && db.Loss.Final) {
				continue
			}
			v := m.judge(ctx, server, db, probes)
			if ctx.Err() != nil {
				return
			}
			if v.err == nil {
				m.worked(refOf(db.Server, db.Name), at)
			}
			if err := m.step(ctx, server, db, v, false); err != nil {
				m.s.Log.Error("monitor.failed", "server", server.Name, "database", db.Name, "error", err)
			}
		}
	}
}

// judge probes the keys that a database needs; probes holds what was found of
// its server's keys in this round, by thumbprint.
func (m *monitor) judge(ctx context.Context, server Server, db Database, probes map[string]verdict) verdict {
	needed, err := m.s.neededKeys(refOf(db.Server, db.Name))
	if err != nil {
		m.s.Log.Error("monitor.failed", "server", server.Name, "database", db.Name, "error", err)
	}
	var worst verdict
	for thumbprint, uri := range needed {
		v, known := probes[thumbprint]
		if !known {
			v = m.probe(ctx, server, thumbprint, uri)
			probes[thumbprint] = v
		}
		if v.err != nil && (worst.err == nil || worst.unreachable) {
			worst = v
		}
	}
	return worst
}

// neededKeys are the customer-managed keys that a database cannot do without,
// by thumbprint; the URI is empty where only a log file names the key.
func (s *Service) neededKeys(ref DBRef) (map[string]string, error) {
	needed := map[string]string{}
	dek := s.dekOf(ref)
	if dek == nil {
		return needed, nil
	}
	vlfs, err := s.instances.VLFs(ref)
	for _, vlf := range vlfs {
		if vlf.Active && vlf.Thumbprint != "" {
			needed[vlf.Thumbprint] = ""
		}
	}
	needed[dek.Thumbprint] = dek.KeyURI
	for thumbprint := range needed {
		service, err := s.isServiceThumbprint(thumbprint)
		if err != nil {
			return nil, err
		}
		if service {
			delete(needed, thumbprint)
		}
	}
	return needed, err
}

// isServiceThumbprint reports whether a thumbprint is of a server's built-in
// certificate, also of a server that was dropped.
func (s *Service) isServiceThumbprint(thumbprint string) (is bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		for _, table := range []store.Table[Server]{s.servers, s.retired} {
			entries, err := table.Scan(tx, "")
			if err != nil {
				return err
			}
			for _, entry := range entries {
				is = is || entry.Record.ServiceThumbprint == thumbprint
			}
		}
		return nil
	})
	return is, err
}

// probe wraps and unwraps a value with the server's keys of a thumbprint, until
// one works.
func (m *monitor) probe(ctx context.Context, server Server, thumbprint, uri string) verdict {
	keys, err := m.s.keysThatOpen(server, uri, thumbprint)
	if err == nil && len(keys) == 0 {
		err = serverKeyMissing(server, thumbprint)
	}
	if err == nil {
		err = m.s.probeAny(ctx, server, keys)
	}
	if err == nil {
		return verdict{}
	}
	refusal, refused := errors.AsType[*arm.Error](err)
	unreachable := !refused || refusal.Status >= http.StatusInternalServerError || refusal.Code == "AkvHostNotResolvingFromNode"
	return verdict{err: err, unreachable: unreachable, thumbprint: thumbprint}
}

// step takes a database on in its course, by what its keys are now.
func (m *monitor) step(ctx context.Context, server Server, db Database, v verdict, atOnce bool) error {
	ref := refOf(db.Server, db.Name)
	if v.err == nil {
		return m.heal(ctx, ref, db)
	}
	denied := false
	err := m.s.Store.Update(func(tx *store.Tx) error {
		now, found, err := m.s.databases.Get(tx, ref.String())
		if err != nil || !found || now.ID != db.ID || now.Status == statusCreating {
			return err
		}
		denied, err = m.s.lose(tx, now, v, m.since(ref, now), atOnce)
		return err
	})
	if err != nil || !denied {
		return err
	}
	m.s.Log.Warn("database.inaccessible", "server", server.Name, "database", db.Name, "thumbprint", v.thumbprint, "error", v.err)
	return m.s.instances.MakeInaccessible(ref, v.err)
}

func (m *monitor) worked(ref DBRef, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.good[ref] = at
}

// since is the last moment at which a database's keys worked: the last good
// probe, or the later moment at which somebody changed them. The clock may
// have moved far between two probes.
func (m *monitor) since(ref DBRef, db Database) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.good[ref]
	if m.changed.After(since) {
		since = m.changed
	}
	if db.CreatedAt.After(since) {
		since = db.CreatedAt
	}
	if _, probed := m.good[ref]; !probed && m.changed.IsZero() {
		since = m.s.Clock.Now() // the first probe since the lab started
	}
	return since
}

// heal brings a database back that has its keys again in time.
func (m *monitor) heal(ctx context.Context, ref DBRef, db Database) error {
	if db.Loss == nil && db.Status == statusOnline {
		if status, _ := m.s.instances.Status(ref); status != instance.Inaccessible {
			return nil
		}
	}
	if err := m.s.reopen(ctx, ref, db); err != nil {
		return err
	}
	return m.s.Store.Update(func(tx *store.Tx) error { return m.s.regain(tx, ref) })
}

// reopen opens a database that was Inaccessible.
func (s *Service) reopen(ctx context.Context, ref DBRef, db Database) error {
	if db.Status != statusInaccessible {
		return s.instances.MakeAccessible(ctx, ref)
	}
	event := Event{Operation: eventAccessible, Status: "Started", Server: db.Server, Database: db.Name}
	if err := s.Store.Update(func(tx *store.Tx) error { return s.record(tx, event) }); err != nil {
		return err
	}
	err := s.instances.MakeAccessible(ctx, ref)
	if err == nil {
		return nil
	}
	event.Status, event.Detail = "Failed", err.Error()
	return errors.Join(fmt.Errorf("make %s accessible: %w", ref, err), s.Store.Update(func(tx *store.Tx) error { return s.record(tx, event) }))
}

// failedOver probes at once the keys of databases that became primary: what
// the other server still had in memory is not there, so a lost key takes the
// database down now.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (m *monitor) failedOver(links []Link) {
	m.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, link := range links {
			if err := m.afterFailover(ctx, link.Secondary); err != nil {
				m.s.Log.Error("monitor.failed", "database", link.Secondary.String(), "error", err)
			}
		}
	})
}

func (m *monitor) afterFailover(ctx context.Context, ref DBRef) error {
	server, err := m.s.readServer(ref.Server)
	if err != nil {
		return err
	}
	var db Database
	err = m.s.Store.View(func(tx *store.Tx) (err error) {
		db, _, err = m.s.databases.Get(tx, ref.String())
		return err
	})
	dek := m.s.dekOf(ref)
	if err != nil || dek == nil || db.ID == "" {
		return err
	}
	v := m.judge(ctx, server, db, map[string]verdict{})
	if v.err == nil {
		return nil
	}
	return m.step(ctx, server, db, v, true)
}

// revive gives the effect of a revalidation: databases that open again are
// Online again, as databases of their own. Former geo-secondaries stay as
// they are: they can only be dropped.
func (s *Service) revive(ctx context.Context, server Server) (arm.Commit, error) {
	var databases []Database
	err := s.Store.View(func(tx *store.Tx) (err error) {
		databases, err = s.databasesOf(tx, server.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	var revived []DBRef
	for _, db := range databases {
		if db.Status != statusInaccessible || (db.Loss != nil && db.Loss.Unrecoverable) {
			continue
		}
		ref := refOf(server.Name, db.Name)
		if v := s.monitor.judge(ctx, server, db, map[string]verdict{}); v.err != nil {
			return nil, v.err
		}
		if err := s.reopen(ctx, ref, db); err != nil {
			return nil, err
		}
		revived = append(revived, ref)
	}
	return func(tx *store.Tx) error {
		for _, ref := range revived {
			if err := s.regain(tx, ref); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// requireLastBackups refuses to drop a server on which a database has lost
// its key: no last backup can be taken of it.
func (s *Service) requireLastBackups(tx *store.Tx, server Server) error {
	databases, err := s.databasesOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, db := range databases {
		if db.Status == statusInaccessible {
			return arm.Refuse(http.StatusBadRequest, "CannotDropDatabaseAKVError",
				"The database %s on server %s cannot be safely dropped because it is encrypted with a customer managed key that is no longer accessible to take the last backup before drop.", db.Name, server.Name)
		}
	}
	return nil
}
