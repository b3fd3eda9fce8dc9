package keyvault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/latency"
)

func jwkOf(key *rsa.PrivateKey) *azkeys.JSONWebKey {
	return &azkeys.JSONWebKey{
		Kty: new(azkeys.KeyTypeRSA), N: key.N.Bytes(), E: big.NewInt(int64(key.E)).Bytes(), D: key.D.Bytes(),
		P: key.Primes[0].Bytes(), Q: key.Primes[1].Bytes(), DP: key.Precomputed.Dp.Bytes(), DQ: key.Precomputed.Dq.Bytes(), QI: key.Precomputed.Qinv.Bytes(),
	}
}

// assertNotStored looks for secrets in the state file, raw and in base64 at
// each of its three alignments.
func (w *world) assertNotStored(t *testing.T, secrets ...[]byte) {
	t.Helper()
	file := must[[]byte](t)(os.ReadFile(w.path))
	if !bytes.Contains(file, []byte("keyvault/keys")) {
		t.Fatal("the state file does not hold the keys at all")
	}
	for _, secret := range secrets {
		needles := [][]byte{secret[:16]}
		for shift := range 3 {
			needles = append(needles, []byte(base64.StdEncoding.EncodeToString(secret[shift : shift+24])[:30]))
		}
		for _, needle := range needles {
			if bytes.Contains(file, needle) {
				t.Fatalf("the state file holds key material in the clear: %x", needle[:4])
			}
		}
	}
}

func TestImportedRSAKeyIsTheSameKey(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-i", nil)
	w.makeVault(t, "kv-ip", func(p *armkeyvault.VaultProperties) { p.SKU.Name = new(armkeyvault.SKUNamePremium) })
	client := w.keys(t, "kv-i")
	private := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	got := must[azkeys.ImportKeyResponse](t)(client.ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{
		Key: jwkOf(private), KeyAttributes: &azkeys.KeyAttributes{Enabled: new(true)}, Tags: map[string]*string{"from": new("outside")},
	}, nil))
	if publicRSA(got.KeyBundle).N.Cmp(private.N) != 0 || opsOf(got.KeyBundle) != "encrypt decrypt sign verify wrapKey unwrapKey" || *got.Tags["from"] != "outside" {
		t.Errorf("imported as %+v", got.KeyBundle)
	}
	wrapped := must[azkeys.WrapKeyResponse](t)(client.WrapKey(t.Context(), "k", "", azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("dek")}, nil))
	if back := must[[]byte](t)(rsa.DecryptOAEP(sha256.New(), nil, private, wrapped.Result, nil)); string(back) != "dek" {
		t.Errorf("the original unwraps %q", back)
	}
	again := must[azkeys.ImportKeyResponse](t)(client.ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private)}, nil))
	if again.Key.KID.Version() == got.Key.KID.Version() || !bytes.Equal(again.Key.N, got.Key.N) {
		t.Error("a second import is to be a new version of the same material")
	}
	hsm := must[azkeys.ImportKeyResponse](t)(w.keys(t, "kv-ip").ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private), HSM: new(true)}, nil))
	if *hsm.Key.Kty != azkeys.KeyTypeRSAHSM || *hsm.Attributes.HSMPlatform != "1" {
		t.Errorf("imported into the HSM as %s", *hsm.Key.Kty)
	}
	_, err := client.ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private), HSM: new(true)}, nil)
	want(t, err, 400, "BadParameter")
	must[azkeys.DeleteKeyResponse](t)(client.DeleteKey(t.Context(), "k", nil))
	_, err = client.ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private)}, nil)
	want(t, err, 409, "ObjectIsDeletedButRecoverable")
}

func TestImportedECKeyIsTheSameKey(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-i", nil)
	client := w.keys(t, "kv-i")
	private := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	point, d := must[[]byte](t)(private.PublicKey.Bytes()), must[[]byte](t)(private.Bytes())
	half := len(point) / 2
	jwk := azkeys.JSONWebKey{Kty: new(azkeys.KeyTypeEC), Crv: new(azkeys.CurveNameP521), D: d, X: point[1 : 1+half], Y: point[1+half:]}
	got := must[azkeys.ImportKeyResponse](t)(client.ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: &jwk}, nil))
	if !bytes.Equal(got.Key.X, jwk.X) || !bytes.Equal(got.Key.Y, jwk.Y) || opsOf(got.KeyBundle) != "sign verify" {
		t.Errorf("imported as %+v", got.Key)
	}
	jwk.X, jwk.Y = jwk.Y, jwk.X
	_, err := client.ImportKey(t.Context(), "other", azkeys.ImportKeyParameters{Key: &jwk}, nil)
	want(t, err, 400, "BadParameter")
}

func TestBrokenKeysAreNotImported(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-i", nil)
	good := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	tests := []struct {
		name   string
		change func(*azkeys.JSONWebKey)
		code   string
	}{
		{"without a private exponent", func(j *azkeys.JSONWebKey) { j.D = nil }, "BadParameter"},
		{"without primes", func(j *azkeys.JSONWebKey) { j.P, j.Q = nil, nil }, "BadParameter"},
		{"with a modulus of other primes", func(j *azkeys.JSONWebKey) { j.N = slices.Clone(j.N); j.N[100] ^= 1 }, "BadParameter"},
		{"with a private exponent of another key", func(j *azkeys.JSONWebKey) { j.D = slices.Clone(j.D); j.D[100] ^= 1 }, "BadParameter"},
		{"of 512 bits", func(j *azkeys.JSONWebKey) { j.N = j.N[:64] }, "BadParameter"},
		{"with an exponent that is too large", func(j *azkeys.JSONWebKey) { j.E = make([]byte, 9); j.E[0] = 1 }, "BadParameter"},
		{"wrapped for an HSM", func(j *azkeys.JSONWebKey) { j.T = []byte("byok") }, "NotSupported"},
		{"symmetric", func(j *azkeys.JSONWebKey) { j.Kty = new(azkeys.KeyTypeOct) }, "NotSupported"},
		{"without a type", func(j *azkeys.JSONWebKey) { j.Kty = nil }, "BadParameter"},
		{"of a curve that the lab has not", func(j *azkeys.JSONWebKey) { j.Kty, j.Crv = new(azkeys.KeyTypeEC), new(azkeys.CurveNameP256K) }, "NotSupported"},
		{"with half of an EC key", func(j *azkeys.JSONWebKey) { j.Kty, j.Crv = new(azkeys.KeyTypeEC), new(azkeys.CurveNameP256) }, "BadParameter"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			jwk := jwkOf(good)
			test.change(jwk)
			_, err := w.keys(t, "kv-i").ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwk}, nil)
			want(t, err, 400, test.code)
		})
	}
	wantRaw(t, w.data(t, http.MethodPut, "kv-i", "/keys/k", map[string]any{}), 400, "BadParameter")
}

func TestBackupIsRestoredIntoAnotherVault(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-from", nil)
	w.makeVault(t, "kv-to", nil)
	from, to := w.keys(t, "kv-from"), w.keys(t, "kv-to")
	old := w.createRSA(t, "kv-from", "k")
	w.createRSA(t, "kv-from", "k")
	backup := must[azkeys.BackupKeyResponse](t)(from.BackupKey(t.Context(), "k", nil))
	if !bytes.HasPrefix(backup.Value, []byte("&AzureKeyVaultKeyBackupV1.microsoft.com")) {
		t.Errorf("backup begins with %q", backup.Value[:40])
	}
	w.clock.Advance(time.Hour)
	restored := must[azkeys.RestoreKeyResponse](t)(to.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil))
	latest := must[azkeys.GetKeyResponse](t)(from.GetKey(t.Context(), "k", "", nil))
	if restored.Key.KID.Version() != latest.Key.KID.Version() || !strings.HasPrefix(string(*restored.Key.KID), "https://kv-to.") {
		t.Errorf("restored as %s", *restored.Key.KID)
	}
	if diff := cmp.Diff(latest.Attributes, restored.Attributes); diff != "" {
		t.Errorf("attributes changed on the way: %s", diff)
	}
	wrapped := must[azkeys.WrapKeyResponse](t)(from.WrapKey(t.Context(), "k", old.Key.KID.Version(), azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP), Value: []byte("dek")}, nil))
	back := must[azkeys.UnwrapKeyResponse](t)(to.UnwrapKey(t.Context(), "k", old.Key.KID.Version(), azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP), Value: wrapped.Result}, nil))
	if string(back.Result) != "dek" {
		t.Errorf("the restored key unwraps %q", back.Result)
	}

	_, err := to.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	want(t, err, 409, "Conflict")
	must[azkeys.DeleteKeyResponse](t)(to.DeleteKey(t.Context(), "k", nil))
	_, err = to.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	want(t, err, 409, "ObjectIsDeletedButRecoverable")
	changed := slices.Clone(backup.Value)
	changed[len(changed)-1] ^= 1
	_, err = to.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: changed}, nil)
	want(t, err, 400, "BadParameter")
	_, err = from.BackupKey(t.Context(), "none", nil)
	want(t, err, 404, "KeyNotFound")
}

func TestBackupStaysInItsGeography(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-eu", nil)
	w.createRSA(t, "kv-eu", "k")
	backup := must[azkeys.BackupKeyResponse](t)(w.keys(t, "kv-eu").BackupKey(t.Context(), "k", nil))
	for name, location := range map[string]string{"kv-ne": "North Europe", "kv-us": "eastus"} {
		body := map[string]any{"location": location, "properties": map[string]any{
			"tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"},
			"accessPolicies": []any{map[string]any{"tenantId": tenant, "objectId": admin, "permissions": map[string]any{"keys": []string{"ALL"}}}}}}
		if a := w.control(t, http.MethodPut, vaultPath(name), "2023-07-01", body); a.status != http.StatusOK {
			t.Fatalf("%s", a.text)
		}
	}
	must[azkeys.RestoreKeyResponse](t)(w.keys(t, "kv-ne").RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil))
	_, err := w.keys(t, "kv-us").RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	want(t, err, 400, "BadParameter")
}
