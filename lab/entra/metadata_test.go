package entra

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestMetadata(t *testing.T) {
	s, _ := newTenant(t)
	handler := s.MetadataHandler(func(*http.Request) string { return testBase + "/" })
	get := func(t *testing.T, target string, into any) int {
		t.Helper()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		if err := json.Unmarshal(recorder.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v", recorder.Body, err)
		}
		return recorder.Code
	}
	t.Run("2022-09-01 has all that Terraform demands", func(t *testing.T) {
		var cloud cloudMetadata
		get(t, testBase+"/metadata/endpoints?api-version=2022-09-01", &cloud)
		a := cloud.Authentication
		if cloud.Name == "" || cloud.Name == "AzureStackCloud" || cloud.ResourceManager != testBase || cloud.MicrosoftGraph != testBase ||
			a.LoginEndpoint != testBase || a.IdentityProvider != "AAD" || a.Tenant != "common" || cloud.Suffixes.KeyVault != "vault.azure.net" || cloud.Suffixes.Storage == "" {
			t.Errorf("got %+v", cloud)
		}
	})
	t.Run("2019-05-01 is a list of one cloud whose authority the Azure CLI trusts", func(t *testing.T) {
		var clouds []cloudMetadata
		get(t, testBase+"/metadata/endpoints?api-version=2019-05-01", &clouds)
		if len(clouds) != 1 || clouds[0].Authentication.LoginEndpoint != testBase+"/adfs" || clouds[0].Authentication.Audiences[0] != testBase ||
			clouds[0].Name == "AzureCloud" || clouds[0].GraphAudience != testBase || clouds[0].Suffixes.SQLServer != "database.windows.net" {
			t.Errorf("got %+v", clouds)
		}
	})
	t.Run("2015-01-01 is a short object", func(t *testing.T) {
		var got oneEndpoints
		get(t, testBase+"/metadata/endpoints?api-version=2015-01-01", &got)
		if got.Authentication.LoginEndpoint != testBase+"/adfs" || got.Graph != testBase || got.Authentication.Audiences[0] != testBase {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("at a public name it tells of Microsoft's clouds", func(t *testing.T) {
		for host, name := range map[string]string{
			"management.azure.com": "AzureCloud", "management.usgovcloudapi.net": "AzureUSGovernment", "management.chinacloudapi.cn:443": "AzureChinaCloud",
		} {
			var cloud cloudMetadata
			get(t, "https://"+host+"/metadata/endpoints?api-version=2022-09-01", &cloud)
			if cloud.Name != name || cloud.Authentication.LoginEndpoint == testBase {
				t.Errorf("%s: %+v", host, cloud)
			}
		}
		var clouds []cloudMetadata
		if get(t, "https://management.azure.com/metadata/endpoints?api-version=2019-05-01", &clouds); len(clouds) != 3 {
			t.Errorf("got %d clouds", len(clouds))
		}
	})
	t.Run("the public login endpoints are ones that the lab signs in at", func(t *testing.T) {
		for _, cloud := range publicClouds() {
			if !isLoginHost(cloud.login[len("https://"):]) {
				t.Errorf("%s is not served", cloud.login)
			}
			for _, resource := range []string{cloud.management, cloud.resourceManager, cloud.graph, "https://" + cloud.vaultSuffix, "https://" + cloud.sqlSuffix} {
				if _, known := s.audienceOf(resource); !known {
					t.Errorf("no tokens for %s", resource)
				}
			}
		}
	})
	t.Run("a missing or unknown api-version is refused", func(t *testing.T) {
		for query, code := range map[string]string{"": "MissingApiVersionParameter", "?api-version=1.0": "InvalidApiVersionParameter"} {
			var failure struct{ Error struct{ Code string } }
			if status := get(t, testBase+"/metadata/endpoints"+query, &failure); status != http.StatusBadRequest || failure.Error.Code != code {
				t.Errorf("%q: %d %+v", query, status, failure)
			}
		}
	})
	t.Run("nothing but GET is served", func(t *testing.T) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, testBase+"/metadata/endpoints?api-version=2022-09-01", nil))
		if recorder.Code != http.StatusMethodNotAllowed {
			t.Errorf("got %d", recorder.Code)
		}
	})
}
