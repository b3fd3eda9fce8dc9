package tsql

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// typedValue is a value with its type.
type typedValue struct {
	value any
	kind  sqltype.Type
	// loose says that the value came as text, whatever its type was.
	loose bool
}

// guessType gives a bare value the type that it prints as.
func guessType(v any) typedValue {
	switch v.(type) {
	case int64:
		return typedValue{value: v, kind: bigIntType}
	case float64:
		return typedValue{value: v, kind: sqltype.Type{Kind: sqltype.Float, Precision: 53}}
	case sqltype.Number:
		return typedValue{value: v, kind: identityType}
	default:
		return typedValue{value: v, kind: textType}
	}
}

// printed is a value as text.
func printed(v any) string {
	t := guessType(v)
	return printedAs(t.value, t.kind)
}

// printedAs is a value of a type as text, as an assignment to a string makes it.
func printedAs(v any, t sqltype.Type) string {
	out, err := value.Convert(v, t, maxTextType)
	if err != nil {
		return fmt.Sprint(v)
	}
	text, _ := out.(string)
	return text
}

// print is PRINT.
func (s *Session) print(ctx context.Context, stmt *ast.Print) error {
	v, t, err := s.evaluate(ctx, stmt.Value)
	if err != nil {
		return err
	}
	text := " "
	if v != nil {
		text = value.Slice(printedAs(v, t), 0, 4000)
	}
	s.rowCount = 0
	m := information(0, "%s", text)
	m.Line = int32(stmt.Line)
	m.Procedure = s.frame.procedure
	return s.send(m)
}

// raiseError is RAISERROR.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql
func (s *Session) raiseError(ctx context.Context, stmt *ast.RaiseError) error {
	if stmt.Log {
		return refuse("RAISERROR WITH LOG")
	}
	m := sqltype.Message{Number: 50000, Line: int32(stmt.Line), Procedure: s.frame.procedure}
	severity, err := s.small(ctx, stmt.Severity, 0, 25)
	if err != nil {
		return err
	}
	if severity > 18 {
		return message(2754, "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH LOG option.")
	}
	state, err := s.small(ctx, stmt.State, 0, 255)
	if err != nil {
		return err
	}
	m.Class, m.State = uint8(severity), uint8(state)
	if err := s.raiseText(ctx, stmt, &m); err != nil {
		return err
	}
	s.rowCount = 0
	if m.Class > 10 {
		return &failure{message: m, extent: endsStatement, raised: true}
	}
	if stmt.SetError {
		s.setError = m.Number
	}
	m.Class = 0
	return s.send(m)
}

// raiseText finds the text of a RAISERROR; a number must be of sys.messages, which
// has no user messages in Azure SQL Database.
func (s *Session) raiseText(ctx context.Context, stmt *ast.RaiseError, m *sqltype.Message) error {
	v, t, err := s.evaluate(ctx, stmt.Message)
	if err != nil {
		return err
	}
	if value.IsInteger(t) {
		return message(18054, "Error %v, severity %d, state %d was raised, but no message with that error number was found in sys.messages. If error is larger than 50000, make sure the user-defined message is added using sp_addmessage.", v, m.Class, m.State)
	}
	args := make([]typedValue, len(stmt.Args))
	for i, a := range stmt.Args {
		if args[i].value, args[i].kind, err = s.evaluate(ctx, a); err != nil {
			return err
		}
	}
	text, err := formatMessage(printedAs(v, t), args)
	m.Text = text
	return err
}

// small is an argument that is a small number, held within its bounds.
func (s *Session) small(ctx context.Context, e ast.Expression, least, most int64) (int64, error) {
	v, err := s.evaluateAs(ctx, e, intType)
	if err != nil {
		return 0, err
	}
	n, _ := v.(int64)
	return min(max(n, least), most), nil
}

// throw is THROW.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/throw-transact-sql
func (s *Session) throw(ctx context.Context, stmt *ast.Throw) error {
	if stmt.Number == nil {
		m, ok := s.caught()
		if !ok {
			return s.compileFailure(classed(15, 1, 10704, "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement."))
		}
		return &failure{message: m, extent: endsBatch, rethrown: true}
	}
	number, err := s.evaluateAs(ctx, stmt.Number, intType)
	if err != nil {
		return err
	}
	n, ok := number.(int64)
	if !ok || n < 50000 {
		return message(35100, "Error number %v in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647.", number)
	}
	text, t, err := s.evaluate(ctx, stmt.Message)
	if err != nil {
		return err
	}
	state, err := s.small(ctx, stmt.State, 0, 255)
	if err != nil {
		return err
	}
	m := classed(16, uint8(state), int32(n), "%s", value.Slice(printedAs(text, t), 0, 2048))
	m.Line = int32(stmt.Line)
	m.Procedure = s.frame.procedure
	return &failure{message: m, extent: endsBatch}
}

// waitFor is WAITFOR.
func (s *Session) waitFor(ctx context.Context, stmt *ast.WaitFor) error {
	v, t, err := s.evaluate(ctx, stmt.Value)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(printedAs(v, t))
	if at, ok := v.(time.Time); ok {
		text = at.Format("15:04:05.000")
	}
	d, ok := parseDelay(text)
	if !ok {
		return classed(15, 1, 148, "Incorrect time syntax in time string '%s' used with WAITFOR.", text)
	}
	if stmt.Time {
		now := s.options.Now().UTC()
		d -= now.Sub(time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC))
		if d < 0 {
			d += 24 * time.Hour
		}
	}
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.options.After(d):
		return nil
	}
}

// parseDelay reads hh:mm[:ss[.mmm]].
func parseDelay(text string) (time.Duration, bool) {
	for _, layout := range []string{"15:04:05.999999999", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), true
		}
	}
	return 0, false
}
