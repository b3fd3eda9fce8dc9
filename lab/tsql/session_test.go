package tsql_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

func check(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCalls(t *testing.T) {
	s := open(t, newMemory(t), &host{}, admin())
	check(t, run(t, s, "CREATE PROCEDURE twice @n int, @out nvarchar(20) OUTPUT AS SET @out = CONCAT(@n * 2, N'!'); RETURN 3"), "")
	t.Run("a procedure called by a client answers its status and its output parameters", func(t *testing.T) {
		out := sqltype.Param{Name: "@out", Type: value.NVarChar(20), Output: true}
		check(t, call(t, s, "dbo.twice", integer("@n", 21), out), `
status: 3
return: @out nvarchar(20) = 42!
`)
	})
	t.Run("sp_executesql takes parameters by name", func(t *testing.T) {
		got := call(t, s, "sp_executesql", text("SELECT @b - @a AS d"), text("@a int, @b int"), integer("@b", 44), integer("@a", 2))
		check(t, got, `
columns: d int
  42
done: select 1
status: 0
`)
	})
	t.Run("an error in a called text ends the text, and the call still has a status", func(t *testing.T) {
		got := call(t, s, "sp_executesql", text("SELECT 1 AS one; SELECT * FROM nowhere; SELECT 2 AS two"))
		check(t, got, `
columns: one int not null
  1
done: select 1
message 208, class 16, state 1, line 1: Invalid object name 'nowhere'.
failed
status: 0
`)
	})
	t.Run("sp_prepexec answers a handle that sp_execute takes", func(t *testing.T) {
		h := sqltype.Param{Type: value.Int, Output: true}
		check(t, call(t, s, "sp_prepexec", h, text("@a int"), text("SELECT @a AS a"), integer("", 1)), `
columns: a int
  1
done: select 1
status: 0
return: @handle int = 1
`)
		check(t, call(t, s, "sp_execute", integer("", 1), integer("", 2)), `
columns: a int
  2
done: select 1
status: 0
`)
		check(t, call(t, s, "sp_unprepare", integer("", 1)), "status: 0\n")
		check(t, call(t, s, "sp_execute", integer("", 1), integer("", 2)), `
message 8179, class 16, state 1, line 1: Could not find prepared statement with handle 1.
failed
status: -6
`)
	})
	t.Run("a parameter that is missing is named", func(t *testing.T) {
		check(t, call(t, s, "sp_executesql", text("SELECT @a AS a"), text("@a int")), `
message 8178, class 16, state 1, line 1: The parameterized query '(@a int)SELECT @a AS a' expects the parameter '@a', which was not supplied.
failed
status: -6
`)
	})
}

func TestTransactionRequests(t *testing.T) {
	s := open(t, newMemory(t), &host{}, admin())
	request := func(r sqltype.TransactionRequest) string {
		t.Helper()
		rec := &recorder{}
		if err := s.Transaction(t.Context(), r, rec); err != nil {
			t.Fatal(err)
		}
		return rec.b.String()
	}
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.CommitTransaction}), `
message 3902, class 16, state 1, line 1: The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.
failed
`)
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.BeginTransaction, Isolation: sqltype.ReadCommitted}), "transaction 1 began\n")
	check(t, run(t, s, "CREATE TABLE t (a int); INSERT t VALUES (1)"), "done: insert 1\n")
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.SaveTransaction, Name: "here"}), "")
	check(t, run(t, s, "INSERT t VALUES (2)"), "done: insert 1\n")
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.RollbackTransaction, Name: "here"}), "")
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.CommitTransaction, Begin: true}), "transaction 1 committed\ntransaction 2 began\n")
	check(t, run(t, s, "SELECT a, @@TRANCOUNT AS c FROM t"), `
columns: a int, c int
  1 | 1
done: select 1
`)
	check(t, request(sqltype.TransactionRequest{Kind: sqltype.RollbackTransaction}), "transaction 2 rolled back\n")
}

func TestAttention(t *testing.T) {
	db := newMemory(t)
	s := open(t, db, &host{}, admin())
	check(t, run(t, s, "CREATE TABLE t (a int); INSERT t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)"), "done: insert 10\n")
	t.Run("a query that is given up stops, and the session goes on", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{onRow: func(n int) error {
			if n == 3 {
				cancel()
			}
			return nil
		}}
		if err := s.Batch(ctx, "SELECT a.a FROM t a, t b, t c, t d, t e, t f, t g, t h; PRINT 'never'", r); err != nil {
			t.Fatal(err)
		}
		if r.rows > 10_000 || strings.Contains(r.b.String(), "never") {
			t.Errorf("the query went on for %d rows", r.rows)
		}
		check(t, run(t, s, "SELECT COUNT(*) AS c FROM t"), "columns: c int not null\n  10\ndone: select 1\n")
	})
	t.Run("a writer that waits for the lock can be given up", func(t *testing.T) {
		other := open(t, db, &host{}, admin())
		run(t, other, "BEGIN TRAN; DELETE t WHERE a = 1")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		r := &recorder{}
		if err := s.Batch(ctx, "DELETE t", r); err != nil {
			t.Fatal(err)
		}
		check(t, r.b.String(), "")
		check(t, run(t, other, "ROLLBACK"), "transaction 1 rolled back\n")
		check(t, run(t, s, "DELETE t WHERE a = 2"), "done: delete 1\n")
	})
	t.Run("a transaction whose write was given up can only be rolled back", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{onRow: func(int) error { cancel(); return nil }}
		batch := "BEGIN TRAN; UPDATE t SET a = a + 100; UPDATE t SET a = a + 1 OUTPUT inserted.a; UPDATE t SET a = 0"
		if err := s.Batch(ctx, batch, r); err != nil {
			t.Fatal(err)
		}
		got := run(t, s, "IF @@TRANCOUNT = 1 ROLLBACK; SELECT MIN(a) AS least, COUNT(*) AS c FROM t")
		check(t, got, "transaction 1 rolled back\ncolumns: least int, c int not null\n  1 | 9\ndone: select 1\n")
	})
}

func TestReset(t *testing.T) {
	s := open(t, newMemory(t), &host{}, admin())
	run(t, s, "SET NOCOUNT ON; CREATE TABLE #t (a int); CREATE TABLE t (a int); BEGIN TRAN; INSERT t VALUES (1); EXEC sp_set_session_context N'k', N'v'")
	if err := s.Reset(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	check(t, run(t, s, "SELECT @@TRANCOUNT AS c, COUNT(*) AS n, SESSION_CONTEXT(N'k') AS k FROM t; SELECT * FROM #t"), `
columns: c int, n int not null, k nvarchar(4000)
  0 | 0 | NULL
done: select 1
message 208, class 16, state 1, line 1: Invalid object name '#t'.
failed
`)
	t.Run("sp_reset_connection does the same", func(t *testing.T) {
		run(t, s, "SET NOCOUNT ON; CREATE TABLE #t (a int); BEGIN TRAN; INSERT t VALUES (1)")
		check(t, call(t, s, "sp_reset_connection"), "status: 0\n")
		check(t, run(t, s, "SELECT @@TRANCOUNT AS c, COUNT(*) AS n FROM t"), "columns: c int, n int not null\n  0 | 0\ndone: select 1\n")
	})
	t.Run("a transaction may be kept", func(t *testing.T) {
		run(t, s, "BEGIN TRAN; INSERT t VALUES (1)")
		if err := s.Reset(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		check(t, run(t, s, "SELECT @@TRANCOUNT AS c; COMMIT; SELECT COUNT(*) AS n FROM t"), `
columns: c int
  1
done: select 1
transaction 3 committed
columns: n int not null
  1
done: select 1
`)
	})
}

func TestClientGone(t *testing.T) {
	s := open(t, newMemory(t), &host{}, admin())
	gone := errors.New("the client is gone")
	err := s.Batch(t.Context(), "SELECT 1 AS a; PRINT 'x'", &recorder{onRow: func(int) error { return gone }})
	if !errors.Is(err, gone) {
		t.Errorf("the session's error is %v, want the client's", err)
	}
}

// brokenDatabase cannot be opened any more.
type brokenDatabase struct{ *memory }

func (brokenDatabase) Conn(context.Context) (*sqlite3.Conn, error) {
	return nil, errors.New("it was closed")
}

func TestBrokenDatabase(t *testing.T) {
	_, err := tsql.NewSession(t.Context(), options(brokenDatabase{newMemory(t)}, &host{}, admin()))
	var broken *tsql.BrokenError
	if !errors.As(err, &broken) || broken.Database != "crosskeys" {
		t.Errorf("the error is %v, want a BrokenError of crosskeys", err)
	}
}

func TestSigningIn(t *testing.T) {
	db := newMemory(t)
	h := &host{external: map[string]tsql.External{
		"ada":  {Name: "ada@example.com", SID: sqltype.GUID{1}},
		"team": {Name: "team", SID: sqltype.GUID{2}, Group: true},
	}}
	if _, err := tsql.Authenticate(t.Context(), db, "app", "Pa55word!"); !errors.Is(err, tsql.ErrNoUser) {
		t.Errorf("in an empty database: %v", err)
	}
	s := open(t, db, h, admin())
	check(t, run(t, s, "CREATE USER app WITH PASSWORD = 'Pa55word!'; CREATE USER ada FROM EXTERNAL PROVIDER; CREATE USER team FROM EXTERNAL PROVIDER; ALTER ROLE db_owner ADD MEMBER team"), "")
	t.Run("a contained user needs its password", func(t *testing.T) {
		p, err := tsql.Authenticate(t.Context(), db, "APP", "Pa55word!")
		if err != nil || p.Login != "app" || p.Admin {
			t.Errorf("got %+v, %v", p, err)
		}
		if _, err := tsql.Authenticate(t.Context(), db, "app", "pa55word!"); !errors.Is(err, tsql.ErrNoUser) {
			t.Errorf("a wrong password: %v", err)
		}
	})
	t.Run("no password opens a user that has none", func(t *testing.T) {
		for _, name := range []string{"dbo", "guest", "ada", "public"} {
			if _, err := tsql.Authenticate(t.Context(), db, name, ""); !errors.Is(err, tsql.ErrNoUser) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("an Entra principal is found by its id or its group's", func(t *testing.T) {
		p, err := tsql.FindExternal(t.Context(), db, "ada@example.com", sqltype.GUID{1}, []sqltype.GUID{{2}})
		if err != nil {
			t.Fatal(err)
		}
		ada := open(t, db, h, p)
		check(t, run(t, ada, "SELECT USER_NAME() AS me, IS_MEMBER('db_owner') AS owner, SUSER_SNAME() AS login"), `
columns: me nvarchar(128), owner int, login nvarchar(128)
  ada | 1 | ada@example.com
done: select 1
`)
		if p, err := tsql.FindExternal(t.Context(), db, "bob@example.com", sqltype.GUID{9}, []sqltype.GUID{{2}}); err != nil || p.UserID == 0 {
			t.Errorf("bob of the team: %+v, %v", p, err)
		}
		if _, err := tsql.FindExternal(t.Context(), db, "eve@example.com", sqltype.GUID{8}, nil); !errors.Is(err, tsql.ErrNoUser) {
			t.Errorf("eve: %v", err)
		}
	})
	t.Run("a denied CONNECT closes the door", func(t *testing.T) {
		check(t, run(t, s, "DENY CONNECT TO app"), "")
		if _, err := tsql.Authenticate(t.Context(), db, "app", "Pa55word!"); !errors.Is(err, tsql.ErrNoUser) {
			t.Errorf("after DENY: %v", err)
		}
	})
}

func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1", "DECLARE @t TABLE (a int); INSERT @t VALUES (1); SELECT * FROM @t", "BEGIN TRY THROW 50000, 'x', 1 END TRY BEGIN CATCH THROW END CATCH",
		"CREATE TABLE t (a int IDENTITY PRIMARY KEY, b nvarchar(max)); INSERT t DEFAULT VALUES; SELECT * FROM t, sys.columns; DROP TABLE t",
		"BEGIN TRAN; SAVE TRAN a; ROLLBACK TRAN a; COMMIT", "EXEC sp_executesql N'SELECT @a', N'@a int', 1", "RAISERROR('%*.*d%s', 16, 1, 5, 3, 1, 'x')",
		"CREATE USER u WITH PASSWORD = 'Pa55word!'; GRANT CONTROL TO u; DROP USER u", "SET ROWCOUNT 1; SELECT name FROM sys.objects", "GOTO a; b: WHILE 1 = 0 BREAK",
		"SELECT OBJECT_ID('[a].\"b'), COL_LENGTH(NULL, ''), FORMATMESSAGE('%', 1)", "WAITFOR DELAY '1'", "EXEC ('EXEC (''SELECT 1'')')",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, batch string) {
		s := open(t, newMemory(t), &host{}, admin())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := &recorder{onRow: func(n int) error {
			if n > 1000 {
				cancel()
			}
			return nil
		}}
		if err := s.Batch(ctx, batch, r); err != nil {
			t.Errorf("the session ended: %v", err)
		}
	})
}

func TestDynamicManagementViewDenied(t *testing.T) {
	t.Run("a host's refusal reaches the client as it is", func(t *testing.T) {
		db := newMemory(t)
		s := open(t, db, &host{}, admin())
		run(t, s, "CREATE USER app WITH PASSWORD = 'Pa55word!'")
		p, err := tsql.Authenticate(t.Context(), db, "app", "Pa55word!")
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, open(t, db, &host{}, p), "SELECT * FROM sys.dm_database_encryption_keys")
		if !strings.Contains(got, "message 262, class 14, state 1, line 1: VIEW DATABASE STATE permission denied in database 'crosskeys'.") {
			t.Errorf("got %s", got)
		}
	})
}
