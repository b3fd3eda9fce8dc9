package tsql

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// Database is the session's view of an open database.
type Database interface {
	// Conn opens a connection of the embedded engine, which the caller closes.
	Conn(ctx context.Context) (*sqlite3.Conn, error)
	// Name is the database's name, with the case it was created in.
	Name() string
	// ID is its database_id.
	ID() int32
	// ReadOnly says that it takes no changes, as a geo-secondary.
	ReadOnly() bool
}

// SessionInfo is what a [Host] may know of the session that asks.
type SessionInfo struct {
	SPID      int
	Database  string
	Principal Principal
	// User is the database user's name, such as dbo.
	User string
	// Owner says that the user acts as dbo or is in db_owner.
	Owner bool
	// ViewDatabaseState says whether the user may see the database's dynamic
	// management views.
	ViewDatabaseState bool
}

// View is a system view or table-valued function that the host supplies.
type View struct {
	System catalog.System
	// Rows answers the rows, each with a Go value for each column. args has the
	// function's arguments; one that was not given is nil. An error that is a
	// sqltype.Message or Messages reaches the client as it is; for who may not see
	// the database's state it is StateDenied.
	Rows func(ctx context.Context, s SessionInfo, args []any) ([][]any, error)
}

// DatabaseName is a database of the server that the session may see.
type DatabaseName struct {
	ID   int32
	Name string
}

// External is a principal of Microsoft Entra ID.
type External struct {
	// Name is what SUSER_SNAME answers: the user principal name, or the display
	// name of an application or a group.
	Name string
	// SID is the object id, or the application id of a service principal.
	SID sqltype.GUID
	// Group says that it is a group.
	Group bool
}

// Host answers what lies outside the session's database. Its methods may be
// called by many sessions at a time. An error that is a sqltype.Message
// reaches the client as it is; any other ends the session.
type Host interface {
	// Views answers the host's system views. It is called once for a session.
	Views() []View
	// Databases lists the databases that the session may see, for DB_ID and DB_NAME.
	Databases(s SessionInfo) []DatabaseName
	// ServerProperty answers SERVERPROPERTY and @@ variables such as version.
	ServerProperty(s SessionInfo, name string) (any, bool)
	// DatabaseProperty answers DATABASEPROPERTYEX.
	DatabaseProperty(s SessionInfo, database, name string) (any, bool)
	// DatabaseStatement carries out CREATE, ALTER and DROP DATABASE.
	DatabaseStatement(ctx context.Context, s SessionInfo, stmt any, out sqltype.Results) error
	// Kill ends another session.
	Kill(ctx context.Context, s SessionInfo, spid int) error
	// Procedure carries out a system procedure that is about more than the
	// session's database, such as sp_wait_for_database_copy_sync.
	Procedure(ctx context.Context, s SessionInfo, call sqltype.Call, out sqltype.Results) (handled bool, err error)
	// External finds a principal of Microsoft Entra ID by name, for CREATE USER
	// … FROM EXTERNAL PROVIDER.
	External(ctx context.Context, name string) (External, bool, error)
}
