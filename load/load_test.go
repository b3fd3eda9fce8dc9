package load_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/load"
)

var (
	errBroken    = errors.New("the connection is broken")
	errDuplicate = errors.New("there is such a row")
	errRefused   = errors.New("refused for good")
)

// cluster is a primary and what it holds, in memory. The tests break it.
type cluster struct {
	mu      sync.Mutex
	primary string
	rows    map[load.ID][]load.Row
	order   []load.ID
	down    bool
	refuse  bool
	lapse   bool // the next insert is written and its answer lost
	epoch   int  // connections of an earlier one are broken
	latency time.Duration
	opened  int
}

func newCluster() *cluster {
	return &cluster{primary: "srv-a", rows: map[load.ID][]load.Row{}, latency: time.Millisecond}
}

func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// failover makes another server the primary, without the newest writes.
func (c *cluster) failover(to string, lost int) {
	c.change(func() {
		c.primary, c.epoch = to, c.epoch+1
		for range lost {
			last := c.order[len(c.order)-1]
			c.order = c.order[:len(c.order)-1]
			delete(c.rows, last)
		}
	})
}

func (c *cluster) open(context.Context) (load.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
	if c.down {
		return nil, errBroken
	}
	return &session{cluster: c, epoch: c.epoch}, nil
}

type session struct {
	*cluster
	epoch int
}

func (s *session) Close() error { return nil }

// use answers as the cluster is now.
func (s *session) use(ctx context.Context, f func() error) (load.Answer, error) {
	timer := time.NewTimer(s.latency)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return load.Answer{}, ctx.Err()
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refuse:
		return load.Answer{}, errRefused
	case s.down, s.epoch != s.cluster.epoch:
		return load.Answer{}, errBroken
	}
	return load.Answer{Server: s.primary, Writable: true}, f()
}

func (s *session) Look(ctx context.Context) (load.Answer, error) {
	return s.use(ctx, func() error { return nil })
}

func (s *session) Insert(ctx context.Context, _ string, row load.Row) (load.Answer, error) {
	return s.use(ctx, func() error {
		if len(s.rows[row.ID]) > 0 {
			return errDuplicate
		}
		s.rows[row.ID] = []load.Row{row}
		s.order = append(s.order, row.ID)
		if s.lapse {
			s.lapse = false
			return errBroken
		}
		return nil
	})
}

func (s *session) Read(ctx context.Context, _ string, id load.ID) (row load.Row, found bool, answer load.Answer, err error) {
	answer, err = s.use(ctx, func() error {
		if rows := s.rows[id]; len(rows) > 0 {
			row, found = rows[0], true
		}
		return nil
	})
	return row, found, answer, err
}

func (s *session) Rows(ctx context.Context, _ string, writer int, each func(load.Row) error) error {
	_, err := s.use(ctx, func() error {
		ids := slices.Collect(maps.Keys(s.rows))
		slices.SortFunc(ids, func(a, b load.ID) int { return int(a.Sequence - b.Sequence) })
		for _, id := range ids {
			for _, row := range s.rows[id] {
				if id.Writer == writer {
					if err := each(row); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	return err
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

const run = "0123456789abcdef0123456789abcdef"

func options(c *cluster, ledger *load.Ledger) load.Options {
	return load.Options{
		Open: c.open, Ledger: ledger, Writers: 3, Readers: 2, Duration: 2 * time.Second, Now: time.Now, Wait: wait, Random: rand.Reader,
		Retryable: func(err error) bool { return errors.Is(err, errBroken) }, Duplicate: func(err error) bool { return errors.Is(err, errDuplicate) },
		GiveUp: 30 * time.Second,
	}
}

func memory() *load.Ledger { return load.NewLedger(load.Header{Run: run}) }

// play runs a load in a bubble of its own time, with something happening to the
// cluster along the way.
func play(t *testing.T, c *cluster, change func(o *load.Options), during func()) (result load.Result, err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		o := options(c, memory())
		if change != nil {
			change(&o)
		}
		if during != nil {
			go func() {
				time.Sleep(time.Second) // of the bubble
				during()
			}()
		}
		result, err = load.Run(context.Background(), o)
	})
	return result, err
}

func TestAWorkloadWithoutIncidentLosesNothing(t *testing.T) {
	result, err := play(t, newCluster(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := result.Verification
	if !v.OK || v.Acknowledged != result.Writes.Done || v.Acknowledged < 1000 || v.Present != v.Acknowledged || v.LedgerHash != v.TableHash || v.Server != "srv-a" {
		t.Errorf("%+v", v)
	}
	if result.Reads.Done < 1000 || result.MissedReads != 0 || result.CorruptReads != 0 || len(result.Switches) != 0 || result.Writes.Failures != 0 {
		t.Errorf("%+v", result)
	}
	if l := result.Writes.Latency; l.P50 < 900*time.Microsecond || l.Max > 2*time.Millisecond {
		t.Errorf("latency %+v", l)
	}
}

func TestAPlannedFailoverIsSeenAndLosesNothing(t *testing.T) {
	c := newCluster()
	result, err := play(t, c, nil, func() {
		c.change(func() { c.down = true })
		time.Sleep(300 * time.Millisecond)
		c.failover("srv-b", 0)
		c.change(func() { c.down = false })
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Verification.OK || result.Verification.Server != "srv-b" {
		t.Errorf("%+v", result.Verification)
	}
	if len(result.Switches) != 1 || result.Switches[0].From != "srv-a" || result.Switches[0].To != "srv-b" || len(result.Checks) != 1 || !result.Checks[0].OK {
		t.Errorf("switches %+v, checks %+v", result.Switches, result.Checks)
	}
	for _, s := range []load.Series{result.Writes, result.Reads} {
		// The longest backoff in that time adds to the outage at most.
		if d := s.Outage.Duration; d < 300*time.Millisecond || d > 700*time.Millisecond || s.Gap.Duration < d || s.Failures == 0 || s.Errors["connection"] != s.Failures {
			t.Errorf("%+v", s)
		}
	}
}

func TestAForcedFailoverLosesExactlyWhatIsReported(t *testing.T) {
	c := newCluster()
	result, err := play(t, c, nil, func() { c.failover("srv-b", 17) })
	if err != nil {
		t.Fatal(err)
	}
	v := result.Verification
	// A write whose acknowledgement was on its way is written again by its writer.
	if v.OK || v.Lost > 17 || v.Lost < 17-3 || v.LedgerHash == v.TableHash || v.Present != v.Intended-v.Lost {
		t.Errorf("%+v", v)
	}
	count := int64(0)
	for _, lost := range v.LostWrites {
		count += lost.To - lost.From + 1
		for sequence := lost.From; sequence <= lost.To; sequence++ {
			if len(c.rows[load.ID{Writer: lost.Writer, Sequence: sequence}]) > 0 {
				t.Errorf("write %d of writer %d is there", sequence, lost.Writer)
			}
		}
	}
	if count != v.Lost || len(result.Checks) != 1 || result.Checks[0].Lost != v.Lost {
		t.Errorf("%d listed of %d, checks %+v", count, v.Lost, result.Checks)
	}
}

func TestAnAcknowledgementThatIsLostIsNoSecondWrite(t *testing.T) {
	c := newCluster()
	result, err := play(t, c, nil, func() { c.change(func() { c.lapse = true }) })
	if err != nil {
		t.Fatal(err)
	}
	if !result.Verification.OK || result.Writes.Failures != 1 || result.Verification.Acknowledged != result.Verification.Present {
		t.Errorf("%+v %+v", result.Verification, result.Writes)
	}
}

func TestWhatIsWrongInTheTableIsFound(t *testing.T) {
	victim := load.ID{Writer: 1, Sequence: 5}
	tests := []struct {
		name  string
		harm  func(c *cluster)
		found func(v load.Verification) bool
	}{
		{"a row twice", func(c *cluster) { c.rows[victim] = append(c.rows[victim], c.rows[victim][0]) }, func(v load.Verification) bool { return cmp.Equal(v.Duplicates, []load.ID{victim}) }},
		{"another payload", func(c *cluster) { c.rows[victim][0].Payload = "x" }, func(v load.Verification) bool { return cmp.Equal(v.Corrupted, []load.ID{victim}) }},
		{"another payload and its checksum", func(c *cluster) {
			c.rows[victim][0] = load.NewRow(run, victim, 7)
		}, func(v load.Verification) bool { return cmp.Equal(v.Corrupted, []load.ID{victim}) }},
		{"a row gone", func(c *cluster) { delete(c.rows, victim) }, func(v load.Verification) bool {
			return cmp.Equal(v.LostWrites, []load.Range{{Writer: 1, From: 5, To: 5}}) && v.Lost == 1
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster()
			result, err := play(t, c, nil, func() { c.change(func() { tt.harm(c) }) })
			if err != nil {
				t.Fatal(err)
			}
			v := *result.Verification
			if v.OK || !tt.found(v) || v.LedgerHash == v.TableHash {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestAServerThatIsKilledAndComesBackIsWaitedFor(t *testing.T) {
	c := newCluster()
	result, err := play(t, c, func(o *load.Options) { o.Duration = 40 * time.Second; o.Rate = 50 }, func() {
		c.change(func() { c.down, c.epoch = true, c.epoch+1 })
		time.Sleep(20 * time.Second)
		c.change(func() { c.down = false })
	})
	if err != nil || !result.Verification.OK {
		t.Fatal(err, result.Verification)
	}
	if d := result.Writes.Outage.Duration; d < 20*time.Second || d > 21*time.Second {
		t.Errorf("outage %s", d)
	}
	if n := result.Writes.Done; n < 850 || n > 1100 {
		t.Errorf("%d writes in 20 good seconds at 50 a second", n)
	}
}

func TestARunEndsWhenItHasToGiveUp(t *testing.T) {
	t.Run("after the time that was allowed", func(t *testing.T) {
		c := newCluster()
		result, err := play(t, c, func(o *load.Options) { o.Duration, o.GiveUp = time.Hour, 5*time.Second }, func() { c.change(func() { c.down = true }) })
		if give, ok := errors.AsType[*load.GiveUpError](err); !ok || give.After < 5*time.Second || !errors.Is(err, errBroken) {
			t.Errorf("%v", err)
		}
		if result.Writes.Done == 0 || result.Verification != nil {
			t.Errorf("%+v", result)
		}
	})
	t.Run("at once when no retry cures it", func(t *testing.T) {
		c := newCluster()
		if _, err := play(t, c, nil, func() { c.change(func() { c.refuse = true }) }); !errors.Is(err, errRefused) {
			t.Errorf("%v", err)
		}
	})
	t.Run("when its context ends, with what was done verified", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			o := options(newCluster(), memory())
			o.Duration = 0
			result, err := load.Run(ctx, o)
			if err != nil || !result.Verification.OK || result.Verification.Acknowledged == 0 {
				t.Errorf("%v %+v", err, result.Verification)
			}
		})
	})
	t.Run("before it begins when it is asked for nothing", func(t *testing.T) {
		for _, o := range []load.Options{{}, {Open: newCluster().open, Now: time.Now, Wait: wait, Random: rand.Reader}, {Open: newCluster().open, Now: time.Now, Wait: wait, Random: rand.Reader, Writers: 1}} {
			if _, err := load.Run(t.Context(), o); err == nil {
				t.Errorf("%+v ran", o)
			}
		}
	})
}

func TestProgressIsTold(t *testing.T) {
	var told []load.Progress
	c := newCluster()
	if _, err := play(t, c, func(o *load.Options) {
		o.Progress, o.Every = func(p load.Progress) { told = append(told, p) }, 500*time.Millisecond
	}, func() { c.failover("srv-b", 0) }); err != nil {
		t.Fatal(err)
	}
	if len(told) < 3 || told[0].Primary != "srv-a" || told[len(told)-1].Primary != "srv-b" || told[0].WriteRate < 1000 || told[0].WriteLatency.P50 == 0 {
		t.Errorf("%+v", told)
	}
}

func TestALedgerIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	ledger, err := load.CreateLedger(path, load.Header{Run: run, Listener: "fog.database.windows.net", Database: "orders", Table: "dbo.t", StartedAt: at}, true)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := range int64(5) {
		for writer := range 2 {
			row := load.NewRow(run, load.ID{Writer: writer, Sequence: sequence}, 20)
			if err := ledger.Intend(row, at); err != nil {
				t.Fatal(err)
			}
			if sequence == 4 && writer == 1 {
				continue
			}
			if err := ledger.Acknowledge(row.ID, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := ledger.Intend(load.NewRow(run, load.ID{Sequence: 7}, 20), at); err == nil {
		t.Error("a gap was taken")
	}
	if err := ledger.Acknowledge(load.ID{Writer: 3}, at); err == nil {
		t.Error("a write that was never intended was acknowledged")
	}
	want := ledger.Writes()
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := load.CreateLedger(path, load.Header{}, false); !errors.Is(err, os.ErrExist) {
		t.Errorf("an old ledger was overwritten: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// What a crash tears is left out.
	lines := bytes.SplitAfter(text, []byte("\n"))
	good := bytes.Join(lines, nil)
	for cut := range 10 {
		got, err := load.ParseLedger(io.MultiReader(bytes.NewReader(good), strings.NewReader("A\t1\t4\t2026-11-"[:cut])))
		if err != nil || got.TornBytes != cut {
			t.Fatalf("%v, %d torn", err, got.TornBytes)
		}
		got.TornBytes = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestABrokenLedgerIsRefused(t *testing.T) {
	const header = `{"format":"crosskeys-load-ledger/1","run":"r"}` + "\n"
	const sum = "0123456789abcdef0123456789abcdef"
	for name, text := range map[string]string{
		"empty":                     "",
		"of another kind":           `{"format":"other"}` + "\n",
		"no JSON":                   "x\n",
		"an unknown line":           header + "X\t0\t0\n",
		"a gap":                     header + "I\t0\t1\t" + sum + "\t2026-11-24T09:00:00Z\n",
		"a short checksum":          header + "I\t0\t0\t01\t2026-11-24T09:00:00Z\n",
		"no time":                   header + "I\t0\t0\t" + sum + "\tnow\n",
		"acknowledged, not written": header + "A\t0\t0\t2026-11-24T09:00:00Z\n",
		"a negative writer":         header + "I\t-1\t0\t" + sum + "\t2026-11-24T09:00:00Z\n",
		"a line without end":        header + strings.Repeat("x", 1<<17),
	} {
		if _, err := load.ParseLedger(strings.NewReader(text)); err == nil {
			t.Errorf("%s was read", name)
		} else if _, ok := errors.AsType[*load.LedgerError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTableNames(t *testing.T) {
	for _, name := range []string{"t", "dbo.t", "my schema.my table"} {
		if err := load.CheckTableName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".t", "a.b.c", "[t]", "t'; DROP TABLE x --", strings.Repeat("x", 129)} {
		if load.CheckTableName(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte(`{"format":"crosskeys-load-ledger/1","run":"r"}` + "\nI\t0\t0\t0123456789abcdef0123456789abcdef\t2026-11-24T09:00:00Z\nA\t0\t0\t2026-11-24T09:00:00Z\n"))
	f.Add([]byte("A\t"))
	f.Fuzz(func(t *testing.T, text []byte) {
		writes, err := load.ParseLedger(bytes.NewReader(text))
		if err == nil && writes.Header.Format != load.Format {
			t.Errorf("%+v", writes.Header)
		}
	})
}
