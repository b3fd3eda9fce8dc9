package tds

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// reply is one request's answer: it writes the session's results as tokens.
// A packet goes out as soon as it is full; when the client does not read, the
// session waits.
type reply struct {
	out    *packetWriter
	server string // of messages that name none
	nbc    bool   // the client knows rows with a bitmap of NULLs
	// cancelled gives the reason why the request must end, or nil.
	cancelled func() error

	inCall  bool            // the answer to a call, whose end is DONEPROC
	params  []sqltype.Param // of the call
	status  bool            // the call's return status was sent
	columns []sqltype.Column
	done    doneToken // the statement's end that is held back
	held    bool
	failed  bool // an error was sent since the last statement's end
}

// doneToken is a DONE in waiting: whether more follows is not known yet.
type doneToken struct {
	token           byte
	status, command uint16
	count           int64
}

// begin starts a token: what was held back has a follower.
func (r *reply) begin() error {
	if err := r.cancelled(); err != nil {
		return err
	}
	if r.held {
		r.release(doneMore)
	}
	return r.out.err
}

// release writes the held DONE.
func (r *reply) release(more uint16) {
	r.out.buf = appendDone(r.out.buf, r.done.token, r.done.status|more, r.done.command, r.done.count)
	r.held = false
}

// Columns begins a result set.
// Source: MS-TDS 2.2.7.4, COLMETADATA
func (r *reply) Columns(columns []sqltype.Column) error {
	if err := r.begin(); err != nil {
		return err
	}
	if len(columns) > maxColumnCount {
		return fmt.Errorf("a result set of %d columns", len(columns))
	}
	r.columns = columns
	b := r.out.buf
	b = append(b, tokenColMetadata)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(columns))) //nolint:gosec // at most maxColumnCount
	for _, c := range columns {
		b = binary.LittleEndian.AppendUint32(b, 0) // user type
		b = binary.LittleEndian.AppendUint16(b, columnFlags(c))
		b = appendTypeInfo(b, c.Type)
		b = appendText8(b, c.Name)
	}
	r.out.buf = b
	return r.out.spill()
}

// columnFlags are the flags of a column.
func columnFlags(c sqltype.Column) uint16 {
	const nullable, updatable, identity, computed = 0x0001, 0x0008, 0x0010, 0x0020
	flags := uint16(updatable) // "may be": the server does not say more
	if c.Nullable {
		flags |= nullable
	}
	if c.Identity {
		flags |= identity
	}
	if c.ReadOnly {
		flags = flags&^updatable | computed
	}
	return flags
}

// Row sends a row.
func (r *reply) Row(values []any) error {
	if err := r.begin(); err != nil {
		return err
	}
	if len(values) != len(r.columns) {
		return fmt.Errorf("a row of %d values for %d columns", len(values), len(r.columns))
	}
	start := len(r.out.buf)
	compact := r.nbc && hasNull(values)
	if compact {
		r.out.buf = appendNullBitmap(append(r.out.buf, tokenNBCRow), values)
	} else {
		r.out.buf = append(r.out.buf, tokenRow)
	}
	for i, v := range values {
		if v == nil && compact {
			continue
		}
		b, err := appendValue(r.out.buf, r.columns[i].Type, v)
		if err != nil {
			r.out.buf = r.out.buf[:start]
			return fmt.Errorf("column %q: %w", r.columns[i].Name, err)
		}
		r.out.buf = b
	}
	return r.out.spill()
}

func hasNull(values []any) bool {
	for _, v := range values {
		if v == nil {
			return true
		}
	}
	return false
}

func appendNullBitmap(b []byte, values []any) []byte {
	start := len(b)
	b = append(b, make([]byte, (len(values)+7)/8)...)
	for i, v := range values {
		if v == nil {
			b[start+i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// Done ends a statement.
func (r *reply) Done(d sqltype.Done) error {
	if err := r.begin(); err != nil {
		return err
	}
	r.done = doneToken{token: tokenDone, command: d.Command}
	if r.inCall {
		r.done.token = tokenDoneInProc
	}
	if d.HasCount {
		r.done.status, r.done.count = doneCount, d.Count
	}
	if d.Failed || r.failed {
		r.done.status |= doneError
	}
	r.held, r.failed = true, false
	return nil
}

// Message sends an error or an information.
func (r *reply) Message(m sqltype.Message) error {
	if err := r.begin(); err != nil {
		return err
	}
	if m.Server == "" {
		m.Server = r.server
	}
	r.out.buf = appendMessage(r.out.buf, m)
	r.failed = r.failed || m.Class > infoClass
	return r.out.spill()
}

// ReturnStatus sends a procedure's return code. In a batch it ends an EXECUTE.
func (r *reply) ReturnStatus(code int32) error {
	if err := r.begin(); err != nil {
		return err
	}
	r.appendStatus(code)
	if !r.inCall {
		r.done = doneToken{token: tokenDoneProc}
		r.held = true
	}
	return nil
}

func (r *reply) appendStatus(code int32) {
	r.out.buf = binary.LittleEndian.AppendUint32(append(r.out.buf, tokenReturnStatus), uint32(code)) //nolint:gosec // its bits, as they are
	r.status = true
}

// ReturnValue sends an output parameter.
// Source: MS-TDS 2.2.7.19
func (r *reply) ReturnValue(p sqltype.Param) error {
	if err := r.begin(); err != nil {
		return err
	}
	start := len(r.out.buf)
	const outputParameter = 1
	b := r.out.buf
	b = append(b, tokenReturnValue)
	b = binary.LittleEndian.AppendUint16(b, uint16(r.ordinal(p.Name))) //nolint:gosec // at most maxParams
	b = appendText8(b, p.Name)
	b = append(b, outputParameter)
	b = binary.LittleEndian.AppendUint32(b, 0) // user type
	b = binary.LittleEndian.AppendUint16(b, 1) // nullable
	b = appendTypeInfo(b, p.Type)
	b, err := appendValue(b, p.Type, p.Value)
	if err != nil {
		r.out.buf = r.out.buf[:start]
		return fmt.Errorf("output parameter %q: %w", p.Name, err)
	}
	r.out.buf = b
	return r.out.spill()
}

// ordinal is a parameter's place in the call.
func (r *reply) ordinal(name string) int {
	for i, p := range r.params {
		if p.Output && strings.EqualFold(p.Name, name) {
			return i
		}
	}
	return 0
}

// DatabaseChanged tells of another current database; message 5701, which goes
// with it, is the session's to send.
func (r *reply) DatabaseChanged(from, to string) error {
	if err := r.begin(); err != nil {
		return err
	}
	r.out.buf = appendEnvText(r.out.buf, envDatabase, to, from)
	return r.out.spill()
}

// Transaction tells of a transaction's beginning or end.
func (r *reply) Transaction(state sqltype.TransactionState, descriptor uint64) error {
	if err := r.begin(); err != nil {
		return err
	}
	id := binary.LittleEndian.AppendUint64(nil, descriptor)
	switch state {
	case sqltype.TransactionBegan:
		r.out.buf = appendEnvBytes(r.out.buf, envBeginTran, id, nil)
	case sqltype.TransactionCommitted:
		r.out.buf = appendEnvBytes(r.out.buf, envCommitTran, nil, id)
	case sqltype.TransactionRolledBack:
		r.out.buf = appendEnvBytes(r.out.buf, envRollback, nil, id)
	default:
		return fmt.Errorf("the transaction state %d", state)
	}
	return r.out.spill()
}

// endCall ends a call: its return status, if the session sent none and did
// not fail, and DONEPROC.
func (r *reply) endCall() error {
	if err := r.begin(); err != nil {
		return err
	}
	if !r.status && !r.failed {
		r.appendStatus(0)
	}
	r.done = doneToken{token: tokenDoneProc}
	if r.failed {
		r.done.status = doneError
	}
	r.held, r.failed, r.status = true, false, false
	return nil
}

// end ends the reply: the last DONE says so, and the last packet goes out.
func (r *reply) end() error {
	if r.held {
		r.release(doneFinal)
		return r.out.finish()
	}
	status := doneFinal
	if r.failed {
		status = doneError
	}
	r.out.buf = appendDone(r.out.buf, tokenDone, status, 0, 0)
	return r.out.finish()
}

// acknowledge ends a reply that the client has cancelled.
func (r *reply) acknowledge() error {
	if r.held {
		r.release(doneMore)
	}
	r.out.buf = appendDone(r.out.buf, tokenDone, doneAttention, 0, 0)
	return r.out.finish()
}

// attend ends what there is of an answer, and acknowledges the attention in a
// message of its own: a client that has begun to read an answer looks for the
// acknowledgement in the one after it.
// Source: MS-TDS 2.2.1.7 (Attention)
func (r *reply) attend() error {
	r.cancelled = func() error { return nil }
	if err := r.end(); err != nil {
		return err
	}
	return r.acknowledge()
}
