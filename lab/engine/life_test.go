package engine

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3/vfs"
)

func TestNothingLeaks(t *testing.T) {
	d := create4(t, options(t.TempDir(), newVault()), newKey(t, "dek", "A1"))
	accounts(t, d)
	name := d.files.name
	last := conn(t, d)
	for range 20 {
		c := conn(t, d)
		queryInt(t, c, "SELECT sum(balance) FROM account")
		run(t, c, "BEGIN; UPDATE account SET balance = 1")
		if err := c.Exec("SELECT no_such_function()"); err == nil {
			t.Fatal("an unknown function was found")
		}
		ok(t, c.Close()) // in mid-transaction: the write lock goes back
	}
	run(t, last, "UPDATE account SET balance = 2")
	if d.files.open != 1 || len(d.files.expected) != 0 || len(d.roots.live) != 0 {
		t.Errorf("%d files open, %d expected, %d states held", d.files.open, len(d.files.expected), len(d.roots.live))
	}
	if vfs.Find(name) == nil {
		t.Fatal("the VFS is not registered")
	}
	ok(t, d.Close())
	ok(t, d.Close())
	if vfs.Find(name) == nil {
		t.Error("the VFS went while a connection was open")
	}
	ok(t, last.Close())
	if vfs.Find(name) != nil {
		t.Error("the VFS is still registered")
	}
}

func TestConnectionCannotReachOtherFiles(t *testing.T) {
	d := create4(t, options(t.TempDir(), newVault()), nil)
	c := conn(t, d)
	for _, sql := range []string{
		"ATTACH 'other.db' AS o", "ATTACH 'file:/1?vfs=" + d.files.name + "' AS o", "VACUUM INTO 'copy.db'", "PRAGMA journal_mode = wal; CREATE TABLE w(a); SELECT 1 FROM pragma_journal_mode WHERE journal_mode = 'wal' AND abs(-9223372036854775808)",
	} {
		err := c.Exec(sql)
		if err == nil && sql[0] != 'P' {
			t.Errorf("%s was done", sql)
		}
	}
	integrity(t, d)
}

func TestDatabaseInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t.TempDir(), newVault())
		o.VLFSize = 64 << 10
		d := must[*DB](t)(Create(t.Context(), o, "db", newKey(t, "dek", "A1")))
		accounts(t, d)
		start := time.Now()
		cur := must[*Cursor](t)(d.Read(t.Context(), d.Last()))
		got := make(chan Record)
		go func() {
			defer close(got)
			for {
				r, err := cur.Next(t.Context())
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					panic(err)
				}
				got <- r
			}
		}()
		c := must[interface {
			Exec(string) error
			Close() error
		}](t)(d.Conn(t.Context()))
		for i := range 50 {
			ok(t, c.Exec(fmt.Sprintf("UPDATE account SET balance = %d WHERE id = 1", i+5000)))
			time.Sleep(time.Hour)
			if r := <-got; r.Time.Sub(start) != time.Duration(i)*time.Hour {
				t.Errorf("record %d is of %v", r.LSN, r.Time.Sub(start))
			}
		}
		ok(t, c.Close())
		ok(t, d.Close())
		<-got
	})
}

func TestLargeTransaction(t *testing.T) {
	o := options(t.TempDir(), newVault())
	o.CachePages = 16
	d := create4(t, o, newKey(t, "dek", "A1"))
	c := conn(t, d)
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX ti ON t(v)")
	// Larger than every cache: SQLite spills, the transaction reads its own pages back, and a part of it is undone.
	run(t, c, "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO t SELECT i, randomblob(400) FROM n")
	run(t, c, "SAVEPOINT s; DELETE FROM t WHERE id %% 2 = 0; UPDATE t SET v = zeroblob(10); ROLLBACK TO s; RELEASE s; DELETE FROM t WHERE id > 15000; COMMIT")
	run(t, c, "BEGIN; DELETE FROM t; ROLLBACK")
	if n := queryInt(t, c, "SELECT count(*) FROM t WHERE length(v) = 400"); n != 15000 {
		t.Errorf("%d rows, want 15000", n)
	}
	before := d.Size()
	integrity(t, d)
	run(t, c, "DELETE FROM t WHERE id > 100; VACUUM")
	if d.Size() >= before/10 {
		t.Errorf("%d pages after VACUUM, %d before", d.Size(), before)
	}
	integrity(t, d)
	ok(t, d.Checkpoint(t.Context()))
	run(t, c, "INSERT INTO t(v) SELECT randomblob(4000) FROM t a, t b LIMIT 500")
	integrity(t, d)
	ok(t, c.Close())
	ok(t, d.Close())
	integrity(t, open4(t, o))
}

func TestCheckpointsBesideWriters(t *testing.T) {
	o := options(t.TempDir(), newVault())
	o.CachePages, o.VLFSize = 8, 16<<10
	d := create4(t, o, newKey(t, "dek", "A1"))
	accounts(t, d)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := errors.Join(d.Checkpoint(t.Context()), d.Verify(t.Context())); err != nil {
				done <- err
				return
			}
		}
	}()
	c := conn(t, d)
	for i := range 1500 {
		ok(t, transfer(c, i))
	}
	close(stop)
	ok(t, <-done)
	if sum := queryInt(t, c, "SELECT sum(balance) FROM account"); sum != 200_000 {
		t.Errorf("sum %d, want 200000", sum)
	}
	integrity(t, d)
}
