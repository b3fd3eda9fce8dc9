package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// vault wraps DEKs for tests: by XOR with a protector's key, as long as the protector is enabled.
type vault struct {
	mu       sync.Mutex
	disabled map[string]error
	opened   map[string]int
}

func newVault() *vault { return &vault{disabled: map[string]error{}, opened: map[string]int{}} }

var errDisabled = errors.New("key is disabled in the vault")

func mask(thumbprint string, key []byte) []byte {
	out := make([]byte, len(key))
	for i := range key {
		out[i] = key[i] ^ thumbprint[i%len(thumbprint)] ^ byte(i*7)
	}
	return out
}

func (v *vault) open(_ context.Context, w WrappedDEK) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.disabled[w.Thumbprint]; err != nil {
		return nil, err
	}
	v.opened[w.Thumbprint]++
	return mask(w.Thumbprint, w.Wrapped), nil
}

func (v *vault) disable(thumbprint string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.disabled[thumbprint] = err
}

func newKey(t testing.TB, id, thumbprint string) *PlainDEK {
	t.Helper()
	key, err := GenerateDEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &PlainDEK{Key: key, Wrapped: WrappedDEK{ID: id, Wrapped: mask(thumbprint, key), Thumbprint: thumbprint, CreatedAt: time.Now().UTC(), SetAt: time.Now().UTC()}}
}

func rewrapped(k *PlainDEK, thumbprint string) WrappedDEK {
	w := k.Wrapped
	w.Wrapped, w.Thumbprint, w.Check = mask(thumbprint, k.Key), thumbprint, nil
	return w
}

func options(dir string, v *vault) Options {
	return Options{Dir: dir, Now: time.Now, Random: rand.Reader, Open: v.open, NoSync: true}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create4(t testing.TB, o Options, key *PlainDEK) *DB {
	t.Helper()
	d := must[*DB](t)(Create(t.Context(), o, "db", key))
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func open4(t testing.TB, o Options) *DB {
	t.Helper()
	d := must[*DB](t)(Open(t.Context(), o))
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func conn(t testing.TB, d *DB) *sqlite3.Conn {
	t.Helper()
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func run(t testing.TB, c *sqlite3.Conn, sql string, args ...any) {
	t.Helper()
	if err := c.Exec(fmt.Sprintf(sql, args...)); err != nil {
		t.Fatalf("%.200s: %v", fmt.Sprintf(sql, args...), err)
	}
}

func queryInt(t testing.TB, c *sqlite3.Conn, sql string) int64 {
	t.Helper()
	n, err := tryInt(c, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func tryInt(c *sqlite3.Conn, sql string) (n int64, err error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.Step() {
		n = s.ColumnInt64(0)
	}
	return n, s.Err()
}

func integrity(t testing.TB, d *DB) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	defer closing(t, c)
	s, _, err := c.Prepare("PRAGMA integrity_check")
	ok(t, err)
	defer closing(t, s)
	for s.Step() {
		if got := s.ColumnText(0); got != "ok" {
			t.Errorf("integrity_check: %s", got)
		}
	}
	ok(t, s.Err())
	ok(t, d.Verify(t.Context()))
}

// copyDir copies a database's folder as it is at this moment: what a crash would leave.
func copyDir(t testing.TB, d *DB) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	d.copyTo(t, to)
	return to
}

func (d *DB) copyTo(t testing.TB, to string) {
	t.Helper()
	// Files are copied one after the other: no checkpoint may come between.
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	ok(t, os.CopyFS(to, os.DirFS(d.o.Dir)))
}

func TestDatabase(t *testing.T) {
	for _, tde := range []bool{false, true} {
		t.Run(fmt.Sprintf("keeps what was committed over reopening, TDE %v", tde), func(t *testing.T) {
			o := options(t.TempDir(), newVault())
			var key *PlainDEK
			if tde {
				key = newKey(t, "dek1", "A1")
			}
			d := create4(t, o, key)
			c := conn(t, d)
			run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1,'one')")
			run(t, c, "BEGIN; INSERT INTO t VALUES (2,'two'); ROLLBACK")
			run(t, c, "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i, hex(randomblob(50)) FROM n")
			sum, last := d.Checksum(), d.Last()
			ok(t, c.Close())
			ok(t, d.Close())
			for range 2 {
				d = open4(t, o)
				if d.Checksum() != sum || d.Last() != last {
					t.Errorf("after reopening: checksum %x at %d, want %x at %d", d.Checksum(), d.Last(), sum, last)
				}
				c = conn(t, d)
				if n := queryInt(t, c, "SELECT count(*) FROM t"); n != 4992 {
					t.Errorf("%d rows, want 4992", n)
				}
				integrity(t, d)
				ok(t, d.Checkpoint(t.Context()))
				integrity(t, d)
				ok(t, c.Close())
				ok(t, d.Close())
			}
		})
	}
}

func closing(t testing.TB, c io.Closer) {
	t.Helper()
	ok(t, c.Close())
}
