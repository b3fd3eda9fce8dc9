// Package outage measures a planned failover as a client sees it: a prober reads
// over the listener every few milliseconds, and writes where that is asked for,
// reconnecting as an application does, from before the call until the new primary
// has answered. It says for how long nothing was answered, and proves by the
// ledger of its own writes and by the databases' last commits that nothing was
// lost.
package outage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/tde"
)

// Table is where probe writes go.
type Table interface {
	Open(ctx context.Context) (load.Session, error)
	// Create makes it, unless it is there.
	Create(ctx context.Context) error
	Drop(ctx context.Context) error
}

// Prober measures failovers of one group, one after the other. All fields but
// Write, Temporary and Geo have to be set.
type Prober struct {
	Table    Table
	Listener string // host name, for readers of the measurement
	Database string
	// Write has a writer beside the reader. Temporary says that the table is
	// made for it and dropped afterwards.
	Write, Temporary bool
	// Geo reads how the geo-replication of the group's databases stands as one
	// of its servers says; nil: that is not read.
	Geo    func(ctx context.Context, server string) ([]Link, error)
	Now    func() time.Time
	Wait   func(ctx context.Context, d time.Duration) error
	Random io.Reader
	// Patience bounds each wait: for the first answer, for replication to be in
	// step, for the new primary's answer; 0: 30 seconds.
	Patience time.Duration
}

// Link is one database's replication as one side says.
type Link struct {
	Server   string        `json:"server"` // that was asked
	Database string        `json:"database"`
	Status   tde.GeoStatus `json:"status"`
}

// Measurement is one failover as a client saw it.
type Measurement struct {
	Step     int    `json:"step"`
	From     string `json:"from"`
	To       string `json:"to"`
	Listener string `json:"listener"`
	Database string `json:"database"`
	// Measured is false when the listener could not be asked; Why says why.
	Measured bool   `json:"measured"`
	Why      string `json:"why,omitempty"`
	Hint     string `json:"hint,omitempty"`
	// CalledAt is when the failover was about to be called.
	CalledAt time.Time `json:"calledAt"`
	// UntilNewPrimary is the time from CalledAt to the new primary's first
	// answer; 0 when it did not answer in time.
	UntilNewPrimary time.Duration `json:"untilNewPrimaryNanoseconds"`
	Reads           load.Series   `json:"reads"`
	Writes          *load.Series  `json:"writes,omitempty"`
	// InStep says that right before the call every database's replication lag
	// was zero; nil when that was not read.
	InStep *bool  `json:"replicationInStep,omitempty"`
	Before []Link `json:"before,omitempty"`
	After  []Link `json:"after,omitempty"`
	// Ledger is the comparison of the probe's writes with its table.
	Ledger *load.Verification `json:"ledger,omitempty"`
	// Lost says what was found missing; empty when nothing was.
	Lost []string `json:"lost,omitempty"`
}

// Watch is a failover being measured.
type Watch struct {
	prober  *Prober
	result  Measurement
	ledger  *load.Ledger
	now     atomic.Pointer[load.Progress]
	stop    context.CancelFunc
	ended   chan struct{}
	run     load.Result
	failure error
}

// The prober's pace.
const (
	probeRate    = 200 // a second
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 50 * time.Millisecond
	glance       = 10 * time.Millisecond
)

// Begin starts to probe and returns when the first answer has come and
// replication is in step, or when it will not be. It is called right before the
// failover; End must be called.
//
//nolint:contextcheck // the prober goes on after ctx, until End
func (p *Prober) Begin(ctx context.Context, from, to, run string) *Watch {
	w := &Watch{prober: p, ended: make(chan struct{}), result: Measurement{From: from, To: to, Listener: p.Listener, Database: p.Database}}
	ctx, cancel := context.WithTimeout(ctx, p.patience())
	defer cancel()
	var probing context.Context
	probing, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	if p.Write {
		if err := p.Table.Create(ctx); err != nil {
			w.fail(err)
			close(w.ended)
			return w
		}
		w.ledger = load.NewLedger(load.Header{Run: run, Listener: p.Listener, Database: p.Database})
	}
	answered := make(chan struct{}, 1)
	go w.probe(probing, answered)
	select {
	case <-answered:
	case <-w.ended:
		w.fail(w.failure)
		return w
	case <-ctx.Done():
		w.fail(fmt.Errorf("no answer came over %s within %s", p.Listener, p.patience()))
		return w
	}
	w.result.Measured = true
	w.inStep(ctx)
	w.result.CalledAt = p.Now()
	return w
}

func (p *Prober) patience() time.Duration {
	if p.Patience > 0 {
		return p.Patience
	}
	return 30 * time.Second
}

func (w *Watch) fail(err error) {
	if err == nil {
		err = errors.New("the prober ended")
	}
	explained := sqlconn.Explain("probe", sqlconn.Place{Server: firstLabel(w.prober.Listener), Host: w.prober.Listener, Database: w.prober.Database}, err)
	w.result.Measured, w.result.Why = false, explained.Error()
	if failure, ok := errors.AsType[*sqlconn.Error](explained); ok {
		w.result.Hint = failure.Hint
	}
}

func firstLabel(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label
}

// probe works until it is stopped.
func (w *Watch) probe(ctx context.Context, answered chan<- struct{}) {
	defer close(w.ended)
	p := w.prober
	o := load.Options{
		Open: p.Table.Open, Readers: 1, Rate: probeRate, Attempt: 3 * time.Second, GiveUp: time.Hour, GiveUpVerifying: p.patience(), PayloadBytes: 32,
		Backoff: load.Backoff{First: firstBackoff, Max: lastBackoff}, Now: p.Now, Wait: p.Wait, Random: p.Random, Every: glance,
		Progress: func(progress load.Progress) {
			w.now.Store(&progress)
			if progress.Reads > 0 && (progress.Writes > 0 || !p.Write) {
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		},
	}
	if p.Write {
		o.Writers, o.Ledger = 1, w.ledger
	}
	w.run, w.failure = load.Run(ctx, o)
}

// inStep waits until no database has anything that its secondaries have not.
// A planned failover makes sure of that by itself; it is looked at to be shown.
func (w *Watch) inStep(ctx context.Context) {
	if w.prober.Geo == nil {
		return
	}
	for {
		links, err := w.prober.Geo(ctx, w.result.From)
		if err != nil {
			return
		}
		in := zeroLag(links)
		w.result.Before, w.result.InStep = links, &in
		if in || w.prober.Wait(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

func zeroLag(links []Link) bool {
	for _, l := range links {
		if l.Status.State != tde.StateCatchUp || l.Status.LagSeconds == nil || *l.Status.LagSeconds > 0 {
			return false
		}
	}
	return len(links) > 0
}

// End waits until the new primary answers, within limits, stops the prober,
// and judges. It is called once.
func (w *Watch) End(ctx context.Context) Measurement {
	p := w.prober
	ctx, cancel := context.WithTimeout(ctx, p.patience())
	defer cancel()
	if w.result.Measured {
		w.await(ctx)
	}
	w.stop()
	<-w.ended
	if w.result.Measured {
		w.judge(ctx)
	}
	if p.Write && p.Temporary {
		if err := p.Table.Drop(ctx); err != nil && w.result.Measured {
			w.result.Hint = "the probe's table could not be dropped: " + err.Error()
		}
	}
	return w.result
}

// await returns when the new primary has answered a read and, where the prober
// writes, has taken a write.
func (w *Watch) await(ctx context.Context) {
	written := int64(-1) // when the new primary first answered
	for {
		now := w.now.Load()
		if strings.EqualFold(now.Primary, w.result.To) {
			if written < 0 {
				written = now.Writes
			}
			if !w.prober.Write || now.Writes > written {
				return
			}
		}
		if w.prober.Wait(ctx, glance) != nil {
			return
		}
	}
}

func (w *Watch) judge(ctx context.Context) {
	m := &w.result
	m.Reads = w.run.Reads
	if w.prober.Write {
		m.Writes, m.Ledger = &w.run.Writes, w.run.Verification
	}
	for _, s := range w.run.Switches {
		if strings.EqualFold(s.To, m.To) && !s.At.Before(m.CalledAt) {
			m.UntilNewPrimary = s.At.Sub(m.CalledAt)
			break
		}
	}
	if w.failure != nil {
		w.fail(w.failure)
	}
	if w.prober.Geo != nil && m.UntilNewPrimary > 0 {
		if after, err := w.prober.Geo(ctx, m.To); err == nil {
			m.After = after
		}
	}
	m.Lost = append(lostCommits(m.Before, m.After), lostWrites(m.Ledger)...)
}

// lostCommits names the databases whose newest commit on the new primary is
// older than it was on the old one.
func lostCommits(before, after []Link) []string {
	var lost []string
	for _, b := range before {
		for _, a := range after {
			if a.Database == b.Database && a.Status.LastCommit != nil && b.Status.LastCommit != nil && a.Status.LastCommit.Before(*b.Status.LastCommit) {
				lost = append(lost, fmt.Sprintf("the last commit of %s was at %s before the failover and is at %s on %s after it",
					b.Database, b.Status.LastCommit.Format(time.RFC3339Nano), a.Status.LastCommit.Format(time.RFC3339Nano), a.Server))
				break
			}
		}
	}
	return lost
}

func lostWrites(v *load.Verification) []string {
	if v == nil || v.OK {
		return nil
	}
	return []string{fmt.Sprintf("of %d acknowledged probe writes %d are not there, %d are there more than once, %d are changed", v.Acknowledged, v.Lost, len(v.Duplicates), len(v.Corrupted))}
}

// Sentences tell the measurement.
func (m Measurement) Sentences() []string {
	if !m.Measured {
		list := []string{fmt.Sprintf("not verified: how long clients were without %s during the failover to %s was not measured: %s", m.Listener, m.To, m.Why)}
		return append(list, m.Lost...)
	}
	list := []string{fmt.Sprintf("over %s, database %s, reads stood still for %s at most; %d attempts failed, %d succeeded", m.Listener, m.Database, round(m.Reads.Gap.Duration), m.Reads.Failures, m.Reads.Done)}
	if m.Writes != nil {
		list = append(list, fmt.Sprintf("writes stood still for %s at most; %d attempts failed, %d were acknowledged", round(m.Writes.Gap.Duration), m.Writes.Failures, m.Writes.Done))
	}
	if m.UntilNewPrimary > 0 {
		list = append(list, fmt.Sprintf("%s answered as the primary %s after the failover was called", m.To, round(m.UntilNewPrimary)))
	} else {
		list = append(list, fmt.Sprintf("not verified: %s did not answer over %s as the primary", m.To, m.Listener))
	}
	switch {
	case m.InStep == nil:
		list = append(list, "not verified: the replication lag before the failover was not read")
	case *m.InStep:
		list = append(list, "the replication lag of every database was zero right before it")
	default:
		list = append(list, "the replication lag was not zero right before it; a planned failover waits for the rest")
	}
	if v := m.Ledger; v != nil && v.OK {
		list = append(list, fmt.Sprintf("all %d acknowledged probe writes are on %s, once and unchanged: SHA-256 %s in ledger and table", v.Acknowledged, v.Server, v.LedgerHash))
	}
	return append(list, m.Lost...)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
