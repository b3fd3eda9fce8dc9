package sqlserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/backup"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// The sub-resources that hold a database's retention policies.
const (
	shortTermRetention = "backupShortTermRetentionPolicies"
	longTermRetention  = "backupLongTermRetentionPolicies"
)

// backupPace is the time, on the lab's clock, between two looks at what the
// schedule of backups asks for.
const backupPace = time.Minute

// Dropped is a database that was dropped and whose backups are kept: for
// point-in-time restore while its retention lasts, for long-term backups until
// the last has expired.
type Dropped struct {
	Database      Database  `json:"database"`
	Location      string    `json:"location"` // of its server
	ResourceGroup string    `json:"resourceGroup"`
	Subscription  string    `json:"subscription"`
	ServerCreated time.Time `json:"serverCreated"`
	DeletedAt     time.Time `json:"deletedAt"`
	// PointInTime is false when only its long-term backups are left.
	PointInTime bool `json:"pointInTime"`
	// ServerGone ends the point-in-time retention: the server was dropped too.
	ServerGone bool `json:"serverGone,omitempty"`
}

// archive takes the automated backups of all primaries, on the lab's clock.
type archive struct {
	s    *Service
	wake chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex
	stores map[string]*backup.Store // by the database's id
}

func newArchive(s *Service) *archive {
	return &archive{s: s, wake: make(chan struct{}, 1), stores: map[string]*backup.Store{}}
}

func (a *archive) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *archive) folder(db Database) string {
	return filepath.Join(a.s.BackupDir, strings.ToLower(db.Server), db.ID)
}

// store opens a database's backups, with the policies that it has now.
func (a *archive) store(db Database) (*backup.Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.stores[db.ID]
	if kept == nil {
		var err error
		kept, err = backup.Open(backup.Options{Dir: a.folder(db), Now: a.s.Clock.Now, Log: a.s.Log.With("server", db.Server, "database", db.Name), NoSync: a.s.NoSync})
		if err != nil {
			return nil, fmt.Errorf("backups of %s on %s: %w", db.Name, db.Server, err)
		}
		a.stores[db.ID] = kept
	}
	days, policy, err := retentionOf(db)
	if err != nil {
		return nil, err
	}
	return kept, errors.Join(kept.SetRetention(days), kept.SetLongTerm(policy))
}

// opened is a database's backups where they have been opened; nil else.
func (a *archive) opened(id string) *backup.Store {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stores[id]
}

// remove deletes all backups of a database.
func (a *archive) remove(db Database) error {
	a.mu.Lock()
	delete(a.stores, db.ID)
	a.mu.Unlock()
	if err := os.RemoveAll(a.folder(db)); err != nil {
		return fmt.Errorf("remove backups of %s: %w", db.Name, err)
	}
	return nil
}

// run takes backups until ctx ends.
func (a *archive) run(ctx context.Context) {
	a.work.Go(func() {
		for ctx.Err() == nil {
			next := a.s.Clock.Now().Add(backupPace)
			a.round(ctx)
			waitFor(ctx, a.s.Clock, next, a.wake)
		}
	})
}

func (a *archive) round(ctx context.Context) {
	var databases []Database
	var dropped []Dropped
	err := a.s.Store.View(func(tx *store.Tx) error {
		entries, err := a.s.databases.Scan(tx, "")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			databases = append(databases, entry.Record)
		}
		gone, err := a.s.dropped.Scan(tx, "")
		for _, entry := range gone {
			dropped = append(dropped, entry.Record)
		}
		return err
	})
	if err != nil {
		a.s.Log.Error("backup.failed", "error", err)
		return
	}
	for _, db := range databases {
		if err := a.take(ctx, db); err != nil && ctx.Err() == nil {
			a.s.Log.Error("backup.failed", "server", db.Server, "database", db.Name, "error", err)
		}
	}
	for _, each := range dropped {
		if err := a.expire(each); err != nil {
			a.s.Log.Error("backup.failed", "server", each.Database.Server, "database", each.Database.Name, "error", err)
		}
	}
}

// take takes what is due of one database. A secondary has no backups, and its
// log is not kept for any.
func (a *archive) take(ctx context.Context, db Database) error {
	if db.Status != statusOnline {
		return nil
	}
	open, err := a.s.instances.Open(refOf(db.Server, db.Name))
	if err != nil {
		if _, closed := errors.AsType[*instance.UnavailableError](err); closed {
			return nil
		}
		return err
	}
	kept, err := a.store(db)
	if err != nil {
		return err
	}
	err = kept.Due(ctx, open)
	if errors.Is(err, backup.ErrSecondary) {
		return kept.Leave(open)
	}
	return err
}

// last takes the last backup of a database that is dropped.
func (a *archive) last(ctx context.Context, db Database) error {
	ref := refOf(db.Server, db.Name)
	open, err := a.s.instances.Open(ref)
	if err != nil {
		return nil //nolint:nilerr // an Inaccessible database is dropped without
	}
	replica := false
	err = a.s.Store.View(func(tx *store.Tx) (err error) {
		replica, err = a.s.isReplica(tx, ref)
		return err
	})
	if err != nil || replica {
		return err
	}
	kept, err := a.store(db)
	if err != nil {
		return err
	}
	if _, err = kept.Log(ctx, open); errors.Is(err, backup.ErrSecondary) {
		return nil
	}
	return err
}

// expire forgets what the retention of a dropped database no longer keeps.
func (a *archive) expire(each Dropped) error {
	kept, err := a.store(each.Database)
	if err != nil {
		return err
	}
	days, _, err := retentionOf(each.Database)
	if err != nil {
		return err
	}
	over := each.ServerGone || !a.s.Clock.Now().Before(each.DeletedAt.AddDate(0, 0, days))
	if err := kept.Prune(); err != nil || (!over && each.PointInTime) {
		return err
	}
	if each.PointInTime {
		if err := kept.Forget(); err != nil {
			return err
		}
	}
	gone := len(kept.LongTerm()) == 0
	if gone {
		err = a.remove(each.Database)
	}
	if err != nil || (!gone && !each.PointInTime) {
		return err
	}
	return a.s.Store.Update(func(tx *store.Tx) error {
		if gone {
			return a.s.dropped.Delete(tx, each.Database.ID)
		}
		each.PointInTime = false
		return a.s.dropped.Put(tx, each.Database.ID, each)
	})
}

// retentionOf reads the retention policies that a database was given.
func retentionOf(db Database) (days int, policy backup.LongTermPolicy, err error) {
	short := struct{ RetentionDays int }{RetentionDays: 7}
	if raw := db.Settings[shortTermRetention]; raw != nil {
		if err := json.Unmarshal(raw, &short); err != nil {
			return 0, policy, fmt.Errorf("retention policy of %s: %w", db.Name, err)
		}
	}
	var long struct {
		WeeklyRetention, MonthlyRetention, YearlyRetention string
		WeekOfYear                                         int
	}
	if raw := db.Settings[longTermRetention]; raw != nil {
		if err := json.Unmarshal(raw, &long); err != nil {
			return 0, policy, fmt.Errorf("long-term retention policy of %s: %w", db.Name, err)
		}
	}
	policy.WeekOfYear = long.WeekOfYear
	var failures [3]error
	policy.Weekly, failures[0] = backup.ParsePeriod(long.WeeklyRetention)
	policy.Monthly, failures[1] = backup.ParsePeriod(long.MonthlyRetention)
	policy.Yearly, failures[2] = backup.ParsePeriod(long.YearlyRetention)
	return short.RetentionDays, policy, errors.Join(errors.Join(failures[:]...), policy.Check())
}

// checkRetention refuses policies that Azure would not take.
func checkRetention(segment string, properties json.RawMessage) error {
	if segment != shortTermRetention && segment != longTermRetention {
		return nil
	}
	days, _, err := retentionOf(Database{Settings: map[string]json.RawMessage{segment: properties}})
	switch {
	case err != nil:
		return arm.Refuse(http.StatusBadRequest, "LongTermRetentionPolicyInvalid", "The long-term retention policy is invalid: %v.", err)
	case days < 1 || days > 35:
		return arm.Refuse(http.StatusBadRequest, "InvalidBackupRetentionPeriod", "The retention days of '%d' is not a valid value: it must be between 1 and 35.", days)
	}
	return nil
}

// keepDropped records a database that is dropped, for the sake of its
// backups. A database that had none leaves nothing.
func (s *Service) keepDropped(tx *store.Tx, server Server, db Database, pointInTime bool) error {
	kept := s.archive.opened(db.ID)
	if kept == nil {
		return nil
	}
	_, _, restorable := kept.Range()
	if restorable = restorable && pointInTime; !restorable && len(kept.LongTerm()) == 0 {
		tx.OnCommit(func() {
			if err := s.archive.remove(db); err != nil {
				s.Log.Error("backup.failed", "server", db.Server, "database", db.Name, "error", err)
			}
		})
		return nil
	}
	return s.dropped.Put(tx, db.ID, Dropped{
		Database: db, Location: server.Location, ResourceGroup: server.ResourceGroup, Subscription: server.Subscription,
		ServerCreated: server.CreatedAt, DeletedAt: s.Clock.Now(), PointInTime: restorable,
	})
}

// forgetBackups ends the point-in-time history of a database that lost its
// key for good.
func (s *Service) forgetBackups(tx *store.Tx, ref DBRef, id string) {
	tx.OnCommit(func() {
		kept := s.archive.opened(id)
		if kept == nil {
			return
		}
		if err := kept.Forget(); err != nil {
			s.Log.Error("backup.failed", "server", ref.Server, "database", ref.Database, "error", err)
		}
	})
}

// endDropped ends the point-in-time history of the databases that were
// dropped before their server: it goes with the server.
// Source: https://learn.microsoft.com/azure/azure-sql/database/recovery-using-backups
func (s *Service) endDropped(tx *store.Tx, server Server) error {
	entries, err := s.dropped.Scan(tx, "")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		each := entry.Record
		if !strings.EqualFold(each.Database.Server, server.Name) || !each.PointInTime {
			continue
		}
		each.ServerGone = true
		if err := s.dropped.Put(tx, entry.Key, each); err != nil {
			return err
		}
	}
	tx.OnCommit(s.archive.nudge)
	return nil
}
