package backup_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/backup"
	"github.com/crosskeys/crosskeys/lab/engine"
)

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

// hands is a clock that the test moves. One that ticks moves on a nanosecond at
// each reading too, so that no two readings are the same.
type hands struct {
	mu    sync.Mutex
	now   time.Time
	ticks bool
}

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ticks {
		h.now = h.now.Add(1)
	}
	return h.now
}

func (h *hands) forward(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

var errRefused = errors.New("the vault refuses")

type vault struct {
	mu      sync.Mutex
	refused map[string]bool
	asked   map[string]int
}

func (v *vault) refuse(thumbprint string, refused bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused[thumbprint] = refused
}

func (v *vault) open(_ context.Context, w engine.WrappedDEK) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked[w.Thumbprint]++
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

func keyURI(thumbprint string) string { return "https://v.vault.azure.net/keys/" + thumbprint + "/1" }

func wrap(id, thumbprint string, key []byte, at time.Time) engine.WrappedDEK {
	return engine.WrappedDEK{ID: id, Wrapped: mask(thumbprint, key), Thumbprint: thumbprint, KeyURI: keyURI(thumbprint), CreatedAt: at, SetAt: at}
}

// world is a database, its store and its ledger.
type world struct {
	dir   string
	clock *hands
	vault *vault
	key   []byte
	db    *engine.DB
	store *backup.Store
	made  int
	// acked is when each row was acknowledged.
	acked map[int]time.Time
	next  int
}

func newWorld(t testing.TB, change func(*backup.Options)) *world {
	t.Helper()
	w := &world{
		dir: t.TempDir(), clock: &hands{now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)}, key: make([]byte, 32),
		vault: &vault{refused: map[string]bool{}, asked: map[string]int{}}, acked: map[int]time.Time{},
	}
	must[int](t)(rand.Read(w.key))
	w.db = must[*engine.DB](t)(engine.Create(t.Context(), w.options("source"), "db-source", &engine.PlainDEK{Key: w.key, Wrapped: wrap("dek1", "AAAA", w.key, w.clock.Now())}))
	t.Cleanup(func() { _ = w.db.Close() })
	w.exec(t, "CREATE TABLE acked (n INTEGER PRIMARY KEY, pad TEXT)")
	w.open(t, change)
	return w
}

func (w *world) options(name string) engine.Options {
	return engine.Options{Dir: filepath.Join(w.dir, name), Now: w.clock.Now, Random: rand.Reader, Open: w.vault.open, NoSync: true, VLFSize: 256 << 10}
}

func (w *world) open(t testing.TB, change func(*backup.Options)) {
	t.Helper()
	o := backup.Options{Dir: filepath.Join(w.dir, "backups"), Now: w.clock.Now, NoSync: true}
	if change != nil {
		change(&o)
	}
	w.store = must[*backup.Store](t)(backup.Open(o))
}

func (w *world) exec(t testing.TB, statement string) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(w.db.Conn(t.Context()))
	ok(t, errors.Join(c.Exec(statement), c.Close()))
}

// write commits n rows, each in its own transaction, a second apart.
func (w *world) write(t testing.TB, n int) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(w.db.Conn(t.Context()))
	for range n {
		w.clock.forward(time.Second)
		ok(t, c.Exec(fmt.Sprintf("INSERT INTO acked VALUES (%d, '%0300d')", w.next, w.next)))
		w.acked[w.next] = w.clock.Now()
		w.next++
	}
	ok(t, c.Close())
}

// restore makes a database as of a moment and checks that it holds exactly the
// rows that were acknowledged by then.
func (w *world) restore(t testing.TB, until time.Time) {
	t.Helper()
	chain := must[backup.Chain](t)(w.store.ChainAt(until))
	w.made++
	target := w.options(fmt.Sprintf("restored-%d", w.made))
	db, err := backup.Restore(t.Context(), chain, until, target, "db-restored")
	if err != nil {
		t.Fatalf("restore to %v: %v", until, err)
	}
	defer func() { ok(t, db.Close()) }()
	w.compare(t, db, until)
}

func (w *world) compare(t testing.TB, db *engine.DB, until time.Time) {
	t.Helper()
	ok(t, db.Verify(t.Context()))
	if boot := db.Boot(); boot.Role != engine.Primary || boot.DatabaseID != "db-restored" {
		t.Errorf("restored database is %q of role %d", boot.DatabaseID, boot.Role)
	}
	got := rows(t, db)
	for n, at := range w.acked {
		if want := !at.After(until); got[n] != want {
			t.Errorf("restored to %v: row %d, acknowledged at %v, is there: %v", until, n, at, got[n])
		}
		delete(got, n)
	}
	if len(got) > 0 {
		t.Errorf("restored to %v: rows that were never acknowledged: %v", until, got)
	}
	// It is a primary of its own.
	c := must[*sqlite3.Conn](t)(db.Conn(t.Context()))
	ok(t, errors.Join(c.Exec("INSERT INTO acked VALUES (-1, '')"), c.Close()))
}

func rows(t testing.TB, db *engine.DB) map[int]bool {
	t.Helper()
	c := must[*sqlite3.Conn](t)(db.Conn(t.Context()))
	s, _, err := c.Prepare("SELECT n FROM acked")
	ok(t, err)
	got := map[int]bool{}
	for s.Step() {
		got[s.ColumnInt(0)] = true
	}
	ok(t, errors.Join(s.Err(), s.Close(), c.Close()))
	return got
}
