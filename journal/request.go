package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Wanted is what somebody asks of a run from outside.
type Wanted string

// What can be asked.
const (
	// Pause lets the run finish its call in hand and stop; it can be resumed.
	Pause Wanted = "pause"
	// Abort stops it likewise, for good: it is not resumed.
	Abort Wanted = "abort"
)

// Ask asks something of a run; a later wish replaces an earlier one. An empty
// wish takes it back.
func (s *Store) Ask(ctx context.Context, run string, wanted Wanted, who string) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		if wanted == "" {
			_, err := tx.ExecContext(ctx, `DELETE FROM requests WHERE run = $1`, run)
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO requests (run, wanted, who, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (run) DO UPDATE SET wanted = excluded.wanted, who = excluded.who, at = excluded.at`,
			run, string(wanted), who, s.now().UTC().Format(time.RFC3339Nano))
		return err
	})
	if err != nil {
		return fmt.Errorf("ask run %s to %s: %w", run, wanted, err)
	}
	return nil
}

// Asked says what was asked of a run, and by whom; empty for nothing.
func (s *Store) Asked(ctx context.Context, run string) (wanted Wanted, who string, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT wanted, who FROM requests WHERE run = $1`, run).Scan(&wanted, &who)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read what is asked of run %s: %w", run, err)
	}
	return wanted, who, nil
}
