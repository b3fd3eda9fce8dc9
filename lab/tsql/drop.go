package tsql

import (
	"context"
	"slices"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// dropWords are the words with which errors name a kind of object.
var dropWords = map[ast.ObjectKind]string{
	ast.TableObject: "table", ast.ViewObject: "view", ast.ProcedureObject: "procedure", ast.SchemaObject: "schema",
	ast.UserObject: "user", ast.RoleObject: "role", ast.DatabaseObject: "database", ast.LoginObject: "login",
}

// dropObjects is DROP of objects; each name is a change of its own.
func (s *Session) dropObjects(ctx context.Context, stmt *ast.DropObject) error {
	if stmt.Kind == ast.DatabaseObject {
		return s.databaseStatement(ctx, stmt)
	}
	if stmt.Kind == ast.LoginObject {
		return refuse("DROP LOGIN")
	}
	for _, name := range stmt.Names {
		err := s.within(ctx, reachOfName(name.Object), func() error { return s.dropOne(ctx, stmt, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) dropOne(ctx context.Context, stmt *ast.DropObject, name ast.Name) error {
	switch stmt.Kind {
	case ast.SchemaObject:
		return s.dropSchema(stmt, name.Object)
	case ast.UserObject, ast.RoleObject:
		return s.dropPrincipal(stmt, name.Object)
	case ast.TableObject:
		if t, ok := s.temporary[lower(name.Object)]; ok {
			return s.dropTemporary(ctx, t.table, name)
		}
	default:
	}
	o, ok := (reader{s}).find(name.Schema, name.Object)
	if !ok || !s.visible(o) {
		if stmt.IfExists {
			return nil
		}
		return classed(11, 5, 3701, "Cannot drop the %s '%s', because it does not exist or you do not have permission.", dropWords[stmt.Kind], qualify(name))
	}
	if kindOfObject(o) != stmt.Kind {
		return message(3705, "Cannot use DROP %s with '%s' because '%s' is a %s. Use DROP %s.", upperWord(stmt.Kind), qualify(name), qualify(name), dropWords[kindOfObject(o)], upperWord(kindOfObject(o)))
	}
	if err := s.permitDrop(o, stmt.Kind, name); err != nil {
		return err
	}
	return s.dropObject(ctx, o, name)
}

func kindOfObject(o *object) ast.ObjectKind {
	switch {
	case o.Table != nil:
		return ast.TableObject
	case o.View != nil:
		return ast.ViewObject
	default:
		return ast.ProcedureObject
	}
}

func upperWord(k ast.ObjectKind) string {
	switch k {
	case ast.TableObject:
		return "TABLE"
	case ast.ViewObject:
		return "VIEW"
	default:
		return "PROCEDURE"
	}
}

func (s *Session) dropObject(ctx context.Context, o *object, name ast.Name) error {
	if o.Table != nil {
		others := slices.DeleteFunc(s.referencing(o.Table), func(t *catalog.Table) bool { return t.ObjectID == o.ID })
		if len(others) > 0 {
			return message(3726, "Could not drop object '%s' because it is referenced by a FOREIGN KEY constraint.", qualify(name))
		}
		d, err := compile.DropTable(name.Pos, o.Table, s.scope())
		if err != nil {
			return err
		}
		if err := s.runDefinition(ctx, d); err != nil {
			return err
		}
		if err := s.forgetIdentity(o.Table); err != nil {
			return err
		}
	}
	for _, g := range s.definitions.grants {
		if g.Class == classObject && g.Major == o.ID {
			if err := s.remove(kindGrant, g.ID); err != nil {
				return err
			}
		}
	}
	return s.remove(kindObject, int64(o.ID))
}

// referencing are the tables with a foreign key to a table, itself perhaps
// among them.
func (s *Session) referencing(t *catalog.Table) []*catalog.Table {
	var all []*catalog.Table
	for _, o := range s.definitions.sorted() {
		if o.Table == nil {
			continue
		}
		for _, f := range o.Table.ForeignKeys {
			if lower(f.RefSchema) == lower(t.Schema) && lower(f.RefTable) == lower(t.Name) {
				all = append(all, o.Table)
				break
			}
		}
	}
	return all
}

func (s *Session) dropTemporary(ctx context.Context, t *catalog.Table, name ast.Name) error {
	d, err := compile.DropTable(name.Pos, t, s.scope())
	if err != nil {
		return err
	}
	if err := s.runDefinition(ctx, d); err != nil {
		return err
	}
	s.forgetTemporary(lower(t.Name))
	s.tables++
	return s.forgetIdentity(t)
}

func (s *Session) dropSchema(stmt *ast.DropObject, name string) error {
	found, ok := s.definitions.schemaNamed(name)
	if !ok {
		if stmt.IfExists {
			return nil
		}
		return message(15151, "Cannot drop the schema '%s', because it does not exist or you do not have permission.", name)
	}
	if found.ID < firstUserID || found.ID >= firstFixedRole {
		return message(15150, "Cannot drop the schema '%s'.", name)
	}
	if err := s.permitDatabase("ALTER ANY SCHEMA"); err != nil {
		return message(15151, "Cannot drop the schema '%s', because it does not exist or you do not have permission.", name)
	}
	for _, o := range s.definitions.sorted() {
		if schema, object := o.qualified(); lower(schema) == lower(name) {
			return message(3729, "Cannot drop schema '%s' because it is being referenced by object '%s'.", name, object)
		}
	}
	return s.remove(kindSchema, int64(found.ID))
}
