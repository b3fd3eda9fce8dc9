package azure_test

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/tde"
)

// connect gives a connection to a lab that holds the article's starting point.
func connect(t *testing.T, seed lab.SeedOptions) (*azure.Cloud, *lab.Lab) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.SeedArticle(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	return over(t, l, l.CustomCloud()), l
}

func over(t *testing.T, l *lab.Lab, c cloud.Configuration) *azure.Cloud {
	t.Helper()
	credential, err := l.Credential(c)
	if err != nil {
		t.Fatal(err)
	}
	client := l.HTTPClient()
	connected, err := azure.Connect(azure.Config{
		Cloud: c, Transport: client, Credential: credential, Now: time.Now,
		Databases: &azure.SQLReader{Options: reach(t, l, azure.SQLOptions(c, credential))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return connected
}

// reach sends connections to databases into the lab.
func reach(t *testing.T, l *lab.Lab, o sqlconn.Options) sqlconn.Options {
	t.Helper()
	authority, err := os.ReadFile(l.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AppendCertsFromPEM(authority)
	o.Dial = sqlconn.FromEnvironment(func(*http.Request) (*url.URL, error) { return url.Parse(l.ProxyURL()) })
	return o
}

func TestTheComponentIsFoundFromAnyOfItsNames(t *testing.T) {
	c, l := connect(t, lab.SeedOptions{})
	base := "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + lab.ArticleGroup + "/providers/Microsoft.Sql/servers/"
	var first tde.Topology
	for i, name := range []string{
		lab.ArticleFailoverGroup, lab.ArticlePrimary, lab.ArticleSecondary, strings.ToUpper(lab.ArticleSecondary),
		base + lab.ArticlePrimary, base + lab.ArticleSecondary + "/failoverGroups/" + lab.ArticleFailoverGroup,
	} {
		got, err := c.Observe(t.Context(), azure.Target{Name: name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got.ReadAt, got.Group = time.Time{}, ""
		if i == 0 {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("%s leads to another component:\n%s", name, diff)
		}
	}
	if len(first.Servers) != 2 || len(first.Links) != 3 || len(first.Groups) != 1 || len(first.Unread) != 0 {
		t.Fatalf("%d servers, %d links, %d groups, unread %v", len(first.Servers), len(first.Links), len(first.Groups), first.Unread)
	}
	group := first.Groups[0]
	if group.Primary() != lab.ArticlePrimary || group.ReplicationState != tde.StateCatchUp || !cmp.Equal(group.Databases, lab.ArticleDatabases()) {
		t.Errorf("%+v", group)
	}
	for _, server := range first.Servers {
		if server.Protector.Key.String() != lab.ArticleSharedKey || !first.MayUse(server.Name, server.Protector.Key) || server.Protector.Thumbprint == "" {
			t.Errorf("%s: protector %+v", server.Name, server.Protector)
		}
		for _, db := range server.Databases {
			if db.Encryption == nil || db.Encryption.Thumbprint != server.Protector.Thumbprint || db.TDEState != "Enabled" || db.Status != "Online" {
				t.Errorf("%s on %s: %+v", db.Name, server.Name, db)
			}
		}
	}
	public := over(t, l, cloud.AzurePublic)
	again, err := public.Observe(t.Context(), azure.Target{Name: lab.ArticleFailoverGroup})
	if err != nil {
		t.Fatal(err)
	}
	again.ReadAt, again.Group = time.Time{}, ""
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the public cloud shows another component:\n%s", diff)
	}
}

func TestATargetThatIsNoneIsRefused(t *testing.T) {
	c, _ := connect(t, lab.SeedOptions{})
	for _, name := range []string{"nobody", "/not/an/id", "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + lab.ArticleGroup + "/providers/Microsoft.Sql/servers/nobody"} {
		if _, err := c.Observe(t.Context(), azure.Target{Name: name}); err == nil {
			t.Errorf("%s was found", name)
		}
	}
	if _, err := c.Observe(t.Context(), azure.Target{Name: lab.ArticlePrimary, ResourceGroup: "elsewhere"}); err == nil {
		t.Error("the server was found in a resource group that it is not in")
	}
}

func TestWantedKeysAreReadWithTheirVaults(t *testing.T) {
	c, _ := connect(t, lab.SeedOptions{WithoutGrants: true})
	key, err := tde.ParseKeyID(lab.ArticlePrimaryKey)
	if err != nil {
		t.Fatal(err)
	}
	missing := tde.KeyID{Host: "nowhere.vault.azure.net", Name: "k", Version: "1"}
	got, err := c.Observe(t.Context(), azure.Target{Name: lab.ArticlePrimary, Keys: []tde.KeyID{key, missing}})
	if err != nil {
		t.Fatal(err)
	}
	read, found := got.Key(key)
	if !found || !read.Latest || !read.Enabled || read.Bits != 2048 || read.Type != "RSA" {
		t.Errorf("%+v", read)
	}
	vault, found := got.Vault(key.Host)
	if !found || !vault.PurgeProtection || !vault.SoftDelete || vault.RBAC {
		t.Errorf("%+v", vault)
	}
	if got.MayUse(lab.ArticlePrimary, key) {
		t.Error("a grant was seen that is not there")
	}
	if len(got.Unread) == 0 || !strings.Contains(got.Unread[0].What+got.Unread[len(got.Unread)-1].What, "nowhere") {
		t.Errorf("what could not be read is not told: %+v", got.Unread)
	}
}

// The latest version is the newest enabled one, for the tool as for the lab.
func TestTheLatestVersionIsTheNewestEnabledOne(t *testing.T) {
	c, l := connect(t, lab.SeedOptions{})
	older, err := tde.ParseKeyID(lab.ArticlePrimaryKey)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	options := azkeys.ClientOptions{ClientOptions: l.ClientOptions(cloud.AzurePublic).ClientOptions}
	keys, err := azkeys.NewClient("https://"+older.Host, credential, &options)
	if err != nil {
		t.Fatal(err)
	}
	rotate := func() tde.KeyID {
		t.Helper()
		rotated, err := keys.RotateKey(t.Context(), older.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return tde.KeyID{Host: older.Host, Name: older.Name, Version: rotated.Key.KID.Version()}
	}
	middle, newest := rotate(), rotate()
	for _, step := range []struct {
		what   string
		key    tde.KeyID
		enable bool
		want   tde.KeyID
	}{
		{"the newest is disabled", newest, false, middle},
		{"the one before it too", middle, false, older},
		{"all are", older, false, tde.KeyID{}},
		{"the newest is enabled again", newest, true, newest},
		{"and the one before it", middle, true, newest},
	} {
		if _, err := keys.UpdateKey(t.Context(), step.key.Name, step.key.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &step.enable}}, nil); err != nil {
			t.Fatal(err)
		}
		got, err := c.Observe(t.Context(), azure.Target{Name: lab.ArticlePrimary, Keys: []tde.KeyID{older, middle, newest}})
		if err != nil || len(got.Unread) > 0 {
			t.Fatal(err, got.Unread)
		}
		for _, key := range []tde.KeyID{older, middle, newest} {
			if read, found := got.Key(key); !found || read.Latest != (key == step.want) {
				t.Errorf("%s: %s is shown as %+v, and %s is the latest", step.what, key.Short(), read, step.want.Short())
			}
		}
	}
}

func TestGrantsOfBothKindsAreMadeAndSeen(t *testing.T) {
	c, l := connect(t, lab.SeedOptions{WithoutGrants: true})
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	vaults, err := armkeyvault.NewVaultsClient(lab.SubscriptionID, credential, l.ClientOptions(cloud.AzurePublic))
	if err != nil {
		t.Fatal(err)
	}
	key, err := tde.ParseKeyID(lab.ArticlePrimaryKey)
	if err != nil {
		t.Fatal(err)
	}
	observe := func() tde.Topology {
		t.Helper()
		got, err := c.Observe(t.Context(), azure.Target{Name: lab.ArticlePrimary, Keys: []tde.KeyID{key}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	before := observe()
	vault, _ := before.Vault(key.Host)
	server, _ := before.Server(lab.ArticlePrimary)
	for range 2 { // it is safe to repeat
		if err := c.GrantAccessPolicy(t.Context(), vault.ID, server.Identity.PrincipalID); err != nil {
			t.Fatal(err)
		}
	}
	if !observe().MayUse(lab.ArticlePrimary, key) {
		t.Error("the access policy is not seen")
	}
	if _, err := vaults.Update(t.Context(), lab.ArticleGroup, vault.Name, armkeyvault.VaultPatchParameters{Properties: &armkeyvault.VaultPatchProperties{EnableRbacAuthorization: to.Ptr(true)}}, nil); err != nil {
		t.Fatal(err)
	}
	if observe().MayUse(lab.ArticlePrimary, key) {
		t.Error("access policies do not count in RBAC mode")
	}
	for range 2 {
		if err := c.AssignCryptoRole(t.Context(), vault.ID, server.Identity.PrincipalID); err != nil {
			t.Fatal(err)
		}
	}
	if after := observe(); !after.MayUse(lab.ArticlePrimary, key) || after.MayUse(lab.ArticleSecondary, key) {
		t.Errorf("the role is not seen as it is: %+v, unread %+v", after.Grants, after.Unread)
	}
}

func TestCloudsByName(t *testing.T) {
	_, l := connect(t, lab.SeedOptions{})
	for name, want := range map[string]string{"": "https://management.azure.com", "usgov": "https://management.usgovcloudapi.net", "china": "https://management.chinacloudapi.cn", l.BaseURL(): l.BaseURL()} {
		got, err := azure.Named(t.Context(), name, l.HTTPClient())
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if endpoint := got.Services[cloud.ResourceManager].Endpoint; endpoint != want {
			t.Errorf("%q: %s, want %s", name, endpoint, want)
		}
	}
	if _, err := azure.Named(t.Context(), "mars", http.DefaultClient); err == nil {
		t.Error("there is no cloud mars")
	}
}
