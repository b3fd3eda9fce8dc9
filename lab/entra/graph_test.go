package entra

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func graphToken(t testing.TB, s *Service, audience string) string {
	t.Helper()
	token, _, err := s.Issue(testObject, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestGraph(t *testing.T) {
	s, identity := newTenant(t)
	token := graphToken(t, s, "https://graph.microsoft.com")
	filter := func(text string) string { return "/v1.0/servicePrincipals?$filter=" + url.QueryEscape(text) }
	for _, c := range []struct {
		name, path string
		found      []string // object ids; nil: an error with code
		status     int
		code       string
	}{
		{"by the names of the principal, as the Azure CLI asks", filter("servicePrincipalNames/any(c:c eq '" + testApp + "')"), []string{testObject}, 200, ""},
		{"by the application id, as Terraform asks", filter("appId eq '" + identity.AppID + "'"), []string{identity.ObjectID}, 200, ""},
		{"by the display name", filter("displayName eq 'operator'"), []string{testObject}, 200, ""},
		{"an unknown application is an empty list", filter("appId eq '99999999-9999-4999-8999-999999999999'"), []string{}, 200, ""},
		{"another filter is refused", filter("startswith(displayName,'o')"), nil, 400, "BadRequest"},
		{"two conditions are refused", filter("appId eq 'a' or appId eq 'b'"), nil, 400, "BadRequest"},
		{"an unknown principal is not found", "/v1.0/servicePrincipals/99999999-9999-4999-8999-999999999999", nil, 404, "Request_ResourceNotFound"},
		{"an application has no me", "/v1.0/me", nil, 400, "BadRequest"},
		{"users are not served", "/v1.0/users", nil, 404, "Request_ResourceNotFound"},
		{"beta is not served", "/beta/servicePrincipals", nil, 400, "BadRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://graph.microsoft.com"+c.path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			status, body, _ := ask(t, s.GraphHandler(), r)
			if status != c.status {
				t.Fatalf("got %d %v", status, body)
			}
			if c.found == nil {
				failure, _ := body["error"].(map[string]any)
				if message, _ := failure["message"].(string); failure["code"] != c.code || message == "" {
					t.Errorf("refused with %v", body)
				}
				return
			}
			value, _ := body["value"].([]any)
			ids := []string{}
			for _, each := range value {
				ids = append(ids, each.(map[string]any)["id"].(string)) //nolint:errcheck // a panic fails the test
			}
			if strings.Join(ids, " ") != strings.Join(c.found, " ") {
				t.Errorf("found %v, want %v", ids, c.found)
			}
		})
	}
	t.Run("a principal by its id", func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://graph.microsoft.com/v1.0/servicePrincipals/"+identity.ObjectID, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if status, body, _ := ask(t, s.GraphHandler(), r); status != 200 || body["appId"] != identity.AppID || body["servicePrincipalType"] != "ManagedIdentity" {
			t.Errorf("got %d %v", status, body)
		}
	})
	t.Run("nothing can be changed", func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "https://graph.microsoft.com/v1.0/servicePrincipals/"+identity.ObjectID, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if status, body, _ := ask(t, s.GraphHandler(), r); status != http.StatusNotFound {
			t.Errorf("got %d %v", status, body)
		}
	})
}

func TestGraphChecksTokens(t *testing.T) {
	s, _ := newTenant(t)
	for _, c := range []struct {
		name, authorization string
		status              int
	}{
		{"a token for Graph is taken", "Bearer " + graphToken(t, s, "https://graph.microsoft.com/"), 200},
		{"a token for the lab's own address is taken, which is Graph's in a custom cloud", "Bearer " + graphToken(t, s, testBase), 200},
		{"a token for a vault is refused", "Bearer " + graphToken(t, s, vaultResource), 401},
		{"no token is refused", "", 401},
		{"nonsense is refused", "Bearer nonsense", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://graph.microsoft.com/v1.0/servicePrincipals", nil)
			r.Header.Set("Authorization", c.authorization)
			status, body, header := ask(t, s.GraphHandler(), r)
			if status != c.status {
				t.Fatalf("got %d %v", status, body)
			}
			if status == http.StatusUnauthorized && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("no challenge: %v", header)
			}
		})
	}
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		text string
		want principalFilter
		bad  bool
	}{
		{"", principalFilter{}, false},
		{"appId eq 'x'", principalFilter{"appid", "x"}, false},
		{"  appId   eq   'x'  ", principalFilter{"appid", "x"}, false},
		{"displayName eq 'it''s'", principalFilter{"displayname", "it's"}, false},
		{"servicePrincipalNames/any(c:c eq 'x')", principalFilter{"serviceprincipalnames", "x"}, false},
		{"servicePrincipalNames/any( name : name eq 'x' )", principalFilter{"serviceprincipalnames", "x"}, false},
		{"servicePrincipalNames/any(c:d eq 'x')", principalFilter{}, true},
		{"servicePrincipalNames/all(c:c eq 'x')", principalFilter{}, true},
		{"servicePrincipalNames eq 'x'", principalFilter{}, true},
		{"appId/any(c:c eq 'x')", principalFilter{}, true},
		{"appId eq 'x", principalFilter{}, true},
		{"appId eq x", principalFilter{}, true},
		{"appId ne 'x'", principalFilter{}, true},
		{"appId eq 'x' and id eq 'y'", principalFilter{}, true},
		{"secret eq 'x'", principalFilter{}, true},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := parseFilter(c.text)
			if (err != nil) != c.bad || got != c.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"", "appId eq 'x'", "servicePrincipalNames/any(c:c eq 'x')", "displayName eq 'it''s'", "a eq ''''", "id eq '"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := parseFilter(text)
		if err != nil {
			return
		}
		// Written out again it means the same.
		if filter.property == "" || filter.property == "serviceprincipalnames" {
			return
		}
		again, err := parseFilter(filter.property + " eq '" + strings.ReplaceAll(filter.value, "'", "''") + "'")
		if err != nil || again != filter {
			t.Errorf("%q read as %+v, then as %+v, %v", text, filter, again, err)
		}
	})
}
