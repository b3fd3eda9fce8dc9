package tde_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func fingerprint(t *testing.T, topology tde.Topology) string {
	t.Helper()
	sum, err := topology.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestFingerprintIgnoresWhatChangesInAWorldAtRest(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *tdetest.World)
	}{
		{"nothing", func(*tdetest.World) {}},
		{"the time of reading", func(w *tdetest.World) { w.ReadAt = w.ReadAt.Add(time.Hour) }},
		{"replication progress", func(w *tdetest.World) { w.Links[0].Percent = 99.5 }},
		{"the momentary state of a DEK", func(w *tdetest.World) { w.AtDatabase(tdetest.PrimaryServer, "orders").Encryption.State = 6 }},
		{"the order of lists", func(w *tdetest.World) {
			slices.Reverse(w.Servers)
			slices.Reverse(w.Grants)
			slices.Reverse(w.AtKey(tdetest.Key(tdetest.Tey)).Operations)
		}},
		{"a DEK that was not read", func(w *tdetest.World) { w.AtDatabase(tdetest.PrimaryServer, "orders").Encryption = nil }},
	}
	want := fingerprint(t, tdetest.Article().Topology)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tdetest.Article()
			tt.change(w)
			if got := fingerprint(t, w.Topology); got != want {
				t.Fatal("the fingerprint changed")
			}
		})
	}
}

func TestFingerprintShowsWhatAPlanRestsOn(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *tdetest.World)
	}{
		{"a registered key", func(w *tdetest.World) { w.Register(tdetest.PrimaryServer, tdetest.Key(tdetest.Tey)) }},
		{"a protector", func(w *tdetest.World) { w.SetProtector(tdetest.PrimaryServer, tde.KeyID{}, false) }},
		{"auto-rotation", func(w *tdetest.World) { w.At(tdetest.PrimaryServer).Protector.AutoRotation = true }},
		{"an identity", func(w *tdetest.World) { w.At(tdetest.PrimaryServer).Identity.PrincipalID = "other" }},
		{"a role", func(w *tdetest.World) { w.Failover(tdetest.Group, tdetest.SecondaryServer) }},
		{"a link's state", func(w *tdetest.World) { w.Links[0].State = "SEEDING" }},
		{"a grant", func(w *tdetest.World) { w.Revoke(tdetest.PrimaryServer, "testanu2") }},
		{"a vault's protection", func(w *tdetest.World) { w.AtVault("testanu2").PurgeProtection = false }},
		{"a key's state", func(w *tdetest.World) { w.AtKey(tdetest.Key(tdetest.Tey)).Enabled = false }},
		{"a key's age", func(w *tdetest.World) { w.AtKey(tdetest.Key(tdetest.Tey)).Latest = false }},
		{"a database", func(w *tdetest.World) { w.AddDatabase(tdetest.PrimaryServer, "new") }},
		{"a database's status", func(w *tdetest.World) { w.AtDatabase(tdetest.PrimaryServer, "orders").Status = "Inaccessible" }},
		{"a gap in the reading", func(w *tdetest.World) { w.Unread = []tde.Unread{{What: "vault x"}} }},
	}
	was := fingerprint(t, tdetest.Article().Topology)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tdetest.Article()
			tt.change(w)
			if fingerprint(t, w.Topology) == was {
				t.Fatal("the fingerprint did not change")
			}
		})
	}
}

func TestFingerprintLeavesTheTopologyAlone(t *testing.T) {
	w := tdetest.Article()
	fingerprint(t, w.Topology)
	if w.ReadAt.IsZero() || w.Links[0].Percent != 100 || w.AtDatabase(tdetest.PrimaryServer, "orders").Encryption == nil {
		t.Fatal("the topology was changed")
	}
}

func TestFingerprintSurvivesStorageAsJSON(t *testing.T) {
	w := tdetest.Article()
	expires := tdetest.Now().AddDate(1, 0, 0).In(time.FixedZone("elsewhere", 3600))
	w.AtKey(tdetest.Key(tdetest.Tey)).Expires = &expires
	text, err := json.Marshal(w.Topology)
	if err != nil {
		t.Fatal(err)
	}
	var again tde.Topology
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if fingerprint(t, again) != fingerprint(t, w.Topology) {
		t.Fatal("the fingerprint changed")
	}
}

func TestFingerprintIsTheSameForAnEmptyAndAnAbsentList(t *testing.T) {
	bare, empty := tde.Topology{Servers: []tde.Server{{Name: "a"}}}, tde.Topology{Servers: []tde.Server{{Name: "a"}}}
	empty.Groups, empty.Links, empty.Vaults, empty.Keys, empty.Grants = []tde.FailoverGroup{}, []tde.ReplicationLink{}, []tde.Vault{}, []tde.VaultKey{}, []tde.Grant{}
	empty.Servers[0].Keys, empty.Servers[0].Databases = []tde.ServerKey{}, []tde.Database{}
	if fingerprint(t, bare) != fingerprint(t, empty) {
		t.Fatal("equal worlds have different fingerprints")
	}
}

func TestFingerprintIsTheSameInEveryTimeZone(t *testing.T) {
	a, b := tdetest.Article(), tdetest.Article()
	utc := tdetest.Now().AddDate(1, 0, 0)
	local := utc.In(time.FixedZone("elsewhere", -7*3600))
	a.AtKey(tdetest.Key(tdetest.Tey)).Expires, b.AtKey(tdetest.Key(tdetest.Tey)).Expires = &utc, &local
	a.At(tdetest.PrimaryServer).Keys[0].CreatedAt, b.At(tdetest.PrimaryServer).Keys[0].CreatedAt = utc, local
	if fingerprint(t, a.Topology) != fingerprint(t, b.Topology) {
		t.Fatal("equal worlds have different fingerprints")
	}
}

func TestPartnersFollowGroupsAndLoneLinksInBothDirections(t *testing.T) {
	w := tdetest.Article()
	w.AddServer("alone", "North Europe")
	w.AddServer("standby", "North Europe")
	w.AddDatabase(tdetest.PrimaryServer, "lone")
	w.AddDatabase("standby", "lone")
	w.AddLink(tdetest.PrimaryServer, "standby", "lone", "")
	tests := []struct {
		server string
		want   []string
	}{
		{tdetest.PrimaryServer, []string{tdetest.SecondaryServer, "standby"}},
		{"TDESECONDARYTEST", []string{tdetest.PrimaryServer}},
		{"standby", []string{tdetest.PrimaryServer}},
		{"alone", nil},
	}
	for _, tt := range tests {
		if got := w.Partners(tt.server); !slices.Equal(got, tt.want) {
			t.Errorf("Partners(%s) = %v, want %v", tt.server, got, tt.want)
		}
	}
}

func TestMayUseAddsUpGrants(t *testing.T) {
	tey := tdetest.Key(tdetest.Tey)
	one := func(g tde.Grant) tde.Grant {
		g.Server, g.Vault = "S", "TestAnu2"
		return g
	}
	tests := []struct {
		name   string
		grants []tde.Grant
		want   bool
	}{
		{"no grant", nil, false},
		{"one whole grant on the vault", []tde.Grant{one(tde.Grant{Get: true, Wrap: true, Unwrap: true})}, true},
		{"two halves", []tde.Grant{one(tde.Grant{Get: true}), one(tde.Grant{Wrap: true, Unwrap: true})}, true},
		{"get alone", []tde.Grant{one(tde.Grant{Get: true})}, false},
		{"a grant on the key", []tde.Grant{one(tde.Grant{Key: "tey", Get: true, Wrap: true, Unwrap: true})}, true},
		{"a grant on another key", []tde.Grant{one(tde.Grant{Key: "other", Get: true, Wrap: true, Unwrap: true})}, false},
		{"another server's grant", []tde.Grant{{Server: "x", Vault: "testanu2", Get: true, Wrap: true, Unwrap: true}}, false},
		{"a grant on another vault", []tde.Grant{{Server: "s", Vault: "x", Get: true, Wrap: true, Unwrap: true}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (tde.Topology{Grants: tt.grants}).MayUse("s", tey); got != tt.want {
				t.Fatalf("MayUse = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestSameMaterial(t *testing.T) {
	w := tdetest.Article()
	imported := tdetest.Key("https://other.vault.azure.net/keys/imported/1")
	w.AddKey(imported, tdetest.Tey)
	unseen := tdetest.Key("https://other.vault.azure.net/keys/unseen/1")
	tests := []struct {
		name string
		a, b tde.KeyID
		want bool
	}{
		{"a key and itself", unseen, unseen, true},
		{"an imported copy", tdetest.Key(tdetest.Tey), imported, true},
		{"a versionless id and the newest version", tdetest.Key(tdetest.Tey).WithoutVersion(), tdetest.Key(tdetest.Tey), true},
		{"two keys", tdetest.Key(tdetest.Tey), tdetest.Key(tdetest.Subham), false},
		{"a key of unknown material", tdetest.Key(tdetest.Tey), unseen, false},
		{"no key at all", tde.KeyID{}, tde.KeyID{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := w.SameMaterial(tt.a, tt.b); got != tt.want {
				t.Fatalf("SameMaterial = %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("the registered thumbprints tell where a vault was not read", func(t *testing.T) {
		w := tdetest.Article()
		w.AddKey(imported, tdetest.Tey)
		w.Register(tdetest.PrimaryServer, imported)
		w.Register(tdetest.SecondaryServer, tdetest.Key(tdetest.Tey))
		w.Keys = nil
		if !w.SameMaterial(imported, tdetest.Key(tdetest.Tey)) || w.SameMaterial(imported, tdetest.Key(tdetest.Shared)) {
			t.Fatal("thumbprints were not compared")
		}
	})
}

func TestCanonicalGivesTheVaultsSpelling(t *testing.T) {
	w := tdetest.Article()
	typed := tdetest.Key("https://testanu2.vault.azure.net/keys/TEY/29497BABB0CB4AF58A773104A5DD61E5")
	if got := w.Canonical(typed); got != tdetest.Key(tdetest.Tey) {
		t.Errorf("Canonical = %s", got)
	}
	other := tdetest.Key("https://testanu2.vault.azure.net/keys/tea/29497BABB0CB4AF58A773104A5DD61E5")
	if got := w.Canonical(other); got != other {
		t.Errorf("an unknown id became %s", got)
	}
}

func TestNewestVersionOfAKey(t *testing.T) {
	w := tdetest.Article()
	old := tdetest.Key("https://testanu2.vault.azure.net/keys/tey/0001")
	w.AddKey(old, "old")
	w.AtKey(old).Latest = false
	if k, ok := w.Newest(old); !ok || k.ID != tdetest.Key(tdetest.Tey) {
		t.Errorf("Newest = %v, %v", k.ID, ok)
	}
	if _, ok := w.Newest(tdetest.Key("https://testanu2.vault.azure.net/keys/none/1")); ok {
		t.Error("a key that does not exist has a newest version")
	}
	if k, ok := w.Resolve(old); !ok || k.ID != old {
		t.Errorf("Resolve = %v, %v", k.ID, ok)
	}
}
