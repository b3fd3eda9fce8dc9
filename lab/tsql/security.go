package tsql

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// defineSecurity carries out the statements about users, roles and permissions;
// ok is false for others.
func (s *Session) defineSecurity(ctx context.Context, stmt ast.Statement) (ok bool, err error) {
	switch stmt := stmt.(type) {
	case *ast.CreateUser:
		return true, s.createUser(ctx, stmt)
	case *ast.AlterUser:
		return true, s.write(ctx, func() error { return s.alterUser(stmt) })
	case *ast.CreateRole:
		return true, s.write(ctx, func() error { return s.createRole(stmt) })
	case *ast.AlterRole:
		return true, s.write(ctx, func() error { return s.alterRole(stmt) })
	case *ast.PermissionStatement:
		return true, s.write(ctx, func() error { return s.changePermissions(stmt) })
	}
	return false, nil
}

func cannotFindPrincipal(name string) sqltype.Message {
	return message(15151, "Cannot find the principal '%s', because it does not exist or you do not have permission.", name)
}

// principalNamed finds a user or a role.
func (s *Session) principalNamed(name string) (*principal, bool) {
	return s.definitions.principalNamed(name)
}

func (d *definitions) principalNamed(name string) (*principal, bool) {
	for _, p := range d.principals {
		if lower(p.Name) == lower(name) {
			return p, true
		}
	}
	return nil, false
}

// newPrincipalID is the lowest that is free.
func (s *Session) newPrincipalID() int32 {
	for id := firstUserID; ; id++ {
		if _, taken := s.definitions.principals[id]; !taken {
			return id
		}
	}
}

// createUser is CREATE USER.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-user-transact-sql
func (s *Session) createUser(ctx context.Context, stmt *ast.CreateUser) error {
	p := principal{Name: stmt.Name, Type: "S", DefaultSchema: "dbo"}
	for _, o := range stmt.Options {
		switch o.Name {
		case "DEFAULT_SCHEMA":
			p.DefaultSchema = optionText(o)
		case "OBJECT_ID", "SID", "TYPE":
			return refuse("CREATE USER WITH " + o.Name)
		case "DEFAULT_LANGUAGE", "ALLOW_ENCRYPTED_VALUE_MODIFICATIONS":
		default:
			return refuse("CREATE USER WITH " + o.Name)
		}
	}
	switch {
	case stmt.ExternalProvider:
		found, ok, err := s.options.Host.External(ctx, stmt.Name)
		if err != nil {
			return err
		}
		if !ok {
			return classed(16, 1, 33130, "Principal '%s' could not be found or this principal type is not supported.", stmt.Name)
		}
		p.Type, p.SID = "E", found.SID[:]
		if found.Group {
			p.Type = "X"
		}
	case stmt.Password != nil:
		if err := s.setPassword(&p, *stmt.Password); err != nil {
			return err
		}
	case stmt.WithoutLogin:
	default:
		return refuse("CREATE USER FOR LOGIN")
	}
	return s.write(ctx, func() error {
		if err := s.permitSecurity("ALTER ANY USER"); err != nil {
			return err
		}
		return s.addPrincipal(p)
	})
}

// permitSecurity is error 15247 unless the session may change principals.
func (s *Session) permitSecurity(permission string) error {
	if s.hasDatabase(permission) {
		return nil
	}
	return message(15247, "User does not have permission to perform this action.")
}

func optionText(o ast.Option) string {
	if l, ok := o.Value.(*ast.Literal); ok {
		return l.Text
	}
	return o.Word
}

func (s *Session) addPrincipal(p principal) error {
	if _, taken := s.principalNamed(p.Name); taken {
		return message(15023, "User, group, or role '%s' already exists in the current database.", p.Name)
	}
	now := s.options.Now().UTC()
	p.ID, p.Created, p.Modified = s.newPrincipalID(), now, now
	if err := s.put(kindPrincipal, int64(p.ID), p); err != nil {
		return err
	}
	if p.Type == "R" {
		return nil
	}
	return s.addGrant(grant{Grantee: p.ID, Grantor: dboID, Class: classDatabase, Permission: "CONNECT", State: "G"})
}

func (s *Session) alterUser(stmt *ast.AlterUser) error {
	p, ok := s.principalNamed(stmt.Name)
	own := ok && p.ID == s.userID() && stmt.Password != nil && stmt.NewName == "" && len(stmt.Options) == 0
	if !ok || p.Type == "R" || !own && !s.hasDatabase("ALTER ANY USER") {
		return message(15151, "Cannot alter the user '%s', because it does not exist or you do not have permission.", stmt.Name)
	}
	if p.Fixed {
		return message(15150, "Cannot alter the user '%s'.", stmt.Name)
	}
	changed := *p
	if stmt.Login != "" {
		return refuse("ALTER USER WITH LOGIN")
	}
	for _, o := range stmt.Options {
		if o.Name != "DEFAULT_SCHEMA" {
			return refuse("ALTER USER WITH " + o.Name)
		}
		changed.DefaultSchema = optionText(o)
	}
	if stmt.NewName != "" {
		if _, taken := s.principalNamed(stmt.NewName); taken {
			return message(15023, "User, group, or role '%s' already exists in the current database.", stmt.NewName)
		}
		changed.Name = stmt.NewName
	}
	if stmt.Password != nil {
		if own && !p.checkPassword(stmt.OldPassword) && !s.hasDatabase("ALTER ANY USER") {
			return message(15151, "Cannot alter the user '%s', because it does not exist or you do not have permission.", stmt.Name)
		}
		if err := s.setPassword(&changed, *stmt.Password); err != nil {
			return err
		}
	}
	changed.Modified = s.options.Now().UTC()
	return s.put(kindPrincipal, int64(p.ID), changed)
}

func (s *Session) createRole(stmt *ast.CreateRole) error {
	if err := s.permitSecurity("CREATE ROLE"); err != nil {
		return err
	}
	owner := s.userID()
	if stmt.Owner != "" {
		p, ok := s.principalNamed(stmt.Owner)
		if !ok {
			return cannotFindPrincipal(stmt.Owner)
		}
		owner = p.ID
	}
	return s.addPrincipal(principal{Name: stmt.Name, Type: "R", Owner: owner})
}

func (s *Session) alterRole(stmt *ast.AlterRole) error {
	if stmt.NewName != "" {
		return refuse("ALTER ROLE WITH NAME")
	}
	member := stmt.AddMember + stmt.DropMember
	return s.changeMember(stmt.Name, member, stmt.AddMember != "")
}

func (s *Session) changeMember(roleName, memberName string, add bool) error {
	role, ok := s.principalNamed(roleName)
	allowed := ok && (s.hasDatabase("ALTER ANY ROLE") && role.ID != ownerRole || s.inRole(ownerRole) || s.acting()[role.Owner] && !role.Fixed)
	if !ok || role.Type != "R" || !allowed {
		return message(15151, "Cannot alter the role '%s', because it does not exist or you do not have permission.", roleName)
	}
	member, ok := s.principalNamed(memberName)
	if !ok {
		return cannotFindPrincipal(memberName)
	}
	if member.ID == dboID || role.ID == publicID || member.Fixed && member.Type == "R" {
		return message(15405, "Cannot use the special principal '%s'.", memberName)
	}
	if add && (member.ID == role.ID || s.contains(member.ID, role.ID)) {
		return message(15413, "Cannot make a role a member of itself.")
	}
	for _, m := range s.definitions.members {
		if m.Role == role.ID && m.Member == member.ID {
			if add {
				return nil
			}
			return s.remove(kindMember, m.ID)
		}
	}
	if !add {
		return nil
	}
	id := int64(role.ID)<<32 | int64(member.ID)
	return s.put(kindMember, id, membership{ID: id, Role: role.ID, Member: member.ID})
}

// contains says whether a role has a member, directly or through others.
func (s *Session) contains(role, member int32) bool {
	for _, m := range s.definitions.members {
		if m.Role == role && (m.Member == member || s.contains(m.Member, member)) {
			return true
		}
	}
	return false
}

func addRoleMember(ctx context.Context, s *Session, call invocation) (int32, error) {
	role, _ := call.text(0, "@rolename")
	member, _ := call.text(1, "@membername")
	return 0, s.write(ctx, func() error { return s.changeMember(role, member, true) })
}

func dropRoleMember(ctx context.Context, s *Session, call invocation) (int32, error) {
	role, _ := call.text(0, "@rolename")
	member, _ := call.text(1, "@membername")
	return 0, s.write(ctx, func() error { return s.changeMember(role, member, false) })
}

// dropPrincipal is DROP USER and DROP ROLE.
func (s *Session) dropPrincipal(stmt *ast.DropObject, name string) error {
	word := dropWords[stmt.Kind]
	permission := "ALTER ANY USER"
	if stmt.Kind == ast.RoleObject {
		permission = "ALTER ANY ROLE"
	}
	p, ok := s.principalNamed(name)
	if !ok && stmt.IfExists {
		return nil
	}
	if !ok || (p.Type == "R") != (stmt.Kind == ast.RoleObject) || !s.hasDatabase(permission) {
		return message(15151, "Cannot drop the %s '%s', because it does not exist or you do not have permission.", word, name)
	}
	if p.Fixed {
		return message(15150, "Cannot drop the %s '%s'.", word, name)
	}
	for _, found := range s.definitions.schemas {
		if found.Owner == p.ID {
			return message(15138, "The database principal owns a schema in the database, and cannot be dropped.")
		}
	}
	for _, m := range s.definitions.members {
		if m.Role == p.ID {
			return message(15144, "The role has members. It must be empty before it can be dropped.")
		}
	}
	return s.forget(p)
}

// forget removes a principal with its memberships and grants.
func (s *Session) forget(p *principal) error {
	for _, m := range s.definitions.members {
		if m.Member == p.ID {
			if err := s.remove(kindMember, m.ID); err != nil {
				return err
			}
		}
	}
	for _, g := range s.definitions.grants {
		if g.Grantee == p.ID {
			if err := s.remove(kindGrant, g.ID); err != nil {
				return err
			}
		}
	}
	return s.remove(kindPrincipal, int64(p.ID))
}

// securityFunctions are USER_NAME and its kin.
func securityFunctions() map[string]function {
	text := []sqltype.Type{sysname}
	user := func(s *Session, _ []any) (any, error) { return s.userName(), nil }
	login := func(s *Session, _ []any) (any, error) { return s.options.Principal.Login, nil }
	return map[string]function{
		"USER_NAME":             {least: 0, most: 1, args: []sqltype.Type{intType}, result: sysname, call: userNameOf},
		"USER_ID":               {least: 0, most: 1, args: text, result: intType, call: userIDOf},
		"DATABASE_PRINCIPAL_ID": {least: 0, most: 1, args: text, result: intType, call: userIDOf},
		"USER":                  {result: sysname, call: user},
		"CURRENT_USER":          {result: sysname, call: user},
		"SESSION_USER":          {result: sysname, call: user},
		"SYSTEM_USER":           {result: sysname, call: login},
		"SUSER_SNAME":           {least: 0, most: 1, args: []sqltype.Type{varbinary(85)}, result: sysname, call: loginOf},
		"SUSER_NAME":            {least: 0, most: 1, args: []sqltype.Type{intType}, result: sysname, call: loginOf},
		"ORIGINAL_LOGIN":        {result: sysname, call: login},
		"SUSER_ID":              {least: 0, most: 1, args: text, result: intType, call: func(*Session, []any) (any, error) { return nil, nil }},
		"IS_MEMBER":             {least: 1, most: 1, args: text, result: intType, call: isMember},
		"IS_ROLEMEMBER":         {least: 1, most: 2, args: text, result: intType, call: isRoleMember},
		"IS_SRVROLEMEMBER": {least: 1, most: 2, args: text, result: intType, call: func(_ *Session, args []any) (any, error) {
			name, _ := argText(args, 0)
			if lower(name) == "public" {
				return int64(1), nil
			}
			if lower(name) == "sysadmin" || strings.HasPrefix(lower(name), "##ms_") {
				return int64(0), nil
			}
			return nil, nil
		}},
		"HAS_DBACCESS":      {least: 1, most: 1, args: text, result: intType, call: hasAccess},
		"HAS_PERMS_BY_NAME": {least: 3, most: 5, args: []sqltype.Type{nvarchar(776), sysname}, result: intType, call: hasPermission},
	}
}

func userNameOf(s *Session, args []any) (any, error) {
	if len(args) == 0 {
		return s.userName(), nil
	}
	id, ok := argInt(args, 0)
	if p, found := s.definitions.principals[int32(id)]; ok && found {
		return p.Name, nil
	}
	return nil, nil
}

func userIDOf(s *Session, args []any) (any, error) {
	if len(args) == 0 {
		return int64(s.userID()), nil
	}
	name, ok := argText(args, 0)
	if p, found := s.principalNamed(name); ok && found {
		return int64(p.ID), nil
	}
	return nil, nil
}

func loginOf(s *Session, args []any) (any, error) {
	if len(args) == 0 {
		return s.options.Principal.Login, nil
	}
	return nil, nil
}

func isMember(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	p, found := s.principalNamed(name)
	if !ok || !found || p.Type != "R" && p.Type != "X" {
		return nil, nil
	}
	return bit(s.acting()[p.ID] || s.isDBO() && p.ID == ownerRole), nil
}

func isRoleMember(s *Session, args []any) (any, error) {
	if len(args) == 1 {
		return isMember(s, args)
	}
	role, _ := argText(args, 0)
	name, _ := argText(args, 1)
	r, ok := s.principalNamed(role)
	p, found := s.principalNamed(name)
	if !ok || !found || r.Type != "R" {
		return nil, nil
	}
	return bit(r.ID == publicID || r.ID == p.ID || s.contains(r.ID, p.ID)), nil
}

func hasAccess(s *Session, args []any) (any, error) {
	name, ok := argText(args, 0)
	if !ok {
		return nil, nil
	}
	if lower(name) == lower(s.options.Database.Name()) {
		return int64(1), nil
	}
	known := slices.ContainsFunc(s.options.Host.Databases(s.info()), func(d DatabaseName) bool { return lower(d.Name) == lower(name) })
	if !known {
		return nil, nil
	}
	return bit(s.isAdmin()), nil
}

// hasPermission is HAS_PERMS_BY_NAME.
// Source: https://learn.microsoft.com/sql/t-sql/functions/has-perms-by-name-transact-sql
func hasPermission(s *Session, args []any) (any, error) {
	name, named := argText(args, 0)
	class, classed := argText(args, 1)
	permission, ok := argText(args, 2)
	if !ok {
		return nil, nil
	}
	permission = strings.ToUpper(permission)
	if permission == "ANY" {
		permission = "CONNECT"
	}
	switch class = strings.ToUpper(class); {
	case !classed || class == "DATABASE":
		if named && lower(name) != lower(s.options.Database.Name()) {
			return bit(s.isAdmin()), nil
		}
		return bit(s.hasDatabase(permission)), nil
	case class == "OBJECT":
		o, found := s.objectNamed(name)
		if !found {
			return nil, nil
		}
		return bit(s.hasObject(o, permission)), nil
	case class == "SCHEMA":
		found, ok := s.definitions.schemaNamed(strings.Trim(name, "[]"))
		if !ok {
			return nil, nil
		}
		return bit(s.has(permission, securable{classSchema, found.ID}, securable{classDatabase, 0})), nil
	default:
		return nil, nil
	}
}

// principalsByID are the principals in order.
func (d *definitions) principalsByID() []*principal {
	return slices.SortedFunc(maps.Values(d.principals), func(a, b *principal) int { return int(a.ID) - int(b.ID) })
}
