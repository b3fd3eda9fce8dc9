package tsql

import (
	"context"
	"errors"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/compile"
)

// describeFirst is sp_describe_first_result_set.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-describe-first-result-set-transact-sql
func describeFirst(_ context.Context, s *Session, call invocation) (int32, error) {
	source, ok := call.text(0, "@tsql")
	if !ok {
		return 0, message(201, "Procedure or function 'sp_describe_first_result_set' expects parameter '@tsql', which was not supplied.")
	}
	params, _ := call.text(1, "@params")
	p, err := s.prepareText(params, source)
	if err != nil {
		return 0, err
	}
	f := newFrame(s.frame, p.text)
	for _, declared := range p.parameters {
		if err := f.add(ast.VariableDeclaration{Pos: declared.Pos, Name: declared.Name, Type: &declared.Type}); err != nil {
			return 0, err
		}
	}
	if err := f.begin(p.text.statements); err != nil {
		return 0, err
	}
	outer := s.frame
	s.frame = f
	columns, err := s.firstColumns(p.text.statements)
	s.frame = outer
	if err != nil {
		return 0, err
	}
	return 0, s.sendDescription(columns)
}

// firstColumns are those of the first statement that returns rows.
func (s *Session) firstColumns(statements []ast.Statement) ([]sqltype.Column, error) {
	for _, stmt := range statements {
		switch stmt.(type) {
		case *ast.SelectStatement, *ast.Insert, *ast.Update, *ast.Delete, *ast.Merge:
		case *ast.If, *ast.While, *ast.TryCatch, *ast.Execute:
			return nil, message(11529, "The metadata could not be determined because every code path results in an error; see previous errors for some of these.")
		default:
			continue
		}
		var columns []sqltype.Column
		err := s.read(func() error {
			compiled, err := s.compiled(stmt, compile.Statement)
			if err == nil {
				columns = compiled.Columns
			}
			return err
		})
		if err != nil || columns != nil {
			return columns, err
		}
	}
	return nil, nil
}

func (s *Session) sendDescription(columns []sqltype.Column) error {
	header := []sqltype.Column{
		{Name: "is_hidden", Type: bitType}, {Name: "column_ordinal", Type: intType}, {Name: "name", Type: sysname, Nullable: true},
		{Name: "is_nullable", Type: bitType}, {Name: "system_type_id", Type: intType}, {Name: "system_type_name", Type: nvarchar(256), Nullable: true},
		{Name: "max_length", Type: smallType}, {Name: "precision", Type: tinyType}, {Name: "scale", Type: tinyType},
		{Name: "collation_name", Type: sysname, Nullable: true}, {Name: "user_type_id", Type: intType, Nullable: true},
		{Name: "user_type_database", Type: sysname, Nullable: true}, {Name: "user_type_schema", Type: sysname, Nullable: true},
		{Name: "user_type_name", Type: sysname, Nullable: true}, {Name: "assembly_qualified_type_name", Type: textType, Nullable: true},
		{Name: "xml_collection_id", Type: intType, Nullable: true}, {Name: "xml_collection_database", Type: sysname, Nullable: true},
		{Name: "xml_collection_schema", Type: sysname, Nullable: true}, {Name: "xml_collection_name", Type: sysname, Nullable: true},
		{Name: "is_xml_document", Type: bitType}, {Name: "is_case_sensitive", Type: bitType}, {Name: "is_fixed_length_clr_type", Type: bitType},
		{Name: "source_server", Type: sysname, Nullable: true}, {Name: "source_database", Type: sysname, Nullable: true},
		{Name: "source_schema", Type: sysname, Nullable: true}, {Name: "source_table", Type: sysname, Nullable: true},
		{Name: "source_column", Type: sysname, Nullable: true}, {Name: "is_identity_column", Type: bitType, Nullable: true},
		{Name: "is_part_of_unique_key", Type: bitType, Nullable: true}, {Name: "is_updateable", Type: bitType, Nullable: true},
		{Name: "is_computed_column", Type: bitType, Nullable: true}, {Name: "is_sparse_column_set", Type: bitType, Nullable: true},
		{Name: "ordinal_in_order_by_list", Type: smallType, Nullable: true}, {Name: "order_by_list_length", Type: smallType, Nullable: true},
		{Name: "order_by_is_descending", Type: smallType, Nullable: true}, {Name: "tds_type_id", Type: intType}, {Name: "tds_length", Type: intType},
		{Name: "tds_collation_id", Type: intType, Nullable: true}, {Name: "tds_collation_sort_id", Type: tinyType, Nullable: true},
	}
	if err := s.out.Columns(header); err != nil {
		return err
	}
	for i, c := range columns {
		t := typeRowOf(c.Type)
		row := make([]any, len(header))
		copy(row, []any{false, int64(i + 1), nameOrNil(c.Name), c.Nullable, int64(t.system), t.declared(c.Type), int64(t.length), int64(t.precision), int64(t.scale), t.collation()})
		row[19], row[20], row[21], row[27], row[29] = false, false, false, c.Identity, !c.ReadOnly
		row[35], row[36] = int64(t.system), int64(t.length)
		if err := s.out.Row(row); err != nil {
			return err
		}
	}
	return s.out.Done(sqltype.Done{Count: int64(len(columns)), HasCount: true, Command: sqltype.CommandSelect})
}

func nameOrNil(name string) any {
	if name == "" {
		return nil
	}
	return name
}

// insertExecute is INSERT … EXECUTE: the rows that the procedure returns are
// kept, and inserted once it has ended.
func (s *Session) insertExecute(ctx context.Context, stmt *ast.Insert) error {
	outer := s.out
	if _, nested := outer.(*rowKeeper); nested {
		return message(8164, "An INSERT EXEC statement cannot be nested.")
	}
	keeper := &rowKeeper{Results: outer}
	s.out = keeper
	defer func() { s.out = outer }()
	alone := s.txn.count == 0
	if alone {
		if err := s.begin(""); err != nil {
			return err
		}
	}
	err := s.execute(ctx, stmt.Execute)
	if err == nil {
		err = s.insertKept(ctx, stmt, keeper)
	}
	switch {
	case !alone && err == nil:
		return outer.Done(sqltype.Done{Count: s.rowCount, HasCount: !s.settings.noCount, Command: sqltype.CommandInsert})
	case !alone || s.txn.count == 0:
		return err
	case err != nil || s.txn.doomed:
		return errors.Join(err, s.abandon())
	}
	if err := s.commit(); err != nil {
		return err
	}
	return outer.Done(sqltype.Done{Count: s.rowCount, HasCount: !s.settings.noCount, Command: sqltype.CommandInsert})
}

// insertKept inserts all that was kept, as one statement.
func (s *Session) insertKept(ctx context.Context, stmt *ast.Insert, keeper *rowKeeper) error {
	count := int64(0)
	err := s.within(ctx, reachOf(stmt), func() error {
		for _, set := range keeper.sets {
			n, err := s.insertSet(ctx, stmt, set)
			if err != nil {
				return err
			}
			count += n
		}
		return nil
	})
	if err == nil {
		s.rowCount = count
	}
	return err
}

// insertSet inserts the rows of one result set as INSERT … VALUES of as many
// variables, in a scope of their own.
func (s *Session) insertSet(ctx context.Context, stmt *ast.Insert, set *keptSet) (count int64, err error) {
	inner := *stmt
	inner.Execute = nil
	f := newFrame(s.frame, nil)
	f.level, f.tables, f.chained, f.procedure = s.frame.level, s.frame.tables, s.frame.chained, s.frame.procedure
	values := make([]ast.Expression, len(set.columns))
	for i, c := range set.columns {
		name := "@ck" + printed(int64(i))
		f.variables[name] = &variable{Type: c.Type}
		values[i] = &ast.Variable{Pos: stmt.Pos, Name: name}
	}
	inner.Rows = [][]ast.Expression{values}
	outer := s.frame
	s.frame = f
	defer func() { s.frame = outer }()
	p, err := s.compiled(&inner, compile.Statement)
	if err != nil {
		return 0, err
	}
	for _, row := range set.rows {
		for i, v := range row {
			f.variables["@ck"+printed(int64(i))].Value = v
		}
		n, err := s.runProgram(ctx, p, s.environment())
		if err != nil {
			return 0, err
		}
		count += n
	}
	outer.scopeIdentity = f.scopeIdentity
	return count, nil
}

// rowKeeper keeps the rows of a procedure for INSERT … EXECUTE.
type rowKeeper struct {
	sqltype.Results
	sets []*keptSet
}

// keptSet is a result set.
type keptSet struct {
	columns []sqltype.Column
	rows    [][]any
}

// Columns begins a result set.
func (k *rowKeeper) Columns(columns []sqltype.Column) error {
	k.sets = append(k.sets, &keptSet{columns: columns})
	return nil
}

// Row keeps a row.
func (k *rowKeeper) Row(values []any) error {
	set := k.sets[len(k.sets)-1]
	set.rows = append(set.rows, append([]any(nil), values...))
	return nil
}

// Done is not for the client.
func (k *rowKeeper) Done(sqltype.Done) error { return nil }

// Transaction is not for the client: the statement's own transaction is its
// own affair.
func (k *rowKeeper) Transaction(sqltype.TransactionState, uint64) error { return nil }
