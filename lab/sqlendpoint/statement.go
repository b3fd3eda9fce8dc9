package sqlendpoint

import (
	"context"
	"strings"

	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// DatabaseStatement carries out CREATE, ALTER and DROP DATABASE, through the
// control plane: what it refuses there it refuses here.
func (h *host) DatabaseStatement(ctx context.Context, s tsql.SessionInfo, stmt any, _ sqltype.Results) error {
	switch stmt := stmt.(type) {
	case *ast.AlterDatabase:
		return h.alterDatabase(ctx, s, stmt)
	case *ast.CreateDatabase:
		return h.createDatabase(ctx, s, stmt)
	case *ast.DropObject:
		return h.dropDatabase(ctx, s, stmt)
	}
	return unsupported("this statement on databases")
}

// alterDatabase is for the server's administrator, and for the owner of the
// database from within it.
// Source: https://learn.microsoft.com/sql/t-sql/statements/alter-database-transact-sql
func (h *host) alterDatabase(ctx context.Context, s tsql.SessionInfo, stmt *ast.AlterDatabase) error {
	name := stmt.Name
	if stmt.Current || name == "" {
		name = h.lease.Ref().Database
	}
	own := strings.EqualFold(name, h.lease.Ref().Database)
	if !s.Principal.Admin && (!own || !s.Owner) {
		return refusal(5011, 14, "User does not have permission to alter database '%s', the database does not exist, or the database is not in a state that allows access checks.", name)
	}
	if _, found, err := h.endpoint.SQL.Database(h.server(), name); err != nil || !found {
		if err != nil {
			return err
		}
		return refusal(5011, 14, "User does not have permission to alter database '%s', the database does not exist, or the database is not in a state that allows access checks.", name)
	}
	if !own && !h.inMaster() {
		return refusal(40520, 16, "Securable class 'database' not supported in this server scope in this version of SQL Server: connect to master.")
	}
	return fromARM(h.alter(ctx, name, stmt.Action), "ALTER DATABASE")
}

func (h *host) alter(ctx context.Context, name string, action ast.DatabaseAction) error {
	sql := h.endpoint.SQL
	switch action := action.(type) {
	case *ast.FailoverDatabase:
		if !h.inMaster() {
			return refusal(40958, 16, "ALTER DATABASE FAILOVER has to be run in the master database of the secondary's server.")
		}
		return sql.FailoverDatabase(ctx, h.server(), name, action.AllowDataLoss)
	case *ast.SetEncryption:
		switch action.State {
		case "ON", "OFF":
			return sql.SetDatabaseEncryption(ctx, h.server(), name, action.State == "ON")
		}
		return sql.SuspendDatabaseEncryption(ctx, h.server(), name, action.State == "SUSPEND")
	case *ast.AddSecondary:
		return sql.AddSecondary(ctx, h.server(), name, strings.ToLower(action.Server))
	case *ast.RemoveSecondary:
		return sql.RemoveSecondary(ctx, h.server(), name, strings.ToLower(action.Server))
	case *ast.ModifyName:
		return unsupported("ALTER DATABASE MODIFY NAME")
	case *ast.ModifyEdition:
		return unsupported("ALTER DATABASE MODIFY")
	case *ast.CollateDatabase:
		return unsupported("ALTER DATABASE COLLATE")
	case *ast.SetDatabaseOptions:
		return unsupported("ALTER DATABASE SET")
	}
	return unsupported("ALTER DATABASE")
}

// createDatabase is for the administrator, in master.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-database-transact-sql
func (h *host) createDatabase(ctx context.Context, s tsql.SessionInfo, stmt *ast.CreateDatabase) error {
	if !s.Principal.Admin || !h.inMaster() {
		return refusal(262, 14, "CREATE DATABASE permission denied in database '%s'.", s.Database)
	}
	if _, found, err := h.endpoint.SQL.Database(h.server(), stmt.Name); err != nil || found {
		if err != nil {
			return err
		}
		return refusal(1801, 16, "Database '%s' already exists. Choose a different database name.", stmt.Name)
	}
	var objective string
	for _, option := range stmt.Edition {
		if option.Name == "SERVICE_OBJECTIVE" {
			objective = wordOf(option)
		}
	}
	return fromARM(h.endpoint.SQL.CreateDatabase(ctx, h.server(), stmt.Name, objective, strings.ToLower(stmt.CopyServer), stmt.CopyOf), "CREATE DATABASE")
}

// wordOf is an option's value.
func wordOf(option ast.Option) string {
	if literal, ok := option.Value.(*ast.Literal); ok {
		return literal.Text
	}
	return option.Word
}

// dropDatabase is for the administrator, in master.
// Source: https://learn.microsoft.com/sql/t-sql/statements/drop-database-transact-sql
func (h *host) dropDatabase(ctx context.Context, s tsql.SessionInfo, stmt *ast.DropObject) error {
	for _, each := range stmt.Names {
		name := each.Object
		_, found, err := h.endpoint.SQL.Database(h.server(), name)
		switch {
		case err != nil:
			return err
		case !found && stmt.IfExists:
			continue
		case !found || !s.Principal.Admin || !h.inMaster():
			return refusal(3701, 11, "Cannot drop the database '%s', because it does not exist or you do not have permission.", name)
		case strings.EqualFold(name, instance.Master):
			return refusal(3708, 16, "Cannot drop the database '%s' because it is a system database.", name)
		}
		if err := h.endpoint.SQL.DropDatabase(ctx, h.server(), name); err != nil {
			return fromARM(err, "DROP DATABASE")
		}
	}
	return nil
}
