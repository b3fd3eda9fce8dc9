package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// labSQL connects to the databases of a lab in another process. A lab that was
// ended and started again may listen elsewhere, so it is looked for anew when it
// cannot be reached. It is safe for concurrent use.
type labSQL struct {
	dir string

	mu      sync.Mutex
	remote  *lab.Remote
	options sqlconn.Options // those of remote
}

// connect gives what connections are opened with; the lab must run now.
func (l *labSQL) connect(ctx context.Context) (sqlconn.Options, error) {
	if err := l.find(ctx); err != nil {
		return sqlconn.Options{}, err
	}
	authority, err := os.ReadFile(l.remote.Access.CAFile)
	if err != nil {
		return sqlconn.Options{}, fmt.Errorf("the lab's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority) // the lab keeps it over a restart
	return sqlconn.Options{RootCAs: pool, Dial: l.dial, Token: l.token, AppName: "crosskeys lab load"}, nil
}

// find finds the lab and how one signs in to it.
func (l *labSQL) find(ctx context.Context) error {
	remote, err := lab.Find(ctx, l.dir)
	if err != nil {
		return err
	}
	credential, _, err := remote.Clients(sdkcloud.AzurePublic)
	if err != nil {
		return fmt.Errorf("sign in to the lab: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remote, l.options = remote, azure.SQLOptions(sdkcloud.AzurePublic, credential)
	return nil
}

func (l *labSQL) now() (*lab.Remote, sqlconn.Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remote, l.options
}

func (l *labSQL) token(ctx context.Context) (string, error) {
	_, options := l.now()
	return options.Token(ctx)
}

// dial goes through the lab's proxy.
func (l *labSQL) dial(ctx context.Context, network, address string) (net.Conn, error) {
	remote, _ := l.now()
	conn, err := through(ctx, remote, network, address)
	if _, refused := errors.AsType[*sqlconn.ProxyError](err); err == nil || refused {
		return conn, err
	}
	if found := l.find(ctx); found != nil {
		return nil, errors.Join(err, found)
	}
	remote, _ = l.now()
	return through(ctx, remote, network, address)
}

func through(ctx context.Context, remote *lab.Remote, network, address string) (net.Conn, error) {
	choose := func(*http.Request) (*url.URL, error) { return url.Parse(remote.Access.ProxyURL) }
	return sqlconn.FromEnvironment(choose)(ctx, network, address)
}
