package keyvault_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

const vaultAudience = "https://vault.azure.net"

func TestCallsWithoutATokenAreChallenged(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-q", nil)
	for _, test := range []struct{ host, resource string }{
		{"kv-q.vault.azure.net", "https://vault.azure.net"},
		{"kv-q.vault.localhost:8443", "https://vault.localhost:8443"},
		{"KV-Q.vault.azure.cn", "https://vault.azure.cn"},
	} {
		t.Run(test.host, func(t *testing.T) {
			for _, path := range []string{"/keys/k?api-version=7.4", "/keys/k/create?api-version=7.4-preview.1", "/certificates/contacts?api-version=7.4", "/secrets/s?api-version=7.4", "/keys/k"} {
				a := w.send(t, http.MethodGet, "https://"+test.host+path, "", nil)
				wantRaw(t, a, 401, "Unauthorized")
				challenge := `Bearer authorization="https://login.microsoftonline.com/` + tenant + `", resource="` + test.resource + `"`
				if got := a.header.Get("WWW-Authenticate"); got != challenge {
					t.Errorf("challenge of %s is %s", path, got)
				}
				if got := text(a.body, "error", "message"); got != "AKV10000: Request is missing a Bearer or PoP token." {
					t.Errorf("message is %s", got)
				}
			}
		})
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-q", nil)
	now := w.clock.Now().Unix()
	good := tokenFor(admin, vaultAudience)
	tests := []struct {
		name   string
		token  func(testToken) string
		status int
		text   string
	}{
		{"a good one", func(k testToken) string { return k.String() }, 200, ""},
		{"one that is still good", func(k testToken) string { k.Expires = now + 60; return k.String() }, 200, ""},
		{"for another audience", func(k testToken) string { k.Audience = "https://management.azure.com/"; return k.String() }, 401, "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com/."},
		{"for this vault alone", func(k testToken) string { k.Audience = "https://kv-q.vault.azure.net"; return k.String() }, 401, "AKV10022"},
		{"of another issuer", func(k testToken) string { k.Issuer = "https://evil.example/"; return k.String() }, 401, "AKV10032: Invalid issuer."},
		{"of another tenant", func(k testToken) string { k.Tenant = subscription; return k.String() }, 401, "AKV10032: Invalid issuer."},
		{"expired", func(k testToken) string { k.Expires = now - 60; return k.String() }, 401, "[TokenExpired]"},
		{"with a foreign signature", func(k testToken) string { return strings.TrimSuffix(k.String(), "c2ln") + "x" }, 401, "AKV10046"},
		{"that is no token", func(testToken) string { return "gibberish" }, 401, "[BearerReadAccessTokenFailed]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := w.send(t, http.MethodGet, "https://kv-q.vault.azure.net/keys?api-version=7.4", test.token(good), nil)
			if a.status != test.status || !strings.Contains(string(a.text), test.text) {
				t.Errorf("got %d %s", a.status, a.text)
			}
			if challenged := a.header.Get("WWW-Authenticate") != ""; challenged != (test.status == 401) {
				t.Errorf("challenged: %v", challenged)
			}
		})
	}
}

// calls are the data plane's operations with what they need.
func calls() []struct{ permission, action, method, path string } {
	const keys, policies = "Microsoft.KeyVault/vaults/keys/", "Microsoft.KeyVault/vaults/keyrotationpolicies/"
	return []struct{ permission, action, method, path string }{
		{"list", keys + "read", "GET", "/keys"},
		{"list", keys + "read", "GET", "/keys/k/versions"},
		{"list", keys + "read", "GET", "/deletedkeys"},
		{"get", keys + "read", "GET", "/keys/k"},
		{"get", keys + "read", "GET", "/deletedkeys/k"},
		{"create", keys + "create/action", "POST", "/keys/k/create"},
		{"import", keys + "import/action", "PUT", "/keys/k"},
		{"update", keys + "update/action", "PATCH", "/keys/k"},
		{"delete", keys + "delete", "DELETE", "/keys/none"},
		{"recover", keys + "recover/action", "POST", "/deletedkeys/none/recover"},
		{"purge", keys + "purge/action", "DELETE", "/deletedkeys/none"},
		{"backup", keys + "backup/action", "POST", "/keys/k/backup"},
		{"restore", keys + "restore/action", "POST", "/keys/restore"},
		{"rotate", keys + "rotate/action", "POST", "/keys/none/rotate"},
		{"getrotationpolicy", policies + "read", "GET", "/keys/k/rotationpolicy"},
		{"setrotationpolicy", policies + "write", "PUT", "/keys/k/rotationpolicy"},
		{"encrypt", keys + "encrypt/action", "POST", "/keys/k/encrypt"},
		{"decrypt", keys + "decrypt/action", "POST", "/keys/k/decrypt"},
		{"sign", keys + "sign/action", "POST", "/keys/k/sign"},
		{"verify", keys + "verify/action", "POST", "/keys/k/verify"},
		{"wrapKey", keys + "wrap/action", "POST", "/keys/k/wrapkey"},
		{"unwrapKey", keys + "unwrap/action", "POST", "/keys/k/unwrapkey"},
	}
}

func TestEachOperationAsksForItsAccessPolicyPermission(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-ap", nil)
	w.createRSA(t, "kv-ap", "k")
	asReader := tokenFor(reader, vaultAudience).String()
	send := func(method, path string) answer {
		return w.send(t, method, "https://kv-ap.vault.azure.net"+path+"?api-version=7.4", asReader, nil)
	}
	grant := func(permissions ...armkeyvault.KeyPermissions) {
		w.makeVault(t, "kv-ap", func(p *armkeyvault.VaultProperties) {
			p.AccessPolicies = append(p.AccessPolicies, policyFor(reader, permissions...))
		})
	}
	for _, c := range calls() {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			var others []armkeyvault.KeyPermissions
			for _, name := range allPermissions() {
				if name != c.permission {
					others = append(others, armkeyvault.KeyPermissions(name))
				}
			}
			grant(others...)
			a := send(c.method, c.path)
			wantRaw(t, a, 403, "ForbiddenByPolicy")
			if text := "does not have keys " + c.permission + " permission on key vault 'kv-ap;location=westeurope'"; !strings.Contains(string(a.text), text) {
				t.Errorf("message is %s", a.text)
			}
			grant(armkeyvault.KeyPermissions(strings.ToUpper(c.permission)))
			if a := send(c.method, c.path); a.status == 403 || a.status >= 500 {
				t.Errorf("with the permission: %d %s", a.status, a.text)
			}
		})
	}
}

func allPermissions() []string {
	return []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "get", "list", "create", "update", "import", "delete", "backup", "restore",
		"recover", "purge", "release", "rotate", "getrotationpolicy", "setrotationpolicy"}
}

func TestEachOperationAsksForItsDataActionInRBACMode(t *testing.T) {
	for _, c := range calls() {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := newWorld(t, latency.Instant())
			w.makeVault(t, "kv-rb", nil)
			w.createEC(t, "kv-rb", "k", azkeys.CurveNameP256)
			w.makeVault(t, "kv-rb", func(p *armkeyvault.VaultProperties) { p.EnableRbacAuthorization = new(true) })
			send := func() answer { return w.data(t, c.method, "kv-rb", c.path, nil) }
			a := send()
			wantRaw(t, a, 403, "ForbiddenByRbac")
			for _, text := range []string{"Action: '" + c.action + "'", "Caller: appid=app-" + admin + ";oid=" + admin, "Vault: kv-rb;location=westeurope"} {
				if !strings.Contains(string(a.text), text) {
					t.Errorf("message lacks %s: %s", text, a.text)
				}
			}
			w.roles.grant(admin, c.action, vaultPath("kv-other"))
			wantRaw(t, send(), 403, "ForbiddenByRbac")
			w.roles.grant(admin, c.action, vaultPath("kv-rb"))
			if a := send(); a.status == 403 || a.status >= 500 {
				t.Errorf("with the role: %d %s", a.status, a.text)
			}
		})
	}
}

func TestRolesCanBeAssignedAtAKeysScope(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-rk", nil)
	w.createRSA(t, "kv-rk", "one")
	w.createRSA(t, "kv-rk", "two")
	w.makeVault(t, "kv-rk", func(p *armkeyvault.VaultProperties) { p.EnableRbacAuthorization = new(true) })
	w.roles.grant(reader, "Microsoft.KeyVault/vaults/keys/read", vaultPath("kv-rk")+"/keys/one")
	client := w.keysAs(t, "kv-rk", credential{objectID: reader})
	must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "one", "", nil))
	_, err := client.GetKey(t.Context(), "two", "", nil)
	want(t, err, 403, "ForbiddenByRbac")
	_, err = client.NewListKeyPropertiesPager(nil).NextPage(t.Context())
	want(t, err, 403, "ForbiddenByRbac")
}

func TestGrantsAndRevocationsTakeTimeToArrive(t *testing.T) {
	w := newWorld(t, latency.Azure(1))
	w.makeVault(t, "kv-slow", nil)
	w.createRSA(t, "kv-slow", "k") // the policies of the creation act at once
	client := w.keysAs(t, "kv-slow", credential{objectID: reader})
	read := func() error {
		_, err := client.GetKey(t.Context(), "k", "", nil)
		return err
	}
	change := func(kind armkeyvault.AccessPolicyUpdateKind) {
		must[armkeyvault.VaultsClientUpdateAccessPolicyResponse](t)(w.vaults(t).UpdateAccessPolicy(t.Context(), group, "kv-slow", kind, armkeyvault.VaultAccessPolicyParameters{
			Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{policyFor(reader, armkeyvault.KeyPermissionsGet)}},
		}, nil))
	}
	change(armkeyvault.AccessPolicyUpdateKindAdd)
	if v := must[armkeyvault.VaultsClientGetResponse](t)(w.vaults(t).Get(t.Context(), group, "kv-slow", nil)); len(v.Properties.AccessPolicies) != 2 {
		t.Errorf("ARM shows %d policies", len(v.Properties.AccessPolicies))
	}
	want(t, read(), 403, "ForbiddenByPolicy")
	w.clock.Advance(9 * time.Minute)
	want(t, read(), 403, "ForbiddenByPolicy")
	w.clock.Advance(2 * time.Minute)
	if err := read(); err != nil {
		t.Fatalf("eleven minutes after the grant: %v", err)
	}
	change(armkeyvault.AccessPolicyUpdateKindRemove)
	if err := read(); err != nil {
		t.Fatalf("right after the revocation: %v", err)
	}
	// Another change on the way neither hastens nor delays the first.
	w.clock.Advance(6 * time.Minute)
	change(armkeyvault.AccessPolicyUpdateKindAdd)
	if err := read(); err != nil {
		t.Fatalf("six minutes after the revocation: %v", err)
	}
	w.clock.Advance(5 * time.Minute)
	want(t, read(), 403, "ForbiddenByPolicy")
	w.clock.Advance(6 * time.Minute)
	if err := read(); err != nil {
		t.Fatalf("after the second grant: %v", err)
	}
}

func TestFirewall(t *testing.T) {
	deny := func(bypass armkeyvault.NetworkRuleBypassOptions, addresses ...string) func(*armkeyvault.VaultProperties) {
		return func(p *armkeyvault.VaultProperties) {
			p.NetworkACLs = &armkeyvault.NetworkRuleSet{DefaultAction: new(armkeyvault.NetworkRuleActionDeny), Bypass: &bypass}
			for _, address := range addresses {
				p.NetworkACLs.IPRules = append(p.NetworkACLs.IPRules, &armkeyvault.IPRule{Value: &address})
			}
		}
	}
	closed := func(bypass armkeyvault.NetworkRuleBypassOptions) func(*armkeyvault.VaultProperties) {
		return func(p *armkeyvault.VaultProperties) {
			deny(bypass, "127.0.0.1")(p)
			p.PublicNetworkAccess = new("disabled")
		}
	}
	const services, none = armkeyvault.NetworkRuleBypassOptionsAzureServices, armkeyvault.NetworkRuleBypassOptionsNone
	tests := []struct {
		name     string
		change   func(*armkeyvault.VaultProperties)
		identity string
		code     string // empty: let through
	}{
		{"no rules", nil, "", ""},
		{"default action Allow", func(p *armkeyvault.VaultProperties) {
			p.NetworkACLs = &armkeyvault.NetworkRuleSet{DefaultAction: new(armkeyvault.NetworkRuleActionAllow)}
		}, "", ""},
		{"default action Deny", deny(services), "", "ForbiddenByFirewall"},
		{"another address allowed", deny(services, "10.0.0.1", "10.1.0.0/16"), "", "ForbiddenByFirewall"},
		{"the caller's address allowed", deny(services, "127.0.0.1"), "", ""},
		{"the caller's range allowed", deny(none, "127.0.0.0/8"), "", ""},
		{"a trusted service with the bypass", deny(services), sqlServer, ""},
		{"a trusted service without the bypass", deny(none), sqlServer, "ForbiddenByFirewall"},
		{"another service with the bypass", deny(services), strings.Replace(sqlServer, "Microsoft.Sql/servers", "Microsoft.Web/sites", 1), "ForbiddenByFirewall"},
		{"public access disabled without rules", func(p *armkeyvault.VaultProperties) { p.PublicNetworkAccess = new("Disabled") }, "", "ForbiddenByConnection"},
		{"public access disabled", closed(services), "", "ForbiddenByConnection"},
		{"public access disabled, a trusted service", closed(services), sqlServer, ""},
		{"public access disabled, a trusted service without the bypass", closed(none), sqlServer, "ForbiddenByConnection"},
	}
	w := newWorld(t, latency.Instant())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.makeVault(t, "kv-fw", test.change)
			client := w.keysAs(t, "kv-fw", credential{objectID: admin, identity: test.identity})
			_, err := client.NewListKeyPropertiesPager(nil).NextPage(t.Context())
			if test.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want(t, err, 403, test.code)
		})
	}
}
