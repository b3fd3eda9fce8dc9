package tsql

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// bind compiles all queries and changes of a text before any of it runs, as SQL
// Server does: one that cannot be compiled stops the whole text. Statements
// about objects that do not exist yet are left until they run.
// Source: https://learn.microsoft.com/sql/relational-databases/query-processing-architecture-guide (deferred name resolution)
func (s *Session) bind(t *text, statements []ast.Statement) error {
	if len(statements) < 2 || s.definitions != nil && t.bound == s.definitions.version && t.bound != "" {
		return nil // a text of one statement fails as one
	}
	all := dataStatements(statements, nil)
	if len(all) == 0 {
		return nil
	}
	return s.read(func() error {
		if err := s.bindStatements(all); err != nil {
			return err
		}
		t.bound = s.definitions.version
		return nil
	})
}

// bindStatements compiles statements within the engine transaction that is
// open.
func (s *Session) bindStatements(all []ast.Statement) error {
	for _, stmt := range all {
		_, err := s.compileNode(stmt, func(scope compile.Scope) (*compile.Program, error) { return compile.Statement(stmt, scope) })
		if err == nil {
			continue
		}
		if f, ok := asFailure(err); !ok || f.frame != nil && !deferred(f.message.Number) {
			return s.located(err, stmt)
		}
	}
	return nil
}

// deferred says whether an error is that an object does not exist, or such as
// can only be known when the statement runs.
func deferred(number int32) bool {
	switch number {
	case 208, 1087, 1088, 4902, 8106:
		return true
	default:
		return false
	}
}

// dataStatements are the queries and changes among statements, also those
// within others, without those that make tables.
func dataStatements(statements, into []ast.Statement) []ast.Statement {
	for _, stmt := range statements {
		switch s := stmt.(type) {
		case *ast.SelectStatement:
			if intoOf(s.Query) == nil {
				into = append(into, stmt)
			}
		case *ast.Insert:
			if s.Execute == nil {
				into = append(into, stmt)
			}
		case *ast.Update, *ast.Delete, *ast.Merge:
			into = append(into, stmt)
		default:
			into = dataStatements(bodies(stmt), into)
		}
	}
	return into
}
