package sqlendpoint

import (
	"errors"
	"fmt"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// The errors of the gateway and of connections that end. Clients decide by
// their numbers whether to try again.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors

func refusal(number int32, class uint8, format string, args ...any) sqltype.Message {
	return sqltype.Message{Number: number, Class: class, State: 1, Line: 1, Text: fmt.Sprintf(format, args...)}
}

func noServerName() sqltype.Message {
	return refusal(40531, 11, "Server name cannot be determined.  It must appear as the first segment of the server's dns name (servername.database.windows.net).  Some libraries do not send the server name, in which case the server name must be included as part of the user name (username@servername).  In addition, if both formats are used, the server names must match.")
}

func cannotOpenServer(name string) sqltype.Message {
	return refusal(40532, 11, "Cannot open server \"%s\" requested by the login.  The login failed.", name)
}

func firewallRefused(server, address string) sqltype.Message {
	return refusal(40615, 14, "Cannot open server '%s' requested by the login. Client with IP address '%s' is not allowed to access the server.  To enable access, use the Azure Management Portal or run sp_set_firewall_rule on the master database to create a firewall rule for this IP address or address range.  It may take up to five minutes for this change to take effect.", server, address)
}

// loginFailed is error 18456: it never says which half was wrong.
func loginFailed(user string) sqltype.Message {
	return refusal(18456, 14, "Login failed for user '%s'.", user)
}

// tokenPrincipal stands for the user in errors about tokens.
const tokenPrincipal = "<token-identified principal>"

// cannotOpenDatabase is what a login reads that names no database it may use.
func cannotOpenDatabase(database, user string) error {
	return tds.ServerErrors{
		refusal(4060, 11, "Cannot open database \"%s\" requested by the login. The login failed.", database), loginFailed(user),
	}
}

func notAvailable(ref instance.Ref) sqltype.Message {
	return refusal(40613, 17, "Database '%s' on server '%s' is not currently available.  Please retry the connection later.  If the problem persists, contact customer support, and provide them the session tracing ID of '%s'.", ref.Database, ref.Server, "00000000-0000-0000-0000-000000000000")
}

// ended is what a client reads when its session ends under it.
func ended(reason error) error {
	switch {
	case reason == nil:
		return nil
	case errors.Is(reason, instance.ErrKilled):
		return refusal(596, 21, "Cannot continue the execution because the session is in the kill state.")
	}
	return serviceError(40143)
}

// serviceError asks the client to try again; the code within says why.
func serviceError(code int) sqltype.Message {
	return refusal(40197, 20, "The service has encountered an error processing your request. Please try again. Error code %d.", code)
}

func unsupported(construct string) sqltype.Message {
	return refusal(40510, 16, "Statement '%s' is not supported in this version of SQL Server.", construct)
}

// engineNumbers are the errors by which the engine knows what Resource
// Manager's refusals name by a code.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors-40000-to-49999
var engineNumbers = map[string]int32{
	"FailoverGroupAlreadySetup":           40960,
	"GeoReplicationDatabaseNotSecondary":  40937,
	"CMKOperationNotAllowed":              45463,
	"SecurityAzureKeyVaultGeoChainError":  45415,
	"CanNotDropAlterOnMirror":             3989,
	"AttemptedEncryptionOnSystemDatabase": 33101,
}

// fromARM makes a refusal of the control plane the statement's. What has no
// number of its own is error 5069.
func fromARM(err error, statement string) error {
	var refused *arm.Error
	if !errors.As(err, &refused) {
		return err
	}
	if number, ok := engineNumbers[refused.Code]; ok {
		return refusal(number, 16, "%s", refused.Message)
	}
	return refusal(5069, 16, "%s statement failed. %s", statement, refused.Message)
}
