package tsql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// SessionOptions are what a session needs. Database, Host, Now and Random must
// be set.
type SessionOptions struct {
	Database  Database
	Host      Host
	Principal Principal
	SPID      int
	// ServerName is what @@SERVERNAME answers: the server's name without domain.
	ServerName string
	// AppName and HostName are what APP_NAME and HOST_NAME answer.
	AppName  string
	HostName string
	// Catalogs shares what is read of the database's catalog between its
	// sessions; nil: the session keeps its own.
	Catalogs *Catalogs
	Now      func() time.Time
	// After is time.After unless the lab's clock waits differently; WAITFOR uses it.
	After func(d time.Duration) <-chan time.Time
	// Random is for NEWID, salts and versions; sessions that share it use it at
	// the same time.
	Random io.Reader
	Log    *slog.Logger
}

// Session is one client's session. Its methods must not be called at the same
// time. It satisfies the session interface of lab/tds.
//
// A method's error ends the session: it is the client's (from Results), a
// [*BrokenError], or unexpected. Errors of T-SQL go to Results as messages. A
// request whose context ends stops soon and answers nil: what its transaction had written by
// then can only be rolled back.
type Session struct {
	options     SessionOptions
	conn        *sqlite3.Conn
	runtime     *builtin.Runtime
	prepared    map[string]*sqlite3.Stmt
	texts       texts
	definitions *definitions
	settings    settings
	txn         transaction
	descriptors uint64 // of transactions begun
	savepoints  int    // begun
	temporary   map[string]*temporaryTable
	tables      int64 // changes with the session's own tables
	nextObject  int32 // the ID that was given last
	frame       *frame
	out         sqltype.Results
	// errorNumber is @@ERROR, rowCount @@ROWCOUNT, identity @@IDENTITY.
	errorNumber int32
	rowCount    int64
	keepError   bool  // EXECUTE leaves @@ERROR as its last statement has set it
	setError    int32 // what RAISERROR WITH SETERROR wants @@ERROR to be
	identity    any
	identities  map[int32]*counter
	// consumed are the identity values that no rollback gives back.
	consumed map[int32]*counter
	// rootIdentity is SCOPE_IDENTITY() of the session's outermost scope.
	rootIdentity any
	returns      []sqltype.Param // of the call that is running
	handles      map[int64]*handle
	lastHandle   int64
	cursors      map[string]*cursor // those of the session, by lower-case name
	fetchStatus  int64
	cursorRows   int64
	context      map[string]contextValue
	views        map[string]*systemView
	functions    map[string]function
	fatal        error // of a host's function, while a program runs
	requestCtx   requestContext
	// actingIDs is what acting found for the catalog actingOf.
	actingOf  *definitions
	actingIDs map[int32]bool
	// columnsByID are the columns of views for the catalog columnsFor.
	columnsFor  *definitions
	columnsByID map[int32][]catalog.Column
	// touched says that a # table or a table variable was looked for.
	touched bool
	// scratching says that objects that are made now are the session's own;
	// lastScratch is the last ID of one.
	scratching  bool
	lastScratch int32
}

// requestContext holds the context of the request that is running, for the
// functions that the engine calls back.
type requestContext struct {
	ctx context.Context //nolint:containedctx // the engine's callbacks have no context of their own
}

// NewSession opens a session on its database. The caller closes it.
func NewSession(ctx context.Context, o SessionOptions) (*Session, error) {
	if o.Catalogs == nil {
		o.Catalogs = &Catalogs{}
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := o.Database.Conn(ctx)
	if err != nil {
		return nil, &BrokenError{Database: o.Database.Name(), Err: err}
	}
	s := &Session{options: o, conn: conn, prepared: map[string]*sqlite3.Stmt{}}
	s.fresh()
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare makes the connection ready: functions, system views, the reserved
// tables.
func (s *Session) prepare() error {
	runtime, err := builtin.Register(s.conn, s.options.Random)
	if err != nil {
		return fmt.Errorf("register functions: %w", err)
	}
	s.runtime = runtime
	if err := s.conn.BusyHandler(busy); err != nil {
		return fmt.Errorf("set the busy handler: %w", err)
	}
	if err := s.conn.Exec("PRAGMA temp_store = memory;" + fmt.Sprintf(identityTable, "temp")); err != nil {
		return s.fromEngine(err)
	}
	if err := s.registerFunctions(); err != nil {
		return err
	}
	if err := s.registerViews(); err != nil {
		return err
	}
	return s.read(func() error { return nil })
}

// fresh sets what a session has after login.
func (s *Session) fresh() {
	s.settings = newSettings()
	s.txn = transaction{}
	s.temporary = map[string]*temporaryTable{}
	s.tables++
	s.frame = newFrame(nil, nil)
	s.errorNumber, s.rowCount, s.identity, s.rootIdentity = 0, 0, nil, nil
	s.handles = map[int64]*handle{}
	s.cursors, s.fetchStatus, s.cursorRows = map[string]*cursor{}, 0, 0
	s.context = map[string]contextValue{}
}

// Reset brings the session back to how it was after login, as
// sp_reset_connection does. Its transaction is rolled back unless it is kept.
// Source: MS-TDS 2.2.3.1.2, Status (RESETCONNECTION, RESETCONNECTIONSKIPTRAN)
func (s *Session) Reset(ctx context.Context, keepTransaction bool) error {
	s.conn.SetInterrupt(context.WithoutCancel(ctx))
	s.out = nil
	kept := s.txn
	if s.txn.count > 0 && !keepTransaction {
		if err := s.abandon(); err != nil {
			return err
		}
		kept = transaction{}
	}
	var names []string
	for _, t := range s.temporary {
		names = append(names, t.table.Stored)
	}
	if err := s.dropTemp(names); err != nil {
		return err
	}
	s.fresh()
	kept.temporary = nil
	s.txn = kept
	return nil
}

// Close ends the session, and rolls back its transaction.
func (s *Session) Close() error {
	s.conn.SetInterrupt(context.Background())
	var all error
	if !s.conn.GetAutocommit() {
		all = s.conn.Exec("ROLLBACK")
	}
	all = errors.Join(all, s.closePrepared())
	if s.runtime != nil {
		all = errors.Join(all, s.runtime.Close())
	}
	return errors.Join(all, s.conn.Close())
}

// Batch runs a batch.
func (s *Session) Batch(ctx context.Context, source string, out sqltype.Results) error {
	return s.request(ctx, out, func(ctx context.Context) error {
		t, err := s.text("", source)
		if err != nil {
			return s.settle(s.compileFailure(err))
		}
		return s.runText(ctx, t)
	})
}

// runText runs a batch in the outermost frame.
func (s *Session) runText(ctx context.Context, t *text) error {
	s.frame = newFrame(nil, t)
	s.frame.scopeIdentity = s.rootIdentity
	if err := s.frame.begin(t.statements); err != nil {
		return s.settle(s.compileFailure(err))
	}
	if err := s.bind(t, t.statements); err != nil {
		return s.settle(err)
	}
	err := s.runBody(ctx, t.statements)
	s.rootIdentity = s.frame.scopeIdentity
	return errors.Join(err, s.dropFrameTables(s.frame))
}

// request does what all requests need: the context for the engine, and the end
// of a doomed transaction.
func (s *Session) request(ctx context.Context, out sqltype.Results, f func(ctx context.Context) error) error {
	s.out = out
	s.requestCtx.ctx = ctx
	s.conn.SetInterrupt(ctx)
	s.frame = newFrame(nil, nil)
	err := f(ctx)
	s.conn.SetInterrupt(context.Background())
	s.watch()
	var done reported
	if errors.As(err, &done) {
		err = nil
	}
	if ctx.Err() != nil {
		return s.cancelled(err)
	}
	if err != nil {
		return err
	}
	return s.finish()
}

// cancelled ends a request that the client gave up.
func (s *Session) cancelled(err error) error {
	var broken *BrokenError
	if errors.As(err, &broken) {
		return err
	}
	if s.settings.xactAbort && s.txn.count > 0 {
		s.out = nil
		return s.abandon()
	}
	return nil
}

// finish looks at the transaction once a batch has ended.
func (s *Session) finish() error {
	if !s.txn.doomed {
		return nil
	}
	m := classed(16, 1, 3998, "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.")
	m.Line = 1
	if err := s.send(m); err != nil {
		return err
	}
	return s.abandon()
}
