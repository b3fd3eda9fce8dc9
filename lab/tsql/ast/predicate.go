package ast

// ComparisonOperator stands between two values and yields a truth.
type ComparisonOperator string

// The comparison operators; != and !> and !< are written as their equals.
const (
	Equal          ComparisonOperator = "="
	NotEqual       ComparisonOperator = "<>"
	Less           ComparisonOperator = "<"
	LessOrEqual    ComparisonOperator = "<="
	Greater        ComparisonOperator = ">"
	GreaterOrEqual ComparisonOperator = ">="
)

// Comparison is l op r. Pos is that of the operator.
type Comparison struct {
	Pos
	Op   ComparisonOperator
	L, R Expression
}

// Quantified is x op ALL (query) or x op ANY (query); SOME is ANY.
type Quantified struct {
	Pos
	Op    ComparisonOperator
	All   bool
	X     Expression
	Query *Query
}

// Logical is AND or OR.
type Logical struct {
	Pos
	Or   bool
	L, R Predicate
}

// Not is NOT x.
type Not struct {
	Pos
	X Predicate
}

// IsNull is x IS [NOT] NULL.
type IsNull struct {
	Pos
	Not bool
	X   Expression
}

// IsDistinct is l IS [NOT] DISTINCT FROM r.
type IsDistinct struct {
	Pos
	Not  bool
	L, R Expression
}

// Between is x [NOT] BETWEEN low AND high.
type Between struct {
	Pos
	Not       bool
	X         Expression
	Low, High Expression
}

// Like is x [NOT] LIKE pattern [ESCAPE escape].
type Like struct {
	Pos
	Not     bool
	X       Expression
	Pattern Expression
	Escape  Expression // nil when left out
}

// In is x [NOT] IN (list) or x [NOT] IN (query); one of List and Query is set.
type In struct {
	Pos
	Not   bool
	X     Expression
	List  []Expression
	Query *Query
}

// Exists is EXISTS (query).
type Exists struct {
	Pos
	Query *Query
}

func (*Comparison) expression() {}
func (*Quantified) expression() {}
func (*Logical) expression()    {}
func (*Not) expression()        {}
func (*IsNull) expression()     {}
func (*IsDistinct) expression() {}
func (*Between) expression()    {}
func (*Like) expression()       {}
func (*In) expression()         {}
func (*Exists) expression()     {}

func (*Comparison) predicate() {}
func (*Quantified) predicate() {}
func (*Logical) predicate()    {}
func (*Not) predicate()        {}
func (*IsNull) predicate()     {}
func (*IsDistinct) predicate() {}
func (*Between) predicate()    {}
func (*Like) predicate()       {}
func (*In) predicate()         {}
func (*Exists) predicate()     {}
