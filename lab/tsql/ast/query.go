package ast

// CommonTable is one common table expression of a WITH clause.
type CommonTable struct {
	Pos
	Name    string
	Columns []Ident // none: the query's own names
	Query   *Query
}

// Query is a query with what applies to its whole result. Subqueries, derived
// tables, views and INSERT … SELECT hold one; WITH and OPTION are the
// statement's.
type Query struct {
	Pos
	Body    QueryExpression
	OrderBy []OrderItem
	Offset  Expression // nil: no OFFSET
	Fetch   Expression // nil: no FETCH
}

// SetOperator combines two queries.
type SetOperator uint8

// The set operators.
const (
	Union SetOperator = iota + 1
	UnionAll
	Except
	Intersect
)

// SetOperation is l UNION r and its kin; INTERSECT binds tighter.
type SetOperation struct {
	Pos
	Op   SetOperator
	L, R QueryExpression
}

// Select is a query specification: SELECT … FROM … WHERE ….
type Select struct {
	Pos
	Distinct bool
	Top      *Top
	Items    []SelectItem
	Into     *Name         // SELECT … INTO, of the statement's first Select only
	From     []TableSource // joined by commas; none: one row
	Where    Predicate
	GroupBy  []Grouping
	Having   Predicate
}

// Top is TOP (n) [PERCENT] [WITH TIES].
type Top struct {
	Pos
	Count    Expression
	Percent  bool
	WithTies bool
}

// SelectItem is an element of a select list or an OUTPUT clause.
type SelectItem struct {
	Pos
	Star  bool  // * or t.*
	Table *Name // of t.*
	// Variable is set in SELECT @v = expr; Op is the operator of a compound
	// assignment, such as Add for +=, else empty.
	Variable string
	Op       ArithmeticOperator
	Expr     Expression // nil for a Star
	Alias    string     // empty: none
}

// OrderItem is an element of ORDER BY.
type OrderItem struct {
	Pos
	Expr       Expression
	Descending bool
}

// GroupingKind is the form of an element of GROUP BY.
type GroupingKind uint8

// The forms of an element of GROUP BY.
const (
	GroupExpression GroupingKind = iota // Expr
	GroupComposite                      // (a, b), or () with no Items
	GroupRollup                         // ROLLUP (Items)
	GroupCube                           // CUBE (Items)
	GroupSets                           // GROUPING SETS (Items)
)

// Grouping is an element of GROUP BY.
type Grouping struct {
	Pos
	Kind  GroupingKind
	Expr  Expression
	Items []Grouping
}

// TableRef is a table or view by name; as a target of UPDATE or DELETE, and
// for common tables and triggers' tables, it may be an alias of the FROM.
type TableRef struct {
	Pos
	Name  Name
	Alias string
	Hints []Option // WITH (…): NOLOCK, HOLDLOCK …; INDEX has Values
}

// TableVariable is @t as a table; Name has its @.
type TableVariable struct {
	Pos
	Name  string
	Alias string
}

// DerivedTable is a query in brackets.
type DerivedTable struct {
	Pos
	Query   *Query
	Alias   string
	Columns []Ident
}

// ValuesTable is (VALUES (…), (…)) AS t(c, …).
type ValuesTable struct {
	Pos
	Rows    [][]Expression
	Alias   string
	Columns []Ident
}

// FunctionTable is a table-valued function.
type FunctionTable struct {
	Pos
	Name    Name // Object as written
	Args    []Expression
	Schema  []SchemaColumn // OPENJSON (…) WITH (…)
	Alias   string
	Columns []Ident
}

// SchemaColumn is a column of OPENJSON's WITH clause.
type SchemaColumn struct {
	Pos
	Name   string
	Type   DataType
	Path   string // empty: $.name
	AsJSON bool
}

// JoinKind is the form of a join.
type JoinKind uint8

// The forms of joins.
const (
	InnerJoin JoinKind = iota + 1
	LeftJoin
	RightJoin
	FullJoin
	CrossJoin
	CrossApply
	OuterApply
)

// Join is two table sources joined. On is nil for CrossJoin and the applies.
type Join struct {
	Pos
	Kind JoinKind
	L, R TableSource
	On   Predicate
	Hint string // LOOP, HASH, MERGE, REMOTE or empty
}

func (*TableRef) tableSource()      {}
func (*TableVariable) tableSource() {}
func (*DerivedTable) tableSource()  {}
func (*ValuesTable) tableSource()   {}
func (*FunctionTable) tableSource() {}
func (*Join) tableSource()          {}

func (*Select) queryExpression()       {}
func (*SetOperation) queryExpression() {}
