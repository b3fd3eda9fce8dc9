package keyvault

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

func FuzzParsePath(f *testing.F) {
	for _, path := range []string{"/keys", "//keys/k/create", "/keys/k//wrapkey", "/keys/restore", "/deletedkeys/k/recover", "/keys/k/0123456789abcdef0123456789abcdef/sign", "/secrets/s", "/", ""} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			f.Add(method, path)
		}
	}
	operations := dataOperations()
	f.Fuzz(func(t *testing.T, method, path string) {
		target, refusal := parsePath(method, path)
		if refusal != nil {
			if refusal.Status < 400 || refusal.Status >= 500 || refusal.Code == "" {
				t.Fatalf("%s %q is refused with %+v", method, path, refusal)
			}
			return
		}
		if _, known := operations[target.op]; !known {
			t.Fatalf("%s %q is operation %q, which there is not", method, path, target.op)
		}
		if target.key != "" && !validKeyName(target.key) || target.version != "" && !validVersion(target.version) {
			t.Fatalf("%s %q gave %+v", method, path, target)
		}
	})
}

func FuzzHost(f *testing.F) {
	for _, host := range []string{"kv.vault.azure.net", "KV.vault.localhost:8443", "localhost:1", "[::1]:8443", ""} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		a := parseHost(host)
		if strings.Contains(a.vault, ".") || !strings.HasPrefix(a.resource, "https://") || a.suffix == "" {
			t.Fatalf("%q gave %+v", host, a)
		}
	})
}

func FuzzRequestBodies(f *testing.F) {
	for _, body := range []string{
		`{"kty":"RSA","key_size":2048,"key_ops":["wrapKey"],"attributes":{"exp":1},"tags":{"a":"b"}}`, `{"alg":"RSA-OAEP","value":"AAAA"}`,
		`{"attributes":{"expiryTime":"P30D"},"lifetimeActions":[{"trigger":{"timeAfterCreate":"P8D"},"action":{"type":"Rotate"}}]}`, `null`, `[]`, `{"value":"="}`,
	} {
		f.Add([]byte(body))
	}
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{&createRequest{}, &importRequest{}, &updateRequest{}, &cryptRequest{}, &rotationPolicy{}} {
			if err := decodeBody(body, into); err != nil {
				if asDataError(err).Status != 400 {
					t.Fatalf("%s is refused with %v", body, err)
				}
				continue
			}
			policy, ok := into.(*rotationPolicy)
			if !ok || policy.check(now) != nil {
				continue
			}
			// A policy that was accepted never rotates into the past.
			if at, rotating := policy.rotationAfter(now.Unix(), policy.expiryOf(now)); rotating && at.Before(now.AddDate(0, 0, minTriggerDays)) {
				t.Fatalf("%s rotates at %s", body, at)
			}
		}
	})
}

// fuzzKey is a key that protects nothing.
const fuzzKey = `{"kty":"RSA","n":"1zP-IqfYRE22tYJQb0-LgnDMcPENsobElNyxiZ4pMxnEKkdDvnMfdYKGJTkWMv6GkJenLMw8-k199Z8bFBlaHfZwAMGl25FcKryKruwLSLrf9pVuDr33Gk_OJikpTmUMSDPQhXAqfHlF3HJrvUhm9dKboNJ6e1ZNPbfAjyBE4Vc","e":"AQAB","d":"U5kIb4j5K6tuvvrU6TCi1rSfzn3tnrzYj6VduEJ-6bFoMS5G5CxPe7QNDVesRnn2ZyPqVq4uP-Oreydn-vpQNV4Wb99iz2goCwdL980q6qNZlAfGCQhqNbhmWxudi6VNYXlJOASCUHKoBZ2-s0dTEfvfh5_BXt61TAyYdf0muKk","p":"5WHhyrbwrE6UgzoGf5ISjc_KZscE61tDSkTNcwXYub-sVRvOSXjo45NaBQ_A-3nu-KVVWMr5_4SHKA2BzHh8Dw","q":"8CzlfmKYETe6VxHPPe8ey0utfQpEzymKtCVX_N4wbEP9C59MjLWPFxfC68ZflDiyak9P13QzgMOwEk-ulSCeOQ"}`

func FuzzImportJWK(f *testing.F) {
	good := []byte(fuzzKey)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("AQAB"), []byte("AA"), 1))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"li86GrOlNxhcyInofgyKTYvekq3QGpspRuByNRSR5CM","y":"ypRUUQHi84SwobPHhHHDzqXSPGPUvvijyt-i6AiQA0Y","d":"iSHNXO4xIu4VArH0o-PLYrKy6VaJxvjEGQVT-rz1IU4"}`))
	f.Add([]byte(`{"kty":"EC-HSM","crv":"P-521","x":"AA","y":"AA","d":"AA"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AA","e":"AQAB","d":"AQ","p":"AA","q":"AA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var jwk importJWK
		if decodeBody(text, &jwk) != nil {
			return
		}
		private, err := jwk.private()
		if err != nil {
			if asDataError(err).Status != 400 {
				t.Fatalf("%s is refused with %v", text, err)
			}
			return
		}
		if public := publicOf(private); public.N == "" && public.X == "" {
			t.Fatalf("%s was taken, and has no public part", text)
		}
	})
}

func FuzzBackup(f *testing.F) {
	sealer, err := store.OpenSealer(filepath.Join(f.TempDir(), "root.key"))
	if err != nil {
		f.Fatal(err)
	}
	s := &Service{Options: Options{Sealer: sealer}}
	f.Add([]byte(backupMark))
	f.Add(append([]byte(backupMark), sealer.Seal([]byte(`{"key":{"versions":[{"id":"a"}]},"material":{"a":"AA=="}}`), backupName)...))
	f.Add(append([]byte(backupMark), sealer.Seal([]byte(`{}`), backupName)...))
	f.Add([]byte("something else"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if b, err := s.readBackup(blob); err == nil {
			t.Fatalf("nobody made this backup: %+v", b)
		} else if asDataError(err).Status != 400 {
			t.Fatalf("refused with %v", err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"P90D", "P1Y6M", "P2W", "PT12H", "P1Y2M3W4DT5H6M7S", "P", "PT", "P1M1Y", "P-1D", "P99999999999D", "1D"} {
		f.Add(text)
	}
	at := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if d.after(at).Before(at) || d.before(at).After(at) {
			t.Fatalf("%q leads backwards", text)
		}
	})
}

func TestDurations(t *testing.T) {
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	for text, wanted := range map[string]time.Time{
		"P90D": at.AddDate(0, 0, 90), "P1Y": at.AddDate(1, 0, 0), "P1Y6M": at.AddDate(1, 6, 0), "P2W": at.AddDate(0, 0, 14), "PT12H": at.Add(12 * time.Hour),
		"P1M": at.AddDate(0, 1, 0), "PT1M": at.Add(time.Minute), "P1DT1H1M1S": at.AddDate(0, 0, 1).Add(time.Hour + time.Minute + time.Second),
	} {
		d, err := parseDuration(text)
		if err != nil || !d.after(at).Equal(wanted) || !d.before(wanted).Equal(at) {
			t.Errorf("%s gave %s and back %s (%v)", text, d.after(at), d.before(wanted), err)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1", "P1X", "P1D1Y", "P1M1Y", "90D", "P-1D", "P1.5D", "PT1D", "P1YT", "P1D1D", "P100000D", " P1D"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("%q was read as %+v", text, d)
		}
	}
}
