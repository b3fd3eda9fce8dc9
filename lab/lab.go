package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/authorization"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/fault"
	"github.com/crosskeys/crosskeys/lab/gateway"
	"github.com/crosskeys/crosskeys/lab/identity"
	"github.com/crosskeys/crosskeys/lab/keyvault"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/lab/resources"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// Lab is a running local Azure. It is safe for concurrent use.
type Lab struct {
	options   Options
	dir       string
	temporary bool
	log       *slog.Logger

	store      *store.Store
	sealer     *store.Sealer
	clock      *clock.Clock
	operations *arm.Operations
	front      *arm.Front
	ca         *gateway.CA
	gateway    *gateway.Gateway

	entra         *entra.Service
	resources     *resources.Service
	authorization *authorization.Service
	identity      *identity.Service
	keyvault      *keyvault.Service
	sql           *sqlserver.Service
	sqlGateway    *tds.Server
	sqlPassword   string // of the seeded servers' administrator

	settings store.Table[setting]
	secret   string // of the operator application
	control  string // token of the control endpoint
	calls    *callLog
	faults   *fault.Set
	monitor  *monitor.Monitor
	stop     context.CancelFunc
	done     chan struct{} // closed when the control endpoint is told to stop

	stopOnce  sync.Once
	innerOnce sync.Once
	inner     *http.Client // the lab's own calls to its vaults
}

// Start starts a lab and returns when it answers. ctx bounds the start alone;
// the lab runs until Close.
func Start(ctx context.Context, o Options) (*Lab, error) {
	l, err := open(o)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func open(o Options) (*Lab, error) {
	l := &Lab{options: o, dir: o.Dir, log: o.Log, settings: store.NewTable[setting]("lab/settings"), done: make(chan struct{})}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if l.dir == "" {
		l.temporary = true
		if l.dir, err = os.MkdirTemp("", "crosskeys-lab-"); err != nil {
			return nil, fmt.Errorf("lab state folder: %w", err)
		}
	} else if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("lab state folder: %w", err)
	}
	if l.store, err = store.Open(filepath.Join(l.dir, "state.db"), store.Options{NoSync: l.temporary}); err != nil {
		return nil, err
	}
	if l.sealer, err = store.OpenSealer(filepath.Join(l.dir, "root.key")); err != nil {
		return nil, errors.Join(err, l.store.Close())
	}
	return l, nil
}

// start builds the services, opens the front door and takes up what an
// earlier lab left unfinished.
//
//nolint:contextcheck // the workers outlive the start
func (l *Lab) start(ctx context.Context) error {
	offset, err := l.readOffset()
	if err != nil {
		return err
	}
	l.clock = clock.New(offset)
	if l.calls, err = openCallLog(filepath.Join(l.dir, "calls.jsonl"), l.clock); err != nil {
		return err
	}
	if err := l.loadFaults(); err != nil {
		return err
	}
	if err := l.build(); err != nil {
		return err
	}
	if err := l.seedTenant(); err != nil {
		return err
	}
	if l.ca, err = gateway.OpenCA(l.dir, time.Now); err != nil { //nolint:forbidigo // certificates are checked on the machine's clock
		return err
	}
	if err := l.writeTrustStore(); err != nil {
		return err
	}
	if err := l.sql.Load(); err != nil {
		return err
	}
	if err := l.startSQL(ctx); err != nil {
		return err
	}
	router := l.router()
	l.gateway, err = gateway.Start(ctx, gateway.Options{
		CA: l.ca, Handler: router, Hosts: gateway.Served, HTTPSAddr: l.options.HTTPSAddr, ProxyAddr: l.options.ProxyAddr, SQL: l.sqlGateway.ServeConn, Log: l.log,
		Listen: l.options.listen(),
	})
	if err != nil {
		return err
	}
	l.entra.SetBaseURLs([]string{l.BaseURL()})
	running, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.sql.Run(running)
	if err := l.operations.Run(running); err != nil {
		return err
	}
	if err := l.awaitDatabases(ctx); err != nil {
		return err
	}
	if !l.options.unwatched {
		l.monitor.Run(running)
	}
	return nil
}

// openPatience bounds how long a start waits for databases to open, in the
// machine's time: they go on opening after it.
const openPatience = 3 * time.Second

func (l *Lab) awaitDatabases(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	if err := l.sql.AwaitOpen(waiting); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}

// build makes the services; none of them listens yet.
func (l *Lab) build() error {
	var err error
	l.entra, err = entra.New(entra.Options{Store: l.store, Sealer: l.sealer, Clock: l.clock, TenantID: TenantID, NewID: uuid.NewString, NewRSA: l.options.NewRSA, Log: l.log})
	if err != nil {
		return err
	}
	l.operations = arm.NewOperations(arm.OperationsOptions{Store: l.store, Clock: l.clock, Latency: l.options.Latency, NewID: uuid.NewString, Log: l.log, Hooks: l.hooks()})
	l.authorization = authorization.New(authorization.Options{Store: l.store, Clock: l.clock, Latency: l.options.Latency, NewID: uuid.NewString, Principals: l.entra, Log: l.log})
	l.resources = resources.New(resources.Options{Store: l.store, Clock: l.clock, TenantID: TenantID, NewID: uuid.NewString, Log: l.log})
	l.identity = identity.New(identity.Options{Store: l.store, Clock: l.clock, NewID: uuid.NewString, Principals: l.entra, Log: l.log})
	l.keyvault = keyvault.New(keyvault.Options{
		Store: l.store, Sealer: l.sealer, Clock: l.clock, Latency: l.options.Latency, Operations: l.operations,
		Tokens: l.entra, Roles: l.authorization, LoginURL: l.loginURL, TenantID: TenantID, NewID: uuid.NewString, NewRSA: l.options.NewRSA, Log: l.log,
	})
	l.sql = sqlserver.New(sqlserver.Options{
		Store: l.store, Sealer: l.sealer, Clock: l.clock, Latency: l.options.Latency, Operations: l.operations,
		Principals: l.entra, Identities: identityFinder{l.identity}, Vault: sqlserver.NewKeyVault(l.entra, &innerTransport{lab: l}),
		NewestEnabled: l.keyvault.NewestEnabled, TenantID: TenantID, NewID: uuid.NewString, Random: rand.Reader, Log: l.log, FreeSecondaryFlip: l.options.FreeSecondaryFlip, Outage: l.outage(),
		RotationEvery: l.options.RotationEvery,
		Dir:           filepath.Join(l.dir, "sql"), BackupDir: filepath.Join(l.dir, "backup"), NoSync: l.temporary,
	})
	if err := l.newMonitor(); err != nil {
		return err
	}
	return l.buildFront()
}

func (l *Lab) buildFront() error {
	l.front = arm.NewFront(arm.FrontOptions{
		Store: l.store, Tokens: armTokens{l}, Roles: l.authorization, Scopes: l.resources,
		Audiences: armAudiences(), LoginURL: "https://login.microsoftonline.com", TenantID: TenantID,
		Location: "LAB", NewID: uuid.NewString, Log: l.log, OnRequest: l.calls.record,
		Now: func() string { return l.clock.Now().Format(http.TimeFormat) },
	})
	l.wireResources()
	providers := []arm.Provider{l.authorization.Provider(), l.identity.Provider(), l.keyvault.Provider(), l.sql.Provider()}
	providers = append(providers, l.resources.Providers(l.front)...)
	for _, provider := range providers {
		if err := l.front.Add(provider); err != nil {
			return err
		}
	}
	return nil
}

// Close stops the lab and waits for its workers; a temporary state folder is
// removed. It may be called once.
//
//nolint:contextcheck // what has to be stopped is stopped even when the caller's context has ended
func (l *Lab) Close() error {
	var failures []error
	if l.gateway != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		failures = append(failures, l.gateway.Close(ctx))
	}
	failures = append(failures, l.stopSQL())
	if l.stop != nil {
		l.stop()
	}
	if l.monitor != nil {
		l.monitor.Wait()
	}
	if l.operations != nil {
		l.operations.Wait()
	}
	if l.sql != nil {
		failures = append(failures, l.sql.Close())
	}
	if l.faults != nil && len(l.faults.Text().Rules) > 0 {
		failures = append(failures, l.keepFaults())
	}
	if l.calls != nil {
		failures = append(failures, l.calls.Close())
	}
	if l.store != nil {
		failures = append(failures, l.store.Close())
	}
	if l.temporary {
		failures = append(failures, os.RemoveAll(l.dir))
	}
	return errors.Join(failures...)
}

// innerTransport carries the lab's own calls to its vaults: over TLS to the
// front door, whatever vault is named.
type innerTransport struct{ lab *Lab }

// Do sends a request to the lab's front door.
func (t *innerTransport) Do(r *http.Request) (*http.Response, error) {
	return t.lab.innerClient().Do(r)
}

func (l *Lab) innerClient() *http.Client {
	l.innerOnce.Do(func() {
		l.inner = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			DialContext:         l.options.dialer(l.gateway.HTTPSAddr()),
			TLSClientConfig:     &tls.Config{RootCAs: l.ca.Pool(), MinVersion: tls.VersionTLS12},
			MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		}}
	})
	return l.inner
}

func randomSecret() (string, error) {
	secret := make([]byte, 20)
	if _, err := io.ReadFull(rand.Reader, secret); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	return hex.EncodeToString(secret), nil
}
