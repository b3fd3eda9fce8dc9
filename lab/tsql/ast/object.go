package ast

// Definition says how an object is defined.
type Definition uint8

// The ways in which an object is defined.
const (
	Create        Definition = iota + 1
	CreateOrAlter            // CREATE OR ALTER
	Alter
)

// CreateView is CREATE [OR ALTER] VIEW and ALTER VIEW, alone in its batch.
type CreateView struct {
	Span
	Definition  Definition
	Name        Name
	Columns     []Ident
	Options     []Option // SCHEMABINDING …
	With        []CommonTable
	Query       *Query
	CheckOption bool
	Text        string // the whole batch, as sys.sql_modules keeps it
}

// CreateProcedure is CREATE [OR ALTER] PROCEDURE and ALTER PROCEDURE; its
// body is the rest of its batch.
type CreateProcedure struct {
	Span
	Definition Definition
	Name       Name
	Parameters []Parameter
	Options    []Option // RECOMPILE …
	Body       []Statement
	Text       string // the whole batch, as sys.sql_modules keeps it
}

// Parameter is a parameter of a procedure; Name has its @.
type Parameter struct {
	Pos
	Name     string
	Type     DataType
	Default  Expression // a literal (perhaps negative) or nil
	Output   bool
	ReadOnly bool
}

// ObjectKind is a kind of object that DROP drops.
type ObjectKind uint8

// The kinds of objects that DropObject drops.
const (
	TableObject ObjectKind = iota + 1
	ViewObject
	ProcedureObject
	SchemaObject
	DatabaseObject
	LoginObject
	UserObject
	RoleObject
)

// DropObject is DROP TABLE, VIEW, PROCEDURE, SCHEMA, DATABASE, LOGIN, USER,
// ROLE.
type DropObject struct {
	Span
	Kind     ObjectKind
	IfExists bool
	Names    []Name
}

// CreateSchema is CREATE SCHEMA.
type CreateSchema struct {
	Span
	Name  string // empty: that of Owner
	Owner string // AUTHORIZATION, empty when none
}

func (*CreateView) statement()      {}
func (*CreateProcedure) statement() {}
func (*DropObject) statement()      {}
func (*CreateSchema) statement()    {}
