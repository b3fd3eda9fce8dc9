package load_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/sqlconn/sqlconntest"
)

// rows answers the workload's statements as a table would.
type rows struct {
	mu      sync.Mutex
	server  string
	list    map[load.ID]load.Row
	created []string
}

func text(name string, length int) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.NVarChar, Length: length}, Nullable: true}
}

func number(name string, kind sqltype.Kind) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: kind}, Nullable: true}
}

func (r *rows) answer(_, statement string, params []sqltype.Param) sqlconntest.Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := func() load.ID {
		writer, _ := params[1].Value.(int64)
		sequence, _ := params[2].Value.(int64)
		return load.ID{Writer: int(writer), Sequence: sequence}
	}
	who := sqlconntest.Reply{Columns: []sqltype.Column{text("server", 128), text("updateability", 60)}, Rows: [][]any{{r.server, "READ_WRITE"}}}
	switch {
	case strings.HasPrefix(statement, "IF OBJECT_ID"), strings.HasPrefix(statement, "DROP TABLE"):
		r.created = append(r.created, statement)
		return sqlconntest.Reply{}
	case strings.HasPrefix(statement, "INSERT INTO [dbo].[crosskeys_load] (run_id, writer, seq, payload, checksum) VALUES (@p1, @p2, @p3, @p4, @p5); SELECT"):
		if _, there := r.list[id()]; there {
			return sqlconntest.Reply{Errors: []sqltype.Message{{Number: 2627, State: 1, Class: 14, Text: "Violation of PRIMARY KEY constraint."}}}
		}
		payload, _ := params[3].Value.(string)
		checksum, _ := params[4].Value.(string)
		r.list[id()] = load.Row{ID: id(), Payload: payload, Checksum: checksum}
		return who
	case strings.HasPrefix(statement, "SELECT CONVERT(nvarchar(128), @@SERVERNAME)"):
		return who
	case strings.HasPrefix(statement, "SELECT payload, checksum"):
		reply := sqlconntest.Reply{Columns: []sqltype.Column{text("payload", 4000), text("checksum", 32)}}
		if row, there := r.list[id()]; there {
			reply.Rows = [][]any{{row.Payload, row.Checksum}}
		}
		return reply
	case strings.HasPrefix(statement, "SELECT writer, seq, payload, checksum"):
		reply := sqlconntest.Reply{Columns: []sqltype.Column{number("writer", sqltype.Int), number("seq", sqltype.BigInt), text("payload", 4000), text("checksum", 32)}}
		for _, row := range r.list {
			if writer, _ := params[1].Value.(int64); int(writer) == row.Writer {
				reply.Rows = append(reply.Rows, []any{int64(row.Writer), row.Sequence, row.Payload, row.Checksum})
			}
		}
		return reply
	}
	return sqlconntest.Reply{Errors: []sqltype.Message{{Number: 102, Class: 15, Text: "No answer to: " + statement}}}
}

// Over the wire: Microsoft's driver, TLS, a server that is gone for a while and
// comes back as another one, and a ledger in a file.
func TestOverTheWireTheServerGoesAndComesBack(t *testing.T) {
	data := &rows{server: "srv-a", list: map[load.ID]load.Row{}}
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: data.answer})
	var mu sync.Mutex
	current := server
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if current == nil {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		return current.Dial(ctx, network, address)
	}
	table := load.Table{Listener: "fog.database.windows.net", Database: "orders", Options: sqlconn.Options{
		Token: func(context.Context) (string, error) { return "a.b.c", nil }, RootCAs: server.RootCAs, Dial: dial,
	}}
	if err := table.Create(t.Context()); err != nil || !strings.Contains(data.created[0], "CREATE TABLE [dbo].[crosskeys_load]") || !strings.Contains(data.created[0], "[PK_crosskeys_load]") {
		t.Fatal(err, data.created)
	}
	path := filepath.Join(t.TempDir(), "ledger")
	ledger, err := load.CreateLedger(path, load.Header{Run: run, Listener: table.Listener, Database: table.Database, Table: load.DefaultTable}, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told := make(chan load.Progress, 1000)
	o := load.Options{
		Open: table.Open, Ledger: ledger, Writers: 2, Readers: 2, Now: time.Now, Wait: wait, Random: rand.Reader, GiveUp: 20 * time.Second,
		Progress: func(p load.Progress) {
			select {
			case told <- p:
			default:
			}
		}, Every: 10 * time.Millisecond,
	}
	var result load.Result
	ended := make(chan error, 1)
	go func() {
		var err error
		result, err = load.Run(ctx, o)
		ended <- err
	}()
	until := func(what string, is func(load.Progress) bool) {
		t.Helper()
		deadline := time.After(60 * time.Second)
		for {
			select {
			case p := <-told:
				if is(p) {
					return
				}
			case err := <-ended:
				t.Fatalf("%s: it ended: %v", what, err)
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	until("writes", func(p load.Progress) bool { return p.Writes > 50 && p.Reads > 50 })
	mu.Lock()
	current = nil
	mu.Unlock()
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	until("failures", func(p load.Progress) bool { return p.Failures > 5 })
	next := sqlconntest.Start(t, sqlconntest.Answers{Statement: data.answer})
	data.mu.Lock()
	data.server = "srv-b"
	data.mu.Unlock()
	server.RootCAs.AddCert(next.Certificate)
	mu.Lock()
	current = next
	mu.Unlock()
	from := int64(-1)
	until("writes on the other server", func(p load.Progress) bool {
		if p.Primary == "srv-b" && from < 0 {
			from = p.Writes
		}
		return from >= 0 && p.Writes > from+50
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if v := result.Verification; !v.OK || v.Acknowledged < 100 || v.Server != "srv-b" || len(result.Switches) != 1 || result.Writes.Outage.Attempts < 2 {
		t.Errorf("%+v %+v", v, result)
	}
	writes, err := load.ReadLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := load.Verify(t.Context(), o, writes)
	if err != nil || !again.OK || again.LedgerHash != result.Verification.LedgerHash || again.TableHash != again.LedgerHash {
		t.Errorf("%+v %v", again, err)
	}
	data.mu.Lock()
	delete(data.list, load.ID{Writer: 1, Sequence: 3})
	data.mu.Unlock()
	if again, err = load.Verify(t.Context(), o, writes); err != nil || again.OK || again.Lost != 1 || again.LostWrites[0] != (load.Range{Writer: 1, From: 3, To: 3}) {
		t.Errorf("%+v %v", again, err)
	}
	if err := table.Drop(t.Context()); err != nil || !strings.Contains(data.created[len(data.created)-1], "DROP TABLE [dbo].[crosskeys_load]") {
		t.Error(err)
	}
}
