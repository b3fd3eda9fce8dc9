package memnet_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crosskeys/crosskeys/lab/memnet"
)

// pair dials a listener of its own.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	n := memnet.New()
	l, err := n.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	client, err = n.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestConnections(t *testing.T) {
	inBubble := func(name string, test func(t *testing.T, client, server net.Conn)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pair(t)
				test(t, client, server)
			})
		})
	}
	inBubble("what is sent is read, also after the sender has closed", func(t *testing.T, client, server net.Conn) {
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(server)
		if string(text) != "hello" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := server.Write([]byte("x")); err == nil {
			t.Error("a closed end was written to")
		}
		if err := client.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
	})
	inBubble("a half-closed connection still answers", func(t *testing.T, client, server net.Conn) {
		half, ok := client.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			t.Fatal("it cannot be half-closed")
		}
		if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := server.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	inBubble("a deadline ends a read that waits, and can be taken back", func(t *testing.T, client, server net.Conn) {
		began := time.Now()
		if err := client.SetReadDeadline(began.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, err := client.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write([]byte("z")); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	inBubble("a writer waits for a reader that is slow", func(t *testing.T, client, server net.Conn) {
		const size = 1 << 20
		go func() {
			time.Sleep(time.Hour)
			if n, err := io.Copy(io.Discard, io.LimitReader(server, size)); n != size || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}()
		began := time.Now()
		if n, err := client.Write(make([]byte, size)); n != size || err != nil || time.Since(began) != time.Hour {
			t.Errorf("%d, %v after %s", n, err, time.Since(began))
		}
	})
}

func TestAddresses(t *testing.T) {
	n := memnet.New()
	if _, err := n.Dial(t.Context(), "127.0.0.1:9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialed nobody: %v", err)
	}
	l, err := n.Listen(t.Context(), "127.0.0.1:1433")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(t.Context(), "127.0.0.1:1433"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepted on a closed listener: %v", err)
	}
	if _, err := n.Dial(t.Context(), "127.0.0.1:1433"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialed a closed listener: %v", err)
	}
	if _, err := n.Listen(t.Context(), "127.0.0.1:1433"); err != nil {
		t.Errorf("the port was not freed: %v", err)
	}
}
