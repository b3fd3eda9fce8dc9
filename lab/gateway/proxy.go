package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// serveProxy answers the proxy's side: CONNECT to a name that the lab serves
// becomes a connection of its own TLS server; everything else is refused and
// told to the log, since it would have left the machine.
func (g *Gateway) serveProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		g.refuse(w, r, "This is the lab's proxy: it takes CONNECT to port 443 of Azure's names and port 1433 of its SQL servers, and no plain HTTP.")
		return
	}
	if !g.reaches(r.Host) && !g.reachesSQL(r.Host) {
		g.refuse(w, r, fmt.Sprintf("The lab does not serve %s, and connects to nothing else: no request of a program that runs in the lab leaves this machine.", r.Host))
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		g.options.Log.Error("proxy.failed", "host", r.Host, "error", err)
		return
	}
	// The deadlines of the request do not hold for the tunnel.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		g.options.Log.Debug("proxy.failed", "host", r.Host, "error", err)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close() // the client has gone
		return
	}
	// A hasty client may have begun with TLS already.
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err != nil {
		g.options.Log.Debug("proxy.failed", "host", r.Host, "error", err)
	}
	through := &tunnel{Conn: conn, early: early}
	if g.reachesSQL(r.Host) {
		g.options.SQL(through)
		return
	}
	if !g.tunnels.hand(through) {
		_ = conn.Close() // the lab is closing
	}
}

// reaches reports whether a CONNECT target is the lab: a served name on the
// port of HTTPS, or the lab's own address on its own port.
func (g *Gateway) reaches(target string) bool {
	host, port, err := net.SplitHostPort(target)
	if err != nil || !g.options.Hosts(host) {
		return false
	}
	lower := strings.ToLower(host)
	if isLocal(lower) {
		return port == g.port
	}
	if destinationOf(lower) == toSQL {
		return false
	}
	return port == "443" || (port == g.port && strings.HasSuffix(lower, "."+localVaultSuffix))
}

// sqlPort is where logical servers listen.
const sqlPort = "1433"

// reachesSQL reports whether a CONNECT target is a logical server or a
// failover group's listener.
func (g *Gateway) reachesSQL(target string) bool {
	host, port, err := net.SplitHostPort(target)
	return err == nil && g.options.SQL != nil && port == sqlPort && destinationOf(host) == toSQL
}

func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, why string) {
	g.options.Log.Warn("proxy.refused", "method", r.Method, "host", r.Host)
	w.Header().Set("Connection", "close")
	http.Error(w, why, http.StatusForbidden)
}

// tunnel is a client's connection after CONNECT. What the client sent along
// with that is read first. As with every connection, one goroutine reads.
type tunnel struct {
	net.Conn
	early []byte
}

// CloseWrite ends the sending side, where the connection can.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Read reads what the proxy had buffered, then from the connection.
func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.early) == 0 {
		return t.Conn.Read(p)
	}
	n := copy(p, t.early)
	t.early = t.early[n:]
	return n, nil
}

// tunnels is the listener on which the TLS server accepts the proxy's tunnels,
// so that they take no second way through the network.
type tunnels struct {
	address net.Addr
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newTunnels(address net.Addr) *tunnels {
	return &tunnels{address: address, waiting: make(chan net.Conn), closed: make(chan struct{})}
}

// hand gives a connection to the server; false when that has ended.
func (t *tunnels) hand(conn net.Conn) bool {
	select {
	case t.waiting <- conn:
		return true
	case <-t.closed:
		return false
	}
}

// Accept waits for the next tunnel.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.waiting:
		return conn, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (t *tunnels) Close() error {
	t.shut()
	return nil
}

func (t *tunnels) shut() { t.once.Do(func() { close(t.closed) }) }

// Addr is the HTTPS side's address.
func (t *tunnels) Addr() net.Addr { return t.address }
