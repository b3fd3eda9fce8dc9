package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// FencedError says that another run has taken a server over, so that this one
// may not act any more.
type FencedError struct {
	Server string
	Run    string // that has it now
}

// Error says who has what.
func (e *FencedError) Error() string {
	return fmt.Sprintf("server %s has been taken over by run %s", e.Server, e.Run)
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
	run     string
	holder  string
	servers []string
	epochs  []int64
	ttl     time.Duration
}

// Acquire takes the servers for a run, all or none. A geo-linked component may
// have only one change at a time, so a run takes all servers of its component,
// whichever failover group it was asked for. When one is held by another
// holder, the error is a *HeldError.
func (s *Store) Acquire(ctx context.Context, run, holder string, servers []string, ttl time.Duration) (*Lease, error) {
	l := &Lease{store: s, run: run, holder: holder, ttl: ttl}
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
		RETURNING epoch`, server, l.run, l.holder, now+l.ttl.Seconds(), now)
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
	err := l.store.transact(ctx, func(tx *sql.Tx) error { return l.hold(ctx, tx) })
	if err != nil {
		return fmt.Errorf("renew the hold on the servers: %w", err)
	}
	return nil
}

// hold checks in a transaction that the lease is not lost, and prolongs it. An
// expired lease that nobody has taken over is still ours.
func (l *Lease) hold(ctx context.Context, tx *sql.Tx) error {
	now, err := l.store.time(ctx, tx)
	if err != nil {
		return err
	}
	for i, server := range l.servers {
		result, err := tx.ExecContext(ctx, `UPDATE leases SET expires_at = $1 WHERE server = $2 AND holder = $3 AND epoch = $4`, now+l.ttl.Seconds(), server, l.holder, l.epochs[i])
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
		if err := tx.QueryRowContext(ctx, `SELECT run FROM leases WHERE server = $1`, server).Scan(&fenced.Run); err != nil {
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
