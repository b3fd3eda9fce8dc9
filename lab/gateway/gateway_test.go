package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/gateway"
)

func TestRouting(t *testing.T) {
	f := open(t, gateway.Options{})
	own := f.BaseURL()
	for _, c := range []struct{ name, url, want string }{
		{"Resource Manager's name", "https://management.azure.com/subscriptions?api-version=1", "arm GET /subscriptions"},
		{"its older name", "https://management.core.windows.net/x", "arm GET /x"},
		{"its name in another cloud", "https://management.chinacloudapi.cn/x", "arm GET /x"},
		{"a name in capitals", "https://MANAGEMENT.Azure.COM/x", "arm GET /x"},
		{"double slashes are kept", "https://management.azure.com//subscriptions//s/../x", "arm GET //subscriptions//s/../x"},
		{"a vault", "https://kv-one.vault.azure.net//keys/k/create", "vault GET //keys/k/create"},
		{"a vault of another cloud", "https://kv.vault.usgovcloudapi.net/keys", "vault GET /keys"},
		{"a sign-in host", "https://login.microsoftonline.com/" + tenant + "/v2.0/.well-known/openid-configuration", `"issuer":"https://login.microsoftonline.com/` + tenant + `/v2.0"`},
		{"a sign-in host in China", "https://login.chinacloudapi.cn/" + tenant + "/discovery/keys", `"keys":[`},
		{"Graph", "https://graph.microsoft.com/v1.0/me", `"Access token is empty."`},
		{"the metadata at Resource Manager's name", "https://management.azure.com/metadata/endpoints?api-version=2022-09-01", `"name":"AzureCloud"`},

		{"the lab's address is Resource Manager", own + "/subscriptions", "arm GET /subscriptions"},
		{"the lab's address with a double slash", own + "//subscriptions", "arm GET //subscriptions"},
		{"the lab's metadata", own + "/metadata/endpoints?api-version=2022-09-01", `"resourceManager":"` + own + `"`},
		{"the lab's metadata with a double slash", own + "//metadata/endpoints?api-version=2015-01-01", `"loginEndpoint":"` + own + `/adfs"`},
		{"the lab's ADFS", own + "/adfs/.well-known/openid-configuration", `"token_endpoint":"` + own + `/adfs/oauth2/token"`},
		{"the lab's sign-in by tenant id", own + "/" + tenant + "/v2.0/.well-known/openid-configuration", `"issuer":"` + own + "/" + tenant + `/v2.0"`},
		{"the lab's sign-in by domain name", own + "/crosskeyslab.onmicrosoft.com/.well-known/openid-configuration", `"token_endpoint":"` + own + "/" + tenant + `/oauth2/token"`},
		{"the lab's instance discovery", own + "/common/discovery/instance", "invalid_instance"},
		{"the lab's signing keys", own + "/" + tenant + "/discovery/v2.0/keys", `"keys":[`},
		{"the lab's Graph", own + "/v1.0/me", "Access token is empty."},
		{"the lab's identity endpoint", own + "/msi/token", "not supported"},
		{"the lab's machine identity endpoint", own + "/metadata/identity/oauth2/token", "metadata header"},
		{"the lab's own calls", own + "/_lab/status", "control GET /_lab/status"},
		{"a GUID that begins a path of Resource Manager", own + "/" + tenant + "/other", "arm GET"},
		{"a provider's name has dots and is no tenant", own + "/providers/Microsoft.Sql/x", "arm GET /providers/Microsoft.Sql/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxied := !strings.HasPrefix(c.url, own)
			if status, body := get(t, f.client(proxied), c.url); !strings.Contains(body, c.want) {
				t.Errorf("got %d %s, want %s", status, body, c.want)
			}
		})
	}
	t.Run("a Host that is not served gets 421", func(t *testing.T) {
		for _, host := range []string{"example.com", "one.database.windows.net", "vault.azure.net", "a.b.vault.azure.net", "kv.vault.azure.net.example.com"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, own+"/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = host
			if status, body := send(t, f.client(false), request); status != http.StatusMisdirectedRequest || !strings.Contains(body, "does not serve") {
				t.Errorf("%s: %d %s", host, status, body)
			}
		}
	})
}

func TestServed(t *testing.T) {
	for host, want := range map[string]bool{
		"login.microsoftonline.com": true, "LOGIN.microsoftonline.com": true, "sts.windows.net": true, "management.azure.com": true,
		"graph.microsoft.com": true, "kv.vault.azure.net": true, "kv.vault.localhost": true, "localhost": true, "127.0.0.1": true, "::1": true,
		"": false, "example.com": false, "vault.azure.net": false, ".vault.azure.net": false, "a.b.vault.azure.net": false, "-.vault.azure.net": false,
		"one.database.windows.net": true, "fog.secondary.database.windows.net": true, "a.b.database.windows.net": false, "database.windows.net": false, "notmanagement.azure.com": false, "127.0.0.2": false, "10.0.0.1": false, "kv.vault.azure.net:443": false,
	} {
		if got := gateway.Served(host); got != want {
			t.Errorf("Served(%q) = %t, want %t", host, got, want)
		}
	}
}

func TestBothProtocolsAndKeepAlive(t *testing.T) {
	f := open(t, gateway.Options{})
	for _, c := range []struct {
		name  string
		http2 bool
		want  string
	}{{"HTTP/2", true, "HTTP/2.0"}, {"HTTP/1.1", false, "HTTP/1.1"}} {
		for _, proxied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, proxied %t", c.name, proxied), func(t *testing.T) {
				client := f.client(proxied)
				transport, ok := client.Transport.(*http.Transport)
				if !ok {
					t.Fatal("not a transport")
				}
				if !c.http2 {
					transport.ForceAttemptHTTP2 = false
					transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
				}
				dialled := 0
				transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					dialled++
					return new(net.Dialer).DialContext(ctx, network, address)
				}
				target := "https://localhost:" + port(t, f.BaseURL()) + "/x"
				if proxied {
					target = "https://management.azure.com/x"
				}
				for range 3 {
					if _, body := get(t, client, target); !strings.HasSuffix(body, c.want) {
						t.Errorf("got %s", body)
					}
				}
				if dialled != 1 {
					t.Errorf("%d connections for 3 calls", dialled)
				}
			})
		}
	}
}

func port(t *testing.T, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Port()
}

func TestBodies(t *testing.T) {
	f := open(t, gateway.Options{})
	for _, c := range []struct {
		name string
		size int
		want int
	}{{"a body of a megabyte goes through", 1 << 20, http.StatusOK}, {"one beyond all measure is cut off", 17 << 20, http.StatusRequestEntityTooLarge}} {
		t.Run(c.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://kv.vault.azure.net//keys/k/create", bytes.NewReader(make([]byte, c.size)))
			if err != nil {
				t.Fatal(err)
			}
			if status, body := send(t, f.client(true), request); status != c.want {
				t.Errorf("got %d %.80s", status, body)
			}
		})
	}
	t.Run("headers beyond all measure are refused", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.BaseURL()+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Long", strings.Repeat("x", 128<<10))
		client := f.client(false)
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = false //nolint:errcheck // a panic fails the test
		if status, _ := send(t, client, request); status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %d", status)
		}
	})
}

// buffer is a log that tests may read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestTheProxyLeadsNowhereElse(t *testing.T) {
	log := &buffer{}
	f := open(t, gateway.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	// Somebody else's server on this machine: what the proxy would reach if it
	// ever opened a connection.
	var config net.ListenConfig
	other, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	reached := make(chan struct{})
	go func() {
		if conn, err := other.Accept(); err == nil {
			close(reached)
			_ = conn.Close()
		}
	}()
	otherPort := port(t, "http://"+other.Addr().String())
	for _, target := range []string{
		"example.com:443", "one.database.windows.net:443", "one.database.windows.net:1433", "management.azure.com:80", "management.azure.com:" + otherPort,
		"localhost:443", "localhost:" + otherPort, "127.0.0.1:" + otherPort, "[::1]:" + otherPort, "kv.vault.localhost:" + otherPort,
		"management.azure.com", "management.azure.com.example.com:443", "169.254.169.254:80", "vault.azure.net:443",
	} {
		t.Run("CONNECT "+target+" is refused", func(t *testing.T) {
			status, body := raw(t, f, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n")
			if status != http.StatusForbidden || !strings.Contains(body, target) || !strings.Contains(body, "does not serve") {
				t.Errorf("got %d %s", status, body)
			}
			if !strings.Contains(log.String(), "proxy.refused") || !strings.Contains(log.String(), target) {
				t.Errorf("the log does not tell: %s", log.String())
			}
		})
	}
	for name, line := range map[string]string{
		"plain HTTP to another server":             "GET http://127.0.0.1:" + otherPort + "/ HTTP/1.1\r\nHost: 127.0.0.1:" + otherPort,
		"plain HTTP to a served name":              "GET http://management.azure.com/ HTTP/1.1\r\nHost: management.azure.com",
		"plain HTTP to the machine's own identity": "GET http://169.254.169.254/metadata/instance HTTP/1.1\r\nHost: 169.254.169.254",
		"a page of the proxy itself":               "GET / HTTP/1.1\r\nHost: localhost",
		"a POST by plain HTTP":                     "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0",
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if status, body := raw(t, f, line+"\r\n\r\n"); status != http.StatusForbidden || !strings.Contains(body, "no plain HTTP") {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	t.Run("a client of the SDK's kind is told", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := f.client(true).Do(request)
		if err == nil {
			_ = response.Body.Close()
			t.Fatal("it got an answer")
		}
		if !strings.Contains(err.Error(), "Forbidden") {
			t.Errorf("it is told: %v", err)
		}
	})
	select {
	case <-reached:
		t.Error("the proxy opened a connection to another server")
	default:
	}
}

// raw writes bytes to the proxy and reads its answer.
func raw(t *testing.T, f *front, text string) (status int, body string) {
	t.Helper()
	conn := dialProxy(t, f)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(read)
}

func dialProxy(t *testing.T, f *front) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.ProxyURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTunnels(t *testing.T) {
	f := open(t, gateway.Options{})
	t.Run("the lab's own address is reached by the proxy too", func(t *testing.T) {
		for _, host := range []string{"localhost", "127.0.0.1", "kv.vault.localhost"} {
			if status, body := get(t, f.client(true), "https://"+host+":"+port(t, f.BaseURL())+"/x"); status != http.StatusOK {
				t.Errorf("%s: %d %s", host, status, body)
			}
		}
	})
	t.Run("a client that begins TLS before the proxy has answered is served", func(t *testing.T) {
		conn := dialProxy(t, f)
		hasty := &hastyConn{Conn: conn, head: "CONNECT management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\n\r\n"}
		secure := tls.Client(hasty, &tls.Config{RootCAs: f.ca.Pool(), ServerName: "management.azure.com", MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(secure, "GET /x HTTP/1.1\r\nHost: management.azure.com\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(secure), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("got %d", response.StatusCode)
		}
	})
}

// hastyConn sends the CONNECT and the first flight of TLS as one, and skips
// the proxy's answer when it reads.
type hastyConn struct {
	net.Conn
	head    string
	skipped bool
}

func (c *hastyConn) Write(p []byte) (int, error) {
	text := append([]byte(c.head), p...)
	c.head = ""
	_, err := c.Conn.Write(text)
	return len(p), err
}

func (c *hastyConn) Read(p []byte) (int, error) {
	if !c.skipped {
		c.skipped = true
		answer := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
		if _, err := io.ReadFull(c.Conn, answer); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func TestAddresses(t *testing.T) {
	ca := openCA(t, t.TempDir())
	for address, good := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "": true, "127.0.0.2:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "10.0.0.1:0": false, "example.com:0": false, "127.0.0.1": false,
	} {
		for _, proxy := range []bool{false, true} {
			o := gateway.Options{CA: ca, Handler: named("x"), Hosts: gateway.Served, HTTPSAddr: address}
			if proxy {
				o.HTTPSAddr, o.ProxyAddr = "", address
			}
			g, err := gateway.Start(t.Context(), o)
			if (err == nil) != good {
				t.Errorf("%q, as the proxy's %t: %v", address, proxy, err)
			}
			if err == nil {
				if err := g.Close(t.Context()); err != nil {
					t.Error(err)
				}
			} else if address != "127.0.0.1" && !strings.Contains(err.Error(), "not loopback") {
				t.Errorf("%q: the refusal does not say why: %v", address, err)
			}
		}
	}
}

func TestClose(t *testing.T) {
	ca := openCA(t, t.TempDir())
	inside, release := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	g, err := gateway.Start(t.Context(), gateway.Options{CA: ca, Handler: slow, Hosts: gateway.Served})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{Gateway: g, ca: ca}
	answer := make(chan string, 1)
	go func() {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.BaseURL()+"/", nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		response, err := f.client(false).Do(request)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		answer <- string(text) + fmt.Sprint(err)
	}()
	<-inside
	dialProxy(t, f) // on which nothing is ever asked
	closed := make(chan error, 1)
	began := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		closed <- g.Close(ctx)
	}()
	close(release)
	if got := <-answer; got != "done<nil>" {
		t.Errorf("the running request ended with %s", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing took %s: an idle connection was waited for", took)
	}
	if conn, err := net.DialTimeout("tcp", g.HTTPSAddr(), time.Second); err == nil { //nolint:noctx // one attempt at loopback
		_ = conn.Close()
		t.Error("the address still takes connections")
	}
}

func TestCloseCutsWhatDoesNotEnd(t *testing.T) {
	ca := openCA(t, t.TempDir())
	inside := make(chan struct{})
	stuck := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	g, err := gateway.Start(t.Context(), gateway.Options{CA: ca, Handler: stuck, Hosts: gateway.Served})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{Gateway: g, ca: ca}
	go func() {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://management.azure.com/", nil)
		if err != nil {
			return
		}
		if response, err := f.client(true).Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTunnelsToSQL(t *testing.T) {
	arrived := make(chan net.Conn, 1)
	f := open(t, gateway.Options{SQL: func(conn net.Conn) { arrived <- conn }})
	for target, want := range map[string]bool{
		"one.database.windows.net:1433": true, "FOG.secondary.database.windows.net:1433": true, "one.database.usgovcloudapi.net:1433": true,
		"one.database.windows.net:443": false, "one.database.windows.net:1434": false, "management.azure.com:1433": false, "a.b.database.windows.net:1433": false,
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.ProxyURL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// What a hasty client sends along must reach the server too.
		if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\nhello", target); err != nil {
			t.Fatal(err)
		}
		status, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || strings.Contains(status, " 200 ") != want {
			t.Errorf("%s: %q, %v", target, status, err)
		}
		if want {
			server := <-arrived
			got := make([]byte, 5)
			if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello" {
				t.Errorf("%s: %q, %v", target, got, err)
			}
			_ = server.Close()
		}
		_ = conn.Close()
	}
}
