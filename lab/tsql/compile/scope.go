// Package compile binds and types T-SQL statements against a catalog and
// writes them as programs in SQLite's SQL. What it cannot express exactly it
// refuses with the construct's name: a program never answers something else
// than SQL Server would.
//
// How values lie in SQLite is told by package value; the functions that
// programs call are those of package builtin.
package compile

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// Scope is what names in a statement are resolved against.
type Scope struct {
	Catalog catalog.Reader
	// Variables finds a scalar variable's type by its name with @ (compared
	// without regard to case by the function), or a system variable's by its
	// name in lower case, such as @@rowcount. Table variables are tables of
	// the catalog, under their name with @.
	Variables func(name string) (sqltype.Type, bool)
	// Function finds a function that the session answers (DB_NAME,
	// OBJECT_ID …) by its name in upper case and its number of arguments.
	Function func(name string, args int) (Function, bool)
	// DefaultSchema is the session's, such as dbo.
	DefaultSchema string
	// Database is the current database's name, for three-part names and for
	// the texts of errors.
	Database string
	// Referencing lists the tables with a foreign key to a table, itself
	// perhaps among them.
	Referencing func(t *catalog.Table) []*catalog.Table
	// IdentityInsert says whether IDENTITY_INSERT is on for a table.
	IdentityInsert func(objectID int32) bool
	// TemporaryHere says whether a # table was made in the procedure or batch
	// that runs: nil, whether there is one at all.
	TemporaryHere func(name string) bool
	// NewObjectID gives a new object or constraint its ID.
	NewObjectID func() int32
}

// Function is a scalar function of the session's.
type Function struct {
	// Stored is the name under which SQLite has it.
	Stored string
	// Args are the types that its arguments are converted to; arguments
	// beyond them get the last one's. None: nvarchar(4000).
	Args     []sqltype.Type
	Result   sqltype.Type
	Nullable bool
}
