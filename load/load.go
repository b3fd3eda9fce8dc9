// Package load is a workload that knows what it has done: writers and readers
// go through a failover group's listener as an application does, reconnect and
// retry as Microsoft documents it, and every write stands in a ledger, as
// intended before it is sent and as acknowledged after the server's answer.
// Afterwards the ledger is compared with the table: each acknowledged write must
// be there exactly once and unchanged. What is missing is what was lost.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/sqlconn"
)

// ID names one write of a run.
type ID struct {
	Writer   int   `json:"writer"`
	Sequence int64 `json:"sequence"` // from 0, without gaps
}

// Row is one write as the table holds it.
type Row struct {
	ID
	Payload  string
	Checksum string
}

// Answer is who answered.
type Answer struct {
	Server   string // @@SERVERNAME; empty when it is not known
	Writable bool   // the database takes writes there: it is the primary
}

// Session is one connection to the database. A worker has its own and opens
// another after a failure.
type Session interface {
	// Insert writes one row. An error does not say that it was not written.
	Insert(ctx context.Context, run string, row Row) (Answer, error)
	// Read reads one row; found is false when it is not there.
	Read(ctx context.Context, run string, id ID) (row Row, found bool, answer Answer, err error)
	// Look reads who answers, and no table.
	Look(ctx context.Context) (Answer, error)
	// Rows hands over all rows of one writer, in the order of their sequence.
	Rows(ctx context.Context, run string, writer int, each func(Row) error) error
	Close() error
}

// Options say what is done. Open, Now, Wait and Random have to be given.
type Options struct {
	// Open opens a session through the listener, so that it leads to the
	// primary of the moment.
	Open func(ctx context.Context) (Session, error)
	// Ledger takes the writes; it may be nil without writers.
	Ledger           *Ledger
	Writers, Readers int
	// Rate bounds the writes a second of all writers together, and likewise the
	// reads; 0: as fast as they are answered.
	Rate float64
	// PayloadBytes is how long each row's payload is; 0: 64.
	PayloadBytes int
	// Duration is how long it goes on; 0: until the context ends. An end of
	// either kind lets the operations in hand finish.
	Duration time.Duration
	// Attempt bounds one attempt, reconnecting included; 0: 10 seconds.
	Attempt time.Duration
	// GiveUp is how long one operation may go on failing before the run ends
	// in a *GiveUpError; 0: 2 minutes.
	GiveUp time.Duration
	// GiveUpVerifying is the same for the comparison with the table; 0: GiveUp.
	GiveUpVerifying time.Duration
	Backoff         Backoff
	// Retryable says which failures are tried again on a new connection; nil:
	// sqlconn.Reconnectable.
	Retryable func(error) bool
	// Duplicate says which failures of an insert mean that the row is there
	// already; nil: sqlconn.Duplicate.
	Duplicate func(error) bool
	Now       func() time.Time
	// Wait returns after d, or earlier with the context's error.
	Wait   func(ctx context.Context, d time.Duration) error
	Random io.Reader
	// Progress, where it is given, is told how it goes, Every (0: a second).
	Progress func(Progress)
	Every    time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Open == nil || o.Now == nil || o.Wait == nil || o.Random == nil {
		return o, errors.New("load: Open, Now, Wait and Random have to be given")
	}
	if o.Writers < 0 || o.Readers < 0 || o.Writers+o.Readers == 0 || o.Writers > 0 && o.Ledger == nil {
		return o, errors.New("load: give at least one writer or reader, and a ledger to writers")
	}
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	set(&o.Attempt, 10*time.Second)
	set(&o.GiveUp, 2*time.Minute)
	set(&o.GiveUpVerifying, o.GiveUp)
	set(&o.Every, time.Second)
	o.Backoff = o.Backoff.withDefaults()
	if o.PayloadBytes <= 0 {
		o.PayloadBytes = 64
	}
	if o.Retryable == nil {
		o.Retryable = sqlconn.Reconnectable
	}
	if o.Duplicate == nil {
		o.Duplicate = sqlconn.Duplicate
	}
	return o, nil
}

// Result is what a run did and found.
type Result struct {
	Run       string    `json:"run"`
	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt"` // of the work; verifying comes after it
	Writes    Series    `json:"writes"`
	Reads     Series    `json:"reads"`
	// MissedReads counts reads that did not find a write which had been
	// acknowledged before they began.
	MissedReads int64 `json:"missedReads"`
	// CorruptReads counts reads of a row that was not what had been written.
	CorruptReads int64    `json:"corruptReads"`
	Switches     []Switch `json:"switches"` // another server became the one that takes writes
	// Checks are the verifications made after each switch, of what had been
	// acknowledged by then.
	Checks []Verification `json:"checks"`
	// Verification is the last one, after the work; nil without writers.
	Verification *Verification `json:"verification,omitempty"`
}

// Switch is when the listener first led to another primary.
type Switch struct {
	At   time.Time `json:"at"`
	From string    `json:"from"`
	To   string    `json:"to"`
}

// GiveUpError says that an operation failed for longer than was allowed.
type GiveUpError struct {
	Op       string
	After    time.Duration
	Attempts int
	Err      error // of the last attempt
}

// Error says for how long it was tried.
func (e *GiveUpError) Error() string {
	return fmt.Sprintf("%s: given up after %d attempts in %s: %v", e.Op, e.Attempts, e.After.Round(time.Millisecond), e.Err)
}

// Unwrap gives the last attempt's error.
func (e *GiveUpError) Unwrap() error { return e.Err }

// Run works until its time is up, ctx ends, or something fails that no retry
// cures; then it verifies. The result is good beside an error too.
func Run(ctx context.Context, options Options) (Result, error) {
	o, err := options.withDefaults()
	if err != nil {
		return Result{}, err
	}
	r := &running{options: o, started: o.Now(), checks: []Verification{}}
	r.meter = newMeter(r.started)
	if o.Ledger != nil {
		r.run = o.Ledger.Header().Run
	}
	failure := r.work(ctx)
	r.ended = o.Now()
	result := r.result()
	if o.Writers == 0 {
		return result, failure
	}
	// The end of ctx asks for no more work; what was done is verified all the same.
	verification, err := Verify(context.WithoutCancel(ctx), o, o.Ledger.Writes())
	if err != nil {
		return result, errors.Join(failure, err)
	}
	result.Verification = &verification
	return result, failure
}

// running is one run.
type running struct {
	options Options
	run     string
	started time.Time
	ended   time.Time
	meter   *meter

	mu      sync.Mutex
	checks  []Verification
	failure error
}

func (r *running) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := r.meter.result()
	result.Run, result.StartedAt, result.EndedAt, result.Checks = r.run, r.started, r.ended, r.checks
	return result
}

// work runs the workers to their end.
//
//nolint:contextcheck // what is in hand when ctx ends is finished on a context of its own
func (r *running) work(ctx context.Context) error {
	o := r.options
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hand, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var workers, others sync.WaitGroup
	for i := range o.Writers {
		workers.Go(func() { r.keep(stop, (&worker{running: r, index: i, hand: hand}).write(ctx)) })
	}
	for i := range o.Readers {
		workers.Go(func() { r.keep(stop, (&worker{running: r, index: i, hand: hand}).read(ctx)) })
	}
	others.Go(func() { r.tell(ctx) })
	others.Go(func() { r.checkSwitches(ctx) })
	if o.Duration > 0 {
		others.Go(func() {
			if o.Wait(ctx, o.Duration) == nil {
				stop()
			}
		})
	}
	workers.Wait()
	stop()
	others.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// keep keeps the first failure of a worker, which ends the others.
func (r *running) keep(stop context.CancelFunc, err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = err
	}
	stop()
}

// tell tells how it goes.
func (r *running) tell(ctx context.Context) {
	if r.options.Progress == nil {
		return
	}
	for r.options.Wait(ctx, r.options.Every) == nil {
		r.options.Progress(r.meter.progress(r.options.Now()))
	}
}

// checkSwitches verifies what had been acknowledged whenever another server has
// become the primary. A check that cannot be made is left to the last one.
func (r *running) checkSwitches(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.meter.switched:
		}
		if r.options.Writers == 0 {
			continue
		}
		check, err := Verify(ctx, r.options, r.options.Ledger.Writes())
		if err != nil {
			continue
		}
		r.mu.Lock()
		r.checks = append(r.checks, check)
		r.mu.Unlock()
	}
}
