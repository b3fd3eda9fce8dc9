package ast

// Declare is DECLARE of variables.
type Declare struct {
	Span
	Variables []VariableDeclaration
}

// VariableDeclaration declares a variable, or a table variable when Table is
// set. Name has its @.
type VariableDeclaration struct {
	Pos
	Name  string
	Type  *DataType
	Value Expression // nil: NULL
	Table *TableElements
}

// SetVariable is SET @v = value; Op is that of a compound assignment.
type SetVariable struct {
	Span
	Name  string
	Op    ArithmeticOperator
	Value Expression
}

// SetOption is SET of a session's options. Names are upper case: NOCOUNT,
// LOCK_TIMEOUT, IDENTITY_INSERT, STATISTICS IO, TRANSACTION ISOLATION LEVEL …;
// there is more than one only in SET A, B ON.
type SetOption struct {
	Span
	Names []string
	Word  string     // ON, OFF, READ COMMITTED, us_english as upper case … or empty
	Value Expression // a number, string, binary or variable
	Table *Name      // of IDENTITY_INSERT
}

// If is IF … ELSE.
type If struct {
	Span
	Condition Predicate
	Then      Statement
	Else      Statement // nil when left out
}

// While is WHILE.
type While struct {
	Span
	Condition Predicate
	Body      Statement
}

// Block is BEGIN … END.
type Block struct {
	Span
	Statements []Statement
}

// TryCatch is BEGIN TRY … END TRY BEGIN CATCH … END CATCH.
type TryCatch struct {
	Span
	Try   []Statement
	Catch []Statement
}

// Break is BREAK.
type Break struct{ Span }

// Continue is CONTINUE.
type Continue struct{ Span }

// Return is RETURN; Value is nil when left out.
type Return struct {
	Span
	Value Expression
}

// Goto is GOTO label.
type Goto struct {
	Span
	Label string
}

// Label is label:.
type Label struct {
	Span
	Name string
}

// WaitFor is WAITFOR DELAY and WAITFOR TIME.
type WaitFor struct {
	Span
	Time  bool // TIME, else DELAY
	Value Expression
}

// Print is PRINT.
type Print struct {
	Span
	Value Expression
}

// RaiseError is RAISERROR.
type RaiseError struct {
	Span
	Message  Expression
	Severity Expression
	State    Expression
	Args     []Expression
	Log      bool // WITH LOG
	NoWait   bool // WITH NOWAIT
	SetError bool // WITH SETERROR
}

// Throw is THROW; without arguments all three are nil.
type Throw struct {
	Span
	Number  Expression
	Message Expression
	State   Expression
}

// Argument is an argument of EXECUTE. Name is empty when it is by position.
type Argument struct {
	Pos
	Name   string
	Value  Expression // literal, variable, *DefaultValue, or a word as an NString
	Output bool
}

// Execute is EXECUTE. A procedure has Procedure or ProcedureVariable; a string
// has Strings, whose values are joined.
type Execute struct {
	Span
	ReturnTo          string // @rc = …
	Procedure         *Name
	ProcedureVariable string
	Arguments         []Argument
	Strings           []Expression // EXEC ('…' + @v)
	AsUser            string
	Options           []Option // WITH RECOMPILE …
	Implicit          bool     // the first statement of a batch, without EXECUTE
}

// BeginTransaction is BEGIN TRANSACTION.
type BeginTransaction struct {
	Span
	TransactionName
	Mark string // WITH MARK
}

// TransactionName is a transaction's or savepoint's name, or the variable that
// holds it; both are empty when there is none.
type TransactionName struct {
	Name     string
	Variable string
}

// CommitTransaction is COMMIT.
type CommitTransaction struct {
	Span
	TransactionName
}

// RollbackTransaction is ROLLBACK, of a transaction or to a savepoint.
type RollbackTransaction struct {
	Span
	TransactionName
}

// SaveTransaction is SAVE TRANSACTION.
type SaveTransaction struct {
	Span
	TransactionName
}

// Use is USE.
type Use struct {
	Span
	Database string
}

// Kill is KILL.
type Kill struct {
	Span
	Session    int
	StatusOnly bool
}

// DeclareCursor is DECLARE name CURSOR … FOR query.
type DeclareCursor struct {
	Span
	Name    string
	Options []string // LOCAL, FAST_FORWARD, SCROLL …
	With    []CommonTable
	Query   *Query
	Update  bool // FOR UPDATE
	Columns []Ident
}

// OpenCursor is OPEN.
type OpenCursor struct {
	Span
	Name string
}

// FetchCursor is FETCH.
type FetchCursor struct {
	Span
	Direction string // NEXT, PRIOR, FIRST, LAST, ABSOLUTE, RELATIVE
	Offset    Expression
	Name      string
	Into      []string
}

// CloseCursor is CLOSE.
type CloseCursor struct {
	Span
	Name string
}

// DeallocateCursor is DEALLOCATE.
type DeallocateCursor struct {
	Span
	Name string
}

func (*Declare) statement()             {}
func (*SetVariable) statement()         {}
func (*SetOption) statement()           {}
func (*If) statement()                  {}
func (*While) statement()               {}
func (*Block) statement()               {}
func (*TryCatch) statement()            {}
func (*Break) statement()               {}
func (*Continue) statement()            {}
func (*Return) statement()              {}
func (*Goto) statement()                {}
func (*Label) statement()               {}
func (*WaitFor) statement()             {}
func (*Print) statement()               {}
func (*RaiseError) statement()          {}
func (*Throw) statement()               {}
func (*Execute) statement()             {}
func (*BeginTransaction) statement()    {}
func (*CommitTransaction) statement()   {}
func (*RollbackTransaction) statement() {}
func (*SaveTransaction) statement()     {}
func (*Use) statement()                 {}
func (*Kill) statement()                {}
func (*DeclareCursor) statement()       {}
func (*OpenCursor) statement()          {}
func (*FetchCursor) statement()         {}
func (*CloseCursor) statement()         {}
func (*DeallocateCursor) statement()    {}
