// Package catalog has what the interpreter knows of a user database's
// objects: tables, views, indexes, constraints, procedures, users and grants, as values that the
// compiler resolves names against.
package catalog

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Table is a user table, or a temporary one.
type Table struct {
	ObjectID    int32
	Schema      string
	Name        string
	Stored      string // the name under which SQLite has it, without quotes
	Columns     []Column
	Keys        []Key // primary key and unique constraints
	Checks      []Check
	ForeignKeys []ForeignKey
	Indexes     []Index
	Temporary   bool
}

// Column is a table's column. Stored columns have their own names in SQLite.
type Column struct {
	sqltype.Column
	ID        int32  // column_id, from 1
	Default   string // T-SQL text of the default, empty for none
	DefaultAs string // name of the default constraint
	Computed  string // T-SQL text of a computed column, empty for none
	Seed      int64  // of IDENTITY
	Increment int64
}

// Key is a primary key or a unique constraint.
type Key struct {
	Name      string
	ObjectID  int32
	Primary   bool
	Clustered bool
	Columns   []KeyColumn
}

// KeyColumn is a column of a key or an index.
type KeyColumn struct {
	Name       string
	Descending bool
}

// Check is a check constraint.
type Check struct {
	Name     string
	ObjectID int32
	Text     string // T-SQL
}

// ForeignKey is a reference to another table.
type ForeignKey struct {
	Name      string
	ObjectID  int32
	Columns   []string
	RefSchema string
	RefTable  string
	RefCols   []string
	OnDelete  string // NO_ACTION, CASCADE, SET_NULL, SET_DEFAULT
	OnUpdate  string
}

// Index is an index that no constraint made.
type Index struct {
	Name     string
	ID       int32
	Unique   bool
	Columns  []KeyColumn
	Included []string
	Where    string // T-SQL of a filtered index, empty for none
}

// View is a user view.
type View struct {
	ObjectID   int32
	Schema     string
	Name       string
	Definition string   // the whole CREATE VIEW text
	Columns    []string // given names, or none
}

// Procedure is a stored procedure.
type Procedure struct {
	ObjectID   int32
	Schema     string
	Name       string
	Definition string // the whole CREATE PROCEDURE text
}

// Reader finds objects by name, without regard to case. An empty schema is
// the session's default. It is used by one goroutine at a time.
type Reader interface {
	Table(schema, name string) (*Table, bool)
	View(schema, name string) (*View, bool)
	Procedure(schema, name string) (*Procedure, bool)
	// System finds a catalog view or dynamic management view, or a
	// table-valued function such as sys.dm_db_log_info, that answers under
	// SQLite as the (eponymous) virtual table named Stored.
	System(schema, name string) (*System, bool)
}

// System is a system view or table-valued function.
type System struct {
	Schema  string
	Name    string
	Stored  string // name of the virtual table in SQLite
	Args    []sqltype.Column
	Columns []sqltype.Column
}
