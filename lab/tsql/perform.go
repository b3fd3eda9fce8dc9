package tsql

import (
	"context"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// perform carries out a statement that is none of control flow.
func (s *Session) perform(ctx context.Context, stmt ast.Statement) error {
	switch stmt := stmt.(type) {
	case *ast.SelectStatement, *ast.Update, *ast.Delete, *ast.Merge, *ast.TruncateTable:
		return s.data(ctx, stmt)
	case *ast.Insert:
		if stmt.Execute != nil {
			return s.insertExecute(ctx, stmt)
		}
		return s.data(ctx, stmt)
	case *ast.SetVariable:
		return s.setVariable(ctx, stmt)
	case *ast.SetOption:
		return s.setOption(ctx, stmt)
	case *ast.Print:
		return s.print(ctx, stmt)
	case *ast.RaiseError:
		return s.raiseError(ctx, stmt)
	case *ast.Throw:
		return s.throw(ctx, stmt)
	case *ast.WaitFor:
		return s.waitFor(ctx, stmt)
	case *ast.Execute:
		return s.execute(ctx, stmt)
	case *ast.Use:
		return s.use(stmt)
	case *ast.Kill:
		return s.kill(ctx, stmt)
	case *ast.CreateDatabase, *ast.AlterDatabase:
		return s.databaseStatement(ctx, stmt)
	}
	if ok, err := s.performTransaction(stmt); ok {
		s.rowCount = 0
		return err
	}
	if ok, err := s.performCursor(ctx, stmt); ok {
		return err
	}
	if ok, err := s.define(ctx, stmt); ok {
		s.rowCount = 0
		return err
	}
	return refuse(constructOf(stmt))
}

// constructOf names a statement that is not carried out.
func constructOf(stmt ast.Statement) string {
	switch stmt.(type) {
	case *ast.CreateLogin:
		return "CREATE LOGIN"
	case *ast.AlterLogin:
		return "ALTER LOGIN"
	default:
		return "statement"
	}
}

// performTransaction carries out the statements of transactions; ok is false
// for others.
func (s *Session) performTransaction(stmt ast.Statement) (ok bool, err error) {
	switch stmt := stmt.(type) {
	case *ast.BeginTransaction:
		if stmt.Mark != "" {
			return true, refuse("BEGIN TRANSACTION WITH MARK")
		}
		name, err := s.transactionName(stmt.TransactionName)
		if err != nil {
			return true, err
		}
		return true, s.begin(name)
	case *ast.CommitTransaction:
		return true, s.commit()
	case *ast.RollbackTransaction:
		name, err := s.transactionName(stmt.TransactionName)
		if err != nil {
			return true, err
		}
		return true, s.rollback(name)
	case *ast.SaveTransaction:
		name, err := s.transactionName(stmt.TransactionName)
		if err != nil {
			return true, err
		}
		return true, s.save(name)
	default:
		return false, nil
	}
}

func (s *Session) transactionName(n ast.TransactionName) (string, error) {
	name := n.Name
	if n.Variable != "" {
		v, ok := s.frame.lookup(n.Variable)
		if !ok {
			return "", s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", n.Variable))
		}
		name, _ = v.Value.(string)
	}
	if len([]rune(name)) > 32 {
		return "", classed(15, 3, 103, "The identifier that starts with '%s' is too long. Maximum length is 32.", string([]rune(name)[:32]))
	}
	return name, nil
}

// runDeclare runs DECLARE: the variables are there already; tables are made, values set.
func (s *Session) runDeclare(ctx context.Context, stmt *ast.Declare) error {
	for _, v := range stmt.Variables {
		var err error
		switch {
		case v.Table != nil:
			err = s.one(ctx, func() error { return s.declareTable(ctx, v) })
		case v.Value != nil:
			err = s.one(ctx, func() error { return s.assign(ctx, stmt, v.Name, "", v.Value) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// declareTable makes a table variable, empty each time that its DECLARE runs
// for the first time only, as in SQL Server.
func (s *Session) declareTable(ctx context.Context, v ast.VariableDeclaration) error {
	if s.frame.tables[lower(v.Name)] != nil {
		return nil
	}
	return s.variableScratch(func() error {
		d, err := compile.TableVariable(v.Name, v.Table, s.scope())
		if err != nil {
			return s.compileFailure(err)
		}
		if err := s.runDefinition(ctx, d); err != nil {
			return err
		}
		s.frame.tables[lower(v.Name)] = d.Table
		s.tables++
		return nil
	})
}

// variableScratch runs f, which makes a table variable: this is no part of a
// transaction, so it takes no lock.
func (s *Session) variableScratch(f func() error) error {
	s.scratching = true
	defer func() { s.scratching = false }()
	if s.txn.open {
		return s.savepoint(f)
	}
	return s.read(func() error { return s.savepoint(f) })
}

// setVariable is SET @v = value.
func (s *Session) setVariable(ctx context.Context, stmt *ast.SetVariable) error {
	return s.assign(ctx, stmt, stmt.Name, stmt.Op, stmt.Value)
}

// assign gives a variable a value as SELECT @v = … does, whose rules of
// conversion are the same.
func (s *Session) assign(ctx context.Context, key ast.Node, name string, op ast.ArithmeticOperator, e ast.Expression) error {
	target, ok := s.frame.lookup(name)
	if !ok {
		return s.compileFailure(classed(15, 2, 137, "Must declare the scalar variable \"%s\".", name))
	}
	if op != "" {
		e = &ast.Arithmetic{Pos: key.Position(), Op: op, L: &ast.Variable{Pos: key.Position(), Name: name}, R: e}
		return s.assignComputed(ctx, target, key, e)
	}
	return s.assignComputed(ctx, target, e, e)
}

func (s *Session) assignComputed(ctx context.Context, target *variable, key ast.Node, e ast.Expression) error {
	var row []any
	from := intType
	err := s.read(func() error {
		p, err := s.program(key, func(scope compile.Scope) (*compile.Program, error) { return compile.Expression(e, scope) })
		if err != nil {
			return err
		}
		if len(p.Columns) > 0 {
			from = p.Columns[0].Type
		}
		row, err = s.single(ctx, p)
		return err
	})
	if err != nil || len(row) == 0 {
		return err
	}
	v, err := s.assignable(row[0], from, target.Type)
	if err != nil {
		return err
	}
	target.Value = v
	s.rowCount = 1
	return nil
}

// use is USE: in Azure SQL Database a session stays in its database.
func (s *Session) use(stmt *ast.Use) error {
	if lower(stmt.Database) == lower(s.options.Database.Name()) {
		if err := s.out.DatabaseChanged(s.options.Database.Name(), s.options.Database.Name()); err != nil {
			return err
		}
		return s.send(classed(0, 2, 5701, "Changed database context to '%s'.", s.options.Database.Name()))
	}
	return message(40508, "USE statement is not supported to switch between databases. Use a new connection to connect to a different database.")
}

func (s *Session) kill(ctx context.Context, stmt *ast.Kill) error {
	if stmt.StatusOnly {
		return refuse("KILL WITH STATUSONLY")
	}
	if stmt.Session == s.options.SPID {
		return message(6104, "Cannot use KILL to kill your own process.")
	}
	if err := s.loadFirst(); err != nil {
		return err
	}
	if !s.isAdmin() && !s.hasDatabase("KILL DATABASE CONNECTION") {
		return message(6102, "User does not have permission to use the KILL statement.")
	}
	return s.options.Host.Kill(ctx, s.info(), stmt.Session)
}

// databaseStatement hands CREATE, ALTER and DROP DATABASE to the host.
func (s *Session) databaseStatement(ctx context.Context, stmt ast.Statement) error {
	if s.txn.count > 0 {
		return message(226, "%s statement not allowed within multi-statement transaction.", databaseVerb(stmt))
	}
	if err := s.loadFirst(); err != nil {
		return err
	}
	return s.options.Host.DatabaseStatement(ctx, s.info(), stmt, s.out)
}

func databaseVerb(stmt ast.Statement) string {
	switch stmt.(type) {
	case *ast.CreateDatabase:
		return "CREATE DATABASE"
	case *ast.AlterDatabase:
		return "ALTER DATABASE"
	default:
		return "DROP DATABASE"
	}
}

// loadFirst makes sure that the catalog is at hand and new.
func (s *Session) loadFirst() error { return s.read(func() error { return nil }) }

// info is what the host may know of the session.
func (s *Session) info() SessionInfo {
	return SessionInfo{
		SPID: s.options.SPID, Database: s.options.Database.Name(), Principal: s.options.Principal, User: s.userName(),
		Owner: s.inRole(ownerRole), ViewDatabaseState: s.hasDatabase("VIEW DATABASE STATE"),
	}
}
