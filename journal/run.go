package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run is a run's journal that is being written. It is safe for concurrent use.
type Run struct {
	store *Store
	id    string

	mu     sync.Mutex
	seq    int
	head   string
	lease  *Lease // nil where nothing keeps other runs away
	failed error
}

// Begin makes a new run under a lease, which it names, and writes its first
// record. Without a lease nothing keeps other runs away.
func (s *Store) Begin(ctx context.Context, begin BeginEntry, lease *Lease) (*Run, error) {
	begin.SchemaVersion = SchemaVersion
	base := runID(begin, s.now())
	for n := 1; ; n++ {
		begin.Run = base
		if n > 1 {
			begin.Run = fmt.Sprintf("%s-%d", base, n)
		}
		r := &Run{store: s, id: begin.Run, head: zeroHash, lease: lease.of(begin.Run)}
		err := s.transact(ctx, func(tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx, `INSERT INTO runs (id, plan_hash, verb, target, began_at, status) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`,
				begin.Run, begin.PlanHash, begin.Verb, begin.Target, s.now().UTC().Format("2006-01-02T15:04:05.000000000Z"), StatusRunning)
			if err != nil {
				return err
			}
			if made, err := result.RowsAffected(); err != nil || made == 0 {
				return errors.Join(err, errTaken)
			}
			return r.write(ctx, tx, Record{Kind: Begin, Begin: &begin})
		})
		if errors.Is(err, errTaken) && n < 100 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("begin a journal in %s: %w", s.where, err)
		}
		return r, nil
	}
}

var errTaken = errors.New("the run's name is taken")

// ErrAborted says that a run was aborted, and so is not resumed.
var ErrAborted = errors.New("the run was aborted, which is for good")

// Resume takes a run up again under a lease: it verifies the whole chain,
// writes a Resume record, and returns what was there before it.
func (s *Store) Resume(ctx context.Context, id string, who Who, lease *Lease) (*Run, Log, error) {
	log, err := s.Read(ctx, id)
	if err != nil {
		return nil, Log{}, err
	}
	if log.Status() == StatusAborted {
		return nil, Log{}, fmt.Errorf("resume run %s: %w", id, ErrAborted)
	}
	r := &Run{store: s, id: id, seq: len(log.Records), head: log.Head, lease: lease.of(id)}
	err = r.AppendContext(ctx, Record{Kind: Resume, Resume: &ResumeEntry{Who: who}})
	return r, log, err
}

// ID is the run's name.
func (r *Run) ID() string { return r.id }

// Where says where the run's journal is kept.
func (r *Run) Where() string { return r.store.where }

// Head is the SHA-256 of the last record's line.
func (r *Run) Head() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// appendLimit bounds the writing of one record.
const appendLimit = 30 * time.Second

// Append writes a record; see AppendContext. It does not end with the run that
// it belongs to: what has happened is written down also when that was paused.
func (r *Run) Append(record Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), appendLimit)
	defer cancel()
	return r.AppendContext(ctx, record)
}

// AppendContext numbers, chains and writes a record and returns once it is on
// disk. In the same transaction it checks that the run still holds its servers:
// a *FencedError says that it does not. After a failure the journal's end is
// not known, so every further call fails.
func (r *Run) AppendContext(ctx context.Context, record Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return fmt.Errorf("journal of run %s cannot be written any more: %w", r.id, r.failed)
	}
	seq, head := r.seq, r.head
	began := r.store.now()
	err := r.store.transact(ctx, func(tx *sql.Tx) error { return r.write(ctx, tx, record) })
	if err != nil {
		r.seq, r.head, r.failed = seq, head, err
		return fmt.Errorf("write journal of run %s: %w", r.id, err)
	}
	r.lease.renewedAt(began)
	return nil
}

// write writes the next record if the lease, where there is one, is not lost.
func (r *Run) write(ctx context.Context, tx *sql.Tx, record Record) error {
	if r.lease != nil {
		if err := r.lease.hold(ctx, tx); err != nil {
			return err
		}
	}
	return r.insert(ctx, tx, record)
}

// insert writes the next record of the chain. That seq is unique keeps two
// processes from continuing one run.
func (r *Run) insert(ctx context.Context, tx *sql.Tx, record Record) error {
	record.Seq, record.Prev, record.At = r.seq+1, r.head, r.store.now().UTC().Round(0)
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	line = scrub(line)
	if len(line) > maxLine {
		return fmt.Errorf("a record of %d bytes is longer than %d", len(line), maxLine)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO records (run, seq, line) VALUES ($1, $2, $3)`, r.id, record.Seq, string(line)); err != nil {
		return err
	}
	if status := statusAfter(record); status != "" {
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET status = $1 WHERE id = $2`, status, r.id); err != nil {
			return err
		}
	}
	r.seq, r.head = record.Seq, hashOf(line)
	return nil
}

// statusAfter is the run's status once the record is written; empty where the
// record changes none.
func statusAfter(record Record) string {
	switch record.Kind {
	case End:
		return record.End.Status
	case Resume:
		return StatusRunning
	case Begin, Seen, Intent, Call, Answer, ReadBack, Result, Note, Replan:
	}
	return ""
}
