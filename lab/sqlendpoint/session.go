package sqlendpoint

import (
	"context"
	"errors"
	"strings"

	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// session is a client's session: the interpreter's, on a leased database. It
// ends when the lease does.
type session struct {
	endpoint     *Endpoint
	attempt      *attempt
	lease        *instance.Lease
	database     *database
	inner        *tsql.Session
	transactions int
}

// Done is closed when the database has gone away from under the session.
func (s *session) Done() <-chan struct{} { return s.lease.Done() }

// Reason is what the client reads then.
func (s *session) Reason() error { return ended(s.lease.Reason()) }

// Close ends the session and gives the database back.
func (s *session) Close() error {
	defer s.lease.Release()
	defer s.endpoint.unshare(s.lease.DB())
	err := s.inner.Close()
	if s.lease.Reason() == nil {
		return err
	}
	// Its connection was broken: that it cannot be closed well is known.
	s.endpoint.Log.Debug("sql.close", "database", s.lease.Ref().String(), "error", err)
	return nil
}

// Batch runs a batch.
func (s *session) Batch(ctx context.Context, text string, out sqltype.Results) error {
	return s.request(text, out, func(out sqltype.Results) error { return s.inner.Batch(ctx, text, out) })
}

// Call runs a remote procedure call.
func (s *session) Call(ctx context.Context, call sqltype.Call, out sqltype.Results) error {
	text := call.Procedure
	for _, p := range call.Params {
		if statement, ok := p.Value.(string); ok && strings.HasPrefix(call.Procedure, "sp_") {
			text = statement
			break
		}
	}
	return s.request(text, out, func(out sqltype.Results) error { return s.inner.Call(ctx, call, out) })
}

// Transaction begins, ends or marks a transaction.
func (s *session) Transaction(ctx context.Context, request sqltype.TransactionRequest, out sqltype.Results) error {
	return s.request("", out, func(out sqltype.Results) error { return s.inner.Transaction(ctx, request, out) })
}

// Reset gives the session the state that it had after its login.
func (s *session) Reset(ctx context.Context, keepTransaction bool) error {
	if !keepTransaction {
		s.transactions = 0
	}
	return s.told(s.inner.Reset(ctx, keepTransaction))
}

// request runs a request, and lets the session views know of it.
func (s *session) request(text string, out sqltype.Results, run func(sqltype.Results) error) error {
	s.lease.Begin(commandOf(text), text)
	counted := &counter{Results: out, session: s}
	err := run(counted)
	s.lease.End(instance.Counters{Rows: counted.rows}, s.transactions)
	return s.told(err)
}

// told makes an error of a database that has gone one that the client
// understands: it is to connect again.
func (s *session) told(err error) error {
	if err == nil {
		return nil
	}
	if reason := s.Reason(); reason != nil {
		return reason
	}
	var broken *tsql.BrokenError
	if errors.As(err, &broken) {
		s.endpoint.Log.Warn("sql.broken", "database", s.lease.Ref().String(), "error", err)
		return serviceError(40143)
	}
	return err
}

// commandOf is the command that sys.dm_exec_requests shows of a text.
func commandOf(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch word = strings.ToUpper(word); word {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WAITFOR":
		return word
	}
	return "EXECUTE"
}

// counter passes results on and counts them.
type counter struct {
	sqltype.Results
	session *session
	rows    uint64
}

// Row counts a row.
func (c *counter) Row(values []any) error {
	c.rows++
	return c.Results.Row(values)
}

// Transaction keeps count of the session's transaction.
func (c *counter) Transaction(state sqltype.TransactionState, descriptor uint64) error {
	c.session.transactions = 0
	if state == sqltype.TransactionBegan {
		c.session.transactions = 1
	}
	return c.Results.Transaction(state, descriptor)
}
