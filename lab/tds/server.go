package tds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// acceptPause is how long the server waits when it cannot accept.
const acceptPause = 50 * time.Millisecond

// Server is a listening TDS server. It is safe for concurrent use.
type Server struct {
	options  Options
	listener net.Listener
	running  context.Context //nolint:containedctx // the server's lifetime
	cancel   context.CancelFunc
	wait     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// Start listens and serves until Close. ctx bounds the start alone.
//
//nolint:contextcheck // the server outlives its start
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Backend == nil || o.Certificate == nil {
		return nil, errors.New("a TDS server needs a backend and certificates")
	}
	o = o.withDefaults()
	listener, err := o.Listen(ctx, o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for TDS: %w", err)
	}
	running, cancel := context.WithCancel(context.Background())
	s := &Server{options: o, listener: listener, running: running, cancel: cancel, conns: map[net.Conn]bool{}}
	s.wait.Go(s.accept)
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close stops listening, breaks every connection and waits until their
// sessions are closed, or ctx ends.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	err := s.listener.Close()
	for conn := range s.conns {
		_ = conn.Close() // its reader notices
	}
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() { s.wait.Wait(); close(done) }()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("close the TDS server: %w", ctx.Err()))
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no file descriptor is left, for one: it passes
			s.options.Log.Error("tds.accept", "error", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.running.Done():
				return
			}
		}
		s.ServeConn(conn)
	}
}

// ServeConn serves a connection that came in by another way, such as a
// tunnel. It does not wait; the server closes the connection.
func (s *Server) ServeConn(conn net.Conn) {
	count, ok := s.enter(conn)
	if !ok {
		_ = conn.Close()
		return
	}
	go func() {
		defer s.wait.Done()
		defer s.leave(conn)
		s.serve(s.running, conn, count > s.options.MaxConnections)
	}()
}

// enter counts a connection in. At twice the limit there is no word with a
// client any more: it is only disconnected.
func (s *Server) enter(conn net.Conn) (count int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= 2*s.options.MaxConnections {
		return 0, false
	}
	s.conns[conn] = true
	s.wait.Add(1) // while the server is known not to be closing
	return len(s.conns), true
}

func (s *Server) leave(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}
