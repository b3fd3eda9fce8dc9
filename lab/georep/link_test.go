package georep_test

import (
	"errors"
	"testing"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

func TestLink(t *testing.T) {
	t.Run("a new secondary is seeded and then follows", func(t *testing.T) {
		w := newWorld(t, 1)
		insert(t, w.db("a"), 1, 0, 50)
		w.settle(t)
		insert(t, w.db("a"), 1, 50, 100)
		w.settle(t)
		if got := len(rows(t, w.db("b"))); got != 100 {
			t.Errorf("%d rows on the secondary, want 100", got)
		}
		s := w.rel.Link("b").Status()
		if s.Seeds != 1 || s.PercentComplete != 100 || s.LagRecords != 0 || s.Lag != 0 || s.LastCommit.IsZero() || s.LastReplication.Before(s.LastCommit) {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("a write on the secondary is refused", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		if err := run(t.Context(), w.db("b"), row(1, 1)); !errors.Is(err, engine.ErrReadOnly) {
			t.Errorf("error %v, want ErrReadOnly", err)
		}
	})
	t.Run("while suspended nothing is shipped and the lag grows; Resume goes on without seeding", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		link, reason := w.rel.Link("b"), errors.New("the server cannot open the DEK")
		link.Suspend(reason)
		ok(t, link.Await(within(t), georep.Suspended))
		insert(t, w.db("a"), 1, 0, 30)
		s := link.Status()
		if !errors.Is(s.Reason, reason) || s.LagRecords < 29 || s.Lag <= 0 {
			t.Errorf("status %+v", s)
		}
		var suspended *georep.SuspendedError
		if err := link.Drain(within(t), w.db("a").Last()); !errors.As(err, &suspended) || !errors.Is(err, reason) {
			t.Errorf("drain: %v", err)
		}
		link.Resume()
		w.settle(t)
		if s := link.Status(); s.Seeds != 1 || s.Reason != nil {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("a region that is down suspends the link until it is back", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		link := w.rel.Link("b")
		w.regions.set("b", true)
		insert(t, w.db("a"), 1, 0, 5)
		ok(t, link.Await(within(t), georep.Suspended))
		var unreachable *georep.UnreachableError
		if s := link.Status(); !errors.As(s.Reason, &unreachable) || !errors.Is(s.Reason, errDown) {
			t.Errorf("reason %v", s.Reason)
		}
		w.regions.set("b", false)
		w.settle(t)
	})
	t.Run("a new DEK that the secondary cannot open suspends the link until it can", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		link := w.rel.Link("b")
		ok(t, w.db("a").SetEncryption(t.Context(), nil))
		ok(t, w.db("a").Scan(t.Context()))
		w.settle(t)
		w.vaults["b"].refuse("BBBB", true)
		ok(t, w.db("a").SetEncryption(t.Context(), newDEK(t, "dek2", "BBBB")))
		ok(t, w.db("a").Scan(t.Context()))
		ok(t, link.Await(within(t), georep.Suspended))
		var key *engine.KeyError
		if s := link.Status(); !errors.As(s.Reason, &key) || key.Thumbprint != "BBBB" {
			t.Errorf("reason %v", s.Reason)
		}
		insert(t, w.db("a"), 1, 0, 20)
		w.vaults["b"].refuse("BBBB", false)
		w.settle(t)
		if got := w.db("b").Boot(); got.State != engine.StateEncrypted || got.DEK.ID != "dek2" {
			t.Errorf("secondary's boot record %+v", got)
		}
	})
	t.Run("after a restart the link goes on where it was", func(t *testing.T) {
		w := newWorld(t, 2)
		insert(t, w.db("a"), 1, 0, 20)
		w.settle(t)
		w.restart(t)
		insert(t, w.db("a"), 1, 20, 40)
		w.settle(t)
		for _, link := range w.rel.Links() {
			if s := link.Status(); s.Seeds != 0 {
				t.Errorf("%s was seeded %d times after the restart", s.Secondary, s.Seeds)
			}
		}
	})
	t.Run("a secondary that is behind the log is seeded anew", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		w.close()
		w.vlf = 64 << 10
		w.plan(1)
		db := must[*engine.DB](t)(w.replicas["a"].Open(t.Context()))
		for name := range db.Holds() {
			ok(t, db.Release(name))
		}
		insert(t, db, 1, 0, 300)
		ok(t, db.Checkpoint(t.Context()))
		if _, err := db.Read(t.Context(), 2); !errors.Is(err, engine.ErrLogTruncated) {
			t.Fatalf("the log still reaches back: %v", err)
		}
		must[*engine.DB](t)(w.replicas["b"].Open(t.Context()))
		w.connect(t)
		w.settle(t)
		if s := w.rel.Link("b").Status(); s.Seeds != 1 {
			t.Errorf("seeded %d times, want 1", s.Seeds)
		}
		if got := len(rows(t, w.db("b"))); got != 300 {
			t.Errorf("%d rows, want 300", got)
		}
	})
	t.Run("a copy of a newer epoch is not overwritten", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		w.rel.Close()
		ok(t, w.db("b").SetRole(t.Context(), engine.Primary, 9))
		insert(t, w.db("b"), 7, 0, 3)
		ok(t, w.db("b").SetRole(t.Context(), engine.Secondary, 9))
		w.connect(t)
		link := w.rel.Link("b")
		ok(t, link.Await(within(t), georep.Suspended))
		if s := link.Status(); !errors.Is(s.Reason, georep.ErrStalePrimary) {
			t.Errorf("reason %v", s.Reason)
		}
		if got := len(rows(t, w.db("b"))); got != 3 {
			t.Errorf("%d rows left, want 3", got)
		}
	})
	t.Run("a removed secondary is a primary of its own", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		b := w.db("b")
		ok(t, w.rel.Remove(within(t), "b"))
		insert(t, b, 1, 0, 1)
		if len(w.rel.Links()) != 0 || len(w.db("a").Holds()) != 0 {
			t.Errorf("links %d, holds %v", len(w.rel.Links()), w.db("a").Holds())
		}
	})
}
