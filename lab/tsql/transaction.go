package tsql

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// transaction is the session's transaction. The engine's own begins with its
// first write: until then every statement reads the newest committed state.
type transaction struct {
	// count is @@TRANCOUNT.
	count int
	// name is the outermost transaction's.
	name string
	// descriptor numbers it for the client.
	descriptor uint64
	// open says that the engine's write transaction is open.
	open bool
	// doomed says that it can only be rolled back (XACT_STATE -1).
	doomed bool
	// savepoints are those of SAVE TRANSACTION, oldest first.
	savepoints []savepoint
	// temporary are the # tables that there were when it began.
	temporary map[string]*temporaryTable
}

// savepoint is a place to roll back to.
type savepoint struct {
	name      string
	sql       string // its name in the engine
	temporary map[string]*temporaryTable
}

// temporaryTable is a # table of the session.
type temporaryTable struct {
	table *catalog.Table
	level int // of the frame that made it
	// outer is the table of the same name that it hides, made in an outer frame.
	outer *temporaryTable
}

// begin is BEGIN TRANSACTION.
func (s *Session) begin(name string) error {
	if s.txn.count == 0 {
		s.descriptors++
		s.txn = transaction{name: name, descriptor: s.descriptors, temporary: maps.Clone(s.temporary)}
		s.txn.count = 1
		return s.out.Transaction(sqltype.TransactionBegan, s.txn.descriptor)
	}
	s.txn.count++
	return nil
}

// enter makes sure that the engine's write transaction is open, and begins the
// session's own when IMPLICIT_TRANSACTIONS asks for it.
func (s *Session) enter(ctx context.Context) error {
	return s.enterWith(func() error { return s.lock(ctx) })
}

// enterWith is enter with another way to begin the engine's transaction.
func (s *Session) enterWith(begin func() error) error {
	if s.txn.doomed {
		return uncommittable()
	}
	if s.txn.open {
		return nil
	}
	if err := begin(); err != nil {
		return err
	}
	for _, p := range s.txn.savepoints {
		if err := s.control("SAVEPOINT " + p.sql); err != nil {
			return errors.Join(err, s.leave("ROLLBACK"))
		}
	}
	if s.txn.count == 0 {
		if err := s.begin(""); err != nil {
			return errors.Join(err, s.leave("ROLLBACK"))
		}
	}
	s.txn.open = true
	return nil
}

func uncommittable() sqltype.Message {
	return message(3930, "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.")
}

// commit is COMMIT TRANSACTION; a name is ignored, as SQL Server ignores it.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/commit-transaction-transact-sql
func (s *Session) commit() error {
	switch {
	case s.txn.count == 0:
		return message(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
	case s.txn.doomed:
		return uncommittable()
	case s.txn.count > 1:
		s.txn.count--
		return nil
	}
	if s.txn.open {
		if err := s.leave("COMMIT"); err != nil {
			return errors.Join(err, s.abandon())
		}
	}
	return s.ended(sqltype.TransactionCommitted)
}

// rollback is ROLLBACK TRANSACTION, of everything or to a savepoint.
func (s *Session) rollback(name string) error {
	if s.txn.count == 0 {
		return message(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
	}
	if name == "" || lower(name) == lower(s.txn.name) {
		if _, inside := s.out.(*rowKeeper); inside {
			return message(3915, "Cannot use the ROLLBACK statement within an INSERT-EXEC statement.")
		}
		return s.abandon()
	}
	for i := len(s.txn.savepoints) - 1; i >= 0; i-- {
		if lower(s.txn.savepoints[i].name) == lower(name) {
			return s.rollbackTo(i)
		}
	}
	return message(6401, "Cannot roll back %s. No transaction or savepoint of that name was found.", name)
}

func (s *Session) rollbackTo(i int) error {
	if s.txn.doomed {
		return message(3931, "The current transaction cannot be committed and cannot be rolled back to a savepoint. Roll back the entire transaction.")
	}
	p := s.txn.savepoints[i]
	if s.txn.open {
		kept, err := s.keepTableVariables()
		if err != nil {
			return err
		}
		if err := s.control("ROLLBACK TO " + p.sql); err != nil {
			return err
		}
		if err := s.restoreTableVariables(kept); err != nil {
			return err
		}
	}
	s.txn.savepoints = s.txn.savepoints[:i+1]
	s.setTemporary(p.temporary)
	return s.afterRollback()
}

// save is SAVE TRANSACTION.
func (s *Session) save(name string) error {
	if s.txn.count == 0 {
		return message(628, "Cannot issue SAVE TRANSACTION when there is no active transaction.")
	}
	if s.txn.doomed {
		return uncommittable()
	}
	s.savepoints++
	p := savepoint{name: name, sql: fmt.Sprintf("ck_save_%d", s.savepoints), temporary: maps.Clone(s.temporary)}
	if s.txn.open {
		// Savepoints have names of their own, so they are never worth preparing.
		if err := s.conn.Exec("SAVEPOINT " + p.sql); err != nil {
			return s.fromEngine(err)
		}
	}
	s.txn.savepoints = append(s.txn.savepoints, p)
	return nil
}

// abandon rolls the whole transaction back.
func (s *Session) abandon() error {
	if s.txn.open {
		kept, err := s.keepTableVariables()
		if err != nil {
			return err
		}
		if err := s.leave("ROLLBACK"); err != nil {
			return err
		}
		s.txn.open = false
		if err := s.restoreTableVariables(kept); err != nil {
			return err
		}
	}
	s.setTemporary(s.txn.temporary)
	if err := s.afterRollback(); err != nil {
		return err
	}
	return s.ended(sqltype.TransactionRolledBack)
}

func (s *Session) ended(state sqltype.TransactionState) error {
	descriptor := s.txn.descriptor
	s.txn, s.consumed = transaction{}, nil
	if s.out == nil {
		return nil
	}
	return s.out.Transaction(state, descriptor)
}

// watch notices that the engine has rolled its transaction back by itself, as
// it does when a write is interrupted. What the client began is then doomed: all
// that it can do is roll back.
func (s *Session) watch() {
	if s.txn.open && s.conn.GetAutocommit() {
		s.txn.open = false
		s.txn.doomed = true
		s.definitions = nil
	}
}

// state is XACT_STATE().
func (t *transaction) state() int64 {
	switch {
	case t.count == 0:
		return 0
	case t.doomed:
		return -1
	default:
		return 1
	}
}

// Transaction carries out a transaction-manager request.
func (s *Session) Transaction(ctx context.Context, r sqltype.TransactionRequest, out sqltype.Results) error {
	return s.request(ctx, out, func(ctx context.Context) error {
		if r.Isolation != sqltype.IsolationUnchanged {
			s.settings.isolation = r.Isolation
		}
		return s.one(ctx, func() error { return s.manage(r) })
	})
}

func (s *Session) manage(r sqltype.TransactionRequest) error {
	switch r.Kind {
	case sqltype.BeginTransaction:
		return s.begin(r.Name)
	case sqltype.SaveTransaction:
		return s.save(r.Name)
	case sqltype.CommitTransaction:
		if err := s.commit(); err != nil {
			return err
		}
	case sqltype.RollbackTransaction:
		if err := s.rollback(r.Name); err != nil {
			return err
		}
	default:
		return refuse("transaction manager request")
	}
	if r.Begin {
		return s.begin(r.BeginName)
	}
	return nil
}
