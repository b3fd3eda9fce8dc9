package tds

import (
	"fmt"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// The numbers of the server's own errors.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
const (
	numberSessionLimit    = 10928
	numberBadLogin        = 17832
	numberUnsupported     = 40510
	numberWindowsLogin    = 40607
	numberServiceError    = 40197
	numberBadStream       = 4002
	numberDatabaseContext = 5701
	numberLanguageContext = 5703
)

// unsupported is SQL Database's refusal of what it does not have, by name.
func unsupported(name string) sqltype.Message {
	return sqltype.Message{Number: numberUnsupported, Class: 16, State: 1, Line: 1,
		Text: fmt.Sprintf("Statement '%s' is not supported in this version of SQL Server.", name)}
}

func windowsLogin() sqltype.Message {
	return sqltype.Message{Number: numberWindowsLogin, Class: 14, State: 1, Line: 1, Text: "Windows logins are not supported in this version of SQL Server."}
}

func badLogin() sqltype.Message {
	return sqltype.Message{Number: numberBadLogin, Class: 20, State: 2, Line: 1,
		Text: "The login packet used to open the connection is structurally invalid; the connection has been closed. Please contact the vendor of the client library."}
}

func badStream() sqltype.Message {
	return sqltype.Message{Number: numberBadStream, Class: 16, State: 1, Line: 1,
		Text: "The incoming tabular data stream (TDS) protocol stream is incorrect. The TDS headers contained errors, or a value was not in its place."}
}

// serviceError is what a client reads of an error that is the server's own.
// Its retry logic knows the number.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
func serviceError() sqltype.Message {
	return sqltype.Message{Number: numberServiceError, Class: 20, State: 1, Line: 1,
		Text: "The service has encountered an error processing your request. Please try again. Error code 823."}
}

func sessionLimit(limit int) sqltype.Message {
	return sqltype.Message{Number: numberSessionLimit, Class: 20, State: 1, Line: 1,
		Text: fmt.Sprintf("Resource ID : 2. The session limit for the database is %d and has been reached. See 'https://go.microsoft.com/fwlink/?LinkId=267637' for assistance.", limit)}
}
