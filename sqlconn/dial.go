package sqlconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ProxyFunc chooses a proxy for a request; nil for none.
type ProxyFunc func(*http.Request) (*url.URL, error)

// FromEnvironment dials through the proxy that HTTPS_PROXY and NO_PROXY name
// for the host, by CONNECT to its port 1433, and directly where they name none.
// choose nil takes the environment's choice. What a proxy refuses is not dialed
// around it: a rehearsal in a lab must not leave the lab.
func FromEnvironment(choose ProxyFunc) DialFunc {
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	direct := &net.Dialer{KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		proxy, err := choose(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
		if err != nil {
			return nil, fmt.Errorf("find the proxy for %s: %w", address, err)
		}
		if proxy == nil {
			return direct.DialContext(ctx, network, address)
		}
		return through(ctx, direct, proxy, address)
	}
}

// ProxyError is a proxy's refusal to connect.
type ProxyError struct {
	Proxy   string // host:port
	Address string // that was asked for
	Status  int    // of HTTP
}

// Error says what was refused.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %s answered %d %s when asked to connect to %s", e.Proxy, e.Status, http.StatusText(e.Status), e.Address)
}

// through asks an HTTP proxy to connect to address.
// Source: https://www.rfc-editor.org/rfc/rfc9110#name-connect
func through(ctx context.Context, direct *net.Dialer, proxy *url.URL, address string) (net.Conn, error) {
	host := proxy.Host
	if proxy.Port() == "" {
		host = net.JoinHostPort(proxy.Hostname(), map[string]string{"http": "80", "https": "443"}[proxy.Scheme])
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("a proxy of the kind %q is not supported for SQL: use an http one, or name the host in NO_PROXY", proxy.Scheme)
	}
	conn, err := direct.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("reach the proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	tunnel, err := connect(conn, proxy, address)
	if err != nil {
		stop()
		_ = conn.Close() // what went wrong before counts
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, err
	}
	if !stop() {
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	return tunnel, nil
}

func connect(conn net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, fmt.Errorf("the proxy's answer: %w", err)
	}
	_ = answer.Body.Close() // an answer to CONNECT has none that matters
	if answer.StatusCode != http.StatusOK {
		return nil, &ProxyError{Proxy: proxy.Host, Address: address, Status: answer.StatusCode}
	}
	if reader.Buffered() == 0 {
		return conn, nil
	}
	return &buffered{Conn: conn, reader: reader}, nil
}

// buffered is a connection of which something has been read ahead.
type buffered struct {
	net.Conn
	reader *bufio.Reader
}

// Read reads what was read ahead first.
func (b *buffered) Read(p []byte) (int, error) { return b.reader.Read(p) }
