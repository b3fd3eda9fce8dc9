package journal

import (
	"context"
	"database/sql"
)

// Transact runs a test's statements in a transaction as the store's own are.
func (s *Store) Transact(ctx context.Context, fn func(tx *sql.Tx) error) error {
	return s.transact(ctx, fn)
}
