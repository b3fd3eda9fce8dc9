package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// sample is a small database that was closed in good order, and what a reader sees in it.
type sample struct {
	dir  string
	v    *vault
	rows string
}

func contents(ctx context.Context, d *DB) (text string, err error) {
	c, err := d.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s, _, err := c.Prepare("SELECT group_concat(id||':'||v||':'||length(b), ',') FROM t")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.Step() {
		text = s.ColumnText(0)
	}
	return text, s.Err()
}

// newSample makes one with pages in the page file, and others in the log alone.
func newSample(t testing.TB, tde bool) sample {
	t.Helper()
	s := sample{dir: t.TempDir(), v: newVault()}
	var key *PlainDEK
	if tde {
		key = newKey(t, "dek", "A1")
	}
	d := must[*DB](t)(Create(t.Context(), options(s.dir, s.v), "db", key))
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, b BLOB)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) INSERT INTO t SELECT i, 'v'||i, zeroblob(900) FROM n")
	ok(t, d.Checkpoint(t.Context()))
	run(t, c, "UPDATE t SET v = 'new' WHERE id <= 3")
	s.rows = must[string](t)(contents(t.Context(), d))
	ok(t, c.Close())
	ok(t, d.Close())
	return s
}

// read opens a folder and reads all of it. A wrong answer, without an error, is what must not be.
func (s sample) read(t testing.TB, dir string) (detected error) {
	t.Helper()
	d, err := Open(t.Context(), options(dir, s.v))
	if err != nil {
		return err
	}
	defer closing(t, d)
	got, err := contents(t.Context(), d)
	if err == nil && got != s.rows {
		t.Fatalf("damage was served: %.200q", got)
	}
	return errors.Join(err, d.Verify(t.Context()), readLog(t.Context(), d))
}

// readLog reads all of the log, as a replica does.
func readLog(ctx context.Context, d *DB) error {
	cur, err := d.Read(ctx, d.wal.first()-1)
	if err != nil {
		return err
	}
	for lsn := d.wal.first(); lsn <= d.Last(); lsn++ {
		if _, err := cur.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s sample) files(t testing.TB) (data, log string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.dir, logName, "*"+vlfSuffix))
	ok(t, err)
	return dataName, filepath.Join(logName, filepath.Base(logs[len(logs)-1]))
}

func (s sample) with(t testing.TB, file string, change func(b []byte) []byte) error {
	t.Helper()
	name := filepath.Join(s.dir, file)
	b := must[[]byte](t)(os.ReadFile(name))
	defer func() { ok(t, os.WriteFile(name, b, 0o600)) }()
	ok(t, os.WriteFile(name, change(slices.Clone(b)), 0o600))
	return s.read(t, s.dir)
}

func TestDamage(t *testing.T) {
	for _, tde := range []bool{false, true} {
		s := newSample(t, tde)
		data, log := s.files(t)
		// Opening writes the boot record; the sample stays as it is for the files that are damaged.
		ok(t, s.read(t, s.dir))
		for _, file := range []string{data, log, bootName} {
			t.Run(fmt.Sprintf("a flipped bit anywhere in %s is detected, TDE %v", filepath.Base(file), tde), func(t *testing.T) {
				size := must[os.FileInfo](t)(os.Stat(filepath.Join(s.dir, file))).Size()
				step := max(1, size/90)
				inLog := s.pagesInLog(t)
				for off := int64(0); off < size; off += step {
					err := s.with(t, file, func(b []byte) []byte { b[off] ^= 1 << (off % 8); return b })
					if err == nil && (file != dataName || !inLog.Has(uint32(off/slotSize)+1)) {
						t.Errorf("flip at %d of %d was not detected", off, size)
					}
					if err != nil && !errors.Is(err, ErrCorrupt) {
						t.Errorf("flip at %d: not ErrCorrupt: %v", off, err)
					}
				}
			})
		}
		t.Run(fmt.Sprintf("swapped pages are detected, TDE %v", tde), func(t *testing.T) {
			err := s.with(t, data, func(b []byte) []byte {
				one := slices.Clone(b[2*slotSize : 3*slotSize])
				copy(b[2*slotSize:], b[3*slotSize:4*slotSize])
				copy(b[3*slotSize:], one)
				return b
			})
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("swapped pages: %v", err)
			}
		})
		t.Run(fmt.Sprintf("a shortened page file or log is detected, TDE %v", tde), func(t *testing.T) {
			for _, file := range []string{data, log} {
				if err := s.with(t, file, func(b []byte) []byte { return b[:len(b)-1] }); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %v", file, err)
				}
			}
		})
	}
}

// pagesInLog are the pages of the page file whose newer version is in the log: nobody reads them.
func (s sample) pagesInLog(t testing.TB) *pageTree {
	d := must[*DB](t)(Open(t.Context(), options(s.dir, s.v)))
	defer closing(t, d)
	return d.roots.head().tree
}

func TestStalePage(t *testing.T) {
	for _, tde := range []bool{false, true} {
		t.Run(fmt.Sprintf("a page of an earlier time is detected at the next read and at the next start, TDE %v", tde), func(t *testing.T) {
			v := newVault()
			o := options(t.TempDir(), v)
			o.CachePages = 8
			var key *PlainDEK
			if tde {
				key = newKey(t, "dek", "A1")
			}
			d := create4(t, o, key)
			c := conn(t, d)
			run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, b BLOB); INSERT INTO t VALUES (1, 'old', zeroblob(3000)), (2, 'old', zeroblob(3000))")
			ok(t, d.Checkpoint(t.Context()))
			name := filepath.Join(o.Dir, dataName)
			old := must[[]byte](t)(os.ReadFile(name))
			run(t, c, "UPDATE t SET v = 'new'")
			ok(t, d.Checkpoint(t.Context()))
			now := must[[]byte](t)(os.ReadFile(name))
			stale := slices.Clone(now)
			copy(stale[slotSize:2*slotSize], old[slotSize:2*slotSize])
			if slices.Equal(stale, now) {
				t.Fatal("the update changed no page")
			}
			ok(t, os.WriteFile(name, stale, 0o600))
			d.cache.clear()
			if text, err := contents(t.Context(), d); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a stale page was served: %q, %v", text, err)
			}
			if err := d.Verify(t.Context()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Verify: %v", err)
			}
			ok(t, c.Close())
			ok(t, d.Close())
			if _, err := Open(t.Context(), o); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	s := newSample(t, true)
	t.Run("the vault's refusal comes back by type", func(t *testing.T) {
		s.v.disable("A1", errDisabled)
		defer s.v.disable("A1", nil)
		_, err := Open(t.Context(), options(s.dir, s.v))
		var ke *KeyError
		if !errors.As(err, &ke) || ke.Thumbprint != "A1" || !errors.Is(err, errDisabled) {
			t.Errorf("Open: %v", err)
		}
		if b, err := ReadBoot(s.dir); err != nil || b.DEK.Thumbprint != "A1" || b.State != StateEncrypted {
			t.Errorf("ReadBoot: %+v, %v", b, err)
		}
		if vlfs, err := ReadVLFs(s.dir); err != nil || len(vlfs) != 1 || vlfs[0].Thumbprint != "A1" {
			t.Errorf("ReadVLFs: %+v, %v", vlfs, err)
		}
	})
	t.Run("a wrong key is told before a page is read", func(t *testing.T) {
		o := options(s.dir, s.v)
		o.Open = func(context.Context, WrappedDEK) ([]byte, error) { return make([]byte, keySize), nil }
		_, err := Open(t.Context(), o)
		var ke *KeyError
		if !errors.As(err, &ke) || !errors.Is(err, ErrWrongKey) {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("pages of a database with another key of the same id are refused", func(t *testing.T) {
		other := newSample(t, true)
		b := must[[]byte](t)(os.ReadFile(filepath.Join(other.dir, dataName)))
		if err := s.with(t, dataName, func([]byte) []byte { return b }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("foreign pages: %v", err)
		}
	})
	t.Run("no seal is made under a key that is not 256 bits", func(t *testing.T) {
		key := newKey(t, "dek", "A1")
		key.Key = key.Key[:16]
		if _, err := Create(t.Context(), options(t.TempDir(), s.v), "db", key); err == nil {
			t.Error("a short key was taken")
		}
	})
	t.Run("the keys are zeroed at close", func(t *testing.T) {
		d := must[*DB](t)(Open(t.Context(), options(s.dir, s.v)))
		key := d.current.key
		if allZero(key) {
			t.Fatal("the key is zero while the database is open")
		}
		ok(t, d.Close())
		if !allZero(key) {
			t.Error("the key is in memory after Close")
		}
	})
}

func TestTornLog(t *testing.T) {
	for _, tde := range []bool{false, true} {
		t.Run(fmt.Sprintf("a log cut at any byte opens with what was whole, TDE %v", tde), func(t *testing.T) {
			v := newVault()
			o := options(t.TempDir(), v)
			var key *PlainDEK
			if tde {
				key = newKey(t, "dek", "A1")
			}
			d := create4(t, o, key)
			c := conn(t, d)
			run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, b BLOB)")
			var ends []int64
			for i := range 4 {
				run(t, c, "INSERT INTO t VALUES (%d, 'x', zeroblob(10))", i)
				ends = append(ends, d.wal.current().size)
			}
			crashed := copyDir(t, d)
			log := filepath.Join(crashed, logName, filepath.Base(d.wal.current().name))
			whole := must[[]byte](t)(os.ReadFile(log))
			boot := must[[]byte](t)(os.ReadFile(filepath.Join(crashed, bootName)))
			for cut := ends[0]; cut <= int64(len(whole)); cut += 501 {
				for _, zeros := range []bool{false, true} {
					b := slices.Clone(whole[:cut])
					if zeros { // the file was made longer before its data got to the disk
						b = append(b, make([]byte, (int64(len(whole))-cut)&^511)...)
					}
					ok(t, os.WriteFile(log, b, 0o600))
					ok(t, os.WriteFile(filepath.Join(crashed, bootName), boot, 0o600))
					d2, err := Open(t.Context(), options(crashed, v))
					if err != nil {
						t.Fatalf("cut at %d of %d, zeros %v: %v", cut, len(whole), zeros, err)
					}
					want := 0
					for want < len(ends) && ends[want] <= cut {
						want++
					}
					c2 := must[*sqlite3.Conn](t)(d2.Conn(t.Context()))
					if n := queryInt(t, c2, "SELECT count(*) FROM t"); n != int64(want) && (!zeros || n < int64(want)) {
						t.Errorf("cut at %d: %d rows, want %d", cut, n, want)
					}
					run(t, c2, "INSERT INTO t VALUES (99, 'after', NULL)")
					ok(t, c2.Close())
					integrity(t, d2)
					ok(t, d2.Close())
				}
			}
		})
	}
}

func TestTornCheckpoint(t *testing.T) {
	v := newVault()
	o := options(t.TempDir(), v)
	d := create4(t, o, newKey(t, "dek", "A1"))
	c := conn(t, d)
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, b BLOB)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) INSERT INTO t SELECT i, 'v'||i, zeroblob(900) FROM n")
	ok(t, d.Checkpoint(t.Context()))
	run(t, c, "UPDATE t SET v = 'new'")
	want := must[string](t)(contents(t.Context(), d))
	before := copyDir(t, d)
	ok(t, d.Checkpoint(t.Context()))
	done := must[[]byte](t)(os.ReadFile(filepath.Join(o.Dir, dataName)))
	// The checkpoint stopped at any byte of the page file: the boot record and the log are as before it.
	for cut := 0; cut <= len(done); cut += 997 {
		dir := filepath.Join(t.TempDir(), "copy")
		ok(t, os.CopyFS(dir, os.DirFS(before)))
		name := filepath.Join(dir, dataName)
		b := must[[]byte](t)(os.ReadFile(name))
		copy(b, done[:cut])
		ok(t, os.WriteFile(name, b, 0o600))
		d2 := must[*DB](t)(Open(t.Context(), options(dir, v)))
		if got := must[string](t)(contents(t.Context(), d2)); got != want {
			t.Fatalf("cut at %d: %.100q", cut, got)
		}
		integrity(t, d2)
		ok(t, d2.Checkpoint(t.Context()))
		integrity(t, d2)
		ok(t, d2.Close())
	}
}

func TestDamagedInactiveLog(t *testing.T) {
	v := newVault()
	o := options(t.TempDir(), v)
	o.VLFSize = 64 << 10
	d := create4(t, o, newKey(t, "dek", "A1"))
	accounts(t, d)
	c := conn(t, d)
	for i := range 40 {
		ok(t, transfer(c, i))
	}
	ok(t, c.Close())
	ok(t, d.Checkpoint(t.Context()))
	vlfs := d.VLFs()
	if len(vlfs) < 3 || vlfs[0].Active {
		t.Fatalf("no inactive log file: %+v", vlfs)
	}
	ok(t, d.Close())
	for name, damage := range map[string]func(b []byte) []byte{
		"a flipped bit in a frame": func(b []byte) []byte { b[vlfHeader+2] ^= 1; return b },
		"a missing end":            func(b []byte) []byte { return b[:len(b)-100] },
		"half overwritten":         func(b []byte) []byte { clear(b[:vlfHeader*2]); return b },
	} {
		t.Run(name+" does not keep the database from opening", func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			ok(t, os.CopyFS(dir, os.DirFS(o.Dir)))
			file := vlfName(dir, vlfs[0].Sequence)
			ok(t, os.WriteFile(file, damage(must[[]byte](t)(os.ReadFile(file))), 0o600))
			d := open4(t, options(dir, v))
			integrity(t, d)
			if _, err := os.Stat(file); err == nil {
				t.Error("the damaged file is still there")
			}
			if _, err := d.Read(t.Context(), vlfs[0].CreateLSN); !errors.Is(err, ErrLogTruncated) {
				t.Errorf("reading it: %v", err)
			}
		})
	}
}

func fuzzFile(f *testing.F, file func(data, log string) string) {
	samples := []sample{newSample(f, true), newSample(f, false)}
	for _, off := range []uint32{0, 8, 12, 16, 30, 40, 8192, 8224, 8230, 8256, 9000, 20000} {
		f.Add(false, off, byte(1), uint16(1))
		f.Add(true, off, byte(0xff), uint16(16))
	}
	f.Fuzz(func(t *testing.T, plain bool, off uint32, flip byte, n uint16) {
		s := samples[0]
		if plain {
			s = samples[1]
		}
		err := s.with(t, file(s.files(t)), func(b []byte) []byte {
			for i := range int(n) {
				b[(int(off)+i*31)%len(b)] ^= flip
			}
			return b
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("not ErrCorrupt: %v", err)
		}
	})
}

func FuzzPageFile(f *testing.F) { fuzzFile(f, func(data, _ string) string { return data }) }

func FuzzLog(f *testing.F) { fuzzFile(f, func(_, log string) string { return log }) }

func FuzzBoot(f *testing.F) { fuzzFile(f, func(string, string) string { return bootName }) }

func FuzzRecord(f *testing.F) {
	s := newSample(f, true)
	d := must[*DB](f)(Open(f.Context(), options(s.dir, s.v)))
	cur := must[*Cursor](f)(d.Read(f.Context(), 0))
	for range d.Last() {
		r := must[Record](f)(cur.Next(f.Context()))
		f.Add(must[[]byte](f)(r.AppendBinary(nil)))
	}
	ok(f, d.Close())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("not ErrCorrupt: %v", err)
			}
			return
		}
		again := must[[]byte](t)(r.AppendBinary(nil))
		if !slices.Equal(again, b) {
			t.Error("a record does not come out as it went in")
		}
	})
}
