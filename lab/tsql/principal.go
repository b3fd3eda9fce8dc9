package tsql

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Principal is who a session acts for.
type Principal struct {
	// Login is what SUSER_SNAME answers.
	Login string
	// Admin says that it is the server's administrator, or its Microsoft Entra
	// administrator: it acts as dbo in every database.
	Admin bool
	// UserID is the principal_id of the database user; unused for an
	// administrator.
	UserID int32
	// External says that it signed in through Microsoft Entra ID.
	External bool
	// SID is the object id or application id of an External principal.
	SID sqltype.GUID
	// Groups are the object ids of the groups that an External principal is in.
	Groups []sqltype.GUID
}
