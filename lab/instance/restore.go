package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Restore makes a database by a function that is given its engine options:
// from a backup, or from a copy of another database. The function leaves
// nothing behind when it fails; its error comes back wrapped. A database that
// is there with the same id stays as it is.
func (i *Instances) Restore(ctx context.Context, ref Ref, id string, restore func(engine.Options) (*engine.DB, error)) error {
	i.Prepare(ref, id)
	d := i.find(ref)
	if d == nil || d.id != id {
		return &UnavailableError{Ref: ref, Status: Missing}
	}
	d.wrapping.Lock() // one at a time makes it
	defer d.wrapping.Unlock()
	if _, err := engine.ReadBoot(d.dir); err == nil {
		return i.open(ctx, d)
	}
	d.mu.Lock()
	d.set(Restoring, nil)
	d.mu.Unlock()
	if err := errors.Join(os.RemoveAll(d.dir), os.MkdirAll(filepath.Dir(d.dir), 0o700)); err != nil {
		return fmt.Errorf("restore database %s: %w", d.ref, err)
	}
	db, err := restore(i.engineOptions(d))
	if err != nil {
		i.mu.Lock()
		if i.databases[d.ref] == d {
			delete(i.databases, d.ref)
		}
		i.mu.Unlock()
		return fmt.Errorf("restore database %s: %w", d.ref, err)
	}
	d.replica.Attach(db)
	i.online(ctx, d)
	return nil
}

// Copy makes a database of its own out of another one as it is now, under the
// other one's DEK.
func (i *Instances) Copy(ctx context.Context, source, ref Ref, id string) error {
	from, err := i.Open(source)
	if err != nil {
		return err
	}
	return i.Restore(ctx, ref, id, func(o engine.Options) (*engine.DB, error) {
		snapshot, err := from.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		db, err := engine.CreateFrom(ctx, o, id, snapshot, nil)
		if err = errors.Join(err, snapshot.Close()); err == nil {
			err = db.SetRole(ctx, engine.Primary, db.Boot().Epoch+1)
		}
		if err == nil {
			return db, nil
		}
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, errors.Join(err, os.RemoveAll(o.Dir))
	})
}
