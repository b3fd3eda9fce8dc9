package tsql

import (
	"maps"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// frame is the scope of a batch, a procedure or a dynamic batch: its variables
// and table variables. The # tables that were made in it end with it.
type frame struct {
	parent    *frame
	level     int // @@NESTLEVEL
	text      *text
	variables map[string]*variable
	// tables are the table variables, by lower-case name with @.
	tables map[string]*catalog.Table
	// cursors are the LOCAL ones, by lower-case name.
	cursors map[string]*cursor
	// procedure is the running procedure's name, for messages; empty in a batch.
	procedure   string
	procedureID int32
	// chained says that permissions were checked on the procedure already.
	chained bool
	// scopeIdentity is SCOPE_IDENTITY().
	scopeIdentity any
	// tries counts the TRY blocks that are open here.
	tries int
	// caught are the errors of the CATCH blocks that are open here, innermost last.
	caught []sqltype.Message
	// status is what RETURN gave.
	status int32
}

// variable is a scalar variable.
type variable struct {
	Type  sqltype.Type
	Value any
}

// newFrame begins a scope inside parent, which may be nil.
func newFrame(parent *frame, t *text) *frame {
	f := &frame{parent: parent, text: t, variables: map[string]*variable{}, tables: map[string]*catalog.Table{}}
	if parent != nil {
		f.level = parent.level + 1
	}
	return f
}

// lookup finds a scalar variable.
func (f *frame) lookup(name string) (*variable, bool) {
	v, ok := f.variables[strings.ToLower(name)]
	return v, ok
}

// variableType is compile.Scope's Variables.
func (f *frame) variableType(name string) (sqltype.Type, bool) {
	v, ok := f.lookup(name)
	if !ok {
		return sqltype.Type{}, false
	}
	return v.Type, true
}

// begin declares the variables of the frame's text, and finds those that are
// used without a declaration.
func (f *frame) begin(statements []ast.Statement) error {
	parameters := maps.Clone(f.variables)
	if err := f.declare(statements); err != nil {
		return err
	}
	if f.text.sound {
		return nil
	}
	if err := undeclared(statements, parameters); err != nil {
		return err
	}
	f.text.sound = true
	return nil
}

// declare makes the variables of a list of statements known, wherever they
// stand in it: T-SQL declares when it compiles, so that a DECLARE in a loop or in
// a branch that is not taken counts as well.
func (f *frame) declare(statements []ast.Statement) error {
	for _, stmt := range statements {
		d, ok := stmt.(*ast.Declare)
		if !ok {
			if err := f.declare(bodies(stmt)); err != nil {
				return err
			}
			continue
		}
		for _, v := range d.Variables {
			if err := f.add(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *frame) add(v ast.VariableDeclaration) error {
	name := strings.ToLower(v.Name)
	_, scalar := f.variables[name]
	_, table := f.tables[name]
	if scalar || table {
		m := classed(15, 2, 134, "The variable name '%s' has already been declared. Variable names must be unique within a query batch or stored procedure.", v.Name)
		m.Line = int32(v.Line)
		return m
	}
	if v.Table != nil {
		f.tables[name] = nil // made when DECLARE runs
		return nil
	}
	t, err := resolveType(v.Type)
	if err != nil {
		return err
	}
	f.variables[name] = &variable{Type: t}
	return nil
}

// resolveType is the type that a declaration names.
func resolveType(d *ast.DataType) (sqltype.Type, error) {
	if d == nil {
		return sqltype.Type{}, refuse("CURSOR variable")
	}
	if d.Type.Kind != sqltype.Unknown {
		return d.Type, nil
	}
	name := d.Name.Object
	switch strings.ToLower(name) {
	case "sql_variant", "xml", "geography", "geometry", "hierarchyid", "image", "text", "ntext", "cursor", "json", "vector":
		return sqltype.Type{}, refuse("data type " + strings.ToLower(name))
	}
	m := message(2715, "Column, parameter, or variable #1: Cannot find data type %s.", name)
	m.Line = int32(d.Line)
	return sqltype.Type{}, m
}

// bodies are the statements inside a statement.
func bodies(stmt ast.Statement) []ast.Statement {
	switch stmt := stmt.(type) {
	case *ast.If:
		if stmt.Else != nil {
			return []ast.Statement{stmt.Then, stmt.Else}
		}
		return []ast.Statement{stmt.Then}
	case *ast.While:
		return []ast.Statement{stmt.Body}
	case *ast.Block:
		return stmt.Statements
	case *ast.TryCatch:
		return append(append([]ast.Statement(nil), stmt.Try...), stmt.Catch...)
	default:
		return nil
	}
}
