package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/engine"
)

// Ref names a database on a server, both in lower case.
type Ref struct {
	Server   string `json:"server"`
	Database string `json:"database"`
}

// NewRef makes a Ref of names in any case.
func NewRef(server, database string) Ref { return Ref{lower(server), lower(database)} }

func (r Ref) lower() Ref { return Ref{lower(r.Server), lower(r.Database)} }

// String is server/database.
func (r Ref) String() string { return r.Server + "/" + r.Database }

func lower(s string) string { return strings.ToLower(s) }

// Master is the system database of every server. It holds nothing of its
// own; its engine database is made when first attached to, and is not
// encrypted.
const Master = "master"

// Status is a database's status, by the names that ARM gives.
// Source: https://learn.microsoft.com/rest/api/sql/databases/get#databasestatus
type Status string

// The statuses that the lab has.
const (
	Online       Status = "Online"
	Creating     Status = "Creating"
	Restoring    Status = "Restoring"
	Inaccessible Status = "Inaccessible"
	Offline      Status = "Offline"
	// RoleChange is shown by nothing but errors: a failover is under way.
	RoleChange Status = "RoleChange"
	// Recovering is a database that is being opened.
	Recovering Status = "Recovering"
	// Missing is no database at all.
	Missing Status = "Missing"
)

// Opener unwraps a DEK as the identity of a server.
type Opener func(ctx context.Context, server string, dek engine.WrappedDEK) ([]byte, error)

// Options are what Instances need.
type Options struct {
	Dir        string // holds a folder a server; made when needed
	Clock      *clock.Clock
	Random     io.Reader
	Log        *slog.Logger
	Open       Opener
	NoSync     bool
	CachePages int   // of each database; zero: defaultCachePages
	VLFSize    int64 // zero: the engine's
	// Opened is told of each database that has been opened; may be nil. It
	// must not block.
	Opened func(Ref)
	// Reach and Delay are asked before anything crosses between two servers;
	// see georep.RelationshipOptions. Either may be nil.
	Reach func(ctx context.Context, from, to string) error
	Delay func(ctx context.Context) error
}

// defaultCachePages bounds a database's cache of decrypted pages to 2 MiB:
// a lab has many databases and little in each.
const defaultCachePages = 256

// Instances are the open databases of all servers. They are safe for
// concurrent use.
type Instances struct {
	o        Options
	sessions *registry

	mu        sync.RWMutex
	databases map[Ref]*database
	ctx       context.Context //nolint:containedctx // the lifetime of the background work, set by New; not a request's
	stop      context.CancelFunc
	work      sync.WaitGroup

	linkMu   sync.Mutex
	linkWake chan struct{} // closed and replaced when a link changes
}

// New makes Instances that hold nothing yet: Load names what is there.
//
//nolint:contextcheck // the background work outlives whoever makes it
func New(o Options) *Instances {
	if o.CachePages == 0 {
		o.CachePages = defaultCachePages
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Instances{
		o: o, sessions: newRegistry(), databases: map[Ref]*database{}, ctx: ctx, stop: stop, linkWake: make(chan struct{}),
	}
}

// Entry is a database that the control plane has on record.
type Entry struct {
	Ref Ref
	ID  string // databaseId, a GUID
	// Held keeps the database closed: it is Inaccessible.
	Held bool
}

// Load takes up the databases that are on record, from their boot records,
// and removes the folders of others. It opens none: Resume does.
func (i *Instances) Load(entries []Entry) error {
	keep := map[string]bool{}
	for _, entry := range entries {
		d := i.newDatabase(entry.Ref, entry.ID)
		keep[entry.ID] = true
		if err := d.replica.Prepare(); err != nil {
			return err
		}
		boot, err := engine.ReadBoot(d.dir)
		switch {
		case errors.Is(err, engine.ErrNotFound), errors.Is(err, os.ErrNotExist):
			d.status = Creating // the operation that makes it goes on
		case err != nil:
			return fmt.Errorf("load database %s: %w", d.ref, err)
		default:
			d.remember(boot)
			d.status = Recovering
		}
		if entry.Held {
			d.status = Inaccessible
		}
		i.mu.Lock()
		i.databases[d.ref] = d
		i.mu.Unlock()
	}
	return i.sweep(keep)
}

// sweep removes the folders of databases that are on no record: what a crash
// left of a drop or an unfinished creation.
func (i *Instances) sweep(keep map[string]bool) error {
	servers, err := os.ReadDir(i.o.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep databases: %w", err)
	}
	for _, server := range servers {
		folders, err := os.ReadDir(filepath.Join(i.o.Dir, server.Name()))
		if err != nil {
			return fmt.Errorf("sweep databases: %w", err)
		}
		for _, folder := range folders {
			dir := filepath.Join(i.o.Dir, server.Name(), folder.Name())
			id, _, _ := strings.Cut(folder.Name(), ".") // georep adds suffixes
			if keep[id] || id == Master {
				continue
			}
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("sweep databases: %w", err)
			}
		}
	}
	return nil
}

// openers is how many databases Resume opens at a time.
const openers = 4

// Resume opens the databases of Load in the background and takes their scans
// up again. Copies of one database are opened together, so that their boot
// records tell who is primary before anybody writes.
func (i *Instances) Resume() {
	seen := map[*database]bool{}
	slots := make(chan struct{}, openers)
	for _, d := range i.all() {
		if seen[d] {
			continue
		}
		copies := []*database{d}
		i.mu.RLock()
		relation := d.relation
		if relation != nil {
			copies = copies[:0]
			for _, each := range relation.members {
				copies = append(copies, each)
			}
		}
		i.mu.RUnlock()
		for _, each := range copies {
			seen[each] = true
		}
		i.background(func(ctx context.Context) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				i.resume(ctx, relation, copies)
			case <-ctx.Done():
			}
		})
	}
}

func (i *Instances) resume(ctx context.Context, r *relation, copies []*database) {
	var opened []*database
	for _, d := range copies {
		d.mu.Lock()
		wanted := d.status == Recovering
		d.mu.Unlock()
		if wanted && i.openFiles(ctx, d) == nil { // a failure is the database's status
			opened = append(opened, d)
		}
	}
	if r != nil && len(opened) > 0 {
		if err := r.Recover(ctx); err != nil {
			i.o.Log.Error("database.recover_failed", "database", copies[0].ref.String(), "error", err)
		}
	}
	for _, d := range opened {
		i.online(ctx, d)
	}
}

// background runs work until it ends or the Instances are closed.
func (i *Instances) background(work func(ctx context.Context)) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.ctx.Err() != nil {
		return
	}
	i.work.Go(func() { work(i.ctx) })
}

// Close ends all sessions and links and closes all databases.
func (i *Instances) Close() error {
	i.mu.Lock()
	i.stop()
	i.mu.Unlock()
	for _, d := range i.all() {
		if r := i.relationOfDatabase(d); r != nil {
			r.Close()
		}
	}
	var failures []error
	for _, d := range i.all() {
		failures = append(failures, d.shut(ErrStopped))
	}
	i.work.Wait()
	for _, d := range i.all() { // one that was being opened meanwhile
		failures = append(failures, d.shut(ErrStopped))
	}
	return errors.Join(failures...)
}

func (i *Instances) find(ref Ref) *database {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.databases[ref.lower()]
}

func (i *Instances) all() []*database {
	i.mu.RLock()
	defer i.mu.RUnlock()
	list := make([]*database, 0, len(i.databases))
	for _, d := range i.databases {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *database) int { return strings.Compare(a.ref.String(), b.ref.String()) })
	return list
}

func (i *Instances) relationOfDatabase(d *database) *relation {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return d.relation
}
