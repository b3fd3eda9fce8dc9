package lab_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/model"
)

// The lab and the model must agree: on every refusal, and on the state that
// follows. Random walks of actions are done in both, in small topologies whose
// servers begin service-managed, with no key registered.
//
// CROSSKEYS_SOAK is for how long to walk (such as 10m); CROSSKEYS_SEED repeats
// one walk.
func TestModelAndLabAgree(t *testing.T) {
	t.Parallel()
	if seed, err := strconv.ParseUint(os.Getenv("CROSSKEYS_SEED"), 10, 64); err == nil {
		walk(t, seed)
		return
	}
	patience := 10 * time.Second
	if soak, err := time.ParseDuration(os.Getenv("CROSSKEYS_SOAK")); err == nil {
		patience = soak
	}
	if testing.Short() {
		patience = 2 * time.Second
	}
	until := time.Now().Add(patience)
	first := rand.Uint64N(1 << 32)
	walks, agreed := 0, tally{}
	for ; time.Now().Before(until) && !t.Failed(); walks++ {
		agreed.add(walk(t, first+uint64(walks)))
	}
	t.Logf("%d walks from seed %d agree; done and refused: %v", walks, first, agreed)
}

// walkSteps is how many actions a walk has.
const walkSteps = 40

// topology is a template of a lab, and the same in the model's terms.
type topology struct {
	servers    []string
	databases  []walkDatabase
	components []model.Component // one a database
}

type walkDatabase struct {
	name    string
	group   string // empty: a link outside any
	holders []model.Server
}

// The keys of all topologies: a key, a key of two versions, a key, and the
// same material in two other vaults, so that a server may have several copies
// of a key that it has not.
const (
	keyA model.Key = iota
	keyB1
	keyB2
	keyC
	keyCopy
	keyCopyToo
	walkKeys
)

const (
	vaultOne   = "walkvaultone"
	vaultTwo   = "walkvaulttwo"
	vaultThree = "walkvaultthree"
)

func walkVaults() []string { return []string{vaultOne, vaultTwo, vaultThree} }

// vaultOfKey gives the last vault for a server's own certificate.
func vaultOfKey(k model.Key) string {
	switch {
	case k == keyC:
		return vaultTwo
	case k >= keyCopyToo: // or a certificate
		return vaultThree
	}
	return vaultOne
}

func topologies() []topology {
	two := topology{servers: []string{"walka", "walkb"}, databases: []walkDatabase{{"orders", "walkgroup", []model.Server{0, 1}}}}
	three := topology{servers: []string{"walka", "walkb", "walkc"}, databases: []walkDatabase{{"orders", "walkgroup", []model.Server{0, 1, 2}}}}
	star := topology{servers: []string{"walka", "walkb", "walkc"}, databases: []walkDatabase{{"orders", "walkgroup", []model.Server{0, 1}}, {"lone", "", []model.Server{2, 0}}}}
	list := []topology{two, three, star}
	for i := range list {
		list[i].model()
	}
	return list
}

// model fills in the components.
func (p *topology) model() {
	var partners [model.MaxServers]model.Servers
	for _, d := range p.databases {
		for _, each := range d.holders {
			for _, other := range d.holders {
				if other != each {
					partners[each] = partners[each].With(other)
				}
			}
		}
	}
	for _, d := range p.databases {
		c := model.Component{Servers: len(p.servers), Keys: int(walkKeys), Partners: partners, Strict: true, Database: model.Database{Exists: true, Movable: true}}
		for k := range walkKeys {
			c.Same[k], c.Successor[k] = model.Keys(0).With(k), k
		}
		c.Successor[keyB1] = keyB2
		c.Same[keyC] = c.Same[keyC].With(keyCopy).With(keyCopyToo)
		c.Same[keyCopy], c.Same[keyCopyToo] = c.Same[keyC], c.Same[keyC]
		for _, h := range d.holders {
			c.Database.Holders = c.Database.Holders.With(h)
		}
		p.components = append(p.components, c)
	}
}

// walkTemplates are the topologies' state folders.
var walkTemplates = sync.OnceValues(func() ([]walkTemplate, error) {
	var list []walkTemplate
	for _, p := range topologies() {
		made, err := makeWalkTemplate(p)
		if err != nil {
			return nil, err
		}
		list = append(list, made)
	}
	return list, nil
})

type walkTemplate struct {
	topology
	dir  string
	uris [walkKeys]string
}

func makeWalkTemplate(p topology) (walkTemplate, error) {
	w := walkTemplate{topology: p}
	var err error
	if w.dir, err = os.MkdirTemp(templateRoot(), ""); err != nil {
		return w, err
	}
	l, err := lab.Start(context.Background(), lab.Options{Dir: w.dir})
	if err != nil {
		return w, err
	}
	return w, errors.Join(w.fill(l), l.Close())
}

const walkGroup = "walk"

// fill makes the servers, vaults, keys, databases and links.
func (w *walkTemplate) fill(l *lab.Lab) error {
	ctx := context.Background()
	cred, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		return err
	}
	options := l.ClientOptions(cloud.AzurePublic)
	sql, err := armsql.NewClientFactory(lab.SubscriptionID, cred, options)
	if err != nil {
		return err
	}
	groups, err := armresources.NewResourceGroupsClient(lab.SubscriptionID, cred, options)
	if err != nil {
		return err
	}
	if _, err := groups.CreateOrUpdate(ctx, walkGroup, armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil); err != nil {
		return err
	}
	for i, name := range w.servers {
		poller, err := sql.NewServersClient().BeginCreateOrUpdate(ctx, walkGroup, name, armsql.Server{
			Location: to.Ptr([]string{"eastus", "westus", "northeurope"}[i]), Identity: &armsql.ResourceIdentity{Type: to.Ptr(armsql.IdentityTypeSystemAssigned)},
			Properties: &armsql.ServerProperties{AdministratorLogin: to.Ptr("walker"), AdministratorLoginPassword: to.Ptr("Aa1!aaaaaaaa")},
		}, nil)
		if _, err := done(ctx, poller, err); err != nil {
			return err
		}
	}
	if err := w.fillVaults(ctx, cred, options.ClientOptions, l); err != nil {
		return err
	}
	for _, d := range w.databases {
		if err := w.fillDatabase(ctx, sql, d); err != nil {
			return err
		}
	}
	return nil
}

func (w *walkTemplate) fillVaults(ctx context.Context, cred azcore.TokenCredential, options azcore.ClientOptions, l *lab.Lab) error {
	vaults, err := armkeyvault.NewVaultsClient(lab.SubscriptionID, cred, l.ClientOptions(cloud.AzurePublic))
	if err != nil {
		return err
	}
	clients := map[string]*azkeys.Client{}
	for _, name := range walkVaults() {
		poller, err := vaults.BeginCreateOrUpdate(ctx, walkGroup, name, armkeyvault.VaultCreateOrUpdateParameters{
			Location: to.Ptr("eastus"), Properties: &armkeyvault.VaultProperties{
				TenantID: to.Ptr(lab.TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
				EnablePurgeProtection: to.Ptr(true), AccessPolicies: []*armkeyvault.AccessPolicyEntry{{
					TenantID: to.Ptr(lab.TenantID), ObjectID: to.Ptr(lab.OperatorObject), Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsAll)}},
				}},
			},
		}, nil)
		if _, err := done(ctx, poller, err); err != nil {
			return err
		}
		if clients[name], err = azkeys.NewClient("https://"+name+".vault.azure.net", cred, &azkeys.ClientOptions{ClientOptions: options}); err != nil {
			return err
		}
	}
	parameters := azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}
	for _, each := range []struct {
		key  model.Key
		name string
	}{{keyA, "a"}, {keyB1, "b"}, {keyB2, "b"}, {keyC, "c"}} {
		made, err := clients[vaultOfKey(each.key)].CreateKey(ctx, each.name, parameters, nil)
		if err != nil {
			return err
		}
		w.uris[each.key] = string(*made.Key.KID)
	}
	backup, err := clients[vaultTwo].BackupKey(ctx, "c", nil)
	if err != nil {
		return err
	}
	for _, k := range []model.Key{keyCopy, keyCopyToo} {
		restored, err := clients[vaultOfKey(k)].RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
		if err != nil {
			return err
		}
		w.uris[k] = string(*restored.Key.KID)
	}
	return nil
}

func walkServerID(name string) string {
	return "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + walkGroup + "/providers/Microsoft.Sql/servers/" + name
}

func (w *walkTemplate) fillDatabase(ctx context.Context, sql *armsql.ClientFactory, d walkDatabase) error {
	primary := w.servers[d.holders[0]]
	server, err := sql.NewServersClient().Get(ctx, walkGroup, primary, nil)
	if err != nil {
		return err
	}
	poller, err := sql.NewDatabasesClient().BeginCreateOrUpdate(ctx, walkGroup, primary, d.name, armsql.Database{Location: server.Location}, nil)
	if _, err := done(ctx, poller, err); err != nil {
		return err
	}
	if d.group == "" {
		secondary := w.servers[d.holders[1]]
		server, err := sql.NewServersClient().Get(ctx, walkGroup, secondary, nil)
		if err != nil {
			return err
		}
		poller, err := sql.NewDatabasesClient().BeginCreateOrUpdate(ctx, walkGroup, secondary, d.name, armsql.Database{Location: server.Location, Properties: &armsql.DatabaseProperties{
			CreateMode: to.Ptr(armsql.CreateModeSecondary), SourceDatabaseID: to.Ptr(walkServerID(primary) + "/databases/" + d.name),
		}}, nil)
		_, err = done(ctx, poller, err)
		return err
	}
	group := armsql.FailoverGroup{Properties: &armsql.FailoverGroupProperties{
		ReadWriteEndpoint: &armsql.FailoverGroupReadWriteEndpoint{FailoverPolicy: to.Ptr(armsql.ReadWriteEndpointFailoverPolicyManual)},
		Databases:         []*string{to.Ptr(walkServerID(primary) + "/databases/" + d.name)},
	}}
	for _, h := range d.holders[1:] {
		group.Properties.PartnerServers = append(group.Properties.PartnerServers, &armsql.PartnerInfo{ID: to.Ptr(walkServerID(w.servers[h]))})
	}
	made, err := sql.NewFailoverGroupsClient().BeginCreateOrUpdate(ctx, walkGroup, primary, d.group, group, nil)
	_, err = done(ctx, made, err)
	return err
}

// walker walks in both worlds.
type walker struct {
	*azure
	walkTemplate
	seed    uint64
	random  *rand.Rand
	states  []model.State // one a database
	granted [model.MaxServers]model.Keys
	enabled model.Keys
	story   []string
	moved   time.Duration // of the lab's clock
	down    bool
	did     tally
}

// walk does one walk; it gives what agreed.
func walk(t *testing.T, seed uint64) tally {
	t.Helper()
	list, err := walkTemplates()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, seed))
	template := list[random.IntN(len(list))]
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(template.dir)); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	w := &walker{azure: clients(t, l, cloud.AzurePublic), walkTemplate: template, seed: seed, random: random, enabled: 1<<walkKeys - 1, did: tally{}}
	for _, d := range w.databases {
		state := model.State{Primary: d.holders[0], Latest: w.latest()}
		for s := range w.servers {
			state.Protector[s] = model.Certificate(model.Server(s))
		}
		for _, h := range d.holders {
			state.Wrap[h] = model.Certificate(d.holders[0])
		}
		w.states = append(w.states, state)
	}
	w.settle()
	w.compare()
	w.prelude()
	for n := 0; n < walkSteps && !t.Failed() && !w.down && w.moved < 6*time.Minute; n++ {
		w.step()
	}
	return w.did
}

// prelude grants and registers much of what flips need, so that a walk comes
// to where it matters.
func (w *walker) prelude() {
	for s := range w.servers {
		server := model.Server(s)
		for _, vault := range walkVaults() {
			if w.random.IntN(8) > 0 {
				w.grant(server, vault)
			}
		}
		for k := range walkKeys {
			if w.random.IntN(8) > 1 {
				w.try(model.Action{Kind: model.Register, Server: server, Key: k}, func() error { return w.registerKey(server, k) })
			}
		}
	}
}

// tally counts what was done, and what both worlds refused, by what it was.
type tally map[string][2]int

func (m tally) add(other tally) {
	for what, n := range other {
		m[what] = [2]int{m[what][0] + n[0], m[what][1] + n[1]}
	}
}

func (m tally) note(what string, refused bool) {
	n := [2]int{1, 0}
	if refused {
		n = [2]int{0, 1}
	}
	m.add(tally{what: n})
}

// fail tells the walk that led to a disagreement.
func (w *walker) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, servers %v: %s\nwalk:\n  %s\nmodel: %+v", w.seed, w.servers, fmt.Sprintf(format, args...), strings.Join(w.story, "\n  "), w.states)
}

// step does one random action.
func (w *walker) step() {
	server := model.Server(w.random.IntN(len(w.servers)))
	key := model.Key(w.random.IntN(int(walkKeys)))
	if w.random.IntN(8) == 0 {
		key = model.Certificate(server)
	}
	switch n := w.random.IntN(40); {
	case n < 7:
		w.grant(server, vaultOfKey(key))
	case n < 9:
		w.revoke(server, vaultOfKey(key))
	case n < 18 && key.Managed():
		w.try(model.Action{Kind: model.Register, Server: server, Key: key}, func() error { return w.registerKey(server, key) })
	case n < 28:
		w.flip(server, key, w.random.IntN(6) == 0)
	case n < 32 && key.Managed():
		w.deregisterKey(server, key)
	case n < 35:
		w.failOver(model.PlannedFailover, server)
	case n < 37:
		w.failOver(model.ForcedFailover, server)
	case n < 38 && key.Managed():
		w.enable(key, !w.enabled.Has(key))
	case n < 40:
		w.rotate(server)
	}
}

// try does an action in both worlds.
func (w *walker) try(a model.Action, call func() error) {
	w.t.Helper()
	refused := false
	for i := range w.states {
		now := w.linkedNow(i)
		refused = refused || now.Refused(&w.states[i], a)
	}
	err := call()
	_, answered := errors.AsType[*azcore.ResponseError](err)
	w.story = append(w.story, fmt.Sprintf("%s; model refuses: %t; lab: %v", w.say(a), refused, codeOf(err)))
	if err != nil && !answered {
		w.fail("%v", err)
	}
	if refused != (err != nil) {
		w.fail("the model refuses: %t, the lab answers: %v", refused, err)
	}
	if w.did.note(w.kind(a), refused); !refused {
		w.act(a)
	}
	w.settle()
	w.compare()
}

// linkedNow is a component with the links as they are: Azure asks the servers
// that a link leads to, not those that are secondaries of the same primary.
// What is proved counts those too, since a failover may link them.
func (w *walker) linkedNow(i int) model.Component {
	c := w.components[i]
	c.Partners = [model.MaxServers]model.Servers{}
	for i, d := range w.databases {
		primary := w.states[i].Primary
		for _, h := range d.holders {
			if h != primary {
				c.Partners[primary] = c.Partners[primary].With(h)
				c.Partners[h] = c.Partners[h].With(primary)
			}
		}
	}
	return c
}

// act applies an action to the model's states.
func (w *walker) act(a model.Action) {
	for i := range w.states {
		w.states[i] = w.components[i].Settled(w.components[i].After(w.states[i], a))
	}
}

func codeOf(err error) string {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.ErrorCode
	}
	if err != nil {
		return err.Error()
	}
	return "done"
}

func (w *walker) kind(a model.Action) string {
	return map[model.Kind]string{
		model.Grant: "grant", model.Register: "register", model.Flip: "flip", model.Deregister: "deregister", model.PlannedFailover: "planned failover",
		model.ForcedFailover: "forced failover", model.Verify: "revoke or switch", model.Rotate: "automatic rotation",
	}[a.Kind]
}

func (w *walker) say(a model.Action) string {
	return fmt.Sprintf("%s %s key %d keys %b auto %t", w.kind(a), w.servers[a.Server], a.Key, a.Keys, a.Auto)
}

func (w *walker) keysOf(vault string) (keys model.Keys) {
	for k := range walkKeys {
		if vaultOfKey(k) == vault {
			keys = keys.With(k)
		}
	}
	return keys
}

func (w *walker) grant(server model.Server, vault string) {
	w.granted[server] |= w.keysOf(vault)
	w.try(model.Action{Kind: model.Grant, Server: server, Keys: w.keysOf(vault) & w.enabled}, func() error {
		return w.policy(armkeyvault.AccessPolicyUpdateKindAdd, server, vault)
	})
}

func (w *walker) revoke(server model.Server, vault string) {
	w.granted[server] &^= w.keysOf(vault)
	for k := range walkKeys {
		if vaultOfKey(k) == vault {
			for i := range w.states {
				w.states[i] = w.components[i].After(w.states[i], model.Action{Kind: model.Revoke, Server: server, Key: k})
			}
		}
	}
	w.try(model.Action{Kind: model.Verify, Server: server}, func() error {
		return w.policy(armkeyvault.AccessPolicyUpdateKindRemove, server, vault)
	})
	w.story[len(w.story)-1] = "revoke " + w.servers[server] + " " + vault
}

func (w *walker) policy(kind armkeyvault.AccessPolicyUpdateKind, server model.Server, vault string) error {
	answer, err := w.sql.NewServersClient().Get(w.t.Context(), walkGroup, w.servers[server], nil)
	if err != nil {
		return err
	}
	_, err = w.vaults.UpdateAccessPolicy(w.t.Context(), walkGroup, vault, kind, armkeyvault.VaultAccessPolicyParameters{Properties: &armkeyvault.VaultAccessPolicyProperties{
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{{TenantID: to.Ptr(lab.TenantID), ObjectID: answer.Identity.PrincipalID, Permissions: &armkeyvault.Permissions{
			Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsGet), to.Ptr(armkeyvault.KeyPermissionsWrapKey), to.Ptr(armkeyvault.KeyPermissionsUnwrapKey)},
		}}},
	}}, nil)
	return err
}

// latest are the newest enabled versions of their keys.
func (w *walker) latest() model.Keys {
	if w.enabled.Has(keyB2) {
		return w.enabled &^ (1 << keyB1)
	}
	return w.enabled
}

// enable switches a key on or off.
func (w *walker) enable(key model.Key, on bool) {
	if on {
		w.enabled = w.enabled.With(key)
	} else {
		w.enabled &^= 1 << key
		w.act(model.Action{Kind: model.Disable, Key: key})
	}
	for i := range w.states {
		w.states[i].Latest = w.latest()
	}
	for s := range w.servers {
		if on && w.granted[s].Has(key) {
			w.act(model.Action{Kind: model.Grant, Server: model.Server(s), Keys: model.Keys(0).With(key)})
		}
	}
	w.try(model.Action{Kind: model.Verify}, func() error {
		k := id(w.t, w.uris[key])
		_, err := w.keys(k).UpdateKey(w.t.Context(), k.Name, k.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &on}}, nil)
		return err
	})
	w.story[len(w.story)-1] = fmt.Sprintf("key %d enabled: %t", key, on)
}

// rotate has a server's protector rotate by itself, and lets a newer version of
// its key come. A day passes, so every database has to have its keys.
func (w *walker) rotate(server model.Server) {
	w.enable(keyB2, false)
	w.flip(server, keyB1, true)
	if other := model.Server(w.random.IntN(len(w.servers))); other != server {
		w.flip(other, keyB1, w.random.IntN(2) == 0)
	}
	w.enable(keyB2, true)
	for i := range w.states {
		if w.down || !w.components[i].Healthy(&w.states[i]) || w.pastBroken() {
			return
		}
	}
	w.azure = w.advance(24 * time.Hour)
	for at := range w.servers {
		w.rotated(model.Server(at))
	}
	since := w.lab.Now().Add(-time.Hour)
	w.eventually(func() bool {
		looked, err := w.lab.LookedForVersions(since)
		must(w.t, err)
		return looked
	}, "newer versions are looked for")
	w.settle()
	w.compare()
}

// rotated is what the model says of a look at one server's protector.
func (w *walker) rotated(server model.Server) {
	now := &w.states[0]
	if !now.Auto.Has(server) || now.Protector[server] != keyB1 || !w.enabled.Has(keyB2) {
		return
	}
	a := model.Action{Kind: model.Rotate, Server: server}
	refused := w.components[0].Refused(now, a)
	w.components[0].Partners[server].Each(func(p model.Server) {
		refused = refused || now.Protector[p] == keyB1 && !now.Auto.Has(p)
	})
	w.story = append(w.story, fmt.Sprintf("%s; refused: %t", w.say(a), refused))
	if w.did.note(w.kind(a), refused); refused {
		return
	}
	w.act(a)
	for i := range w.states {
		w.states[i].Rotated = false // it may happen again
	}
}

func (w *walker) registerKey(server model.Server, key model.Key) error {
	uri := w.uris[key]
	poller, err := w.sql.NewServerKeysClient().BeginCreateOrUpdate(w.t.Context(), walkGroup, w.servers[server], id(w.t, uri).ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: &uri},
	}, nil)
	_, err = done(w.t.Context(), poller, err)
	return err
}

func (w *walker) deregisterKey(server model.Server, key model.Key) {
	if !w.states[0].Registered[server].Has(key) {
		return // nothing is there: Azure answers 204
	}
	w.try(model.Action{Kind: model.Deregister, Server: server, Key: key}, func() error {
		poller, err := w.sql.NewServerKeysClient().BeginDelete(w.t.Context(), walkGroup, w.servers[server], id(w.t, w.uris[key]).ServerKeyName(), nil)
		_, err = done(w.t.Context(), poller, err)
		return err
	})
}

func (w *walker) flip(server model.Server, key model.Key, auto bool) {
	properties := &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeServiceManaged), ServerKeyName: to.Ptr("ServiceManaged")}
	if auto = auto && key.Managed(); key.Managed() {
		properties = &armsql.EncryptionProtectorProperties{
			ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(id(w.t, w.uris[key]).ServerKeyName()), AutoRotationEnabled: &auto,
		}
	}
	w.try(model.Action{Kind: model.Flip, Server: server, Key: key, Auto: auto}, func() error {
		poller, err := w.sql.NewEncryptionProtectorsClient().BeginCreateOrUpdate(w.t.Context(), walkGroup, w.servers[server], armsql.EncryptionProtectorNameCurrent,
			armsql.EncryptionProtector{Properties: properties}, nil)
		_, err = done(w.t.Context(), poller, err)
		return err
	})
}

// failOver moves one of the databases to the server, where it has a replica
// there.
func (w *walker) failOver(kind model.Kind, to model.Server) {
	i := w.random.IntN(len(w.databases))
	d := w.databases[i]
	if !slices.Contains(d.holders, to) || w.states[i].Primary == to {
		return
	}
	a := model.Action{Kind: kind, Server: to}
	refused := w.components[i].Refused(&w.states[i], a)
	err := w.callFailover(d, w.servers[to], kind == model.ForcedFailover)
	_, answered := errors.AsType[*azcore.ResponseError](err)
	w.story = append(w.story, fmt.Sprintf("%s of %s; model refuses: %t; lab: %s", w.say(a), d.name, refused, codeOf(err)))
	if err != nil && !answered || refused != (err != nil) {
		w.fail("the model refuses: %t, the lab answers: %v", refused, err)
	}
	if w.did.note(w.kind(a), refused); !refused {
		w.states[i] = w.components[i].Settled(w.components[i].After(w.states[i], a))
	}
	w.settle()
	w.compare()
}

func (w *walker) callFailover(d walkDatabase, server string, forced bool) error {
	ctx := w.t.Context()
	if d.group != "" {
		if forced {
			poller, err := w.sql.NewFailoverGroupsClient().BeginForceFailoverAllowDataLoss(ctx, walkGroup, server, d.group, nil)
			_, err = done(ctx, poller, err)
			return err
		}
		poller, err := w.sql.NewFailoverGroupsClient().BeginFailover(ctx, walkGroup, server, d.group, nil)
		_, err = done(ctx, poller, err)
		return err
	}
	links, err := w.sql.NewReplicationLinksClient().NewListByDatabasePager(walkGroup, server, d.name, nil).NextPage(ctx)
	if err != nil || len(links.Value) != 1 {
		return errors.Join(err, fmt.Errorf("%d links", len(links.Value)))
	}
	if forced {
		poller, err := w.sql.NewReplicationLinksClient().BeginFailoverAllowDataLoss(ctx, walkGroup, server, d.name, *links.Value[0].Name, nil)
		_, err = done(ctx, poller, err)
		return err
	}
	poller, err := w.sql.NewReplicationLinksClient().BeginFailover(ctx, walkGroup, server, d.name, *links.Value[0].Name, nil)
	_, err = done(ctx, poller, err)
	return err
}

// settle waits until the lab's tasks have ended, or have found twice that they
// cannot go on yet.
func (w *walker) settle() {
	w.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for rounds := 0; ; {
		running, err := w.lab.RunningOperations()
		must(w.t, err)
		waiting, latest := 0, time.Time{}
		for _, op := range running {
			if op.Attempts > 0 && op.DueAt.After(w.lab.Now()) {
				waiting++
				if op.DueAt.After(latest) {
					latest = op.DueAt
				}
			}
		}
		switch {
		case len(running) == 0, waiting == len(running) && rounds == 2:
			return
		case waiting == len(running):
			by := latest.Sub(w.lab.Now()) + time.Millisecond
			must(w.t, w.lab.Advance(by))
			w.moved += by
			rounds++
		}
		if time.Now().After(deadline) {
			w.fail("the lab does not settle: %+v", running)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// world is what is compared.
type world struct {
	Registered map[string][]string
	Usable     map[string][]string
	Protector  map[string]string
	Auto       map[string]bool
	Primary    map[string]string
	Wrap       map[string]string
	Broken     []monitor.Breach
}

func newWorld() world {
	return world{Registered: map[string][]string{}, Usable: map[string][]string{}, Protector: map[string]string{}, Auto: map[string]bool{}, Primary: map[string]string{}, Wrap: map[string]string{}}
}

// compare fails when the two worlds differ. Where a database has become
// Inaccessible, which the model does not know, its rules must say why, and the
// walk ends.
func (w *walker) compare() {
	w.t.Helper()
	if w.t.Failed() {
		return
	}
	if server, database := w.inaccessible(); server != "" {
		w.down = true
		for i, d := range w.databases {
			if d.name == database && w.components[i].Healthy(&w.states[i]) && !w.pastBroken() {
				w.fail("database %s is Inaccessible on %s, and the model is healthy", database, server)
			}
		}
		return
	}
	var diff string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if diff = cmp.Diff(w.modelWorld(), w.labWorld()); diff == "" {
			return
		}
		w.settle()
	}
	w.fail("model (-) and lab (+) differ:\n%s", diff)
}

// pastBroken reports whether the monitor sees that a log or a backup lacks its
// key: the walk's model does not remember what wrapped before.
func (w *walker) pastBroken() bool {
	s, err := w.lab.Truth()
	must(w.t, err)
	return slices.ContainsFunc(monitor.Judge(s), func(b monitor.Breach) bool { return b.Rule == "Past" })
}

func (w *walker) inaccessible() (server, database string) {
	for _, d := range w.databases {
		for _, h := range d.holders {
			info, found, err := w.lab.SQL().Database(w.servers[h], d.name)
			must(w.t, err)
			if found && info.Status == "Inaccessible" {
				return w.servers[h], d.name
			}
		}
	}
	return "", ""
}

func (w *walker) keyName(k model.Key) string {
	if k.Managed() {
		return w.uris[k]
	}
	return "certificate of " + w.servers[k-model.Certificate(0)]
}

func (w *walker) modelWorld() world {
	m := newWorld()
	for i, d := range w.databases {
		s := &w.states[i]
		m.Primary[d.name] = w.servers[s.Primary]
		for _, h := range d.holders {
			m.Wrap[d.name+" on "+w.servers[h]] = w.keyName(s.Wrap[h])
		}
		for _, b := range w.components[i].Breaches(s) {
			breach := monitor.Breach{Rule: b.Rule.String(), Server: w.servers[b.Server], Owner: w.servers[b.Owner], Key: w.keyName(b.Key)}
			if b.Rule == model.Open {
				breach.Database = d.name
			}
			m.Broken = append(m.Broken, breach)
		}
	}
	for at, name := range w.servers {
		s := &w.states[0]
		m.Protector[name], m.Auto[name] = w.keyName(s.Protector[at]), s.Auto.Has(model.Server(at)) && s.Protector[at].Managed()
		for k := range walkKeys {
			if s.Registered[at].Has(k) {
				m.Registered[name] = append(m.Registered[name], w.uris[k])
				if s.Usable[at].Has(k) {
					m.Usable[name] = append(m.Usable[name], w.uris[k])
				}
			}
		}
	}
	return m.sorted()
}

func (m world) sorted() world {
	for _, lists := range []map[string][]string{m.Registered, m.Usable} {
		for name := range lists {
			slices.Sort(lists[name])
		}
	}
	slices.SortFunc(m.Broken, func(a, b monitor.Breach) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	m.Broken = slices.Compact(m.Broken)
	return m
}

func (w *walker) labWorld() world {
	m := newWorld()
	truth, err := w.lab.Records()
	must(w.t, err)
	s, err := w.lab.Truth()
	must(w.t, err)
	for _, server := range s.Servers {
		m.Protector[server.Name], m.Auto[server.Name] = server.Protector, server.Auto
		if server.Protector == "" {
			m.Protector[server.Name] = "certificate of " + server.Name
		}
		for _, key := range server.Keys {
			m.Registered[server.Name] = append(m.Registered[server.Name], key.URI)
			if key.Usable {
				m.Usable[server.Name] = append(m.Usable[server.Name], key.URI)
			}
		}
	}
	for _, d := range truth.Databases {
		m.Primary[d.Name] = d.Copies[0].Ref.Server
		for _, each := range d.Copies {
			by := each.DEK.KeyURI
			if by == "" {
				by = "certificate of " + each.DEK.ServiceOf
			}
			m.Wrap[d.Name+" on "+each.Ref.Server] = by
		}
	}
	for _, b := range monitor.Judge(s) {
		if b.Rule != "Past" {
			m.Broken = append(m.Broken, b)
		}
	}
	return m.sorted()
}
