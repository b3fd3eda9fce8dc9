package sqlserver

import (
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// The course of a lost key, on the lab's clock. Azure's page names three
// times at once: "up to 10 minutes" until connections are refused, 30 minutes
// after which the database does not come back by itself, and 24 hours in
// which a vault that is merely out of reach does no harm.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#inaccessible-tde-protector
const (
	// denyAfter is from the last proof that the key could be used until
	// connections are refused. With the probes' pace it is less than ten
	// minutes from the loss.
	denyAfter = 8 * time.Minute
	// finalAfter is from the same moment until the database heals no more by
	// itself.
	finalAfter = 30 * time.Minute
	// unreachableBuffer is added to both while the vault does not answer, or
	// answers that the fault is its own.
	unreachableBuffer = 24 * time.Hour
)

// Loss is what a database has suffered since a key that it needs was lost.
type Loss struct {
	// Since is the last moment at which all of its keys were known to work, or
	// when they were taken away where that is known better.
	Since time.Time `json:"since"`
	// Unreachable says that the vault did not answer, instead of refusing.
	Unreachable bool `json:"unreachable,omitempty"`
	// Final says that the database heals no more by itself.
	Final bool `json:"final,omitempty"`
	// Unrecoverable says that it was a geo-secondary, which has no backups to
	// recover from: it can only be dropped.
	Unrecoverable bool   `json:"unrecoverable,omitempty"`
	Thumbprint    string `json:"thumbprint,omitempty"` // of the lost key
	Reason        string `json:"reason"`
}

func (l Loss) deniedAt() time.Time {
	return l.Since.Add(denyAfter + l.buffer())
}

func (l Loss) finalAt() time.Time {
	return l.Since.Add(finalAfter + l.buffer())
}

func (l Loss) buffer() time.Duration {
	if l.Unreachable {
		return unreachableBuffer
	}
	return 0
}

// verdict is what the probes say of a database's keys.
type verdict struct {
	err         error // nil: all work
	unreachable bool
	thumbprint  string
}

// lose takes a step in the course of a database whose key fails now. since is
// the last moment at which it worked; atOnce skips the time until connections
// are refused. It reports whether the database was closed to connections.
func (s *Service) lose(tx *store.Tx, db Database, v verdict, since time.Time, atOnce bool) (denied bool, err error) {
	now := s.Clock.Now()
	switch {
	case db.Loss == nil:
		db.Loss = &Loss{Since: since, Unreachable: v.unreachable}
	case db.Loss.Unreachable != v.unreachable && db.Status == statusOnline:
		// The vault answers again, and refuses; or it refused, and is silent
		// now: another course begins.
		db.Loss = &Loss{Since: now, Unreachable: v.unreachable}
	}
	loss := *db.Loss
	loss.Thumbprint, loss.Reason = v.thumbprint, v.err.Error()
	if db.Status == statusOnline && (atOnce || !now.Before(loss.deniedAt())) {
		db.Status, denied = statusInaccessible, true
		if err := s.record(tx, Event{Operation: eventInaccessible, Status: "Started", Server: db.Server, Database: db.Name, Detail: loss.Reason}); err != nil {
			return false, err
		}
	}
	if db.Status == statusInaccessible && !loss.Final && !now.Before(loss.finalAt()) {
		loss.Final = true
		if err := s.strip(tx, &db, &loss); err != nil {
			return false, err
		}
		if err := s.record(tx, Event{Operation: eventInaccessible, Status: "Succeeded", Server: db.Server, Database: db.Name, Detail: loss.Reason}); err != nil {
			return false, err
		}
	}
	db.Loss = &loss
	return denied, s.databases.Put(tx, refOf(db.Server, db.Name).String(), db)
}

// strip takes away what a database loses with its key: replication, its place
// in a failover group, tags, and the retention settings of its backups, whose
// history ends.
func (s *Service) strip(tx *store.Tx, db *Database, loss *Loss) error {
	ref := refOf(db.Server, db.Name)
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return err
	}
	// Its primary may have lost the same key a moment before.
	loss.Unrecoverable = db.OrphanedAt.After(loss.Since)
	for _, link := range links {
		if link.Secondary == ref {
			loss.Unrecoverable = true
		}
		if err := s.breakLink(tx, link); err != nil {
			return err
		}
	}
	if err := s.leaveGroup(tx, ref, links); err != nil {
		return err
	}
	db.Tags, db.Secondary = nil, ""
	for _, name := range []string{"elasticPoolId", "readScale", "autoPauseDelay"} {
		delete(db.Given, name)
	}
	delete(db.Settings, longTermRetention)
	s.forgetBackups(tx, ref, db.ID)
	return nil
}

// breakLink ends the relation of a database that lost its key. Its other end
// is a database of its own from then on.
func (s *Service) breakLink(tx *store.Tx, link Link) error {
	other := link.Secondary
	if err := s.endLink(tx, link); err != nil {
		return err
	}
	if db, found, err := s.databases.Get(tx, other.String()); err != nil {
		return err
	} else if found {
		db.OrphanedAt = s.Clock.Now()
		if err := s.databases.Put(tx, other.String(), db); err != nil {
			return err
		}
	}
	group, found, err := s.groups.Get(tx, strings.ToLower(link.Group))
	if err != nil || !found || !slices.Contains(group.Databases, other.Database) {
		return err
	}
	group.Databases = slices.DeleteFunc(slices.Clone(group.Databases), func(name string) bool { return name == other.Database })
	return s.groups.Put(tx, strings.ToLower(group.Name), group)
}

// regain ends the course: the database has its keys again.
func (s *Service) regain(tx *store.Tx, ref DBRef) error {
	db, found, err := s.databases.Get(tx, ref.String())
	if err != nil || !found {
		return err
	}
	was := db.Status
	db.Status, db.Loss = statusOnline, nil
	if err := s.databases.Put(tx, ref.String(), db); err != nil || was != statusInaccessible {
		return err
	}
	if err := s.record(tx, Event{Operation: eventAccessible, Status: "Succeeded", Server: db.Server, Database: db.Name}); err != nil {
		return err
	}
	// What a protector change could not reach meanwhile is made up for.
	return s.rewrapAndFollow(tx, ref)
}
