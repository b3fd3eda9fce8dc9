// Package parse reads Transact-SQL into the trees of package ast. It is
// strict: what it does not know it refuses, with SQL Server's number, text and
// line for a syntax error, and with the construct's name (40510, 40511, 40517)
// for Transact-SQL that is valid but is not run here. It never guesses.
//
// It takes batches as they come over the wire; to split a script at GO is the
// client's work. Every function may be called by any number of goroutines.
package parse

import (
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// Options are the session's settings that change how text is read.
type Options struct {
	// DoubleQuotedStrings is SET QUOTED_IDENTIFIER OFF: "x" is a string.
	DoubleQuotedStrings bool
}

// Batch reads a batch with QUOTED_IDENTIFIER ON. Its error is a
// sqltype.Message.
func Batch(text string) (*ast.Batch, error) { return Options{}.Batch(text) }

// Batch reads a batch. Its error is a sqltype.Message.
func (o Options) Batch(text string) (*ast.Batch, error) {
	var b *ast.Batch
	err := o.run(text, func(p *parser) { b = &ast.Batch{Text: text, Statements: p.batch()} })
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Expression reads a value by itself, such as the text of a default. Its error
// is a sqltype.Message.
func Expression(text string) (ast.Expression, error) {
	var e ast.Expression
	err := Options{}.run(text, func(p *parser) { e = p.value(); p.end() })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Predicate reads a condition by itself, such as the text of a check. Its
// error is a sqltype.Message.
func Predicate(text string) (ast.Predicate, error) {
	var e ast.Predicate
	err := Options{}.run(text, func(p *parser) { e = p.predicate(); p.end() })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Name reads an object's name of one to four parts, such as the argument of
// OBJECT_ID or the procedure of a remote call. Its error is a sqltype.Message.
func Name(text string) (ast.Name, error) {
	var n ast.Name
	err := Options{}.run(text, func(p *parser) { n = p.name(); p.end() })
	return n, err
}

// Type reads a data type by itself; a length that is left out is 1. Its error
// is a sqltype.Message.
func Type(text string) (ast.DataType, error) {
	var t ast.DataType
	err := Options{}.run(text, func(p *parser) { t = p.dataType(1); p.end() })
	return t, err
}

// Parameters reads the list of parameters that sp_executesql and sp_prepare
// take, such as "@a int, @b nvarchar(10) OUTPUT". Its error is a
// sqltype.Message.
func Parameters(text string) ([]ast.Parameter, error) {
	var list []ast.Parameter
	err := Options{}.run(text, func(p *parser) {
		if p.tok().kind != tokenEnd {
			list = p.parameters()
		}
		p.end()
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// bail carries the one error of a parse up to run. Panics shorten a recursive
// descent by half; none leaves this package.
type bail struct{ message sqltype.Message }

// run scans the text and lets f parse it.
func (o Options) run(text string, f func(*parser)) (err error) {
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bail)
			if !ok {
				panic(r)
			}
			err = b.message
		}
	}()
	p := &parser{text: text}
	p.tokens, p.match = scan(text, o.DoubleQuotedStrings)
	f(p)
	return nil
}
