package docs_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/mvcc"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// memory is a database in memory.
type memory struct{ file string }

func (m memory) Conn(ctx context.Context) (*sqlite3.Conn, error) {
	return sqlite3.OpenContext(ctx, "file:/"+m.file+"?vfs=mvcc&_pragma=foreign_keys(on)&_pragma=temp_store(memory)")
}
func (memory) Name() string   { return "d" }
func (memory) ID() int32      { return 5 }
func (memory) ReadOnly() bool { return false }

// host is a server that takes every statement about databases and sessions.
type host struct{}

func (host) Views() []tsql.View {
	number := func(name string) sqltype.Column {
		return sqltype.Column{Name: name, Nullable: true, Type: sqltype.Type{Kind: sqltype.Int}}
	}
	return []tsql.View{{
		System: catalog.System{
			Schema: "sys", Name: "dm_db_log_info",
			Args: []sqltype.Column{number("database_id")}, Columns: []sqltype.Column{number("database_id")},
		},
		Rows: func(_ context.Context, _ tsql.SessionInfo, args []any) ([][]any, error) {
			return [][]any{{args[0]}}, nil
		},
	}}
}
func (host) Databases(tsql.SessionInfo) []tsql.DatabaseName {
	return []tsql.DatabaseName{{ID: 5, Name: "d"}}
}
func (host) ServerProperty(tsql.SessionInfo, string) (any, bool)           { return nil, false }
func (host) DatabaseProperty(tsql.SessionInfo, string, string) (any, bool) { return nil, false }
func (host) Kill(context.Context, tsql.SessionInfo, int) error             { return nil }
func (host) DatabaseStatement(context.Context, tsql.SessionInfo, any, sqltype.Results) error {
	return nil
}
func (host) Procedure(context.Context, tsql.SessionInfo, sqltype.Call, sqltype.Results) (bool, error) {
	return false, nil
}
func (host) External(context.Context, string) (tsql.External, bool, error) {
	return tsql.External{Name: "a@b.c"}, true, nil
}

// errorsOnly keeps the errors of a batch.
type errorsOnly struct{ errors []sqltype.Message }

func (e *errorsOnly) Message(m sqltype.Message) error {
	if m.Class > 10 {
		e.errors = append(e.errors, m)
	}
	return nil
}
func (*errorsOnly) Columns([]sqltype.Column) error                     { return nil }
func (*errorsOnly) Row([]any) error                                    { return nil }
func (*errorsOnly) Done(sqltype.Done) error                            { return nil }
func (*errorsOnly) ReturnStatus(int32) error                           { return nil }
func (*errorsOnly) ReturnValue(sqltype.Param) error                    { return nil }
func (*errorsOnly) DatabaseChanged(string, string) error               { return nil }
func (*errorsOnly) Transaction(sqltype.TransactionState, uint64) error { return nil }

// newSession opens a session of an administrator on an empty database.
func newSession(t *testing.T) *tsql.Session {
	t.Helper()
	file := "docs" + strconv.FormatUint(rand.Uint64(), 10)
	mvcc.Create(file, mvcc.NewSnapshot(""))
	t.Cleanup(func() { mvcc.Delete(file) })
	after := make(chan time.Time, 100)
	for range cap(after) {
		after <- time.Time{}
	}
	s, err := tsql.NewSession(t.Context(), tsql.SessionOptions{
		Database: memory{file}, Host: host{}, Principal: tsql.Principal{Login: "admin", Admin: true}, SPID: 51,
		Now:   func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) },
		After: func(time.Duration) <-chan time.Time { return after }, Random: rand.NewChaCha8([32]byte{}),
	})
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

// messages runs a batch and returns its errors.
func messages(t *testing.T, s *tsql.Session, text string) []sqltype.Message {
	t.Helper()
	var out errorsOnly
	if err := s.Batch(t.Context(), text, &out); err != nil {
		t.Fatalf("%s ends the session: %v", text, err)
	}
	return out.errors
}
