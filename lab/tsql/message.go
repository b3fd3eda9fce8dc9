package tsql

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// message is an error of class 16, state 1: what most of them are. The texts
// are those of sys.messages.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
func message(number int32, format string, args ...any) sqltype.Message {
	return classed(16, 1, number, format, args...)
}

func classed(class, state uint8, number int32, format string, args ...any) sqltype.Message {
	return sqltype.Message{Number: number, Class: class, State: state, Text: fmt.Sprintf(format, args...)}
}

// information is a message that is no error.
func information(number int32, format string, args ...any) sqltype.Message {
	return classed(0, 1, number, format, args...)
}

// refuse is the answer to a construct outside the subset: it names it.
func refuse(construct string) sqltype.Message {
	return message(40517, "Keyword or statement option '%s' is not supported in this version of SQL Server.", construct)
}

// BrokenError says that the session's database cannot be used any more: it was
// closed, failed over, or is damaged. The session must end; clients expect
// 40197 or 40613 then.
type BrokenError struct {
	Database string
	Err      error
}

// Error says which database, and why.
func (e *BrokenError) Error() string {
	return "database " + e.Database + " cannot be used: " + e.Err.Error()
}

// Unwrap is the engine's error.
func (e *BrokenError) Unwrap() error { return e.Err }

// fromEngine makes an error of the embedded engine the one that the client or
// the endpoint understands.
func (s *Session) fromEngine(err error) error {
	var m sqltype.Message
	var broken *BrokenError
	if err == nil || errors.As(err, &m) || errors.As(err, &broken) {
		return err
	}
	if carried, ok := value.MessageOf(err); ok {
		return carried
	}
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) {
		return err
	}
	if errors.Is(err, sqlite3.BUSY_SNAPSHOT) {
		return message(3960, "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table directly or indirectly in database '%s' to update, delete, or insert the row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.", s.options.Database.Name())
	}
	switch code {
	case sqlite3.READONLY:
		return s.readOnlyDatabase()
	case sqlite3.BUSY, sqlite3.LOCKED:
		return lockTimeout()
	case sqlite3.INTERRUPT:
		return err
	case sqlite3.IOERR, sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.CANTOPEN, sqlite3.PROTOCOL, sqlite3.FULL, sqlite3.MISUSE, sqlite3.PERM:
		return &BrokenError{Database: s.options.Database.Name(), Err: err}
	case sqlite3.TOOBIG:
		return message(511, "Cannot create a row of this size: it is greater than the allowable maximum.")
	case sqlite3.CONSTRAINT:
		return message(547, "The statement conflicted with a constraint: %v.", err)
	default:
		return fmt.Errorf("run a compiled statement: %w", err)
	}
}

func lockTimeout() sqltype.Message {
	return classed(16, 51, 1222, "Lock request time out period exceeded.")
}

func (s *Session) readOnlyDatabase() sqltype.Message {
	return message(3906, "Failed to update database \"%s\" because the database is read-only.", s.options.Database.Name())
}

// Messages is an error of several messages: the client gets all of them, the
// last one is what a CATCH sees.
type Messages []sqltype.Message //nolint:errname // it is a list of them

// Error is the last message's text.
func (m Messages) Error() string { return m[len(m)-1].Text }

// reported says that an error has been sent to the client already, and how
// much it ends.
type reported struct {
	extent extent
}

func (reported) Error() string { return "tsql: an error that has been reported" }

// failure is an error on its way to a TRY or to the client.
type failure struct {
	message sqltype.Message
	// before are messages that go before it.
	before []sqltype.Message
	extent extent
	// raised says that RAISERROR made it: XACT_ABORT does not look at it.
	raised bool
	// rethrown says that it ends the transaction or not as it did before.
	rethrown bool
	// terminated says that a change of rows was undone: message 3621 follows.
	terminated bool
	// frame is the one in which it was found while compiling: the TRY blocks of
	// that frame do not catch it.
	frame *frame
}

func (f *failure) Error() string { return f.message.Text }

// extent is how much an error ends.
type extent uint8

// An error ends the statement, the procedure or batch it is in, or all of the
// request together with its transaction.
const (
	endsStatement extent = iota
	endsScope
	endsBatch
	endsTransaction
)

// extentOf says how much a runtime error ends when XACT_ABORT is off.
// Source: https://www.sommarskog.se/error_handling/Part2.html (tables of errors)
func extentOf(number int32) extent {
	switch number {
	case 208, 207, 102, 156, 137, 1087, 2812, 4104, 209, 195:
		return endsScope
	case 217, 241, 242, 244, 245, 248, 295, 235, 293, 1205, 3621, 3930, 3971, 3989, 8114, 3960, 8169, 9803, 13609:
		return endsTransaction
	case 1222:
		return endsStatement
	default:
		return endsStatement
	}
}
