package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

const marker = "PLAINTEXT-MARKER-"

// findMarkers gives the files under a folder that hold a marker, or a run of bytes that only a plain page has.
func findMarkers(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range []string{marker, "SQLite format 3", "CREATE TABLE"} {
			if bytes.Contains(data, []byte(m)) {
				found = append(found, strings.TrimPrefix(path, dir)+": "+m)
			}
		}
		return nil
	}))
	return found
}

// plant writes markers through every way that SQL has to put bytes somewhere.
func plant(t testing.TB, d *DB) {
	t.Helper()
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	defer closing(t, c)
	run(t, c, "CREATE TABLE IF NOT EXISTS p(id INTEGER PRIMARY KEY, v TEXT, b BLOB); CREATE INDEX IF NOT EXISTS pv ON p(v)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) INSERT INTO p(v) SELECT '%sROW-'||i FROM n", marker)
	// Larger than the connection's cache, so that SQLite spills in mid-transaction.
	run(t, c, "BEGIN; INSERT INTO p(b) VALUES (CAST(replace(hex(zeroblob(300000)), '00', '%sBLOB') AS BLOB)); COMMIT", marker)
	run(t, c, "CREATE TEMP TABLE s AS SELECT v||'-TEMP' AS v FROM p WHERE v IS NOT NULL ORDER BY v DESC; CREATE INDEX temp.si ON s(v)")
	if n := queryInt(t, c, "SELECT count(DISTINCT a.v||b.v) FROM p a, s b WHERE a.id < 200"); n == 0 {
		t.Fatal("the sort saw nothing")
	}
	run(t, c, "DELETE FROM p WHERE id %% 3 = 0; UPDATE p SET v = v||'-UPDATED' WHERE id %% 3 = 1")
	run(t, c, "BEGIN; INSERT INTO p(v) VALUES ('%sROLLED-BACK'); ROLLBACK", marker)
	run(t, c, "VACUUM")
}

// backup writes a snapshot to a file, as a full backup does.
func backup(t testing.TB, d *DB, name string) {
	t.Helper()
	s := must[*Snapshot](t)(d.Snapshot(t.Context()))
	defer closing(t, s)
	f := must[*os.File](t)(os.Create(name))
	defer closing(t, f)
	for {
		p, err := s.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		ok(t, err)
		must[int](t)(f.Write(p.Slot))
	}
}

// replica copies a database through records, from a snapshot on.
func replica(t testing.TB, d *DB, o Options) *DB {
	t.Helper()
	s := must[*Snapshot](t)(d.Snapshot(t.Context()))
	defer closing(t, s)
	r := must[*DB](t)(CreateFrom(t.Context(), o, "replica", s, nil))
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func catchUp(t testing.TB, from, to *DB) {
	t.Helper()
	cur := must[*Cursor](t)(from.Read(t.Context(), to.Last()))
	for to.Last() < from.Last() {
		ok(t, to.Apply(t.Context(), must[Record](t)(cur.Next(t.Context()))))
	}
	if to.Checksum() != from.Checksum() {
		t.Fatalf("replica's checksum %x, primary's %x", to.Checksum(), from.Checksum())
	}
}

func TestPlaintextOnDisk(t *testing.T) {
	everything := func(t *testing.T, key *PlainDEK) (dir string, d *DB, r *DB) {
		v := newVault()
		dir = t.TempDir()
		o := options(filepath.Join(dir, "primary"), v)
		o.VLFSize = 256 << 10
		d = create4(t, o, key)
		ro := options(filepath.Join(dir, "replica"), v)
		r = replica(t, d, ro)
		ok(t, d.Hold("replica", r.Last()))
		plant(t, d)
		catchUp(t, d, r)
		ok(t, d.Release("replica"))
		plant(t, r.promoted(t))
		backup(t, d, filepath.Join(dir, "full.bak"))
		// A crash in mid-transaction.
		c := conn(t, d)
		run(t, c, "BEGIN IMMEDIATE; INSERT INTO p(b) VALUES (CAST(replace(hex(zeroblob(300000)), '00', '%sCRASH') AS BLOB))", marker)
		d.copyTo(t, filepath.Join(dir, "crash"))
		run(t, c, "ROLLBACK")
		return dir, d, r
	}
	t.Run("is found everywhere without TDE", func(t *testing.T) {
		dir, _, _ := everything(t, nil)
		found := strings.Join(findMarkers(t, dir), "\n")
		for _, where := range []string{"/primary/data.mdf: " + marker, "/primary/log/", "/replica/data.mdf: " + marker, "/full.bak: " + marker, "/crash/"} {
			if !strings.Contains(found, where) {
				t.Errorf("no plaintext in %s: the search proves nothing; found:\n%s", where, found)
			}
		}
	})
	t.Run("is found nowhere with TDE", func(t *testing.T) {
		dir, d, r := everything(t, newKey(t, "dek", "A1"))
		if found := findMarkers(t, dir); len(found) > 0 {
			t.Errorf("plaintext on disk:\n%s", strings.Join(found, "\n"))
		}
		integrity(t, d)
		integrity(t, r)
	})
	t.Run("is gone after a scan, on the primary and on the replica, and back after decryption", func(t *testing.T) {
		dir, d, _ := everything(t, nil)
		r := replica(t, d, options(filepath.Join(dir, "second"), newVault()))
		ok(t, d.Hold("second", r.Last()))
		ok(t, os.RemoveAll(filepath.Join(dir, "crash")))
		ok(t, os.RemoveAll(filepath.Join(dir, "replica")))
		ok(t, os.Remove(filepath.Join(dir, "full.bak")))
		ok(t, d.SetEncryption(t.Context(), newKey(t, "dek", "A1")))
		if b := d.Boot(); b.State != StateEncrypting || b.DEK == nil || b.DEK.Thumbprint != "A1" {
			t.Errorf("boot record while encrypting: %+v", b)
		}
		ok(t, d.Scan(t.Context()))
		if found := findMarkers(t, dir); len(found) == 0 {
			t.Error("the log that a replica still needs was removed")
		}
		catchUp(t, d, r)
		ok(t, d.Release("second"))
		ok(t, r.Scan(t.Context())) // on a secondary: waits for the end, and for what it left
		if found := findMarkers(t, dir); len(found) > 0 {
			t.Errorf("plaintext on disk:\n%s", strings.Join(found, "\n"))
		}
		for _, d := range []*DB{d, r} {
			if b := d.Boot(); b.State != StateEncrypted || b.PercentComplete != 0 {
				t.Errorf("boot record after the scan: %+v", b)
			}
			integrity(t, d)
		}
		ok(t, d.Hold("second", r.Last()))
		ok(t, d.SetEncryption(t.Context(), nil))
		ok(t, d.Scan(t.Context()))
		catchUp(t, d, r)
		for _, d := range []*DB{d, r} {
			if b := d.Boot(); b.State != StateUnencrypted || b.DEK != nil {
				t.Errorf("boot record after decryption: %+v", b)
			}
			integrity(t, d)
		}
		if found := findMarkers(t, filepath.Join(dir, "primary")); len(found) == 0 {
			t.Error("no plaintext after decryption")
		}
	})
}

// promoted makes a Secondary a Primary.
func (d *DB) promoted(t testing.TB) *DB {
	ok(t, d.SetRole(t.Context(), Primary, d.Boot().Epoch+1))
	return d
}

func TestScanResumes(t *testing.T) {
	v := newVault()
	o := options(t.TempDir(), v)
	d := create4(t, o, nil)
	c := conn(t, d)
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) INSERT INTO t(v) SELECT CAST('%s'||hex(randomblob(1500)) AS BLOB) FROM n", marker)
	ok(t, d.Checkpoint(t.Context()))
	ok(t, d.SetEncryption(t.Context(), newKey(t, "dek", "A1")))
	var percents []float32
	for range 5 {
		if done, err := d.scanBatch(t.Context()); done || err != nil {
			t.Fatal(done, err)
		}
		run(t, c, "UPDATE t SET v = zeroblob(3000) WHERE id = 77")
		percents = append(percents, d.Boot().PercentComplete)
	}
	if percents[0] <= 0 || percents[4] <= percents[0] || percents[4] >= 100 {
		t.Errorf("progress %v does not rise", percents)
	}
	crashed := copyDir(t, d)
	boot, err := ReadBoot(crashed)
	ok(t, err)
	if boot.State != StateEncrypting {
		t.Errorf("the crashed folder's state is %d", boot.State)
	}
	o2 := options(crashed, v)
	d2 := open4(t, o2)
	if got := d2.Boot(); got.State != StateEncrypting || got.PercentComplete != percents[4] {
		t.Errorf("after a crash: state %d, %v %%, want %v", got.State, got.PercentComplete, percents[4])
	}
	ok(t, d2.SuspendScan(t.Context()))
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := fmt.Errorf("enough")
	cancel(stop)
	if err := d2.Scan(ctx); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("a suspended scan gave %v", err)
	}
	ok(t, d2.ResumeScan(t.Context()))
	ok(t, d2.Scan(t.Context()))
	integrity(t, d2)
	if found := findMarkers(t, crashed); len(found) > 0 {
		t.Errorf("plaintext on disk: %v", found)
	}
	ok(t, d2.Close())
	d2 = open4(t, o2)
	if got := d2.Boot(); got.State != StateEncrypted {
		t.Errorf("after the scan: state %d", got.State)
	}
	integrity(t, d2)
}
