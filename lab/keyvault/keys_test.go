package keyvault_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/latency"
)

func (w *world) createRSA(t testing.TB, vault, name string) azkeys.KeyBundle {
	t.Helper()
	return must[azkeys.CreateKeyResponse](t)(w.keys(t, vault).CreateKey(t.Context(), name, azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA)}, nil)).KeyBundle
}

func (w *world) createEC(t testing.TB, vault, name string, curve azkeys.CurveName) azkeys.KeyBundle {
	t.Helper()
	return must[azkeys.CreateKeyResponse](t)(w.keys(t, vault).CreateKey(t.Context(), name, azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC), Curve: &curve}, nil)).KeyBundle
}

func opsOf(key azkeys.KeyBundle) string {
	var ops []string
	for _, op := range key.Key.KeyOps {
		ops = append(ops, string(*op))
	}
	return strings.Join(ops, " ")
}

func TestCreatedKeysAreOfTheKindAskedFor(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-std", nil)
	w.makeVault(t, "kv-prem", func(p *armkeyvault.VaultProperties) { p.SKU.Name = new(armkeyvault.SKUNamePremium) })
	const rsaOps, ecOps = "encrypt decrypt sign verify wrapKey unwrapKey", "sign verify"
	tests := []struct {
		name, vault string
		parameters  azkeys.CreateKeyParameters
		bits        int
		curve       azkeys.CurveName
		ops         string
		platform    string
	}{
		{"RSA without a size", "kv-std", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA)}, 2048, "", rsaOps, "0"},
		{"RSA of 3072 bits", "kv-std", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA), KeySize: new(int32(3072))}, 3072, "", rsaOps, "0"},
		{"RSA-HSM in a premium vault", "kv-prem", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSAHSM)}, 2048, "", rsaOps, "1"},
		{"EC without a curve", "kv-std", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC)}, 0, azkeys.CurveNameP256, ecOps, "0"},
		{"EC P-384", "kv-std", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC), Curve: new(azkeys.CurveNameP384)}, 0, azkeys.CurveNameP384, ecOps, "0"},
		{"EC-HSM P-521", "kv-prem", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeECHSM), Curve: new(azkeys.CurveNameP521)}, 0, azkeys.CurveNameP521, ecOps, "1"},
		{"RSA for wrapping alone", "kv-std", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA), KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationWrapKey), new(azkeys.KeyOperationUnwrapKey)}}, 2048, "", "wrapKey unwrapKey", "0"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("Key-%d", i)
			before := w.clock.Now().Unix()
			key := must[azkeys.CreateKeyResponse](t)(w.keys(t, test.vault).CreateKey(t.Context(), name, test.parameters, nil)).KeyBundle
			if !regexp.MustCompile(`^https://` + test.vault + `\.vault\.azure\.net/keys/` + name + `/[0-9a-f]{32}$`).MatchString(string(*key.Key.KID)) {
				t.Errorf("kid is %s", *key.Key.KID)
			}
			if *key.Key.Kty != *test.parameters.Kty || len(key.Key.N)*8 != test.bits || opsOf(key) != test.ops {
				t.Errorf("got %s of %d bits for %s", *key.Key.Kty, len(key.Key.N)*8, opsOf(key))
			}
			if test.curve != "" && (*key.Key.Crv != test.curve || len(key.Key.X) != len(key.Key.Y)) {
				t.Errorf("curve is %s, x and y have %d and %d bytes", *key.Key.Crv, len(key.Key.X), len(key.Key.Y))
			}
			a := key.Attributes
			if !*a.Enabled || *a.HSMPlatform != test.platform || a.Created.Unix() < before || *a.RecoveryLevel != "Recoverable+Purgeable" || *a.RecoverableDays != 90 {
				t.Errorf("attributes are %s %s %d", *a.HSMPlatform, *a.RecoveryLevel, *a.RecoverableDays)
			}
			read := must[azkeys.GetKeyResponse](t)(w.keys(t, test.vault).GetKey(t.Context(), strings.ToUpper(name), "", nil)).KeyBundle
			if diff := cmp.Diff(key, read); diff != "" {
				t.Errorf("read back otherwise: %s", diff)
			}
		})
	}
}

func TestKeyCreationRefusals(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-std", nil)
	tests := []struct {
		name, key, code string
		body            any
	}{
		{"no kty", "k", "BadParameter", map[string]any{}},
		{"an unknown kty", "k", "BadParameter", map[string]any{"kty": "DSA"}},
		{"symmetric keys", "k", "NotSupported", map[string]any{"kty": "oct-HSM", "key_size": 256}},
		{"an HSM key in a standard vault", "k", "BadParameter", map[string]any{"kty": "RSA-HSM"}},
		{"an RSA size that the service has not", "k", "BadParameter", map[string]any{"kty": "RSA", "key_size": 1024}},
		{"a public exponent of 3", "k", "NotSupported", map[string]any{"kty": "RSA", "public_exponent": 3}},
		{"curve P-256K", "k", "NotSupported", map[string]any{"kty": "EC", "crv": "P-256K"}},
		{"an unknown curve", "k", "BadParameter", map[string]any{"kty": "EC", "crv": "P-1"}},
		{"an operation that EC keys have not", "k", "BadParameter", map[string]any{"kty": "EC", "key_ops": []string{"wrapKey"}}},
		{"an expiry before the activation", "k", "BadParameter", map[string]any{"kty": "RSA", "attributes": map[string]any{"nbf": 20, "exp": 10}}},
		{"an exportable key", "k", "NotSupported", map[string]any{"kty": "RSA", "attributes": map[string]any{"exportable": true}}},
		{"a tag that is too long", "k", "BadParameter", map[string]any{"kty": "EC", "tags": map[string]string{"a": strings.Repeat("b", 257)}}},
		{"a name with an underscore", "k_1", "BadParameter", map[string]any{"kty": "EC"}},
		{"a name of 128 characters", strings.Repeat("k", 128), "BadParameter", map[string]any{"kty": "EC"}},
		{"a body of another form", "k", "BadParameter", []int{1}},
		{"no body", "k", "BadParameter", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantRaw(t, w.data(t, http.MethodPost, "kv-std", "/keys/"+test.key+"/create", test.body), 400, test.code)
		})
	}
	if a := w.data(t, http.MethodGet, "kv-std", "/keys", nil); string(a.text) != `{"value":[],"nextLink":null}` {
		t.Errorf("a refused creation left %s", a.text)
	}
}

func TestVersionsOfAKey(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-v", nil)
	client := w.keys(t, "kv-v")
	made := map[string]bool{}
	var last string
	for range 3 {
		key := w.createEC(t, "kv-v", "k", azkeys.CurveNameP256)
		last = key.Key.KID.Version()
		made[last] = true
	}
	if got := must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", "", nil)); got.Key.KID.Version() != last {
		t.Errorf("the latest version is said to be %s, made last was %s", got.Key.KID.Version(), last)
	}
	pager, listed := client.NewListKeyPropertiesVersionsPager("k", nil), 0
	for pager.More() {
		for _, item := range must[azkeys.ListKeyPropertiesVersionsResponse](t)(pager.NextPage(t.Context())).Value {
			if !made[item.KID.Version()] {
				t.Errorf("listed %s, which nobody made", *item.KID)
			}
			must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", item.KID.Version(), nil))
			listed++
		}
	}
	if listed != len(made) {
		t.Errorf("%d versions listed, %d made", listed, len(made))
	}
	_, err := client.GetKey(t.Context(), "k", strings.Repeat("0", 32), nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.GetKey(t.Context(), "k", "not-a-version", nil)
	want(t, err, 400, "BadParameter")
	_, err = client.NewListKeyPropertiesVersionsPager("none", nil).NextPage(t.Context())
	want(t, err, 404, "KeyNotFound")
}

func TestKeysAreListedInPages(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-l", nil)
	for i := range 27 {
		w.createEC(t, "kv-l", fmt.Sprintf("k%02d", i), azkeys.CurveNameP256)
	}
	pager, pages := w.keys(t, "kv-l").NewListKeyPropertiesPager(nil), 0
	var names []string
	for pager.More() {
		pages++
		for _, item := range must[azkeys.ListKeyPropertiesResponse](t)(pager.NextPage(t.Context())).Value {
			names = append(names, item.KID.Name())
		}
	}
	if len(names) != 27 || pages != 2 || names[0] != "k00" || names[26] != "k26" {
		t.Errorf("got %d keys in %d pages: %v", len(names), pages, names)
	}
	wantRaw(t, w.data(t, http.MethodGet, "kv-l", "/keys?maxresults=26&api-version=7.4", nil), 400, "BadParameter")
	wantRaw(t, w.data(t, http.MethodGet, "kv-l", "/keys?$skiptoken=%21&api-version=7.4", nil), 400, "BadParameter")
}

func TestUpdateChangesAttributesOfOneVersion(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-u", nil)
	client := w.keys(t, "kv-u")
	old := w.createRSA(t, "kv-u", "k").Key.KID.Version()
	w.createRSA(t, "kv-u", "k")
	w.clock.Advance(time.Hour)
	expires := w.clock.Now().Add(time.Hour).Truncate(time.Second)
	got := must[azkeys.UpdateKeyResponse](t)(client.UpdateKey(t.Context(), "k", old, azkeys.UpdateKeyParameters{
		KeyAttributes: &azkeys.KeyAttributes{Enabled: new(false), Expires: &expires},
		KeyOps:        []*azkeys.KeyOperation{new(azkeys.KeyOperationSign)}, Tags: map[string]*string{"a": new("b")},
	}, nil))
	if *got.Attributes.Enabled || !got.Attributes.Expires.Equal(expires) || opsOf(got.KeyBundle) != "sign" || *got.Tags["a"] != "b" {
		t.Errorf("not changed: %+v", got.KeyBundle)
	}
	if got.Attributes.Updated.Sub(*got.Attributes.Created) < time.Hour {
		t.Errorf("updated at %s, created at %s", got.Attributes.Updated, got.Attributes.Created)
	}
	latest := must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", "", nil))
	if !*latest.Attributes.Enabled || latest.Attributes.Expires != nil {
		t.Error("another version was changed too")
	}
	_, err := client.UpdateKey(t.Context(), "none", "", azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: new(true)}}, nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.UpdateKey(t.Context(), "k", "", azkeys.UpdateKeyParameters{KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperation("fly"))}}, nil)
	want(t, err, 400, "BadParameter")
}

func TestDeletedKeysKeepTheirNameUntilTheyArePurged(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-d", nil)
	client := w.keys(t, "kv-d")
	key := w.createRSA(t, "kv-d", "k")
	deleted := must[azkeys.DeleteKeyResponse](t)(client.DeleteKey(t.Context(), "k", nil))
	if *deleted.RecoveryID != "https://kv-d.vault.azure.net/deletedkeys/k" || deleted.ScheduledPurgeDate.Sub(*deleted.DeletedDate) != 90*24*time.Hour {
		t.Errorf("deleted key is %+v", deleted.DeletedKey)
	}
	_, err := client.GetKey(t.Context(), "k", "", nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.DeleteKey(t.Context(), "k", nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.CreateKey(t.Context(), "K", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA)}, nil)
	want(t, err, 409, "ObjectIsDeletedButRecoverable")
	_, err = client.WrapKey(t.Context(), "k", key.Key.KID.Version(), azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP), Value: []byte("dek")}, nil)
	want(t, err, 404, "KeyNotFound")
	must[azkeys.GetDeletedKeyResponse](t)(client.GetDeletedKey(t.Context(), "k", nil))
	page := must[azkeys.ListDeletedKeyPropertiesResponse](t)(client.NewListDeletedKeyPropertiesPager(nil).NextPage(t.Context()))
	if len(page.Value) != 1 || page.Value[0].KID.Name() != "k" {
		t.Errorf("deleted keys are %v", page.Value)
	}

	recovered := must[azkeys.RecoverDeletedKeyResponse](t)(client.RecoverDeletedKey(t.Context(), "k", nil))
	if diff := cmp.Diff(key, recovered.KeyBundle); diff != "" {
		t.Errorf("recovered otherwise: %s", diff)
	}
	_, err = client.RecoverDeletedKey(t.Context(), "k", nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.PurgeDeletedKey(t.Context(), "k", nil)
	want(t, err, 404, "KeyNotFound")
	_, err = client.GetDeletedKey(t.Context(), "k", nil)
	want(t, err, 404, "KeyNotFound")

	must[azkeys.DeleteKeyResponse](t)(client.DeleteKey(t.Context(), "k", nil))
	must[azkeys.PurgeDeletedKeyResponse](t)(client.PurgeDeletedKey(t.Context(), "k", nil))
	again := w.createRSA(t, "kv-d", "k")
	if again.Key.KID.Version() == key.Key.KID.Version() {
		t.Error("the purged key is back")
	}
}

func TestPurgeProtectionKeepsDeletedKeysForTheirRetention(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-p", func(p *armkeyvault.VaultProperties) {
		p.EnablePurgeProtection, p.SoftDeleteRetentionInDays = new(true), new(int32(7))
	})
	client := w.keys(t, "kv-p")
	w.createRSA(t, "kv-p", "k")
	must[azkeys.DeleteKeyResponse](t)(client.DeleteKey(t.Context(), "k", nil))
	_, err := client.PurgeDeletedKey(t.Context(), "k", nil)
	want(t, err, 403, "Forbidden")
	w.clock.Advance(7*24*time.Hour + time.Second)
	_, err = client.GetDeletedKey(t.Context(), "k", nil)
	want(t, err, 404, "KeyNotFound")
	w.createRSA(t, "kv-p", "k")
}

func TestRecoveryLevelFollowsTheVaultsSettings(t *testing.T) {
	tests := []struct {
		days    int32
		protect bool
		level   string
	}{
		{90, false, "Recoverable+Purgeable"},
		{90, true, "Recoverable"},
		{7, false, "CustomizedRecoverable+Purgeable"},
		{30, true, "CustomizedRecoverable"},
	}
	w := newWorld(t, latency.Instant())
	for i, test := range tests {
		t.Run(test.level, func(t *testing.T) {
			name := fmt.Sprintf("kv-r%d", i)
			w.makeVault(t, name, func(p *armkeyvault.VaultProperties) {
				p.SoftDeleteRetentionInDays = &test.days
				if test.protect {
					p.EnablePurgeProtection = new(true)
				}
			})
			a := w.createEC(t, name, "k", azkeys.CurveNameP256).Attributes
			if *a.RecoveryLevel != test.level || *a.RecoverableDays != test.days {
				t.Errorf("got %s, %d days", *a.RecoveryLevel, *a.RecoverableDays)
			}
		})
	}
}
