// Package sqlconn opens connections to databases of Azure SQL through
// Microsoft's driver: TLS whose certificate is checked, an Entra access token
// or a SQL login, through the proxy of the environment where there is one, and
// no step without a limit in time. It says of a failure whether it passes by
// itself and what a person can do about it.
package sqlconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// Port is the one on which Azure SQL answers.
// Source: https://learn.microsoft.com/azure/azure-sql/database/connectivity-architecture
const Port = "1433"

// Encryption is how TLS is laid over the connection. Neither form goes on
// without it, and both check the server's certificate.
type Encryption string

// The forms of encryption.
const (
	// Strict is TDS 8.0: TLS first, then TDS inside it.
	// Source: https://learn.microsoft.com/sql/relational-databases/security/networking/tds-8
	Strict Encryption = "strict"
	// Mandatory is TDS 7.4: TLS is agreed on in a PRELOGIN exchange.
	Mandatory Encryption = "true"
)

// DialFunc opens the transport to host:port. A name is resolved by it, not
// before.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options say how connections are opened. Those without a comment on their zero
// value need one.
type Options struct {
	// Token gives an access token for the database's audience; it is asked
	// for each connection. Nil: User and Password.
	Token          func(ctx context.Context) (string, error)
	User, Password string
	RootCAs        *x509.CertPool // nil: the system's
	Dial           DialFunc       // nil: FromEnvironment
	Encryption     Encryption     // empty: Strict
	AppName        string         // empty: crosskeys
	// LoginTimeout bounds opening a connection, from dialing to the server's
	// acknowledgement; 0: 15 seconds.
	LoginTimeout time.Duration
	// IdleTimeout bounds the wait for each packet of an answer; 0: 30 seconds.
	IdleTimeout time.Duration
	// ReadOnly announces ApplicationIntent=ReadOnly, which a read-only listener
	// may route by. A geo-secondary is read without it.
	ReadOnly bool
}

// Audience gives a token source for an audience, such as
// https://database.windows.net. The credential keeps tokens while they last.
func Audience(credential azcore.TokenCredential, audience string) func(ctx context.Context) (string, error) {
	scope := strings.TrimSuffix(audience, "/") + "/.default"
	return func(ctx context.Context) (string, error) {
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			return "", &TokenError{Scope: scope, Err: err}
		}
		return token.Token, nil
	}
}

// Open makes a pool of connections to a database on host, a server's or a
// failover group listener's name with or without a port; nothing is dialed yet.
// The caller closes it. A connection that was lost is never used again behind
// the caller's back: what was sent on it may have taken effect.
func Open(o Options, host, database string) (*sql.DB, error) {
	c, err := newConnector(o, host, database)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

type connector struct {
	options Options
	config  msdsn.Config
}

func newConnector(o Options, host, database string) (*connector, error) {
	if o.Encryption == "" {
		o.Encryption = Strict
	}
	if o.Dial == nil {
		o.Dial = FromEnvironment(nil)
	}
	if o.AppName == "" {
		o.AppName = "crosskeys"
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, Port
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || name == "" {
		return nil, fmt.Errorf("open database %s: %q is no host", database, host)
	}
	query := url.Values{}
	for key, value := range map[string]string{
		msdsn.Database: database, msdsn.Encrypt: string(o.Encryption), msdsn.TrustServerCertificate: "false", msdsn.AppName: o.AppName,
		msdsn.DialTimeout: seconds(o.LoginTimeout, 15*time.Second), msdsn.ConnectionTimeout: seconds(o.IdleTimeout, 30*time.Second), msdsn.DisableRetry: "true",
	} {
		query.Set(key, value)
	}
	config, err := msdsn.Parse((&url.URL{Scheme: "sqlserver", Host: net.JoinHostPort(name, port), RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open database %s on %s: %w", database, name, err)
	}
	config.User, config.Password, config.ReadOnlyIntent, config.Protocols = o.User, o.Password, o.ReadOnly, []string{"tcp"}
	return &connector{options: o, config: config}, nil
}

// seconds writes a duration as the driver takes it, a whole number of at least
// one.
func seconds(d, otherwise time.Duration) string {
	if d <= 0 {
		d = otherwise
	}
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

// Connect opens one connection within the login's limit. The driver heeds the
// context while it dials and not after, so the transport is closed under it.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	limit := c.options.LoginTimeout
	if limit <= 0 {
		limit = 15 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// The driver writes into the TLS configuration, so each connection has its own.
	config := c.config
	config.TLSConfig = &tls.Config{ServerName: config.Host, RootCAs: c.options.RootCAs, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}
	dialer := &watchedDialer{dial: c.options.Dial}
	one, err := c.forOne(config)
	if err != nil {
		return nil, err
	}
	one.Dialer = dialer
	stop := context.AfterFunc(ctx, dialer.abandon)
	conn, err := one.Connect(ctx)
	if !stop() && err == nil { // the time was up while the last step succeeded
		err = errors.Join(ctx.Err(), conn.Close())
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, err
	}
	return conn, nil
}

func (c *connector) forOne(config msdsn.Config) (*mssql.Connector, error) {
	if c.options.Token == nil {
		return mssql.NewConnectorConfig(config), nil
	}
	return mssql.NewSecurityTokenConnector(config, c.options.Token)
}

// Driver is Microsoft's.
func (c *connector) Driver() driver.Driver { return &mssql.Driver{} }

// watchedDialer dials by name and can close what it has dialed.
type watchedDialer struct {
	dial DialFunc

	mu        sync.Mutex
	conns     []net.Conn
	abandoned bool
}

// HostName says to the driver that names are resolved by the dialer.
func (*watchedDialer) HostName() string { return "" }

// DialContext dials; the driver does so again where the server routes it on.
func (d *watchedDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.abandoned {
		return nil, errors.Join(context.DeadlineExceeded, conn.Close())
	}
	d.conns = append(d.conns, conn)
	return conn, nil
}

// abandon closes the transports under the driver.
func (d *watchedDialer) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.abandoned = true
	for _, conn := range d.conns {
		_ = conn.Close() // the driver sees it fail
	}
}
