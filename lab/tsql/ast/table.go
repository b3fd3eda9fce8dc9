package ast

// Nullability is what a column's definition says of NULL.
type Nullability uint8

// What a column's definition says of NULL.
const (
	NullabilityDefault Nullability = iota // nothing
	Nullable
	NotNull
)

// Clustering is what a key's or an index's definition says of its storage.
type Clustering uint8

// What a key's or an index's definition says of its storage.
const (
	ClusteringDefault Clustering = iota // nothing
	Clustered
	Nonclustered
)

// CreateTable is CREATE TABLE.
type CreateTable struct {
	Span
	Name Name
	TableElements
	Options []Option // WITH (…)
}

// TableElements are the columns, table constraints and inline indexes of a
// table's definition.
type TableElements struct {
	Columns     []*ColumnDefinition
	Constraints []*Constraint
	Indexes     []*IndexDefinition
}

// Identity is IDENTITY (seed, increment); their text is of whole numbers,
// perhaps with a minus, and 1 when left out.
type Identity struct {
	Pos
	Seed      int64
	Increment int64
}

// ColumnDefinition is a column of CREATE TABLE, ALTER TABLE … ADD or a table
// variable.
type ColumnDefinition struct {
	Pos
	Name         string
	Type         *DataType  // nil for a computed column
	Computed     Expression // nil for an ordinary one
	ComputedText string     // source of Computed
	Persisted    bool
	Null         Nullability
	Collation    string
	Identity     *Identity
	RowGUIDCol   bool
	Default      *Constraint   // its DEFAULT
	Constraints  []*Constraint // its keys, checks and references, with Columns filled in
	Index        *IndexDefinition
	WithValues   bool // ALTER TABLE … ADD … DEFAULT … WITH VALUES
}

// ConstraintKind is the kind of a constraint.
type ConstraintKind uint8

// The kinds of constraints.
const (
	PrimaryKey ConstraintKind = iota + 1
	Unique
	ForeignKey
	Check
	Default
)

// Constraint is a constraint of a table or of one column.
type Constraint struct {
	Pos
	Name       string // empty: the system names it
	Kind       ConstraintKind
	Clustering Clustering
	Columns    []KeyColumn // of PrimaryKey, Unique, ForeignKey
	References *Name       // of ForeignKey
	RefColumns []Ident     // none: the primary key
	OnDelete   string      // NO ACTION, CASCADE, SET NULL, SET DEFAULT or empty
	OnUpdate   string
	Check      Predicate
	Default    Expression
	For        string // column of ALTER TABLE … ADD … DEFAULT … FOR
	WithValues bool
	Text       string // source of Check or Default, as written
	Options    []Option
}

// KeyColumn is a column of a key or an index.
type KeyColumn struct {
	Pos
	Name       string
	Descending bool
}

// IndexDefinition is an index, inline or of CREATE INDEX.
type IndexDefinition struct {
	Pos
	Name       string
	Unique     bool
	Clustering Clustering
	Columns    []KeyColumn
	Include    []Ident
	Where      Predicate
	WhereText  string // source of Where, as written
	Options    []Option
}

// CreateIndex is CREATE INDEX.
type CreateIndex struct {
	Span
	Table           Name
	IndexDefinition IndexDefinition
}

// DropIndex is DROP INDEX.
type DropIndex struct {
	Span
	IfExists bool
	Items    []IndexName
}

// IndexName is an index of a table, written index ON table or table.index.
type IndexName struct {
	Pos
	Table Name
	Index string
}

// AlterTable is ALTER TABLE with one action.
type AlterTable struct {
	Span
	Name   Name
	Action TableAction
}

// TableAction is what ALTER TABLE does: *AddElements, *DropElements,
// *AlterColumn, *EnableConstraints.
type TableAction interface {
	Node
	tableAction()
}

// AddElements is ALTER TABLE … [WITH CHECK|NOCHECK] ADD.
type AddElements struct {
	Pos
	NoCheck bool
	TableElements
}

// DropElements is ALTER TABLE … DROP.
type DropElements struct {
	Pos
	Items []DropElement
}

// DropElement is a column or constraint to be dropped.
type DropElement struct {
	Pos
	Column   bool // else a constraint
	IfExists bool
	Name     string
}

// AlterColumn is ALTER TABLE … ALTER COLUMN.
type AlterColumn struct {
	Pos
	Name      string
	Type      DataType
	Collation string
	Null      Nullability
}

// EnableConstraints is ALTER TABLE … [WITH CHECK|NOCHECK] CHECK|NOCHECK
// CONSTRAINT.
type EnableConstraints struct {
	Pos
	Trust  bool // WITH CHECK: existing rows are checked
	Enable bool // CHECK, else NOCHECK
	All    bool
	Names  []Ident
}

func (*AddElements) tableAction()       {}
func (*DropElements) tableAction()      {}
func (*AlterColumn) tableAction()       {}
func (*EnableConstraints) tableAction() {}

func (*CreateTable) statement() {}
func (*CreateIndex) statement() {}
func (*DropIndex) statement()   {}
func (*AlterTable) statement()  {}
