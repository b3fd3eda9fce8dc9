package tsql

import (
	"bytes"
	"slices"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// The classes of securables, as in sys.database_permissions.
const (
	classDatabase  int32 = 0
	classObject    int32 = 1
	classSchema    int32 = 3
	classPrincipal int32 = 4
)

// userID is the principal_id that the session acts as.
func (s *Session) userID() int32 {
	if s.options.Principal.Admin {
		return dboID
	}
	return s.options.Principal.UserID
}

// isDBO says that nothing is denied to the session.
func (s *Session) isDBO() bool { return s.userID() == dboID }

// isAdmin says that the session is the server's administrator.
func (s *Session) isAdmin() bool { return s.options.Principal.Admin }

// userName is what USER_NAME answers.
func (s *Session) userName() string {
	if p, ok := s.definitions.principals[s.userID()]; ok {
		return p.Name
	}
	return "public"
}

// defaultSchema is the session's.
func (s *Session) defaultSchema() string {
	if s.definitions != nil {
		if p, ok := s.definitions.principals[s.userID()]; ok && p.DefaultSchema != "" {
			return p.DefaultSchema
		}
	}
	return "dbo"
}

// acting are all principals whose permissions the session has: its user,
// public, the roles that they are in, and the users of its Entra groups.
func (s *Session) acting() map[int32]bool {
	if s.actingOf == s.definitions && s.actingIDs != nil {
		return s.actingIDs
	}
	all := map[int32]bool{publicID: true, s.userID(): true}
	for id, p := range s.definitions.principals {
		for _, g := range s.options.Principal.Groups {
			if p.Type == "X" && bytes.Equal(p.SID, g[:]) {
				all[id] = true
			}
		}
	}
	for grown := true; grown; {
		grown = false
		for _, m := range s.definitions.members {
			if all[m.Member] && !all[m.Role] {
				all[m.Role], grown = true, true
			}
		}
	}
	s.actingOf, s.actingIDs = s.definitions, all
	return all
}

// inRole says whether the session is in a role of that ID.
func (s *Session) inRole(id int32) bool { return s.isDBO() || s.acting()[id] }

// covers says whether having permission a, at any scope, includes b.
// Source: https://learn.microsoft.com/sql/relational-databases/security/permissions-database-engine
func covers(a, b string) bool {
	if a == b || a == "CONTROL" {
		return true
	}
	switch a {
	case "ALTER":
		return slices.Contains([]string{"CREATE TABLE", "CREATE VIEW", "CREATE PROCEDURE", "CREATE ROLE", "CREATE SCHEMA", "ALTER ANY SCHEMA", "ALTER ANY USER", "ALTER ANY ROLE", "VIEW DEFINITION"}, b)
	case "ALTER ANY SCHEMA":
		return b == "ALTER"
	case "ALTER ANY ROLE":
		return b == "CREATE ROLE"
	case "VIEW DATABASE STATE":
		return b == "VIEW DATABASE PERFORMANCE STATE" || b == "VIEW DATABASE SECURITY STATE"
	}
	return false
}

// roleGives says what the fixed roles are granted.
// Source: https://learn.microsoft.com/sql/relational-databases/security/authentication-access/database-level-roles
func roleGives(role int32, permission string) bool {
	changes := permission == "INSERT" || permission == "UPDATE" || permission == "DELETE"
	switch role {
	case ownerRole:
		return true
	case readerRole:
		return permission == "SELECT"
	case writerRole:
		return changes
	case ddlAdminRole:
		return permission == "ALTER" || permission == "ALTER ANY SCHEMA" || permission == "CREATE TABLE" || permission == "CREATE VIEW" ||
			permission == "CREATE PROCEDURE" || permission == "CREATE SCHEMA" || permission == "VIEW DEFINITION"
	case accessAdminRole:
		return permission == "ALTER ANY USER" || permission == "CREATE SCHEMA"
	case securityRole:
		return permission == "ALTER ANY ROLE" || permission == "CREATE ROLE" || permission == "CREATE SCHEMA" || permission == "VIEW DEFINITION"
	default:
		return false
	}
}

func roleDenies(role int32, permission string) bool {
	switch role {
	case denyReaderRole:
		return permission == "SELECT"
	case denyWriterRole:
		return permission == "INSERT" || permission == "UPDATE" || permission == "DELETE"
	default:
		return false
	}
}

// has says whether the session has a permission on a securable; chain lists the
// securable and what it lies in.
func (s *Session) has(permission string, chain ...securable) bool {
	if s.isDBO() {
		return true
	}
	acting := s.acting()
	given := false
	for role := range acting {
		if roleDenies(role, permission) && chain[0].class != classDatabase {
			return false
		}
		given = given || roleGives(role, permission)
	}
	for _, g := range s.definitions.grants {
		if !acting[g.Grantee] || !slices.Contains(chain, securable{g.Class, g.Major}) {
			continue
		}
		if g.State == "D" && (g.Permission == permission || g.Permission == "CONTROL") {
			return false
		}
		given = given || g.State != "D" && covers(g.Permission, permission)
	}
	for _, at := range chain {
		if found, ok := s.definitions.schemas[at.major]; ok && at.class == classSchema && acting[found.Owner] {
			given = true
		}
	}
	return given
}

// securable is what a permission is on.
type securable struct {
	class, major int32
}

// hasDatabase says whether the session has a permission on the database.
func (s *Session) hasDatabase(permission string) bool {
	return s.has(permission, securable{classDatabase, 0})
}

// hasObject says whether the session has a permission on an object.
func (s *Session) hasObject(o *object, permission string) bool {
	return s.has(permission, s.chainOf(o)...)
}

func (s *Session) chainOf(o *object) []securable {
	chain := []securable{{classObject, o.ID}}
	schema, _ := o.qualified()
	if found, ok := s.definitions.schemaNamed(schema); ok {
		chain = append(chain, securable{classSchema, found.ID})
	}
	return append(chain, securable{classDatabase, 0})
}

// visible says whether the session may know of an object: it needs any
// permission on it.
// Source: https://learn.microsoft.com/sql/relational-databases/security/metadata-visibility-configuration
func (s *Session) visible(o *object) bool {
	if o == nil {
		return false
	}
	if s.isDBO() {
		return true
	}
	for _, permission := range []string{"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "ALTER", "VIEW DEFINITION", "REFERENCES", "CONTROL"} {
		if o.Procedure != nil && permission == "SELECT" {
			continue
		}
		if s.hasObject(o, permission) {
			return true
		}
	}
	return false
}

func (s *Session) mayViewDefinition(o *object) bool {
	return s.hasObject(o, "VIEW DEFINITION") || s.hasObject(o, "CONTROL")
}

// permit checks what a program touches: error 229. Inside a procedure the
// owners are taken to be the same, so that only the procedure's own permission
// counts; definitions are never chained.
// Source: https://learn.microsoft.com/sql/relational-databases/tutorial-ownership-chains-and-context-switching
func (s *Session) permit(uses []compile.Use) error {
	if s.isDBO() {
		return nil
	}
	for _, u := range uses {
		if s.frame.chained && u.Action != "ALTER" {
			continue
		}
		o, ok := s.definitions.objects[u.ObjectID]
		if !ok {
			continue // a system view, or a table of the session's own
		}
		err := s.permitObject(o, u.Action)
		if u.Action == "ALTER" {
			err = s.permitAlter(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// permitObject is error 229 unless the session has a permission on an object.
func (s *Session) permitObject(o *object, permission string) error {
	if s.frame.chained || s.hasObject(o, permission) {
		return nil
	}
	schema, name := o.qualified()
	return classed(14, 5, 229, "The %s permission was denied on the object '%s', database '%s', schema '%s'.", permission, name, s.options.Database.Name(), schema)
}

// permitDatabase is error 262 unless the session has a permission on the
// database.
func (s *Session) permitDatabase(permission string) error {
	if s.hasDatabase(permission) {
		return nil
	}
	return PermissionDenied(permission, s.options.Database.Name())
}

// StateDenied is the error of a dynamic management view for a user who may not
// see the database's state: 262 and 297.
func StateDenied(database string) error {
	return Messages{PermissionDenied("VIEW DATABASE STATE", database), message(297, "The user does not have permission to perform this action.")}
}

// PermissionDenied is error 262: the user lacks a permission in a database.
func PermissionDenied(permission, database string) sqltype.Message {
	return classed(14, 1, 262, "%s permission denied in database '%s'.", permission, database)
}

// permitCreate checks the permission to create in a schema.
func (s *Session) permitCreate(permission, schema string) error {
	if err := s.permitDatabase(permission); err != nil {
		return err
	}
	if schema == "" {
		schema = s.defaultSchema()
	}
	found, ok := s.definitions.schemaNamed(schema)
	if !ok || !s.has("ALTER", securable{classSchema, found.ID}, securable{classDatabase, 0}) {
		return message(2760, "The specified schema name \"%s\" either does not exist or you do not have permission to use it.", schema)
	}
	return nil
}

// permitAlter checks the permission to change an object.
func (s *Session) permitAlter(o *object) error {
	if s.hasObject(o, "ALTER") {
		return nil
	}
	_, name := o.qualified()
	return message(1088, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.", name)
}

func (s *Session) permitDrop(o *object, kind ast.ObjectKind, name ast.Name) error {
	if s.hasObject(o, "CONTROL") || s.hasObject(o, "ALTER") {
		return nil
	}
	return classed(14, 20, 3701, "Cannot drop the %s '%s', because it does not exist or you do not have permission.", dropWords[kind], qualify(name))
}
