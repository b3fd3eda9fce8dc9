// Package memnet is a loopback network in memory: listeners, and connections
// between them, without a socket. A lab on it can live in a bubble of
// testing/synctest, where time is virtual and whatever waits on a socket would
// hold the clock. Connections have buffers, deadlines, half-closes and resets
// as TCP's have; addresses are of 127.0.0.1.
package memnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// firstPort is the first that is given to a listener that asks for any.
const firstPort = 20000

// Network is one loopback. It is safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	listeners map[int]*listener
	next      int
}

// New makes a network on which nobody listens.
func New() *Network { return &Network{listeners: map[int]*listener{}, next: firstPort} }

// Listen opens a loopback address; the port 0 is any free one.
func (n *Network) Listen(_ context.Context, address string) (net.Listener, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("address %q: no port", address)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		port = n.free()
	}
	if n.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: addressOf(port), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, port: port, waiting: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[port] = l
	return l, nil
}

// free is a port that nobody has had. n.mu is held.
func (n *Network) free() int {
	n.next++
	return n.next
}

// Dial connects to a listener, and waits for it to accept. Where none listens
// the error is that of a refused connection.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: addressOf(port), Err: syscall.ECONNREFUSED}
	n.mu.Lock()
	l, from := n.listeners[port], n.free()
	n.mu.Unlock()
	if l == nil {
		return nil, refused
	}
	here, there := Pipe(addressOf(from), addressOf(port))
	select {
	case l.waiting <- there:
		return here, nil
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addressOf(port), Err: ctx.Err()}
	}
}

// listener is an open port.
type listener struct {
	network *Network
	port    int
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.waiting:
		return conn, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close frees the port. Connections that were accepted live on.
func (l *listener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed})
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.port)
		l.network.mu.Unlock()
		close(l.closed)
		err = nil
	})
	return err
}

// Addr is the port's address.
func (l *listener) Addr() net.Addr { return addressOf(l.port) }

func addressOf(port int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}

var errReset = errors.New("connection reset by peer")
