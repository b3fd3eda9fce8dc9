package entra

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

func TestIdentityEndpoints(t *testing.T) {
	s, identity := newTenant(t)
	secret, err := s.IdentitySecret()
	if err != nil {
		t.Fatal(err)
	}
	const resource = "resource=https://vault.azure.net"
	app := func(query, name, value string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, testBase+"/msi/token?"+query, nil)
		r.Header.Set(name, value)
		return r
	}
	machine := func(query string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, testBase+"/metadata/identity/oauth2/token?"+query, nil)
		r.Header.Set("Metadata", "true")
		return r
	}
	posted := func(form string, headers ...string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, testBase+"/msi/token", strings.NewReader(form))
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return r
	}
	for _, c := range []struct {
		name   string
		r      *http.Request
		client string // whose token it is; empty: it is refused with status
		status int
	}{
		{"App Service's endpoint gives the default identity's token", app("api-version=2019-08-01&"+resource, "X-IDENTITY-HEADER", secret), testApp, 200},
		{"App Service's endpoint gives the one named by client_id", app("api-version=2019-08-01&client_id="+identity.AppID+"&"+resource, "X-IDENTITY-HEADER", secret), identity.AppID, 200},
		{"App Service's endpoint gives the one named by mi_res_id", app("api-version=2019-08-01&mi_res_id="+url.QueryEscape(strings.ToUpper(testServer))+"&"+resource, "X-IDENTITY-HEADER", secret), identity.AppID, 200},
		{"App Service's older endpoint has another header", app("api-version=2017-09-01&clientid="+identity.AppID+"&"+resource, "secret", secret), identity.AppID, 200},
		{"the machine's endpoint gives the one named by object_id", machine("api-version=2018-02-01&object_id=" + identity.ObjectID + "&" + resource), identity.AppID, 200},
		{"the machine's endpoint gives the one named by msi_res_id", machine("api-version=2018-02-01&msi_res_id=" + url.QueryEscape(testServer) + "&" + resource), identity.AppID, 200},
		{"the oldest form posts", posted(resource, "Metadata", "true"), testApp, 200},
		{"the oldest form with the secret", posted(resource, "secret", secret), testApp, 200},

		{"a wrong identity header is refused", app("api-version=2019-08-01&"+resource, "X-IDENTITY-HEADER", "wrong"), "", 401},
		{"the older header does not open the newer version", app("api-version=2019-08-01&"+resource, "secret", secret), "", 401},
		{"no identity header is refused", app("api-version=2019-08-01&"+resource, "X-Other", "x"), "", 401},
		{"an unknown version is refused", app("api-version=2016-01-01&"+resource, "X-IDENTITY-HEADER", secret), "", 400},
		{"a missing resource is refused", app("api-version=2019-08-01", "X-IDENTITY-HEADER", secret), "", 400},
		{"an unknown resource is refused", app("api-version=2019-08-01&resource=https://example.com", "X-IDENTITY-HEADER", secret), "", 400},
		{"an unknown client_id is refused", app("api-version=2019-08-01&client_id=nobody&"+resource, "X-IDENTITY-HEADER", secret), "", 400},
		{"an unknown mi_res_id is refused", app("api-version=2019-08-01&mi_res_id=/subscriptions/x&"+resource, "X-IDENTITY-HEADER", secret), "", 400},
		{"the machine's endpoint without its header is refused", httptest.NewRequestWithContext(t.Context(), http.MethodGet, testBase+"/metadata/identity/oauth2/token?api-version=2018-02-01&"+resource, nil), "", 400},
		{"the machine's endpoint without a version is refused", machine(resource), "", 400},
		{"the oldest form without its header is refused", posted(resource), "", 400},
		{"the oldest form with a wrong secret is refused", posted(resource, "Metadata", "true", "secret", "wrong"), "", 401},
		{"another path is refused", httptest.NewRequestWithContext(t.Context(), http.MethodGet, testBase+"/metadata/instance", nil), "", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, _ := ask(t, s.IdentityHandler(), c.r)
			if status != c.status {
				t.Fatalf("got %d %v", status, body)
			}
			if c.client == "" {
				if body["error"] == "" || body["access_token"] != nil {
					t.Errorf("refused with %v", body)
				}
				return
			}
			token, _ := body["access_token"].(string)
			claims, err := s.Verify(token, []string{vaultResource})
			if err != nil || claims.AppID != c.client || body["client_id"] != c.client || body["token_type"] != "Bearer" {
				t.Errorf("answer %v, claims %+v, %v", body, claims, err)
			}
		})
	}
	t.Run("App Service's older version writes a date", func(t *testing.T) {
		_, body, _ := ask(t, s.IdentityHandler(), app("api-version=2017-09-01&"+resource, "secret", secret))
		text, _ := body["expires_on"].(string)
		if expires, err := time.Parse("01/02/2006 15:04:05 -07:00", text); err != nil || !expires.After(s.Clock.Now().Add(time.Hour)) {
			t.Errorf("expires_on %q, %v", text, err)
		}
	})
	t.Run("a deleted identity gets no token", func(t *testing.T) {
		update(t, s, func(tx *store.Tx) error { return s.DeletePrincipal(tx, identity.ObjectID) })
		if status, body, _ := ask(t, s.IdentityHandler(), machine("api-version=2018-02-01&client_id="+identity.AppID+"&"+resource)); status != http.StatusBadRequest {
			t.Errorf("got %d %v", status, body)
		}
	})
	t.Run("the default identity can be set", func(t *testing.T) {
		var other Principal
		update(t, s, func(tx *store.Tx) (err error) {
			other, err = s.CreateManagedIdentity(tx, "other", testServer)
			return err
		})
		s.DefaultIdentity = other.ObjectID
		if _, body, _ := ask(t, s.IdentityHandler(), machine("api-version=2018-02-01&"+resource)); body["client_id"] != other.AppID {
			t.Errorf("got %v", body)
		}
	})
}
