package compile

import (
	"fmt"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// message is an error of class 16 about a place in the batch.
func message(pos ast.Pos, number int32, format string, args ...any) sqltype.Message {
	return sqltype.Message{Number: number, State: 1, Class: 16, Text: fmt.Sprintf(format, args...), Line: int32(pos.Line)}
}

// refuse is the answer to a construct outside the subset.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors (40517)
func refuse(pos ast.Pos, construct string) sqltype.Message {
	return message(pos, 40517, "Keyword or statement option '%s' is not supported in this version of SQL Server.", construct)
}
