package compile

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// Program is a statement in SQLite's SQL. Its steps run in order on one
// connection; when one fails, all that the program has done must be undone
// (run it in a savepoint when it Writes). A program is immutable and may be
// kept and run again while the catalog that it was compiled against stands.
type Program struct {
	Steps []Step
	// Columns are those of the rows that the program returns, of the steps
	// whose Rows is ReturnRows; nil if it returns none.
	Columns []sqltype.Column
	// Command is what Done.Command tells of the statement.
	Command uint16
	// Writes says that the program changes tables of the database; one that
	// changes only the session's temporary tables does not.
	Writes bool
	// Changes says that the program changes tables of either kind.
	Changes bool
	// Uses are the objects that the program touches, for the permissions
	// that it needs.
	Uses []Use
	// Target is the table that is inserted into, updated, deleted from.
	Target *catalog.Table
	// Identity says that the program fills Target's identity column.
	Identity bool
	// Truncates says that Target is emptied and its identity begins anew.
	Truncates bool
	// Into is the table that SELECT … INTO makes: to be entered in the
	// catalog when the program has run.
	Into *catalog.Table
}

// Use is an object that a program touches.
type Use struct {
	Schema   string
	Name     string
	ObjectID int32  // 0 for system views
	Action   string // SELECT, INSERT, UPDATE, DELETE
	Columns  []string
}

// RowUse says what becomes of a step's rows.
type RowUse uint8

// A step has no rows; its rows are returned to the client; each row is
// assigned to variables, so that the last one stays; its first row means that
// the program fails.
const (
	NoRows RowUse = iota
	ReturnRows
	AssignRows
	FailOnRow
)

// Step is one SQLite statement.
type Step struct {
	SQL   string
	Binds []Bind // of ?1, ?2 … in order
	Rows  RowUse
	// Types are those of the step's columns, in which they are decoded.
	Types []sqltype.Type
	// Assign are the variables that AssignRows sets, one a column.
	Assign []string
	// Counts says that the step's rows (ReturnRows, AssignRows) or else its
	// changes are the statement's row count.
	Counts bool
	// Fail builds the error of a FailOnRow step from its row's values.
	Fail func(row []any) sqltype.Message
	// Diagnose are FailOnRow steps that find out why this one broke a unique
	// index, to be run once it has failed so.
	Diagnose []Step
}

// Bind is a value that a step asks its session for.
type Bind struct {
	// Name is a variable's with its @, a system variable's in lower case
	// such as @@rowcount, or @@now: the time in UTC at which the statement
	// began.
	Name string
	// Type is what the value is encoded as: the variable's own.
	Type sqltype.Type
}
