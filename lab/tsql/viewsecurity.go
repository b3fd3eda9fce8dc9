package tsql

import (
	"cmp"
	"maps"
	"slices"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// securityViews are the views of principals and their permissions.
func securityViews() []*systemView {
	return []*systemView{
		view("sys", "database_principals", []sqltype.Column{
			column("name", sysname), column("principal_id", intType), column("type", char(1)), column("type_desc", nvarchar(60)), column("default_schema_name", sysname),
			column("create_date", dateTimeType), column("modify_date", dateTimeType), column("owning_principal_id", intType), column("sid", varbinary(85)), column("is_fixed_role", bitType),
			column("authentication_type", intType), column("authentication_type_desc", nvarchar(60)), column("default_language_name", sysname), column("default_language_lcid", intType),
			column("allow_encrypted_value_modifications", bitType),
		}, principalRows),
		view("sys", "database_role_members", []sqltype.Column{column("role_principal_id", intType), column("member_principal_id", intType)}, memberRows),
		view("sys", "database_permissions", []sqltype.Column{
			column("class", tinyType), column("class_desc", nvarchar(60)), column("major_id", intType), column("minor_id", intType), column("grantee_principal_id", intType),
			column("grantor_principal_id", intType), column("type", char(4)), column("permission_name", nvarchar(128)), column("state", char(1)), column("state_desc", nvarchar(60)),
		}, grantRows),
	}
}

// schemasByID are the schemas in order.
func (d *definitions) schemasByID() []*schema {
	return slices.SortedFunc(maps.Values(d.schemas), func(a, b *schema) int { return cmp.Compare(a.ID, b.ID) })
}

// seesPrincipals says whether the session may see all users: others see
// themselves and the fixed ones.
func (s *Session) seesPrincipals() bool {
	return s.hasDatabase("VIEW DEFINITION") || s.hasDatabase("ALTER ANY USER") || s.hasDatabase("ALTER ANY ROLE")
}

func principalRows(s *Session) ([][]any, error) {
	kinds := map[string]string{"S": "SQL_USER", "E": "EXTERNAL_USER", "X": "EXTERNAL_GROUP", "R": "DATABASE_ROLE"}
	var rows [][]any
	all := s.seesPrincipals()
	for _, p := range s.definitions.principalsByID() {
		if !all && !p.Fixed && !s.acting()[p.ID] {
			continue
		}
		how, howName := int64(0), "NONE"
		switch {
		case p.Type == "E" || p.Type == "X":
			how, howName = 4, "EXTERNAL"
		case len(p.Hash) > 0:
			how, howName = 2, "DATABASE"
		case p.ID == dboID:
			how, howName = 1, "INSTANCE"
		}
		var owner, sid any
		if p.Owner != 0 {
			owner = int64(p.Owner)
		}
		if len(p.SID) > 0 {
			sid = storedSID(p.SID)
		}
		rows = append(rows, []any{p.Name, int64(p.ID), p.Type, kinds[p.Type], nameOrNil(p.DefaultSchema), p.Created, p.Modified, owner, sid,
			p.Fixed && p.ID >= firstFixedRole, how, howName, nil, nil, false})
	}
	return rows, nil
}

// storedSID is a principal's object id as a uniqueidentifier's bytes lie: the
// first three groups are reversed.
func storedSID(id []byte) []byte {
	b := slices.Clone(id)
	if len(b) != 16 {
		return b
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return b
}

func memberRows(s *Session) ([][]any, error) {
	var rows [][]any
	all := s.seesPrincipals()
	for _, m := range s.definitions.members {
		if all || s.acting()[m.Member] {
			rows = append(rows, []any{int64(m.Role), int64(m.Member)})
		}
	}
	return rows, nil
}

// permissionTypes are the letters of permissions.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-permissions-transact-sql
var permissionTypes = map[string]string{
	"SELECT": "SL", "INSERT": "IN", "UPDATE": "UP", "DELETE": "DL", "EXECUTE": "EX", "REFERENCES": "RF", "ALTER": "AL", "CONTROL": "CL",
	"VIEW DEFINITION": "VW", "TAKE OWNERSHIP": "TO", "CONNECT": "CO", "VIEW DATABASE STATE": "VWDS", "CREATE TABLE": "CRTB", "CREATE VIEW": "CRVW",
	"CREATE PROCEDURE": "CRPR", "CREATE ROLE": "CRRL", "CREATE SCHEMA": "CRSM", "ALTER ANY USER": "ALUS", "ALTER ANY ROLE": "ALRL", "ALTER ANY SCHEMA": "ALSM",
	"KILL DATABASE CONNECTION": "KIDC", "SHOWPLAN": "SPLN", "VIEW DATABASE PERFORMANCE STATE": "VDP", "VIEW DATABASE SECURITY STATE": "VDSS",
}

func grantRows(s *Session) ([][]any, error) {
	classes := map[int32]string{classDatabase: "DATABASE", classObject: "OBJECT_OR_COLUMN", classSchema: "SCHEMA", classPrincipal: "DATABASE_PRINCIPAL"}
	states := map[string]string{"G": "GRANT", "W": "GRANT_WITH_GRANT_OPTION", "D": "DENY"}
	var rows [][]any
	all := s.seesPrincipals()
	for _, g := range s.definitions.grants {
		if !all && !s.acting()[g.Grantee] {
			continue
		}
		rows = append(rows, []any{int64(g.Class), classes[g.Class], int64(g.Major), int64(0), int64(g.Grantee), int64(g.Grantor),
			permissionTypes[g.Permission], g.Permission, g.State, states[g.State]})
	}
	return rows, nil
}
