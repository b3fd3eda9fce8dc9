// Package sqltype has the words that the SQL endpoint (lab/tds) and the
// interpreter (lab/tsql) share: SQL Server's data types, the Go values that
// stand for theirs, columns, messages, and what a session hands back.
package sqltype

import (
	"math/big"
	"time"
)

// Kind is a data type's family.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql
type Kind uint8

// The data types, in no order that matters. Their Go values are in brackets;
// NULL is nil for all of them.
const (
	Unknown          Kind = iota
	Bit                   // bool
	TinyInt               // int64
	SmallInt              // int64
	Int                   // int64
	BigInt                // int64
	Decimal               // Number; also NUMERIC
	Money                 // Number of scale 4
	SmallMoney            // Number of scale 4
	Real                  // float64
	Float                 // float64
	Char                  // string
	VarChar               // string
	NChar                 // string
	NVarChar              // string; also sysname
	Binary                // []byte
	VarBinary             // []byte
	Date                  // time.Time, UTC midnight
	Time                  // time.Time, on 0001-01-01 UTC
	DateTime              // time.Time, UTC
	SmallDateTime         // time.Time, UTC
	DateTime2             // time.Time, UTC
	DateTimeOffset        // time.Time in its own zone
	UniqueIdentifier      // GUID
)

// Max is the Length of varchar(max), nvarchar(max) and varbinary(max).
const Max = -1

// Type is a data type with its measures.
type Type struct {
	Kind Kind
	// Length is in characters for nchar and nvarchar, in bytes for char,
	// varchar, binary and varbinary; Max for (max). 0 elsewhere.
	Length int
	// Precision is the number of decimal digits of decimal; 24 or 53 of real
	// and float.
	Precision uint8
	// Scale is the number of decimal digits after the point of decimal and
	// money, or of fractional seconds of time, datetime2 and datetimeoffset.
	Scale uint8
}

// Number is an exact numeric value: Unscaled / 10^Scale.
type Number struct {
	Unscaled *big.Int
	Scale    uint8
}

// GUID is a uniqueidentifier, its bytes in the order in which its text is
// written.
type GUID [16]byte

// Column is a column of a result set or a table.
type Column struct {
	Name     string
	Type     Type
	Nullable bool
	Identity bool
	ReadOnly bool // computed: not updatable
}

// Message is an error (Class 11 and above) or information (10 and below).
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-error-severities
type Message struct { //nolint:errname // the protocol's word: most messages are no errors
	Number    int32
	State     uint8
	Class     uint8
	Text      string
	Server    string
	Procedure string
	Line      int32
}

// Error is the message as an error.
func (m Message) Error() string { return m.Text }

// Param is a parameter of a call. Value has Type's Go value.
type Param struct {
	Name   string // with its @; empty: by position
	Type   Type
	Value  any
	Output bool
}

// Call is a remote procedure call: of a procedure by name, or of one of the
// special procedures (sp_executesql, sp_prepare …), whose names are filled in
// for their numbers.
type Call struct {
	Procedure string // as sent, such as sp_executesql or [dbo].[p]
	Params    []Param
}

// Done ends a statement.
type Done struct {
	Count    int64 // rows affected or returned
	HasCount bool  // false with NOCOUNT, and for statements that count nothing
	Command  uint16
	Failed   bool
}

// The values of Done.Command that clients look at.
// Source: MS-TDS 2.2.7.6, DONE
const (
	CommandSelect uint16 = 0xC1
	CommandInsert uint16 = 0xC3
	CommandDelete uint16 = 0xC4
	CommandUpdate uint16 = 0xC5
	CommandMerge  uint16 = 0x117
)

// TransactionState is what a session tells of its transaction.
type TransactionState uint8

// A session's transaction began, was committed or rolled back.
const (
	TransactionBegan TransactionState = iota + 1
	TransactionCommitted
	TransactionRolledBack
)

// Results receives what a request yields, in order. Its errors mean that the
// client is gone or has cancelled: the request must end. It is used by one
// goroutine at a time.
type Results interface {
	// Columns begins a result set.
	Columns(columns []Column) error
	// Row sends a row of the result set that was begun last.
	Row(values []any) error
	// Done ends one statement, after its rows.
	Done(done Done) error
	// Message sends an error or an information.
	Message(m Message) error
	// ReturnStatus sends a procedure's return code.
	ReturnStatus(code int32) error
	// ReturnValue sends an output parameter, or a prepared handle.
	ReturnValue(p Param) error
	// DatabaseChanged tells of USE; from and to are database names.
	DatabaseChanged(from, to string) error
	// Transaction tells of a transaction's beginning or end; descriptor is
	// the session's number for it.
	Transaction(state TransactionState, descriptor uint64) error
}

// Zero is the date on which Time values lie.
func Zero() time.Time { return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) }
