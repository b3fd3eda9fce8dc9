package entra

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/store"
)

// forge makes a token of any header and claims, signed by sign.
func forge(t testing.TB, header, claims map[string]any, sign func(signed []byte) []byte) string {
	t.Helper()
	var parts []string
	for _, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	signed := strings.Join(parts, ".")
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(signed)))
}

func signWith(t testing.TB, key *rsa.PrivateKey) func([]byte) []byte {
	t.Helper()
	return func(signed []byte) []byte {
		digest := sha256.Sum256(signed)
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
}

func TestVerify(t *testing.T) {
	s, _ := newTenant(t)
	key, err := s.signingKey()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := s.Clock.Now()
	goodHeader := map[string]any{"typ": "JWT", "alg": "RS256", "kid": key.id}
	goodClaims := map[string]any{
		"aud": vaultResource, "iss": "https://sts.windows.net/" + testTenant + "/", "tid": testTenant,
		"oid": testObject, "appid": testApp, "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	with := func(base map[string]any, changes ...any) map[string]any {
		changed := maps.Clone(base)
		for i := 0; i < len(changes); i += 2 {
			if changes[i+1] == nil {
				delete(changed, changes[i].(string)) //nolint:errcheck // the cases below
				continue
			}
			changed[changes[i].(string)] = changes[i+1] //nolint:errcheck // the cases below
		}
		return changed
	}
	ours := signWith(t, key.private)
	claimed := func(changes ...any) string { return forge(t, goodHeader, with(goodClaims, changes...), ours) }
	headed := func(sign func([]byte) []byte, changes ...any) string {
		return forge(t, with(goodHeader, changes...), goodClaims, sign)
	}
	good := claimed()
	publicPEM := publicKeyPEM(t, &key.private.PublicKey)
	hmacWith := func(secret []byte) func([]byte) []byte {
		return func(signed []byte) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write(signed)
			return mac.Sum(nil)
		}
	}
	for _, c := range []struct {
		name  string
		token string
		want  Check // empty: it is taken
	}{
		{"a good token is taken", good, ""},
		{"an audience with a slash at its end is taken", claimed("aud", vaultResource+"/"), ""},
		{"an issuer of version 2 is taken", claimed("iss", "https://login.microsoftonline.com/"+testTenant+"/v2.0"), ""},
		{"an issuer of a sovereign cloud is taken", claimed("iss", "https://login.microsoftonline.us/"+testTenant+"/v2.0"), ""},
		{"an issuer at the lab's own address is taken", claimed("iss", testBase+"/"+testTenant+"/v2.0"), ""},
		{"an issuer of the ADFS form is taken", claimed("iss", testBase+"/adfs"), ""},
		{"no token at all is refused", "", CheckForm},
		{"an opaque string is refused", "opaque", CheckForm},
		{"two parts are refused", "a.b", CheckForm},
		{"an encrypted token of five parts is refused", "a.b.c.d.e", CheckForm},
		{"a header that is no base64 is refused", "!" + good, CheckForm},
		{"a signature with padding is refused", good + "=", CheckForm},
		{"a token of absurd length is refused", good + strings.Repeat("A", maxTokenLen), CheckForm},
		{"an unknown critical extension is refused", headed(ours, "crit", []string{"b64"}), CheckForm},
		{"a token without exp is refused", claimed("exp", nil), CheckForm},
		{"a token without oid is refused", claimed("oid", nil), CheckForm},
		{"an exp that is no whole number is refused", claimed("exp", "tomorrow"), CheckForm},
		{"a token by a foreign key is refused", headed(signWith(t, foreign)), CheckSignature},
		{"a foreign key id is refused", headed(ours, "kid", "another"), CheckSignature},
		{"a token without key id is refused", headed(ours, "kid", nil), CheckSignature},
		{"alg none is refused", headed(func([]byte) []byte { return nil }, "alg", "none"), CheckSignature},
		{"alg None in other letters is refused", headed(func([]byte) []byte { return nil }, "alg", "nOnE"), CheckSignature},
		{"HS256 with the public key as secret is refused", headed(hmacWith(publicPEM), "alg", "HS256"), CheckSignature},
		{"HS256 with the modulus as secret is refused", headed(hmacWith(key.private.N.Bytes()), "alg", "HS256"), CheckSignature},
		{"an HMAC that calls itself RS256 is refused", headed(hmacWith(publicPEM)), CheckSignature},
		{"RS512 is refused", headed(ours, "alg", "RS512"), CheckSignature},
		{"claims changed after signing are refused", swapClaims(t, good, with(goodClaims, "oid", "another")), CheckSignature},
		{"another tenant's issuer is refused", claimed("iss", "https://sts.windows.net/99999999-9999-4999-8999-999999999999/"), CheckIssuer},
		{"another tenant's tid is refused", claimed("tid", "99999999-9999-4999-8999-999999999999"), CheckIssuer},
		{"an issuer on another host is refused", claimed("iss", "https://login.example.com/"+testTenant+"/v2.0"), CheckIssuer},
		{"an issuer that only begins right is refused", claimed("iss", "https://sts.windows.net/"+testTenant+"/x"), CheckIssuer},
		{"a principal that never was is refused", claimed("oid", "99999999-9999-4999-8999-999999999999"), CheckPrincipal},
		{"an audience of another service is refused", claimed("aud", "https://management.azure.com"), CheckAudience},
		{"an audience that only begins right is refused", claimed("aud", vaultResource+".example.com"), CheckAudience},
		{"an expired token is refused", claimed("exp", now.Add(-time.Second).Unix()), CheckExpiry},
		{"a token that is not yet valid is refused", claimed("nbf", now.Add(time.Minute).Unix()), CheckExpiry},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, err := s.Verify(c.token, []string{"https://vault.usgovcloudapi.net", vaultResource})
			if c.want == "" {
				if err != nil || claims.ObjectID != testObject || claims.AppID != testApp {
					t.Fatalf("got %+v, %v", claims, err)
				}
				return
			}
			failed, ok := errors.AsType[*TokenError](err)
			if !ok || failed.Check != c.want {
				t.Fatalf("got %v, want the check %s to fail", err, c.want)
			}
			if claims != (Claims{}) {
				t.Errorf("a refused token gave claims: %+v", claims)
			}
		})
	}
}

func publicKeyPEM(t testing.TB, key *rsa.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// swapClaims puts other claims into a signed token.
func swapClaims(t *testing.T, token string, claims map[string]any) string {
	t.Helper()
	parts, text := strings.Split(token, "."), []byte(nil)
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(text) + "." + parts[2]
}

func TestVerifyReadsEveryClaim(t *testing.T) {
	s, identity := newTenant(t)
	token, expires, err := s.Issue(identity.ObjectID, vaultResource)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Verify(token, []string{vaultResource})
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{
		Issuer: "https://sts.windows.net/" + testTenant + "/", Audience: vaultResource, ObjectID: identity.ObjectID, AppID: identity.AppID,
		TenantID: testTenant, NotBefore: expires.Add(-identityLifetime - notBeforeMargin), Expires: expires, ManagedIdentity: testServer,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARememberedTokenIsStillJudged(t *testing.T) {
	take := func(t *testing.T, s *Service, token string, audience string) Check {
		t.Helper()
		_, err := s.Verify(token, []string{audience})
		if failed, ok := errors.AsType[*TokenError](err); ok {
			return failed.Check
		}
		if err != nil {
			t.Fatal(err)
		}
		return ""
	}
	issue := func(t *testing.T) (*Service, Principal, string) {
		t.Helper()
		s, identity := newTenant(t)
		token, _, err := s.Issue(identity.ObjectID, vaultResource)
		if err != nil {
			t.Fatal(err)
		}
		if got := take(t, s, token, vaultResource); got != "" {
			t.Fatalf("a new token failed the check %s", got)
		}
		return s, identity, token
	}
	t.Run("it expires when the lab's clock has moved on", func(t *testing.T) {
		s, _, token := issue(t)
		s.Clock.Advance(identityLifetime - time.Minute)
		if got := take(t, s, token, vaultResource); got != "" {
			t.Errorf("a minute before its end it failed the check %s", got)
		}
		s.Clock.Advance(time.Minute)
		if got := take(t, s, token, vaultResource); got != CheckExpiry {
			t.Errorf("after its end the check was %q", got)
		}
	})
	t.Run("it is refused once its principal is deleted", func(t *testing.T) {
		s, identity, token := issue(t)
		update(t, s, func(tx *store.Tx) error { return s.DeletePrincipal(tx, identity.ObjectID) })
		if got := take(t, s, token, vaultResource); got != CheckPrincipal {
			t.Errorf("the check was %q", got)
		}
	})
	t.Run("it is still good when the deletion was rolled back", func(t *testing.T) {
		s, identity, token := issue(t)
		undone := errors.New("undone")
		err := s.Store.Update(func(tx *store.Tx) error { return errors.Join(s.DeletePrincipal(tx, identity.ObjectID), undone) })
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if got := take(t, s, token, vaultResource); got != "" {
			t.Errorf("the check was %q", got)
		}
	})
	t.Run("it is refused after the deletion also when it was asked for during that", func(t *testing.T) {
		s, identity, token := issue(t)
		update(t, s, func(tx *store.Tx) error {
			if err := s.DeletePrincipal(tx, identity.ObjectID); err != nil {
				return err
			}
			during := make(chan error)
			go func() {
				_, err := s.Verify(token, []string{vaultResource})
				during <- err
			}()
			return <-during // nothing is deleted yet
		})
		if got := take(t, s, token, vaultResource); got != CheckPrincipal {
			t.Errorf("the check was %q", got)
		}
	})
	t.Run("it opens no other service", func(t *testing.T) {
		s, _, token := issue(t)
		if got := take(t, s, token, "https://management.azure.com"); got != CheckAudience {
			t.Errorf("the check was %q", got)
		}
	})
}

func TestTrustCache(t *testing.T) {
	t.Run("it does not grow without end", func(t *testing.T) {
		var c trustCache
		for i := range maxVerified + 10 {
			c.keepVerified(0, [sha256.Size]byte{byte(i), byte(i >> 8)}, Claims{})
		}
		if len(c.verified) != maxVerified {
			t.Errorf("%d tokens are remembered, want %d", len(c.verified), maxVerified)
		}
	})
	t.Run("what was read before a deletion is not kept after it", func(t *testing.T) {
		var c trustCache
		before := c.generation()
		c.forget(testObject)
		c.keepVerified(before, [sha256.Size]byte{1}, Claims{ObjectID: testObject})
		c.keepIssued(before, testObject, issued{Audience: vaultResource})
		if _, found := c.findVerified([sha256.Size]byte{1}); found {
			t.Error("the verified token is remembered")
		}
		if _, found := c.findIssued(testObject, vaultResource); found {
			t.Error("the issued token is remembered")
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	s, _ := newTenant(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var principal Principal
			update(t, s, func(tx *store.Tx) (err error) {
				principal, err = s.CreateManagedIdentity(tx, "another", testServer)
				return err
			})
			token, _, err := s.Issue(principal.ObjectID, vaultResource)
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				if _, err := s.Verify(token, []string{vaultResource}); err != nil {
					t.Error(err)
				}
			}
			update(t, s, func(tx *store.Tx) error { return s.DeletePrincipal(tx, principal.ObjectID) })
			if _, err := s.Verify(token, []string{vaultResource}); err == nil {
				t.Error("a deleted principal's token was taken")
			}
		})
	}
	group.Wait()
}

func FuzzVerify(f *testing.F) {
	s, identity := newTenant(f)
	token, _, err := s.Issue(identity.ObjectID, vaultResource)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("")
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJSUzI1NiJ9.bnVsbA.AA")
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := s.Verify(text, []string{vaultResource})
		if err == nil && text != token {
			t.Fatalf("took %q as %+v", text, claims)
		}
		if _, ok := errors.AsType[*TokenError](err); err != nil && !ok {
			t.Fatalf("%q: not a TokenError: %v", text, err)
		}
	})
}

func BenchmarkVerifyAgain(b *testing.B) {
	s, identity := newTenant(b)
	token, _, err := s.Issue(identity.ObjectID, vaultResource)
	if err != nil {
		b.Fatal(err)
	}
	audiences := []string{vaultResource}
	for b.Loop() {
		if _, err := s.Verify(token, audiences); err != nil {
			b.Fatal(err)
		}
	}
}
