package ast

// CreateLogin is CREATE LOGIN.
type CreateLogin struct {
	Span
	Name             string
	Password         string
	PasswordHash     []byte // WITH PASSWORD = 0x… HASHED
	ExternalProvider bool
	Options          []Option // SID, OBJECT_ID, DEFAULT_DATABASE …
}

// AlterLogin is ALTER LOGIN.
type AlterLogin struct {
	Span
	Name        string
	State       string // ENABLE, DISABLE or empty
	Password    *string
	OldPassword string
	NewName     string
	Options     []Option
}

// CreateUser is CREATE USER.
type CreateUser struct {
	Span
	Name             string
	Login            string  // FOR LOGIN, FROM LOGIN; empty: see below, else the login of the same name
	Password         *string // a contained user
	WithoutLogin     bool
	ExternalProvider bool
	Options          []Option // DEFAULT_SCHEMA, SID, OBJECT_ID, TYPE …
}

// AlterUser is ALTER USER … WITH.
type AlterUser struct {
	Span
	Name        string
	NewName     string
	Login       string
	Password    *string
	OldPassword string
	Options     []Option // DEFAULT_SCHEMA …
}

// CreateRole is CREATE ROLE.
type CreateRole struct {
	Span
	Name  string
	Owner string
}

// AlterRole is ALTER ROLE; one of AddMember, DropMember, NewName is set.
type AlterRole struct {
	Span
	Name       string
	AddMember  string
	DropMember string
	NewName    string
}

// PermissionAction is GRANT, DENY or REVOKE.
type PermissionAction uint8

// What is done to permissions.
const (
	Grant PermissionAction = iota + 1
	Deny
	Revoke
)

// Permission is a permission, with columns when it is of some only.
type Permission struct {
	Pos
	Name    string // upper case, such as SELECT, VIEW DATABASE STATE, ALL
	Columns []Ident
}

// PermissionStatement is GRANT, DENY and REVOKE.
type PermissionStatement struct {
	Span
	Action         PermissionAction
	GrantOptionFor bool // REVOKE GRANT OPTION FOR
	Permissions    []Permission
	// Class is the class before :: in ON class::securable, upper case, such
	// as SCHEMA or DATABASE; OBJECT when it was left out, empty without ON.
	Class           string
	Securable       Name
	Columns         []Ident // after the securable
	Principals      []Ident
	WithGrantOption bool
	Cascade         bool
	As              string
}

func (*CreateLogin) statement()         {}
func (*AlterLogin) statement()          {}
func (*CreateUser) statement()          {}
func (*AlterUser) statement()           {}
func (*CreateRole) statement()          {}
func (*AlterRole) statement()           {}
func (*PermissionStatement) statement() {}
