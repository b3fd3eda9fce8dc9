package load

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// worker is one writer or reader with its connection.
type worker struct {
	*running
	index   int
	hand    context.Context //nolint:containedctx // outlives the context that asks for an end, by at most one attempt
	session Session
	next    time.Time // when the rate allows the next operation
}

// write writes one row after the other until ctx ends.
func (w *worker) write(ctx context.Context) error {
	defer w.drop()
	ledger := w.options.Ledger
	for sequence := int64(0); w.pace(ctx, w.options.Writers); sequence++ {
		row := NewRow(w.run, ID{Writer: w.index, Sequence: sequence}, w.options.PayloadBytes)
		if err := ledger.Intend(row, w.options.Now()); err != nil {
			return err
		}
		done, err := w.do(ctx, w.meter.writes, "write", func(ctx context.Context, s Session) (Answer, error) {
			answer, err := s.Insert(ctx, w.run, row)
			if err != nil && w.options.Duplicate(err) {
				// An earlier attempt whose answer was lost has written it.
				return Answer{}, nil
			}
			return answer, err
		})
		if !done || err != nil {
			return err
		}
		if err := ledger.Acknowledge(row.ID, w.options.Now()); err != nil {
			return err
		}
	}
	return nil
}

// read reads rows that were acknowledged before, or only who answers as long as
// there are none.
func (w *worker) read(ctx context.Context) error {
	defer w.drop()
	for w.pace(ctx, w.options.Readers) {
		id, some := w.pick()
		_, err := w.do(ctx, w.meter.reads, "read", func(ctx context.Context, s Session) (Answer, error) {
			if !some {
				return s.Look(ctx)
			}
			row, found, answer, err := s.Read(ctx, w.run, id)
			if err == nil {
				w.meter.read(found, found && !row.valid(w.run))
			}
			return answer, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pick chooses an acknowledged write at random.
func (w *worker) pick() (ID, bool) {
	if w.options.Ledger == nil || w.options.Writers == 0 {
		return ID{}, false
	}
	return w.options.Ledger.pick(w.random(), w.random())
}

// random gives a number from [0, 1); 0 when the source fails, which only makes
// waits shorter and choices less varied.
func (w *worker) random() float64 {
	var bytes [8]byte
	if _, err := io.ReadFull(w.options.Random, bytes[:]); err != nil {
		return 0
	}
	return float64(binary.LittleEndian.Uint64(bytes[:])>>11) / (1 << 53)
}

// pace waits until the rate allows the next operation; false when it is over.
func (w *worker) pace(ctx context.Context, workers int) bool {
	if w.options.Rate <= 0 {
		return ctx.Err() == nil
	}
	now := w.options.Now()
	if wait := w.next.Sub(now); wait > 0 {
		if w.options.Wait(ctx, wait) != nil {
			return false
		}
	} else {
		w.next = now // what an outage has kept back is not made up for
	}
	w.next = w.next.Add(time.Duration(float64(workers) / w.options.Rate * float64(time.Second)))
	return ctx.Err() == nil
}

// do carries one operation out, on a new connection and after a growing pause
// as often as it takes. done is false when ctx ended first.
//
//nolint:contextcheck // an attempt that is in hand when ctx ends is finished
func (w *worker) do(ctx context.Context, s *series, what string, op func(context.Context, Session) (Answer, error)) (done bool, err error) {
	began := w.options.Now()
	for attempt := 1; ; attempt++ {
		answer, err := w.attempt(op)
		now := w.options.Now()
		if err == nil {
			w.meter.done(s, w.index, began, now, attempt, answer)
			return true, nil
		}
		w.drop()
		w.meter.failed(s, err)
		if !w.options.Retryable(err) {
			return false, fmt.Errorf("%s: %w", what, err)
		}
		if passed := now.Sub(began); passed >= w.options.GiveUp {
			return false, &GiveUpError{Op: what, After: passed, Attempts: attempt, Err: err}
		}
		if ctx.Err() != nil || w.options.Wait(ctx, w.options.Backoff.pause(attempt, w.random())) != nil {
			w.meter.unanswered(s, w.index, began, w.options.Now(), attempt)
			return false, nil //nolint:nilerr // the end was asked for; the failure is counted
		}
	}
}

func (w *worker) attempt(op func(context.Context, Session) (Answer, error)) (Answer, error) {
	ctx, cancel := context.WithTimeout(w.hand, w.options.Attempt)
	defer cancel()
	if w.session == nil {
		session, err := w.options.Open(ctx)
		if err != nil {
			return Answer{}, err
		}
		w.session = session
	}
	answer, err := op(ctx, w.session)
	if err != nil && ctx.Err() != nil {
		// The attempt's own limit, however the driver words it.
		err = fmt.Errorf("%w after %s (%s)", context.DeadlineExceeded, w.options.Attempt, err.Error())
	}
	return answer, err
}

// drop gives the connection up.
func (w *worker) drop() {
	if w.session != nil {
		_ = w.session.Close() // it may be broken
		w.session = nil
	}
}

// NewRow makes the row of a write: a payload that is like no other's, and a
// checksum over all of it.
func NewRow(run string, id ID, bytes int) Row {
	var payload strings.Builder
	for block := 0; payload.Len() < bytes; block++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d/%d", run, id.Writer, id.Sequence, block))
		payload.WriteString(hex.EncodeToString(sum[:]))
	}
	row := Row{ID: id, Payload: payload.String()[:bytes]}
	row.Checksum = row.sum(run)
	return row
}

// sum is the first 128 bits, in hexadecimal, of the SHA-256 over a row's run,
// writer, sequence and payload.
func (r Row) sum(run string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d/%s", run, r.Writer, r.Sequence, r.Payload))
	return hex.EncodeToString(sum[:16])
}

func (r Row) valid(run string) bool { return r.Checksum == r.sum(run) }
