package keyvault_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

const day = 24 * time.Hour

func rotateAfter(create, expiry string) azkeys.KeyRotationPolicy {
	p := azkeys.KeyRotationPolicy{
		Attributes: &azkeys.KeyRotationPolicyAttributes{},
		LifetimeActions: []*azkeys.LifetimeAction{{
			Action: &azkeys.LifetimeActionType{Type: new(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: &create},
		}},
	}
	if expiry != "" {
		p.Attributes.ExpiryTime = &expiry
	}
	return p
}

// versions counts those of the key k.
func (w *world) versions(t *testing.T, vault string) int {
	t.Helper()
	page := must[azkeys.ListKeyPropertiesVersionsResponse](t)(w.keys(t, vault).NewListKeyPropertiesVersionsPager("k", nil).NextPage(t.Context()))
	return len(page.Value)
}

func TestRotateMakesANewVersionOfTheSameKind(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-ro", nil)
	client := w.keys(t, "kv-ro")
	for name, parameters := range map[string]azkeys.CreateKeyParameters{
		"rsa": {Kty: new(azkeys.KeyTypeRSA), KeySize: new(int32(3072)), KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationWrapKey)}, Tags: map[string]*string{"a": new("b")}},
		"ec":  {Kty: new(azkeys.KeyTypeEC), Curve: new(azkeys.CurveNameP384)},
	} {
		old := must[azkeys.CreateKeyResponse](t)(client.CreateKey(t.Context(), name, parameters, nil)).KeyBundle
		got := must[azkeys.RotateKeyResponse](t)(client.RotateKey(t.Context(), name, nil)).KeyBundle
		if *got.Key.KID == *old.Key.KID || len(got.Key.N) != len(old.Key.N) || len(got.Key.X) != len(old.Key.X) || opsOf(got) != opsOf(old) || len(got.Tags) != len(old.Tags) {
			t.Errorf("%s rotated to %+v", name, got.Key)
		}
		if string(got.Key.N)+string(got.Key.X) == string(old.Key.N)+string(old.Key.X) {
			t.Errorf("%s has the same material as before", name)
		}
	}
	_, err := client.RotateKey(t.Context(), "none", nil)
	want(t, err, 404, "KeyNotFound")
}

func TestRotationPolicyIsKept(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-rp", nil)
	client := w.keys(t, "kv-rp")
	w.createRSA(t, "kv-rp", "k")
	start := must[azkeys.GetKeyRotationPolicyResponse](t)(client.GetKeyRotationPolicy(t.Context(), "k", nil))
	if len(start.LifetimeActions) != 1 || *start.LifetimeActions[0].Action.Type != azkeys.KeyRotationPolicyActionNotify {
		t.Errorf("a key without a policy shows %+v", start.KeyRotationPolicy)
	}
	must[azkeys.UpdateKeyRotationPolicyResponse](t)(client.UpdateKeyRotationPolicy(t.Context(), "k", rotateAfter("P18M", "P2Y"), nil))
	got := must[azkeys.GetKeyRotationPolicyResponse](t)(client.GetKeyRotationPolicy(t.Context(), "k", nil))
	if *got.ID != "https://kv-rp.vault.azure.net/keys/k/rotationpolicy" || *got.Attributes.ExpiryTime != "P2Y" || *got.LifetimeActions[0].Trigger.TimeAfterCreate != "P18M" || got.Attributes.Created == nil {
		t.Errorf("read back %+v", got.KeyRotationPolicy)
	}
	rotated := must[azkeys.RotateKeyResponse](t)(client.RotateKey(t.Context(), "k", nil))
	if wanted := rotated.Attributes.Created.AddDate(2, 0, 0); !rotated.Attributes.Expires.Equal(wanted) {
		t.Errorf("the new version expires %s, not %s", rotated.Attributes.Expires, wanted)
	}
	_, err := client.GetKeyRotationPolicy(t.Context(), "none", nil)
	want(t, err, 404, "KeyNotFound")
}

func TestRotationPolicyRefusals(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-rr", nil)
	w.createRSA(t, "kv-rr", "k")
	action := func(kind string, trigger map[string]any) map[string]any {
		return map[string]any{"action": map[string]any{"type": kind}, "trigger": trigger}
	}
	after := func(text string) map[string]any { return map[string]any{"timeAfterCreate": text} }
	before := func(text string) map[string]any { return map[string]any{"timeBeforeExpiry": text} }
	tests := []struct {
		name, expiry string
		actions      []any
	}{
		{"an expiry under 28 days", "P27D", nil},
		{"an expiry that is no duration", "a year", nil},
		{"a trigger that is no duration", "", []any{action("Rotate", after("soon"))}},
		{"a rotation under 7 days after creation", "", []any{action("Rotate", after("P6D"))}},
		{"a rotation in the last week before expiry", "P30D", []any{action("Rotate", after("P24D"))}},
		{"a rotation before an expiry that there is not", "", []any{action("Rotate", before("P30D"))}},
		{"a rotation within a week of creation", "P30D", []any{action("Rotate", before("P24D"))}},
		{"both triggers at once", "P90D", []any{action("Rotate", map[string]any{"timeAfterCreate": "P30D", "timeBeforeExpiry": "P30D"})}},
		{"no trigger", "P90D", []any{action("Rotate", map[string]any{})}},
		{"an unknown action", "P90D", []any{action("Explode", after("P30D"))}},
		{"two rotations", "P90D", []any{action("Rotate", after("P30D")), action("rotate", after("P40D"))}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body := map[string]any{"lifetimeActions": test.actions, "attributes": map[string]any{"expiryTime": test.expiry}}
			wantRaw(t, w.data(t, http.MethodPut, "kv-rr", "/keys/k/rotationpolicy", body), 400, "BadParameter")
		})
	}
	wantRaw(t, w.data(t, http.MethodPut, "kv-rr", "/keys/none/rotationpolicy", map[string]any{}), 404, "KeyNotFound")
}

func TestPolicyRotatesByTheClock(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-auto", nil)
	client := w.keys(t, "kv-auto")
	first := w.createRSA(t, "kv-auto", "k")
	must[azkeys.UpdateKeyRotationPolicyResponse](t)(client.UpdateKeyRotationPolicy(t.Context(), "k", rotateAfter("P30D", "P60D"), nil))
	w.clock.Advance(30*day - time.Minute)
	if n := w.versions(t, "kv-auto"); n != 1 {
		t.Fatalf("%d versions before the time has come", n)
	}
	w.clock.Advance(time.Hour)
	got := must[azkeys.GetKeyResponse](t)(client.GetKey(t.Context(), "k", "", nil))
	if n := w.versions(t, "kv-auto"); n != 2 || *got.Key.KID == *first.Key.KID {
		t.Fatalf("%d versions after the time has come, the latest is %s", n, *got.Key.KID)
	}
	if wanted := first.Attributes.Created.Add(30 * day); !got.Attributes.Created.Equal(wanted) || !got.Attributes.Expires.Equal(wanted.Add(60*day)) {
		t.Errorf("rotated at %s until %s, not at %s", got.Attributes.Created, got.Attributes.Expires, wanted)
	}
	w.clock.Advance(90 * day)
	if n := w.versions(t, "kv-auto"); n != 5 {
		t.Errorf("%d versions after four periods", n)
	}
	must[azkeys.UpdateKeyRotationPolicyResponse](t)(client.UpdateKeyRotationPolicy(t.Context(), "k", azkeys.KeyRotationPolicy{LifetimeActions: []*azkeys.LifetimeAction{}}, nil))
	w.clock.Advance(90 * day)
	if n := w.versions(t, "kv-auto"); n != 5 {
		t.Errorf("%d versions after the policy has gone", n)
	}
}

func TestRotationBeforeExpiryFollowsTheVersionsOwnDate(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-exp", nil)
	client := w.keys(t, "kv-exp")
	expires := w.clock.Now().Add(40 * day).Truncate(time.Second)
	must[azkeys.CreateKeyResponse](t)(client.CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC), KeyAttributes: &azkeys.KeyAttributes{Expires: &expires}}, nil))
	policy := rotateAfter("", "P90D")
	policy.LifetimeActions[0].Trigger = &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: new("P10D")}
	must[azkeys.UpdateKeyRotationPolicyResponse](t)(client.UpdateKeyRotationPolicy(t.Context(), "k", policy, nil))
	w.clock.Advance(29 * day)
	if n := w.versions(t, "kv-exp"); n != 1 {
		t.Fatalf("%d versions after 29 days", n)
	}
	w.clock.Advance(2 * day)
	if n := w.versions(t, "kv-exp"); n != 2 {
		t.Fatalf("%d versions after 31 days", n)
	}
}

func TestDeletedKeysRotateOnlyAfterRecovery(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-del", func(p *armkeyvault.VaultProperties) { p.EnablePurgeProtection = new(true) })
	client := w.keys(t, "kv-del")
	w.createEC(t, "kv-del", "k", azkeys.CurveNameP256)
	must[azkeys.UpdateKeyRotationPolicyResponse](t)(client.UpdateKeyRotationPolicy(t.Context(), "k", rotateAfter("P30D", ""), nil))
	must[azkeys.DeleteKeyResponse](t)(client.DeleteKey(t.Context(), "k", nil))
	w.clock.Advance(45 * day)
	must[azkeys.RecoverDeletedKeyResponse](t)(client.RecoverDeletedKey(t.Context(), "k", nil))
	if n := w.versions(t, "kv-del"); n != 2 {
		t.Errorf("%d versions after recovery", n)
	}
	w.clock.Advance(30 * day)
	must[armkeyvault.VaultsClientDeleteResponse](t)(w.vaults(t).Delete(t.Context(), group, "kv-del", nil))
	w.clock.Advance(30 * day)
	w.makeVault(t, "kv-del", func(p *armkeyvault.VaultProperties) { p.CreateMode = new(armkeyvault.CreateModeRecover) })
	if n := w.versions(t, "kv-del"); n != 4 {
		t.Errorf("%d versions after the vault's recovery", n)
	}
}
