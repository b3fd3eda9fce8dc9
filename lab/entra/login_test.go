package entra

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const formType = "application/x-www-form-urlencoded"

// ask sends a request to a handler and reads the JSON of its answer.
func ask(t testing.TB, handler http.Handler, r *http.Request) (status int, body map[string]any, header http.Header) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s %s: %d %s: %v", r.Method, r.URL, recorder.Code, recorder.Body, err)
	}
	return recorder.Code, body, recorder.Header()
}

func post(t *testing.T, target string, form url.Values) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", formType)
	return r
}

// credentials is a whole token request of version 2, with changes; an empty
// value leaves the parameter out.
func credentials(changes ...string) url.Values {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {testApp}, "client_secret": {testSecret}, "scope": {"https://management.azure.com/.default"},
	}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			form.Del(changes[i])
		}
	}
	return form
}

func asResource(resource string) url.Values {
	return credentials("scope", "", "resource", resource)
}

func TestTokenEndpoints(t *testing.T) {
	s, _ := newTenant(t)
	for _, c := range []struct {
		name, path string
		form       url.Values
		audience   string
		v1         bool
	}{
		{"version 2 takes a scope", "/" + testTenant + "/oauth2/v2.0/token", credentials(), "https://management.azure.com", false},
		{"version 2 keeps the slash of the resource", "/" + testTenant + "/oauth2/v2.0/token", credentials("scope", "https://management.azure.com//.default"), "https://management.azure.com/", false},
		{"version 2 takes the tenant's domain name", "/" + DefaultDomain + "/oauth2/v2.0/token", credentials(), "https://management.azure.com", false},
		{"version 2 takes scopes of OpenID Connect beside it", "/" + testTenant + "/oauth2/v2.0/token", credentials("scope", "openid https://vault.azure.net/.default offline_access profile"), vaultResource, false},
		{"version 2 takes the lab's own address as resource", "/" + testTenant + "/oauth2/v2.0/token", credentials("scope", testBase+"/.default"), testBase, false},
		{"version 2 takes an application id as resource", "/" + testTenant + "/oauth2/v2.0/token", credentials("scope", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093/.default"), vaultResource, false},
		{"version 2 takes a local vault's address as resource", "/" + testTenant + "/oauth2/v2.0/token", credentials("scope", "https://vault.localhost:8443/.default"), "https://vault.localhost:8443", false},
		{"version 2 takes a path with double slashes", "//" + testTenant + "//oauth2/v2.0/token", credentials(), "https://management.azure.com", false},
		{"version 1 takes a resource", "/" + testTenant + "/oauth2/token", asResource("https://management.core.windows.net/"), "https://management.core.windows.net/", true},
		{"ADFS takes a scope", "/adfs/oauth2/token", credentials("scope", testBase+"/.default"), testBase, false},
		{"ADFS takes a resource", "/adfs/oauth2/token", asResource(vaultResource), vaultResource, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, header := ask(t, s.Handler(), post(t, "https://login.microsoftonline.com"+c.path, c.form))
			if status != http.StatusOK {
				t.Fatalf("%d %v", status, body)
			}
			token, _ := body["access_token"].(string)
			claims, err := s.Verify(token, []string{c.audience})
			if err != nil || claims.Audience != c.audience || claims.AppID != testApp || claims.ObjectID != testObject {
				t.Fatalf("claims %+v, %v", claims, err)
			}
			if header.Get("Cache-Control") != "no-store, no-cache" {
				t.Errorf("the answer may be cached: %v", header)
			}
			want := map[string]any{"token_type": "Bearer", "expires_in": 3599.0, "ext_expires_in": 3599.0, "access_token": token}
			if c.v1 {
				want = map[string]any{
					"token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599", "access_token": token, "resource": c.audience,
					"expires_on": strconv.FormatInt(claims.Expires.Unix(), 10), "not_before": strconv.FormatInt(claims.NotBefore.Unix(), 10),
				}
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTokenRefusals(t *testing.T) {
	s, _ := newTenant(t)
	const v1, v2 = "/" + testTenant + "/oauth2/token", "/" + testTenant + "/oauth2/v2.0/token"
	for _, c := range []struct {
		name, path string
		form       url.Values
		status     int
		oauth      string
		code       int
	}{
		{"a wrong secret", v2, credentials("client_secret", "wrong"), 401, "invalid_client", 7000215},
		{"a secret that is only nearly right", v2, credentials("client_secret", testSecret+" "), 401, "invalid_client", 7000215},
		{"a wrong secret at ADFS", "/adfs/oauth2/token", credentials("client_secret", "wrong"), 401, "invalid_client", 7000215},
		{"no secret", v2, credentials("client_secret", ""), 401, "invalid_client", 7000216},
		{"a certificate that is not registered", v2, credentials("client_secret", "", "client_assertion", "x.y.z"), 401, "invalid_client", 700027},
		{"an unknown application", v2, credentials("client_id", "99999999-9999-4999-8999-999999999999"), 400, "unauthorized_client", 700016},
		{"no application", v2, credentials("client_id", ""), 400, "invalid_request", 900144},
		{"no grant type", v2, credentials("grant_type", ""), 400, "invalid_request", 900144},
		{"another grant type", v2, credentials("grant_type", "password"), 400, "unsupported_grant_type", 70003},
		{"no scope", v2, credentials("scope", ""), 400, "invalid_request", 900144},
		{"a scope of one permission", v2, credentials("scope", "https://graph.microsoft.com/User.Read"), 400, "invalid_scope", 1002012},
		{"scopes of two resources", v2, credentials("scope", "https://vault.azure.net/.default https://graph.microsoft.com/.default"), 400, "invalid_scope", 70011},
		{"a scope without a resource", v2, credentials("scope", "/.default"), 400, "invalid_scope", 70011},
		{"an unknown resource", v2, credentials("scope", "https://example.com/.default"), 400, "invalid_resource", 500011},
		{"a resource that only begins like a known one", v2, credentials("scope", "https://vault.azure.net.example.com/.default"), 400, "invalid_resource", 500011},
		{"a resource parameter in version 2", v2, asResource(vaultResource), 400, "invalid_request", 901002},
		{"an unknown resource in version 1", v1, asResource("https://example.com"), 400, "invalid_resource", 500011},
		{"no resource in version 1", v1, credentials(), 400, "invalid_request", 900144},
		{"an unknown tenant", "/99999999-9999-4999-8999-999999999999/oauth2/v2.0/token", credentials(), 400, "invalid_request", 90002},
		{"an unknown domain", "/example.com/oauth2/v2.0/token", credentials(), 400, "invalid_request", 90002},
		{"a tenant that can be none", "/nonsense/oauth2/v2.0/token", credentials(), 400, "invalid_request", 900023},
		{"whichever tenant", "/common/oauth2/v2.0/token", credentials(), 400, "invalid_request", 50059},
	} {
		t.Run(c.name+" is refused", func(t *testing.T) {
			r := post(t, "https://login.microsoftonline.com"+c.path, c.form)
			r.Header.Set("client-request-id", "77777777-7777-4777-8777-777777777777")
			status, body, header := ask(t, s.Handler(), r)
			if status != c.status || body["error"] != c.oauth {
				t.Fatalf("got %d %v", status, body)
			}
			if diff := cmp.Diff([]any{float64(c.code)}, body["error_codes"]); diff != "" {
				t.Error(diff)
			}
			description, _ := body["error_description"].(string)
			if !strings.HasPrefix(description, "AADSTS"+strconv.Itoa(c.code)+": ") {
				t.Errorf("description %q", description)
			}
			if body["correlation_id"] != "77777777-7777-4777-8777-777777777777" || body["trace_id"] != header.Get("x-ms-request-id") {
				t.Errorf("ids %v and %v of the answer, header %v", body["correlation_id"], body["trace_id"], header)
			}
			if _, err := time.Parse("2006-01-02 15:04:05Z", body["timestamp"].(string)); err != nil { //nolint:errcheck // a panic fails the test
				t.Error(err)
			}
			if secret := c.form.Get("client_secret"); secret != "" && strings.Contains(description, secret) {
				t.Errorf("the secret is in the answer: %q", description)
			}
		})
	}
}

func TestTokenRequestForms(t *testing.T) {
	s, _ := newTenant(t)
	target := "https://login.microsoftonline.com/" + testTenant + "/oauth2/v2.0/token"
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	for _, c := range []struct {
		name, authorization string
		form                url.Values
		want                int
	}{
		{"id and secret in a Basic header are taken", basic(testApp, testSecret), credentials("client_id", "", "client_secret", ""), 200},
		{"a secret in a Basic header beside the id in the form is taken", basic(testApp, testSecret), credentials("client_secret", ""), 200},
		{"a wrong secret in a Basic header is refused", basic(testApp, "wrong"), credentials("client_id", "", "client_secret", ""), 401},
		{"another application's Basic header is not taken for this one", basic("somebody else", testSecret), credentials("client_secret", ""), 401},
		{"a Basic header that is no base64 is no secret", "Basic !", credentials("client_secret", ""), 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := post(t, target, c.form)
			r.Header.Set("Authorization", c.authorization)
			if status, body, _ := ask(t, s.Handler(), r); status != c.want {
				t.Errorf("got %d %v", status, body)
			}
		})
	}
	t.Run("a JSON body is a form without a grant type", func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(`{"grant_type":"client_credentials"}`))
		r.Header.Set("Content-Type", "application/json")
		if status, body, _ := ask(t, s.Handler(), r); status != 400 || !strings.Contains(body["error_description"].(string), "900144") { //nolint:errcheck // a panic fails the test
			t.Errorf("got %d %v", status, body)
		}
	})
	t.Run("a body beyond all measure is refused", func(t *testing.T) {
		if status, body, _ := ask(t, s.Handler(), post(t, target, credentials("padding", strings.Repeat("x", maxFormLen)))); status != 400 {
			t.Errorf("got %d %v", status, body)
		}
	})
	t.Run("parameters in the query are not taken", func(t *testing.T) {
		if status, _, _ := ask(t, s.Handler(), post(t, target+"?"+credentials().Encode(), nil)); status != 400 {
			t.Errorf("got %d", status)
		}
	})
	t.Run("GET is refused", func(t *testing.T) {
		if status, _, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)); status != http.StatusMethodNotAllowed {
			t.Errorf("got %d", status)
		}
	})
}

func TestDiscovery(t *testing.T) {
	s, _ := newTenant(t)
	const public, custom = "https://login.microsoftonline.com", testBase
	for _, c := range []struct {
		name, url, issuer, token, keys string
	}{
		{"version 1", public + "/" + testTenant + "/.well-known/openid-configuration", "https://sts.windows.net/" + testTenant + "/", public + "/" + testTenant + "/oauth2/token", public + "/" + testTenant + "/discovery/keys"},
		{"version 2", public + "/" + testTenant + "/v2.0/.well-known/openid-configuration", public + "/" + testTenant + "/v2.0", public + "/" + testTenant + "/oauth2/v2.0/token", public + "/" + testTenant + "/discovery/v2.0/keys"},
		{"version 2 by domain name", public + "/" + DefaultDomain + "/v2.0/.well-known/openid-configuration", public + "/" + testTenant + "/v2.0", public + "/" + testTenant + "/oauth2/v2.0/token", public + "/" + testTenant + "/discovery/v2.0/keys"},
		{"version 1 of a custom cloud", custom + "/" + testTenant + "/.well-known/openid-configuration", custom + "/" + testTenant + "/", custom + "/" + testTenant + "/oauth2/token", custom + "/" + testTenant + "/discovery/keys"},
		{"version 2 of a custom cloud", custom + "/" + testTenant + "/v2.0/.well-known/openid-configuration", custom + "/" + testTenant + "/v2.0", custom + "/" + testTenant + "/oauth2/v2.0/token", custom + "/" + testTenant + "/discovery/v2.0/keys"},
		{"ADFS", custom + "/adfs/.well-known/openid-configuration", custom + "/adfs", custom + "/adfs/oauth2/token", custom + "/adfs/discovery/keys"},
		{"any tenant", public + "/common/v2.0/.well-known/openid-configuration", public + "/{tenantid}/v2.0", public + "/common/oauth2/v2.0/token", public + "/common/discovery/v2.0/keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil))
			if status != http.StatusOK || body["issuer"] != c.issuer || body["token_endpoint"] != c.token || body["jwks_uri"] != c.keys || body["authorization_endpoint"] == "" {
				t.Fatalf("got %d %v", status, body)
			}
			status, keys, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.keys, nil))
			if status != http.StatusOK {
				t.Fatalf("keys: %d %v", status, keys)
			}
			checkKeys(t, s, keys)
		})
	}
	t.Run("an unknown tenant has no document", func(t *testing.T) {
		for _, path := range []string{"/v2.0/.well-known/openid-configuration", "/.well-known/openid-configuration", "/discovery/keys"} {
			status, body, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, public+"/example.com"+path, nil))
			if status != http.StatusBadRequest || body["error"] != "invalid_tenant" {
				t.Errorf("%s: %d %v", path, status, body)
			}
		}
	})
	t.Run("a path that is not served is a clear error", func(t *testing.T) {
		for _, path := range []string{"/", "/" + testTenant, "/" + testTenant + "/oauth2/v2.0/devicecode"} {
			if status, body, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, public+path, nil)); status != http.StatusNotFound || body["error"] == "" {
				t.Errorf("%s: %d %v", path, status, body)
			}
		}
	})
}

// checkKeys checks that a published key is the one that signs.
func checkKeys(t *testing.T, s *Service, body map[string]any) {
	t.Helper()
	key, err := s.signingKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := body["keys"].([]any)
	if len(keys) != 1 {
		t.Fatalf("keys %v", body)
	}
	published, _ := keys[0].(map[string]any)
	text, _ := published["n"].(string)
	modulus, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || new(big.Int).SetBytes(modulus).Cmp(key.private.N) != 0 || published["e"] != "AQAB" || published["kid"] != key.id || published["kty"] != "RSA" {
		t.Errorf("published %v, %v", published, err)
	}
}

func TestInstanceDiscovery(t *testing.T) {
	s, _ := newTenant(t)
	for _, c := range []struct{ name, asked, want string }{
		{"a login host", "https://login.microsoftonline.com/" + testTenant + "/oauth2/v2.0/authorize", "https://login.microsoftonline.com/" + testTenant + "/v2.0/.well-known/openid-configuration"},
		{"a login host in version 1", "https://login.windows.net/" + testTenant + "/oauth2/authorize", "https://login.windows.net/" + testTenant + "/.well-known/openid-configuration"},
		{"the lab's address", testBase + "/" + testTenant + "/oauth2/v2.0/authorize", testBase + "/" + testTenant + "/v2.0/.well-known/openid-configuration"},
		{"the lab's address without its port", "https://localhost/" + testTenant + "/oauth2/v2.0/authorize", testBase + "/" + testTenant + "/v2.0/.well-known/openid-configuration"},
		{"another host", "https://login.example.com/" + testTenant + "/oauth2/v2.0/authorize", ""},
		{"a login host without TLS", "http://login.microsoftonline.com/" + testTenant + "/oauth2/v2.0/authorize", ""},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(c.asked)
			status, body, _ := ask(t, s.Handler(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
			if c.want == "" {
				if status != http.StatusBadRequest || body["error"] != "invalid_instance" {
					t.Errorf("got %d %v", status, body)
				}
				return
			}
			if status != http.StatusOK || body["tenant_discovery_endpoint"] != c.want {
				t.Errorf("got %d %v", status, body)
			}
		})
	}
}

func FuzzTokenRequest(f *testing.F) {
	f.Add(formType, "", credentials().Encode())
	f.Add(formType+"; charset=utf-8", "Basic YTpi", "grant_type=client_credentials&scope=a%2F.default")
	f.Add("", "Basic ", "%zz")
	f.Add("multipart/form-data", "basic !!", "a=b;c")
	f.Fuzz(func(t *testing.T, contentType, authorization, body string) {
		request := readTokenRequest(contentType, authorization, []byte(body))
		for _, version := range []endpointVersion{version1, version2, versionADFS} {
			resource, err := request.resource(version)
			if (err == nil) != (resource != "") {
				t.Errorf("version %d: resource %q with %v", version, resource, err)
			}
		}
	})
}
