package tsql

import (
	"context"
	"errors"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// flow is where execution goes on after a statement.
type flow struct {
	jump  jump
	label string // of goTo
}

// jump is a way to go on.
type jump uint8

const (
	proceed jump = iota
	breakLoop
	continueLoop
	leaveScope
	goTo
)

// runBody runs the statements of a batch or a procedure.
func (s *Session) runBody(ctx context.Context, statements []ast.Statement) error {
	f, err := s.runList(ctx, statements)
	if err != nil {
		return err
	}
	switch f.jump {
	case breakLoop:
		return s.settle(s.compileFailure(classed(15, 1, 135, "Cannot use a BREAK statement outside the scope of a WHILE statement.")))
	case continueLoop:
		return s.settle(s.compileFailure(classed(15, 1, 136, "Cannot use a CONTINUE statement outside the scope of a WHILE statement.")))
	case goTo:
		return s.settle(s.compileFailure(message(133, "A GOTO statement references the label '%s' but the label has not been declared.", f.label)))
	case proceed, leaveScope:
	}
	return nil
}

// runList runs statements in order, and follows jumps to labels among them.
func (s *Session) runList(ctx context.Context, statements []ast.Statement) (flow, error) {
	for i := 0; i < len(statements); {
		if err := ctx.Err(); err != nil {
			return flow{}, err
		}
		f, err := s.step(ctx, statements[i])
		if err != nil {
			if err = s.settle(s.located(err, statements[i])); err != nil {
				return flow{}, err
			}
			f = flow{}
		}
		if f.jump == proceed {
			i++
			continue
		}
		if i = labelled(statements, f); i < 0 {
			return f, nil
		}
	}
	return flow{}, nil
}

// labelled is where the label of a GOTO stands in a list, -1 if not there.
func labelled(statements []ast.Statement, f flow) int {
	if f.jump != goTo {
		return -1
	}
	for i, stmt := range statements {
		if l, ok := stmt.(*ast.Label); ok && lower(l.Name) == lower(f.label) {
			return i
		}
	}
	return -1
}

// step runs one statement.
func (s *Session) step(ctx context.Context, stmt ast.Statement) (flow, error) {
	switch stmt := stmt.(type) {
	case *ast.If:
		return s.runIf(ctx, stmt)
	case *ast.While:
		return s.runWhile(ctx, stmt)
	case *ast.Block:
		return s.runList(ctx, stmt.Statements)
	case *ast.TryCatch:
		return s.runTry(ctx, stmt)
	case *ast.Break:
		return flow{jump: breakLoop}, nil
	case *ast.Continue:
		return flow{jump: continueLoop}, nil
	case *ast.Goto:
		return flow{jump: goTo, label: stmt.Label}, nil
	case *ast.Label:
		return flow{}, nil
	case *ast.Return:
		return s.runReturn(ctx, stmt)
	case *ast.Declare:
		return flow{}, s.runDeclare(ctx, stmt)
	default:
		return flow{}, s.one(ctx, func() error { return s.perform(ctx, stmt) })
	}
}

// one runs what counts as one statement for @@ERROR.
func (s *Session) one(ctx context.Context, f func() error) error {
	err := f()
	s.watch()
	if err == nil {
		if !s.keepError {
			s.errorNumber = s.setError
		}
		s.setError, s.keepError = 0, false
		return nil
	}
	if ctx.Err() != nil {
		return givenUp(ctx, err)
	}
	if s.frame.text == nil { // a transaction-manager request: nobody else settles
		return s.settle(err)
	}
	return err
}

// givenUp is the error of a request that was cancelled: what the statement says
// of itself does not matter then, unless the database is gone.
func givenUp(ctx context.Context, err error) error {
	var broken *BrokenError
	if errors.As(err, &broken) {
		return err
	}
	return ctx.Err()
}

func (s *Session) runIf(ctx context.Context, stmt *ast.If) (flow, error) {
	yes, err := s.condition(ctx, stmt.Condition)
	switch {
	case err != nil:
		return flow{}, err
	case yes:
		return s.runList(ctx, []ast.Statement{stmt.Then})
	case stmt.Else != nil:
		return s.runList(ctx, []ast.Statement{stmt.Else})
	default:
		return flow{}, nil
	}
}

func (s *Session) runWhile(ctx context.Context, stmt *ast.While) (flow, error) {
	for {
		if err := ctx.Err(); err != nil {
			return flow{}, err
		}
		yes, err := s.condition(ctx, stmt.Condition)
		if err != nil || !yes {
			return flow{}, err
		}
		f, err := s.runList(ctx, []ast.Statement{stmt.Body})
		if err != nil {
			return flow{}, err
		}
		switch f.jump {
		case breakLoop:
			return flow{}, nil
		case leaveScope, goTo:
			return f, nil
		case proceed, continueLoop:
		}
	}
}

func (s *Session) runTry(ctx context.Context, stmt *ast.TryCatch) (flow, error) {
	frame := s.frame
	frame.tries++
	f, err := s.runList(ctx, stmt.Try)
	frame.tries--
	var caught *failure
	if err == nil || !errors.As(err, &caught) || caught.frame == frame || ctx.Err() != nil {
		return f, err
	}
	if s.txn.count > 0 && s.dooms(caught) {
		s.txn.doomed = true
	}
	s.errorNumber = caught.message.Number
	frame.caught = append(frame.caught, caught.message)
	f, err = s.runList(ctx, stmt.Catch)
	frame.caught = frame.caught[:len(frame.caught)-1]
	return f, err
}

// dooms says whether an error that a TRY catches leaves the transaction so that
// it can only be rolled back.
func (s *Session) dooms(f *failure) bool {
	return f.extent == endsTransaction || s.settings.xactAbort && !f.raised
}

func (s *Session) runReturn(ctx context.Context, stmt *ast.Return) (flow, error) {
	if stmt.Value == nil {
		return flow{jump: leaveScope}, nil
	}
	if s.frame.procedure == "" {
		return flow{}, s.compileFailure(classed(15, 1, 178, "A RETURN statement with a return value cannot be used in this context."))
	}
	v, err := s.evaluateAs(ctx, stmt.Value, sqltype.Type{Kind: sqltype.Int})
	if err != nil {
		return flow{}, err
	}
	if status, ok := v.(int64); ok {
		s.frame.status = int32(status)
	}
	return flow{jump: leaveScope}, nil
}

// asFailure makes an error of T-SQL one that settle can deal with; others are
// answered as they are.
func asFailure(err error) (*failure, bool) {
	var f *failure
	if errors.As(err, &f) {
		return f, true
	}
	var many Messages
	if errors.As(err, &many) && len(many) > 0 {
		last := len(many) - 1
		return &failure{message: many[last], before: many[:last], extent: extentOf(many[last].Number)}, true
	}
	var broken *BrokenError
	var m sqltype.Message
	if errors.As(err, &broken) || !errors.As(err, &m) {
		return nil, false
	}
	return &failure{message: m, extent: extentOf(m.Number)}, true
}

// compileFailure is an error that was found before the statement ran: it ends
// its batch or procedure, and a TRY of the same scope does not catch it.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/try-catch-transact-sql ("Errors Unaffected by a TRY...CATCH Construct")
func (s *Session) compileFailure(err error) error {
	f, ok := asFailure(err)
	if !ok {
		return err
	}
	f.frame = s.frame
	f.extent = endsScope
	return f
}

// statementFailure is an error of the compiler's. Some are such as SQL Server
// finds only when the statement runs: they end no more than that.
func (s *Session) statementFailure(err error) error {
	if f, ok := asFailure(err); ok && (f.message.Number == 544 || f.message.Number == 545 || f.message.Number == 4712) {
		return err
	}
	return s.compileFailure(err)
}

// located gives an error the place where it happened.
func (s *Session) located(err error, stmt ast.Statement) error {
	f, ok := asFailure(err)
	if !ok {
		return err
	}
	if f.message.Line == 0 {
		f.message.Line = int32(stmt.Position().Line)
	}
	if f.message.Procedure == "" && !f.rethrown {
		f.message.Procedure = s.frame.procedure
	}
	if f.frame == nil && refusal(f.message.Number) {
		// What follows counts on what was refused.
		f.frame, f.extent = s.frame, endsScope
	}
	switch stmt.(type) {
	case *ast.CreateIndex:
		f.terminated = f.message.Number == 1505
	case *ast.AlterTable:
		if f.message.Number == 1505 {
			f.before = append(f.before, f.message)
			f.message.Number, f.message.Text, f.terminated = 1750, "Could not create constraint or index. See previous errors.", true
		}
	case *ast.Insert, *ast.Update, *ast.Delete, *ast.Merge:
		f.terminated = f.frame == nil && f.extent == endsStatement && undoes(f.message.Number)
	default:
	}
	return f
}

// refusal says whether an error refuses a construct that the lab does not run.
func refusal(number int32) bool {
	switch number {
	case 40510, 40511, 40515, 40517:
		return true
	default:
		return false
	}
}

// undoes says whether an error is followed by the message that its statement
// was terminated: those are that are found at a row.
func undoes(number int32) bool {
	switch number {
	case 220, 512, 515, 547, 1222, 2601, 2627, 2628, 8115, 8134, 8672:
		return true
	default:
		return false
	}
}

// settle decides what becomes of an error: it goes on to a TRY, or it is sent to the
// client and ends as much as it has to.
func (s *Session) settle(err error) error {
	f, ok := asFailure(err)
	if !ok {
		var done reported
		if errors.As(err, &done) && done.extent == endsStatement {
			return nil
		}
		return err
	}
	if s.catchable(f) {
		return f
	}
	if err := s.report(f); err != nil {
		return err
	}
	if f.extent == endsStatement {
		return nil
	}
	return reported{extent: f.extent}
}

// catchable says whether an open TRY will catch the error.
func (s *Session) catchable(f *failure) bool {
	if f.message.Class >= 20 {
		return false
	}
	for frame := s.frame; frame != nil; frame = frame.parent {
		if frame.tries > 0 && f.frame != frame {
			return true
		}
	}
	return false
}

// report sends an error to the client and does to the transaction what it must.
func (s *Session) report(f *failure) error {
	if s.settings.xactAbort && !f.raised && f.frame == nil {
		f.extent, f.terminated = endsTransaction, false
	}
	s.errorNumber = f.message.Number
	s.rowCount = 0
	for _, m := range append(f.before, f.message) {
		if m.Line == 0 {
			m.Line, m.Procedure = f.message.Line, f.message.Procedure
		}
		if err := s.send(m); err != nil {
			return err
		}
	}
	if f.extent == endsTransaction && s.txn.count > 0 {
		if err := s.abandon(); err != nil {
			return err
		}
	}
	if f.terminated {
		if err := s.send(classed(0, 0, 3621, "The statement has been terminated.")); err != nil {
			return err
		}
	}
	return s.out.Done(sqltype.Done{Failed: true})
}

// send sends a message to the client.
func (s *Session) send(m sqltype.Message) error {
	if m.Line == 0 {
		m.Line = 1
	}
	if m.State == 0 {
		m.State = 1
	}
	m.Server = s.options.ServerName
	return s.out.Message(m)
}
