// Package keyvault is the lab's Microsoft.KeyVault: vaults behind Azure
// Resource Manager, and their data plane with keys that really wrap, unwrap,
// encrypt, decrypt, sign and verify. Key material rests on disk only sealed.
package keyvault

import (
	"crypto/rsa"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// TokenVerifier checks an access token: signature, issuer, audience, dates.
type TokenVerifier interface {
	// Verify gives the token's claims, or an error whose text may be shown to
	// the caller; *entra.TokenError says which check failed.
	Verify(token string, audiences []string) (entra.Claims, error)
}

// RoleChecker decides whether role assignments let a caller perform a data
// action at a scope. It is asked for vaults in RBAC mode only.
type RoleChecker interface {
	AuthorizeData(tx *store.Tx, caller entra.Claims, dataAction, scope string) (bool, error)
}

// Options are what the service needs. All fields without a word on their zero
// value are required.
type Options struct {
	Store      *store.Store
	Sealer     *store.Sealer
	Clock      *clock.Clock
	Latency    latency.Profile
	Operations *arm.Operations
	Tokens     TokenVerifier
	Roles      RoleChecker
	// LoginURL is the authority named in challenges, without the tenant: it
	// may depend on the address by which the vault was called.
	LoginURL func(*http.Request) string
	TenantID string
	NewID    func() string // gives GUIDs
	// NewRSA makes RSA keys of a size in bits, each time another; nil generates
	// them.
	NewRSA func(bits int) (*rsa.PrivateKey, error)
	Log    *slog.Logger
}

// Service is the resource provider and the data plane of all vaults. It is
// safe for concurrent use.
type Service struct {
	Options
	vaults store.Table[vault]
	keys   store.Table[keyRecord]
	due    store.Table[dueTask]

	operations map[string]operation
	pool       *rsaPool
	views      *viewCache
	generation atomic.Uint64 // counts committed changes; see viewCache
	settling   sync.Mutex
}

// New makes the service and names its executors to the operations runner.
func New(o Options) *Service {
	s := &Service{
		Options: o,
		vaults:  store.NewTable[vault]("keyvault/vaults"),
		keys:    store.NewTable[keyRecord]("keyvault/keys"),
		due:     store.NewTable[dueTask]("keyvault/due"),
		pool:    newRSAPool(o.NewRSA),
		views:   newViewCache(),
	}
	s.operations = dataOperations()
	o.Operations.Handle(purgeOperation, s.executePurge, nil)
	return s
}

// Namespace is the provider's namespace.
const Namespace = "Microsoft.KeyVault"

const vaultType = Namespace + "/vaults"

// Provider lists the control plane's routes.
func (s *Service) Provider() arm.Provider {
	return arm.Provider{Namespace: Namespace, Versions: controlVersions(), Routes: s.routes()}
}

// controlVersions are the Microsoft.KeyVault versions of ARM.
// Source: https://github.com/Azure/azure-rest-api-specs/tree/main/specification/keyvault/resource-manager/Microsoft.KeyVault
func controlVersions() []string {
	return []string{
		"2026-03-01-preview", "2026-02-01", "2025-05-01", "2024-12-01-preview", "2024-11-01", "2024-04-01-preview", "2023-08-01-preview",
		"2023-07-01", "2023-02-01", "2022-11-01", "2022-07-01", "2022-02-01-preview", "2021-11-01-preview", "2021-10-01", "2021-06-01-preview",
		"2021-04-01-preview", "2020-04-01-preview", "2019-09-01", "2018-02-14", "2018-02-14-preview", "2016-10-01", "2015-06-01",
	}
}

// Resource is a vault as ARM's resource lists show it.
type Resource struct {
	ID, Name, Type, Location string
	Tags                     map[string]string
}

// Resources lists the vaults of a subscription, or of one of its groups when
// group is not empty, soft-deleted ones left out.
func (s *Service) Resources(tx *store.Tx, subscription, group string) ([]Resource, error) {
	vaults, err := s.liveVaults(tx, subscription, group)
	if err != nil {
		return nil, err
	}
	resources := make([]Resource, 0, len(vaults))
	for _, v := range vaults {
		resources = append(resources, Resource{ID: v.id(), Name: v.Name, Type: vaultType, Location: v.Location, Tags: v.Tags})
	}
	return resources, nil
}

// DeleteGroup soft-deletes the vaults of a resource group, as the deletion of
// the group does.
func (s *Service) DeleteGroup(tx *store.Tx, subscription, group string) error {
	vaults, err := s.liveVaults(tx, subscription, group)
	if err != nil {
		return err
	}
	for _, v := range vaults {
		if err := s.softDelete(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// liveVaults are the vaults that are not deleted, by name. An empty group
// means all of the subscription.
func (s *Service) liveVaults(tx *store.Tx, subscription, group string) ([]vault, error) {
	entries, err := s.vaults.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	var live []vault
	for _, entry := range entries {
		v := entry.Record
		if v.Deleted == nil && strings.EqualFold(v.Subscription, subscription) && (group == "" || strings.EqualFold(v.ResourceGroup, group)) {
			live = append(live, v)
		}
	}
	return live, nil
}

// saveVault writes a vault and drops what was cached of it.
func (s *Service) saveVault(tx *store.Tx, v vault) error {
	tx.OnCommit(s.changed)
	return s.vaults.Put(tx, strings.ToLower(v.Name), v)
}

// saveKey writes a key and drops what was cached of it.
func (s *Service) saveKey(tx *store.Tx, vaultName string, key keyRecord) error {
	tx.OnCommit(s.changed)
	return s.keys.Put(tx, keyID(vaultName, key.Name), key)
}

// removeKey deletes a key for good, material included.
func (s *Service) removeKey(tx *store.Tx, vaultName, name string) error {
	tx.OnCommit(s.changed)
	return s.keys.Delete(tx, keyID(vaultName, name))
}

// keyID is a key's place in its table. Names are compared without regard to
// case, and no vault's name holds a slash.
func keyID(vaultName, name string) string {
	return strings.ToLower(vaultName) + "/" + strings.ToLower(name)
}

func (s *Service) changed() { s.generation.Add(1) }
