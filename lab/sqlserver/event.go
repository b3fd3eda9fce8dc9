package sqlserver

import (
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Event is an entry of the lab's log of what the service did by itself, in
// the words of Azure's activity log where that has them.
// Source: https://learn.microsoft.com/sql/relational-databases/security/encryption/troubleshoot-tde
type Event struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"` // such as MakeDatabaseInaccessible
	Status    string    `json:"status"`    // Started, Succeeded, Failed
	Server    string    `json:"server"`
	Database  string    `json:"database"`
	Detail    string    `json:"detail,omitempty"`
	// FromLSN and ToLSN are the first and the last log record that a forced
	// failover threw away, Transactions how many transactions they were.
	FromLSN      uint64 `json:"fromLsn,omitempty"`
	ToLSN        uint64 `json:"toLsn,omitempty"`
	Transactions uint64 `json:"transactions,omitempty"`
}

// The operations of events.
const (
	eventInaccessible = "MakeDatabaseInaccessible"
	eventAccessible   = "MakeDatabaseAccessible"
	eventForced       = "ForceFailoverAllowDataLoss"
	eventRotation     = "RotateEncryptionProtector" // the lab's own name
)

// maxEvents is how many events are kept.
const maxEvents = 1000

// record writes an event.
func (s *Service) record(tx *store.Tx, event Event) error {
	event.Time = s.Clock.Now()
	entries, err := s.events.Scan(tx, "")
	if err != nil {
		return err
	}
	number := 1
	if n := len(entries); n > 0 {
		if _, err := fmt.Sscanf(entries[n-1].Key, "%012d", &number); err != nil {
			return fmt.Errorf("record event: %w", err)
		}
		number++
	}
	for n := 0; n <= len(entries)-maxEvents; n++ {
		if err := s.events.Delete(tx, entries[n].Key); err != nil {
			return err
		}
	}
	s.Log.Info("event", "operation", event.Operation, "status", event.Status, "server", event.Server, "database", event.Database, "detail", event.Detail)
	return s.events.Put(tx, fmt.Sprintf("%012d", number), event)
}

// recordLosses writes what forced failovers threw away.
func (s *Service) recordLosses(tx *store.Tx, losses []instance.Loss) error {
	for _, loss := range losses {
		event := Event{
			Operation: eventForced, Status: "Succeeded", Server: loss.Ref.Server, Database: loss.Ref.Database,
			FromLSN: loss.FromLSN, ToLSN: loss.ToLSN, Transactions: loss.Transactions,
			Detail: fmt.Sprintf("%d transactions were lost", loss.Transactions),
		}
		if err := s.record(tx, event); err != nil {
			return err
		}
	}
	return nil
}

// Events lists what the service did by itself, oldest first.
func (s *Service) Events() (events []Event, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		entries, err := s.events.Scan(tx, "")
		for _, entry := range entries {
			events = append(events, entry.Record)
		}
		return err
	})
	return events, err
}
