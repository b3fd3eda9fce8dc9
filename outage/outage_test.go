package outage_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/outage"
	"github.com/crosskeys/crosskeys/tde"
)

// table is a failover group's database in memory.
type table struct {
	mu      sync.Mutex
	primary string
	down    bool
	deny    error
	rows    map[load.ID]load.Row
	created int
	dropped int
}

func newTable() *table { return &table{primary: "srv-a", rows: map[load.ID]load.Row{}} }

func (c *table) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

var errBroken = errors.New("the connection is broken")

func (c *table) Open(context.Context) (load.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, errBroken
	}
	return session{c}, c.deny
}

func (c *table) Create(context.Context) error { c.change(func() { c.created++ }); return c.deny }
func (c *table) Drop(context.Context) error   { c.change(func() { c.dropped++ }); return nil }

type session struct{ *table }

func (s session) Close() error { return nil }

func (s session) Look(context.Context) (load.Answer, error) {
	time.Sleep(time.Millisecond) // of the bubble
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return load.Answer{}, errBroken
	}
	return load.Answer{Server: s.primary, Writable: true}, nil
}

func (s session) Insert(ctx context.Context, _ string, row load.Row) (load.Answer, error) {
	answer, err := s.Look(ctx)
	if err == nil {
		s.change(func() { s.rows[row.ID] = row })
	}
	return answer, err
}

func (s session) Read(ctx context.Context, _ string, id load.ID) (load.Row, bool, load.Answer, error) {
	answer, err := s.Look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	row, found := s.rows[id]
	return row, found, answer, err
}

func (s session) Rows(_ context.Context, _ string, writer int, each func(load.Row) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sequence := int64(0); ; sequence++ {
		row, found := s.rows[load.ID{Writer: writer, Sequence: sequence}]
		if !found && sequence >= int64(len(s.rows)) {
			return nil
		}
		if found {
			if err := each(row); err != nil {
				return err
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func prober(c *table) *outage.Prober {
	return &outage.Prober{
		Table: c, Listener: "fog.database.windows.net", Database: "orders", Now: time.Now, Wait: wait, Random: rand.Reader, Patience: 5 * time.Second,
	}
}

// failover takes 400 ms, of which nothing is answered in 300.
func failover(c *table) {
	time.Sleep(100 * time.Millisecond)
	c.change(func() { c.down = true })
	time.Sleep(300 * time.Millisecond)
	c.change(func() { c.down, c.primary = false, "srv-b" })
}

func links(lag int, commit time.Time) []outage.Link {
	return []outage.Link{{Server: "s", Database: "orders", Status: tde.GeoStatus{State: tde.StateCatchUp, LagSeconds: &lag, LastCommit: &commit}}}
}

func TestAFailoverIsMeasured(t *testing.T) {
	for name, write := range map[string]bool{"reads alone": false, "reads and writes": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTable()
				p := prober(c)
				p.Write, p.Temporary = write, write
				lags := []int{3, 1, 0}
				p.Geo = func(_ context.Context, server string) ([]outage.Link, error) {
					if server == "srv-b" {
						return links(0, time.Now()), nil
					}
					lag := lags[0]
					lags = lags[1:]
					return links(lag, time.Now()), nil
				}
				w := p.Begin(t.Context(), "srv-a", "srv-b", "run")
				failover(c)
				m := w.End(t.Context())
				if !m.Measured || len(m.Lost) > 0 || m.InStep == nil || !*m.InStep || len(lags) != 0 || len(m.After) != 1 {
					t.Fatalf("%+v", m)
				}
				if d := m.Reads.Gap.Duration; d < 300*time.Millisecond || d > 365*time.Millisecond || m.Reads.Failures == 0 {
					t.Errorf("reads %+v", m.Reads)
				}
				if d := m.UntilNewPrimary; d < 400*time.Millisecond || d > 465*time.Millisecond {
					t.Errorf("the new primary after %s", d)
				}
				text := strings.Join(m.Sentences(), "\n")
				for _, want := range []string{"reads stood still for 3", "srv-b answered as the primary 4", "lag of every database was zero"} {
					if !strings.Contains(text, want) {
						t.Errorf("%q lacks %q", text, want)
					}
				}
				if write && (m.Writes.Gap.Duration < 300*time.Millisecond || !m.Ledger.OK || m.Ledger.Acknowledged == 0 || !strings.Contains(text, "once and unchanged: SHA-256 ") || c.created != 1 || c.dropped != 1) {
					t.Errorf("%+v %q, made %d, dropped %d", m.Ledger, text, c.created, c.dropped)
				}
				if !write && (m.Writes != nil || m.Ledger != nil || c.created+c.dropped != 0) {
					t.Errorf("it wrote: %+v", m)
				}
			})
		})
	}
}

func TestALossIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTable()
		p := prober(c)
		p.Write = true
		commit := time.Now()
		p.Geo = func(_ context.Context, server string) ([]outage.Link, error) {
			if server == "srv-b" {
				return links(0, commit.Add(-time.Second)), nil
			}
			return links(0, commit), nil
		}
		w := p.Begin(t.Context(), "srv-a", "srv-b", "run")
		failover(c)
		c.change(func() { delete(c.rows, load.ID{}) })
		m := w.End(t.Context())
		if len(m.Lost) != 2 || !strings.Contains(m.Lost[0], "the last commit of orders") || !strings.Contains(m.Lost[1], "1 are not there") {
			t.Errorf("%q", m.Lost)
		}
		if c.dropped != 0 {
			t.Error("a table that was named is not dropped")
		}
	})
}

func TestWhatCannotBeMeasuredIsSaid(t *testing.T) {
	t.Run("no access", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTable()
			c.deny = context.Canceled // as little to be cured by waiting as a login that is refused
			for _, write := range []bool{false, true} {
				p := prober(c)
				p.Write = write
				m := p.Begin(t.Context(), "srv-a", "srv-b", "run").End(t.Context())
				if text := strings.Join(m.Sentences(), "\n"); m.Measured || !strings.Contains(text, "not verified: how long clients were without fog.database.windows.net") || m.Hint == "" {
					t.Errorf("%+v", m)
				}
			}
		})
	})
	t.Run("nobody answers before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTable()
			c.down = true
			began := time.Now()
			m := prober(c).Begin(t.Context(), "srv-a", "srv-b", "run").End(t.Context())
			if m.Measured || !strings.Contains(m.Why, "no answer came") || time.Since(began) > 10*time.Second {
				t.Errorf("%+v after %s", m, time.Since(began))
			}
		})
	})
	t.Run("the new primary does not answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := prober(newTable()).Begin(t.Context(), "srv-a", "srv-b", "run").End(t.Context())
			if text := strings.Join(m.Sentences(), "\n"); !m.Measured || m.UntilNewPrimary != 0 || !strings.Contains(text, "not verified: srv-b did not answer") {
				t.Errorf("%+v", m)
			}
		})
	})
	t.Run("the caller has no more patience", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := prober(newTable()).Begin(ctx, "srv-a", "srv-b", "run")
			cancel()
			began := time.Now()
			w.End(ctx)
			if time.Since(began) > 5*time.Second {
				t.Errorf("it waited %s", time.Since(began))
			}
		})
	})
}
