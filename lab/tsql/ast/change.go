package ast

// SelectStatement is a query as a statement.
type SelectStatement struct {
	Span
	With    []CommonTable
	Query   *Query
	Options []Option // OPTION (…)
}

// Output is an OUTPUT clause. Its columns are those of INSERTED and DELETED.
type Output struct {
	Pos
	Items   []SelectItem
	Into    TableSource // nil: to the client
	Columns []Ident     // of Into
}

// Insert is INSERT. One of Rows, Query, Execute and DefaultValues is set.
type Insert struct {
	Span
	With          []CommonTable
	Top           *Top
	Target        TableSource // *TableRef or *TableVariable
	Columns       []Ident     // none: all
	OutputInto    *Output
	Output        *Output
	Rows          [][]Expression // VALUES; elements may be *DefaultValue
	Query         *Query
	Execute       *Execute
	DefaultValues bool
	Options       []Option
}

// Assignment is one element of UPDATE's SET: column = value, @v = value or
// @v = column = value, also with +=. Value may be a *DefaultValue.
type Assignment struct {
	Pos
	Variable string     // with its @, empty when none
	Column   *ColumnRef // nil when only a variable is set
	Op       ArithmeticOperator
	Value    Expression
}

// Update is UPDATE.
type Update struct {
	Span
	With       []CommonTable
	Top        *Top
	Target     TableSource // *TableRef (a table, or an alias of From) or *TableVariable
	Set        []Assignment
	OutputInto *Output
	Output     *Output
	From       []TableSource
	Where      Predicate
	CurrentOf  string // WHERE CURRENT OF cursor
	Options    []Option
}

// Delete is DELETE.
type Delete struct {
	Span
	With       []CommonTable
	Top        *Top
	Target     TableSource // *TableRef (a table, or an alias of From) or *TableVariable
	OutputInto *Output
	Output     *Output
	From       []TableSource
	Where      Predicate
	CurrentOf  string
	Options    []Option
}

// MergeMatch is the condition of a WHEN clause of MERGE.
type MergeMatch uint8

// The conditions of MERGE's WHEN clauses.
const (
	Matched MergeMatch = iota + 1
	NotMatchedByTarget
	NotMatchedBySource
)

// MergeWhen is a WHEN clause of MERGE: an update when Set is there, a deletion
// when Delete is, else an insertion.
type MergeWhen struct {
	Pos
	Match         MergeMatch
	And           Predicate
	Set           []Assignment
	Delete        bool
	Columns       []Ident
	Values        []Expression
	DefaultValues bool
}

// Merge is MERGE. The target's alias is in Target.
type Merge struct {
	Span
	With       []CommonTable
	Top        *Top
	Target     TableSource // *TableRef or *TableVariable
	Using      TableSource
	On         Predicate
	Whens      []MergeWhen
	OutputInto *Output
	Output     *Output
	Options    []Option
}

// TruncateTable is TRUNCATE TABLE.
type TruncateTable struct {
	Span
	Table Name
}

func (*SelectStatement) statement() {}
func (*Insert) statement()          {}
func (*Update) statement()          {}
func (*Delete) statement()          {}
func (*Merge) statement()           {}
func (*TruncateTable) statement()   {}
