package tde_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/tde"
)

func TestParseKeyID(t *testing.T) {
	tey := tde.KeyID{Host: "testanu2.vault.azure.net", Name: "tey", Version: "29497babb0cb4af58a773104a5dd61e5"}
	tests := []struct {
		name string
		text string
		want tde.KeyID
	}{
		{"an id as Key Vault writes it", "https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5", tey},
		{"a trailing slash is dropped", "https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5/", tey},
		{"the default port is dropped", "https://testanu2.vault.azure.net:443/keys/tey/29497babb0cb4af58a773104a5dd61e5", tey},
		{"a host in capitals is the same host", "https://TestAnu2.Vault.Azure.Net/keys/tey/29497babb0cb4af58a773104a5dd61e5", tey},
		{"a versionless id", "https://testanu2.vault.azure.net/keys/tey", tey.WithoutVersion()},
		{"a versionless id with a slash", "https://testanu2.vault.azure.net/keys/tey/", tey.WithoutVersion()},
		{"a vault of another cloud", "https://v.vault.usgovcloudapi.net/keys/k/1", tde.KeyID{Host: "v.vault.usgovcloudapi.net", Name: "k", Version: "1"}},
		{"a managed HSM", "https://h.managedhsm.azure.net/keys/k/1", tde.KeyID{Host: "h.managedhsm.azure.net", Name: "k", Version: "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tde.ParseKeyID(tt.text)
			if err != nil || got != tt.want {
				t.Fatalf("ParseKeyID(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestParseKeyIDRefuses(t *testing.T) {
	tests := []struct{ name, text string }{
		{"nothing", ""},
		{"plain HTTP", "http://v.vault.azure.net/keys/k/1"},
		{"a secret's id", "https://v.vault.azure.net/secrets/k/1"},
		{"a host without a domain", "https://localhost/keys/k/1"},
		{"another port", "https://v.vault.azure.net:8443/keys/k/1"},
		{"credentials", "https://u:p@v.vault.azure.net/keys/k/1"},
		{"a query", "https://v.vault.azure.net/keys/k/1?api-version=7.4"},
		{"an empty query", "https://v.vault.azure.net/keys/k/1?"},
		{"a fragment", "https://v.vault.azure.net/keys/k/1#x"},
		{"an empty fragment", "https://v.vault.azure.net/keys/k/1#"},
		{"an escaped slash between name and version", "https://v.vault.azure.net/keys/k%2F1"},
		{"an escaped letter", "https://v.vault.azure.net/%6beys/k/1"},
		{"a doubled slash", "https://v.vault.azure.net//keys/k/1"},
		{"too many parts", "https://v.vault.azure.net/keys/k/1/2"},
		{"no name", "https://v.vault.azure.net/keys/"},
		{"a name with an underscore", "https://v.vault.azure.net/keys/a_b/1"},
		{"a name of 128 characters", "https://v.vault.azure.net/keys/" + strings.Repeat("k", 128) + "/1"},
		{"a version with a hyphen", "https://v.vault.azure.net/keys/k/1-2"},
		{"a control character", "https://v.vault.azure.net/keys/k\n/1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := tde.ParseKeyID(tt.text); err == nil {
				t.Fatalf("ParseKeyID(%q) = %+v, want an error", tt.text, got)
			}
		})
	}
}

func TestServerKeyName(t *testing.T) {
	tests := []struct {
		name string
		id   tde.KeyID
		want string
	}{
		{"vault, key and version", tde.KeyID{Host: "testanu2.vault.azure.net", Name: "tey", Version: "2949"}, "testanu2_tey_2949"},
		{"a versionless key has two parts", tde.KeyID{Host: "testanu2.vault.azure.net", Name: "tey"}, "testanu2_tey"},
		{"no key is the service's own", tde.KeyID{}, "ServiceManaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.id.ServerKeyName(); got != tt.want {
				t.Fatalf("ServerKeyName() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKeyIDIsTextInJSON(t *testing.T) {
	in := map[tde.KeyID]tde.KeyID{{Host: "v.vault.azure.net", Name: "k", Version: "1"}: {}}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"https://v.vault.azure.net/keys/k/1":""}` {
		t.Fatalf("marshalled %s, %v", text, err)
	}
	var out map[tde.KeyID]tde.KeyID
	if err := json.Unmarshal(text, &out); err != nil || len(out) != 1 {
		t.Fatalf("unmarshalled %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"https://v.vault.azure.net/keys/k/1":"no id"}`), &out); err == nil {
		t.Fatal("text that is no key id was taken")
	}
}

func TestThumbprints(t *testing.T) {
	if got := tde.NormalizeThumbprint("0xea4d88db3abb"); got != "EA4D88DB3ABB" {
		t.Errorf("NormalizeThumbprint = %s", got)
	}
	if got := tde.NormalizeThumbprint("EA4D88DB3ABB"); got != "EA4D88DB3ABB" {
		t.Errorf("NormalizeThumbprint = %s", got)
	}
	if got := tde.Thumbprint("EA4D88DB3ABB").Short(); got != "EA4D88DB…" {
		t.Errorf("Short = %s", got)
	}
	if got := tde.Thumbprint("").Short(); got != "-" {
		t.Errorf("Short of an unknown thumbprint = %s", got)
	}
}

func FuzzParseKeyID(f *testing.F) {
	for _, seed := range []string{
		"", "https://", "https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5", "https://v.vault.azure.net:443/keys/k/",
		"https://v.vault.azure.net/keys/k%2F1", "HTTPS://V.vault.azure.net/keys/K/1", "https://[::1]/keys/k/1", "https://a.b:443:443/keys/k/1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := tde.ParseKeyID(text)
		if err != nil {
			if id != (tde.KeyID{}) {
				t.Fatalf("an error together with %+v", id)
			}
			return
		}
		if id.IsZero() || id.Vault() == "" || strings.ContainsAny(id.ServerKeyName(), "/: ") {
			t.Fatalf("%q gave %+v", text, id)
		}
		again, err := tde.ParseKeyID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q gave %+v, which is written %q and read as %+v, %v", text, id, id, again, err)
		}
	})
}
