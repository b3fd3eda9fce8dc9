package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/sqlconn/sqlconntest"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// listening is what answers over the group's listener: as the server that is
// primary in the console's world, with a table in memory.
type listening struct {
	console *console
	mu      sync.Mutex
	rows    map[int64][2]string // by sequence: payload and checksum
	forget  bool                // the first row, when it is read back
	dropped int
}

func (l *listening) primary() string {
	l.console.cloud.mu.Lock()
	defer l.console.cloud.mu.Unlock()
	g, _ := l.console.cloud.world.FailoverGroup(tdetest.Group)
	return g.Primary()
}

func of(kinds ...sqltype.Kind) []sqltype.Column {
	var list []sqltype.Column
	for _, kind := range kinds {
		list = append(list, sqltype.Column{Type: sqltype.Type{Kind: kind, Length: 128 * int(kind/sqltype.NVarChar)}, Nullable: true})
	}
	return list
}

func (l *listening) answer(_, text string, params []sqltype.Param) sqlconntest.Reply {
	primary := l.primary()
	l.mu.Lock()
	defer l.mu.Unlock()
	const s = sqltype.NVarChar
	who := sqlconntest.Reply{Columns: of(s, s), Rows: [][]any{{primary, "READ_WRITE"}}}
	at := func() int64 { n, _ := params[2].Value.(int64); return n }
	switch {
	case strings.HasPrefix(text, "INSERT"):
		payload, _ := params[3].Value.(string)
		checksum, _ := params[4].Value.(string)
		l.rows[at()] = [2]string{payload, checksum}
		return who
	case strings.HasPrefix(text, "SELECT CONVERT"):
		return who
	case strings.HasPrefix(text, "SELECT payload"):
		reply := sqlconntest.Reply{Columns: of(s, s)}
		if row, there := l.rows[at()]; there {
			reply.Rows = [][]any{{row[0], row[1]}}
		}
		return reply
	case strings.HasPrefix(text, "SELECT writer"):
		reply := sqlconntest.Reply{Columns: of(sqltype.Int, sqltype.BigInt, s, s)}
		for sequence, row := range l.rows {
			if sequence > 0 || !l.forget {
				reply.Rows = append(reply.Rows, []any{int64(0), sequence, row[0], row[1]})
			}
		}
		return reply
	case strings.Contains(text, "sys.dm_geo_replication_link_status"):
		commit := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
		return sqlconntest.Reply{
			Columns: of(sqltype.UniqueIdentifier, s, s, sqltype.TinyInt, sqltype.TinyInt, sqltype.Int, sqltype.DateTime, sqltype.DateTime),
			Rows:    [][]any{{sqltype.GUID{1}, "partner", "orders", int64(0), int64(2), int64(0), commit, commit}},
		}
	case strings.HasPrefix(text, "DROP"):
		l.dropped++
		return sqlconntest.Reply{}
	}
	return sqlconntest.Reply{} // the table is made, other views are empty
}

// asked gives the console a listener that can be asked.
func (c *console) asked(refuse error) *listening {
	l := &listening{console: c, rows: map[int64][2]string{}}
	server := sqlconntest.Start(c.t, sqlconntest.Answers{Statement: l.answer, Login: func(tds.Login) error { return refuse }})
	c.cloud.asks = &azure.SQLReader{Limit: 2 * time.Second, Options: sqlconn.Options{
		Token: func(context.Context) (string, error) { return "a.b.c", nil }, RootCAs: server.RootCAs, Dial: server.Dial,
	}}
	return l
}

func TestADrillMeasuresWhatAClientSees(t *testing.T) {
	t.Run("with writes of its own, there and back", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		l := c.asked(nil)
		c.expect(exitOK, "drill", tdetest.Group, "--failback", "--probe-write", "--probe-database", "ORDERS", "--yes")
		c.says("failover to tdesecondarytest, as a client saw it", "failover to tdeprimarytest, as a client saw it", "database orders, reads", "writes stood still for",
			"answered as the primary", "the replication lag of every database was zero", "acknowledged probe writes are on tdesecondarytest", "acknowledged probe writes are on tdeprimarytest")
		if l.dropped != 2 {
			t.Errorf("the table was dropped %d times", l.dropped)
		}
		c.narrow()
		c.expect(exitOK, "report", "-o", "@report.md")
		text, err := os.ReadFile(filepath.Join(c.folder, "report.md"))
		if err != nil || strings.Count(string(text), "once and unchanged: SHA-256") != 2 || strings.Count(string(text), "sys.dm_database_encryption_keys, as read in step") != 2 {
			t.Errorf("%v:\n%s", err, text)
		}
	})
	t.Run("in JSON", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.asked(nil)
		c.expect(exitOK, "drill", tdetest.Group, "--yes", "--json")
		c.says(`"measurements"`, `"measured": true`, `"replicationInStep": true`, `"longestGap"`)
	})
	t.Run("a loss is told as one", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.asked(nil).forget = true
		c.expect(exitOperator, "drill", tdetest.Group, "--probe-write=dbo.probe", "--yes")
		c.tells("a planned failover must lose nothing", "1 are not")
	})
	t.Run("what it may not measure it says", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.asked(sqltype.Message{Number: 18456, State: 1, Class: 14, Text: "Login failed for user '<token-identified principal>'."})
		c.expect(exitOK, "drill", tdetest.Group, "--yes")
		c.says("not verified: how long clients were", "CREATE USER [NAME]")
	})
	t.Run("not where it is not wanted, and not on a stranger", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.asked(nil)
		c.expect(exitUsage, "drill", tdetest.Group, "--probe-database", "stranger", "--yes")
		c.expect(exitOK, "drill", tdetest.Group, "--no-probe", "--yes")
		if strings.Contains(c.out.String(), "as a client saw it") {
			t.Error(c.out.String())
		}
	})
}

func TestADrillThatCouldNotBeVerifiedIsNotBegun(t *testing.T) {
	w := tdetest.Article()
	d := w.AtDatabase(tdetest.SecondaryServer, "orders")
	d.Encryption, d.SQLUnread = nil, &tde.Unread{What: "database orders on tdesecondarytest", Reason: "error 18456", Hint: "CREATE USER"}
	c := newConsole(t, w)
	c.expect(exitRefused, "drill", tdetest.Group, "--failback", "--yes")
	c.tells("database orders on tdesecondarytest could not be asked: error 18456", "hint: CREATE USER; or say --unverified")
	if c.cloud.calls != 0 {
		t.Fatalf("%d calls", c.cloud.calls)
	}
	c.expect(exitOK, "drill", tdetest.Group, "--failback", "--unverified", "--yes")
	if c.cloud.calls != 2 || strings.Contains(c.out.String(), "verify") {
		t.Errorf("%d calls:\n%s", c.cloud.calls, c.out.String())
	}
	c.says("done in")
	c.expect(exitOK, "inspect", tdetest.Group)
	c.says("not read: database orders on tdesecondarytest: error 18456", "hint: CREATE USER")
}
