package engine

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const childDir = "CROSSKEYS_ENGINE_CHILD"

// TestMain is also the process that TestCrash kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, "child:", child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func crashOptions(dir string) Options {
	o := options(dir, newVault())
	o.NoSync = false
	o.VLFSize = 128 << 10
	return o
}

// child writes as fast as it can, and says what was acknowledged, until it is killed.
func child(dir string) error {
	ctx := context.Background()
	d, err := Open(ctx, crashOptions(dir))
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 3 {
		go func() { failed <- childWriter(ctx, d, w) }()
	}
	go func() {
		// A scan that was killed goes on; one that is done is followed by the next, in the other direction.
		for i := 0; ; i++ {
			if err := d.Scan(ctx); err != nil {
				failed <- err
				return
			}
			var key *PlainDEK
			if d.Boot().State == StateUnencrypted {
				raw := []byte(fmt.Sprintf("%032d", d.Last()))
				key = &PlainDEK{Key: raw, Wrapped: WrappedDEK{ID: fmt.Sprintf("dek-%d", d.Last()), Wrapped: mask("A1", raw), Thumbprint: "A1"}}
			}
			if err := d.SetEncryption(ctx, key); err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

func childWriter(ctx context.Context, d *DB, w int) error {
	c, err := d.Conn(ctx)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		// The sum of all balances stays 0: a torn transaction would show.
		err := c.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; INSERT INTO acked(writer, v) VALUES (%d, randomblob(%d));
			UPDATE account SET balance = balance - 5 WHERE id = abs(random()) %% 50; UPDATE account SET balance = balance + 5 WHERE id = (SELECT count(*) %% 50 FROM acked WHERE id > 0 AND id < 100)`, w, i%9000))
		if err != nil {
			return err
		}
		id := c.LastInsertRowID()
		if i%5 == 4 {
			err = c.Exec("ROLLBACK")
		} else {
			err = c.Exec("COMMIT")
		}
		if err != nil {
			return err
		}
		if i%5 != 4 {
			fmt.Printf("%d\n", id) //nolint:forbidigo // the child's report to its parent
		}
	}
}

func TestCrash(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	if soak, err := time.ParseDuration(os.Getenv("CROSSKEYS_SOAK")); err == nil {
		rounds = max(rounds, int(soak/(500*time.Millisecond)))
	}
	dir := t.TempDir()
	d := must[*DB](t)(Create(t.Context(), crashOptions(dir), "db", nil))
	c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
	run(t, c, "CREATE TABLE acked(id INTEGER PRIMARY KEY AUTOINCREMENT, writer INT, v BLOB); CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT)")
	run(t, c, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<49) INSERT INTO account SELECT i, 0 FROM n")
	ok(t, c.Close())
	ok(t, d.Close())
	acked, states := map[int64]bool{}, map[State]int{}
	for round := range rounds {
		for _, id := range crashOnce(t, dir) {
			acked[id] = true
		}
		d := must[*DB](t)(Open(t.Context(), crashOptions(dir)))
		states[d.Boot().State]++
		integrity(t, d)
		c := must[*sqlite3.Conn](t)(d.Conn(t.Context()))
		if sum := queryInt(t, c, "SELECT sum(balance) FROM account"); sum != 0 {
			t.Errorf("round %d: the balances' sum is %d: half a transaction is there", round, sum)
		}
		there := map[int64]bool{}
		s, _, err := c.Prepare("SELECT id FROM acked")
		ok(t, err)
		for s.Step() {
			there[s.ColumnInt64(0)] = true
		}
		ok(t, s.Err())
		ok(t, s.Close())
		for id := range acked {
			if !there[id] {
				t.Errorf("round %d: acknowledged row %d is lost", round, id)
			}
		}
		ok(t, c.Close())
		ok(t, d.Close())
	}
	t.Logf("%d acknowledged commits over %d kills, states met at the restart: %v", len(acked), rounds, states)
	if len(acked) == 0 {
		t.Error("nothing was written")
	}
}

// crashOnce runs the child, kills it in mid-write, and gives what it acknowledged.
func crashOnce(t *testing.T, dir string) (ids []int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	kill := 20 + rand.IntN(400)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			break // the last line was cut
		}
		ids = append(ids, id)
		if len(ids) == kill {
			ok(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // killed
	if stderr.Len() > 0 {
		t.Fatal(stderr.String())
	}
	return ids
}
