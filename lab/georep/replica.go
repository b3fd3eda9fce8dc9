package georep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Replica is one copy of a database: the folder that it lies in, and the open
// database while there is one. Its owner opens and closes the database; links
// use it, and replace it when they seed. It is safe for concurrent use.
type Replica struct {
	name       string
	databaseID string
	options    engine.Options
	replaced   func(*engine.DB)

	mu      sync.Mutex
	db      *engine.DB
	changed chan struct{} // closed and made anew at each change of db
}

// ReplicaOptions are what a replica is made of.
type ReplicaOptions struct {
	// Name is for people and for errors: server/database.
	Name string
	// DatabaseID goes into a copy that a link seeds.
	DatabaseID string
	// Engine is how the database is opened and seeded; Engine.Dir is its
	// folder, and Engine.Open unwraps as the replica's own server.
	Engine engine.Options
	// Replaced, when not nil, is told nil before seeding closes the old copy,
	// and the new database once it is open. It must not call the link.
	Replaced func(*engine.DB)
}

// NewReplica names a copy. It touches no file.
func NewReplica(o ReplicaOptions) *Replica {
	if o.Replaced == nil {
		o.Replaced = func(*engine.DB) {}
	}
	o.Engine.Dir = filepath.Clean(o.Engine.Dir)
	return &Replica{name: o.Name, databaseID: o.DatabaseID, options: o.Engine, replaced: o.Replaced, changed: make(chan struct{})}
}

// Name is what the replica was called.
func (r *Replica) Name() string { return r.name }

// DB is the open database, or nil.
func (r *Replica) DB() *engine.DB {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.db
}

// Attach hands an open database to the links. Its owner still closes it, after
// Detach.
func (r *Replica) Attach(db *engine.DB) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.db = db
	close(r.changed)
	r.changed = make(chan struct{})
}

// Detach takes the database away from the links and returns it, nil when there
// was none. A link that is using it stops at its next call of a closed
// database.
func (r *Replica) Detach() *engine.DB {
	db := r.DB()
	r.Attach(nil)
	return db
}

func (r *Replica) watch() (*engine.DB, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.db, r.changed
}

// Open prepares the folder, opens the database in it and attaches it. Errors
// are engine.Open's: engine.ErrNotFound when nothing was seeded yet.
func (r *Replica) Open(ctx context.Context) (*engine.DB, error) {
	if err := r.Prepare(); err != nil {
		return nil, err
	}
	db, err := engine.Open(ctx, r.options)
	if err != nil {
		return nil, fmt.Errorf("open replica %s: %w", r.name, err)
	}
	r.Attach(db)
	return db, nil
}

// Prepare finishes or undoes a seeding that a crash interrupted: call it before
// the folder is opened. A new copy takes the old one's place in two renames, of
// which the first is made only when the new copy is complete.
func (r *Replica) Prepare() error {
	dir := r.options.Dir
	seeding, old := exists(dir+seedingSuffix), exists(dir+oldSuffix)
	if seeding && old && !exists(dir) {
		if err := os.Rename(dir+seedingSuffix, dir); err != nil {
			return fmt.Errorf("put seeded copy of %s in place: %w", r.name, err)
		}
	} else if old && !exists(dir) {
		return fmt.Errorf("replica %s: seeded copy %s is missing: %w", r.name, dir+seedingSuffix, fs.ErrNotExist)
	}
	err := errors.Join(os.RemoveAll(dir+seedingSuffix), os.RemoveAll(dir+oldSuffix), r.syncParent())
	if err != nil {
		return fmt.Errorf("clear leftovers of seeding %s: %w", r.name, err)
	}
	return nil
}

const (
	seedingSuffix = ".seeding"
	oldSuffix     = ".old"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// seeded tells whether the folder holds a database.
func (r *Replica) seeded() (bool, error) {
	_, err := engine.ReadBoot(r.options.Dir)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// seed makes a new copy out of src, which then takes the old one's place. The
// old one is not served meanwhile, but its files stay until the new copy is
// complete and durable.
func (r *Replica) seed(ctx context.Context, src engine.PageSource, progress func(done, total uint32)) (*engine.DB, error) {
	if old := r.Detach(); old != nil {
		r.replaced(nil)
		if err := old.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			return nil, fmt.Errorf("close old copy of %s: %w", r.name, err)
		}
	}
	if err := r.Prepare(); err != nil {
		return nil, err
	}
	into := r.options
	into.Dir += seedingSuffix
	fresh, err := engine.CreateFrom(ctx, into, r.databaseID, src, progress)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("seed %s: %w", r.name, err), os.RemoveAll(into.Dir))
	}
	// The engine stops at the last page; only the end proves that it was the last.
	if _, err := src.Next(ctx); !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("seed %s: no end after the last page: %w", r.name, errProtocol), err, fresh.Close(), os.RemoveAll(into.Dir))
	}
	if err := fresh.Close(); err != nil {
		return nil, fmt.Errorf("close seeded copy of %s: %w", r.name, err)
	}
	if err := r.swap(); err != nil {
		return nil, fmt.Errorf("put seeded copy of %s in place: %w", r.name, err)
	}
	db, err := r.Open(ctx)
	if err != nil {
		return nil, err
	}
	r.replaced(db)
	return db, nil
}

func (r *Replica) swap() error {
	dir := r.options.Dir
	if exists(dir) {
		if err := os.Rename(dir, dir+oldSuffix); err != nil {
			return err
		}
	}
	if err := os.Rename(dir+seedingSuffix, dir); err != nil {
		return err
	}
	return errors.Join(r.syncParent(), os.RemoveAll(dir+oldSuffix))
}

// syncParent makes renames in the parent folder durable.
func (r *Replica) syncParent() error {
	if r.options.NoSync {
		return nil
	}
	parent, err := os.Open(filepath.Dir(r.options.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}
