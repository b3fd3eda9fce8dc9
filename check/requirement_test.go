package check_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func TestRequirementsOfTheArticle(t *testing.T) {
	w := tdetest.Article()
	var got []string
	for _, r := range check.Requirements(w.Topology, onePerRegion(), tdetest.Now()) {
		line := r.Server + " " + r.Key.Name
		for _, owner := range r.Owners {
			line += " for " + owner
		}
		if r.Exact {
			line += ", exactly"
		}
		if r.Met() {
			line += ", met"
		}
		if r.Change {
			line += ", to be validated"
		}
		got = append(got, line)
	}
	want := []string{
		"tdeprimarytest tey for tdesecondarytest, to be validated",
		"tdeprimarytest subham for tdeprimarytest, exactly, to be validated",
		"tdeprimarytest shared for tdeprimarytest for tdesecondarytest, exactly, met",
		"tdesecondarytest tey for tdesecondarytest, exactly, to be validated",
		"tdesecondarytest subham for tdeprimarytest, to be validated",
		"tdesecondarytest shared for tdeprimarytest for tdesecondarytest, exactly, met",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// A copy of a key's material serves a partner that has not registered the key
// itself as well as the key would, so which of them is used depends on what the
// other requirements make possible. A partner that has it must use it.
func TestCopiesAreChosenSoThatNothingIsDoneInVain(t *testing.T) {
	original, copied := key("https://vaulta.vault.azure.net/keys/original/1"), key("https://vaultb.vault.azure.net/keys/copied/1")
	needed := key("https://vaultb.vault.azure.net/keys/needed/1")
	// world has a partner of two servers, whose protectors are the original
	// and, in the vault of its copy, a key that the partner may not use yet.
	world := func() *tdetest.World {
		w := &tdetest.World{}
		w.AddKey(original, "material")
		w.AddKey(copied, "material")
		w.AddKey(needed, "other material")
		for _, name := range []string{"one", "partner", "two"} {
			w.AddServer(name, "North Europe")
		}
		w.AddGroup("fog-one", "one", []string{"partner"}, "a")
		w.AddGroup("fog-two", "two", []string{"partner"}, "b")
		w.Grant("one", "vaulta")
		w.Grant("two", "vaultb")
		w.Register("one", original)
		w.SetProtector("one", original, false)
		w.Register("two", needed)
		w.SetProtector("two", needed, false)
		w.Settle()
		return w
	}
	tests := []struct {
		name   string
		change func(w *tdetest.World)
		use    string
	}{
		{"the original, where nothing else is at hand", func(*tdetest.World) {}, original.String()},
		{"the copy that is registered and usable", func(w *tdetest.World) { w.Register("partner", copied); w.Grant("partner", "vaultb") }, copied.String()},
		{"the copy whose vault must be granted anyway, not a grant for the original", func(w *tdetest.World) {
			w.Register("partner", copied)
			w.Register("partner", needed)
		}, copied.String()},
		{"the original that is registered and not granted, though the copy's vault must be granted anyway", func(w *tdetest.World) {
			w.Register("partner", original)
			w.Register("partner", copied)
			w.Register("partner", needed)
		}, original.String()},
		{"the original that is registered and not granted, though the copy is registered and usable", func(w *tdetest.World) {
			w.Register("partner", original)
			w.Register("partner", copied)
			w.Grant("partner", "vaultb")
		}, original.String()},
		{"the copy whose vault must be granted anyway, not a registration of the original", func(w *tdetest.World) {
			w.Grant("partner", "vaulta")
			w.Register("partner", copied)
		}, copied.String()},
		{"the copy, where the original is disabled and not registered", func(w *tdetest.World) {
			w.Register("partner", copied)
			w.Grant("partner", "vaulta")
			w.AtKey(original).Enabled = false
		}, copied.String()},
		{"the original that is registered, though it is disabled", func(w *tdetest.World) {
			w.Register("partner", original)
			w.Register("partner", copied)
			w.Grant("partner", "vaulta")
			w.Grant("partner", "vaultb")
			w.AtKey(original).Enabled = false
		}, original.String()},
		{"the original, where the copy is disabled", func(w *tdetest.World) {
			w.Register("partner", copied)
			w.Grant("partner", "vaultb")
			w.AtKey(copied).Enabled = false
		}, original.String()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world()
			tt.change(w)
			for _, r := range check.Requirements(w.Topology, nil, tdetest.Now()) {
				if r.Server == "partner" && r.Key == original && r.Use.String() != tt.use {
					t.Fatalf("uses %s, want %s", r.Use, tt.use)
				}
			}
		})
	}
}

// Registering the very key takes a copy's place: what is to be registered counts
// as registered, so that the key has to be usable too.
func TestAPlannedRegistrationOfTheKeyItselfEndsItsCopysUse(t *testing.T) {
	original, copied := key("https://vaulta.vault.azure.net/keys/original/1"), key("https://vaultb.vault.azure.net/keys/copied/1")
	w := &tdetest.World{}
	w.AddKey(original, "material")
	w.AddKey(copied, "material")
	for _, name := range []string{"one", "partner"} {
		w.AddServer(name, "North Europe")
	}
	w.AddGroup("fog", "one", []string{"partner"}, "a")
	w.Grant("one", "vaulta")
	w.Grant("partner", "vaultb")
	w.Register("one", original)
	w.SetProtector("one", original, false)
	w.Register("partner", copied)
	w.Settle()
	yes := true
	for _, tt := range []struct {
		name    string
		desired check.Desired
		use     string
		met     bool
	}{
		{"nothing is to be registered", nil, copied.String(), true},
		{"the owner is to rotate by itself", check.Desired{"one": {Key: original, AutoRotation: &yes}}, original.String(), false},
		{"the partner is to have it as its protector", check.Desired{"partner": {Key: original}}, original.String(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := false
			for _, r := range check.Requirements(w.Topology, tt.desired, tdetest.Now()) {
				if r.Server == "partner" && r.Key == original {
					seen = true
					if r.Use.String() != tt.use || r.Met() != tt.met {
						t.Errorf("%+v", r)
					}
				}
			}
			if !seen {
				t.Error("the partner needs nothing")
			}
		})
	}
}

// Copies of a key have the same thumbprint: what wraps a DEK is then taken to be
// the primary's protector, else what every holder can open.
func TestTheWrappingKeyIsToldFromItsCopies(t *testing.T) {
	w := tdetest.Article()
	w.AddKey(key(copyOfShared), tdetest.Shared)
	w.Grant(first, "testcopy")
	w.Grant(second, "testcopy")
	w.Register(second, key(copyOfShared))
	w.SetProtector(second, key(copyOfShared), false)
	wrapping := func(why, want string) {
		t.Helper()
		got, _ := check.WrappingKey(w.Topology, []string{first, second}, second, tdetest.Thumbprint(tdetest.Shared), tdetest.Now())
		if got.String() != want {
			t.Errorf("%s: %s, want %s", why, got, want)
		}
	}
	wrapping("the primary's protector", tdetest.Shared)
	w.SetProtector(first, tde.KeyID{}, false)
	wrapping("the protector of the replica's own server", copyOfShared)
	w.Revoke(second, "testcopy")
	wrapping("the one that both can open", tdetest.Shared)
	w.SetProtector(first, key(tdetest.Shared), false)
	w.Revoke(second, "testshared")
	wrapping("the primary's protector, though the replica's server cannot open it", tdetest.Shared)
	w.SetProtector(first, tde.KeyID{}, false)
	wrapping("none can be opened by both: the replica's own", copyOfShared)
	w.At(first).Keys, w.At(second).Keys = nil, nil
	w.SetProtector(second, tde.KeyID{}, false)
	wrapping("none is registered", "")
}
