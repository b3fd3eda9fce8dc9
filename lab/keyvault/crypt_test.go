package keyvault_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSA-OAEP is defined with SHA-1
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

// publicRSA is the key that anybody outside the vault sees.
func publicRSA(key azkeys.KeyBundle) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(key.Key.N), E: int(new(big.Int).SetBytes(key.Key.E).Int64())}
}

func TestWhatIsEncryptedOutsideTheVaultIsDecryptedInside(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-c", nil)
	client := w.keys(t, "kv-c")
	secret := []byte("a data encryption key of 32 byte")
	for _, bits := range []int32{2048, 3072, 4096} {
		name := fmt.Sprintf("k%d", bits)
		key := must[azkeys.CreateKeyResponse](t)(client.CreateKey(t.Context(), name, azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA), KeySize: &bits}, nil)).KeyBundle
		for algorithm, oaep := range map[azkeys.EncryptionAlgorithm]func() hash.Hash{
			azkeys.EncryptionAlgorithmRSA15: nil, azkeys.EncryptionAlgorithmRSAOAEP: sha1.New, azkeys.EncryptionAlgorithmRSAOAEP256: sha256.New,
		} {
			t.Run(fmt.Sprintf("%s with %d bits", algorithm, bits), func(t *testing.T) {
				sealed := encryptOutside(t, publicRSA(key), oaep, secret)
				parameters := azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: sealed}
				decrypted := must[azkeys.DecryptResponse](t)(client.Decrypt(t.Context(), name, key.Key.KID.Version(), parameters, nil))
				unwrapped := must[azkeys.UnwrapKeyResponse](t)(client.UnwrapKey(t.Context(), name, "", parameters, nil))
				if !bytes.Equal(decrypted.Result, secret) || !bytes.Equal(unwrapped.Result, secret) || *unwrapped.KID != *key.Key.KID {
					t.Errorf("got %q and %q by %s", decrypted.Result, unwrapped.Result, *unwrapped.KID)
				}
				parameters.Value = secret
				wrapped := must[azkeys.WrapKeyResponse](t)(client.WrapKey(t.Context(), name, key.Key.KID.Version(), parameters, nil))
				encrypted := must[azkeys.EncryptResponse](t)(client.Encrypt(t.Context(), name, key.Key.KID.Version(), parameters, nil))
				for _, value := range [][]byte{wrapped.Result, encrypted.Result} {
					parameters.Value = value
					back := must[azkeys.UnwrapKeyResponse](t)(client.UnwrapKey(t.Context(), name, key.Key.KID.Version(), parameters, nil))
					if !bytes.Equal(back.Result, secret) || len(value) != int(bits)/8 {
						t.Errorf("%d bytes unwrap to %q", len(value), back.Result)
					}
				}
				sealed[10] ^= 1
				parameters.Value = sealed
				if algorithm != azkeys.EncryptionAlgorithmRSA15 { // which may decrypt to something else by chance
					_, err := client.UnwrapKey(t.Context(), name, "", parameters, nil)
					want(t, err, 400, "BadParameter")
				}
			})
		}
	}
}

func encryptOutside(t *testing.T, public *rsa.PublicKey, oaep func() hash.Hash, secret []byte) []byte {
	t.Helper()
	if oaep == nil {
		//lint:ignore SA1019 RSA1_5 is what is tested
		return must[[]byte](t)(rsa.EncryptPKCS1v15(rand.Reader, public, secret)) //nolint:staticcheck // see above
	}
	return must[[]byte](t)(rsa.EncryptOAEP(oaep(), rand.Reader, public, secret, nil))
}

func TestSignaturesAreVerifiedOutsideTheVault(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-s", nil)
	digests := map[crypto.Hash][]byte{crypto.SHA256: sum(sha256.New()), crypto.SHA384: sum(sha512.New384()), crypto.SHA512: sum(sha512.New())}
	rsaKey := publicRSA(w.createRSA(t, "kv-s", "rsa"))
	curves := map[azkeys.SignatureAlgorithm]struct {
		name  azkeys.CurveName
		curve elliptic.Curve
	}{
		azkeys.SignatureAlgorithmES256: {azkeys.CurveNameP256, elliptic.P256()}, azkeys.SignatureAlgorithmES384: {azkeys.CurveNameP384, elliptic.P384()},
		azkeys.SignatureAlgorithmES512: {azkeys.CurveNameP521, elliptic.P521()},
	}
	for _, test := range []struct {
		algorithm azkeys.SignatureAlgorithm
		hash      crypto.Hash
	}{
		{azkeys.SignatureAlgorithmRS256, crypto.SHA256}, {azkeys.SignatureAlgorithmRS384, crypto.SHA384}, {azkeys.SignatureAlgorithmRS512, crypto.SHA512},
		{azkeys.SignatureAlgorithmPS256, crypto.SHA256}, {azkeys.SignatureAlgorithmPS384, crypto.SHA384}, {azkeys.SignatureAlgorithmPS512, crypto.SHA512},
		{azkeys.SignatureAlgorithmES256, crypto.SHA256}, {azkeys.SignatureAlgorithmES384, crypto.SHA384}, {azkeys.SignatureAlgorithmES512, crypto.SHA512},
	} {
		t.Run(string(test.algorithm), func(t *testing.T) {
			client, digest, name := w.keys(t, "kv-s"), digests[test.hash], "rsa"
			var check func(signature []byte) bool
			switch c, isEC := curves[test.algorithm]; {
			case isEC:
				name = string(test.algorithm)
				key := w.createEC(t, "kv-s", name, c.name)
				public := must[*ecdsa.PublicKey](t)(ecdsa.ParseUncompressedPublicKey(c.curve, append(append([]byte{4}, key.Key.X...), key.Key.Y...)))
				check = func(s []byte) bool {
					return ecdsa.Verify(public, digest, new(big.Int).SetBytes(s[:len(s)/2]), new(big.Int).SetBytes(s[len(s)/2:]))
				}
			case test.algorithm[0] == 'P':
				check = func(s []byte) bool {
					return rsa.VerifyPSS(rsaKey, test.hash, digest, s, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
				}
			default:
				check = func(s []byte) bool { return rsa.VerifyPKCS1v15(rsaKey, test.hash, digest, s) == nil }
			}
			signed := must[azkeys.SignResponse](t)(client.Sign(t.Context(), name, "", azkeys.SignParameters{Algorithm: &test.algorithm, Value: digest}, nil))
			if !check(signed.Result) {
				t.Error("the standard library does not accept the signature")
			}
			verify := func(signature []byte) bool {
				return *must[azkeys.VerifyResponse](t)(client.Verify(t.Context(), name, "", azkeys.VerifyParameters{Algorithm: &test.algorithm, Digest: digest, Signature: signature}, nil)).Value
			}
			if !verify(signed.Result) {
				t.Error("the vault does not accept its own signature")
			}
			signed.Result[5] ^= 1
			if verify(signed.Result) || verify(signed.Result[1:]) {
				t.Error("the vault accepts a changed signature")
			}
			_, err := client.Sign(t.Context(), name, "", azkeys.SignParameters{Algorithm: &test.algorithm, Value: digest[1:]}, nil)
			want(t, err, 400, "BadParameter")
		})
	}
}

func sum(h hash.Hash) []byte {
	h.Write([]byte("what is signed"))
	return h.Sum(nil)
}

func TestCryptographicRefusals(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-n", nil)
	w.createRSA(t, "kv-n", "rsa")
	w.createEC(t, "kv-n", "ec", azkeys.CurveNameP256)
	tests := []struct {
		name, path, code string
		body             any
	}{
		{"wrapping with an EC key", "/keys/ec/wrapkey", "KeyOperationForbidden", map[string]any{"alg": "RSA-OAEP", "value": "AAAA"}},
		{"an EC algorithm with an RSA key", "/keys/rsa/sign", "BadParameter", map[string]any{"alg": "ES256", "value": strings.Repeat("A", 43)}},
		{"an RSA algorithm with an EC key", "/keys/ec/sign", "BadParameter", map[string]any{"alg": "RS256", "value": strings.Repeat("A", 43)}},
		{"an algorithm of another curve", "/keys/ec/sign", "BadParameter", map[string]any{"alg": "ES384", "value": strings.Repeat("A", 64)}},
		{"an algorithm that the lab has not", "/keys/ec/sign", "NotSupported", map[string]any{"alg": "ES256K", "value": strings.Repeat("A", 43)}},
		{"an unknown algorithm", "/keys/rsa/encrypt", "BadParameter", map[string]any{"alg": "ROT13", "value": "AAAA"}},
		{"no algorithm", "/keys/rsa/encrypt", "BadParameter", map[string]any{"value": "AAAA"}},
		{"no value", "/keys/rsa/encrypt", "BadParameter", map[string]any{"alg": "RSA-OAEP"}},
		{"a value that is not base64url", "/keys/rsa/encrypt", "BadParameter", map[string]any{"alg": "RSA-OAEP", "value": "+/"}},
		{"more than the key can encrypt", "/keys/rsa/wrapkey", "BadParameter", map[string]any{"alg": "RSA-OAEP", "value": strings.Repeat("A", 400)}},
		{"a ciphertext of another length", "/keys/rsa/unwrapkey", "BadParameter", map[string]any{"alg": "RSA-OAEP", "value": "AAAA"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status := 400
			if test.code == "KeyOperationForbidden" {
				status = 403
			}
			wantRaw(t, w.data(t, http.MethodPost, "kv-n", test.path, test.body), status, test.code)
		})
	}
	wantRaw(t, w.data(t, http.MethodPost, "kv-n", "/keys/none/wrapkey", map[string]any{"alg": "RSA-OAEP", "value": "AAAA"}), 404, "KeyNotFound")
}

// Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#key-attributes
func TestAttributesDecideWhichOperationsAreAllowed(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		name               string
		set                func(now time.Time) azkeys.UpdateKeyParameters
		protect, recover   int // status of wrapKey, encrypt, sign and of unwrapKey, decrypt, verify
		protected, opening string
	}{
		{"an enabled key does everything", func(time.Time) azkeys.UpdateKeyParameters { return azkeys.UpdateKeyParameters{} }, 200, 200, "", ""},
		{"a disabled key does nothing", func(time.Time) azkeys.UpdateKeyParameters {
			return azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: new(false)}}
		}, 403, 403, "KeyDisabled", "KeyDisabled"},
		{"an expired key only recovers", func(now time.Time) azkeys.UpdateKeyParameters {
			return azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Expires: new(now.Add(-day))}}
		}, 403, 200, "KeyExpired", ""},
		{"a key that is not yet valid only recovers", func(now time.Time) azkeys.UpdateKeyParameters {
			return azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{NotBefore: new(now.Add(day))}}
		}, 403, 200, "KeyNotYetValid", ""},
		{"a key inside its dates does everything", func(now time.Time) azkeys.UpdateKeyParameters {
			return azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{NotBefore: new(now.Add(-day)), Expires: new(now.Add(day))}}
		}, 200, 200, "", ""},
		{"a key without operations does nothing", func(time.Time) azkeys.UpdateKeyParameters {
			return azkeys.UpdateKeyParameters{KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationImport)}}
		}, 403, 403, "KeyOperationForbidden", "KeyOperationForbidden"},
	}
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-a", nil)
	client := w.keys(t, "kv-a")
	digest := sum(sha256.New())
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("k%d", i)
			key := w.createRSA(t, "kv-a", name)
			sealed := encryptOutside(t, publicRSA(key), sha1.New, []byte("dek"))
			must[azkeys.UpdateKeyResponse](t)(client.UpdateKey(t.Context(), name, "", test.set(w.clock.Now()), nil))
			check := func(err error, status int, code string) {
				t.Helper()
				if status == 200 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				want(t, err, status, code)
			}
			oaep := new(azkeys.EncryptionAlgorithmRSAOAEP)
			_, err := client.WrapKey(t.Context(), name, "", azkeys.KeyOperationParameters{Algorithm: oaep, Value: []byte("dek")}, nil)
			check(err, test.protect, test.protected)
			_, err = client.Encrypt(t.Context(), name, "", azkeys.KeyOperationParameters{Algorithm: oaep, Value: []byte("dek")}, nil)
			check(err, test.protect, test.protected)
			_, err = client.Sign(t.Context(), name, "", azkeys.SignParameters{Algorithm: new(azkeys.SignatureAlgorithmRS256), Value: digest}, nil)
			check(err, test.protect, test.protected)
			_, err = client.UnwrapKey(t.Context(), name, "", azkeys.KeyOperationParameters{Algorithm: oaep, Value: sealed}, nil)
			check(err, test.recover, test.opening)
			_, err = client.Decrypt(t.Context(), name, "", azkeys.KeyOperationParameters{Algorithm: oaep, Value: sealed}, nil)
			check(err, test.recover, test.opening)
			_, err = client.Verify(t.Context(), name, "", azkeys.VerifyParameters{Algorithm: new(azkeys.SignatureAlgorithmRS256), Digest: digest, Signature: make([]byte, 256)}, nil)
			check(err, test.recover, test.opening)
			if got := must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), name, "", nil)); *got.Key.KID != *key.Key.KID {
				t.Error("the key can no longer be read")
			}
		})
	}
}

func TestTheClockAloneExpiresAKey(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-e", nil)
	client := w.keys(t, "kv-e")
	expires := w.clock.Now().Add(time.Hour)
	must[azkeys.CreateKeyResponse](t)(client.CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA), KeyAttributes: &azkeys.KeyAttributes{Expires: &expires}}, nil))
	wrap := func() error {
		_, err := client.WrapKey(t.Context(), "k", "", azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP), Value: []byte("dek")}, nil)
		return err
	}
	if err := wrap(); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Hour)
	want(t, wrap(), 403, "KeyExpired")
}

func TestKeyMaterialIsNowhereInTheStateFile(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-m", func(p *armkeyvault.VaultProperties) { p.SKU.Name = new(armkeyvault.SKUNamePremium) })
	private := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	must[azkeys.ImportKeyResponse](t)(w.keys(t, "kv-m").ImportKey(t.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private)}, nil))
	w.assertNotStored(t, private.D.Bytes(), private.Primes[0].Bytes(), private.Primes[1].Bytes())
}
