package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

// database is one database, open or not.
type database struct {
	ref     Ref
	id      string
	dir     string
	replica *georep.Replica // holds the engine database while it is open

	relation *relation // nil: not replicated; guarded by Instances.mu

	boot atomic.Pointer[engine.Boot] // as last read while it was closed

	mu      sync.Mutex
	status  Status
	cause   error         // of a status that is not Online
	ready   chan struct{} // closed when status or turning next changes
	turning int           // role changes under way
	leases  map[*Lease]struct{}
	scan    bool // a scan is running

	opening  sync.Mutex // one at a time opens or closes
	wrapping sync.Mutex // held while the DEK is wrapped anew, or the role changes
}

func (i *Instances) newDatabase(ref Ref, id string) *database {
	ref = ref.lower()
	d := &database{
		ref: ref, id: id, dir: filepath.Join(i.o.Dir, ref.Server, id), status: Creating,
		ready: make(chan struct{}), leases: map[*Lease]struct{}{},
	}
	d.replica = georep.NewReplica(georep.ReplicaOptions{
		Name: ref.String(), DatabaseID: id, Engine: i.engineOptions(d), Replaced: func(db *engine.DB) { i.replaced(d, db) },
	})
	return d
}

func (d *database) remember(boot engine.Boot) { d.boot.Store(&boot) }

// set changes the status and wakes those who wait for it. The caller holds mu.
func (d *database) set(status Status, cause error) {
	d.status, d.cause = status, cause
	d.wake()
}

func (d *database) wake() {
	close(d.ready)
	d.ready = make(chan struct{})
}

func (i *Instances) engineOptions(d *database) engine.Options {
	return engine.Options{
		Dir: d.dir, Now: i.o.Clock.Now, Random: i.o.Random, Log: i.o.Log.With("server", d.ref.Server, "database", d.ref.Database),
		NoSync: i.o.NoSync, CachePages: i.o.CachePages, VLFSize: i.o.VLFSize,
		Open: func(ctx context.Context, dek engine.WrappedDEK) ([]byte, error) {
			return i.o.Open(ctx, d.ref.Server, dek)
		},
	}
}

// replaced is told when a link seeds the database: nil while it does, then
// the new copy.
func (i *Instances) replaced(d *database, db *engine.DB) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if db != nil {
		d.remember(db.Boot())
		d.set(Online, nil)
		return
	}
	d.breakLeases(ErrRoleChanged)
	if d.status == Online {
		d.set(Recovering, nil)
	}
}

// open opens a database unless it is open.
func (i *Instances) open(ctx context.Context, d *database) error {
	if err := i.openFiles(ctx, d); err != nil {
		return err
	}
	i.online(ctx, d)
	return nil
}

// openFiles opens the files. When the key does not open them the database is
// Inaccessible; on another failure it is Offline.
func (i *Instances) openFiles(ctx context.Context, d *database) error {
	d.opening.Lock()
	defer d.opening.Unlock()
	if d.current() != nil {
		return nil
	}
	_, err := d.replica.Open(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("open database %s: %w", d.ref, err)
	}
	status := Offline
	if _, lost := errors.AsType[*engine.KeyError](err); lost {
		status = Inaccessible
	}
	i.o.Log.Error("database.open_failed", "server", d.ref.Server, "database", d.ref.Database, "status", status, "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(status, err)
	return fmt.Errorf("open database %s: %w", d.ref, err)
}

// online lets sessions in. A secondary without a link is what a crash left of
// a relation's end: it becomes a primary of its own.
func (i *Instances) online(ctx context.Context, d *database) {
	db := d.current()
	if db == nil {
		return
	}
	if boot := db.Boot(); boot.Role == engine.Secondary && i.relationOfDatabase(d) == nil {
		if err := db.SetRole(ctx, engine.Primary, boot.Epoch+1); err != nil {
			i.o.Log.Error("database.promote_failed", "database", d.ref.String(), "error", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(db.Boot())
	d.set(Online, nil)
	i.takeUpScan(d)
	if i.o.Opened != nil {
		i.o.Opened(d.ref)
	}
}

// shut closes the database and ends its sessions with a reason. Its status
// stays what it is.
func (d *database) shut(reason error) error {
	d.opening.Lock()
	defer d.opening.Unlock()
	d.mu.Lock()
	d.breakLeases(reason)
	d.mu.Unlock()
	db := d.replica.Detach()
	if db == nil {
		return nil
	}
	d.remember(db.Boot())
	if err := db.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("close database %s: %w", d.ref, err)
	}
	return nil
}

// breakLeases ends the sessions. The caller holds mu.
func (d *database) breakLeases(reason error) {
	for l := range d.leases {
		l.end(reason)
		delete(d.leases, l)
	}
}

// Create makes a database's files, with TDE on when dek is given. One that
// is there with the same id stays as it is.
func (i *Instances) Create(ctx context.Context, ref Ref, id string, dek *engine.PlainDEK) error {
	i.mu.Lock()
	d := i.databases[ref.lower()]
	if d == nil || d.id != id {
		d = i.newDatabase(ref, id)
	}
	i.databases[d.ref] = d
	i.mu.Unlock()
	d.wrapping.Lock() // one at a time makes it
	defer d.wrapping.Unlock()
	if _, err := engine.ReadBoot(d.dir); err == nil {
		return i.open(ctx, d)
	}
	if err := os.RemoveAll(d.dir); err != nil { // what a crash left of it
		return fmt.Errorf("create database %s: %w", d.ref, err)
	}
	if err := os.MkdirAll(filepath.Dir(d.dir), 0o700); err != nil {
		return fmt.Errorf("create database %s: %w", d.ref, err)
	}
	db, err := engine.Create(ctx, i.engineOptions(d), id, dek)
	if err != nil {
		return fmt.Errorf("create database %s: %w", d.ref, err)
	}
	d.replica.Attach(db)
	i.online(ctx, d)
	return nil
}

// Drop ends a database's sessions and removes its files. Its links have been
// ended. A database that is not there, or has another id by now, is no error.
func (i *Instances) Drop(ref Ref, id string) error {
	ref = ref.lower()
	i.mu.Lock()
	d := i.databases[ref]
	if d == nil || d.id != id {
		i.mu.Unlock()
		return nil
	}
	delete(i.databases, ref)
	i.mu.Unlock()
	d.wrapping.Lock()
	defer d.wrapping.Unlock()
	err := d.shut(ErrDropped)
	for _, suffix := range []string{"", ".seeding", ".old", ".loss"} {
		if removeErr := os.RemoveAll(d.dir + suffix); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("drop database %s: %w", d.ref, removeErr))
		}
	}
	return err
}

// Boot reads a database's boot record from memory; found is false when there
// is no such database, or when its files are not made yet.
func (i *Instances) Boot(ref Ref) (boot engine.Boot, found bool) {
	d := i.find(ref)
	if d == nil {
		return engine.Boot{}, false
	}
	if db := d.current(); db != nil {
		return db.Boot(), true
	}
	if kept := d.boot.Load(); kept != nil {
		return *kept, true
	}
	return engine.Boot{}, false
}

// current is the open engine database; nil when it is closed.
func (d *database) current() *engine.DB { return d.replica.DB() }

// Status tells a database's status, and the cause where it is not Online.
func (i *Instances) Status(ref Ref) (Status, error) {
	d := i.find(ref)
	if d == nil {
		return Missing, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status, d.cause
}

// VLFs lists a database's virtual log files, open or not.
func (i *Instances) VLFs(ref Ref) ([]engine.VLF, error) {
	d := i.find(ref)
	if d == nil {
		return nil, &UnavailableError{Ref: ref, Status: Missing}
	}
	if db := d.current(); db != nil {
		return db.VLFs(), nil
	}
	return engine.ReadVLFs(d.dir)
}

// AwaitOpen waits until none of the databases is being opened any more. It
// asks nothing of how that ended.
func (i *Instances) AwaitOpen(ctx context.Context, refs ...Ref) error {
	for _, ref := range refs {
		d := i.find(ref)
		for d != nil {
			d.mu.Lock()
			opening, ready := d.status == Recovering, d.ready
			d.mu.Unlock()
			if !opening {
				break
			}
			select {
			case <-ready:
			case <-ctx.Done():
				return fmt.Errorf("await database %s: %w", ref, ctx.Err())
			}
		}
	}
	return nil
}

// Open gives the open engine database; its error is *UnavailableError. For
// backups and the control plane: sessions use Attach.
func (i *Instances) Open(ref Ref) (*engine.DB, error) {
	d := i.find(ref)
	if d == nil {
		return nil, &UnavailableError{Ref: ref, Status: Missing}
	}
	if db := d.current(); db != nil {
		return db, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return nil, &UnavailableError{Ref: ref, Status: d.status, Err: d.cause}
}

// tryAttach leases the database, or gives what to wait for.
func (i *Instances) tryAttach(ctx context.Context, ref Ref, client Client) (*Lease, <-chan struct{}, error) {
	if ref.Database == Master {
		if err := i.makeMaster(ctx, ref); err != nil {
			return nil, nil, err
		}
	}
	d := i.find(ref)
	if d == nil {
		return nil, nil, &UnavailableError{Ref: ref, Status: Missing}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	db := d.current()
	switch {
	case d.turning > 0:
		return nil, d.ready, &UnavailableError{Ref: ref, Status: RoleChange}
	case d.status == Recovering:
		return nil, d.ready, &UnavailableError{Ref: ref, Status: Recovering}
	case db == nil || d.status == Creating || d.status == Restoring || d.status == Inaccessible:
		return nil, nil, &UnavailableError{Ref: ref, Status: d.status, Err: d.cause}
	}
	l := &Lease{instances: i, ref: ref, id: d.id, db: db, done: make(chan struct{})}
	l.info = SessionInfo{Ref: ref, Client: client, ConnectedAt: i.o.Clock.Now()}
	i.sessions.add(l)
	d.leases[l] = struct{}{}
	return l, nil, nil
}

// makeMaster makes or opens a server's master database.
func (i *Instances) makeMaster(ctx context.Context, ref Ref) error {
	if d := i.find(ref); d != nil && d.current() != nil {
		return nil
	}
	if err := i.Create(ctx, ref, Master, nil); err != nil {
		return &UnavailableError{Ref: ref, Status: Offline, Err: err}
	}
	return nil
}

// DropServer removes what is left of a server after its databases were
// dropped: its master.
func (i *Instances) DropServer(server string) error {
	ref := NewRef(server, Master)
	err := i.Drop(ref, Master)
	if removeErr := os.RemoveAll(filepath.Join(i.o.Dir, ref.Server)); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("drop server %s: %w", server, removeErr))
	}
	return err
}
