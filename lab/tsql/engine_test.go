package tsql_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// stored is a database of the lab's own engine.
type stored struct{ db *engine.DB }

func (s stored) Conn(ctx context.Context) (*sqlite3.Conn, error) { return s.db.Conn(ctx) }
func (s stored) Name() string                                    { return "crosskeys" }
func (s stored) ID() int32                                       { return 5 }
func (s stored) ReadOnly() bool                                  { return s.db.Boot().Role != engine.Primary }

func newStored(t testing.TB) stored {
	t.Helper()
	o := engine.Options{Dir: t.TempDir(), Now: func() time.Time { return now }, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), NoSync: true}
	db, err := engine.Create(t.Context(), o, "d1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return stored{db}
}

func closeStored(t testing.TB, s stored) {
	t.Helper()
	if err := s.db.Close(); err != nil {
		t.Errorf("close the database: %v", err)
	}
}

func TestOnTheEngine(t *testing.T) {
	db := newStored(t)
	t.Cleanup(func() { closeStored(t, db) })
	s := open(t, db, &host{}, admin())
	check(t, run(t, s, "CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL); INSERT counter VALUES (1, 0)"), "done: insert 1\n")
	t.Run("writers queue for the lock and lose nothing", func(t *testing.T) {
		const writers, times = 4, 25
		var wg sync.WaitGroup
		for range writers {
			w := open(t, db, &host{}, admin())
			wg.Go(func() {
				for range times {
					r := &recorder{}
					if err := w.Batch(t.Context(), "BEGIN TRAN; UPDATE counter SET n += 1 WHERE id = 1; COMMIT", r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		check(t, run(t, s, "SELECT n FROM counter"), fmt.Sprintf("columns: n int not null\n  %d\ndone: select 1\n", writers*times))
	})
	t.Run("a lock timeout is 1222", func(t *testing.T) {
		other := open(t, db, &host{}, admin())
		run(t, other, "BEGIN TRAN; UPDATE counter SET n = 0")
		check(t, run(t, s, "SET LOCK_TIMEOUT 10; UPDATE counter SET n = 1; SET LOCK_TIMEOUT -1"), `
message 1222, class 16, state 51, line 1: Lock request time out period exceeded.
message 3621, class 0, state 1, line 1: The statement has been terminated.
failed
`)
		run(t, other, "ROLLBACK")
	})
	t.Run("a database that becomes a secondary refuses writes with 3906", func(t *testing.T) {
		run(t, s, "BEGIN TRAN; SELECT n FROM counter")
		if err := db.db.SetRole(t.Context(), engine.Secondary, 2); err != nil {
			t.Fatal(err)
		}
		check(t, run(t, s, "UPDATE counter SET n = 1; SELECT DATABASEPROPERTYEX('crosskeys', 'Updateability') AS u; ROLLBACK"), `
message 3906, class 16, state 1, line 1: Failed to update database "crosskeys" because the database is read-only.
failed
columns: u nvarchar(128)
  READ_ONLY
done: select 1
transaction 1 rolled back
`)
	})
}

func TestDefinitionsChangeUnderReaders(t *testing.T) {
	db := newStored(t)
	catalogs := &tsql.Catalogs{}
	session := func() *tsql.Session {
		o := options(db, &host{}, admin())
		o.Catalogs, o.Random = catalogs, rand.Reader
		s, err := tsql.NewSession(t.Context(), o)
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
	t.Cleanup(func() { closeStored(t, db) })
	writer := session()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		reader := session()
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := &recorder{}
				if err := reader.Batch(t.Context(), "SELECT * FROM t; SELECT COUNT(*) AS c FROM sys.columns", r); err != nil {
					t.Error(err)
					return
				}
				for _, line := range strings.Split(strings.TrimSpace(r.b.String()), "\n") {
					if strings.HasPrefix(line, "message") && !strings.HasPrefix(line, "message 208,") {
						t.Error(line)
						return
					}
				}
			}
		})
	}
	for i := range 30 {
		got := run(t, writer, fmt.Sprintf("CREATE TABLE t (a int, b%d nvarchar(10)); INSERT t VALUES (1, N'x'); ALTER TABLE t ADD c%d int; UPDATE t SET c%d = 1; DROP TABLE t", i, i, i))
		// The batch is compiled statement by statement: each sees what the one before it defined.
		check(t, got, "done: insert 1\ndone: update 1\n")
	}
	close(done)
	wg.Wait()
}

func TestClosedEngine(t *testing.T) {
	db := newStored(t)
	s, err := tsql.NewSession(t.Context(), options(db, &host{}, admin()))
	if err != nil {
		t.Fatal(err)
	}
	check(t, run(t, s, "CREATE TABLE t (a int)"), "")
	if err := db.db.Close(); err != nil {
		t.Fatal(err)
	}
	var broken *tsql.BrokenError
	if err := s.Batch(t.Context(), "SELECT a FROM t", &recorder{}); !errors.As(err, &broken) {
		t.Errorf("a read of a closed database: %v, want a BrokenError", err)
	}
	if err := s.Batch(t.Context(), "INSERT t VALUES (1)", &recorder{}); !errors.As(err, &broken) {
		t.Errorf("a write to a closed database: %v, want a BrokenError", err)
	}
	_ = s.Close() // its database is gone already
}

// A statement's price beyond the engine's: what clients pay for each request.
func BenchmarkPointSelect(b *testing.B) {
	db := newStored(b)
	b.Cleanup(func() { closeStored(b, db) })
	s, err := tsql.NewSession(b.Context(), options(db, &host{}, admin()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	for _, batch := range []string{"CREATE TABLE t (id int PRIMARY KEY, v nvarchar(50))", "DECLARE @i int = 0; WHILE @i < 1000 BEGIN INSERT t VALUES (@i, N'some text'); SET @i += 1 END"} {
		if err := s.Batch(b.Context(), batch, &counting{}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("select", func(b *testing.B) {
		for b.Loop() {
			c := &counting{}
			if err := s.Call(b.Context(), selectCall(17), c); err != nil || c.rows != 1 {
				b.Fatal(err, c.rows, c.messages)
			}
		}
	})
	b.Run("insert", func(b *testing.B) {
		n := int64(1000)
		for b.Loop() {
			n++
			c := &counting{}
			if err := s.Call(b.Context(), insertCall(n), c); err != nil || c.messages != nil {
				b.Fatal(err, c.messages)
			}
		}
	})
}
