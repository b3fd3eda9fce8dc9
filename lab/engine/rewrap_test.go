package engine

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// thumbprints are those of the active ones.
func thumbprints(vlfs []VLF) (out []string) {
	for _, v := range vlfs {
		if v.Active {
			out = append(out, v.Thumbprint)
		}
	}
	return out
}

// grow writes enough for the log to move on.
func grow(t testing.TB, d *DB, bytes int) {
	t.Helper()
	c := conn(t, d)
	defer closing(t, c)
	run(t, c, "CREATE TABLE IF NOT EXISTS g(v BLOB)")
	for range bytes / 20_000 {
		run(t, c, "INSERT INTO g VALUES (randomblob(20000)); DELETE FROM g")
	}
}

func TestRewrap(t *testing.T) {
	v := newVault()
	o := options(t.TempDir(), v)
	o.VLFSize = 256 << 10
	key := newKey(t, "dek", "A1")
	d := create4(t, o, key)
	grow(t, d, 100_000)
	opened := v.opened["A1"]
	var during Boot
	o2 := v.open
	d.o.Open = func(ctx context.Context, w WrappedDEK) ([]byte, error) { during = d.Boot(); return o2(ctx, w) }
	ok(t, d.Rewrap(t.Context(), rewrapped(key, "B2")))
	if during.State != StateProtectionChange || during.DEK.Thumbprint != "A1" {
		t.Errorf("during the change: %+v", during)
	}
	if b := d.Boot(); b.State != StateEncrypted || b.DEK.Thumbprint != "B2" || b.DEK.ID != "dek" {
		t.Errorf("after the change: %+v", b)
	}
	if v.opened["A1"] != opened || v.opened["B2"] != 1 {
		t.Errorf("vault calls: %v", v.opened)
	}
	t.Run("leaves the log files' wrapping as it was", func(t *testing.T) {
		for _, vlf := range d.VLFs() {
			if vlf.Thumbprint != "A1" {
				t.Errorf("a log file from before the change: %+v", vlf)
			}
		}
	})
	t.Run("needs the old key while a log file of its time is active", func(t *testing.T) {
		crashed := options(copyDir(t, d), v)
		v.disable("A1", errDisabled)
		defer v.disable("A1", nil)
		_, err := Open(t.Context(), crashed)
		var ke *KeyError
		if !errors.As(err, &ke) || ke.Thumbprint != "A1" || !errors.Is(err, errDisabled) {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("needs the new key alone once that is inactive", func(t *testing.T) {
		for i := 0; d.VLFs()[len(d.VLFs())-1].Thumbprint != "B2"; i++ {
			if grow(t, d, 20_000); i > 100 {
				t.Fatal("the log does not move on")
			}
		}
		ok(t, d.Checkpoint(t.Context()))
		vlfs := d.VLFs()
		if len(vlfs) < 2 || vlfs[0].Thumbprint != "A1" || vlfs[0].Active || vlfs[0].Status != 0 {
			t.Fatalf("the old log file is not there, or active: %+v", vlfs)
		}
		for i := 1; i < len(vlfs); i++ {
			if vlfs[i].BeginOffset != vlfs[i-1].BeginOffset+vlfs[i-1].Size || vlfs[i].Sequence != vlfs[i-1].Sequence+1 || vlfs[i].Parity == vlfs[i-1].Parity || vlfs[i].CreateLSN+1 != vlfs[i].FirstLSN && vlfs[i].FirstLSN != 0 {
				t.Errorf("%+v follows %+v", vlfs[i], vlfs[i-1])
			}
		}
		if last := vlfs[len(vlfs)-1]; last.Thumbprint != "B2" || !last.Active || last.Status != 2 {
			t.Errorf("the current log file: %+v", last)
		}
		v.disable("A1", errDisabled)
		defer v.disable("A1", nil)
		crashed := options(copyDir(t, d), v)
		read, err := ReadVLFs(crashed.Dir)
		ok(t, err)
		if diff := cmp.Diff(thumbprints(vlfs), thumbprints(read)); diff != "" {
			t.Error("ReadVLFs:", diff)
		}
		integrity(t, open4(t, crashed))
	})
	t.Run("is needed still by a hold", func(t *testing.T) {
		d2 := create4(t, Options{Dir: t.TempDir(), Now: o.Now, Random: o.Random, Open: v.open, NoSync: true, VLFSize: 256 << 10}, newKey(t, "dek2", "A1"))
		ok(t, d2.Hold("log backup", d2.Last()))
		grow(t, d2, 500_000)
		ok(t, d2.Checkpoint(t.Context()))
		if vlfs := d2.VLFs(); !vlfs[0].Active {
			t.Errorf("a held log file is not active: %+v", vlfs[0])
		}
		ok(t, d2.Release("log backup"))
		if vlfs := d2.VLFs(); vlfs[0].Active && len(vlfs) > 1 {
			t.Errorf("a released log file is active: %+v", vlfs[0])
		}
	})
	t.Run("refuses a wrapping that does not open the DEK, and one of another DEK", func(t *testing.T) {
		wrong := rewrapped(key, "C3")
		wrong.Wrapped[3] ^= 1
		var ke *KeyError
		if err := d.Rewrap(t.Context(), wrong); !errors.As(err, &ke) || !errors.Is(err, ErrWrongKey) {
			t.Errorf("a broken wrapping: %v", err)
		}
		v.disable("C3", errDisabled)
		if err := d.Rewrap(t.Context(), rewrapped(key, "C3")); !errors.Is(err, errDisabled) {
			t.Errorf("a disabled key: %v", err)
		}
		if err := d.Rewrap(t.Context(), newKey(t, "other", "A1").Wrapped); !errors.Is(err, ErrWrongState) {
			t.Errorf("another DEK: %v", err)
		}
		if b := d.Boot(); b.DEK.Thumbprint != "B2" || b.State != StateEncrypted {
			t.Errorf("after the refusals: %+v", b)
		}
	})
	t.Run("is durable at once, and on a secondary too", func(t *testing.T) {
		r := replica(t, d, options(t.TempDir(), v))
		ok(t, r.Rewrap(t.Context(), rewrapped(key, "D4")))
		b, err := ReadBoot(copyDir(t, r))
		ok(t, err)
		if b.DEK.Thumbprint != "D4" || b.Role != Secondary {
			t.Errorf("boot record: %+v", b)
		}
	})
}

func TestSetEncryption(t *testing.T) {
	v := newVault()
	dir := t.TempDir()
	d := create4(t, options(filepath.Join(dir, "a"), v), nil)
	grow(t, d, 200_000)
	r := replica(t, d, options(filepath.Join(dir, "b"), v))
	if b := d.Boot(); b.State != StateUnencrypted || b.DEK != nil {
		t.Errorf("boot: %+v", b)
	}
	if diff := cmp.Diff([]string{""}, thumbprints(d.VLFs())); diff != "" {
		t.Error(diff)
	}
	if err := d.SetEncryption(t.Context(), nil); !errors.Is(err, ErrWrongState) {
		t.Errorf("off twice: %v", err)
	}
	ok(t, d.Hold("r", r.Last()))
	ok(t, d.SetEncryption(t.Context(), newKey(t, "dek", "A1")))
	if err := d.SetEncryption(t.Context(), nil); !errors.Is(err, ErrScanInProgress) {
		t.Errorf("off during the scan: %v", err)
	}
	t.Run("a replica whose server cannot open the new key stops there, by type", func(t *testing.T) {
		cur := must[*Cursor](t)(d.Read(t.Context(), r.Last()))
		rec := must[Record](t)(cur.Next(t.Context()))
		v.disable("A1", errDisabled)
		var ke *KeyError
		if err := r.Apply(t.Context(), rec); !errors.As(err, &ke) || !errors.Is(err, errDisabled) {
			t.Errorf("Apply: %v", err)
		}
		v.disable("A1", nil)
		ok(t, r.Apply(t.Context(), rec))
		if b := r.Boot(); b.State != StateEncrypting || b.DEK == nil {
			t.Errorf("replica's boot: %+v", b)
		}
	})
	ok(t, d.Scan(t.Context()))
	ok(t, d.Scan(t.Context())) // nothing is left to do
	catchUp(t, d, r)
	ok(t, d.Release("r"))
	if diff := cmp.Diff([]string{"A1"}, thumbprints(d.VLFs())); diff != "" {
		t.Error(diff)
	}
	ok(t, d.SetRole(t.Context(), Secondary, 2))
	ok(t, r.SetRole(t.Context(), Primary, 2))
	grow(t, r, 100_000)
	ok(t, r.SetEncryption(t.Context(), nil))
	t.Run("a new primary goes on with the scan that the old one began", func(t *testing.T) {
		ok(t, r.Scan(t.Context()))
		catchUp(t, r, d)
		for _, d := range []*DB{d, r} {
			if b := d.Boot(); b.State != StateUnencrypted || b.DEK != nil {
				t.Errorf("boot: %+v", b)
			}
			integrity(t, d)
		}
	})
	ok(t, r.Hold("d", d.Last()))
	ok(t, r.SetEncryption(t.Context(), newKey(t, "dek2", "B2")))
	ok(t, r.Scan(t.Context()))
	catchUp(t, r, d)
	for _, d := range []*DB{d, r} {
		o := d.o
		ok(t, d.Close())
		d2 := open4(t, o)
		if b := d2.Boot(); b.State != StateEncrypted || b.DEK.ID != "dek2" {
			t.Errorf("boot: %+v", b)
		}
		integrity(t, d2)
	}
}
