package check_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
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

// A copy of a key's material serves a partner as well as the key itself, so
// which of them is used depends on what the other requirements make possible.
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
			w.Register("partner", original)
			w.Register("partner", copied)
			w.Register("partner", needed)
		}, copied.String()},
		{"the copy whose vault must be granted anyway, not a registration of the original", func(w *tdetest.World) {
			w.Grant("partner", "vaulta")
			w.Register("partner", copied)
		}, copied.String()},
		{"the copy, where the original is disabled", func(w *tdetest.World) {
			w.Register("partner", original)
			w.Register("partner", copied)
			w.Grant("partner", "vaulta")
			w.AtKey(original).Enabled = false
		}, copied.String()},
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
