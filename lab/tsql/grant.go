package tsql

import (
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// permissions are those that can be granted, with the classes that they apply to.
// Source: https://learn.microsoft.com/sql/relational-databases/security/permissions-database-engine
var permissions = map[string][]int32{
	"SELECT":                          {classDatabase, classSchema, classObject},
	"INSERT":                          {classDatabase, classSchema, classObject},
	"UPDATE":                          {classDatabase, classSchema, classObject},
	"DELETE":                          {classDatabase, classSchema, classObject},
	"EXECUTE":                         {classDatabase, classSchema, classObject},
	"REFERENCES":                      {classDatabase, classSchema, classObject},
	"ALTER":                           {classDatabase, classSchema, classObject, classPrincipal},
	"CONTROL":                         {classDatabase, classSchema, classObject, classPrincipal},
	"VIEW DEFINITION":                 {classDatabase, classSchema, classObject, classPrincipal},
	"TAKE OWNERSHIP":                  {classDatabase, classSchema, classObject},
	"CONNECT":                         {classDatabase},
	"VIEW DATABASE STATE":             {classDatabase},
	"CREATE TABLE":                    {classDatabase},
	"CREATE VIEW":                     {classDatabase},
	"CREATE PROCEDURE":                {classDatabase},
	"CREATE ROLE":                     {classDatabase},
	"CREATE SCHEMA":                   {classDatabase},
	"ALTER ANY USER":                  {classDatabase},
	"ALTER ANY ROLE":                  {classDatabase},
	"ALTER ANY SCHEMA":                {classDatabase},
	"KILL DATABASE CONNECTION":        {classDatabase},
	"SHOWPLAN":                        {classDatabase},
	"VIEW DATABASE PERFORMANCE STATE": {classDatabase},
	"VIEW DATABASE SECURITY STATE":    {classDatabase},
}

// changePermissions is GRANT, DENY and REVOKE.
func (s *Session) changePermissions(stmt *ast.PermissionStatement) error {
	if len(stmt.Columns) > 0 {
		return refuse("permissions on columns")
	}
	if stmt.As != "" {
		return refuse("GRANT AS")
	}
	at, o, err := s.securableOf(stmt)
	if err != nil {
		return err
	}
	if !s.mayGrant(at, o) {
		return s.cannotFind(stmt)
	}
	for _, p := range stmt.Permissions {
		names, err := permissionNames(p, at.class, o)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := s.changePermission(stmt, at, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// permissionNames are the permissions that a word stands for.
func permissionNames(p ast.Permission, class int32, o *object) ([]string, error) {
	if len(p.Columns) > 0 {
		return nil, refuse("permissions on columns")
	}
	name := strings.TrimSuffix(p.Name, " PRIVILEGES")
	switch name {
	case "ALL":
		switch {
		case class == classDatabase:
			return []string{"CREATE PROCEDURE", "CREATE TABLE", "CREATE VIEW"}, nil
		case o != nil && o.Procedure != nil:
			return []string{"EXECUTE"}, nil
		default:
			return []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"}, nil
		}
	case "EXEC":
		name = "EXECUTE"
	case "CREATE PROC":
		name = "CREATE PROCEDURE"
	}
	classes, ok := permissions[name]
	if !ok {
		return nil, refuse("permission " + name)
	}
	tableOnly := name == "SELECT" || name == "INSERT" || name == "UPDATE" || name == "DELETE"
	if !slices.Contains(classes, class) || o != nil && (o.Procedure != nil && tableOnly || o.Procedure == nil && name == "EXECUTE") {
		return nil, message(4606, "Granted or revoked privilege %s is not compatible with object.", name)
	}
	return []string{name}, nil
}

// securableOf finds what a permission statement is on.
func (s *Session) securableOf(stmt *ast.PermissionStatement) (securable, *object, error) {
	switch stmt.Class {
	case "", "DATABASE":
		return securable{classDatabase, 0}, nil, nil
	case "OBJECT":
		o, ok := (reader{s}).find(stmt.Securable.Schema, stmt.Securable.Object)
		if !ok || !s.visible(o) {
			return securable{}, nil, s.cannotFind(stmt)
		}
		return securable{classObject, o.ID}, o, nil
	case "SCHEMA":
		found, ok := s.definitions.schemaNamed(stmt.Securable.Object)
		if !ok {
			return securable{}, nil, s.cannotFind(stmt)
		}
		return securable{classSchema, found.ID}, nil, nil
	case "USER", "ROLE":
		p, ok := s.principalNamed(stmt.Securable.Object)
		if !ok {
			return securable{}, nil, s.cannotFind(stmt)
		}
		return securable{classPrincipal, p.ID}, nil, nil
	default:
		return securable{}, nil, refuse("permissions ON " + stmt.Class)
	}
}

func (s *Session) cannotFind(stmt *ast.PermissionStatement) error {
	switch stmt.Class {
	case "", "DATABASE":
		return classed(16, 1, 4613, "Grantor does not have GRANT permission.")
	case "OBJECT":
		return message(15151, "Cannot find the object '%s', because it does not exist or you do not have permission.", stmt.Securable.Object)
	default:
		return message(15151, "Cannot find the %s '%s', because it does not exist or you do not have permission.", strings.ToLower(stmt.Class), stmt.Securable.Object)
	}
}

// mayGrant says whether the session may give permissions on a securable away: it
// needs CONTROL, as owners and db_securityadmin have.
func (s *Session) mayGrant(at securable, o *object) bool {
	if s.inRole(securityRole) || s.inRole(ownerRole) {
		return true
	}
	if o != nil {
		return s.hasObject(o, "CONTROL")
	}
	return s.has("CONTROL", at, securable{classDatabase, 0})
}

func (s *Session) changePermission(stmt *ast.PermissionStatement, at securable, name string) error {
	for _, grantee := range stmt.Principals {
		p, ok := s.principalNamed(grantee.Name)
		if !ok {
			return cannotFindPrincipal(grantee.Name)
		}
		if p.ID == dboID || p.ID == s.userID() || p.Fixed && p.ID != publicID && p.ID != guestID {
			return message(4604, "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.")
		}
		if err := s.changeGrant(stmt, at, name, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) changeGrant(stmt *ast.PermissionStatement, at securable, name string, grantee int32) error {
	var old *grant
	for i := range s.definitions.grants {
		g := &s.definitions.grants[i]
		if g.Grantee == grantee && g.Class == at.class && g.Major == at.major && g.Permission == name {
			old = g
		}
	}
	g := grant{Grantee: grantee, Grantor: s.userID(), Class: at.class, Major: at.major, Permission: name}
	switch {
	case stmt.Action == ast.Revoke && old == nil:
		return nil
	case stmt.Action == ast.Revoke && stmt.GrantOptionFor:
		g.State = "G"
	case stmt.Action == ast.Revoke:
		return s.remove(kindGrant, old.ID)
	case stmt.Action == ast.Deny:
		g.State = "D"
	case stmt.WithGrantOption:
		g.State = "W"
	default:
		g.State = "G"
	}
	if old != nil {
		g.ID = old.ID
		return s.put(kindGrant, g.ID, g)
	}
	return s.addGrant(g)
}

func (s *Session) addGrant(g grant) error {
	for _, other := range s.definitions.grants {
		g.ID = max(g.ID, other.ID)
	}
	g.ID++
	return s.put(kindGrant, g.ID, g)
}
