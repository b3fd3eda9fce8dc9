package keyvault_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

func TestPathsTolerateSlashesAndCase(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-s", nil)
	if a := w.data(t, http.MethodPost, "kv-s", "//keys/k/create", map[string]any{"kty": "RSA"}); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for _, path := range []string{"/keys/k", "/keys/k/", "//keys//k//", "/Keys/K", "/keys/k/versions/", "/keys/", "/keys/k/rotationpolicy"} {
		if a := w.data(t, http.MethodGet, "kv-s", path, nil); a.status != http.StatusOK {
			t.Errorf("GET %s answers %d %s", path, a.status, a.text)
		}
	}
	wrap := map[string]any{"alg": "RSA-OAEP", "value": "AAAA"}
	for _, path := range []string{"/keys/k/wrapkey", "/keys/k//wrapKey/", "/keys/k/WRAPKEY"} {
		if a := w.data(t, http.MethodPost, "kv-s", path, wrap); a.status != http.StatusOK {
			t.Errorf("POST %s answers %d %s", path, a.status, a.text)
		}
	}
	if a := w.data(t, http.MethodPatch, "kv-s", "/keys/k/", map[string]any{}); a.status != http.StatusOK {
		t.Errorf("PATCH answers %d %s", a.status, a.text)
	}
}

func TestAPIVersionIsRequiredAndKnown(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-s", nil)
	token := tokenFor(admin, vaultAudience).String()
	get := func(query string) answer {
		return w.send(t, http.MethodGet, "https://kv-s.vault.azure.net/keys"+query, token, nil)
	}
	for _, version := range []string{"2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.4-preview.1", "7.5", "7.6", "2025-07-01"} {
		if a := get("?api-version=" + version); a.status != http.StatusOK {
			t.Errorf("%s answers %d", version, a.status)
		}
	}
	wantRaw(t, get(""), 400, "BadParameter")
	wantRaw(t, get("?api-version=7.99"), 400, "BadParameter")
}

func TestWhatTheLabDoesNotServeIsSaidClearly(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-s", nil)
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/secrets/s", 400, "NotSupported"},
		{"PUT", "/secrets/s", 400, "NotSupported"},
		{"GET", "/deletedsecrets", 400, "NotSupported"},
		{"GET", "/certificates", 400, "NotSupported"},
		{"POST", "/rng", 400, "NotSupported"},
		{"POST", "/keys/k/" + strings.Repeat("0", 32) + "/release", 400, "NotSupported"},
		{"GET", "/certificates/contacts", 404, "ContactsNotFound"},
		{"GET", "/", 404, "NotFound"},
		{"GET", "/nothing", 404, "NotFound"},
		{"GET", "/keys/k/" + strings.Repeat("0", 32) + "/encrypt/more", 404, "NotFound"},
		{"DELETE", "/keys", 405, "MethodNotAllowed"},
		{"GET", "/keys/k/create", 405, "MethodNotAllowed"},
		{"PUT", "/deletedkeys/k", 405, "MethodNotAllowed"},
	} {
		wantRaw(t, w.data(t, test.method, "kv-s", test.path, nil), test.status, test.code)
	}
	if a := w.send(t, http.MethodGet, "https://kv-s.vault.azure.net/healthstatus", "", nil); a.status != http.StatusOK {
		t.Errorf("healthstatus answers %d", a.status)
	}
	wantRaw(t, w.data(t, http.MethodGet, "kv-none", "/keys", nil), 404, "VaultNotFound")
}

func TestKeyIDsHaveAzuresNameWhateverTheAddress(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-n", nil)
	w.createEC(t, "kv-n", "k", azkeys.CurveNameP256)
	for host, wanted := range map[string]string{
		"kv-n.vault.azure.net": "https://kv-n.vault.azure.net/keys/k/", "kv-n.vault.localhost:8443": "https://kv-n.vault.azure.net/keys/k/",
		"kv-n.vault.azure.net:443": "https://kv-n.vault.azure.net/keys/k/", "KV-N.Vault.Azure.Net": "https://kv-n.vault.azure.net/keys/k/",
		"kv-n.vault.usgovcloudapi.net": "https://kv-n.vault.usgovcloudapi.net/keys/k/", "kv-n.vault.azure.cn:443": "https://kv-n.vault.azure.cn/keys/k/",
	} {
		a := w.send(t, http.MethodGet, "https://"+host+"/keys/k?api-version=7.4", tokenFor(admin, vaultAudience).String(), nil)
		if a.status != http.StatusOK || !strings.HasPrefix(text(a.body, "key", "kid"), wanted) {
			t.Errorf("%s answers %d %s", host, a.status, a.text)
		}
	}
	client := must[*azkeys.Client](t)(azkeys.NewClient("https://kv-n.vault.localhost:8443", credential{objectID: admin}, &azkeys.ClientOptions{ClientOptions: w.options()}))
	must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", "", nil))
}

func TestConcurrentVersionsAreAllKept(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-cc", nil)
	client := w.keys(t, "kv-cc")
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			if _, err := client.CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC)}, nil); err != nil {
				t.Error(err)
			}
			if _, err := client.GetKey(t.Context(), "k", "", nil); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if n := w.versions(t, "kv-cc"); n != 20 {
		t.Errorf("%d versions of 20", n)
	}
}
