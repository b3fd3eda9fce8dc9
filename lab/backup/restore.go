package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

const restoringSuffix = ".restoring"

// Restore makes a database with exactly what was committed by until, in
// target.Dir, and opens it as a primary of its own. target.Open unwraps as the
// target's server: each wrapping of the part of the chain that is read is
// opened through it first, and the error is a *MissingKeyError when one is
// refused. Nothing is left of a restore that failed.
// Source: https://learn.microsoft.com/azure/azure-sql/database/recovery-using-backups
func Restore(ctx context.Context, chain Chain, until time.Time, target engine.Options, databaseID string) (*engine.DB, error) {
	if until.Before(chain.Full.Time) || until.After(chain.Through()) {
		return nil, &RangeError{Wanted: until, Earliest: chain.Full.Time, Latest: chain.Through()}
	}
	return restore(ctx, chain, until, target, databaseID)
}

// RestoreLongTerm makes a database out of a long-term backup.
func RestoreLongTerm(ctx context.Context, b LongTerm, target engine.Options, databaseID string) (*engine.DB, error) {
	return restore(ctx, Chain{Full: b.Backup}, b.Time, target, databaseID)
}

func restore(ctx context.Context, chain Chain, until time.Time, target engine.Options, databaseID string) (*engine.DB, error) {
	chain.Logs = needed(chain.Logs, until)
	if err := openAll(ctx, chain.Keys(), target.Open); err != nil {
		return nil, err
	}
	if _, err := os.Stat(target.Dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("restore into %s: %w", target.Dir, fs.ErrExist), err)
	}
	making := target
	making.Dir += restoringSuffix
	if err := os.RemoveAll(making.Dir); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := build(ctx, chain, until, making, databaseID); err != nil {
		return nil, errors.Join(missingKey(err), os.RemoveAll(making.Dir))
	}
	if err := os.Rename(making.Dir, target.Dir); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := syncFolder(filepath.Dir(target.Dir), target.NoSync); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return engine.Open(ctx, target)
}

// needed are the log backups up to the first that covers a moment: all that was
// acknowledged by then is in them.
func needed(logs []Backup, until time.Time) []Backup {
	for i, b := range logs {
		if !b.Time.Before(until) {
			return logs[:i+1]
		}
	}
	return logs
}

// openAll opens every wrapping once, as the service does before it restores.
func openAll(ctx context.Context, keys []engine.WrappedDEK, open engine.Opener) error {
	for _, w := range keys {
		err := error(&engine.KeyError{Thumbprint: w.Thumbprint, Err: errors.New("target has no opener")})
		if open != nil {
			var key []byte
			key, err = open(ctx, w)
			clear(key)
		}
		if err != nil {
			return &MissingKeyError{KeyURI: w.KeyURI, ServiceOf: w.ServiceOf, Thumbprint: w.Thumbprint, Err: err}
		}
	}
	return nil
}

// missingKey turns the refusal of a key that only a log record holds into the
// same error as that of a backup's own.
func missingKey(err error) error {
	var missing *MissingKeyError
	if key := (*engine.KeyError)(nil); errors.As(err, &key) && !errors.As(err, &missing) {
		return &MissingKeyError{Thumbprint: key.Thumbprint, Err: err}
	}
	return err
}

// build makes the database in the given folder, and closes it.
func build(ctx context.Context, chain Chain, until time.Time, target engine.Options, databaseID string) error {
	db, err := loadFull(ctx, chain.Full, target, databaseID)
	if err != nil {
		return err
	}
	for _, b := range chain.Logs {
		var more bool
		if more, err = applyLog(ctx, db, b, until); err != nil || !more {
			break
		}
	}
	if err == nil {
		err = db.SetRole(ctx, engine.Primary, db.Boot().Epoch+1)
	}
	return errors.Join(err, db.Close())
}

func loadFull(ctx context.Context, b Backup, target engine.Options, databaseID string) (*engine.DB, error) {
	r, file, err := openFile(b.File)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	db, err := engine.CreateFrom(ctx, target, databaseID, pages{r}, nil)
	if err == nil {
		// Only the end of the file proves that it is complete.
		if _, end := r.next(partPage); !errors.Is(end, io.EOF) {
			err = errors.Join(end, ErrDamaged)
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		err = fmt.Errorf("restore full backup %s: %w", b.File, err)
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, err
	}
	return db, nil
}

// applyLog applies the records committed by until; more is false once a later
// one was met. The file is read to its end in any case: a damaged backup is not
// restored from, not even in part.
func applyLog(ctx context.Context, db *engine.DB, b Backup, until time.Time) (more bool, err error) {
	r, file, err := openFile(b.File)
	if err != nil {
		return false, fmt.Errorf("restore: %w", err)
	}
	more = true
	for err == nil {
		var record engine.Record
		if record, err = r.record(); err != nil {
			break
		}
		if more = more && !record.Time.After(until); more {
			err = db.Apply(ctx, record)
		}
	}
	if errors.Is(err, io.EOF) {
		return more, file.Close()
	}
	return false, errors.Join(fmt.Errorf("restore log backup %s: %w", b.File, err), file.Close())
}
