package tsql

import "time"

// principal is a database user or role.
type principal struct {
	ID            int32     `json:"id"`
	Name          string    `json:"name"`
	Type          string    `json:"type"` // S, E, X, R as in sys.database_principals
	DefaultSchema string    `json:"default_schema,omitempty"`
	Created       time.Time `json:"created"`
	Modified      time.Time `json:"modified"`
	Owner         int32     `json:"owner,omitempty"`
	SID           []byte    `json:"sid,omitempty"`
	Fixed         bool      `json:"fixed,omitempty"`
	// Salt, Iterations and Hash are of a contained user's password.
	Salt       []byte `json:"salt,omitempty"`
	Iterations int    `json:"iterations,omitempty"`
	Hash       []byte `json:"hash,omitempty"`
	// Login is the name of the server login that the user is for.
	Login string `json:"login,omitempty"`
}

// membership says that a principal is in a role.
type membership struct {
	ID     int64 `json:"id"`
	Role   int32 `json:"role"`
	Member int32 `json:"member"`
}

// grant is a permission that was granted or denied.
type grant struct {
	ID         int64  `json:"id"`
	Grantee    int32  `json:"grantee"`
	Grantor    int32  `json:"grantor"`
	Class      int32  `json:"class"` // 0 database, 1 object, 3 schema, 4 principal
	Major      int32  `json:"major"` // object_id, schema_id
	Permission string `json:"permission"`
	State      string `json:"state"` // G, W (with grant option), D
}

// The principals that every database has.
const (
	publicID        int32 = 0
	dboID           int32 = 1
	guestID         int32 = 2
	firstUserID     int32 = 5
	firstFixedRole  int32 = 16384
	ownerRole       int32 = 16384
	accessAdminRole int32 = 16385
	securityRole    int32 = 16386
	ddlAdminRole    int32 = 16387
	backupRole      int32 = 16389
	readerRole      int32 = 16390
	writerRole      int32 = 16391
	denyReaderRole  int32 = 16392
	denyWriterRole  int32 = 16393
)

// fixedPrincipals are the principals that every database has.
// Source: https://learn.microsoft.com/sql/relational-databases/security/authentication-access/database-level-roles
func fixedPrincipals() []principal {
	created := time.Date(2003, 4, 8, 9, 10, 42, 287e6, time.UTC)
	role := func(id int32, name string) principal {
		return principal{ID: id, Name: name, Type: "R", Owner: dboID, Fixed: true, Created: created, Modified: created}
	}
	user := func(id int32, name, schema string) principal {
		return principal{ID: id, Name: name, Type: "S", DefaultSchema: schema, Fixed: true, Created: created, Modified: created}
	}
	return []principal{
		{ID: publicID, Name: "public", Type: "R", Owner: dboID, Fixed: true, Created: created, Modified: created},
		user(dboID, "dbo", "dbo"), user(guestID, "guest", "guest"),
		user(3, "INFORMATION_SCHEMA", ""), user(4, "sys", ""),
		role(ownerRole, "db_owner"), role(accessAdminRole, "db_accessadmin"), role(securityRole, "db_securityadmin"),
		role(ddlAdminRole, "db_ddladmin"), role(backupRole, "db_backupoperator"), role(readerRole, "db_datareader"),
		role(writerRole, "db_datawriter"), role(denyReaderRole, "db_denydatareader"), role(denyWriterRole, "db_denydatawriter"),
	}
}
