package sqlconn_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/sqlconn/sqlconntest"
)

const host = "srv-a.database.windows.net"

func one(database, _ string, _ []sqltype.Param) sqlconntest.Reply {
	return sqlconntest.Reply{Columns: []sqltype.Column{{Name: "db", Type: sqltype.Type{Kind: sqltype.NVarChar, Length: 128}}}, Rows: [][]any{{database}}}
}

func token(context.Context) (string, error) { return "a.b.c", nil }

func ask(t *testing.T, o sqlconn.Options, host string) (string, error) {
	t.Helper()
	db, err := sqlconn.Open(o, host, "orders")
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var answer string
	return answer, db.QueryRowContext(ctx, "SELECT DB_NAME()").Scan(&answer)
}

func TestConnecting(t *testing.T) {
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: one})
	for _, form := range []sqlconn.Encryption{sqlconn.Strict, sqlconn.Mandatory} {
		t.Run("as the caller, with a token, "+string(form), func(t *testing.T) {
			answer, err := ask(t, sqlconn.Options{Token: token, RootCAs: server.RootCAs, Dial: server.Dial, Encryption: form}, host)
			if err != nil || answer != "orders" {
				t.Fatalf("%q %v", answer, err)
			}
			logins := server.Logins()
			if last := logins[len(logins)-1]; last.Token != "a.b.c" || last.SNI != host || last.ServerName != host || last.Database != "orders" || last.AppName != "crosskeys" || !last.Encrypted {
				t.Errorf("%+v", last)
			}
		})
	}
	t.Run("with a SQL login", func(t *testing.T) {
		if _, err := ask(t, sqlconn.Options{User: "alice", Password: "p;w=d", RootCAs: server.RootCAs, Dial: server.Dial}, host); err != nil {
			t.Fatal(err)
		}
		logins := server.Logins()
		if last := logins[len(logins)-1]; last.User != "alice" || last.Password != "p;w=d" || last.Token != "" {
			t.Errorf("%+v", last)
		}
	})
	t.Run("a certificate of nobody's is refused before anything is said", func(t *testing.T) {
		before := len(server.Logins())
		_, err := ask(t, sqlconn.Options{Token: token, RootCAs: x509.NewCertPool(), Dial: server.Dial}, host)
		if err == nil || sqlconn.Transient(err) || len(server.Logins()) != before {
			t.Fatalf("%v", err)
		}
		if failure := explain(t, err); !strings.Contains(failure.Hint, "is not trusted here") {
			t.Errorf("%+v", failure)
		}
	})
	t.Run("a certificate for another name is refused", func(t *testing.T) {
		if _, err := ask(t, sqlconn.Options{Token: token, RootCAs: server.RootCAs, Dial: server.Dial}, "srv-a.example.org"); err == nil || sqlconn.Transient(err) {
			t.Fatal(err)
		}
	})
	t.Run("no token", func(t *testing.T) {
		_, err := ask(t, sqlconn.Options{
			Token: func(context.Context) (string, error) {
				return "", &sqlconn.TokenError{Scope: "s", Err: errors.New("no")}
			}, RootCAs: server.RootCAs, Dial: server.Dial,
		}, host)
		if failure := explain(t, err); failure.Transient || !strings.Contains(failure.Hint, "az login") {
			t.Fatalf("%+v", failure)
		}
	})
	t.Run("what is no host", func(t *testing.T) {
		for _, name := range []string{"", "a:b", ":1433"} {
			if _, err := sqlconn.Open(sqlconn.Options{}, name, "d"); err == nil {
				t.Errorf("%q was taken", name)
			}
		}
	})
}

// A server that accepts and never answers must not hold a caller.
func TestALoginIsBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the test closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, form := range []sqlconn.Encryption{sqlconn.Strict, sqlconn.Mandatory} {
		began := time.Now()
		_, err = ask(t, sqlconn.Options{
			Token: token, Encryption: form, LoginTimeout: 100 * time.Millisecond,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, silent.Addr().String())
			},
		}, host)
		if !errors.Is(err, context.DeadlineExceeded) || !sqlconn.Transient(err) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %s", form, err, time.Since(began))
		}
	}
}

func explain(t *testing.T, err error) *sqlconn.Error {
	t.Helper()
	failure, ok := errors.AsType[*sqlconn.Error](sqlconn.Explain("read", sqlconn.Place{Server: "srv-a", Host: host, Database: "orders", ResourceGroup: "rg", Subscription: "sub"}, err))
	if !ok {
		t.Fatalf("%v is not explained", err)
	}
	return failure
}

func TestRefusalsAreUnderstood(t *testing.T) {
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: one})
	options := sqlconn.Options{Token: token, RootCAs: server.RootCAs, Dial: server.Dial}
	firewall := sqltype.Message{Number: 40615, State: 1, Class: 14, Text: "Cannot open server 'srv-a' requested by the login. Client with IP address '203.0.113.7' is not allowed to access the server.  To enable access, use the Azure Management Portal."}
	login := sqltype.Message{Number: 18456, State: 1, Class: 14, Text: "Login failed for user '<token-identified principal>'."}
	tests := []struct {
		name      string
		login     error
		transient bool
		number    int32
		hint      string
	}{
		{"the firewall", firewall, false, 40615, "az sql server firewall-rule create --name crosskeys --resource-group rg --server srv-a --subscription sub --start-ip-address 203.0.113.7 --end-ip-address 203.0.113.7"},
		{"no user", login, false, 18456, "CREATE USER [NAME] FROM EXTERNAL PROVIDER; GRANT VIEW DATABASE STATE TO [NAME]"},
		{"no such database", tds.ServerErrors{{Number: 4060, State: 1, Class: 11, Text: "Cannot open database \"orders\" requested by the login. The login failed."}, login}, true, 4060, "knows the signed-in identity as a user"},
		{"not available", sqltype.Message{Number: 40613, State: 1, Class: 17, Text: "Database 'orders' on server 'srv-a' is not currently available."}, true, 40613, "try again later"},
		{"busy", sqltype.Message{Number: 49918, State: 1, Class: 16, Text: "Cannot process request."}, true, 49918, "try again later"},
		{"private endpoints only", sqltype.Message{Number: 47073, State: 1, Class: 16, Text: "Deny Public Network Access is set to Yes."}, false, 47073, "private endpoint"},
		{"an error that nobody knows", sqltype.Message{Number: 99999, State: 1, Class: 16, Text: "Odd."}, false, 99999, "look the error's number up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server.Set(sqlconntest.Answers{Login: func(tds.Login) error { return tt.login }})
			_, err := ask(t, options, host)
			failure := explain(t, err)
			if failure.Number != tt.number || failure.Transient != tt.transient || !strings.Contains(failure.Hint, tt.hint) {
				t.Errorf("number %d, transient %t, hint %q: %v", failure.Number, failure.Transient, failure.Hint, err)
			}
		})
	}
	statements := map[int32]struct {
		class                   uint8
		transient, again, twice bool
		hint                    string
	}{
		262:   {14, false, false, false, "GRANT VIEW DATABASE STATE"},
		300:   {14, false, false, false, "##MS_ServerStateReader##"},
		2627:  {14, false, false, true, ""},
		3906:  {16, false, true, false, "read-write listener"},
		40197: {17, true, true, false, "try again later"},
	}
	for number, want := range statements {
		server.Set(sqlconntest.Answers{Statement: func(string, string, []sqltype.Param) sqlconntest.Reply {
			return sqlconntest.Reply{Errors: []sqltype.Message{{Number: number, State: 1, Class: want.class, Text: "No."}}}
		}})
		_, err := ask(t, options, host)
		if sqlconn.Transient(err) != want.transient || sqlconn.Reconnectable(err) != want.again || sqlconn.Duplicate(err) != want.twice || !strings.Contains(explain(t, err).Hint, want.hint) {
			t.Errorf("%d: %v, hint %q", number, err, explain(t, err).Hint)
		}
	}
}

func TestLostConnectionsAreWorthAnotherAttempt(t *testing.T) {
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: one})
	db, err := sqlconn.Open(sqlconn.Options{Token: token, RootCAs: server.RootCAs, Dial: server.Dial}, host, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "SELECT 1"); err == nil || !sqlconn.Transient(err) {
		t.Errorf("on a connection that broke: %v", err)
	}
	if _, err := db.Conn(t.Context()); err == nil || !sqlconn.Transient(err) {
		t.Errorf("where nobody listens: %v", err)
	}
	for _, err := range []error{nil, context.Canceled, sql.ErrNoRows, &net.DNSError{IsNotFound: true}} {
		if sqlconn.Transient(err) && !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%v is worth another attempt", err)
		}
	}
	if sqlconn.Explain("x", sqlconn.Place{}, nil) != nil {
		t.Error("no failure was explained")
	}
}

// proxy is a CONNECT proxy that leads to the server, for the hosts it serves.
func proxy(t *testing.T, server *sqlconntest.Server, answer func(r *http.Request) int) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the test closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveConnect(conn, server, answer)
		}
	}()
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

func serveConnect(conn net.Conn, server *sqlconntest.Server, answer func(r *http.Request) int) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	status := answer(request)
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n\r\n", status, http.StatusText(status)); err != nil || status != http.StatusOK {
		return
	}
	onward, err := server.Dial(context.Background(), "tcp", "")
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(onward, reader); _ = onward.Close() }()
	_, _ = io.Copy(conn, onward)
}

func TestThroughTheEnvironmentsProxy(t *testing.T) {
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: one})
	var asked *http.Request
	status := http.StatusOK
	address := proxy(t, server, func(r *http.Request) int { asked = r; return status })
	address.User = url.UserPassword("u", "p")
	choose := func(r *http.Request) (*url.URL, error) {
		if r.URL.String() != "https://"+host+":1433" {
			t.Errorf("the proxy was looked up for %s", r.URL)
		}
		return address, nil
	}
	options := sqlconn.Options{Token: token, RootCAs: server.RootCAs, Dial: sqlconn.FromEnvironment(choose)}
	answer, err := ask(t, options, host)
	if err != nil || answer != "orders" || asked.Method != http.MethodConnect || asked.Host != host+":1433" || asked.Header.Get("Proxy-Authorization") != "Basic dTpw" {
		t.Fatalf("%q %v %+v", answer, err, asked)
	}
	for code, transient := range map[int]bool{http.StatusForbidden: false, http.StatusServiceUnavailable: true} {
		status = code
		_, err := ask(t, options, host)
		refused, ok := errors.AsType[*sqlconn.ProxyError](err)
		if !ok || refused.Status != code || sqlconn.Transient(err) != transient || !strings.Contains(explain(t, err).Hint, "NO_PROXY") {
			t.Errorf("%d: %v", code, err)
		}
	}
	t.Run("a proxy of a kind that is not known", func(t *testing.T) {
		dial := sqlconn.FromEnvironment(func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "socks5", Host: "localhost:1"}, nil })
		if _, err := dial(t.Context(), "tcp", host+":1433"); err == nil || !strings.Contains(err.Error(), "NO_PROXY") {
			t.Error(err)
		}
	})
	t.Run("no proxy", func(t *testing.T) {
		dial := sqlconn.FromEnvironment(func(*http.Request) (*url.URL, error) { return nil, nil })
		conn, err := dial(t.Context(), "tcp", server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})
}

// Whatever the server says in the firewall's message, the hint stays one line.
func FuzzFirewallHint(f *testing.F) {
	f.Add("Client with IP address '203.0.113.7' is not allowed to access the server.")
	f.Add("Client with IP address 'fe80::1%eth0\n; rm -rf /' is not allowed")
	f.Fuzz(func(t *testing.T, message string) {
		hint := sqlconn.FirewallHint(message)
		if strings.ContainsAny(hint, "\n\r;|&$`'\"") {
			t.Errorf("%q", hint)
		}
	})
}
