package lab

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Monitor lists the intervals in which a rule of the safety model did not
// hold, oldest first, with what opened each. What was called before is judged
// when it returns.
func (l *Lab) Monitor() ([]monitor.Interval, error) {
	l.settleMonitor()
	return l.monitor.Intervals()
}

// newMonitor makes the monitor, with the intervals of an earlier lab.
func (l *Lab) newMonitor() error {
	table := store.NewTable[[]monitor.Interval]("lab/monitor")
	const all = "intervals"
	o := monitor.Options{
		Clock: l.clock, Snapshot: l.snapshot, Turns: l.turns, Log: l.log,
		Keep: func(intervals []monitor.Interval) error {
			return l.store.Update(func(tx *store.Tx) error { return table.Put(tx, all, intervals) })
		},
	}
	err := l.store.View(func(tx *store.Tx) (err error) {
		o.Kept, _, err = table.Get(tx, all)
		return err
	})
	if err != nil {
		return err
	}
	l.monitor = monitor.New(o)
	if !l.options.unwatched {
		l.store.Watch(l.committed)
	}
	return nil
}

// watchedTables begin the names of the tables on which the truth rests.
var watchedTables = []string{"sql/servers", "sql/keys", "sql/databases", "sql/links", "keyvault/vaults", "keyvault/keys", "authorization/", "identity/", "entra/principals"}

// committed notes what a transaction has changed.
func (l *Lab) committed(c store.Committed) {
	for table := range c.Tables {
		for _, watched := range watchedTables {
			if strings.HasPrefix(table, watched) {
				l.monitor.Note(causeOf(c.Cause))
				return
			}
		}
	}
}

// causeOf gives the call behind a transaction; nil when it is not known.
func causeOf(cause any) *monitor.Cause {
	origin, ok := cause.(*arm.Origin)
	if !ok || origin == nil {
		return nil
	}
	return &monitor.Cause{Time: origin.Time, Method: origin.Method, Path: origin.Path, Principal: origin.Principal}
}

// operationCause gives the call behind an operation, or the operation alone.
func operationCause(op arm.Operation) *monitor.Cause {
	by := causeOf(op.Origin)
	if by == nil {
		by = &monitor.Cause{Time: op.StartedAt, Path: op.Resource, Event: "an operation of the service"}
	}
	by.Operation = op.Kind
	return by
}

// operationBegun and operationEnded tell the monitor of operations. What an
// operation has done is judged before its waiters hear of its end.
func (l *Lab) operationBegun(op arm.Operation) {
	if server, changes := sqlserver.ChangesProtector(op.Kind, op.Holds); changes {
		l.monitor.Change(op.ID, server, operationCause(op))
	}
}

func (l *Lab) operationEnded(op arm.Operation) {
	l.monitor.Changed(op.ID)
	l.monitor.Note(operationCause(op))
	l.settleMonitor()
}

// settlePatience bounds, in the machine's time, how long an answer waits for
// the monitor.
const settlePatience = 2 * time.Second

func (l *Lab) settleMonitor() { l.monitor.Settle(settlePatience) }

// noteFault tells the monitor that the faults in force have changed.
func (l *Lab) noteFault(what string) {
	l.monitor.Note(&monitor.Cause{Time: l.clock.Now(), Event: what})
	l.settleMonitor()
}

// attributed names calls that may change something as what their effects come
// from, and has the effects judged before the answer is out.
func (l *Lab) attributed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !changes(r) {
			next.ServeHTTP(w, r)
			return
		}
		end := l.monitor.Begin(monitor.Cause{Time: l.clock.Now(), Method: r.Method, Path: pathOf(r), Principal: l.principalOf(r)})
		held := &heldAnswer{ResponseWriter: w, before: func() {
			end()
			l.settleMonitor()
		}}
		defer held.release()
		next.ServeHTTP(held, r)
	})
}

// heldAnswer does something before the first byte of the answer is out.
type heldAnswer struct {
	http.ResponseWriter
	before func()
}

func (h *heldAnswer) release() {
	if h.before != nil {
		h.before()
		h.before = nil
	}
}

// WriteHeader sends the status.
func (h *heldAnswer) WriteHeader(status int) {
	h.release()
	h.ResponseWriter.WriteHeader(status)
}

// Write sends of the body.
func (h *heldAnswer) Write(body []byte) (int, error) {
	h.release()
	return h.ResponseWriter.Write(body)
}

// pathOf names what is called; of a vault with its host.
func pathOf(r *http.Request) string {
	if strings.HasPrefix(strings.ToLower(r.URL.Path), "/subscriptions") {
		return r.URL.Path
	}
	return "https://" + r.Host + r.URL.Path
}

// changes leaves out reading and the use of keys.
func changes(r *http.Request) bool {
	return changesKeys(r) || r.Method != http.MethodGet && r.Method != http.MethodHead && strings.HasPrefix(strings.ToLower(r.URL.Path), "/subscriptions/")
}

// snapshot reads the lab's true state, with what the servers' identities could
// use at a moment.
func (l *Lab) snapshot(at time.Time) (monitor.Snapshot, error) {
	var s monitor.Snapshot
	err := l.store.View(func(tx *store.Tx) error {
		truth, err := l.sql.Truth(tx)
		if err != nil {
			return err
		}
		usable := l.usability(tx, at)
		for _, server := range truth.Servers {
			watched := monitor.Server{Name: server.Name, Protector: server.Protector.URI, Auto: server.Protector.AutoRotation, Partners: server.Partners}
			for _, key := range server.Keys {
				can, err := usable(server.Principal, key.URI)
				if err != nil {
					return err
				}
				watched.Keys = append(watched.Keys, monitor.Key{URI: key.URI, Thumbprint: key.Thumbprint, Usable: can})
			}
			s.Servers = append(s.Servers, watched)
		}
		for _, database := range truth.Databases {
			s.Databases = append(s.Databases, watchedDatabase(database))
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("read the lab's true state: %w", err)
	}
	return s, nil
}

func watchedDatabase(database sqlserver.TruthOfDatabase) monitor.Database {
	watched := monitor.Database{Name: database.Name, Old: database.Old}
	for _, each := range database.Copies {
		held := monitor.Copy{Server: each.Ref.Server}
		if each.DEK != nil && each.DEK.KeyURI != "" {
			held.URI, held.Thumbprint = each.DEK.KeyURI, each.DEK.Thumbprint
		}
		watched.Copies = append(watched.Copies, held)
	}
	return watched
}
