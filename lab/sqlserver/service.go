// Package sqlserver is the lab's Microsoft.Sql resource provider: logical
// servers, server keys, TDE protectors, databases, replication links and
// failover groups, with the semantics of transparent data encryption
// underneath. Every DEK is wrapped by calling the vault over HTTPS as the
// server's managed identity, so a missing grant or a disabled key has its
// real effect.
package sqlserver

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Principals makes and removes the service principals of servers' system-
// assigned identities.
type Principals interface {
	CreateManagedIdentity(tx *store.Tx, name, resourceID string) (entra.Principal, error)
	DeletePrincipal(tx *store.Tx, objectID string) error
}

// UserAssignedIdentity is what the provider needs to know of a
// Microsoft.ManagedIdentity resource.
type UserAssignedIdentity struct{ ID, PrincipalID, ClientID, TenantID string }

// UserAssignedIdentities finds user-assigned identities by ARM id.
type UserAssignedIdentities interface {
	FindIdentity(tx *store.Tx, resourceID string) (UserAssignedIdentity, bool, error)
}

// KeyInfo is what a vault shows of a key version.
type KeyInfo struct {
	URI           string // of the version
	Kty           string
	Bits          int
	Exponent      int
	Enabled       bool
	Created       time.Time // to the second
	NotBefore     time.Time // zero: none
	Expires       time.Time // zero: none
	RecoveryLevel string
	Thumbprint    string
	KeyOps        []string
}

// VaultAccess reaches a vault's data plane as a principal. Its errors are
// *VaultError.
type VaultAccess interface {
	// Get reads a key version, or the latest when the URI has none.
	Get(ctx context.Context, principalID, keyURI string) (KeyInfo, error)
	Wrap(ctx context.Context, principalID, keyURI string, dek []byte) ([]byte, error)
	Unwrap(ctx context.Context, principalID, keyURI string, wrapped []byte) ([]byte, error)
}

// Options are what the provider needs.
type Options struct {
	Store      *store.Store
	Sealer     *store.Sealer
	Clock      *clock.Clock
	Latency    latency.Profile
	Operations *arm.Operations
	Principals Principals
	Identities UserAssignedIdentities
	Vault      VaultAccess
	// NewestEnabled gives the id of a key's newest enabled version by the key's
	// versionless id; empty where there is none. A vault's data plane shows the
	// newest version, disabled or not, and its versions only to those who may list
	// them, which SQL servers need not: how the service finds it is not published.
	NewestEnabled func(keyURI string) (string, error)
	TenantID      string
	NewID         func() string
	Random        io.Reader
	Log           *slog.Logger
	// Dir holds the databases' files, BackupDir their backups.
	Dir, BackupDir string
	// NoSync leaves out the fsync of the databases' files, as store.Options
	// does for the records.
	NoSync bool
	// FreeSecondaryFlip lets a server that is only a geo-secondary change its
	// own protector to a key that its primary does not have. Off by default:
	// the published procedure registers the key on the primary first.
	FreeSecondaryFlip bool
	// RotationEvery is the time between two looks for newer versions of a
	// protector that rotates by itself, on the lab's clock; zero: 24 hours,
	// within which Azure moves one. When Azure looks, and at which server first,
	// is not published.
	// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
	RotationEvery time.Duration
	// Outage says what of the lab is out of order; the zero value is nothing.
	Outage Outage
}

// Service is the provider. It is safe for concurrent use.
type Service struct {
	Options
	servers   store.Table[Server]
	keys      store.Table[ServerKey]
	databases store.Table[Database]
	links     store.Table[Link]
	groups    store.Table[Group]
	firewall  store.Table[FirewallRule]
	events    store.Table[Event]
	retired   store.Table[Server] // dropped servers, for their built-in certificates
	instances *instance.Instances
	monitor   *monitor
	archive   *archive
	rotator   *rotator
	dropped   store.Table[Dropped]
}

// New makes the provider and names its executors to the operations runner.
func New(o Options) *Service {
	if o.RotationEvery <= 0 {
		o.RotationEvery = rotationEvery
	}
	s := &Service{
		Options:   o,
		servers:   store.NewTable[Server]("sql/servers"),
		keys:      store.NewTable[ServerKey]("sql/keys"),
		databases: store.NewTable[Database]("sql/databases"),
		links:     store.NewTable[Link]("sql/links"),
		groups:    store.NewTable[Group]("sql/groups"),
		firewall:  store.NewTable[FirewallRule]("sql/firewall"),
		events:    store.NewTable[Event]("sql/events"),
		retired:   store.NewTable[Server]("sql/retired"),
	}
	s.instances = instance.New(instance.Options{
		Dir: o.Dir, Clock: o.Clock, Random: o.Random, Log: o.Log, NoSync: o.NoSync, Open: s.openFor,
		Reach: s.reach, Delay: o.Outage.Delay,
		Opened: func(DBRef) { s.archive.nudge() },
	})
	s.dropped = store.NewTable[Dropped]("sql/dropped")
	s.monitor, s.archive, s.rotator = newMonitor(s), newArchive(s), newRotator(s)
	s.handleAdministratorOperations()
	s.handleServerOperations()
	s.handleKeyOperations()
	s.handleDatabaseOperations()
	s.handleLinkOperations()
	s.handleGroupOperations()
	return s
}

// Instances are the servers' open databases: what the SQL endpoint connects
// to.
func (s *Service) Instances() *instance.Instances { return s.instances }

// Load takes up the databases of the state folder without opening them. It
// comes before the first operation.
func (s *Service) Load() error {
	var entries []instance.Entry
	var links []Link
	err := s.Store.View(func(tx *store.Tx) error {
		databases, err := s.databases.Scan(tx, "")
		if err != nil {
			return err
		}
		for _, entry := range databases {
			db := entry.Record
			entries = append(entries, instance.Entry{Ref: refOf(db.Server, db.Name), ID: db.ID, Held: db.Status == statusInaccessible})
		}
		all, err := s.links.Scan(tx, "")
		for _, entry := range all {
			links = append(links, entry.Record)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.instances.Load(entries); err != nil {
		return err
	}
	for _, link := range links {
		s.startLink(link)
	}
	return nil
}

// Run opens the databases, in the background, watches over their keys and
// moves protectors that rotate by themselves, until ctx ends. The vaults must answer by then.
func (s *Service) Run(ctx context.Context) {
	s.instances.Resume()
	s.monitor.run(ctx)
	s.archive.run(ctx)
	s.rotator.run(ctx)
}

// AwaitOpen waits until the databases that Run opens are open, or known not
// to open.
func (s *Service) AwaitOpen(ctx context.Context) error {
	var refs []DBRef
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.databases.Scan(tx, "")
		for _, entry := range entries {
			refs = append(refs, refOf(entry.Record.Server, entry.Record.Name))
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.instances.AwaitOpen(ctx, refs...)
}

// Close ends all sessions and closes the databases; Run's ctx has ended.
func (s *Service) Close() error {
	s.monitor.wait()
	s.archive.work.Wait()
	s.rotator.work.Wait()
	return s.instances.Close()
}

// Namespace is the provider's namespace.
const Namespace = "Microsoft.Sql"

// Provider lists the provider's routes.
func (s *Service) Provider() arm.Provider {
	routes := s.Operations.PollRoutes(Namespace)
	routes = append(routes, s.serverRoutes()...)
	routes = append(routes, s.keyRoutes()...)
	routes = append(routes, s.protectorRoutes()...)
	routes = append(routes, s.databaseRoutes()...)
	routes = append(routes, s.encryptionRoutes()...)
	routes = append(routes, s.linkRoutes()...)
	routes = append(routes, s.groupRoutes()...)
	routes = append(routes, s.policyRoutes()...)
	routes = append(routes, s.backupRoutes()...)
	routes = append(routes, s.firewallRoutes()...)
	routes = append(routes, s.administratorRoutes()...)
	return arm.Provider{Namespace: Namespace, Versions: apiVersions(), Routes: routes}
}

const (
	subscriptionPath = "/subscriptions/{subscriptionId}"
	groupPath        = subscriptionPath + "/resourceGroups/{resourceGroupName}"
	serversPath      = groupPath + "/providers/Microsoft.Sql/servers"
	serverPath       = serversPath + "/{serverName}"
	databasesPath    = serverPath + "/databases"
	databasePath     = databasesPath + "/{databaseName}"
)

// apiVersions are the Microsoft.Sql versions that clients are known to send.
// Source: https://github.com/Azure/azure-rest-api-specs/tree/main/specification/sql/resource-manager
func apiVersions() []string {
	return []string{
		"2026-08-01-preview", "2025-08-01-preview", "2025-02-01-preview", "2025-01-01", "2024-11-01-preview", "2024-05-01-preview",
		"2023-08-01", "2023-08-01-preview", "2023-05-01-preview", "2023-02-01-preview", "2022-11-01-preview", "2022-08-01-preview",
		"2022-05-01-preview", "2022-02-01-preview", "2021-11-01", "2021-11-01-preview", "2021-08-01-preview", "2021-05-01-preview",
		"2021-02-01-preview", "2020-11-01-preview", "2020-08-01-preview", "2020-02-02-preview", "2019-06-01-preview", "2018-06-01-preview",
		"2017-10-01-preview", "2017-03-01-preview", "2015-05-01-preview", "2015-05-01", "2014-04-01", "2014-01-01",
	}
}

// operation fills in what all operations on a server share.
func (s *Service) operation(r *arm.Request, server Server, kind latency.Kind, segment string) arm.Operation {
	return arm.Operation{
		Kind: string(kind), Segment: segment, Provider: Namespace, APIVersion: r.APIVersion,
		Subscription: server.Subscription, ResourceGroup: server.ResourceGroup, Location: server.Location,
		Takes: s.Latency.Of(kind), RetryAfter: time.Second, Origin: r.Origin(s.Clock.Now()),
	}
}

// accept begins op in a transaction of its own and answers 202.
func (s *Service) accept(ctx context.Context, r *arm.Request, op arm.Operation, payload any) (*arm.Response, error) {
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		op, err = s.Operations.Begin(tx, op, payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Operations.Accepted(ctx, r, op), nil
}

// task begins a background task that takes effect after its latency.
func (s *Service) task(tx *store.Tx, kind string, after latency.Kind, payload any) error {
	_, err := s.Operations.Begin(tx, arm.Operation{Kind: kind, Provider: Namespace, Takes: s.Latency.Of(after)}, payload)
	return err
}

// list is the body of a list answer.
type list struct {
	Value []any `json:"value"`
}

func listOf[T any](items []T) list {
	body := list{Value: []any{}}
	for _, item := range items {
		body.Value = append(body.Value, item)
	}
	return body
}

func notFound(kind, name string) *arm.Error {
	return arm.Refuse(http.StatusNotFound, "ResourceNotFound", "The requested resource of type '%s' with name '%s' was not found.", kind, name)
}
