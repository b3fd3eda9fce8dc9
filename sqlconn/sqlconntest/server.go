// Package sqlconntest starts, for tests, a server that speaks TDS over TLS as
// Azure SQL does and answers each statement as the test says.
package sqlconntest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// Reply is the answer to a statement: rows, or errors.
type Reply struct {
	Columns []sqltype.Column
	Rows    [][]any
	Errors  []sqltype.Message
}

// Answers are what a server says. Either may be nil.
type Answers struct {
	// Login refuses a client, with a sqltype.Message or tds.ServerErrors.
	Login func(login tds.Login) error
	// Statement answers one of a session in the named database.
	Statement func(database, text string, params []sqltype.Param) Reply
}

// Server is a running server.
type Server struct {
	*tds.Server
	RootCAs     *x509.CertPool // that trust Certificate
	Certificate *x509.Certificate

	mu      sync.Mutex
	answers Answers
	logins  []tds.Login
}

// Names are the hosts for which the server's certificate is good.
func Names() []string { return []string{"*.database.windows.net"} }

// Start starts a server that ends with the test.
func Start(t testing.TB, answers Answers) *Server {
	t.Helper()
	certificate, pool := newCertificate(t)
	s := &Server{RootCAs: pool, Certificate: certificate.Leaf, answers: answers}
	var err error
	s.Server, err = tds.Start(t.Context(), tds.Options{
		Backend: s, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func newCertificate(t testing.TB) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: Names(), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// Dial connects to the server whatever address is named.
func (s *Server) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, s.Addr())
}

// Set changes the answers from now on.
func (s *Server) Set(answers Answers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = answers
}

// Logins are the clients that asked to be let in.
func (s *Server) Logins() []tds.Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tds.Login{}, s.logins...)
}

func (s *Server) current() Answers {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers
}

// Login lets a client in.
func (s *Server) Login(_ context.Context, login tds.Login) (tds.Session, tds.LoginInfo, error) {
	s.mu.Lock()
	s.logins = append(s.logins, login)
	s.mu.Unlock()
	if refuse := s.current().Login; refuse != nil {
		if err := refuse(login); err != nil {
			return nil, tds.LoginInfo{}, err
		}
	}
	return &session{server: s, database: login.Database}, tds.LoginInfo{ServerName: "test", Database: login.Database, SPID: 51}, nil
}

type session struct {
	server   *Server
	database string
}

// Batch answers a SQL batch.
func (s *session) Batch(_ context.Context, text string, out sqltype.Results) error {
	return s.answer(text, nil, out)
}

// Call answers sp_executesql.
func (s *session) Call(_ context.Context, call sqltype.Call, out sqltype.Results) error {
	text, _ := call.Params[0].Value.(string)
	return s.answer(text, call.Params[min(2, len(call.Params)):], out)
}

func (s *session) answer(text string, params []sqltype.Param, out sqltype.Results) error {
	reply := Reply{Errors: []sqltype.Message{{Number: 102, Class: 15, Text: fmt.Sprintf("The test has no answer to %q.", text)}}}
	if statement := s.server.current().Statement; statement != nil {
		reply = statement(s.database, text, params)
	}
	for _, message := range reply.Errors {
		if err := out.Message(message); err != nil {
			return err
		}
	}
	if len(reply.Columns) > 0 {
		if err := out.Columns(reply.Columns); err != nil {
			return err
		}
	}
	for _, row := range reply.Rows {
		if err := out.Row(row); err != nil {
			return err
		}
	}
	return out.Done(sqltype.Done{Count: int64(len(reply.Rows)), HasCount: true, Command: sqltype.CommandSelect, Failed: len(reply.Errors) > 0})
}

// Transaction is not needed.
func (s *session) Transaction(context.Context, sqltype.TransactionRequest, sqltype.Results) error {
	return sqltype.Message{Number: 8115, Class: 16, Text: "The test has no transactions."}
}

// Reset has nothing to forget.
func (s *session) Reset(context.Context, bool) error { return nil }

// Close has nothing to give back.
func (s *session) Close() error { return nil }
