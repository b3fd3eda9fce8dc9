package journal

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"       // the driver "pgx"
	_ "github.com/ncruces/go-sqlite3/driver" // the driver "sqlite3"
	"github.com/pressly/goose/v3"
)

// Store keeps the journals of runs, and who may change which server: a SQLite
// file, or a PostgreSQL database that a team shares. The same statements run on
// both. It is safe for concurrent use, by any number of processes.
type Store struct {
	db    *sql.DB
	where string // without a password, for people
	now   func() time.Time
	// clock is the SQL expression of the store's time in seconds since 1970,
	// and empty where the store has no clock of its own: then now's is taken.
	clock string
	// guard begins each transaction, where the store does not end by itself
	// those whose process has stopped in the middle of one.
	guard string
}

// guardPostgreSQL has the server end a transaction in which nothing is said for
// long: that of a process that was stopped, or whose machine sleeps, would keep
// its rows locked, and everybody else waiting, for as long as it sleeps. It is
// said in each transaction, since poolers take no settings of a connection.
const guardPostgreSQL = `SELECT set_config('idle_in_transaction_session_timeout', '15s', true)`

// FileName is the name of the SQLite file in a folder of journals.
const FileName = "journal.db"

//go:embed schema/*.sql
var schema embed.FS

// OpenStore opens the store at a postgres:// address, or the SQLite file in a
// folder, which is made where it is missing, and brings its schema up to date.
func OpenStore(ctx context.Context, where string, now func() time.Time) (*Store, error) {
	s, dialect, err := connect(where, now)
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, dialect); err != nil {
		return nil, errors.Join(fmt.Errorf("open journals in %s: %w", s.where, err), s.db.Close())
	}
	return s, nil
}

// IsAddress reports whether where names a PostgreSQL database, not a folder.
func IsAddress(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

func connect(where string, now func() time.Time) (*Store, goose.Dialect, error) {
	if IsAddress(where) {
		address, err := url.Parse(where)
		if err != nil {
			// The parser's error would print the password.
			return nil, "", errors.New("open journals: the address of the PostgreSQL database cannot be read")
		}
		db, err := sql.Open("pgx", where)
		if err != nil {
			return nil, "", fmt.Errorf("open journals in %s: %w", address.Redacted(), err)
		}
		return &Store{db: db, where: address.Redacted(), now: now, clock: "extract(epoch from clock_timestamp())", guard: guardPostgreSQL}, goose.DialectPostgres, nil
	}
	if err := os.MkdirAll(where, 0o700); err != nil {
		return nil, "", fmt.Errorf("open journals: %w", err)
	}
	path := filepath.Join(where, FileName)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("open journals: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, "", fmt.Errorf("open journals: %w", err)
	}
	address := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(full)&_pragma=foreign_keys(on)"}
	db, err := sql.Open("sqlite3", address.String())
	if err != nil {
		return nil, "", fmt.Errorf("open journals in %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	return &Store{db: db, where: path, now: now}, goose.DialectSQLite3, nil
}

// migrate brings the schema up to date, one process at a time.
func (s *Store) migrate(ctx context.Context, dialect goose.Dialect) error {
	files, err := fs.Sub(schema, "schema")
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithTableName("journal_schema"), goose.WithDisableGlobalRegistry(true)}
	provider, err := goose.NewProvider(dialect, s.db, files, options...)
	if err != nil {
		return err
	}
	if pending, err := provider.HasPending(ctx); err != nil || !pending {
		return err
	}
	_, err = provider.Up(ctx)
	if pending, again := provider.HasPending(ctx); err != nil && again == nil && !pending {
		return nil // another process has done it at the same time
	}
	return err
}

// Where says where the store is, without a password.
func (s *Store) Where() string { return s.where }

// Close lets go of the store.
func (s *Store) Close() error { return s.db.Close() }

// Summary is one run in a list.
type Summary struct {
	Run      string    `json:"run"`
	Verb     string    `json:"verb"`
	Target   string    `json:"target"`
	PlanHash string    `json:"planHash"`
	BeganAt  time.Time `json:"beganAt"`
	// Status is how the run's newest part ended. It is StatusRunning where that
	// has not ended, and then Live tells whether a process is still at it.
	Status  string `json:"status"`
	Records int    `json:"records"`
	// Live says that the run holds its servers now.
	Live bool `json:"live"`
	// Wanted is what was asked of the run and not yet heeded.
	Wanted Wanted `json:"wanted,omitempty"`
}

// Interrupted reports whether a process died in the run.
func (s Summary) Interrupted() bool { return s.Status == StatusRunning && !s.Live }

// Over reports whether the run can be gone on with no more.
func (s Summary) Over() bool { return s.Status == StatusDone || s.Status == StatusAborted }

// Runs lists the runs, oldest first.
func (s *Store) Runs(ctx context.Context) (list []Summary, err error) {
	held, err := s.Holdings(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT r.id, r.verb, r.target, r.plan_hash, r.began_at, r.status, coalesce(q.wanted, ''),
		(SELECT count(*) FROM records AS l WHERE l.run = r.id)
		FROM runs AS r LEFT JOIN requests AS q ON q.run = r.id ORDER BY r.began_at, r.id`)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r Summary
		var began string
		if err := rows.Scan(&r.Run, &r.Verb, &r.Target, &r.PlanHash, &began, &r.Status, &r.Wanted, &r.Records); err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		if r.BeganAt, err = time.Parse(time.RFC3339Nano, began); err != nil {
			return nil, fmt.Errorf("list runs: %s: %w", r.Run, err)
		}
		r.Live = slices.ContainsFunc(held, func(h Holding) bool { return h.Live && h.Run == r.Run })
		list = append(list, r)
	}
	return list, rows.Err()
}

// ErrNoRun says that the store has no run of a name.
var ErrNoRun = errors.New("there is no such run")

// Lines gives a run's records as they were written, each with its line feed:
// the form that Parse reads and that can be verified anywhere.
func (s *Store) Lines(ctx context.Context, run string) (text []byte, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT line FROM records WHERE run = $1 ORDER BY seq`, run)
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", run, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("read run %s: %w", run, err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read run %s: %w", run, err)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("read run %s: %w", run, ErrNoRun)
	}
	return text, nil
}

// Read reads and verifies a run.
func (s *Store) Read(ctx context.Context, run string) (Log, error) {
	text, err := s.Lines(ctx, run)
	if err != nil {
		return Log{}, err
	}
	log, err := Parse(strings.NewReader(string(text)))
	if err != nil {
		return Log{}, fmt.Errorf("read run %s: %w", run, err)
	}
	return log, nil
}

// Unfinished finds the newest run of the plan, if that can be gone on with;
// empty when there is none. One that was aborted cannot.
func (s *Store) Unfinished(ctx context.Context, planHash string) (string, error) {
	newest, err := s.newest(ctx, planHash)
	if newest.Over() {
		return "", err
	}
	return newest.Run, err
}

// Finished finds the newest run of the plan, if that has done all of it; empty
// when there is none.
func (s *Store) Finished(ctx context.Context, planHash string) (string, error) {
	newest, err := s.newest(ctx, planHash)
	if newest.Status != StatusDone {
		return "", err
	}
	return newest.Run, err
}

func (s *Store) newest(ctx context.Context, planHash string) (newest Summary, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT id, status FROM runs WHERE plan_hash = $1 ORDER BY began_at DESC, id DESC LIMIT 1`, planHash).Scan(&newest.Run, &newest.Status)
	if errors.Is(err, sql.ErrNoRows) {
		return Summary{}, nil
	}
	if err != nil {
		return Summary{}, fmt.Errorf("find the plan's newest run: %w", err)
	}
	return newest, nil
}
