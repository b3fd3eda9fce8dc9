package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqlendpoint"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// sqlClosing bounds how long the lab's end waits for SQL sessions.
const sqlClosing = 5 * time.Second

// startSQL opens the port that SQL clients connect to, under whatever
// server's name they come. The databases must have been loaded.
func (l *Lab) startSQL(ctx context.Context) error {
	if l.options.SQLAddr != "" {
		host, _, err := net.SplitHostPort(l.options.SQLAddr)
		if err != nil {
			return fmt.Errorf("SQL address %q: %w", l.options.SQLAddr, err)
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return fmt.Errorf("SQL address %q is not loopback: the lab listens on 127.0.0.1 or ::1 only", l.options.SQLAddr)
		}
	}
	endpoint := sqlendpoint.New(sqlendpoint.Options{SQL: l.sql, Entra: l.entra, Now: l.clock.Now, Random: rand.Reader, Log: l.log})
	var err error
	if l.sqlPassword, err = l.SQLPassword(); err != nil {
		return fmt.Errorf("the SQL administrator's password: %w", err)
	}
	l.sqlGateway, err = tds.Start(ctx, tds.Options{
		Addr: l.options.SQLAddr, Listen: l.options.listen(), Certificate: l.ca.GetCertificate, Backend: faultySQL{l, endpoint}, Log: l.log,
		FedAuth: tds.FedAuth{STSURL: "https://login.microsoftonline.com/" + TenantID, SPN: "https://" + sqlendpoint.Domains()[0] + "/"},
	})
	return err
}

// stopSQL ends all SQL sessions.
func (l *Lab) stopSQL() error {
	if l.sqlGateway == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sqlClosing)
	defer cancel()
	if err := l.sqlGateway.Close(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// SQLAddr is where SQL clients connect to, an address and port of loopback.
// The server that they mean they say by the name in TLS, in the login, or as
// user@server. Clients that use the proxy connect to the server's own name
// and port 1433.
func (l *Lab) SQLAddr() string { return l.sqlGateway.Addr() }
