package journal_test

import (
	"context"
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
)

// A process that is stopped in the middle of a transaction does not keep the
// servers from everybody else for as long as it sleeps.
func TestAStalledTransactionIsEndedByPostgreSQL(t *testing.T) {
	t.Parallel()
	address := os.Getenv("CROSSKEYS_TEST_POSTGRES")
	if address == "" {
		t.Skip("SKIP a stalled transaction on PostgreSQL: CROSSKEYS_TEST_POSTGRES names no server; scripts/unit.sh starts one")
	}
	address = ownDatabase(t, address)
	open := func() *journal.Store {
		t.Helper()
		s, err := journal.OpenStore(t.Context(), address, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // a connection that the server has ended cannot be closed well
		return s
	}
	sleeper, other := open(), open()
	if _, err := sleeper.Acquire(t.Context(), "one", "sleeper", []string{"s1"}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	locked, wake, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- sleeper.Transact(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE leases SET run = 'one' WHERE server = 's1'`)
			close(locked)
			<-wake
			return err
		})
	}()
	<-locked
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := other.Acquire(ctx, "two", "other", []string{"s1"}, time.Minute); err != nil {
		t.Errorf("the servers of a run whose hold has expired: %v", err)
	}
	close(wake)
	if err := <-ended; err == nil {
		t.Error("what the sleeper was writing is written")
	}
}
