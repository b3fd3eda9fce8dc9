package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sync/errgroup"
)

// transfer moves money between accounts; one transaction in five is rolled back. The sum of all balances never changes.
func transfer(c *sqlite3.Conn, i int) error {
	end := "COMMIT"
	if i%5 == 4 {
		end = "ROLLBACK"
	}
	return c.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; UPDATE account SET balance = balance - %[1]d, pad = randomblob(500) WHERE id = %[1]d %% 200;
		UPDATE account SET balance = balance + %[1]d WHERE id = %[1]d * 7 %% 200; %[2]s`, i, end))
}

func accounts(t testing.TB, d *DB) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	defer closing(t, c)
	run(t, c, "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT, pad BLOB)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<199) INSERT INTO account SELECT i, 1000, zeroblob(500) FROM n")
}

func TestReplication(t *testing.T) {
	v := newVault()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "primary"), v)
	o.VLFSize = 512 << 10 // checkpoints go on all the time
	d := create4(t, o, newKey(t, "dek", "A1"))
	accounts(t, d)
	ok(t, d.Hold("r", d.Last()))
	ro := options(filepath.Join(dir, "replica"), v)
	ro.VLFSize = 512 << 10
	r := replica(t, d, ro)
	const commits = 1500
	ctx, stop := context.WithCancel(t.Context())
	var writers, others errgroup.Group
	for w := range 2 {
		writers.Go(func() error {
			c, err := d.Conn(ctx)
			if err != nil {
				return err
			}
			for i := range commits {
				if err := transfer(c, i*2+w); err != nil {
					return errors.Join(err, c.Close())
				}
			}
			return c.Close()
		})
	}
	others.Go(func() error { return ship(ctx, d, r) })
	var reads, inconsistent atomic.Int64
	for range 2 {
		others.Go(func() error {
			c, err := r.Conn(ctx)
			if err != nil {
				return err
			}
			for ctx.Err() == nil {
				sum, err := tryInt(c, "SELECT sum(balance) FROM account")
				if err != nil {
					return errors.Join(err, c.Close())
				}
				reads.Add(1)
				if sum != 200_000 {
					inconsistent.Add(1)
				}
			}
			return c.Close()
		})
	}
	// Meanwhile the primary is decrypted, and encrypted anew.
	writers.Go(func() error {
		for _, key := range []*PlainDEK{nil, newKey(t, "dek2", "B2")} {
			if err := errors.Join(d.SetEncryption(ctx, key), d.Scan(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
	ok(t, writers.Wait())
	for last := d.Last(); r.Last() < last; {
		_, changed := r.roots.wait()
		if r.Last() < last {
			<-changed
		}
	}
	stop()
	if err := others.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	t.Logf("%d records, %d reads, checkpoints up to %d and %d", d.Last(), reads.Load(), d.boot.Checkpoint.LSN, r.boot.Checkpoint.LSN)
	if inconsistent.Load() != 0 || reads.Load() == 0 {
		t.Errorf("%d of %d reads saw half a transaction", inconsistent.Load(), reads.Load())
	}
	if d.Checksum() != r.Checksum() || d.Last() != r.Last() || d.Transactions() != r.Transactions() || d.Size() != r.Size() {
		t.Errorf("primary: %x at %d, replica: %x at %d", d.Checksum(), d.Last(), r.Checksum(), r.Last())
	}
	if b := r.Boot(); b.State != StateEncrypted || b.DEK.ID != "dek2" {
		t.Errorf("replica's boot: %+v", b)
	}
	integrity(t, r)
	c := conn(t, r)
	if err := c.Exec("DELETE FROM account"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a write on the secondary: %v", err)
	}
	ok(t, c.Close())
	ok(t, r.Close())
	integrity(t, open4(t, ro))
}

// ship applies what the cursor gives, several at once, as a link does.
func ship(ctx context.Context, from, to *DB) error {
	cur, err := from.Read(ctx, to.Last())
	if err != nil {
		return err
	}
	for {
		first, err := cur.Next(ctx)
		if err != nil {
			return err
		}
		batch := []Record{first}
		for len(batch) < 20 && batch[len(batch)-1].LSN < from.Last() {
			next, err := cur.Next(ctx)
			if err != nil {
				return err
			}
			batch = append(batch, next)
		}
		for i, r := range batch { // through the form that they have on the wire
			b, err := r.AppendBinary(nil)
			if err != nil {
				return err
			}
			if batch[i], err = ParseRecord(b); err != nil {
				return err
			}
		}
		if err := to.ApplyAll(ctx, batch); err != nil {
			return err
		}
		if err := from.Hold("r", to.Last()); err != nil {
			return err
		}
	}
}

func TestDivergence(t *testing.T) {
	v := newVault()
	dir := t.TempDir()
	d := create4(t, options(filepath.Join(dir, "a"), v), newKey(t, "dek", "A1"))
	accounts(t, d)
	r := replica(t, d, options(filepath.Join(dir, "b"), v))
	r2 := replica(t, d, options(filepath.Join(dir, "c"), v))
	base := d.Last()
	c := conn(t, d)
	run(t, c, "UPDATE account SET balance = 1 WHERE id = 1")
	run(t, c, "UPDATE account SET balance = 2 WHERE id = 2")
	cur := must[*Cursor](t)(d.Read(t.Context(), base))
	one := must[Record](t)(cur.Next(t.Context()))
	two := must[Record](t)(cur.Next(t.Context()))
	refused := func(name string, d *DB, rec Record, want error) {
		t.Helper()
		last, sum := d.Last(), d.Checksum()
		if err := d.Apply(t.Context(), rec); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if d.Last() != last || d.Checksum() != sum {
			t.Errorf("%s: changed the database", name)
		}
	}
	refused("a gap", r, two, ErrDiverged)
	for name, change := range map[string]func(r *Record){
		"a flipped bit in a page":   func(r *Record) { r.Body[slotHeader+77] ^= 4 },
		"a flipped bit in a header": func(r *Record) { r.Body[1] ^= 4 },
		"another time":              func(r *Record) { r.Time = r.Time.Add(1) },
		"another checksum after":    func(r *Record) { r.After++ },
		"a page less":               func(r *Record) { r.Body = r.Body[slotSize:] },
		"a later epoch":             func(r *Record) { r.Epoch++ },
	} {
		changed := one
		changed.Body = slices.Clone(one.Body)
		change(&changed)
		refused(name, r, changed, ErrCorrupt)
	}
	ok(t, r.Apply(t.Context(), one))
	refused("a record twice", r, one, ErrDiverged)
	refused("a record on a primary", d, two, ErrNotSecondary)
	// A forced failover: the second replica goes on alone, the old primary has a record that nobody else has.
	ok(t, r2.SetRole(t.Context(), Primary, 2))
	c2 := conn(t, r2)
	run(t, c2, "UPDATE account SET balance = 3 WHERE id = 3")
	run(t, c2, "UPDATE account SET balance = 4 WHERE id = 4")
	cur2 := must[*Cursor](t)(r2.Read(t.Context(), base))
	other := must[Record](t)(cur2.Next(t.Context()))
	if other.Epoch != 2 {
		t.Errorf("epoch %d after the failover", other.Epoch)
	}
	refused("the other branch", r, must[Record](t)(cur2.Next(t.Context())), ErrDiverged)
	ok(t, d.SetRole(t.Context(), Secondary, 2))
	refused("the other branch, on the old primary", d, other, ErrDiverged)
	if _, err := r2.Read(t.Context(), d.Last()+5); !errors.Is(err, ErrDiverged) {
		t.Errorf("reading past the end: %v", err)
	}
	if err := r.SetRole(t.Context(), Primary, 0); !errors.Is(err, ErrDiverged) {
		t.Errorf("an epoch that goes back: %v", err)
	}
	r3 := replica(t, r2, options(filepath.Join(dir, "d"), v))
	refused("the old primary's record, on the other branch", r3, two, ErrDiverged)
	ok(t, r.SetRole(t.Context(), Secondary, 5))
	refused("a record of an old primary", r, two, ErrDiverged)
}

func TestLogTruncated(t *testing.T) {
	o := options(t.TempDir(), newVault())
	o.VLFSize = 64 << 10
	d := create4(t, o, nil)
	accounts(t, d)
	start := d.Last()
	ok(t, d.Hold("link", start))
	c := conn(t, d)
	for i := range 60 {
		ok(t, transfer(c, i))
	}
	ok(t, d.Checkpoint(t.Context()))
	cur := must[*Cursor](t)(d.Read(t.Context(), start))
	if r := must[Record](t)(cur.Next(t.Context())); r.LSN != start+1 {
		t.Errorf("record %d, want %d", r.LSN, start+1)
	}
	ok(t, c.Close())
	ok(t, d.Close())
	d = open4(t, o) // the hold is kept over a restart
	ok(t, d.Checkpoint(t.Context()))
	cur = must[*Cursor](t)(d.Read(t.Context(), start))
	must[Record](t)(cur.Next(t.Context()))
	ok(t, d.Release("link"))
	if _, err := d.Read(t.Context(), start); !errors.Is(err, ErrLogTruncated) {
		t.Errorf("Read: %v", err)
	}
	if _, err := cur.Next(t.Context()); !errors.Is(err, ErrLogTruncated) {
		t.Errorf("Next: %v", err)
	}
	if err := d.Hold("late", start); !errors.Is(err, ErrLogTruncated) {
		t.Errorf("Hold: %v", err)
	}
	integrity(t, d)
}

func TestSnapshotIsOfOneTime(t *testing.T) {
	v := newVault()
	o := options(t.TempDir(), v)
	o.VLFSize = 64 << 10
	d := create4(t, o, newKey(t, "dek", "A1"))
	accounts(t, d)
	s := must[*Snapshot](t)(d.Snapshot(t.Context()))
	c := conn(t, d)
	for i := range 100 {
		ok(t, transfer(c, i))
	}
	ok(t, d.Checkpoint(t.Context()))
	var seen []uint32
	r := must[*DB](t)(CreateFrom(t.Context(), options(t.TempDir(), v), "copy", s, func(done, total uint32) { seen = append(seen, done, total) }))
	defer closing(t, r)
	ok(t, s.Close())
	if r.Checksum() != s.Info().Checksum || r.Last() != s.Info().LSN || len(seen) == 0 || seen[len(seen)-2] != seen[len(seen)-1] {
		t.Errorf("copy: %x at %d, progress %v", r.Checksum(), r.Last(), seen)
	}
	integrity(t, r)
	rc := conn(t, r)
	if n := queryInt(t, rc, "SELECT count(*) FROM account WHERE balance <> 1000"); n != 0 {
		t.Errorf("%d rows of a later time", n)
	}
	ok(t, d.Checkpoint(t.Context()))
	integrity(t, d)
	t.Run("a seeding that stops leaves no database", func(t *testing.T) {
		s := must[*Snapshot](t)(d.Snapshot(t.Context()))
		defer closing(t, s)
		o := options(t.TempDir(), v)
		if _, err := CreateFrom(t.Context(), o, "copy", &shortSource{PageSource: s, left: 3}, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("CreateFrom: %v", err)
		}
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrNotFound) {
			t.Errorf("Open: %v", err)
		}
		again := must[*Snapshot](t)(d.Snapshot(t.Context()))
		defer closing(t, again)
		r := must[*DB](t)(CreateFrom(t.Context(), o, "copy", again, nil))
		integrity(t, r)
		ok(t, r.Close())
		if _, err := Create(t.Context(), o, "copy", nil); !errors.Is(err, ErrExists) {
			t.Errorf("Create over a database: %v", err)
		}
	})
	t.Run("a damaged page is refused", func(t *testing.T) {
		s := must[*Snapshot](t)(d.Snapshot(t.Context()))
		defer closing(t, s)
		if _, err := CreateFrom(t.Context(), options(t.TempDir(), v), "copy", &shortSource{PageSource: s, left: 99, flip: 2}, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("CreateFrom: %v", err)
		}
	})
}

// shortSource ends early, or flips a bit of a page.
type shortSource struct {
	PageSource
	left int
	flip uint32
}

func (s *shortSource) Next(ctx context.Context) (Page, error) {
	if s.left--; s.left < 0 {
		return Page{}, io.EOF
	}
	p, err := s.PageSource.Next(ctx)
	if p.Number == s.flip && err == nil {
		p.Slot[4000] ^= 1
	}
	return p, err
}

func TestWriters(t *testing.T) {
	t.Run("wait in order of arrival, and lose nothing", func(t *testing.T) {
		o := options(t.TempDir(), newVault())
		o.NoSync = false // so that commits share an fsync
		d := create4(t, o, newKey(t, "dek", "A1"))
		accounts(t, d)
		var g errgroup.Group
		for w := range 6 {
			g.Go(func() error {
				c, err := d.Conn(t.Context())
				if err != nil {
					return err
				}
				for i := range 60 {
					if err := c.Exec(fmt.Sprintf("UPDATE account SET balance = balance + 1 WHERE id = %d", (w+i)%3)); err != nil {
						return errors.Join(err, c.Close())
					}
				}
				return c.Close()
			})
		}
		ok(t, g.Wait())
		c := conn(t, d)
		if sum := queryInt(t, c, "SELECT sum(balance) FROM account"); sum != 200_360 {
			t.Errorf("sum %d, want 200360: an update is lost", sum)
		}
	})
	t.Run("give up when their context ends", func(t *testing.T) {
		d := create4(t, options(t.TempDir(), newVault()), nil)
		accounts(t, d)
		a, b := conn(t, d), conn(t, d)
		run(t, a, "BEGIN IMMEDIATE")
		ctx, cancel := context.WithCancel(t.Context())
		b.SetInterrupt(ctx)
		done := make(chan error)
		go func() { done <- b.Exec("UPDATE account SET balance = 0") }()
		d.lock.waitQueue(1)
		cancel()
		if err := <-done; !errors.Is(err, sqlite3.BUSY) && !errors.Is(err, sqlite3.INTERRUPT) {
			t.Errorf("the waiting writer got %v", err)
		}
		b.SetInterrupt(t.Context())
		run(t, a, "ROLLBACK")
		run(t, b, "UPDATE account SET balance = 0")
	})
	t.Run("are told by type when their snapshot is too old", func(t *testing.T) {
		d := create4(t, options(t.TempDir(), newVault()), nil)
		accounts(t, d)
		a, b := conn(t, d), conn(t, d)
		run(t, a, "BEGIN")
		queryInt(t, a, "SELECT sum(balance) FROM account")
		run(t, b, "UPDATE account SET balance = 0 WHERE id = 1")
		if err := a.Exec("UPDATE account SET balance = 5 WHERE id = 1"); !errors.Is(err, sqlite3.BUSY_SNAPSHOT) {
			t.Errorf("upgrade of an old snapshot: %v", err)
		}
		if sum := queryInt(t, a, "SELECT sum(balance) FROM account"); sum != 200_000 {
			t.Errorf("the old snapshot moved: %d", sum)
		}
		run(t, a, "ROLLBACK; BEGIN; UPDATE account SET balance = 5 WHERE id = 1; COMMIT")
	})
	t.Run("are held back by Quiesce, and refused after a change of role", func(t *testing.T) {
		d := create4(t, options(t.TempDir(), newVault()), nil)
		accounts(t, d)
		c := conn(t, d)
		resume := must[func()](t)(d.Quiesce(t.Context()))
		last := d.Last()
		done := make(chan error)
		go func() { done <- c.Exec("UPDATE account SET balance = 0") }()
		d.lock.waitQueue(1)
		r := conn(t, d)
		if n := queryInt(t, r, "SELECT count(*) FROM account"); n != 200 || d.Last() != last {
			t.Errorf("%d rows at %d while quiesced", n, d.Last())
		}
		ok(t, d.SetRole(t.Context(), Secondary, 2))
		resume()
		if err := <-done; !errors.Is(err, ErrReadOnly) {
			t.Errorf("the waiting writer got %v", err)
		}
		ok(t, d.SetRole(t.Context(), Primary, 3))
		run(t, c, "UPDATE account SET balance = 0")
		if b := d.Boot(); b.Epoch != 3 || b.Role != Primary {
			t.Errorf("boot: %+v", b)
		}
	})
	t.Run("and readers are told by type that the database was closed", func(t *testing.T) {
		d := create4(t, options(t.TempDir(), newVault()), newKey(t, "dek", "A1"))
		accounts(t, d)
		a, b := conn(t, d), conn(t, d)
		run(t, a, "BEGIN IMMEDIATE")
		done := make(chan error)
		go func() { done <- b.Exec("UPDATE account SET balance = 0") }()
		d.lock.waitQueue(1)
		ok(t, d.Close())
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("the waiting writer got %v", err)
		}
		if _, err := tryInt(b, "SELECT count(*) FROM account"); !errors.Is(err, ErrClosed) {
			t.Errorf("a read: %v", err)
		}
		if err := a.Exec("UPDATE account SET balance = 0; COMMIT"); !errors.Is(err, ErrClosed) {
			t.Errorf("a commit: %v", err)
		}
		if _, err := d.Conn(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("a new connection: %v", err)
		}
	})
}

// waitQueue returns when n writers wait.
func (l *writeLock) waitQueue(n int) {
	for {
		l.mu.Lock()
		got := len(l.queue)
		l.mu.Unlock()
		if got >= n {
			return
		}
		runtime.Gosched()
	}
}
