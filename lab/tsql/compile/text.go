package compile

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// parseSelect reads a query that text is made into.
func parseSelect(sql string) (*ast.Select, error) {
	b, err := parse.Batch(sql)
	if err != nil {
		return nil, err
	}
	if len(b.Statements) == 1 {
		if s, ok := b.Statements[0].(*ast.SelectStatement); ok {
			if q, ok := s.Query.Body.(*ast.Select); ok {
				return q, nil
			}
		}
	}
	return nil, message(ast.Pos{Line: 1}, 102, "Incorrect syntax near '%s'.", sql)
}

// parseExpression reads an expression that a definition keeps.
func parseExpression(sql string) (ast.Expression, error) {
	q, err := parseSelect("SELECT " + sql)
	if err != nil {
		return nil, err
	}
	if len(q.Items) != 1 || q.Items[0].Expr == nil {
		return nil, message(ast.Pos{Line: 1}, 102, "Incorrect syntax near '%s'.", sql)
	}
	return q.Items[0].Expr, nil
}

// parsePredicate reads a condition that a definition keeps.
func parsePredicate(sql string) (ast.Predicate, error) {
	q, err := parseSelect("SELECT 1 WHERE " + sql)
	if err != nil {
		return nil, err
	}
	return q.Where, nil
}

// parseView reads a view's definition.
func parseView(sql string) (*ast.CreateView, error) {
	b, err := parse.Batch(sql)
	if err != nil {
		return nil, err
	}
	if len(b.Statements) == 1 {
		if v, ok := b.Statements[0].(*ast.CreateView); ok {
			return v, nil
		}
	}
	return nil, message(ast.Pos{Line: 1}, 102, "Incorrect syntax near '%s'.", sql)
}
