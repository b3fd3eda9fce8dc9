package tds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/microsoft/go-mssqldb" // the driver "sqlserver"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
)

const deadline = 60 * time.Second

// server is a TDS server over a small evaluator, with a certificate of its own.
type server struct {
	*tds.Server
	backend *backend
	caFile  string
}

func start(t testing.TB, change func(*tds.Options)) *server {
	t.Helper()
	certificate, caFile := newCertificate(t)
	s := &server{backend: &backend{passwords: map[string]string{"alice": "Pässw0rd✓"}, token: "a.b.c", logins: make(chan tds.Login, 1024)}, caFile: caFile}
	o := tds.Options{
		Backend: s.backend, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil },
		FedAuth: tds.FedAuth{STSURL: "https://login.example/tenant", SPN: "https://database.windows.net/"},
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&o)
	}
	var err error
	if s.Server, err = tds.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if left := s.backend.open(); left != 0 {
			t.Errorf("%d sessions were not closed", left)
		}
	})
	return s
}

func newCertificate(t testing.TB) (*tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "sql1.database.windows.net"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// dsn is a connection string for go-mssqldb.
func (s *server) dsn(t testing.TB, user, password string, options ...string) string {
	t.Helper()
	query := url.Values{"database": {"db1"}, "encrypt": {"true"}, "certificate": {s.caFile}, "hostNameInCertificate": {"localhost"}, "dial timeout": {"10"}}
	for i := 0; i+1 < len(options); i += 2 {
		query.Set(options[i], options[i+1])
	}
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: s.Addr(), RawQuery: query.Encode()}
	return u.String()
}

// connect opens a pool as alice.
func (s *server) connect(t testing.TB, options ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlserver", s.dsn(t, "alice", s.backend.passwords["alice"], options...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// backend knows one login and one token. It counts sessions.
type backend struct {
	passwords map[string]string
	token     string
	refuse    error
	route     tds.LoginInfo
	logins    chan tds.Login

	mu       sync.Mutex
	sessions map[*session]bool
	last     *session
}

func (b *backend) Login(_ context.Context, login tds.Login) (tds.Session, tds.LoginInfo, error) {
	select {
	case b.logins <- login:
	default:
	}
	info := tds.LoginInfo{ServerName: "sql1", Database: login.Database, SPID: 51}
	if b.refuse != nil {
		return nil, info, b.refuse
	}
	if b.route.RouteHost != "" && login.ServerName != b.route.RouteHost {
		route := b.route
		route.ServerName, route.Database = "sql1", login.Database
		return nil, route, nil
	}
	if login.Token != b.token && (login.Token != "" || b.passwords[login.User] != login.Password || login.Password == "") {
		return nil, info, sqltype.Message{Number: 18456, Class: 14, State: 1, Line: 65536, Text: "Login failed for user '" + login.User + "'."}
	}
	s := &session{backend: b, cancelled: make(chan error, 16), started: make(chan struct{}, 16), done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions == nil {
		b.sessions = map[*session]bool{}
	}
	b.sessions[s], b.last = true, s
	return s, info, nil
}

func (b *backend) open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

func (b *backend) latest() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// session evaluates a handful of statements. It has a transaction, a counter
// of rows "inserted" within it, and prepared statements.
type session struct {
	backend   *backend
	cancelled chan error // why a WAIT ended
	started   chan struct{}
	done      chan struct{}
	reason    error

	transaction uint64
	committed   int64
	pending     int64
	resets      int
	keptResets  int
	prepared    []string
}

func (s *session) Done() <-chan struct{} { return s.done }
func (s *session) Reason() error         { return s.reason }

func (s *session) kill(reason error) {
	s.reason = reason
	close(s.done)
}

func (s *session) Close() error {
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	if !s.backend.sessions[s] {
		return errors.New("closed twice")
	}
	delete(s.backend.sessions, s)
	return nil
}

func (s *session) Reset(_ context.Context, keep bool) error {
	s.resets++
	if keep {
		s.keptResets++
	} else {
		s.transaction, s.pending = 0, 0
	}
	return nil
}

func (s *session) Transaction(_ context.Context, r sqltype.TransactionRequest, out sqltype.Results) error {
	end := func(state sqltype.TransactionState) error {
		descriptor := s.transaction
		if descriptor == 0 {
			return out.Message(sqltype.Message{Number: 3902, Class: 16, State: 1, Line: 1, Text: "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION."})
		}
		s.transaction, s.pending = 0, 0
		return out.Transaction(state, descriptor)
	}
	switch r.Kind {
	case sqltype.BeginTransaction:
		s.transaction = 7<<32 + 1
		return out.Transaction(sqltype.TransactionBegan, s.transaction)
	case sqltype.CommitTransaction:
		s.committed += s.pending
		return end(sqltype.TransactionCommitted)
	case sqltype.RollbackTransaction:
		return end(sqltype.TransactionRolledBack)
	default:
		return out.Message(sqltype.Message{Number: 40510, Class: 16, State: 1, Line: 1, Text: "no savepoints here"})
	}
}

var rowsStatement = regexp.MustCompile(`^ROWS (\d+) (\d+)$`)

// Batch runs statements, one a line.
func (s *session) Batch(ctx context.Context, text string, out sqltype.Results) error {
	for line, statement := range strings.Split(text, "\n") {
		if err := s.statement(ctx, statement, nil, int32(line+1), out); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) statement(ctx context.Context, statement string, params []sqltype.Param, line int32, out sqltype.Results) error {
	statement = strings.TrimPrefix(statement, "DO ") // a single word would be a procedure for the driver
	switch {
	case statement == "":
		return nil
	case statement == "select 1;": // Ping
		return one(out, "", sqltype.Type{Kind: sqltype.Int}, int64(1))
	case statement == "INSERT":
		s.pending++
		if s.transaction == 0 {
			s.committed, s.pending = s.committed+1, 0
		}
		return out.Done(sqltype.Done{Count: 1, HasCount: true, Command: sqltype.CommandInsert})
	case statement == "COUNT":
		return one(out, "n", sqltype.Type{Kind: sqltype.BigInt}, s.committed+s.pending)
	case statement == "RESETS":
		return one(out, "n", sqltype.Type{Kind: sqltype.Int}, int64(s.resets))
	case statement == "WAIT":
		s.started <- struct{}{}
		<-ctx.Done()
		s.cancelled <- context.Cause(ctx)
		return context.Cause(ctx)
	case strings.HasPrefix(statement, "FAIL "):
		number, _ := strconv.Atoi(statement[5:])
		if err := out.Message(sqltype.Message{Number: int32(number), Class: 16, State: 3, Text: "It failed: ü.", Procedure: "p", Line: line}); err != nil {
			return err
		}
		return out.Done(sqltype.Done{Failed: true})
	case strings.HasPrefix(statement, "PRINT "):
		return out.Message(sqltype.Message{State: 1, Text: statement[6:], Line: line})
	case strings.HasPrefix(statement, "USE "):
		return out.DatabaseChanged("db1", statement[4:])
	case statement == "DIE":
		return sqltype.Message{Number: 40197, Class: 20, State: 1, Text: "It is over."}
	case statement == "BUG":
		return errors.New("a bug")
	case statement == "PANIC":
		panic("a fault")
	case statement == "WRONG":
		if err := out.Columns([]sqltype.Column{{Name: "n", Type: sqltype.Type{Kind: sqltype.TinyInt}}}); err != nil {
			return err
		}
		return out.Row([]any{int64(256)})
	case strings.HasPrefix(statement, "PARAMS"):
		return echo(out, params)
	}
	if m := rowsStatement.FindStringSubmatch(statement); m != nil {
		return rows(out, m[1], m[2])
	}
	return out.Message(sqltype.Message{Number: 102, Class: 15, State: 1, Line: line, Text: "Incorrect syntax near '" + statement + "'."})
}

// rows sends many rows: a number, and a text of a length.
func rows(out sqltype.Results, count, length string) error {
	n, _ := strconv.Atoi(count)
	size, _ := strconv.Atoi(length)
	text := strings.Repeat("x", size)
	if err := out.Columns([]sqltype.Column{{Name: "n", Type: sqltype.Type{Kind: sqltype.Int}}, {Name: "text", Type: sqltype.Type{Kind: sqltype.NVarChar, Length: sqltype.Max}, Nullable: true}}); err != nil {
		return err
	}
	for i := range n {
		value := any(text)
		if i%7 == 6 {
			value = nil
		}
		if err := out.Row([]any{int64(i), value}); err != nil {
			return err
		}
	}
	return out.Done(sqltype.Done{Count: int64(n), HasCount: true, Command: sqltype.CommandSelect})
}

func one(out sqltype.Results, name string, t sqltype.Type, v any) error {
	if err := out.Columns([]sqltype.Column{{Name: name, Type: t}}); err != nil {
		return err
	}
	if err := out.Row([]any{v}); err != nil {
		return err
	}
	return out.Done(sqltype.Done{Count: 1, HasCount: true, Command: sqltype.CommandSelect})
}

// echo sends parameters back as one row, in their own types.
func echo(out sqltype.Results, params []sqltype.Param) error {
	columns, values := make([]sqltype.Column, len(params)), make([]any, len(params))
	for i, p := range params {
		columns[i], values[i] = sqltype.Column{Name: strings.TrimPrefix(p.Name, "@"), Type: p.Type, Nullable: true}, p.Value
	}
	if err := out.Columns(columns); err != nil {
		return err
	}
	if err := out.Row(values); err != nil {
		return err
	}
	return out.Done(sqltype.Done{Count: 1, HasCount: true, Command: sqltype.CommandSelect})
}

// Call runs sp_executesql, prepared statements, and a procedure that doubles.
func (s *session) Call(ctx context.Context, call sqltype.Call, out sqltype.Results) error {
	text := func(i int) string { v, _ := call.Params[i].Value.(string); return v }
	switch strings.ToLower(call.Procedure) {
	case "sp_executesql":
		return s.statement(ctx, text(0), call.Params[min(2, len(call.Params)):], 1, out)
	case "sp_prepare":
		s.prepared = append(s.prepared, text(2))
		handle := call.Params[0]
		handle.Value = int64(len(s.prepared))
		return out.ReturnValue(handle)
	case "sp_prepexec":
		s.prepared = append(s.prepared, text(2))
		if err := s.statement(ctx, text(2), call.Params[3:], 1, out); err != nil {
			return err
		}
		handle := call.Params[0]
		handle.Value = int64(len(s.prepared))
		return out.ReturnValue(handle)
	case "sp_execute":
		handle, _ := call.Params[0].Value.(int64)
		return s.statement(ctx, s.prepared[handle-1], call.Params[1:], 1, out)
	case "sp_unprepare":
		return nil
	case "[dbo].[double]", "dbo.double", "double":
		if err := out.ReturnStatus(42); err != nil {
			return err
		}
		for _, p := range call.Params {
			if n, ok := p.Value.(int64); ok && p.Output {
				p.Value = 2 * n
				if err := out.ReturnValue(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return out.Message(sqltype.Message{Number: 2812, Class: 16, State: 62, Line: 1, Text: fmt.Sprintf("Could not find stored procedure '%s'.", call.Procedure)})
}
