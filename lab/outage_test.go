package lab_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
)

// A client that follows the listener's name is without its database for less
// than a second in a planned failover, and finds every write that it was told
// of.
func TestPlannedFailoverIsShortForClientsOfTheListener(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x)")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acknowledged atomic.Int64
	gaps := make(chan time.Duration, 1)
	go func() {
		longest, last := time.Duration(0), time.Now()
		for ctx.Err() == nil {
			n := acknowledged.Load() + 1
			if writeThroughListener(ctx, a.lab.SQL(), fmt.Sprintf("INSERT INTO t VALUES (%d)", n)) != nil {
				time.Sleep(5 * time.Millisecond) // a client's pause before it tries again
				continue
			}
			acknowledged.Store(n)
			longest, last = max(longest, time.Since(last)), time.Now()
		}
		gaps <- longest
	}()
	a.eventually(func() bool { return acknowledged.Load() > 5 }, "the client writes")
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary} {
		if err := a.failover(server); err != nil {
			t.Fatal(err)
		}
		now := acknowledged.Load()
		a.eventually(func() bool { return acknowledged.Load() > now+5 }, "the client writes again")
	}
	stop()
	longest := <-gaps
	t.Logf("longest time without an acknowledged write: %v, over %d writes", longest, acknowledged.Load())
	if longest > time.Second {
		t.Errorf("the client was without its database for %v", longest)
	}
	there := map[int]bool{}
	for _, n := range a.rows(lab.ArticlePrimary, "orders") {
		there[n] = true
	}
	for n := 1; n <= int(acknowledged.Load()); n++ {
		if !there[n] {
			t.Fatalf("write %d was acknowledged and is lost", n)
		}
	}
}

// writeThroughListener connects as the SQL endpoint does, writes, and leaves.
func writeThroughListener(ctx context.Context, sql *sqlserver.Service, text string) error {
	target, _, err := sql.Resolve(lab.ArticleFailoverGroup + ".database.windows.net")
	if err != nil {
		return err
	}
	lease, err := sql.Instances().Attach(ctx, instance.NewRef(target.Server, "orders"), instance.Client{})
	if err != nil {
		return err
	}
	defer lease.Release()
	conn, err := lease.DB().Conn(ctx)
	if err != nil {
		return err
	}
	err = conn.Exec(text)
	if closing := conn.Close(); err == nil {
		err = closing
	}
	return err
}
