package keyvault_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	armpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/policy"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/keyvault"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	tenant       = "11111111-1111-1111-1111-111111111111"
	subscription = "22222222-2222-2222-2222-222222222222"
	group        = "rg-west"
	admin        = "33333333-3333-3333-3333-333333333333" // object id with all permissions
	reader       = "44444444-4444-4444-4444-444444444444" // object id with none to begin with
	sqlServer    = "/subscriptions/" + subscription + "/resourceGroups/rg-west/providers/Microsoft.Sql/servers/sql1"
)

// testToken is what the tests' tokens say; they are not signed.
type testToken struct {
	Audience string `json:"aud"`
	Issuer   string `json:"iss"`
	ObjectID string `json:"oid"`
	AppID    string `json:"appid"`
	Tenant   string `json:"tid"`
	Identity string `json:"xms_mirid,omitempty"`
	Expires  int64  `json:"exp"`
}

func (k testToken) String() string {
	text, err := json.Marshal(k)
	if err != nil {
		panic(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(text) + ".c2ln"
}

func tokenFor(objectID, audience string) testToken {
	return testToken{Audience: audience, Issuer: "https://sts.windows.net/" + tenant + "/", ObjectID: objectID, AppID: "app-" + objectID, Tenant: tenant}
}

// credential hands out tokens of one principal.
type credential struct{ objectID, identity string }

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token := tokenFor(c.objectID, strings.TrimSuffix(o.Scopes[0], "/.default"))
	token.Identity = c.identity
	return azcore.AccessToken{Token: token.String(), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

type verifier struct{ clock *clock.Clock }

func (v verifier) Verify(token string, audiences []string) (entra.Claims, error) {
	parts := strings.Split(token, ".")
	var k testToken
	if len(parts) != 3 {
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckForm, Message: "not a token"}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &k) != nil {
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckForm, Message: "not a token"}
	}
	switch {
	case parts[2] != "c2ln":
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckSignature, Message: "bad signature"}
	case !strings.HasPrefix(k.Issuer, "https://sts.windows.net/"):
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckIssuer, Message: "bad issuer"}
	case !slices.Contains(audiences, k.Audience):
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckAudience, Message: "bad audience"}
	case k.Expires != 0 && v.clock.Now().Unix() >= k.Expires:
		return entra.Claims{}, &entra.TokenError{Check: entra.CheckExpiry, Message: "expired"}
	}
	return entra.Claims{Issuer: k.Issuer, Audience: k.Audience, ObjectID: k.ObjectID, AppID: k.AppID, TenantID: k.Tenant, ManagedIdentity: k.Identity}, nil
}

// roles are the tests' role assignments: who may do what below which scope.
type roles struct {
	mu     sync.Mutex
	grants []roleGrant
}

type roleGrant struct{ objectID, action, scope string }

func (r *roles) grant(objectID, action, scope string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = append(r.grants, roleGrant{objectID, action, scope})
}

func (r *roles) AuthorizeData(_ *store.Tx, caller entra.Claims, action, scope string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.grants, func(g roleGrant) bool {
		return g.objectID == caller.ObjectID && g.action == action && strings.HasPrefix(strings.ToLower(scope), strings.ToLower(g.scope))
	}), nil
}

func (r *roles) Authorize(*store.Tx, entra.Claims, string, string) (bool, error) { return true, nil }

type anyScope struct{}

func (anyScope) CheckScope(*store.Tx, string, string) error { return nil }

// world is a running Key Vault with its ARM front.
type world struct {
	service *keyvault.Service
	store   *store.Store
	clock   *clock.Clock
	roles   *roles
	client  *http.Client
	path    string // of the state file
}

func newWorld(t testing.TB, profile latency.Profile) *world {
	t.Helper()
	folder := t.TempDir()
	w := &world{clock: clock.New(0), roles: &roles{}, path: filepath.Join(folder, "state.db")}
	var err error
	if w.store, err = store.Open(w.path, store.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	sealer, err := store.OpenSealer(filepath.Join(folder, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	operations := arm.NewOperations(arm.OperationsOptions{Store: w.store, Clock: w.clock, Latency: profile, NewID: uuid.NewString, Log: log})
	w.service = keyvault.New(keyvault.Options{
		Store: w.store, Sealer: sealer, Clock: w.clock, Latency: profile, Operations: operations, Tokens: verifier{w.clock}, Roles: w.roles,
		LoginURL: func(*http.Request) string { return "https://login.microsoftonline.com" }, TenantID: tenant, NewID: uuid.NewString, Log: log,
	})
	front := arm.NewFront(arm.FrontOptions{
		Store: w.store, Tokens: verifier{w.clock}, Roles: w.roles, Scopes: anyScope{}, Audiences: []string{"https://management.core.windows.net/", "https://management.azure.com"},
		LoginURL: "https://login.microsoftonline.com", TenantID: tenant, Location: "westeurope", NewID: uuid.NewString, Log: log,
	})
	if err := front.Add(w.service.Provider()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := operations.Run(ctx); err != nil {
		t.Fatal(err)
	}
	data := w.service.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "management.") {
			front.ServeHTTP(rw, r)
			return
		}
		data.ServeHTTP(rw, r)
	}))
	w.client = clientOf(server)
	t.Cleanup(func() {
		server.Close()
		stop()
		operations.Wait()
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// clientOf reaches the server under every name.
func clientOf(server *httptest.Server) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
		MaxIdleConnsPerHost: 64,
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) options() policy.ClientOptions {
	return policy.ClientOptions{Transport: w.client, Retry: policy.RetryOptions{MaxRetries: -1}}
}

func (w *world) vaults(t testing.TB) *armkeyvault.VaultsClient {
	t.Helper()
	client, err := armkeyvault.NewVaultsClient(subscription, credential{objectID: admin}, &armpolicy.ClientOptions{ClientOptions: w.options(), DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (w *world) keysAs(t testing.TB, vault string, as credential) *azkeys.Client {
	t.Helper()
	client, err := azkeys.NewClient("https://"+vault+".vault.azure.net", as, &azkeys.ClientOptions{ClientOptions: w.options()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (w *world) keys(t testing.TB, vault string) *azkeys.Client {
	return w.keysAs(t, vault, credential{objectID: admin})
}

// makeVault creates a vault in which admin may do everything.
func (w *world) makeVault(t testing.TB, name string, change func(*armkeyvault.VaultProperties)) armkeyvault.Vault {
	t.Helper()
	v, err := w.tryVault(t, name, change)
	if err != nil {
		t.Fatalf("create vault %s: %v", name, err)
	}
	return v
}

func (w *world) tryVault(t testing.TB, name string, change func(*armkeyvault.VaultProperties)) (armkeyvault.Vault, error) {
	t.Helper()
	properties := &armkeyvault.VaultProperties{
		TenantID: new(tenant), SKU: &armkeyvault.SKU{Family: new(armkeyvault.SKUFamilyA), Name: new(armkeyvault.SKUNameStandard)},
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{policyFor(admin, armkeyvault.KeyPermissionsAll)},
	}
	if change != nil {
		change(properties)
	}
	poller, err := w.vaults(t).BeginCreateOrUpdate(t.Context(), group, name, armkeyvault.VaultCreateOrUpdateParameters{Location: new("westeurope"), Properties: properties}, nil)
	if err != nil {
		return armkeyvault.Vault{}, err
	}
	answer, err := poller.PollUntilDone(t.Context(), nil)
	return answer.Vault, err
}

func policyFor(objectID string, permissions ...armkeyvault.KeyPermissions) *armkeyvault.AccessPolicyEntry {
	entry := &armkeyvault.AccessPolicyEntry{TenantID: new(tenant), ObjectID: &objectID, Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{}}}
	for _, permission := range permissions {
		entry.Permissions.Keys = append(entry.Permissions.Keys, &permission)
	}
	return entry
}
