package tds

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// breakGrace is how long a request may take to notice that its session has
// ended, before the connection is cut.
const breakGrace = 2 * time.Second

// run answers requests until the client leaves, the session ends or ctx does.
// It waits for the reader before it returns.
func (c *connection) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.inbox = newInbox(&c.reader)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.inbox.read(ctx)
	}()
	stop := c.watch()
	err := c.answerAll(ctx)
	stop()
	close(c.inbox.closed)
	timer := time.AfterFunc(lingering, func() { _ = c.socket.Close() })
	defer timer.Stop()
	c.closeWrite()
	<-done
	return err
}

// watch breaks the request off that runs when the session ends by itself.
func (c *connection) watch() (stop func()) {
	ender, ok := c.session.(Ender)
	if !ok {
		return func() {}
	}
	stopped := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-stopped:
			return
		case <-ender.Done():
		}
		c.inbox.breakOff(endedBy(ender))
		select {
		case <-stopped:
		case <-time.After(breakGrace): // it writes to a client that does not read
			_ = c.socket.Close()
		}
	}()
	return func() { close(stopped); <-finished }
}

// endedBy is why a session has ended by itself.
func endedBy(ender Ender) error {
	if reason := ender.Reason(); reason != nil {
		return reason
	}
	return errGone
}

// ended is the session's own end; nil never comes.
func (c *connection) ended() <-chan struct{} {
	if ender, ok := c.session.(Ender); ok {
		return ender.Done()
	}
	return nil
}

func (c *connection) answerAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ended():
			return errors.New("the session has ended")
		case r, ok := <-c.inbox.arrived:
			if !ok {
				if err := c.inbox.reason(); !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			if err := c.answer(r); err != nil {
				return err
			}
		}
	}
}

// answer works on one request. An error ends the connection.
func (c *connection) answer(r *request) error {
	defer r.cancel(nil)
	out := &reply{
		out: c.writer, server: c.info.ServerName, nbc: c.login.TDSVersion >= tdsVersion73 || c.login.TDSVersion == tdsVersion80,
		cancelled: func() error {
			if r.ctx.Err() != nil {
				return context.Cause(r.ctx)
			}
			return nil
		},
	}
	var failure error
	switch {
	case r.kind == packetAttention: // nothing was running
		c.inbox.finish(r)
		return out.acknowledge()
	case r.ignored:
		out.failed = true
	default:
		failure = c.execute(r, out)
	}
	if failure == nil {
		failure = brokenOff(r.ctx)
	}
	if c.inbox.finish(r) {
		return out.attend()
	}
	if failure == nil {
		return out.end()
	}
	if errors.Is(failure, errGone) || c.writer.err != nil {
		return failure
	}
	return c.endWith(failure, out)
}

// brokenOff is why a request ended before its time, whatever its session made
// of that: a client must not take the half of an answer for the whole.
func brokenOff(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// endWith sends why the connection ends, after what was sent already. A
// refusal alone does not end it.
func (c *connection) endWith(failure error, out *reply) error {
	out.cancelled = func() error { return nil }
	for _, m := range c.messages(failure) {
		m.Class = max(m.Class, firstErrorClass)
		if err := out.Message(m); err != nil {
			return err
		}
	}
	err := out.end()
	var refused refusal
	if errors.As(failure, &refused) {
		return err
	}
	return errors.Join(failure, err)
}

// refusal is a request that the server does not take, though it is TDS.
type refusal struct{ error }

// Unwrap gives the message.
func (r refusal) Unwrap() error { return r.error }

// refused marks a parser's message as a refusal; a broken stream ends the
// connection.
func refused(err error) error {
	var m sqltype.Message
	if errors.As(err, &m) {
		return refusal{err}
	}
	return err
}

// execute hands a request to the session.
func (c *connection) execute(r *request, out *reply) error {
	switch r.kind {
	case packetBatch, packetRPC, packetTransaction:
		if err := c.reset(r, out); err != nil {
			return err
		}
	case packetBulk:
		return refusal{unsupported("BULK INSERT")}
	default:
		return malformed("a message of type %d after the login", r.kind)
	}
	switch r.kind {
	case packetBatch:
		text, err := parseBatch(r.body)
		if err != nil {
			return err
		}
		return c.session.Batch(r.ctx, text, out)
	case packetRPC:
		return c.call(r, out)
	default:
		request, err := parseTransaction(r.body)
		if err != nil {
			return refused(err)
		}
		return c.session.Transaction(r.ctx, request, out)
	}
}

// reset gives the session its first state when the request asks for it.
func (c *connection) reset(r *request, out *reply) error {
	if r.status&(statusReset|statusResetKeepTran) == 0 {
		return nil
	}
	if err := c.session.Reset(r.ctx, r.status&statusResetKeepTran != 0); err != nil {
		return err
	}
	out.out.buf = appendEnvBytes(out.out.buf, envResetAck, nil, nil)
	return nil
}

// call runs the calls of a request one after the other.
func (c *connection) call(r *request, out *reply) error {
	calls, err := parseCalls(r.body)
	if err != nil {
		return refused(err)
	}
	for _, call := range calls {
		out.inCall, out.params = true, call.Params
		if err := c.session.Call(r.ctx, call, out); err != nil {
			return err
		}
		if err := out.endCall(); err != nil {
			return err
		}
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
