package sim

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/memnet"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

const resourceGroup = "sim"

// world is a lab in a bubble, and what the test itself knows and does there:
// its own calls are struck by no fault and counted nowhere.
type world struct {
	scenario   scenario
	start      *start // from which it is a copy; nil where it was made for itself
	network    *memnet.Network
	lab        *lab.Lab
	client     *http.Client
	credential azcore.TokenCredential
	options    *arm.ClientOptions
	sql        *armsql.ClientFactory
	principals []string             // by server
	keys       map[string]tde.KeyID // by name, such as own1
	cloud      *azure.Cloud
	given      atomic.Int64 // RSA keys that the lab was given

	mu     sync.Mutex
	newest map[string]tde.KeyID // versions that somebody else has made since, by name
}

// ownCalls marks the test's calls as the lab's own.
type ownCalls struct {
	client *http.Client
	token  string
}

func (o ownCalls) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Crosskeys-Lab", o.token)
	return o.client.Do(r)
}

// rsaKeys hands out keys that were generated once for all worlds, to each
// world each once.
type rsaKeys struct {
	mu   sync.Mutex
	keys []*rsa.PrivateKey
}

var generated rsaKeys

func (k *rsaKeys) nth(n, bits int) (*rsa.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.keys) <= n {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, key)
	}
	return k.keys[n], nil
}

// forOneLab gives the keys of 2048 bits one after the other, from one on.
func (k *rsaKeys) forOneLab(given *atomic.Int64) func(bits int) (*rsa.PrivateKey, error) {
	return func(bits int) (*rsa.PrivateKey, error) {
		if bits != 2048 {
			return rsa.GenerateKey(rand.Reader, bits)
		}
		return k.nth(int(given.Add(1))-1, bits)
	}
}

// newWorld starts a lab and makes the scenario's start in it.
func newWorld(t *testing.T, s scenario) *world {
	t.Helper()
	w := &world{scenario: s, keys: map[string]tde.KeyID{}, newest: map[string]tde.KeyID{}}
	w.open(t, "")
	w.make(t)
	return w
}

// open starts a lab on a folder, or on a new one, and connects to it.
func (w *world) open(t *testing.T, dir string) {
	t.Helper()
	w.network = memnet.New()
	var err error
	w.lab, err = lab.Start(t.Context(), lab.Options{Dir: dir, Network: w.network, Latency: latency.Azure(1), NewRSA: generated.forOneLab(&w.given)})
	if err != nil {
		t.Fatalf("start the lab: %v", err)
	}
	w.client = w.lab.HTTPClient()
	own := ownCalls{w.client, w.lab.ControlToken()}
	if w.credential, err = w.lab.Credential(cloud.AzurePublic); err != nil {
		t.Fatal(err)
	}
	w.options = &arm.ClientOptions{ClientOptions: policy.ClientOptions{Cloud: cloud.AzurePublic, Transport: own}, DisableRPRegistration: true}
	if w.sql, err = armsql.NewClientFactory(lab.SubscriptionID, w.credential, w.options); err != nil {
		t.Fatal(err)
	}
	w.cloud = w.connect(t, own)
}

// make makes the scenario's start.
func (w *world) make(t *testing.T) {
	t.Helper()
	for _, make := range []func(context.Context) error{w.makeServers, w.makeVaults, w.makeProtectors, w.makeGroups, w.makeLinks, w.makeHalfway} {
		if err := make(t.Context()); err != nil {
			t.Fatalf("make the scenario's start: %v\n%s", err, w.scenario)
		}
	}
}

func (w *world) close(t *testing.T) {
	t.Helper()
	w.client.CloseIdleConnections()
	if err := w.lab.Close(); err != nil {
		t.Errorf("close the lab: %v", err)
	}
}

// connect gives the tool's connection over a transport; databases are asked
// directly.
func (w *world) connect(t *testing.T, transport policy.Transporter) *azure.Cloud {
	t.Helper()
	sql := azure.SQLOptions(cloud.AzurePublic, w.credential)
	authority, err := os.ReadFile(w.lab.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	sql.RootCAs = x509.NewCertPool()
	sql.RootCAs.AppendCertsFromPEM(authority)
	sql.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.network.Dial(ctx, w.lab.SQLAddr()) }
	var databases azure.DatabaseReader = readTruth{w.lab}
	if w.scenario.sql {
		databases = &azure.SQLReader{Options: sql}
	}
	c, err := azure.Connect(azure.Config{
		Cloud: cloud.AzurePublic, SubscriptionID: lab.SubscriptionID, Transport: transport, Credential: w.credential,
		Databases: databases, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// target is what the tool is asked about.
func (w *world) target() azure.Target {
	target := azure.Target{Name: groupName(0)}
	for _, key := range w.keys {
		target.Keys = append(target.Keys, key)
	}
	w.mu.Lock()
	for _, key := range w.newest {
		target.Keys = append(target.Keys, key)
	}
	w.mu.Unlock()
	slices.SortFunc(target.Keys, func(a, b tde.KeyID) int { return strings.Compare(a.String(), b.String()) })
	return target
}

func (w *world) observe(ctx context.Context) (tde.Topology, error) {
	return w.cloud.Observe(ctx, w.target())
}

// desired are the protectors that the scenario wants.
func (w *world) desired() plan.Desired {
	desired := plan.Desired{}
	for i, server := range w.scenario.servers {
		if server.wants == "keep" {
			continue
		}
		wanted := plan.DesiredProtector{Key: w.keys[keyName(server.wants, i)]}
		if strings.HasSuffix(server.wants, auto) {
			wanted.AutoRotation = to.Ptr(true)
		}
		desired[serverName(i)] = wanted
	}
	return desired
}

func await[T any](ctx context.Context, poller *runtime.Poller[T], err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: 5 * time.Second})
}

// each does something for every server at the same time.
func (w *world) each(do func(i int) error) error {
	failed := make([]error, len(w.scenario.servers))
	var group sync.WaitGroup
	for i := range w.scenario.servers {
		group.Go(func() { failed[i] = do(i) })
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) makeServers(ctx context.Context) error {
	groups, err := armresources.NewResourceGroupsClient(lab.SubscriptionID, w.credential, w.options)
	if err != nil {
		return err
	}
	if _, err := groups.CreateOrUpdate(ctx, resourceGroup, armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil); err != nil {
		return err
	}
	w.principals = make([]string, len(w.scenario.servers))
	return w.each(func(i int) error {
		poller, err := w.sql.NewServersClient().BeginCreateOrUpdate(ctx, resourceGroup, serverName(i), armsql.Server{
			Location: to.Ptr(w.scenario.servers[i].region), Identity: &armsql.ResourceIdentity{Type: to.Ptr(armsql.IdentityTypeSystemAssigned)},
			Properties: &armsql.ServerProperties{
				AdministratorLogin: to.Ptr("sqladmin"), AdministratorLoginPassword: to.Ptr("Simulated-Pass-1"),
				Administrators: &armsql.ServerExternalAdministrator{
					AdministratorType: to.Ptr(armsql.AdministratorTypeActiveDirectory), PrincipalType: to.Ptr(armsql.PrincipalTypeApplication),
					Login: to.Ptr("tool"), Sid: to.Ptr(lab.ClientID), TenantID: to.Ptr(lab.TenantID), AzureADOnlyAuthentication: to.Ptr(false),
				},
			},
		}, nil)
		server, err := await(ctx, poller, err)
		if err != nil {
			return err
		}
		w.principals[i] = *server.Identity.PrincipalID
		_, err = w.sql.NewFirewallRulesClient().CreateOrUpdate(ctx, resourceGroup, serverName(i), "loopback", armsql.FirewallRule{
			Properties: &armsql.ServerFirewallRuleProperties{StartIPAddress: to.Ptr("127.0.0.1"), EndIPAddress: to.Ptr("127.0.0.1")},
		}, nil)
		return err
	})
}

// settling is longer than a grant takes to come into force.
const settling = 11 * time.Minute

// makeVaults makes each key that is a protector at first, or wanted, in a vault
// of its own that every server may use but those that the scenario says.
func (w *world) makeVaults(ctx context.Context) error {
	names := append(w.scenario.protectors(), w.scenario.wanted()...)
	for _, name := range names {
		if err := w.makeVault(ctx, name); err != nil {
			return err
		}
	}
	time.Sleep(settling)
	return nil
}

func (w *world) makeVault(ctx context.Context, name string) error {
	vaults, err := armkeyvault.NewVaultsClient(lab.SubscriptionID, w.credential, w.options)
	if err != nil {
		return err
	}
	region := w.scenario.servers[0].region
	if _, err := fmt.Sscanf(name, "own%d", new(int)); err == nil {
		var i int
		_, _ = fmt.Sscanf(name, "own%d", &i)
		region = w.scenario.servers[i].region
	}
	properties := &armkeyvault.VaultProperties{
		TenantID: to.Ptr(lab.TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		EnableSoftDelete: to.Ptr(true), EnablePurgeProtection: to.Ptr(true), EnableRbacAuthorization: to.Ptr(w.scenario.roles),
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{policyOf(operator, "all")},
	}
	for i, principal := range w.principals {
		if !w.scenario.roles && !slices.Contains(w.scenario.missing, held{i, name}) {
			properties.AccessPolicies = append(properties.AccessPolicies, policyOf(principal, "get", "wrapKey", "unwrapKey"))
		}
	}
	poller, err := vaults.BeginCreateOrUpdate(ctx, resourceGroup, vaultName(name), armkeyvault.VaultCreateOrUpdateParameters{Location: &region, Properties: properties}, nil)
	made, err := await(ctx, poller, err)
	if err != nil {
		return err
	}
	for i := range w.principals {
		if w.scenario.roles && !slices.Contains(w.scenario.missing, held{i, name}) {
			if err := w.assign(ctx, *made.ID, i); err != nil {
				return err
			}
		}
	}
	client, err := w.vault(name)
	if err != nil {
		return err
	}
	key, err := client.CreateKey(ctx, "tde", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
	if err != nil {
		return err
	}
	w.keys[name], err = tde.ParseKeyID(string(*key.Key.KID))
	return err
}

// vault gives a client of the vault of a key.
func (w *world) vault(name string) (*azkeys.Client, error) {
	return azkeys.NewClient("https://"+vaultName(name)+".vault.azure.net", w.credential, &azkeys.ClientOptions{ClientOptions: w.options.ClientOptions})
}

func vaultName(key string) string { return "ck-" + key }

// operator is the object id of the application that the lab begins with.
const operator = "44444444-4444-4444-8444-444444444444"

func policyOf(principal string, permissions ...string) *armkeyvault.AccessPolicyEntry {
	entry := &armkeyvault.AccessPolicyEntry{TenantID: to.Ptr(lab.TenantID), ObjectID: to.Ptr(principal), Permissions: &armkeyvault.Permissions{}}
	for _, permission := range permissions {
		entry.Permissions.Keys = append(entry.Permissions.Keys, to.Ptr(armkeyvault.KeyPermissions(permission)))
	}
	return entry
}

const cryptoRole = "/subscriptions/" + lab.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/e147488a-f6f5-4113-8e2d-b22465e65bf6"

func (w *world) assign(ctx context.Context, vault string, server int) error {
	client, err := armauthorization.NewRoleAssignmentsClient(lab.SubscriptionID, w.credential, w.options)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%08d-0000-4000-8000-%012x", server, len(w.keys)+1)
	_, err = client.Create(ctx, vault, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: &w.principals[server], RoleDefinitionID: to.Ptr(cryptoRole), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
	}}, nil)
	return err
}

func (w *world) register(ctx context.Context, server int, name string) error {
	key := w.keys[name]
	poller, err := w.sql.NewServerKeysClient().BeginCreateOrUpdate(ctx, resourceGroup, serverName(server), key.ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: to.Ptr(key.String())},
	}, nil)
	_, err = await(ctx, poller, err)
	return err
}

// makeProtectors registers every first protector everywhere, then sets them,
// while nothing is linked yet.
func (w *world) makeProtectors(ctx context.Context) error {
	return w.each(func(i int) error {
		for _, name := range w.scenario.protectors() {
			if err := w.register(ctx, i, name); err != nil {
				return err
			}
		}
		name := keyName(w.scenario.servers[i].starts, i)
		if name == "" {
			return nil
		}
		poller, err := w.protect(ctx, i, name, strings.HasSuffix(w.scenario.servers[i].starts, auto))
		_, err = await(ctx, poller, err)
		return err
	})
}

// protect begins to set a server's protector; no name: service-managed.
func (w *world) protect(ctx context.Context, server int, name string, rotates bool) (*runtime.Poller[armsql.EncryptionProtectorsClientCreateOrUpdateResponse], error) {
	properties := &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeServiceManaged), ServerKeyName: to.Ptr(tde.ServiceManagedKeyName)}
	if name != "" {
		properties = &armsql.EncryptionProtectorProperties{
			ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(w.keys[name].ServerKeyName()), AutoRotationEnabled: &rotates,
		}
	}
	return w.sql.NewEncryptionProtectorsClient().BeginCreateOrUpdate(ctx, resourceGroup, serverName(server), armsql.EncryptionProtectorNameCurrent, armsql.EncryptionProtector{Properties: properties}, nil)
}

func (w *world) makeGroups(ctx context.Context) error {
	for n, g := range w.scenario.groups {
		server := "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + resourceGroup + "/providers/Microsoft.Sql/servers/"
		group := armsql.FailoverGroup{Properties: &armsql.FailoverGroupProperties{
			ReadWriteEndpoint: &armsql.FailoverGroupReadWriteEndpoint{FailoverPolicy: to.Ptr(armsql.ReadWriteEndpointFailoverPolicyManual)},
			ReadOnlyEndpoint:  &armsql.FailoverGroupReadOnlyEndpoint{FailoverPolicy: to.Ptr(armsql.ReadOnlyEndpointFailoverPolicyDisabled)},
		}}
		for _, secondary := range g.secondaries {
			group.Properties.PartnerServers = append(group.Properties.PartnerServers, &armsql.PartnerInfo{ID: to.Ptr(server + serverName(secondary))})
		}
		for d := range g.databases {
			name := fmt.Sprintf("db%d-%d", n, d)
			if err := w.makeDatabase(ctx, g.primary, name, nil); err != nil {
				return err
			}
			group.Properties.Databases = append(group.Properties.Databases, to.Ptr(server+serverName(g.primary)+"/databases/"+name))
		}
		poller, err := w.sql.NewFailoverGroupsClient().BeginCreateOrUpdate(ctx, resourceGroup, serverName(g.primary), groupName(n), group, nil)
		if _, err := await(ctx, poller, err); err != nil {
			return err
		}
	}
	return nil
}

// makeDatabase makes a database, or the geo-secondary of one.
func (w *world) makeDatabase(ctx context.Context, server int, name string, properties *armsql.DatabaseProperties) error {
	poller, err := w.sql.NewDatabasesClient().BeginCreateOrUpdate(ctx, resourceGroup, serverName(server), name,
		armsql.Database{Location: to.Ptr(w.scenario.servers[server].region), SKU: &armsql.SKU{Name: to.Ptr("GP_Gen5_2")}, Properties: properties}, nil)
	_, err = await(ctx, poller, err)
	return err
}

// makeLinks makes the databases that are replicated outside of failover groups.
func (w *world) makeLinks(ctx context.Context) error {
	for n, l := range w.scenario.links {
		for d := range l.databases {
			name := fmt.Sprintf("geo%d-%d", n, d)
			if err := w.makeDatabase(ctx, l.primary, name, nil); err != nil {
				return err
			}
			source := "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + resourceGroup + "/providers/Microsoft.Sql/servers/" + serverName(l.primary) + "/databases/" + name
			if err := w.makeDatabase(ctx, l.secondary, name, &armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeSecondary), SourceDatabaseID: &source}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) makeHalfway(ctx context.Context) error {
	for _, h := range w.scenario.registered {
		if err := w.register(ctx, h.server, h.key); err != nil {
			return err
		}
	}
	return nil
}

// failOver is a failover by somebody else, begun and not waited for.
func (w *world) failOver(ctx context.Context, o other) error {
	client := w.sql.NewFailoverGroupsClient()
	if o.does == "forced" {
		_, err := client.BeginForceFailoverAllowDataLoss(ctx, resourceGroup, serverName(o.to), groupName(o.group), nil)
		return err
	}
	_, err := client.BeginFailover(ctx, resourceGroup, serverName(o.to), groupName(o.group), nil)
	return err
}

// revoke takes every right on the vault of the first wanted key from a server.
func (w *world) revoke(ctx context.Context, server int) error {
	return w.regrant(ctx, w.revocable(), server, false)
}

func (w *world) regrant(ctx context.Context, key string, server int, give bool) error {
	if w.scenario.roles || key == "" {
		return nil // role assignments are not taken away here
	}
	vaults, err := armkeyvault.NewVaultsClient(lab.SubscriptionID, w.credential, w.options)
	if err != nil {
		return err
	}
	kind := armkeyvault.AccessPolicyUpdateKindRemove
	if give {
		kind = armkeyvault.AccessPolicyUpdateKindAdd
	}
	_, err = vaults.UpdateAccessPolicy(ctx, resourceGroup, vaultName(key), kind, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{policyOf(w.principals[server], "get", "wrapKey", "unwrapKey")}},
	}, nil)
	return err
}
