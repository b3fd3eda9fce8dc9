package tsql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// control runs one of the few statements that a session runs all the time, such
// as BEGIN and COMMIT, prepared once.
func (s *Session) control(sql string) error {
	stmt, err := s.statement(sql)
	if err != nil {
		return err
	}
	if err := stmt.Exec(); err != nil {
		return s.fromEngine(fmt.Errorf("%s: %w", sql, err))
	}
	return nil
}

// statement is a prepared statement of the session's own, which stays prepared.
func (s *Session) statement(sql string) (*sqlite3.Stmt, error) {
	if stmt, ok := s.prepared[sql]; ok {
		return stmt, nil
	}
	stmt, _, err := s.conn.Prepare(sql)
	if err != nil {
		return nil, s.fromEngine(fmt.Errorf("prepare %s: %w", sql, err))
	}
	s.prepared[sql] = stmt
	return stmt, nil
}

// storedVersion reads the catalog's version within the connection's transaction;
// it is empty when the database has no catalog yet.
func (s *Session) storedVersion() (string, error) {
	const sql = `SELECT body FROM main.ck_catalog WHERE kind = 'version' AND id = 0`
	if _, ok := s.prepared[sql]; !ok {
		exists, err := s.hasCatalog()
		if err != nil || !exists {
			return "", err
		}
	}
	stmt, err := s.statement(sql)
	if err != nil {
		return "", err
	}
	version := ""
	if stmt.Step() {
		version = stmt.ColumnText(0)
	}
	err = errors.Join(stmt.Err(), stmt.Reset())
	if err == nil {
		return version, nil
	}
	// The table may have gone with a transaction that was rolled back.
	if exists, failed := s.hasCatalog(); failed == nil && !exists {
		delete(s.prepared, sql)
		return "", s.fromEngine(stmt.Close())
	}
	return version, s.fromEngine(err)
}

func (s *Session) hasCatalog() (bool, error) {
	stmt, _, err := s.conn.Prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ck_catalog'`)
	if err != nil {
		return false, s.fromEngine(err)
	}
	exists := stmt.Step()
	return exists, s.fromEngine(errors.Join(stmt.Err(), stmt.Close()))
}

// refresh brings the session's catalog up to date with the database as the
// connection's transaction sees it.
func (s *Session) refresh() error {
	version, err := s.storedVersion()
	if err != nil {
		return err
	}
	if s.definitions != nil && s.definitions.version == version {
		return nil
	}
	if version == "" {
		s.definitions = newDefinitions()
		return nil
	}
	if d := s.options.Catalogs.get(version); d != nil {
		s.definitions = d
		return nil
	}
	d, err := loadDefinitions(s.conn)
	if err != nil {
		return s.fromEngine(err)
	}
	s.definitions = d
	s.options.Catalogs.put(d)
	return nil
}

// lock begins the engine's write transaction: it waits for the database's one
// write lock for as long as LOCK_TIMEOUT says.
func (s *Session) lock(ctx context.Context) error {
	if s.options.Database.ReadOnly() {
		// Only the session's own tables can be meant. A transaction on a
		// secondary sees one state of the database.
		return s.control("BEGIN")
	}
	wait, cancel := ctx, func() {}
	switch timeout := s.settings.lockTimeout; {
	case timeout == 0:
		wait, cancel = context.WithTimeout(ctx, time.Millisecond)
	case timeout > 0:
		wait, cancel = context.WithTimeout(ctx, time.Duration(timeout)*time.Millisecond)
	}
	defer cancel()
	s.conn.SetInterrupt(wait)
	defer s.conn.SetInterrupt(ctx)
	err := s.control("BEGIN IMMEDIATE")
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return lockTimeout()
	}
	return err
}

// busy waits a little before the engine tries again to take a lock. The lab's
// own engine queues writers and never asks; others do.
func busy(ctx context.Context, _ int) bool {
	t := time.NewTimer(time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// read runs f in an engine transaction that sees one state of the database and
// the catalog that belongs to it.
func (s *Session) read(f func() error) error {
	if err := s.isolate(); err != nil {
		return err
	}
	if s.txn.open {
		if err := s.refresh(); err != nil {
			return err
		}
		return f()
	}
	if err := s.control("BEGIN"); err != nil {
		return err
	}
	err := s.refresh()
	if err == nil {
		err = f()
	}
	return errors.Join(err, s.leave("COMMIT"))
}

// isolate gives a transaction what its isolation level asks for beyond READ
// COMMITTED: with SNAPSHOT one state of the database for all its reads; with
// REPEATABLE READ and SERIALIZABLE the write lock, so that nothing changes
// beside it.
// Source: https://learn.microsoft.com/sql/t-sql/statements/set-transaction-isolation-level-transact-sql
func (s *Session) isolate() error {
	if s.txn.count == 0 || s.txn.open || s.txn.doomed {
		return nil
	}
	switch s.settings.isolation {
	case sqltype.RepeatableRead, sqltype.Serializable:
		return s.enter(s.requestCtx.ctx)
	case sqltype.Snapshot:
		return s.enterWith(func() error { return s.control("BEGIN") })
	default:
		return nil
	}
}

// write runs f in a write transaction, or in a savepoint of the one that is
// open: if f fails, nothing of it stays.
func (s *Session) write(ctx context.Context, f func() error) error {
	if s.options.Database.ReadOnly() {
		return s.readOnlyDatabase()
	}
	if s.txn.count > 0 || s.settings.implicitTransactions {
		if err := s.enter(ctx); err != nil {
			return err
		}
		return s.savepoint(f)
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	err := s.refresh()
	if err == nil {
		err = f()
	}
	if err != nil {
		err = errors.Join(err, s.leave("ROLLBACK"), s.afterRollback())
		s.consumed = nil
		return err
	}
	s.consumed = nil
	if err = s.leave("COMMIT"); err != nil {
		return errors.Join(err, s.leave("ROLLBACK"))
	}
	return nil
}

// scratch runs f, which changes the session's own tables alone.
func (s *Session) scratch(ctx context.Context, f func() error) error {
	if s.txn.count == 0 && !s.settings.implicitTransactions {
		return s.read(func() error { return s.savepoint(f) })
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	return s.savepoint(f)
}

// savepoint runs f in a savepoint of the engine's transaction.
func (s *Session) savepoint(f func() error) error {
	if err := s.refresh(); err != nil {
		return err
	}
	if err := s.control("SAVEPOINT ck_statement"); err != nil {
		return err
	}
	if err := f(); err != nil {
		if s.conn.GetAutocommit() {
			return err // the engine has rolled everything back already
		}
		return errors.Join(err, s.shield(func() error {
			return errors.Join(s.control("ROLLBACK TO ck_statement"), s.control("RELEASE ck_statement"), s.afterRollback())
		}))
	}
	return s.control("RELEASE ck_statement")
}

// leave ends the engine's transaction, even when the request was cancelled.
func (s *Session) leave(sql string) error {
	if s.conn.GetAutocommit() {
		return nil
	}
	return s.shield(func() error { return s.control(sql) })
}

// shield runs f although the request may have been cancelled.
//
//nolint:contextcheck // what it runs must not end with the request
func (s *Session) shield(f func() error) error {
	old := s.conn.SetInterrupt(context.Background())
	defer s.conn.SetInterrupt(old)
	return f()
}

// closePrepared ends the prepared statements of the session.
func (s *Session) closePrepared() error {
	var all error
	for sql, stmt := range s.prepared {
		all = errors.Join(all, stmt.Close())
		delete(s.prepared, sql)
	}
	return all
}
