package backup_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/backup"
	"github.com/crosskeys/crosskeys/lab/engine"
)

const day = 24 * time.Hour

func TestPointInTime(t *testing.T) {
	t.Run("a restore to any moment holds exactly what was acknowledged by then", func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := mathrand.New(mathrand.NewPCG(seed, 1))
		w := newWorld(t, nil)
		began := w.clock.Now()
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		for range 12 {
			w.write(t, random.IntN(12))
			must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
			if random.IntN(5) == 0 {
				w.clock.forward(time.Minute)
				must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
			}
		}
		w.write(t, 5) // not backed up
		_, latest, _ := w.store.Range()
		for range 15 {
			w.restore(t, began.Add(time.Duration(random.Int64N(int64(latest.Sub(began)+1)))))
		}
		w.restore(t, began)
		w.restore(t, latest)
	})
	t.Run("backups taken while a writer writes hold what was acknowledged by their time, and nothing later", func(t *testing.T) {
		w := newWorld(t, nil)
		w.clock.ticks = true
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		var failed error
		var begun, acked []time.Time
		writer.Go(func() {
			c, err := w.db.Conn(ctx)
			for n := 0; err == nil && ctx.Err() == nil; n++ {
				w.clock.forward(time.Millisecond)
				begun = append(begun, w.clock.Now())
				err = c.Exec(fmt.Sprintf("INSERT INTO acked VALUES (%d, hex(randomblob(200)))", n))
				acked = append(acked, w.clock.Now())
			}
			failed = errors.Join(err, c.Close())
		})
		for range 10 {
			must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		}
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		for range 5 {
			must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		}
		stop()
		writer.Wait()
		ok(t, failed)
		for _, c := range w.store.Chains() {
			for _, b := range append([]backup.Backup{c.Full}, c.Logs...) {
				ok(t, backup.Verify(b))
				w.made++
				db := must[*engine.DB](t)(backup.Restore(t.Context(), c, b.Time, w.options(fmt.Sprintf("restored-%d", w.made)), "r"))
				got := rows(t, db)
				for n := range begun {
					if got[n] && begun[n].After(b.Time) || !got[n] && !acked[n].After(b.Time) {
						t.Errorf("%s backup of %v: row %d, begun at %v and acknowledged at %v, is there: %v", b.Kind, b.Time, n, begun[n], acked[n], got[n])
					}
				}
				ok(t, errors.Join(db.Verify(t.Context()), db.Close()))
			}
		}
	})
	t.Run("a moment outside of what is kept is refused with the range", func(t *testing.T) {
		w := newWorld(t, nil)
		var outside *backup.RangeError
		if _, err := w.store.ChainAt(w.clock.Now()); !errors.As(err, &outside) {
			t.Errorf("without a backup: %v", err)
		}
		full := must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		w.write(t, 3)
		b := must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		for _, at := range []time.Time{full.Time.Add(-1), b.Time.Add(1)} {
			_, err := w.store.ChainAt(at)
			if !errors.As(err, &outside) || !outside.Earliest.Equal(full.Time) || !outside.Latest.Equal(b.Time) {
				t.Errorf("%v: %v", at, err)
			}
		}
	})
	t.Run("the database may go off TDE and on with a new DEK within a chain", func(t *testing.T) {
		w := newWorld(t, nil)
		began := w.clock.Now()
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		w.write(t, 5)
		ok(t, w.db.SetEncryption(t.Context(), nil))
		ok(t, w.db.Scan(t.Context()))
		w.write(t, 5)
		must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		ok(t, w.db.SetEncryption(t.Context(), &engine.PlainDEK{Key: w.key, Wrapped: wrap("dek2", "BBBB", w.key, w.clock.Now())}))
		ok(t, w.db.Scan(t.Context()))
		w.write(t, 5)
		b := must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		for n := range 15 {
			w.restore(t, began.Add(time.Duration(n)*time.Second))
		}
		w.vault.refuse("BBBB", true)
		chain := must[backup.Chain](t)(w.store.ChainAt(b.Time))
		var missing *backup.MissingKeyError
		if _, err := backup.Restore(t.Context(), chain, b.Time, w.options("never"), "x"); !errors.As(err, &missing) || missing.Thumbprint != "BBBB" {
			t.Errorf("error %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	setUp := func(t *testing.T) (w *world, first, second, third time.Time) {
		w = newWorld(t, nil)
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		w.write(t, 4)
		first = must[backup.Backup](t)(w.store.Log(t.Context(), w.db)).Time
		ok(t, w.db.Rewrap(t.Context(), wrap("dek1", "BBBB", w.key, w.clock.Now())))
		w.write(t, 4)
		second = must[backup.Backup](t)(w.store.Log(t.Context(), w.db)).Time
		ok(t, w.db.Rewrap(t.Context(), wrap("dek1", "CCCC", w.key, w.clock.Now())))
		w.write(t, 4)
		w.clock.forward(time.Minute)
		third = must[backup.Backup](t)(w.store.Full(t.Context(), w.db)).Time
		return w, first, second, third
	}
	t.Run("the keys that are needed are listed with their thumbprints", func(t *testing.T) {
		w, _, _, _ := setUp(t)
		var got []string
		for _, k := range w.store.Keys() {
			got = append(got, k.Thumbprint)
		}
		if diff := cmp.Diff([]string{"AAAA", "BBBB", "CCCC"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a restore needs each key of the part of the chain that it reads, and names the one that is refused", func(t *testing.T) {
		w, first, second, third := setUp(t)
		for _, tc := range []struct {
			name, refused string
			until         time.Time
			missing       bool
		}{
			{"the full backup's", "AAAA", first, true},
			{"the full backup's, for a later moment", "AAAA", second, true},
			{"a log backup's", "BBBB", second, true},
			{"the new chain's own", "CCCC", third, true},
			{"an old one, for the new chain", "AAAA", third, false},
			{"an old log's, for the new chain", "BBBB", third, false},
		} {
			w.vault.refuse(tc.refused, true)
			chain := must[backup.Chain](t)(w.store.ChainAt(tc.until))
			target := w.options("target-" + tc.refused + tc.until.Format("150405"))
			db, err := backup.Restore(t.Context(), chain, tc.until, target, "x")
			var missing *backup.MissingKeyError
			if got := errors.As(err, &missing); got != tc.missing || (err != nil && !got) {
				t.Errorf("%s refused: %v", tc.name, err)
			}
			if missing != nil && (missing.KeyURI != keyURI(tc.refused) || !errors.Is(err, errRefused)) {
				t.Errorf("%s refused: error names %q: %v", tc.name, missing.KeyURI, err)
			}
			if db != nil {
				ok(t, db.Close())
			}
			if _, err := os.Stat(target.Dir); tc.missing && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s refused: something was left: %v", tc.name, err)
			}
			w.vault.refuse(tc.refused, false)
		}
	})
	t.Run("no backup holds plaintext with TDE on", func(t *testing.T) {
		w := newWorld(t, nil)
		w.exec(t, "INSERT INTO acked VALUES (7, 'PLANTED-PLAINTEXT')")
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		w.exec(t, "INSERT INTO acked VALUES (8, 'PLANTED-PLAINTEXT')")
		must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		if planted(t, w) {
			t.Error("plaintext found")
		}
		ok(t, w.db.SetEncryption(t.Context(), nil))
		ok(t, w.db.Scan(t.Context()))
		w.clock.forward(time.Hour)
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		if !planted(t, w) {
			t.Error("the search does not find it with TDE off either")
		}
	})
}

func planted(t *testing.T, w *world) (found bool) {
	ok(t, filepath.WalkDir(filepath.Join(w.dir, "backups"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || strings.Contains(string(data), "PLANTED-PLAINTEXT")
		return err
	}))
	return found
}

func TestSchedule(t *testing.T) {
	t.Run("a full backup every week and a log backup every ten minutes, however the clock moves", func(t *testing.T) {
		w := newWorld(t, nil)
		ok(t, w.store.Due(t.Context(), w.db))
		for range 6 {
			w.write(t, 2)
			w.clock.forward(5 * time.Minute)
			ok(t, w.store.Due(t.Context(), w.db))
		}
		chains := w.store.Chains()
		if len(chains) != 1 || len(chains[0].Logs) != 3 {
			t.Errorf("%d chains, %d logs", len(chains), len(chains[0].Logs))
		}
		w.clock.forward(3650 * day)
		ok(t, w.store.Due(t.Context(), w.db))
		ok(t, w.store.Due(t.Context(), w.db))
		if got := w.store.Chains(); len(got) != 2 || len(got[1].Logs) != 0 {
			t.Errorf("after ten years: %d chains", len(got))
		}
	})
	t.Run("idle time adds one file that says so, not one each time", func(t *testing.T) {
		w := newWorld(t, nil)
		for range 50 {
			ok(t, w.store.Due(t.Context(), w.db))
			w.clock.forward(10 * time.Minute)
		}
		chains := w.store.Chains()
		if len(chains) != 1 || len(chains[0].Logs) != 1 {
			t.Fatalf("%d chains, %d logs", len(chains), len(chains[0].Logs))
		}
		files := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(chains[0].Full.File)))
		if len(files) != 2 {
			t.Errorf("%d files", len(files))
		}
		w.restore(t, chains[0].Full.Time.Add(7*time.Hour))
	})
	t.Run("chains that the window no longer needs go, and the earliest restore point moves", func(t *testing.T) {
		w := newWorld(t, func(o *backup.Options) { o.RetentionDays = 7 })
		for range 5 * 7 * 4 {
			ok(t, w.store.Due(t.Context(), w.db))
			w.write(t, 1)
			w.clock.forward(6 * time.Hour)
		}
		if got := len(w.store.Chains()); got != 2 {
			t.Errorf("%d chains, want 2: the window of 7 days is between two full backups", got)
		}
		earliest, _, _ := w.store.Range()
		if want := w.clock.Now().Add(-7 * day); !earliest.Equal(want) {
			t.Errorf("earliest restore point %v, want %v", earliest, want)
		}
		w.restore(t, earliest)
		entries := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(w.dir, "backups", "pitr")))
		if len(entries) != 2 {
			t.Errorf("%d folders", len(entries))
		}
	})
	t.Run("what is kept survives a restart", func(t *testing.T) {
		w := newWorld(t, func(o *backup.Options) { o.LongTerm.Weekly = backup.Period{Weeks: 4} })
		for range 30 {
			ok(t, w.store.Due(t.Context(), w.db))
			w.write(t, 1)
			w.clock.forward(12 * time.Hour)
		}
		chains, longTerm := w.store.Chains(), w.store.LongTerm()
		if len(longTerm) == 0 {
			t.Fatal("no long-term backup")
		}
		w.open(t, nil)
		if diff := cmp.Diff(chains, w.store.Chains()); diff != "" {
			t.Errorf("chains (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(longTerm, w.store.LongTerm()); diff != "" {
			t.Errorf("long-term (-before +after):\n%s", diff)
		}
	})
	t.Run("log that was backed up does not stay active", func(t *testing.T) {
		w := newWorld(t, nil)
		ok(t, w.store.Due(t.Context(), w.db))
		active := func() (n int) {
			for _, v := range w.db.VLFs() {
				if v.Active {
					n++
				}
			}
			return n
		}
		w.write(t, 200)
		ok(t, w.db.Checkpoint(t.Context()))
		before := active()
		must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
		ok(t, w.db.Checkpoint(t.Context()))
		if after := active(); after >= before || after > 2 {
			t.Errorf("%d active VLFs, %d before the log backup", after, before)
		}
	})
}

func TestHistory(t *testing.T) {
	t.Run("a database that was seeded with another history begins a new chain, and the old one still restores", func(t *testing.T) {
		w := newWorld(t, nil)
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		w.write(t, 5)
		until := must[backup.Backup](t)(w.store.Log(t.Context(), w.db)).Time
		// The same database as of before, which then goes another way.
		chain := must[backup.Chain](t)(w.store.ChainAt(until))
		other := must[*engine.DB](t)(backup.Restore(t.Context(), chain, chain.Full.Time, w.options("other"), "db-source"))
		defer func() { _ = other.Close() }()
		c := must[*sqlite3.Conn](t)(other.Conn(t.Context()))
		for n := range 9 {
			w.clock.forward(time.Second)
			ok(t, c.Exec("INSERT INTO acked(n) VALUES ("+string(rune('1'+n))+"000)"))
		}
		ok(t, c.Close())
		b := must[backup.Backup](t)(w.store.Log(t.Context(), other))
		if b.Kind != backup.Full || len(w.store.Chains()) != 2 {
			t.Errorf("a %s backup, %d chains", b.Kind, len(w.store.Chains()))
		}
		w.restore(t, until)
	})
	t.Run("a lost hold begins a new chain", func(t *testing.T) {
		w := newWorld(t, nil)
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		ok(t, w.store.Leave(w.db))
		w.write(t, 300)
		ok(t, w.db.Checkpoint(t.Context()))
		if b := must[backup.Backup](t)(w.store.Log(t.Context(), w.db)); b.Kind != backup.Full {
			t.Errorf("a %s backup", b.Kind)
		}
	})
	t.Run("Forget loses the point-in-time history and the policy, not the long-term backups", func(t *testing.T) {
		w := newWorld(t, func(o *backup.Options) { o.LongTerm.Weekly = backup.Period{Weeks: 4} })
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		ok(t, w.store.Forget())
		w.clock.forward(8 * day)
		must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
		if len(w.store.Chains()) != 1 || len(w.store.LongTerm()) != 1 {
			t.Errorf("%d chains, %d long-term backups", len(w.store.Chains()), len(w.store.LongTerm()))
		}
	})
}

func TestLongTerm(t *testing.T) {
	w := newWorld(t, func(o *backup.Options) {
		o.LongTerm = backup.LongTermPolicy{Weekly: backup.Period{Weeks: 3}, Monthly: backup.Period{Months: 6}}
	})
	var first time.Time
	for week := range 12 {
		w.write(t, 1)
		ok(t, w.store.Due(t.Context(), w.db))
		if week == 0 {
			first = w.store.LongTerm()[0].Time
			ok(t, w.db.Rewrap(t.Context(), wrap("dek1", "BBBB", w.key, w.clock.Now())))
		}
		w.clock.forward(7 * day)
	}
	longTerm := w.store.LongTerm()
	if len(longTerm) < 4 || len(longTerm) > 6 {
		t.Errorf("%d long-term backups, want the last weeks' and the months'", len(longTerm))
	}
	oldest := longTerm[0]
	if !oldest.Time.Equal(first) {
		t.Fatalf("oldest is of %v, want %v", oldest.Time, first)
	}
	t.Run("it is restored long after the chains are gone", func(t *testing.T) {
		db := must[*engine.DB](t)(backup.RestoreLongTerm(t.Context(), oldest, w.options("ltr"), "db-restored"))
		w.compare(t, db, oldest.Time)
		ok(t, db.Close())
	})
	t.Run("it needs the key of its time", func(t *testing.T) {
		w.vault.refuse("AAAA", true)
		_, err := backup.RestoreLongTerm(t.Context(), oldest, w.options("ltr2"), "x")
		var missing *backup.MissingKeyError
		if !errors.As(err, &missing) || missing.KeyURI != keyURI("AAAA") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("its key is listed until it expires", func(t *testing.T) {
		listed := func() bool {
			for _, k := range w.store.Keys() {
				if k.Thumbprint == "AAAA" {
					return true
				}
			}
			return false
		}
		if !listed() {
			t.Error("not listed")
		}
		w.clock.forward(365 * day)
		ok(t, w.store.Due(t.Context(), w.db))
		if listed() {
			t.Error("listed after its expiry")
		}
	})
}

func TestDamage(t *testing.T) {
	w := newWorld(t, nil)
	full := must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
	w.write(t, 3)
	logged := must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
	chain := must[backup.Chain](t)(w.store.ChainAt(logged.Time))
	for name, b := range map[string]backup.Backup{"full": full, "log": logged} {
		whole := must[[]byte](t)(os.ReadFile(b.File))
		t.Run("a flipped bit in a "+name+" backup is found", func(t *testing.T) {
			for range 200 {
				at, bit := mathrand.IntN(len(whole)), mathrand.IntN(8)
				spoilt := append([]byte(nil), whole...)
				spoilt[at] ^= 1 << bit
				ok(t, os.WriteFile(b.File, spoilt, 0o600))
				if err := backup.Verify(b); !errors.Is(err, backup.ErrDamaged) {
					t.Fatalf("byte %d bit %d: %v", at, bit, err)
				}
			}
		})
		t.Run("a "+name+" backup that is cut or lengthened is found", func(t *testing.T) {
			cuts := []int{0, 5, len(whole) - 1}
			for at := 12; at < len(whole); at += 13 + int(binary.LittleEndian.Uint32(whole[at:])) + 4 {
				cuts = append(cuts, at, at+7) // between two frames, and within one
			}
			for _, at := range cuts {
				ok(t, os.WriteFile(b.File, whole[:at], 0o600))
				if err := backup.Verify(b); !errors.Is(err, backup.ErrDamaged) {
					t.Fatalf("cut after %d of %d bytes: %v", at, len(whole), err)
				}
				if db, err := backup.Restore(t.Context(), chain, logged.Time, w.options("cut"), "x"); !errors.Is(err, backup.ErrDamaged) || db != nil {
					t.Fatalf("restored from %d of %d bytes: %v", at, len(whole), err)
				}
			}
			ok(t, os.WriteFile(b.File, append(append([]byte(nil), whole...), 0), 0o600))
			if err := backup.Verify(b); !errors.Is(err, backup.ErrDamaged) {
				t.Error(err)
			}
		})
		t.Run("a restore from a damaged "+name+" backup fails and leaves nothing", func(t *testing.T) {
			spoilt := append([]byte(nil), whole...)
			spoilt[len(spoilt)*2/3] ^= 4
			ok(t, os.WriteFile(b.File, spoilt, 0o600))
			if _, err := backup.Restore(t.Context(), chain, logged.Time, w.options("damaged"), "x"); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("error %v", err)
			}
			left := must[[]string](t)(filepath.Glob(filepath.Join(w.dir, "damaged*")))
			if len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
		ok(t, os.WriteFile(b.File, whole, 0o600))
	}
	w.restore(t, logged.Time)
}

func TestCrash(t *testing.T) {
	w := newWorld(t, nil)
	full := must[backup.Backup](t)(w.store.Full(t.Context(), w.db))
	w.write(t, 3)
	logged := must[backup.Backup](t)(w.store.Log(t.Context(), w.db))
	t.Run("a backup that was being written is cleared away, a chain without its full backup too", func(t *testing.T) {
		half := filepath.Join(filepath.Dir(full.File), "00000002.log.new")
		ok(t, os.WriteFile(half, []byte("CKST"), 0o600))
		orphan := filepath.Join(w.dir, "backups", "pitr", "20250101T000000.000000000Z")
		ok(t, os.MkdirAll(orphan, 0o700))
		ok(t, os.CopyFS(orphan, os.DirFS(filepath.Dir(full.File))))
		ok(t, os.Remove(filepath.Join(orphan, filepath.Base(full.File))))
		w.open(t, nil)
		for _, path := range []string{half, orphan} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
		w.restore(t, logged.Time)
	})
	t.Run("a restore that was interrupted does not hinder the next one", func(t *testing.T) {
		target := w.options("again")
		ok(t, os.MkdirAll(filepath.Join(target.Dir+".restoring", "log"), 0o700))
		chain := must[backup.Chain](t)(w.store.ChainAt(logged.Time))
		db := must[*engine.DB](t)(backup.Restore(t.Context(), chain, logged.Time, target, "x"))
		ok(t, db.Close())
	})
	t.Run("a restore does not overwrite a database", func(t *testing.T) {
		chain := must[backup.Chain](t)(w.store.ChainAt(logged.Time))
		if _, err := backup.Restore(t.Context(), chain, logged.Time, w.options("source"), "x"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("error %v", err)
		}
	})
}
