package sqltype

// TransactionKind is what a transaction-manager request asks for.
// Source: MS-TDS 2.2.6.9, Transaction Manager Request
type TransactionKind uint8

// The transaction-manager requests that a session carries out.
const (
	BeginTransaction TransactionKind = iota + 1
	CommitTransaction
	RollbackTransaction
	SaveTransaction
)

// Isolation is a transaction isolation level, with the number that MS-TDS
// gives it.
type Isolation uint8

// The isolation levels; IsolationUnchanged keeps the session's.
const (
	IsolationUnchanged Isolation = iota
	ReadUncommitted
	ReadCommitted
	RepeatableRead
	Serializable
	Snapshot
)

// TransactionRequest is a transaction-manager request: what clients send for
// their begin, commit and rollback calls in place of SQL text.
type TransactionRequest struct {
	Kind TransactionKind
	// Name is the transaction's or the savepoint's; empty for none.
	Name string
	// Isolation is the level of the transaction that begins.
	Isolation Isolation
	// Begin says that a new transaction, of name BeginName and level Isolation,
	// begins at once after a commit or a rollback.
	Begin     bool
	BeginName string
}
