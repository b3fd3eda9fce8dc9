// Package ast has the syntax trees of the Transact-SQL that the lab reads: a
// Go struct for each construct, each with its position, and four closed
// interfaces: Statement, Expression (of which Predicate is a part),
// TableSource and QueryExpression. Package parse makes them.
//
// Words that Transact-SQL does not quote (options, function names, operators)
// are upper case; names that a user chose are as written, their quotes gone.
// Parentheses leave no node: the tree's shape says what they said. Trees are
// never changed once made, so any number of goroutines may read them.
//
// Source: https://learn.microsoft.com/sql/t-sql/language-reference
package ast

import "strings"

// Pos is a place in a batch.
type Pos struct {
	Offset int // in bytes, from 0
	Line   int // from 1
}

// Position is the place itself; every node embeds a Pos and so has it.
func (p Pos) Position() Pos { return p }

// Node is any part of a tree.
type Node interface {
	Position() Pos
}

// Span is where a statement stands: Text[Offset:End] of its Batch is its
// source, without the semicolon after it.
type Span struct {
	Pos
	End int
}

// Extent is the span itself.
func (s Span) Extent() Span { return s }

// Statement is one statement.
type Statement interface {
	Node
	Extent() Span
	statement()
}

// Expression is anything that yields a value or, as a Predicate, true, false
// or unknown. Where a value is wanted the parser never puts a Predicate.
type Expression interface {
	Node
	expression()
}

// Predicate is an Expression that is a condition.
type Predicate interface {
	Expression
	predicate()
}

// TableSource is what stands in a FROM clause, or is the target of a change.
type TableSource interface {
	Node
	tableSource()
}

// QueryExpression is the body of a Query: *Select, *SetOperation.
type QueryExpression interface {
	Node
	queryExpression()
}

// Batch is what a client sends at once.
type Batch struct {
	Text       string // the whole of it, as it came
	Statements []Statement
}

// Source is the text of a statement of this batch.
func (b *Batch) Source(s Statement) string {
	e := s.Extent()
	return b.Text[e.Offset:e.End]
}

// Ident is a name of one part.
type Ident struct {
	Pos
	Name   string
	Quoted bool // was written in [] or ""
}

// Name is a name of up to four parts; those left out are empty.
type Name struct {
	Pos
	Server   string
	Database string
	Schema   string
	Object   string
	Quoted   bool // the last part was written in [] or ""
}

// String is the name with every part that it has in brackets, such as
// [dbo].[t]; a database without a schema keeps both dots.
func (n Name) String() string {
	parts := []string{n.Server, n.Database, n.Schema, n.Object}
	for len(parts) > 1 && parts[0] == "" {
		parts = parts[1:]
	}
	for i, p := range parts {
		if p != "" {
			parts[i] = Quote(p)
		}
	}
	return strings.Join(parts, ".")
}

// Quote is a name in brackets, as QUOTENAME writes it.
func Quote(name string) string {
	return "[" + strings.ReplaceAll(name, "]", "]]") + "]"
}

// Option is a word with, perhaps, a value: in WITH (…), OPTION (…), SET ….
type Option struct {
	Pos
	Name   string     // upper case, words joined by one space, such as MAXRECURSION
	Value  Expression // a literal or variable, nil when there is none or it is a word
	Word   string     // the value when it is a word, upper case, such as ON
	Values []Option   // the options in brackets after it
}
