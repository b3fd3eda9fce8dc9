package authorization

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

func service(t *testing.T, profile latency.Profile) *Service {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(Options{Store: s, Clock: clock.New(0), Latency: profile, NewID: uuid.NewString})
}

func TestActionsMatchAsAzureMatchesThem(t *testing.T) {
	for _, each := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Microsoft.Sql/servers/write", true},
		{"*/read", "Microsoft.Sql/servers/read", true},
		{"*/read", "Microsoft.Sql/servers/write", false},
		{"Microsoft.Authorization/*/Write", "microsoft.authorization/roleassignments/write", true},
		{"Microsoft.Sql/servers/*", "Microsoft.Sql/servers/databases/read", true},
		{"Microsoft.Sql/servers/*", "Microsoft.Sql/serversx", false},
		{"Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/read", true},
		{"Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/wrap/action", false},
	} {
		if got := anyMatch([]string{each.pattern}, each.action); got != each.want {
			t.Errorf("%s on %s: %t", each.pattern, each.action, got)
		}
	}
}

func TestAssignmentsHoldAtTheirScopeAndBelow(t *testing.T) {
	s := service(t, latency.Instant())
	const group = "/subscriptions/s/resourceGroups/g"
	caller := entra.Claims{ObjectID: "someone"}
	err := s.Store.Update(func(tx *store.Tx) error {
		if err := s.Assign(tx, "someone", "Contributor", group); err != nil {
			return err
		}
		return s.Assign(tx, "someone", "Key Vault Crypto Service Encryption User", group+"/providers/Microsoft.KeyVault/vaults/v")
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range []struct {
		action, scope string
		data, want    bool
	}{
		{"Microsoft.Sql/servers/write", group + "/providers/Microsoft.Sql/servers/x", false, true},
		{"Microsoft.Sql/servers/write", "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/providers/Microsoft.Sql/servers/x", false, true},
		{"Microsoft.Sql/servers/write", "/subscriptions/s/resourceGroups/g2", false, false},
		{"Microsoft.Sql/servers/write", "/subscriptions/s", false, false},
		{"Microsoft.Authorization/roleAssignments/write", group, false, false},
		{"Microsoft.Authorization/roleAssignments/read", group, false, true},
		{"Microsoft.KeyVault/vaults/keys/wrap/action", group + "/providers/Microsoft.KeyVault/vaults/v", true, true},
		{"Microsoft.KeyVault/vaults/keys/delete", group + "/providers/Microsoft.KeyVault/vaults/v", true, false},
		{"Microsoft.KeyVault/vaults/keys/wrap/action", group + "/providers/Microsoft.KeyVault/vaults/other", true, false},
	} {
		err := s.Store.View(func(tx *store.Tx) error {
			decide := s.Authorize
			if each.data {
				decide = s.AuthorizeData
			}
			got, err := decide(tx, caller, each.action, each.scope)
			if got != each.want {
				t.Errorf("%s at %s: %t", each.action, each.scope, got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownRoleIsNotAssigned(t *testing.T) {
	s := service(t, latency.Instant())
	if err := s.Store.Update(func(tx *store.Tx) error { return s.Assign(tx, "someone", "Emperor", "/") }); err == nil {
		t.Fatal("a role that is none was assigned")
	}
}

func TestDeletedAssignmentKeepsItsEffectOnDataForTenMinutes(t *testing.T) {
	s := service(t, latency.Azure(1))
	now := s.Clock.Now()
	caller := entra.Claims{ObjectID: "someone"}
	put := func(a assignment) {
		t.Helper()
		if err := s.Store.Update(func(tx *store.Tx) error { return s.assignments.Put(tx, assignmentKey(a.Principal, a.Name), a) }); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, wantControl, wantData bool) {
		t.Helper()
		err := s.Store.View(func(tx *store.Tx) error {
			control, err := s.Authorize(tx, caller, "Microsoft.EventGrid/eventSubscriptions/read", "/x")
			if err != nil {
				return err
			}
			data, err := s.AuthorizeData(tx, caller, "Microsoft.KeyVault/vaults/keys/read", "/x")
			if control != wantControl || data != wantData {
				t.Errorf("%s: control %t, data %t", what, control, data)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	a := assignment{Name: "a", Principal: "someone", Scope: "/x", Role: "e147488a-f6f5-4113-8e2d-b22465e65bf6", Created: now, InForce: now.Add(10 * time.Minute)}
	put(a)
	check("fresh", true, false)
	s.Clock.Advance(10 * time.Minute)
	check("after ten minutes", true, true)
	a.Deleted, a.EndsAt = true, s.Clock.Now().Add(10*time.Minute)
	put(a)
	check("just deleted", false, true)
	s.Clock.Advance(10 * time.Minute)
	check("ten minutes after its deletion", false, false)
}

func TestBuiltInRolesHaveDistinctIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range builtIn() {
		if _, err := uuid.Parse(r.ID); err != nil || seen[r.ID] {
			t.Errorf("%s: id %s: %v", r.Name, r.ID, err)
		}
		seen[r.ID] = true
	}
}

// Whatever stands in $filter is read or refused, never a panic.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"", "atScope()", "principalId eq 'x' and atScope()", "assignedTo('x')", "roleName eq 'Owner'", "x eq y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseFilter(text); err != nil && got != (filter{}) {
			t.Fatalf("%q: refused, and read as %+v", text, got)
		}
	})
}
