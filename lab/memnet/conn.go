package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// room is how much a direction holds that was sent and not yet read.
const room = 256 << 10

// Pipe gives the two ends of a connection, whose addresses are here's and
// there's.
func Pipe(here, there net.Addr) (net.Conn, net.Conn) {
	one, other := newDirection(), newDirection()
	return &conn{in: one, out: other, local: here, remote: there}, &conn{in: other, out: one, local: there, remote: here}
}

// direction is what flows one way.
type direction struct {
	mu     sync.Mutex
	moved  *sync.Cond
	buffer []byte
	ended  bool // nothing more is sent
	gone   bool // nothing more is read

	reading, writing deadline
}

func newDirection() *direction {
	d := &direction{}
	d.moved = sync.NewCond(&d.mu)
	return d
}

// deadline is one that has passed, or will by its timer.
type deadline struct {
	passed bool
	timer  *time.Timer
	set    int // how often it was set: an old timer changes nothing
}

// until sets a deadline; the zero time takes it away.
func (d *direction) until(which *deadline, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if which.timer != nil {
		which.timer.Stop()
	}
	which.set++
	which.timer, which.passed = nil, false
	if !at.IsZero() {
		left := time.Until(at) //nolint:forbidigo // deadlines of connections are on the machine's clock
		if which.passed = left <= 0; !which.passed {
			set := which.set
			which.timer = time.AfterFunc(left, func() {
				d.mu.Lock()
				defer d.mu.Unlock()
				if which.set == set {
					which.passed = true
					d.moved.Broadcast()
				}
			})
		}
	}
	d.moved.Broadcast()
}

func (d *direction) read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.gone:
			return 0, net.ErrClosed
		case d.reading.passed:
			return 0, os.ErrDeadlineExceeded
		case len(d.buffer) > 0:
			n := copy(p, d.buffer)
			if d.buffer = d.buffer[n:]; len(d.buffer) == 0 {
				d.buffer = nil
			}
			d.moved.Broadcast()
			return n, nil
		case d.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		d.moved.Wait()
	}
}

func (d *direction) write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.ended:
			return n, net.ErrClosed
		case d.writing.passed:
			return n, os.ErrDeadlineExceeded
		case d.gone:
			return n, errReset
		case len(p) == 0:
			return n, nil
		}
		if free := room - len(d.buffer); free > 0 {
			sent := min(free, len(p))
			d.buffer = append(d.buffer, p[:sent]...)
			n, p = n+sent, p[sent:]
			d.moved.Broadcast()
			continue
		}
		d.moved.Wait()
	}
}

// end says that nothing more is sent, or, where gone, that nothing more is
// read.
func (d *direction) end(gone bool) (already bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gone {
		already, d.gone, d.buffer = d.gone, true, nil
	} else {
		already, d.ended = d.ended, true
	}
	d.moved.Broadcast()
	return already
}

// conn is one end.
type conn struct {
	in, out       *direction
	local, remote net.Addr
}

func (c *conn) failed(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // it is what Read gives, unwrapped
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read reads what the other end has sent.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.failed("read", err)
}

// Write sends, and waits where the other end is slow to read.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.failed("write", err)
}

// Close ends both directions. What was sent can still be read there.
func (c *conn) Close() error {
	c.out.end(false)
	if c.in.end(true) {
		return c.failed("close", net.ErrClosed)
	}
	return nil
}

// CloseWrite ends the sending direction.
func (c *conn) CloseWrite() error {
	c.out.end(false)
	return nil
}

// LocalAddr is this end's address.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline bounds reading and writing.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds reading, also what is under way.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.until(&c.in.reading, t)
	return nil
}

// SetWriteDeadline bounds writing, also what is under way.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.until(&c.out.writing, t)
	return nil
}
