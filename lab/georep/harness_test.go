package georep_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

var errRefused = errors.New("the vault refuses")

// vault unwraps for one server; a refused protector does not open.
type vault struct {
	mu      sync.Mutex
	refused map[string]bool
}

func (v *vault) refuse(thumbprint string, refused bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.refused == nil {
		v.refused = map[string]bool{}
	}
	v.refused[thumbprint] = refused
}

func (v *vault) open(_ context.Context, w engine.WrappedDEK) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.refused[w.Thumbprint] {
		return nil, errRefused
	}
	return mask(w.Thumbprint, w.Wrapped), nil
}

func mask(thumbprint string, key []byte) []byte {
	out := make([]byte, len(key))
	for i := range key {
		out[i] = key[i] ^ thumbprint[i%len(thumbprint)] ^ byte(i*7+1)
	}
	return out
}

func newDEK(t testing.TB, id, thumbprint string) *engine.PlainDEK {
	t.Helper()
	key := make([]byte, 32)
	must[int](t)(rand.Read(key))
	now := time.Now().UTC()
	return &engine.PlainDEK{Key: key, Wrapped: engine.WrappedDEK{
		ID: id, Wrapped: mask(thumbprint, key), Thumbprint: thumbprint, KeyURI: "https://v.vault.azure.net/keys/" + thumbprint + "/1", CreatedAt: now, SetAt: now,
	}}
}

// regions says which replicas can be reached.
type regions struct {
	mu   sync.Mutex
	down map[string]bool
}

var errDown = errors.New("region is down")

func (r *regions) set(name string, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down == nil {
		r.down = map[string]bool{}
	}
	r.down[name] = down
}

func (r *regions) reach(_ context.Context, from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down[from] || r.down[to] {
		return errDown
	}
	return nil
}

// world is one database with its copies.
type world struct {
	dir      string
	vlf      int64
	vaults   map[string]*vault
	regions  regions
	replicas map[string]*georep.Replica
	rel      *georep.Relationship
	dek      *engine.PlainDEK
	sync     bool
}

func (w *world) options(name string) engine.Options {
	return engine.Options{Dir: filepath.Join(w.dir, name), Now: time.Now, Random: rand.Reader, Open: w.vaults[name].open, NoSync: !w.sync, VLFSize: w.vlf}
}

// newWorld makes a primary "a" with a table, and secondaries b, c, ….
func newWorld(t testing.TB, secondaries int) *world {
	t.Helper()
	return newWorldSync(t, secondaries, false)
}

// newWorldSync makes one whose databases flush to disk.
func newWorldSync(t testing.TB, secondaries int, sync bool) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), vaults: map[string]*vault{}, dek: newDEK(t, "dek1", "AAAA"), sync: sync}
	w.plan(secondaries)
	ok(t, w.create(t))
	w.connect(t)
	t.Cleanup(w.close)
	return w
}

func (w *world) plan(secondaries int) {
	w.replicas = map[string]*georep.Replica{}
	for i := range secondaries + 1 {
		name := string(rune('a' + i))
		if w.vaults[name] == nil {
			w.vaults[name] = &vault{}
		}
		w.replicas[name] = georep.NewReplica(georep.ReplicaOptions{Name: name, DatabaseID: "db-" + name, Engine: w.options(name)})
	}
}

func (w *world) create(t testing.TB) error {
	db, err := engine.Create(t.Context(), w.options("a"), "db-a", w.dek)
	if err != nil {
		return err
	}
	w.replicas["a"].Attach(db)
	return run(t.Context(), db, "CREATE TABLE acked (writer INTEGER, n INTEGER, pad TEXT, PRIMARY KEY (writer, n))")
}

// connect makes the relationship with a as the primary that it is told of.
func (w *world) connect(t testing.TB) {
	w.rel = georep.NewRelationship(georep.RelationshipOptions{Now: time.Now, Reach: w.regions.reach, RetryAfter: 10 * time.Millisecond}, w.replicas["a"])
	for name, replica := range w.replicas {
		if name != "a" {
			must[*georep.Link](t)(w.rel.Add(t.Context(), "link-"+name, replica, time.Time{}))
		}
	}
}

// restart closes everything and opens it again, as the lab does.
func (w *world) restart(t testing.TB) {
	t.Helper()
	w.close()
	w.plan(len(w.replicas) - 1)
	for _, replica := range w.replicas {
		if _, err := replica.Open(t.Context()); err != nil && !errors.Is(err, engine.ErrNotFound) {
			t.Fatal(err)
		}
	}
	w.connect(t)
	ok(t, w.rel.Recover(within(t)))
}

func (w *world) close() {
	w.rel.Close()
	for _, replica := range w.replicas {
		if db := replica.Detach(); db != nil {
			_ = db.Close()
		}
	}
}

func (w *world) db(name string) *engine.DB { return w.replicas[name].DB() }

// settle waits until all links are caught up and all copies are equal.
func (w *world) settle(t testing.TB) {
	t.Helper()
	primary := w.rel.Primary().DB()
	for _, link := range w.rel.Links() {
		if err := link.Await(within(t), georep.CatchUp); err != nil {
			t.Fatalf("%v: %+v", err, link.Status())
		}
		if err := link.Drain(within(t), primary.Last()); err != nil {
			t.Fatalf("%v: %+v", err, link.Status())
		}
		secondary := link.Secondary().DB()
		if secondary.Last() != primary.Last() || secondary.Checksum() != primary.Checksum() {
			t.Fatalf("%s: LSN %d checksum %x, primary %d %x", link.Secondary().Name(), secondary.Last(), secondary.Checksum(), primary.Last(), primary.Checksum())
		}
		ok(t, secondary.Verify(t.Context()))
	}
}

func run(ctx context.Context, db *engine.DB, statement string) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.Exec(statement), c.Close())
}

func insert(t testing.TB, db *engine.DB, writer, from, to int) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(db.Conn(t.Context()))
	for n := from; n < to; n++ {
		ok(t, c.Exec(row(writer, n)))
	}
	ok(t, c.Close())
}

func row(writer, n int) string {
	return fmt.Sprintf("INSERT INTO acked VALUES (%d, %d, '%0100d')", writer, n, n)
}

// rows reads all rows of a copy.
func rows(t testing.TB, db *engine.DB) map[[2]int]bool {
	t.Helper()
	c := must[*sqlite3.Conn](t)(db.Conn(t.Context()))
	defer func() { _ = c.Close() }()
	s, _, err := c.Prepare("SELECT writer, n FROM acked")
	ok(t, err)
	got := map[[2]int]bool{}
	for s.Step() {
		got[[2]int{s.ColumnInt(0), s.ColumnInt(1)}] = true
	}
	ok(t, errors.Join(s.Err(), s.Close()))
	return got
}

// load writes rows to whatever is primary and keeps a ledger of those that were
// acknowledged.
type load struct {
	w      *world
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	acked  map[[2]int]bool
	failed error
	grew   chan struct{}
}

func startLoad(t testing.TB, w *world, writers int) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{w: w, stop: stop, acked: map[[2]int]bool{}, grew: make(chan struct{})}
	for writer := range writers {
		l.done.Go(func() { l.write(ctx, 100+writer) })
	}
	return l
}

func (l *load) write(ctx context.Context, writer int) {
	for n := 0; ctx.Err() == nil; {
		db := l.w.rel.Primary().DB()
		if db == nil {
			continue
		}
		c, err := db.Conn(ctx)
		if err != nil {
			continue
		}
		c.SetInterrupt(ctx)
		for err == nil && ctx.Err() == nil {
			if err = c.Exec(row(writer, n)); err == nil {
				l.note(writer, n)
				n++
			}
		}
		_ = c.Close()
		if errors.Is(err, engine.ErrReadOnly) || errors.Is(err, engine.ErrClosed) || errors.Is(err, sqlite3.BUSY) || ctx.Err() != nil {
			continue
		}
		if err != nil {
			l.mu.Lock()
			l.failed = fmt.Errorf("writer %d row %d: %w", writer, n, err)
			l.mu.Unlock()
			return
		}
	}
}

func (l *load) note(writer, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[[2]int{writer, n}] = true
	close(l.grew)
	l.grew = make(chan struct{})
}

// more waits until n further rows have been acknowledged.
func (l *load) more(t testing.TB, n int) {
	t.Helper()
	ctx := within(t)
	l.mu.Lock()
	want := len(l.acked) + n
	l.mu.Unlock()
	for {
		l.mu.Lock()
		have, grew, failed := len(l.acked), l.grew, l.failed
		l.mu.Unlock()
		if failed != nil {
			t.Fatal(failed)
		}
		if have >= want {
			return
		}
		select {
		case <-grew:
		case <-ctx.Done():
			t.Fatalf("%d rows acknowledged, want %d", have, want)
		}
	}
}

// end stops the writers and gives what they had acknowledged.
func (l *load) end(t testing.TB) map[[2]int]bool {
	t.Helper()
	l.stop()
	l.done.Wait()
	if l.failed != nil {
		t.Fatal(l.failed)
	}
	return l.acked
}

// missing counts acknowledged rows that are not there.
func missing(acked, there map[[2]int]bool) (n int) {
	for key := range acked {
		if !there[key] {
			n++
		}
	}
	return n
}

// leaveSeeding puts a replica's folder into the state in which a kill leaves
// it: 0 while pages arrive, 1 before the first rename, 2 between the two, 3
// before the old copy is deleted.
func leaveSeeding(t testing.TB, dir string, step int) {
	t.Helper()
	switch step {
	case 0:
		ok(t, os.MkdirAll(filepath.Join(dir+".seeding", "log"), 0o700))
	case 1:
		ok(t, os.CopyFS(dir+".seeding", os.DirFS(dir)))
	case 2:
		ok(t, os.CopyFS(dir+".seeding", os.DirFS(dir)))
		ok(t, os.Rename(dir, dir+".old"))
	case 3:
		ok(t, os.CopyFS(dir+".old", os.DirFS(dir)))
	}
}

// addReplica adds a copy that no link leads to yet.
func (w *world) addReplica(t testing.TB, name string) {
	t.Helper()
	w.vaults[name] = &vault{}
	w.replicas[name] = georep.NewReplica(georep.ReplicaOptions{Name: name, DatabaseID: "db-" + name, Engine: w.options(name)})
}
