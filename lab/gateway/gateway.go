package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Limits of a connection to the lab.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 2 * time.Minute
	answerTimeout  = 15 * time.Minute // the lab's own calls may seed a scenario in slow motion
	idleTimeout    = 5 * time.Minute
	maxHeaderLen   = 64 << 10
	maxBodyLen     = 16 << 20               // the services have closer limits of their own
	linger         = 100 * time.Millisecond // for the last answers to get out
)

// Options are what the gateway needs.
type Options struct {
	CA      *CA
	Handler http.Handler // of the HTTPS side, a *Router
	// Hosts reports whether a name, without a port, is served: Served.
	Hosts func(host string) bool
	// HTTPSAddr and ProxyAddr are the loopback addresses to listen on; empty is
	// 127.0.0.1 and a free port.
	HTTPSAddr, ProxyAddr string
	// Listen opens an address that is known to be loopback; nil: a socket.
	Listen func(ctx context.Context, address string) (net.Listener, error)
	// SQL serves the proxy's tunnels to port 1433 of logical servers' names, and
	// closes them; nil: there are none.
	SQL func(net.Conn)
	// Log is told of refused hosts and failed handshakes; nil drops it.
	Log *slog.Logger
}

// Gateway is a front door that is open. It is safe for concurrent use.
type Gateway struct {
	options      Options
	https, proxy *http.Server
	httpsAddr    string
	proxyAddr    string
	port         string // of the HTTPS side
	tunnels      *tunnels
	requests     requests   // on the HTTPS side
	served       chan error // one from each Serve
	serving      int
}

// Start opens both listeners and returns when they take connections. ctx
// bounds the opening alone; the gateway runs until Close. An address that is
// not loopback is refused: nobody but this machine may reach the lab.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Listen == nil {
		o.Listen = listenTCP
	}
	httpsListener, err := o.listen(ctx, o.HTTPSAddr)
	if err != nil {
		return nil, fmt.Errorf("open the lab's HTTPS address: %w", err)
	}
	proxyListener, err := o.listen(ctx, o.ProxyAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the lab's proxy address: %w", err), httpsListener.Close())
	}
	g := &Gateway{
		options: o, httpsAddr: httpsListener.Addr().String(), proxyAddr: proxyListener.Addr().String(),
		tunnels: newTunnels(httpsListener.Addr()), served: make(chan error, 3),
	}
	if _, g.port, err = net.SplitHostPort(g.httpsAddr); err != nil {
		return nil, errors.Join(err, httpsListener.Close(), proxyListener.Close())
	}
	g.https = g.newServer(g.requests.count(http.MaxBytesHandler(o.Handler, maxBodyLen)))
	g.https.TLSConfig = &tls.Config{GetCertificate: o.CA.GetCertificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	g.proxy = g.newServer(http.HandlerFunc(g.serveProxy))
	// Proxies are spoken to in HTTP/1.1; a tunnel is a connection of its own.
	g.proxy.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	g.serve(func() error { return g.https.ServeTLS(httpsListener, "", "") })
	g.serve(func() error { return g.https.ServeTLS(g.tunnels, "", "") })
	g.serve(func() error { return g.proxy.Serve(proxyListener) })
	o.Log.Debug("gateway.open", "https", g.httpsAddr, "proxy", g.proxyAddr)
	return g, nil
}

func (g *Gateway) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderLen, ErrorLog: slog.NewLogLogger(g.options.Log.Handler(), slog.LevelDebug),
	}
}

func (g *Gateway) serve(run func() error) {
	g.serving++
	go func() { g.served <- run() }()
}

// listen opens a loopback address.
func (o Options) listen(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %q is not loopback: the lab listens on 127.0.0.1, ::1 or localhost only", address)
	}
	return o.Listen(ctx, net.JoinHostPort(host, port))
}

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// BaseURL is the lab's own address, https://localhost:PORT.
func (g *Gateway) BaseURL() string { return "https://localhost:" + g.port }

// ProxyURL is the CONNECT proxy's address, for HTTPS_PROXY.
func (g *Gateway) ProxyURL() string { return "http://" + g.proxyAddr }

// HTTPSAddr is the IP address and port of the HTTPS side.
func (g *Gateway) HTTPSAddr() string { return g.httpsAddr }

// Close stops taking connections, lets running requests end until ctx is
// done, and then cuts what is left. Connections on which nothing is asked are
// not waited for. It may be called once.
func (g *Gateway) Close(ctx context.Context) error {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	g.tunnels.shut()
	go func() {
		// A server by itself would wait seconds for connections that clients
		// opened in reserve, and one for those of HTTP/2.
		select {
		case <-g.requests.ended():
			time.AfterFunc(linger, cut)
		case <-ctx.Done():
		}
	}()
	var failures []error
	for _, server := range []*http.Server{g.https, g.proxy} {
		err := server.Shutdown(ctx)
		if err != nil && ctx.Err() != nil {
			err = server.Close()
		}
		failures = append(failures, err)
	}
	for range g.serving {
		if err := <-g.served; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("close the lab's front door: %w", err)
	}
	return nil
}
