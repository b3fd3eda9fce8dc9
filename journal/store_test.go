package journal_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// onStores runs a test on SQLite and, where CROSSKEYS_TEST_POSTGRES names a
// server, on PostgreSQL, in a database of its own.
func onStores(t *testing.T, test func(t *testing.T, open func() *journal.Store)) {
	opener := func(t *testing.T, where string) func() *journal.Store {
		return func() *journal.Store {
			t.Helper()
			s, err := journal.OpenStore(t.Context(), where, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
	}
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, opener(t, t.TempDir()))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		address := os.Getenv("CROSSKEYS_TEST_POSTGRES")
		if address == "" {
			if os.Getenv("CI") != "" {
				t.Fatal("CROSSKEYS_TEST_POSTGRES names no server; scripts/unit.sh starts one")
			}
			t.Skip("SKIP the journal on PostgreSQL: CROSSKEYS_TEST_POSTGRES names no server; scripts/unit.sh starts one")
		}
		test(t, opener(t, ownDatabase(t, address)))
	})
}

func ownDatabase(t *testing.T, address string) string {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("journal_%d_%s", time.Now().UnixNano(), strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, t.Name()))[:8])
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		if err := errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func beginning() journal.BeginEntry {
	return journal.BeginEntry{Verb: "apply", PlanHash: strings.Repeat("ab", 32), Target: "fog", Plan: plan.Plan{SchemaVersion: 1}}
}

func remark(text string) journal.Record { return journal.Record{Kind: journal.Note, Note: text} }

func TestARunIsWrittenReadListedAndResumed(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		r, err := s.Begin(t.Context(), beginning(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Append(remark("first")); err != nil {
			t.Fatal(err)
		}
		found, err := open().Unfinished(t.Context(), beginning().PlanHash)
		if err != nil || found != r.ID() {
			t.Fatalf("unfinished: %q %v", found, err)
		}
		again, log, err := open().Resume(t.Context(), r.ID(), journal.Who{Version: "test"}, nil)
		if err != nil || len(log.Records) != 2 {
			t.Fatalf("%+v %v", log, err)
		}
		if err := r.Append(remark("by the process that was thought dead")); err == nil {
			t.Error("two processes continue one chain")
		}
		if err := again.Append(journal.Record{Kind: journal.End, End: &journal.EndEntry{Status: journal.StatusDone}}); err != nil {
			t.Fatal(err)
		}
		list, err := s.Runs(t.Context())
		if err != nil || len(list) != 1 || !list[0].Over() || list[0].Records != 4 {
			t.Fatalf("%+v %v", list, err)
		}
		if found, err := s.Unfinished(t.Context(), beginning().PlanHash); err != nil || found != "" {
			t.Errorf("a complete run is called unfinished: %q %v", found, err)
		}
		read, err := s.Read(t.Context(), r.ID())
		if err != nil || read.Head != again.Head() || !read.Complete() {
			t.Fatalf("%v %v", read.Complete(), err)
		}
		if _, err := s.Read(t.Context(), "no such run"); !errors.Is(err, journal.ErrNoRun) {
			t.Errorf("%v", err)
		}
	})
}

func TestAChangedRecordIsNamed(t *testing.T) {
	folder := t.TempDir()
	s, err := journal.OpenStore(t.Context(), folder, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r, err := s.Begin(t.Context(), beginning(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := r.Append(remark(text)); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite3", "file:"+folder+"/"+journal.FileName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `UPDATE records SET line = replace(line, '"two"', '"2"') WHERE seq = 3`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), r.ID())
	if broken, ok := errors.AsType[*journal.ChainError](err); !ok || broken.Record != 4 {
		t.Fatalf("%v", err)
	}
}

func TestOneRunAtATimeHasTheServers(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		first, err := s.Acquire(t.Context(), "run-1", "process 1", []string{"A", "b"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, err = open().Acquire(t.Context(), "run-2", "process 2", []string{"B", "c"}, time.Minute)
		if held, ok := errors.AsType[*journal.HeldError](err); !ok || held.Server != "b" || held.Run != "run-1" || !errors.Is(err, journal.ErrHeld) {
			t.Fatalf("%v", err)
		}
		// None of them was taken, c neither.
		third, err := s.Acquire(t.Context(), "run-3", "process 3", []string{"c"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(first.Release(t.Context()), third.Release(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Acquire(t.Context(), "run-2", "process 2", []string{"B", "c"}, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
}

// A process that slept past its lease and was overtaken writes nothing, so
// that it does nothing; one that nobody overtook goes on.
func TestAnOvertakenProcessIsFenced(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		asleep, err := s.Acquire(t.Context(), "", "process 1", []string{"a"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Begin(t.Context(), beginning(), asleep)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Append(remark("late, and nobody else has come")); err != nil {
			t.Fatal(err)
		}
		if _, err := open().Acquire(t.Context(), "run-2", "process 2", []string{"a"}, time.Minute); err != nil {
			t.Fatal(err)
		}
		err = r.Append(remark("after it was overtaken"))
		if fenced, ok := errors.AsType[*journal.FencedError](err); !ok || fenced.Run != "run-2" {
			t.Fatalf("%v", err)
		}
		if err := asleep.Renew(t.Context()); err == nil {
			t.Error("an overtaken lease is renewed")
		}
		log, err := s.Read(t.Context(), r.ID())
		if err != nil || len(log.Records) != 2 {
			t.Fatalf("%d records, %v", len(log.Records), err)
		}
	})
}

// A hold that is kept outlives its term; one that somebody has taken over, or
// that cannot be renewed, is told.
func TestAHoldIsKept(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		const term = 300 * time.Millisecond
		lease, err := s.Acquire(t.Context(), "run-1", "process 1", []string{"a"}, term)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kept := make(chan error, 1)
		go func() { kept <- lease.Keep(ctx, pause) }()
		for time.Since(began) < 3*term {
			if _, err := open().Acquire(t.Context(), "run-2", "process 2", []string{"a"}, term); !errors.Is(err, journal.ErrHeld) {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
			if err := lease.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-kept; err != nil {
			t.Errorf("it is lost when nobody keeps it any more: %v", err)
		}
		holdings, err := s.Holdings(t.Context())
		if err != nil || len(holdings) != 1 || holdings[0].Server != "a" || holdings[0].Run != "run-1" || holdings[0].Holder != "process 1" {
			t.Errorf("%+v %v", holdings, err)
		}
		// Nobody keeps it now.
		for err = journal.ErrHeld; errors.Is(err, journal.ErrHeld); {
			_, err = s.Acquire(t.Context(), "run-2", "process 2", []string{"a"}, time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
		if time.Since(began) < 3*term {
			t.Error("it was taken over while it was kept")
		}
		err = lease.Ensure(t.Context())
		if fenced, ok := errors.AsType[*journal.FencedError](err); !ok || fenced.Holder != "process 2" {
			t.Errorf("a call would be let through: %v", err)
		}
		if _, ok := errors.AsType[*journal.FencedError](lease.Keep(t.Context(), pause)); !ok {
			t.Error("the loss is not told")
		}
	})
}

// Without its store a hold lapses, and calls are not let through.
func TestAHoldThatCannotBeRenewedLapses(t *testing.T) {
	now := time.Now()
	s, err := journal.OpenStore(t.Context(), t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	lease, err := s.Acquire(t.Context(), "run-1", "process 1", []string{"a"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := lease.Ensure(t.Context()); err != nil {
		t.Errorf("it lasts for a minute: %v", err)
	}
	now = now.Add(45 * time.Second)
	if err := lease.Ensure(t.Context()); err == nil {
		t.Error("a call is let through with no more than a quarter of the term left")
	}
	err = lease.Keep(t.Context(), func(context.Context, time.Duration) error { now = now.Add(10 * time.Second); return nil })
	if lapsed, ok := errors.AsType[*journal.LapsedError](err); !ok || lapsed.Err == nil {
		t.Errorf("%v", err)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func TestManyProcessesTakeTurns(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		var holders, most, turns int
		var mu sync.Mutex
		var work sync.WaitGroup
		for n := range 4 {
			s := open()
			work.Go(func() {
				for turn := 0; turn < 5; {
					lease, err := s.Acquire(t.Context(), "run", fmt.Sprint("process ", n), []string{"a", "b"}, time.Minute)
					if errors.Is(err, journal.ErrHeld) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					holders++
					most = max(most, holders)
					mu.Unlock()
					mu.Lock()
					holders--
					turns++
					mu.Unlock()
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
						return
					}
					turn++
				}
			})
		}
		work.Wait()
		if most != 1 || turns != 20 {
			t.Errorf("%d holders at once, %d turns", most, turns)
		}
	})
}

func TestARunCanBeAskedToPause(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		r, err := s.Begin(t.Context(), beginning(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if wanted, _, err := s.Asked(t.Context(), r.ID()); wanted != "" || err != nil {
			t.Fatalf("%q %v", wanted, err)
		}
		if err := s.Ask(t.Context(), r.ID(), journal.Pause, "somebody"); err != nil {
			t.Fatal(err)
		}
		if wanted, who, err := open().Asked(t.Context(), r.ID()); wanted != journal.Pause || who != "somebody" || err != nil {
			t.Fatalf("%q %q %v", wanted, who, err)
		}
		if err := s.Ask(t.Context(), r.ID(), "", "somebody"); err != nil {
			t.Fatal(err)
		}
		if wanted, _, err := s.Asked(t.Context(), r.ID()); wanted != "" || err != nil {
			t.Fatalf("%q %v", wanted, err)
		}
	})
}

func TestAPasswordIsNotShown(t *testing.T) {
	for _, address := range []string{"postgres://me:geheim@127.0.0.1:1/x?connect_timeout=1", "postgres://me:geheim@ :x"} {
		_, err := journal.OpenStore(t.Context(), address, time.Now)
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v", err)
		}
	}
}
