package ast

import "github.com/crosskeys/crosskeys/lab/sqltype"

// LiteralKind says how a literal was written.
type LiteralKind uint8

// The kinds of literals.
const (
	Null    LiteralKind = iota
	Integer             // Text: digits, perhaps too many for an int, when it is numeric(n,0)
	Decimal             // Text: digits with a point, such as 1.50 or .5
	Float               // Text: with an exponent, such as 1E3
	Money               // Text: digits without the currency sign and without commas; perhaps with a - before them
	String              // Text: the characters; varchar
	NString             // Text: the characters; nvarchar
	Binary              // Bytes
)

// Literal is a constant.
type Literal struct {
	Pos
	Kind  LiteralKind
	Text  string
	Bytes []byte // of Binary only
}

// Variable is @name; Name has its @.
type Variable struct {
	Pos
	Name string
}

// SystemVariable is @@NAME; Name is upper case with its @@.
type SystemVariable struct {
	Pos
	Name string
}

// ColumnRef names a column. Table is nil when nothing stands before the
// column, else a name of one to four parts.
type ColumnRef struct {
	Pos
	Table  *Name
	Column string
	Quoted bool
}

// PseudoColumn is $ACTION, $IDENTITY or $ROWGUID; Name is upper case with $.
type PseudoColumn struct {
	Pos
	Table *Name
	Name  string
}

// DefaultValue is DEFAULT in VALUES, SET or the arguments of EXECUTE.
type DefaultValue struct{ Pos }

// UnaryOperator is -, + or ~.
type UnaryOperator string

// The unary operators.
const (
	Negative   UnaryOperator = "-"
	Positive   UnaryOperator = "+"
	BitwiseNot UnaryOperator = "~"
)

// Unary is an operator with one operand.
type Unary struct {
	Pos
	Op UnaryOperator
	X  Expression
}

// ArithmeticOperator stands between two values and yields one.
type ArithmeticOperator string

// The arithmetic operators; Add also joins strings. They are those of
// compound assignments too, such as Add for +=.
const (
	Add        ArithmeticOperator = "+"
	Subtract   ArithmeticOperator = "-"
	Multiply   ArithmeticOperator = "*"
	Divide     ArithmeticOperator = "/"
	Modulo     ArithmeticOperator = "%"
	BitwiseAnd ArithmeticOperator = "&"
	BitwiseOr  ArithmeticOperator = "|"
	BitwiseXor ArithmeticOperator = "^"
)

// Arithmetic is an operator with two operands. Pos is that of the operator.
type Arithmetic struct {
	Pos
	Op   ArithmeticOperator
	L, R Expression
}

// Collate is x COLLATE name.
type Collate struct {
	Pos
	X         Expression
	Collation string
}

// AtTimeZone is x AT TIME ZONE zone.
type AtTimeZone struct {
	Pos
	X    Expression
	Zone Expression
}

// When is one WHEN … THEN … of a Case. If is set when the Case has no
// operand, Value when it has one.
type When struct {
	Pos
	If    Predicate
	Value Expression
	Then  Expression
}

// Case is CASE … END, of both forms.
type Case struct {
	Pos
	Operand Expression // nil in the searched form
	Whens   []When
	Else    Expression // nil: NULL
}

// IIF is IIF(condition, then, else).
type IIF struct {
	Pos
	If   Predicate
	Then Expression
	Else Expression
}

// DataType is a type as it was written.
type DataType struct {
	Pos
	Name Name // as written, such as nvarchar or [dbo].[phone]
	// Type is what it means. Its lengths are complete: those that were left
	// out are 30 in CAST and CONVERT and 1 elsewhere. Its Kind is Unknown for
	// a name that is not of the system's types (error 2715 or 243 of the one
	// who resolves it).
	Type sqltype.Type
	// RowVersion is true of rowversion and timestamp, which are binary(8).
	RowVersion bool
}

// Cast is CAST(x AS type), TRY_CAST.
type Cast struct {
	Pos
	Try  bool
	X    Expression
	Type DataType
}

// Convert is CONVERT(type, x, style), TRY_CONVERT. Style is nil when left out.
type Convert struct {
	Pos
	Try   bool
	Type  DataType
	X     Expression
	Style Expression
}

// Call is a call of a function, an aggregate or a window function. COALESCE
// and NULLIF are calls too.
type Call struct {
	Pos
	Name     Name // Object is upper case when there is no schema and no quotes
	Niladic  bool // without brackets: CURRENT_TIMESTAMP, USER …
	Star     bool // COUNT(*), COUNT_BIG(*)
	Distinct bool
	Args     []Expression // DATEADD and its kin begin with a *DatePart
	Within   []OrderItem  // WITHIN GROUP (ORDER BY …)
	Nulls    string       // IGNORE or RESPECT, of IGNORE NULLS
	Over     *Over        // nil: not a window function
}

// DatePart is the first argument of DATEADD, DATEDIFF, DATEDIFF_BIG,
// DATEPART, DATENAME, DATETRUNC and DATE_BUCKET; Name is upper case as
// written, such as DAY or DD.
type DatePart struct {
	Pos
	Name string
}

// Trim is TRIM([LEADING|TRAILING|BOTH] [chars FROM] x) in any form that
// TRIM(x), which is a Call, does not cover.
type Trim struct {
	Pos
	Side  string     // LEADING, TRAILING, BOTH or empty
	Chars Expression // nil when left out
	X     Expression
}

// Over is the window of a function.
type Over struct {
	Pos
	PartitionBy []Expression
	OrderBy     []OrderItem
	Frame       *Frame
}

// Frame is ROWS or RANGE of a window. End is nil when it was left out
// (CURRENT ROW).
type Frame struct {
	Pos
	Range bool // RANGE, not ROWS
	Start FrameBound
	End   *FrameBound
}

// BoundKind is where a frame begins or ends.
type BoundKind uint8

// The bounds of a frame.
const (
	UnboundedPreceding BoundKind = iota + 1
	Preceding
	CurrentRow
	Following
	UnboundedFollowing
)

// FrameBound is one end of a frame; Offset is set for Preceding, Following.
type FrameBound struct {
	Pos
	Kind   BoundKind
	Offset Expression
}

// Subquery is a query in brackets where a value is wanted.
type Subquery struct {
	Pos
	Query *Query
}

func (*Literal) expression()        {}
func (*Variable) expression()       {}
func (*SystemVariable) expression() {}
func (*ColumnRef) expression()      {}
func (*PseudoColumn) expression()   {}
func (*DefaultValue) expression()   {}
func (*Unary) expression()          {}
func (*Arithmetic) expression()     {}
func (*Collate) expression()        {}
func (*AtTimeZone) expression()     {}
func (*Case) expression()           {}
func (*IIF) expression()            {}
func (*Cast) expression()           {}
func (*Convert) expression()        {}
func (*Call) expression()           {}
func (*DatePart) expression()       {}
func (*Trim) expression()           {}
func (*Subquery) expression()       {}
