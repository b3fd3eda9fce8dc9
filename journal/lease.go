package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// FencedError says that another run has taken a server over, so that this one
// may not act any more.
type FencedError struct {
	Server string
	Run    string // that has it now
	Holder string // the process that has it
}

// Error says who has what.
func (e *FencedError) Error() string {
	return fmt.Sprintf("server %s has been taken over by run %s (%s)", e.Server, e.Run, e.Holder)
}

// HeldError says that another run holds a server.
type HeldError struct {
	Server, Run, Holder string
	Until               time.Time
}

// Error says who has what, and until when unless it is renewed.
func (e *HeldError) Error() string {
	return fmt.Sprintf("server %s is held by run %s (%s) until %s at least", e.Server, e.Run, e.Holder, e.Until.UTC().Format(time.RFC3339))
}

// Is reports that the error is ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Lease is a run's right to change servers, for as long as it is renewed. An
// expired lease may be taken over; the epoch grows each time, and whoever holds
// an older one is fenced: nothing that it appends is written, and so nothing
// that it would do is done.
type Lease struct {
	store   *Store
	holder  string
	servers []string
	epochs  []int64
	ttl     time.Duration

	mu      sync.Mutex
	run     string
	renewed time.Time // by our own clock, before the store was asked
}

// LapsedError says that a hold on servers could not be renewed in time, so
// that another run may have them by now.
type LapsedError struct {
	Since time.Time // when it was last renewed
	Err   error     // why it was not renewed; nil where nobody tried
}

// Error says since when, and why.
func (e *LapsedError) Error() string {
	text := "the hold on the servers has lapsed; it was last renewed at " + e.Since.UTC().Format(time.RFC3339)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *LapsedError) Unwrap() error { return e.Err }

// Acquire takes the servers for a run, all or none. A geo-linked component may
// have only one change at a time, so a run takes all servers of its component,
// whichever failover group it was asked for. When one is held by another
// holder, the error is a *HeldError.
func (s *Store) Acquire(ctx context.Context, run, holder string, servers []string, ttl time.Duration) (*Lease, error) {
	l := &Lease{store: s, run: run, holder: holder, ttl: ttl, renewed: s.now()}
	for _, server := range servers {
		l.servers = append(l.servers, strings.ToLower(server))
	}
	slices.Sort(l.servers)
	l.servers = slices.Compact(l.servers)
	l.epochs = make([]int64, len(l.servers))
	err := s.transact(ctx, func(tx *sql.Tx) error {
		now, err := s.time(ctx, tx)
		if err != nil {
			return err
		}
		for i, server := range l.servers {
			if l.epochs[i], err = l.take(ctx, tx, server, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take the servers: %w", err)
	}
	return l, nil
}

// take takes one server: a free one, an expired one, or one that the holder
// has already.
func (l *Lease) take(ctx context.Context, tx *sql.Tx, server string, now float64) (epoch int64, err error) {
	row := tx.QueryRowContext(ctx, `INSERT INTO leases (server, run, holder, epoch, expires_at) VALUES ($1, $2, $3, 1, $4)
		ON CONFLICT (server) DO UPDATE SET run = excluded.run, holder = excluded.holder, epoch = leases.epoch + 1, expires_at = excluded.expires_at
		WHERE leases.expires_at <= $5 OR leases.holder = excluded.holder
		RETURNING epoch`, server, l.runID(), l.holder, now+l.ttl.Seconds(), now)
	err = row.Scan(&epoch)
	if !errors.Is(err, sql.ErrNoRows) {
		return epoch, err
	}
	held := &HeldError{Server: server}
	var until float64
	if err := tx.QueryRowContext(ctx, `SELECT run, holder, expires_at FROM leases WHERE server = $1`, server).Scan(&held.Run, &held.Holder, &until); err != nil {
		return 0, err
	}
	held.Until = time.UnixMicro(int64(until * 1e6))
	return 0, held
}

// Renew prolongs the lease. A *FencedError says that it is lost.
func (l *Lease) Renew(ctx context.Context) error {
	began := l.store.now()
	err := l.store.transact(ctx, func(tx *sql.Tx) error { return l.hold(ctx, tx) })
	if err != nil {
		return fmt.Errorf("renew the hold on the servers: %w", err)
	}
	l.renewedAt(began)
	return nil
}

// Keep renews the lease three times in each of its terms until ctx ends. When
// it is lost, or could not be renewed in time, that is the error.
func (l *Lease) Keep(ctx context.Context, wait func(ctx context.Context, d time.Duration) error) error {
	for {
		if err := wait(ctx, l.ttl/3); err != nil {
			return nil //nolint:nilerr // ctx has ended, as it was to
		}
		err := l.Renew(ctx)
		switch _, fenced := errors.AsType[*FencedError](err); {
		case err == nil:
		case ctx.Err() != nil:
			return nil //nolint:nilerr // as above
		case fenced:
			return err
		case l.left() <= 0:
			return &LapsedError{Since: l.since(), Err: err}
		}
	}
}

// Ensure makes certain, right before something is changed, that the lease
// lasts for a while yet: for a third of its term. A process that was asleep
// renews it first, where nobody else has taken it; where somebody has, the
// error is a *FencedError.
func (l *Lease) Ensure(ctx context.Context) error {
	if l.left() > l.ttl/3 {
		return nil
	}
	if err := l.Renew(ctx); err != nil {
		return err
	}
	if l.left() <= 0 {
		return &LapsedError{Since: l.since()}
	}
	return nil
}

// left is how long the lease lasts by our own clocks. The monotonic one stands
// still while the machine sleeps, and the other may be set: the one that says
// more time has passed is believed.
func (l *Lease) left() time.Duration {
	now, since := l.store.now(), l.since()
	return l.ttl - max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

func (l *Lease) since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed
}

// renewedAt: the lease, where there is one, was renewed by a transaction that
// began then.
func (l *Lease) renewedAt(at time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.renewed) {
		l.renewed = at
	}
}

// of names the run that the lease is for, from its next renewal on.
func (l *Lease) of(run string) *Lease {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run = run
	return l
}

func (l *Lease) runID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run
}

// hold checks in a transaction that the lease is not lost, and prolongs it. An
// expired lease that nobody has taken over is still ours.
func (l *Lease) hold(ctx context.Context, tx *sql.Tx) error {
	now, err := l.store.time(ctx, tx)
	if err != nil {
		return err
	}
	for i, server := range l.servers {
		result, err := tx.ExecContext(ctx, `UPDATE leases SET expires_at = $1, run = $2 WHERE server = $3 AND holder = $4 AND epoch = $5`,
			now+l.ttl.Seconds(), l.runID(), server, l.holder, l.epochs[i])
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			if err != nil {
				return err
			}
			continue
		}
		fenced := &FencedError{Server: server}
		if err := tx.QueryRowContext(ctx, `SELECT run, holder FROM leases WHERE server = $1`, server).Scan(&fenced.Run, &fenced.Holder); err != nil {
			return err
		}
		return fenced
	}
	return nil
}

// Release lets go of the servers. Those that were taken over stay with whom
// they are.
func (l *Lease) Release(ctx context.Context) error {
	err := l.store.transact(ctx, func(tx *sql.Tx) error {
		for i, server := range l.servers {
			if _, err := tx.ExecContext(ctx, `UPDATE leases SET expires_at = 0 WHERE server = $1 AND holder = $2 AND epoch = $3`, server, l.holder, l.epochs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("let go of the servers: %w", err)
	}
	return nil
}

// Holding is one server that a run holds or has held last.
type Holding struct {
	Server string    `json:"server"`
	Run    string    `json:"run"`
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
	Live   bool      `json:"live"` // by the store's clock
}

// Holdings lists who holds, or has held last, which server.
func (s *Store) Holdings(ctx context.Context) (list []Holding, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) (err error) {
		now, err := s.time(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT server, run, holder, expires_at FROM leases ORDER BY server`)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var h Holding
			var until float64
			if err := rows.Scan(&h.Server, &h.Run, &h.Holder, &until); err != nil {
				return err
			}
			h.Until, h.Live = time.UnixMicro(int64(until*1e6)), until > now
			list = append(list, h)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list who holds which server: %w", err)
	}
	return list, nil
}

// time is the store's time in seconds since 1970: one clock for everybody who
// shares it.
func (s *Store) time(ctx context.Context, tx *sql.Tx) (now float64, err error) {
	if s.clock == "" {
		return float64(s.now().UnixMicro()) / 1e6, nil
	}
	err = tx.QueryRowContext(ctx, `SELECT `+s.clock).Scan(&now)
	return now, err
}

// transact runs fn in a transaction.
func (s *Store) transact(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if s.guard != "" {
		if _, err := tx.ExecContext(ctx, s.guard); err != nil {
			return errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
