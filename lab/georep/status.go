package georep

import (
	"context"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
)

// Status tells how the link stands now.
func (l *Link) Status() Status {
	primary := l.o.Primary.DB()
	l.mu.Lock()
	s := Status{
		ID: l.o.ID, Primary: l.o.Primary.Name(), Secondary: l.o.Secondary.Name(), State: l.shownState(), Reason: l.reason, Undoing: l.undoing,
		PercentComplete: l.percent, AcknowledgedLSN: l.acked.lsn, LastReplication: l.lastReplication, LastCommit: l.acked.at,
		StartedAt: l.o.StartedAt, ModifiedAt: l.modifiedAt, Seeds: l.seeds,
	}
	l.mu.Unlock()
	if primary == nil {
		return s
	}
	if s.PrimaryLSN = primary.Last(); s.PrimaryLSN > s.AcknowledgedLSN {
		s.LagRecords = uint64(s.PrimaryLSN - s.AcknowledgedLSN)
		s.Lag = l.lag(primary, s)
	}
	return s
}

// lag is the age of the oldest record that the secondary lacks, read from the
// log; where the log no longer has it, the age of the last one that it has.
//
//nolint:contextcheck // a record that is there is read without waiting, so that there is nothing to cancel
func (l *Link) lag(primary *engine.DB, s Status) time.Duration {
	since := s.LastCommit
	if record, err := recordAfter(context.Background(), primary, s.AcknowledgedLSN); err == nil {
		since = record.Time
	}
	if since.IsZero() {
		since = s.StartedAt
	}
	return max(l.o.Now().Sub(since), 0)
}

// recordAfter reads the first record after lsn. It waits for one when there is
// none.
func recordAfter(ctx context.Context, db *engine.DB, lsn engine.LSN) (engine.Record, error) {
	cursor, err := db.Read(ctx, lsn)
	if err != nil {
		return engine.Record{}, err
	}
	record, err := cursor.Next(ctx)
	if closing := cursor.Close(); err == nil {
		err = closing
	}
	return record, err
}
