package tsql_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/mvcc"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata")

// now is the time at which all tests happen.
var now = time.Date(2026, 11, 24, 13, 45, 30, 123456700, time.UTC)

// memory is a database in memory with snapshots, as the lab's engine has them.
type memory struct {
	name     string
	file     string
	readOnly bool
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	file := fmt.Sprintf("%x", rand.Uint64())
	mvcc.Create(file, mvcc.NewSnapshot(""))
	t.Cleanup(func() { mvcc.Delete(file) })
	return &memory{name: "crosskeys", file: file}
}

func (m *memory) Conn(ctx context.Context) (*sqlite3.Conn, error) {
	return sqlite3.OpenContext(ctx, "file:/"+m.file+"?vfs=mvcc&_pragma=foreign_keys(on)&_pragma=temp_store(memory)")
}
func (m *memory) Name() string   { return m.name }
func (m *memory) ID() int32      { return 5 }
func (m *memory) ReadOnly() bool { return m.readOnly }

// host is a host with one view, one function and one procedure.
type host struct {
	mu       sync.Mutex
	asked    []string
	external map[string]tsql.External
}

func (h *host) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, fmt.Sprintf(format, args...))
}

func (h *host) Views() []tsql.View {
	n := func(name string, kind sqltype.Kind, length int) sqltype.Column {
		return sqltype.Column{Name: name, Nullable: true, Type: sqltype.Type{Kind: kind, Length: length}}
	}
	thumbprint := bytes.Repeat([]byte{0xAB, 0xCD}, 10)
	keys := catalog.System{Schema: "sys", Name: "dm_database_encryption_keys", Columns: []sqltype.Column{
		n("database_id", sqltype.Int, 0), n("encryption_state", sqltype.Int, 0), n("encryption_state_desc", sqltype.NVarChar, 32),
		n("key_algorithm", sqltype.NVarChar, 32), n("key_length", sqltype.Int, 0), n("encryptor_type", sqltype.NVarChar, 32), n("encryptor_thumbprint", sqltype.VarBinary, 20),
	}}
	logs := catalog.System{Schema: "sys", Name: "dm_db_log_info", Args: []sqltype.Column{n("database_id", sqltype.Int, 0)}, Columns: []sqltype.Column{
		n("database_id", sqltype.SmallInt, 0), n("vlf_sequence_number", sqltype.BigInt, 0), n("vlf_active", sqltype.Bit, 0),
	}}
	return []tsql.View{
		{System: keys, Rows: func(_ context.Context, s tsql.SessionInfo, _ []any) ([][]any, error) {
			if !s.ViewDatabaseState {
				return nil, tsql.StateDenied(s.Database)
			}
			return [][]any{
				{int64(5), int64(3), "ENCRYPTED", "AES", int64(256), "ASYMMETRIC KEY", thumbprint},
				{int64(2), int64(3), "ENCRYPTED", "AES", int64(256), "CERTIFICATE", thumbprint},
			}, nil
		}},
		{System: logs, Rows: func(_ context.Context, _ tsql.SessionInfo, args []any) ([][]any, error) {
			return [][]any{{args[0], int64(37), false}, {args[0], int64(38), true}}, nil
		}},
	}
}

func (h *host) Databases(tsql.SessionInfo) []tsql.DatabaseName {
	return []tsql.DatabaseName{{ID: 1, Name: "master"}, {ID: 5, Name: "crosskeys"}}
}

func (h *host) ServerProperty(_ tsql.SessionInfo, name string) (any, bool) {
	if name == "@@VERSION" {
		return "Microsoft SQL Azure (RTM) - 12.0.2000.8 (lab)", true
	}
	return nil, false
}

func (h *host) DatabaseProperty(_ tsql.SessionInfo, _, name string) (any, bool) {
	return "GP_S_Gen5_2", name == "ServiceObjective"
}

func (h *host) DatabaseStatement(_ context.Context, s tsql.SessionInfo, stmt any, _ sqltype.Results) error {
	switch stmt := stmt.(type) {
	case *ast.AlterDatabase:
		h.note("%s: ALTER DATABASE %s %T", s.User, stmt.Name, stmt.Action)
	default:
		h.note("%s: %T", s.User, stmt)
	}
	return nil
}

func (h *host) Kill(_ context.Context, s tsql.SessionInfo, spid int) error {
	h.note("%s: KILL %d", s.User, spid)
	return nil
}

func (h *host) Procedure(_ context.Context, s tsql.SessionInfo, call sqltype.Call, _ sqltype.Results) (bool, error) {
	if !strings.HasSuffix(call.Procedure, "[sp_wait_for_database_copy_sync]") {
		return false, nil
	}
	h.note("%s: %s %v", s.User, call.Procedure, call.Params)
	return true, nil
}

func (h *host) External(_ context.Context, name string) (tsql.External, bool, error) {
	e, ok := h.external[name]
	return e, ok, nil
}

// recorder writes what a session yields as text.
type recorder struct {
	b       strings.Builder
	columns []sqltype.Column
	rows    int
	// onRow is called for each row.
	onRow func(n int) error
}

func (r *recorder) Columns(columns []sqltype.Column) error {
	r.columns = columns
	var all []string
	for _, c := range columns {
		name := c.Name
		if name == "" {
			name = "''"
		}
		text := name + " " + value.Describe(c.Type)
		if !c.Nullable {
			text += " not null"
		}
		if c.Identity {
			text += " identity"
		}
		all = append(all, text)
	}
	fmt.Fprintf(&r.b, "columns: %s\n", strings.Join(all, ", "))
	return nil
}

func (r *recorder) Row(values []any) error {
	if len(values) != len(r.columns) {
		return fmt.Errorf("a row of %d values for %d columns", len(values), len(r.columns))
	}
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = show(v)
	}
	fmt.Fprintf(&r.b, "  %s\n", strings.Join(all, " | "))
	r.rows++
	if r.onRow != nil {
		return r.onRow(r.rows)
	}
	return nil
}

func (r *recorder) Done(d sqltype.Done) error {
	name := map[uint16]string{
		sqltype.CommandSelect: "select", sqltype.CommandInsert: "insert", sqltype.CommandDelete: "delete", sqltype.CommandUpdate: "update", sqltype.CommandMerge: "merge",
	}[d.Command]
	switch {
	case d.Failed:
		r.b.WriteString("failed\n")
	case d.HasCount:
		fmt.Fprintf(&r.b, "done: %s %d\n", name, d.Count)
	default:
		fmt.Fprintf(&r.b, "done: %s\n", name)
	}
	return nil
}

func (r *recorder) Message(m sqltype.Message) error {
	where := fmt.Sprintf("line %d", m.Line)
	if m.Procedure != "" {
		where = m.Procedure + ", " + where
	}
	fmt.Fprintf(&r.b, "message %d, class %d, state %d, %s: %s\n", m.Number, m.Class, m.State, where, m.Text)
	return nil
}

func (r *recorder) ReturnStatus(code int32) error {
	fmt.Fprintf(&r.b, "status: %d\n", code)
	return nil
}

func (r *recorder) ReturnValue(p sqltype.Param) error {
	fmt.Fprintf(&r.b, "return: %s %s = %s\n", p.Name, value.Describe(p.Type), show(p.Value))
	return nil
}

func (r *recorder) DatabaseChanged(from, to string) error {
	fmt.Fprintf(&r.b, "database: %s to %s\n", from, to)
	return nil
}

func (r *recorder) Transaction(state sqltype.TransactionState, descriptor uint64) error {
	fmt.Fprintf(&r.b, "transaction %d %s\n", descriptor, [...]string{"", "began", "committed", "rolled back"}[state])
	return nil
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return "0x" + strings.ToUpper(hex.EncodeToString(v))
	case sqltype.Number:
		return value.Text(v)
	case sqltype.GUID:
		return value.FormatGUID(v)
	case time.Time:
		return v.Format("2006-01-02 15:04:05.9999999 -07:00")
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// admin is the server's administrator.
func admin() tsql.Principal { return tsql.Principal{Login: "sqladmin", Admin: true} }

// open opens a session that the test closes.
func open(t *testing.T, db tsql.Database, h tsql.Host, p tsql.Principal) *tsql.Session {
	t.Helper()
	s, err := tsql.NewSession(t.Context(), options(db, h, p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the session: %v", err)
		}
	})
	return s
}

func options(db tsql.Database, h tsql.Host, p tsql.Principal) tsql.SessionOptions {
	return tsql.SessionOptions{
		Database: db, Host: h, Principal: p, SPID: 51, ServerName: "lab-sql", AppName: "tests", HostName: "here",
		Now: func() time.Time { return now }, Random: rand.NewChaCha8([32]byte{1}),
		After: func(time.Duration) <-chan time.Time {
			c := make(chan time.Time, 1)
			c <- now
			return c
		},
	}
}

// run runs a batch and answers what it yielded.
func run(t *testing.T, s *tsql.Session, batch string) string {
	t.Helper()
	r := &recorder{}
	if err := s.Batch(t.Context(), batch, r); err != nil {
		fmt.Fprintf(&r.b, "session ended: %v\n", err)
	}
	return r.b.String()
}

func call(t *testing.T, s *tsql.Session, procedure string, params ...sqltype.Param) string {
	t.Helper()
	r := &recorder{}
	if err := s.Call(t.Context(), sqltype.Call{Procedure: procedure, Params: params}, r); err != nil {
		fmt.Fprintf(&r.b, "session ended: %v\n", err)
	}
	return r.b.String()
}

func text(s string) sqltype.Param {
	return sqltype.Param{Type: value.NVarChar(4000), Value: s}
}

func integer(name string, n int64) sqltype.Param {
	return sqltype.Param{Name: name, Type: value.Int, Value: n}
}

// counting counts what a session yields.
type counting struct {
	recorder
	rows     int
	messages []sqltype.Message
}

func (c *counting) Columns([]sqltype.Column) error                     { return nil }
func (c *counting) Row([]any) error                                    { c.rows++; return nil }
func (c *counting) Done(sqltype.Done) error                            { return nil }
func (c *counting) Message(m sqltype.Message) error                    { c.messages = append(c.messages, m); return nil }
func (c *counting) ReturnStatus(int32) error                           { return nil }
func (c *counting) Transaction(sqltype.TransactionState, uint64) error { return nil }

func selectCall(id int64) sqltype.Call {
	return sqltype.Call{Procedure: "sp_executesql", Params: []sqltype.Param{text("SELECT v FROM t WHERE id = @id"), text("@id int"), integer("@id", id)}}
}

func insertCall(id int64) sqltype.Call {
	return sqltype.Call{Procedure: "sp_executesql", Params: []sqltype.Param{text("INSERT t VALUES (@id, N'some text')"), text("@id int"), integer("@id", id)}}
}
