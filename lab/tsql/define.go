package tsql

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// define carries out the statements that change the catalog; ok is false for
// others.
func (s *Session) define(ctx context.Context, stmt ast.Statement) (ok bool, err error) {
	if s.settings.doubleQuotedStrings && keepsText(stmt) && strings.Contains(s.frame.text.batch.Source(stmt), `"`) {
		return true, s.compileFailure(refuse("definition with \"…\" and QUOTED_IDENTIFIER OFF"))
	}
	for _, name := range namesOf(stmt) {
		if err := s.isHere(name); err != nil {
			return true, err
		}
	}
	switch stmt := stmt.(type) {
	case *ast.CreateTable:
		return true, s.within(ctx, reachOfName(stmt.Name.Object), func() error { return s.createTable(ctx, stmt) })
	case *ast.AlterTable:
		return true, s.within(ctx, reachOfName(stmt.Name.Object), func() error { return s.alterTable(ctx, stmt) })
	case *ast.CreateIndex:
		return true, s.within(ctx, reachOfName(stmt.Table.Object), func() error { return s.createIndex(ctx, stmt) })
	case *ast.DropIndex:
		return true, s.dropIndexes(ctx, stmt)
	case *ast.DropObject:
		return true, s.dropObjects(ctx, stmt)
	case *ast.CreateView:
		return true, s.write(ctx, func() error { return s.createView(ctx, stmt) })
	case *ast.CreateProcedure:
		return true, s.write(ctx, func() error { return s.createProcedure(stmt) })
	case *ast.CreateSchema:
		return true, s.write(ctx, func() error { return s.createSchema(stmt) })
	}
	return s.defineSecurity(ctx, stmt)
}

// keepsText says whether the catalog keeps text of a definition, to be read
// again with QUOTED_IDENTIFIER ON.
func keepsText(stmt ast.Statement) bool {
	switch stmt.(type) {
	case *ast.CreateTable, *ast.AlterTable, *ast.CreateIndex, *ast.CreateView:
		return true
	default:
		return false
	}
}

// namesOf are the names of objects that a definition is about.
func namesOf(stmt ast.Statement) []ast.Name {
	switch stmt := stmt.(type) {
	case *ast.CreateTable:
		return []ast.Name{stmt.Name}
	case *ast.AlterTable:
		return []ast.Name{stmt.Name}
	case *ast.CreateIndex:
		return []ast.Name{stmt.Table}
	case *ast.DropIndex:
		names := make([]ast.Name, len(stmt.Items))
		for i, item := range stmt.Items {
			names[i] = item.Table
		}
		return names
	case *ast.DropObject:
		return stmt.Names
	case *ast.CreateView:
		return []ast.Name{stmt.Name}
	case *ast.CreateProcedure:
		return []ast.Name{stmt.Name}
	case *ast.PermissionStatement:
		return []ast.Name{stmt.Securable}
	default:
		return nil
	}
}

// isHere is error 40515 for a name of another database.
func (s *Session) isHere(name ast.Name) error {
	inTemp := strings.HasPrefix(name.Object, "#") && lower(name.Database) == "tempdb"
	if name.Server == "" && (name.Database == "" || lower(name.Database) == lower(s.options.Database.Name()) || inTemp) {
		return nil
	}
	return s.compileFailure(message(40515, "Reference to database and/or server name in '%s' is not supported in this version of SQL Server.", strings.NewReplacer("[", "", "]", "").Replace(name.String())))
}

// runDefinition runs what makes an object in the engine.
func (s *Session) runDefinition(ctx context.Context, d *compile.Definition) error {
	for _, p := range d.Before {
		if _, err := s.runProgram(ctx, p, s.environment()); err != nil {
			return err
		}
	}
	for _, sql := range d.DDL {
		if err := s.conn.Exec(sql); err != nil {
			return s.fromEngine(fmt.Errorf("define an object: %w", err))
		}
	}
	for _, p := range d.After {
		if _, err := s.runProgram(ctx, p, s.environment()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) createTable(ctx context.Context, stmt *ast.CreateTable) error {
	if reachOfName(stmt.Name.Object) == reachDatabase {
		if err := s.permitCreate("CREATE TABLE", stmt.Name.Schema); err != nil {
			return err
		}
	}
	if err := s.nameIsFree(stmt.Name); err != nil {
		return err
	}
	d, err := compile.CreateTable(stmt, s.scope())
	if err != nil {
		return err
	}
	if err := s.runDefinition(ctx, d); err != nil {
		return err
	}
	return s.enterTable(d.Table)
}

// nameIsFree is error 2714 unless nothing has the name.
func (s *Session) nameIsFree(name ast.Name) error {
	if reachOfName(name.Object) == reachSession {
		if s.temporaryHere(name.Object) {
			return classed(16, 6, 2714, "There is already an object named '%s' in the database.", name.Object)
		}
		return nil
	}
	schema := name.Schema
	if schema == "" {
		schema = s.defaultSchema()
	}
	if _, ok := s.definitions.schemaNamed(schema); !ok {
		return message(2760, "The specified schema name \"%s\" either does not exist or you do not have permission to use it.", schema)
	}
	if _, taken := s.definitions.find(schema, name.Object); taken {
		return classed(16, 6, 2714, "There is already an object named '%s' in the database.", name.Object)
	}
	for _, c := range s.constraints() {
		if lower(c.name) == lower(name.Object) && lower(c.schema) == lower(schema) {
			return classed(16, 6, 2714, "There is already an object named '%s' in the database.", name.Object)
		}
	}
	return nil
}

// enterTable enters a new or a changed table where it belongs: in the catalog, or among the
// session's own.
func (s *Session) enterTable(t *catalog.Table) error {
	if t.Temporary {
		made := &temporaryTable{table: t, level: s.frame.level}
		if old, ok := s.temporary[lower(t.Name)]; ok {
			made.outer = old
			if old.table.ObjectID == t.ObjectID { // it is changed, not made
				made.level, made.outer = old.level, old.outer
			}
		}
		s.temporary[lower(t.Name)] = made
		s.tables++
		return nil
	}
	return s.putObject(&object{ID: t.ObjectID, Table: t})
}

// mayChange says whether there is a table of that name that the session may
// change: else its error has the number and the text.
func (s *Session) mayChange(name ast.Name, number int32, text string) error {
	t, ok := reader{s}.Table(name.Schema, name.Object)
	if !ok || !t.Temporary && !s.visible(s.definitions.objects[t.ObjectID]) {
		return message(number, text, qualify(name))
	}
	if t.Temporary {
		return nil
	}
	return s.permitAlter(s.definitions.objects[t.ObjectID])
}

// qualify is a name as errors write it.
func qualify(name ast.Name) string {
	if name.Schema == "" {
		return name.Object
	}
	return name.Schema + "." + name.Object
}

func (s *Session) alterTable(ctx context.Context, stmt *ast.AlterTable) error {
	err := s.mayChange(stmt.Name, 4902, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.")
	if err != nil {
		return err
	}
	d, err := compile.AlterTable(stmt, s.scope())
	if err != nil {
		return err
	}
	return s.change(ctx, d)
}

func (s *Session) createIndex(ctx context.Context, stmt *ast.CreateIndex) error {
	err := s.mayChange(stmt.Table, 1088, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.")
	if err != nil {
		return err
	}
	d, err := compile.CreateIndex(stmt, s.scope())
	if err != nil {
		return err
	}
	return s.change(ctx, d)
}

// change runs a definition that changes a table.
func (s *Session) change(ctx context.Context, d *compile.Definition) error {
	if err := s.runDefinition(ctx, d); err != nil {
		return err
	}
	if d.Table == nil {
		return nil
	}
	return s.enterTable(d.Table)
}

func (s *Session) dropIndexes(ctx context.Context, stmt *ast.DropIndex) error {
	for _, item := range stmt.Items {
		err := s.within(ctx, reachOfName(item.Table.Object), func() error { return s.dropIndex(ctx, stmt, item) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) dropIndex(ctx context.Context, stmt *ast.DropIndex, item ast.IndexName) error {
	const text = "Cannot drop the index '%s', because it does not exist or you do not have permission."
	t, ok := reader{s}.Table(item.Table.Schema, item.Table.Object)
	exists := false
	if ok {
		for _, i := range t.Indexes {
			exists = exists || lower(i.Name) == lower(item.Index)
		}
		for _, k := range t.Keys {
			exists = exists || lower(k.Name) == lower(item.Index)
		}
	}
	if !exists {
		if stmt.IfExists {
			return nil
		}
		return classed(11, 7, 3701, text, qualify(item.Table)+"."+item.Index)
	}
	if err := s.mayChange(item.Table, 3701, text); err != nil {
		return err
	}
	d, err := compile.DropIndex(item, s.scope())
	if err != nil {
		return err
	}
	return s.change(ctx, d)
}

func (s *Session) createView(ctx context.Context, stmt *ast.CreateView) error {
	old, err := s.existing(stmt.Name, stmt.Definition, "V", "CREATE VIEW")
	if err != nil {
		return err
	}
	d, err := compile.CreateView(stmt, s.scope())
	if err != nil {
		return err
	}
	if err := s.runDefinition(ctx, d); err != nil {
		return err
	}
	v := *d.View
	v.Definition = asCreated(v.Definition, stmt.Offset)
	if old != nil {
		v.ObjectID = old.ID
	}
	return s.putObject(&object{ID: v.ObjectID, View: &v})
}

// existing checks a CREATE, ALTER or CREATE OR ALTER against what has the name
// already: nil if nothing has.
func (s *Session) existing(name ast.Name, how ast.Definition, kind, permission string) (*object, error) {
	old, found := (reader{s}).find(name.Schema, name.Object)
	if found && !s.visible(old) {
		found = false
	}
	switch {
	case !found && how == ast.Alter:
		return nil, classed(16, 6, 208, "Invalid object name '%s'.", qualify(name))
	case !found:
		if err := s.permitCreate(permission, name.Schema); err != nil {
			return nil, err
		}
		return nil, s.nameIsFree(name)
	case how == ast.Create:
		return nil, classed(16, 3, 2714, "There is already an object named '%s' in the database.", name.Object)
	}
	letters, _ := old.kind()
	if letters[:1] != kind {
		return nil, message(2010, "Cannot perform alter on '%s' because it is an incompatible object type.", qualify(name))
	}
	return old, s.permitAlter(old)
}

func (s *Session) createProcedure(stmt *ast.CreateProcedure) error {
	old, err := s.existing(stmt.Name, stmt.Definition, "P", "CREATE PROCEDURE")
	if err != nil {
		return err
	}
	if err := s.checkProcedure(stmt); err != nil {
		return err
	}
	schema := stmt.Name.Schema
	if schema == "" {
		schema = s.defaultSchema()
	}
	p := &catalog.Procedure{Schema: schema, Name: stmt.Name.Object, Definition: asCreated(stmt.Text, stmt.Offset)}
	if old != nil {
		p.ObjectID, p.Schema, p.Name = old.ID, old.Procedure.Schema, old.Procedure.Name
	} else {
		p.ObjectID = s.newObjectID()
	}
	return s.putObject(&object{ID: p.ObjectID, Procedure: p, DoubleQuoted: s.settings.doubleQuotedStrings})
}

// altering is how a definition that changes an object begins.
var altering = regexp.MustCompile(`(?is)^(ALTER|CREATE\s+OR\s+ALTER)\b`)

// asCreated is a definition as sys.sql_modules has it: with CREATE, whatever made
// it. Lines keep their numbers.
func asCreated(text string, offset int) string {
	word := altering.FindString(text[min(offset, len(text)):])
	if word == "" {
		return text
	}
	return text[:offset] + "CREATE" + strings.Repeat("\n", strings.Count(word, "\n")) + text[offset+len(word):]
}

// checkProcedure finds what is wrong with a procedure before anyone calls it:
// its types, and variables that are declared twice.
func (s *Session) checkProcedure(stmt *ast.CreateProcedure) error {
	for _, o := range stmt.Options {
		if o.Name != "RECOMPILE" {
			return refuse("CREATE PROCEDURE WITH " + o.Name)
		}
	}
	f := newFrame(s.frame, nil)
	for _, p := range stmt.Parameters {
		if p.ReadOnly {
			return refuse("table-valued parameter")
		}
		d := ast.VariableDeclaration{Pos: p.Pos, Name: p.Name, Type: &p.Type}
		if err := f.add(d); err != nil {
			return s.compileFailure(err)
		}
	}
	parameters := maps.Clone(f.variables)
	if err := f.declare(stmt.Body); err != nil {
		return s.compileFailure(err)
	}
	if err := undeclared(stmt.Body, parameters); err != nil {
		return s.compileFailure(err)
	}
	outer := s.frame
	s.frame = f
	defer func() { s.frame = outer }()
	return s.bindStatements(dataStatements(stmt.Body, nil))
}

func (s *Session) createSchema(stmt *ast.CreateSchema) error {
	if err := s.permitDatabase("CREATE SCHEMA"); err != nil {
		return err
	}
	name, owner := stmt.Name, s.userID()
	if name == "" {
		name = stmt.Owner
	}
	if stmt.Owner != "" {
		p, ok := s.principalNamed(stmt.Owner)
		if !ok {
			return cannotFindPrincipal(stmt.Owner)
		}
		owner = p.ID
	}
	if _, taken := s.definitions.schemaNamed(name); taken {
		return classed(16, 6, 2714, "There is already an object named '%s' in the database.", name)
	}
	id := firstUserID
	for taken := range s.definitions.schemas {
		if taken >= id && taken < firstFixedRole {
			id = taken + 1
		}
	}
	return s.put(kindSchema, int64(id), schema{ID: id, Name: name, Owner: owner})
}
