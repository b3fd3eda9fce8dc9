package sqlserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/backup"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/store"
)

// restorePayload says what a database is restored from, or copied of.
type restorePayload struct {
	From     Database  // whose backups; it may have been dropped
	Until    time.Time // point in time
	LongTerm time.Time // when the long-term backup was taken; zero: point in time
	Copy     bool      // not from backups: a copy of From as it is
	Dropped  bool      // From was dropped: its last backup holds all of it
}

// The modes of creating a database that read backups.
// Source: https://learn.microsoft.com/rest/api/sql/databases/create-or-update#createmode
const (
	modePointInTime = "pointintimerestore"
	modeRestore     = "restore"
	modeLongTerm    = "restorelongtermretentionbackup"
	modeCopy        = "copy"
)

// wantRestore reads what a new database shall be restored from; nil when it
// shall not.
func (s *Service) wantRestore(body databaseRequest) (*restorePayload, error) {
	switch strings.ToLower(body.text("createMode")) {
	case modePointInTime:
		return s.wantPointInTime(body)
	case modeRestore:
		return s.wantDropped(body)
	case modeLongTerm:
		return s.wantLongTerm(body)
	case modeCopy:
		ref, err := s.sourceOf(body.text("sourceDatabaseId"))
		if err != nil {
			return nil, err
		}
		db, err := s.liveSource(ref)
		return &restorePayload{From: db, Copy: true}, err
	}
	return nil, nil
}

func (s *Service) wantPointInTime(body databaseRequest) (*restorePayload, error) {
	ref, err := s.sourceOf(body.text("sourceDatabaseId"))
	if err != nil {
		return nil, err
	}
	db, err := s.liveSource(ref)
	if err != nil {
		return nil, err
	}
	if body.text("restorePointInTime") == "" {
		return nil, arm.Refuse(http.StatusBadRequest, "BadRequest", "The point in time was not specified for restoring live database '%s'.", db.Name)
	}
	until, err := s.pointInTime(body.text("restorePointInTime"))
	return &restorePayload{From: db, Until: until}, err
}

func (s *Service) liveSource(ref DBRef) (db Database, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if db, found, err = s.databases.Get(tx, ref.String()); err == nil && !found {
			err = arm.Refuse(http.StatusNotFound, "SourceDatabaseNotFound", "The source database '%s' on server '%s' was not found.", ref.Database, ref.Server)
		}
		return err
	})
	return db, err
}

func (s *Service) pointInTime(text string) (time.Time, error) {
	until, err := time.Parse(time.RFC3339, text)
	if err != nil || until.After(s.Clock.Now()) {
		return time.Time{}, arm.Refuse(http.StatusBadRequest, "InvalidRestorePointInTime", "The restore point in time '%s' is not a moment of the past in ISO 8601 form.", text)
	}
	return until, nil
}

// wantDropped reads a restore of a dropped database: named by its restorable
// id, or by its former id and the time of its deletion.
func (s *Service) wantDropped(body databaseRequest) (*restorePayload, error) {
	id := firstText(body.text("restorableDroppedDatabaseId"), body.text("sourceDatabaseId"))
	segments := strings.FieldsFunc(id, func(c rune) bool { return c == '/' })
	if len(segments) != 10 {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidSourceDatabaseId", "The source database id '%s' is not a valid resource id.", id)
	}
	server, name := segments[7], segments[9]
	var deleted time.Time
	if strings.EqualFold(segments[8], "restorableDroppedDatabases") {
		var stamp string
		name, stamp, _ = strings.Cut(name, ",")
		deleted = fromFileTime(stamp)
	} else if deleted, _ = time.Parse(time.RFC3339, body.text("sourceDatabaseDeletionDate")); deleted.IsZero() {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidSourceDatabaseDeletionDate", "The source database's deletion date must be given to restore a dropped database by its former id.")
	}
	dropped, err := s.findDropped(server, name, deleted)
	if err != nil {
		return nil, err
	}
	until := dropped.DeletedAt
	if text := body.text("restorePointInTime"); text != "" {
		if until, err = s.pointInTime(text); err != nil {
			return nil, err
		}
	}
	return &restorePayload{From: dropped.Database, Until: until, Dropped: true}, nil
}

func (s *Service) findDropped(server, name string, deleted time.Time) (found Dropped, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		entries, err := s.dropped.Scan(tx, "")
		for _, entry := range entries {
			each := entry.Record
			if each.PointInTime && strings.EqualFold(each.Database.Server, server) && strings.EqualFold(each.Database.Name, name) && each.DeletedAt.Truncate(time.Second).Equal(deleted.Truncate(time.Second)) {
				found = each
			}
		}
		if err == nil && found.Database.ID == "" {
			err = arm.Refuse(http.StatusNotFound, "SourceDatabaseNotFound", "The dropped database '%s' on server '%s' was not found.", name, server)
		}
		return err
	})
	return found, err
}

func (s *Service) wantLongTerm(body databaseRequest) (*restorePayload, error) {
	id := body.text("longTermRetentionBackupResourceId")
	if text, err := url.PathUnescape(id); err == nil {
		id = text
	}
	name := id[strings.LastIndex(id, "/")+1:]
	for _, each := range s.longTermBackups() {
		if strings.EqualFold(each.name(), name) {
			return &restorePayload{From: each.database, LongTerm: each.Time}, nil
		}
	}
	return nil, arm.Refuse(http.StatusNotFound, "LongTermRetentionBackupNotFound", "The long term retention backup '%s' was not found.", id)
}

// executeRestore makes a database out of backups, or as a copy. It needs
// every key of the chain on the target server.
func (s *Service) executeRestore(ctx context.Context, wanted databasePayload) (arm.Commit, error) {
	server, err := s.readServer(wanted.Database.Server)
	if err != nil {
		return nil, err
	}
	if err := s.requireFree(wanted.Database); err != nil {
		return nil, err
	}
	if wanted.Restore.Copy {
		err = s.copyDatabase(ctx, server, wanted)
	} else {
		err = s.restoreFiles(ctx, wanted)
	}
	if err != nil {
		return nil, s.restoreRefusal(err, server, wanted)
	}
	return func(tx *store.Tx) error { return s.putNewDatabase(tx, wanted.Database) }, nil
}

func (s *Service) copyDatabase(ctx context.Context, server Server, wanted databasePayload) error {
	source := refOf(wanted.Restore.From.Server, wanted.Restore.From.Name)
	if err := errors.Join(s.requireOnline(source), s.instances.AwaitOpen(ctx, source)); err != nil {
		return err
	}
	if dek := s.dekOf(source); dek != nil {
		if err := s.requireOpensOn(ctx, server, *dek); err != nil {
			return err
		}
	}
	return s.instances.Copy(ctx, source, refOf(wanted.Database.Server, wanted.Database.Name), wanted.Database.ID)
}

func (s *Service) restoreFiles(ctx context.Context, wanted databasePayload) error {
	kept, err := s.archive.store(wanted.Restore.From)
	if err != nil {
		return err
	}
	ref, id := refOf(wanted.Database.Server, wanted.Database.Name), wanted.Database.ID
	if at := wanted.Restore.LongTerm; !at.IsZero() {
		for _, each := range kept.LongTerm() {
			if each.Time.Equal(at) {
				return s.instances.Restore(ctx, ref, id, func(o engine.Options) (*engine.DB, error) { return backup.RestoreLongTerm(ctx, each, o, id) })
			}
		}
		return &backup.RangeError{Wanted: at}
	}
	if err := s.backUpThrough(ctx, kept, wanted.Restore); err != nil {
		return err
	}
	until := wanted.Restore.Until
	if _, latest, restorable := kept.Range(); restorable && wanted.Restore.Dropped && latest.Before(until) {
		until = latest
	}
	chain, err := kept.ChainAt(until)
	if err != nil {
		return err
	}
	return s.instances.Restore(ctx, ref, id, func(o engine.Options) (*engine.DB, error) {
		return backup.Restore(ctx, chain, until, o, id)
	})
}

// backUpThrough takes a log backup of a database that lives when the wanted
// moment is later than the last one.
func (s *Service) backUpThrough(ctx context.Context, kept *backup.Store, wanted *restorePayload) error {
	if _, latest, restorable := kept.Range(); restorable && !latest.Before(wanted.Until) {
		return nil
	}
	db, err := s.liveSource(refOf(wanted.From.Server, wanted.From.Name))
	if err != nil || db.ID != wanted.From.ID {
		return nil //nolint:nilerr // it was dropped: its chain ends there
	}
	open, err := s.instances.Open(refOf(db.Server, db.Name))
	if err != nil {
		return nil //nolint:nilerr // it is Inaccessible: its chain ends there
	}
	_, err = kept.Log(ctx, open)
	return err
}

// restoreRefusal says in Azure's words why a restore failed.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#database-backup-and-restore-with-customer-managed-tde
func (s *Service) restoreRefusal(err error, server Server, wanted databasePayload) error {
	if missing, ok := errors.AsType[*backup.MissingKeyError](err); ok {
		s.Log.Info("restore.key_missing", "server", server.Name, "database", wanted.Database.Name, "key", missing.KeyURI, "thumbprint", missing.Thumbprint, "error", missing.Err)
		return arm.Refuse(http.StatusBadRequest, "MissingKeyVaultUriForRestore",
			"Azure Key Vault key URI '%s' is required to successfully restore the database '%s' under server '%s'.", firstText(missing.KeyURI, missing.Thumbprint), wanted.Restore.From.Name, server.Name)
	}
	if outside, ok := errors.AsType[*backup.RangeError](err); ok {
		return arm.Refuse(http.StatusBadRequest, "InvalidRestorePointInTime", "The restore point in time of database '%s' is not valid: %v.", wanted.Restore.From.Name, outside)
	}
	return err
}

// fileTimeEpoch is from 1601 to 1970, in units of 100 nanoseconds: Azure
// SQL's ids count from there.
const fileTimeEpoch = 116444736000000000

func fileTime(t time.Time) string { return strconv.FormatInt(t.UnixNano()/100+fileTimeEpoch, 10) }

func fromFileTime(text string) time.Time {
	ticks, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, (ticks-fileTimeEpoch)*100).UTC()
}
