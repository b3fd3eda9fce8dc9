package georep_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/georep"
)

// badCable spoils what passes: it flips a bit, or cuts, after a random number
// of bytes.
type badCable struct {
	net.Conn
	mu     sync.Mutex
	left   int
	random *rand.Rand
}

var errCut = errors.New("cable cut")

func (c *badCable) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= len(b); c.left > 0 || len(b) == 0 {
		return c.Conn.Write(b)
	}
	if c.random.IntN(2) == 0 {
		return 0, errors.Join(errCut, c.Close())
	}
	spoilt := append([]byte(nil), b...)
	spoilt[c.random.IntN(len(b))] ^= 1 << c.random.IntN(8)
	c.left = 1 << 30
	return c.Conn.Write(spoilt)
}

func TestBadCable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 1)
	w.settle(t)
	w.rel.Close()
	var mu sync.Mutex
	dials, budget := 0, 40_000
	link := georep.NewLink(georep.LinkOptions{
		ID: "bad", Primary: w.replicas["a"], Secondary: w.replicas["b"], Now: time.Now, RetryAfter: time.Millisecond,
		Dial: func(context.Context) (io.ReadWriteCloser, io.ReadWriteCloser, error) {
			mu.Lock()
			defer mu.Unlock()
			dials++
			near, far := net.Pipe()
			left := random.IntN(budget)
			return &badCable{Conn: near, left: left, random: rand.New(rand.NewPCG(random.Uint64(), 1))}, far, nil
		},
	})
	link.Start(t.Context())
	t.Run("what passes a cable that flips bits and breaks is either true or not applied", func(t *testing.T) {
		for n := range 30 {
			insert(t, w.db("a"), 1, n*5, n*5+5)
			// Both copies agree wherever the secondary is.
			ok(t, w.db("b").Verify(t.Context()))
		}
		mu.Lock()
		budget = 1 << 30 // a cable that holds now
		mu.Unlock()
		link.Resume()
		for link.Drain(within(t), w.db("a").Last()) != nil {
			ok(t, link.Await(within(t), georep.CatchUp))
		}
		if a, b := w.db("a").Checksum(), w.db("b").Checksum(); a != b {
			t.Errorf("checksums %x and %x", a, b)
		}
		mu.Lock()
		defer mu.Unlock()
		if dials < 5 {
			t.Errorf("only %d connections: the cable was too good", dials)
		}
	})
	link.Close()
}

func TestSeeding(t *testing.T) {
	w := newWorld(t, 0)
	c := w.db("a")
	insert(t, c, 1, 0, 5)
	ok(t, run(t.Context(), c, "CREATE TABLE big (x BLOB); INSERT INTO big SELECT randomblob(100000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100) SELECT i FROM n)"))
	w.addReplica(t, "b")
	halfway, goOn := make(chan struct{}), make(chan struct{})
	asked := 0
	link := georep.NewLink(georep.LinkOptions{
		ID: "s", Primary: w.replicas["a"], Secondary: w.replicas["b"], Now: time.Now,
		Reach: func(context.Context) error {
			if asked++; asked == 12 {
				close(halfway)
				<-goOn
			}
			return nil
		},
	})
	link.Start(t.Context())
	defer link.Close()
	t.Run("half-way through its progress shows, and writes go on", func(t *testing.T) {
		<-halfway
		ok(t, link.Await(within(t), georep.Seeding))
		ctx := within(t)
		for link.Status().PercentComplete == 0 && ctx.Err() == nil {
			runtime.Gosched() // pages that were sent are still being written
		}
		if s := link.Status(); s.PercentComplete <= 0 || s.PercentComplete >= 100 || w.db("b") != nil {
			t.Errorf("status %+v", s)
		}
		insert(t, w.db("a"), 1, 5, 25)
		close(goOn)
	})
	t.Run("in the end the secondary has what was written meanwhile", func(t *testing.T) {
		ok(t, link.Drain(within(t), w.db("a").Last()))
		if got := len(rows(t, w.db("b"))); got != 25 {
			t.Errorf("%d rows, want 25", got)
		}
		if a, b := w.db("a").Checksum(), w.db("b").Checksum(); a != b {
			t.Errorf("checksums %x and %x", a, b)
		}
	})
}
