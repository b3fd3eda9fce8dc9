// Package tds is the server side of the Tabular Data Stream protocol, the
// wire of SQL Server: versions 7.2 to 7.4, with TLS inside PRELOGIN packets,
// and 8.0, with TLS first. It knows nothing of SQL: a Backend logs clients
// in, and the Session that it gives answers what they ask.
//
// Source: [MS-TDS], https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/
package tds

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// Backend lets clients in. It is called by many connections at the same time.
type Backend interface {
	// Login opens a session. An error that is a sqltype.Message, or ServerErrors,
	// is what the client reads before it is disconnected; of any other it
	// reads error 40197. ctx is the connection's: it ends with it.
	Login(ctx context.Context, login Login) (Session, LoginInfo, error)
}

// Session is one logged-in client. Its methods are called one at a time.
//
// ctx ends when the client cancels (its cause is ErrAttention) or is gone. An
// error ends the connection, unless the client had cancelled; it is sent
// first when it is a sqltype.Message or ServerErrors. A statement that fails is
// no error: it is a message in out.
type Session interface {
	// Batch runs a SQL batch.
	Batch(ctx context.Context, text string, out sqltype.Results) error
	// Call runs a remote procedure call.
	Call(ctx context.Context, call sqltype.Call, out sqltype.Results) error
	// Transaction begins, ends or marks the session's transaction.
	Transaction(ctx context.Context, request sqltype.TransactionRequest, out sqltype.Results) error
	// Reset gives the session the state that it had after its login; a
	// transaction is rolled back unless keepTransaction.
	Reset(ctx context.Context, keepTransaction bool) error
	// Close ends the session. It is called once, when no other method runs.
	Close() error
}

// Ender is a Session that can end by itself, such as one that is killed, or
// whose database has gone away. The connection is closed when Done closes:
// a client waiting for an answer reads Reason first, when there is one.
type Ender interface {
	Done() <-chan struct{}
	Reason() error
}

// Login is what a client says of itself.
type Login struct {
	// User and Password are those of a SQL login; Token is a Microsoft Entra
	// access token, and then there is neither.
	User, Password, Token string
	// ServerName is the server that the client means to talk to, as LOGIN7
	// gives it; SNI is the name that it asked for in its TLS handshake, empty
	// without one.
	ServerName, SNI string
	// Database is the one to begin in; empty: the login's default.
	Database string
	// AppName, HostName, Library and Language are the client's own words.
	AppName, HostName, Library, Language string
	// ReadOnlyIntent is ApplicationIntent=ReadOnly.
	ReadOnlyIntent bool
	// ProcessID is the client's, on its own machine.
	ProcessID uint32
	// Remote is where the client connects from.
	Remote net.Addr
	// PacketSize is in bytes, as agreed; TDSVersion as in LOGIN7, such as
	// 0x74000004 or 0x08000000.
	PacketSize int
	TDSVersion uint32
	// Encrypted is false where Options.LoginOnly let the client leave TLS
	// after its login.
	Encrypted bool
	// ConnectionID is the client's own id for the connection, when it traces.
	ConnectionID sqltype.GUID
}

// LoginInfo is what a client is told when it is let in.
type LoginInfo struct {
	// ServerName is the sender of messages that name none.
	ServerName string
	// Database is the one that the session begins in.
	Database string
	// Version is the server's, such as 12.0.2000 for Azure SQL Database,
	// which is what it is when it is zero.
	Version Version
	// SPID is the session's id, which the packets carry.
	SPID uint16
	// RouteHost and RoutePort send the client on to another server. The
	// session may then be nil.
	RouteHost string
	RoutePort uint16
}

// Version is a server's version.
type Version struct {
	Major, Minor uint8
	Build        uint16
}

// AzureVersion is the version of every Azure SQL Database server.
// Source: https://learn.microsoft.com/sql/t-sql/functions/version-transact-sql-configuration-functions
func AzureVersion() Version { return Version{Major: 12, Build: 2000} }

// ServerErrors are several errors at once; the first is the cause.
type ServerErrors []sqltype.Message

// Error is the first message's text.
func (m ServerErrors) Error() string {
	if len(m) == 0 {
		return "no message"
	}
	return m[0].Text
}

// ErrAttention is the cause of a request's cancelled context when the client
// asked for it.
var ErrAttention = errors.New("the client cancelled the request")

// errGone is the cause when the client is not there any more.
var errGone = errors.New("the client is gone")

// Options say how a server is made.
type Options struct {
	// Addr is the address to listen on; empty: a free port of 127.0.0.1.
	Addr string
	// Listen opens the address; nil: a socket.
	Listen func(ctx context.Context, address string) (net.Listener, error)
	// Certificate chooses the TLS certificate for a name. Required.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Backend lets clients in. Required.
	Backend Backend
	// FedAuth says where clients of the ADAL workflow get their tokens.
	FedAuth FedAuth
	// LoginOnly lets clients leave encryption after the login when they ask
	// for it. Azure SQL Database never does.
	LoginOnly bool
	// LoginTimeout bounds the login; 0: 15 seconds.
	LoginTimeout time.Duration
	// MaxConnections bounds the connections; 0: 4096. One more is refused
	// with error 10928.
	MaxConnections int
	// MaxRequest bounds a request, in bytes; 0: 64 MiB.
	MaxRequest int
	// Log receives the server's own events; nil drops them.
	Log *slog.Logger
}

// FedAuth is the answer to a client that says it will get a token: from where
// (STSURL), and for what (SPN).
// Source: MS-TDS 2.2.7.12, FEDAUTHINFO
type FedAuth struct{ STSURL, SPN string }

const (
	defaultLoginTimeout   = 15 * time.Second
	defaultMaxConnections = 4096
	defaultMaxRequest     = 64 << 20
)

func (o Options) withDefaults() Options {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Listen == nil {
		o.Listen = func(ctx context.Context, address string) (net.Listener, error) {
			var config net.ListenConfig
			return config.Listen(ctx, "tcp", address)
		}
	}
	if o.LoginTimeout == 0 {
		o.LoginTimeout = defaultLoginTimeout
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = defaultMaxConnections
	}
	if o.MaxRequest == 0 {
		o.MaxRequest = defaultMaxRequest
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
