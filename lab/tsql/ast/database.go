package ast

// CreateDatabase is CREATE DATABASE.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-database-transact-sql?view=azuresqldb-current
type CreateDatabase struct {
	Span
	Name      string
	Collation string
	// Edition holds EDITION, MAXSIZE, SERVICE_OBJECTIVE.
	Edition []Option
	// Options are those after WITH.
	Options []Option
	// CopyServer and CopyOf are of AS COPY OF [server.]database.
	CopyServer string
	CopyOf     string
}

// AlterDatabase is ALTER DATABASE name|CURRENT with one action.
// Source: https://learn.microsoft.com/sql/t-sql/statements/alter-database-transact-sql?view=azuresqldb-current
type AlterDatabase struct {
	Span
	Name    string // empty: CURRENT
	Current bool
	Action  DatabaseAction
}

// DatabaseAction is what ALTER DATABASE does: *SetEncryption,
// *SetDatabaseOptions, *ModifyName, *ModifyEdition, *CollateDatabase,
// *AddSecondary, *RemoveSecondary, *FailoverDatabase.
type DatabaseAction interface {
	Node
	databaseAction()
}

// SetEncryption is SET ENCRYPTION ON|OFF|SUSPEND|RESUME.
type SetEncryption struct {
	Pos
	State string // ON, OFF, SUSPEND, RESUME
}

// SetDatabaseOptions is SET of any other options.
type SetDatabaseOptions struct {
	Pos
	Options     []Option
	Termination string // ROLLBACK IMMEDIATE, NO_WAIT, ROLLBACK AFTER …, or empty
}

// ModifyName is MODIFY NAME = name.
type ModifyName struct {
	Pos
	Name string
}

// ModifyEdition is MODIFY (EDITION = …, MAXSIZE = …, SERVICE_OBJECTIVE = …).
type ModifyEdition struct {
	Pos
	Options []Option
	Manual  bool // WITH MANUAL_CUTOVER
}

// CollateDatabase is COLLATE name.
type CollateDatabase struct {
	Pos
	Collation string
}

// AddSecondary is ADD SECONDARY ON SERVER server [WITH (…)].
type AddSecondary struct {
	Pos
	Server  string
	Options []Option // ALLOW_CONNECTIONS, SERVICE_OBJECTIVE, SECONDARY_TYPE, DATABASE_NAME …
}

// RemoveSecondary is REMOVE SECONDARY ON SERVER server.
type RemoveSecondary struct {
	Pos
	Server string
}

// FailoverDatabase is FAILOVER or FORCE_FAILOVER_ALLOW_DATA_LOSS.
type FailoverDatabase struct {
	Pos
	AllowDataLoss bool
}

func (*SetEncryption) databaseAction()      {}
func (*SetDatabaseOptions) databaseAction() {}
func (*ModifyName) databaseAction()         {}
func (*ModifyEdition) databaseAction()      {}
func (*CollateDatabase) databaseAction()    {}
func (*AddSecondary) databaseAction()       {}
func (*RemoveSecondary) databaseAction()    {}
func (*FailoverDatabase) databaseAction()   {}

func (*CreateDatabase) statement() {}
func (*AlterDatabase) statement()  {}
