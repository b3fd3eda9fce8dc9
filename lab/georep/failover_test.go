package georep_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

func role(t testing.TB, w *world, name string) engine.Role {
	t.Helper()
	return must[engine.Boot](t)(engine.ReadBoot(w.options(name).Dir)).Role
}

func TestPlannedFailover(t *testing.T) {
	t.Run("under load nothing acknowledged is lost, and all copies agree", func(t *testing.T) {
		w := newWorld(t, 2)
		w.settle(t)
		l := startLoad(t, w, 4)
		for _, partner := range []string{"b", "c", "a", "b"} {
			l.more(t, 50)
			began := time.Now()
			ok(t, w.rel.PlannedFailover(within(t), partner))
			t.Logf("failover to %s took %v", partner, time.Since(began))
			if got := w.rel.Primary().Name(); got != partner {
				t.Errorf("primary %s, want %s", got, partner)
			}
			// Both sides have to be caught up before the next one.
			for _, link := range w.rel.Links() {
				ok(t, link.Await(within(t), georep.CatchUp))
			}
		}
		l.more(t, 50)
		acked := l.end(t)
		w.settle(t)
		for name := range w.replicas {
			if n := missing(acked, rows(t, w.db(name))); n != 0 {
				t.Errorf("%d of %d acknowledged rows are missing on %s", n, len(acked), name)
			}
		}
		for _, link := range w.rel.Links() {
			if s := link.Status(); s.Seeds != 0 {
				t.Errorf("%s was seeded again", s.Secondary)
			}
		}
	})
	t.Run("it does nothing when the partner is primary already", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		ok(t, w.rel.PlannedFailover(within(t), "b"))
		epoch := w.db("b").Boot().Epoch
		ok(t, w.rel.PlannedFailover(within(t), "b"))
		if got := w.db("b").Boot().Epoch; got != epoch {
			t.Errorf("epoch %d, want %d", got, epoch)
		}
	})
	t.Run("a partner that is not a secondary is refused", func(t *testing.T) {
		w := newWorld(t, 1)
		if err := w.rel.PlannedFailover(within(t), "x"); !errors.Is(err, georep.ErrNoLink) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("writers that waited are told that the database is read-only", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		old := w.db("a")
		l := startLoad(t, w, 2)
		l.more(t, 20)
		ok(t, w.rel.PlannedFailover(within(t), "b"))
		if err := run(t.Context(), old, row(1, 1)); !errors.Is(err, engine.ErrReadOnly) {
			t.Errorf("error %v, want ErrReadOnly", err)
		}
		l.end(t)
	})
	for name, tc := range map[string]struct {
		spoil func(w *world)
		check func(err error) bool
	}{
		"the partner's region is down": {
			func(w *world) { w.regions.set("b", true) },
			func(err error) bool { var u *georep.UnreachableError; return errors.As(err, &u) },
		},
		"the partner's server cannot open the DEK": {
			func(w *world) { w.vaults["b"].refuse("AAAA", true) },
			func(err error) bool { var k *engine.KeyError; return errors.As(err, &k) && errors.Is(err, errRefused) },
		},
		"the link is suspended": {
			func(w *world) { w.rel.Link("b").Suspend(errRefused) },
			func(err error) bool { var s *georep.SuspendedError; return errors.As(err, &s) },
		},
		"the partner is closed": {
			func(w *world) { _ = w.replicas["b"].Detach().Close() },
			func(err error) bool {
				var u *georep.UnreachableError
				var s *georep.SuspendedError
				return errors.As(err, &u) || errors.As(err, &s)
			},
		},
	} {
		t.Run("the old primary goes on writing when "+name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.settle(t)
			tc.spoil(w)
			err := w.rel.PlannedFailover(within(t), "b")
			var rolled *georep.RolledBackError
			if !errors.As(err, &rolled) || !tc.check(err) {
				t.Fatalf("error %v", err)
			}
			insert(t, w.db("a"), 1, 0, 10)
			if w.rel.Primary().Name() != "a" || role(t, w, "a") != engine.Primary || role(t, w, "b") != engine.Secondary {
				t.Error("roles changed")
			}
			ok(t, w.rel.Link("c").Drain(within(t), w.db("a").Last()))
		})
	}
	t.Run("it rolls back at the deadline when the partner does not drain, and writes go on", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		w.rel.Close()
		blocked := make(chan struct{})
		w.rel = georep.NewRelationship(georep.RelationshipOptions{Now: time.Now, Reach: slowAfter(blocked)}, w.replicas["a"])
		link := must[*georep.Link](t)(w.rel.Add(t.Context(), "link-b", w.replicas["b"], time.Time{}))
		ok(t, link.Await(within(t), georep.CatchUp))
		close(blocked)
		insert(t, w.db("a"), 1, 0, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := w.rel.PlannedFailover(ctx, "b")
		var rolled *georep.RolledBackError
		if !errors.As(err, &rolled) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		insert(t, w.db("a"), 1, 10, 20)
	})
}

// slowAfter lets the stream stall once the channel is closed, except for the
// first question of a failover.
func slowAfter(blocked <-chan struct{}) func(ctx context.Context, from, to string) error {
	return func(ctx context.Context, _, _ string) error {
		select {
		case <-blocked:
			<-ctx.Done()
			return ctx.Err()
		default:
			return nil
		}
	}
}

func TestForcedFailover(t *testing.T) {
	t.Run("with the secondary caught up nothing is lost and nothing is seeded", func(t *testing.T) {
		w := newWorld(t, 1)
		insert(t, w.db("a"), 1, 0, 20)
		w.settle(t)
		loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if diff := cmp.Diff(georep.Loss{Known: true, Epoch: 2}, loss); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		insert(t, w.db("b"), 1, 20, 30)
		w.settle(t)
		if s := w.rel.Link("a").Status(); s.Seeds != 0 {
			t.Errorf("old primary was seeded %d times", s.Seeds)
		}
	})
	t.Run("the loss is exactly what is missing, and the old primary's own records go", func(t *testing.T) {
		w := newWorld(t, 2)
		insert(t, w.db("a"), 1, 0, 20)
		w.settle(t)
		w.rel.Link("b").Suspend(errDown)
		ok(t, w.rel.Link("b").Await(within(t), georep.Suspended))
		base := w.db("b").Last()
		insert(t, w.db("a"), 1, 20, 57)
		want := georep.Loss{Known: true, FromLSN: base + 1, ToLSN: base + 37, Transactions: 37, Epoch: 2}
		loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if diff := cmp.Diff(want, loss); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		insert(t, w.db("b"), 2, 0, 60)
		w.settle(t)
		got := rows(t, w.db("a"))
		if len(got) != 80 || got[[2]int{1, 20}] {
			t.Errorf("%d rows on the old primary, want 80 without the lost ones", len(got))
		}
		again := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if diff := cmp.Diff(want, again); diff != "" {
			t.Errorf("asked again (-want +got):\n%s", diff)
		}
	})
	t.Run("under load the loss is what the ledger finds missing", func(t *testing.T) {
		for round := range 4 {
			w := newWorld(t, 2)
			w.settle(t)
			l := startLoad(t, w, 3)
			l.more(t, 30)
			w.rel.Link("b").Suspend(errDown)
			l.more(t, 10+rand.IntN(40))
			// The ledger as of the failover: what was acknowledged by the old primary.
			old := w.db("a")
			loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
			l.more(t, 30)
			acked := l.end(t)
			w.settle(t)
			there := rows(t, w.db("b"))
			if n := missing(acked, there); uint64(n) != loss.Transactions || n == 0 {
				t.Errorf("round %d: %d acknowledged rows are missing, reported %+v", round, n, loss)
			}
			if w.db("a") == old {
				t.Errorf("round %d: the old primary was not seeded", round)
			}
		}
	})
	t.Run("forced to and fro, the losses add up to what the ledger finds missing", func(t *testing.T) {
		w := newWorld(t, 2)
		w.settle(t)
		acked := map[[2]int]bool{}
		var lost uint64
		for round, partner := range []string{"b", "a", "c", "b", "a", "c"} {
			l := startLoadAs(t, w, 3, round)
			l.more(t, 20)
			if round%2 == 0 {
				w.rel.Link(partner).Suspend(errDown)
				l.more(t, 20)
			}
			loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), partner))
			lost += loss.Transactions
			l.more(t, 20)
			for key := range l.end(t) {
				acked[key] = true
			}
			w.settle(t)
		}
		if n := missing(acked, rows(t, w.rel.Primary().DB())); uint64(n) != lost {
			t.Errorf("%d of %d acknowledged rows are missing, %d were reported lost", n, len(acked), lost)
		}
	})
	t.Run("an old primary that was closed is told when it comes back, and its loss is written down", func(t *testing.T) {
		w := newWorld(t, 1)
		insert(t, w.db("a"), 1, 0, 5)
		w.settle(t)
		w.rel.Link("b").Suspend(errDown)
		ok(t, w.rel.Link("b").Await(within(t), georep.Suspended))
		insert(t, w.db("a"), 1, 5, 12)
		ok(t, w.replicas["a"].Detach().Close())
		loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if loss.Known || role(t, w, "a") != engine.Primary {
			t.Errorf("loss %+v of a log that nobody could read", loss)
		}
		insert(t, w.db("b"), 2, 0, 9)
		must[*engine.DB](t)(w.replicas["a"].Open(t.Context()))
		ok(t, w.rel.Link("a").Await(within(t), georep.CatchUp))
		w.settle(t)
		again := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if !again.Known || again.Transactions != 7 {
			t.Errorf("loss %+v, want 7 transactions", again)
		}
		if got := len(rows(t, w.db("a"))); got != 14 {
			t.Errorf("%d rows on the old primary, want 14", got)
		}
	})
	t.Run("a transaction that stays open on the old primary does not hold it up", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		c := must[*sqlite3.Conn](t)(w.db("a").Conn(t.Context()))
		ok(t, c.Exec("BEGIN IMMEDIATE"))
		ok(t, c.Exec(row(1, 1)))
		loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		insert(t, w.db("b"), 2, 0, 5)
		if loss.Known {
			t.Errorf("loss %+v while a transaction could still commit", loss)
		}
		if err := errors.Join(c.Exec("COMMIT"), c.Close()); err == nil {
			t.Log("the transaction was committed before its database stepped down")
		}
		w.settle(t)
		if got := len(rows(t, w.db("a"))); got != 5 {
			t.Errorf("%d rows, want 5", got)
		}
	})
	t.Run("while the old primary is taken back its link is SUSPENDED, and it cannot become primary", func(t *testing.T) {
		w := newWorld(t, 1)
		w.settle(t)
		w.regions.set("a", true)
		insert(t, w.db("a"), 1, 0, 3)
		must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		ok(t, w.rel.Link("a").Await(within(t), georep.Suspended))
		w.regions.set("a", false)
		w.settle(t)
		ok(t, w.rel.PlannedFailover(within(t), "a"))
	})
}

// TestCrash builds each state that a kill can leave a failover in and restarts.
func TestCrash(t *testing.T) {
	setUp := func(t *testing.T) *world {
		w := newWorld(t, 2)
		insert(t, w.db("a"), 1, 0, 10)
		w.settle(t)
		w.rel.Close()
		return w
	}
	t.Run("after the old primary stepped down it is primary again, and the failover can be repeated", func(t *testing.T) {
		w := setUp(t)
		ok(t, w.db("a").SetRole(t.Context(), engine.Secondary, 2))
		w.restart(t)
		if w.rel.Primary().Name() != "a" {
			t.Fatalf("primary %s", w.rel.Primary().Name())
		}
		insert(t, w.db("a"), 1, 10, 20)
		w.settle(t)
		ok(t, w.rel.PlannedFailover(within(t), "b"))
		insert(t, w.db("b"), 1, 20, 30)
		w.settle(t)
	})
	t.Run("after the partner became primary it stays so", func(t *testing.T) {
		w := setUp(t)
		ok(t, w.db("a").SetRole(t.Context(), engine.Secondary, 2))
		ok(t, w.db("b").SetRole(t.Context(), engine.Primary, 2))
		w.restart(t)
		ok(t, w.rel.PlannedFailover(within(t), "b"))
		insert(t, w.db("b"), 1, 10, 20)
		w.settle(t)
	})
	t.Run("after a forced failover made the partner primary, the old one joins it and the loss is known", func(t *testing.T) {
		w := setUp(t)
		insert(t, w.db("a"), 1, 10, 16)
		ok(t, w.db("b").SetRole(t.Context(), engine.Primary, 2))
		w.restart(t)
		if w.rel.Primary().Name() != "b" {
			t.Fatalf("primary %s", w.rel.Primary().Name())
		}
		insert(t, w.db("b"), 2, 0, 5)
		w.settle(t)
		loss := must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
		if !loss.Known || loss.Transactions != 6 {
			t.Errorf("loss %+v, want 6 transactions", loss)
		}
	})
	t.Run("in each step of the exchange of a seeded copy there is one copy afterwards", func(t *testing.T) {
		for step := range 4 {
			w := newWorld(t, 1)
			insert(t, w.db("a"), 1, 0, 10)
			w.settle(t)
			w.close()
			leaveSeeding(t, w.options("b").Dir, step)
			w.restart(t)
			insert(t, w.db("a"), 1, 10, 20)
			w.settle(t)
			if got := len(rows(t, w.db("b"))); got != 20 {
				t.Errorf("step %d: %d rows, want 20", step, got)
			}
		}
	})
}

// TestConvergence stops, restarts, suspends, cuts and fails over at random
// while writers write; in the end all copies are equal and hold what was
// acknowledged.
func TestConvergence(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 3)
	w.settle(t)
	acked := map[[2]int]bool{}
	for round := range 12 {
		l := startLoadAs(t, w, 3, round)
		l.more(t, 20)
		names := []string{"a", "b", "c", "d"}
		name := names[random.IntN(len(names))]
		what := random.IntN(5)
		switch link := w.rel.Link(name); {
		case what == 0 && link != nil:
			link.Suspend(errDown)
			l.more(t, 30)
			link.Resume()
		case what == 1 && link != nil:
			db := w.replicas[name].Detach()
			if db != nil {
				ok(t, db.Close())
			}
			l.more(t, 30)
			must[*engine.DB](t)(w.replicas[name].Open(t.Context()))
		case what == 2:
			w.regions.set(name, true)
			l.more(t, 30)
			w.regions.set(name, false)
		case what == 3 && link != nil:
			if err := w.rel.PlannedFailover(within(t), name); err != nil {
				var rolled *georep.RolledBackError
				if !errors.As(err, &rolled) {
					t.Fatal(err)
				}
			}
			l.more(t, 10)
		}
		for key := range l.end(t) {
			acked[key] = true
		}
		if what == 4 {
			w.restart(t)
		}
	}
	w.settle(t)
	for name := range w.replicas {
		if n := missing(acked, rows(t, w.db(name))); n != 0 {
			t.Errorf("%d of %d acknowledged rows are missing on %s", n, len(acked), name)
		}
	}
}

func startLoadAs(t testing.TB, w *world, writers, round int) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{w: w, stop: stop, acked: map[[2]int]bool{}, grew: make(chan struct{})}
	for writer := range writers {
		l.done.Go(func() { l.write(ctx, 1000+round*10+writer) })
	}
	return l
}

func BenchmarkReplication(b *testing.B) {
	for _, durable := range []bool{false, true} {
		for _, writers := range []int{1, 4} {
			b.Run(fmt.Sprintf("fsync %v, %d writers at full load", durable, writers), func(b *testing.B) {
				w := newWorldSync(b, 1, durable)
				w.settle(b)
				link := w.rel.Link("b")
				l := startLoad(b, w, writers)
				l.more(b, 100)
				var records uint64
				var lag time.Duration
				samples := 0
				from, began := w.db("b").Last(), time.Now()
				for b.Loop() {
					l.more(b, 100)
					s := link.Status()
					records, lag, samples = records+s.LagRecords, lag+s.Lag, samples+1
				}
				b.ReportMetric(float64(w.db("b").Last()-from)/time.Since(began).Seconds(), "records/s")
				b.ReportMetric(float64(records)/float64(samples), "lag-records")
				b.ReportMetric(float64(lag.Microseconds())/1000/float64(samples), "lag-ms")
				l.end(b)
				w.settle(b)
			})
		}
	}
}

// BenchmarkCatchUp measures how fast a secondary takes records that are there
// already.
func BenchmarkCatchUp(b *testing.B) {
	const records = 2000
	w := newWorldSync(b, 1, true)
	w.settle(b)
	link := w.rel.Link("b")
	n := 0
	for b.Loop() {
		b.StopTimer()
		link.Suspend(errDown)
		ok(b, link.Await(b.Context(), georep.Suspended))
		c := must[*sqlite3.Conn](b)(w.db("a").Conn(b.Context()))
		for range records {
			ok(b, c.Exec(row(1, n)))
			n++
		}
		ok(b, c.Close())
		b.StartTimer()
		link.Resume()
		ok(b, link.Await(b.Context(), georep.CatchUp))
		ok(b, link.Drain(b.Context(), w.db("a").Last()))
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkPlannedFailover measures from call to return, with four writers.
func BenchmarkPlannedFailover(b *testing.B) {
	w := newWorldSync(b, 2, true)
	w.settle(b)
	l := startLoad(b, w, 4)
	l.more(b, 50)
	worst := time.Duration(0)
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		for _, link := range w.rel.Links() {
			ok(b, link.Await(b.Context(), georep.CatchUp))
		}
		l.more(b, 20)
		b.StartTimer()
		began := time.Now()
		ok(b, w.rel.PlannedFailover(b.Context(), []string{"b", "c", "a"}[n%3]))
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
	l.end(b)
	w.settle(b)
}
