package keyvault_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/crosskeys/crosskeys/lab/keyvault"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

func TestVaultIsCreatedWithTheServicesDefaults(t *testing.T) {
	w := newWorld(t, latency.Instant())
	v := w.makeVault(t, "kv-One", nil)
	p := v.Properties
	if got := *v.ID; got != vaultPath("kv-One") {
		t.Errorf("id is %s", got)
	}
	if *p.VaultURI != "https://kv-one.vault.azure.net/" || *p.ProvisioningState != "Succeeded" || *p.PublicNetworkAccess != "Enabled" {
		t.Errorf("got %s %s %s", *p.VaultURI, *p.ProvisioningState, *p.PublicNetworkAccess)
	}
	if !*p.EnableSoftDelete || *p.SoftDeleteRetentionInDays != 90 || p.EnablePurgeProtection != nil {
		t.Errorf("soft delete is %v for %d days, purge protection %v", *p.EnableSoftDelete, *p.SoftDeleteRetentionInDays, p.EnablePurgeProtection)
	}
	again := must[armkeyvault.VaultsClientGetResponse](t)(w.vaults(t).Get(t.Context(), group, "KV-ONE", nil))
	if *again.Name != "kv-One" || *again.Location != "westeurope" {
		t.Errorf("read back as %s in %s", *again.Name, *again.Location)
	}
}

func TestVaultRefusals(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-taken", func(p *armkeyvault.VaultProperties) { p.EnablePurgeProtection = new(true) })
	tests := []struct {
		name, vault string
		change      func(*armkeyvault.VaultProperties)
		status      int
		code        string
	}{
		{"a name of two characters", "kv", nil, 400, "VaultNameNotValid"},
		{"a name with consecutive hyphens", "kv--a", nil, 400, "VaultNameNotValid"},
		{"a name that begins with a digit", "1kv", nil, 400, "VaultNameNotValid"},
		{"a name that ends with a hyphen", "kva-", nil, 400, "VaultNameNotValid"},
		{"a name of 25 characters", strings.Repeat("k", 25), nil, 400, "VaultNameNotValid"},
		{"soft delete turned off", "kv-new", func(p *armkeyvault.VaultProperties) { p.EnableSoftDelete = new(false) }, 400, "BadRequest"},
		{"purge protection turned off", "kv-taken", func(p *armkeyvault.VaultProperties) { p.EnablePurgeProtection = new(false) }, 400, "BadRequest"},
		{"a retention of 6 days", "kv-new", func(p *armkeyvault.VaultProperties) { p.SoftDeleteRetentionInDays = new(int32(6)) }, 400, "BadRequest"},
		{"a retention of 91 days", "kv-new", func(p *armkeyvault.VaultProperties) { p.SoftDeleteRetentionInDays = new(int32(91)) }, 400, "BadRequest"},
		{"another retention than before", "kv-taken", func(p *armkeyvault.VaultProperties) { p.SoftDeleteRetentionInDays = new(int32(7)) }, 400, "BadRequest"},
		{"no access policies outside RBAC mode", "kv-new", func(p *armkeyvault.VaultProperties) { p.AccessPolicies = nil }, 400, "BadRequest"},
		{"an unknown sku", "kv-new", func(p *armkeyvault.VaultProperties) { p.SKU.Name = new(armkeyvault.SKUName("gold")) }, 400, "BadRequest"},
		{"no sku", "kv-new", func(p *armkeyvault.VaultProperties) { p.SKU = nil }, 400, "BadRequest"},
		{"no tenant", "kv-new", func(p *armkeyvault.VaultProperties) { p.TenantID = nil }, 400, "BadRequest"},
		{"an unknown permission", "kv-new", func(p *armkeyvault.VaultProperties) {
			p.AccessPolicies = append(p.AccessPolicies, policyFor(reader, "peek"))
		}, 400, "BadRequest"},
		{"an IP rule that is none", "kv-new", func(p *armkeyvault.VaultProperties) {
			p.NetworkACLs = &armkeyvault.NetworkRuleSet{IPRules: []*armkeyvault.IPRule{{Value: new("here")}}}
		}, 400, "BadRequest"},
		{"recovery of a vault that was not deleted", "kv-new", func(p *armkeyvault.VaultProperties) {
			p.CreateMode = new(armkeyvault.CreateModeRecover)
		}, 404, "DeletedVaultNotFound"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.tryVault(t, test.vault, test.change)
			want(t, err, test.status, test.code)
		})
	}
	v := must[armkeyvault.VaultsClientGetResponse](t)(w.vaults(t).Get(t.Context(), group, "kv-taken", nil))
	if !*v.Properties.EnablePurgeProtection || *v.Properties.SoftDeleteRetentionInDays != 90 {
		t.Error("a refused change left a trace")
	}
}

func TestVaultNamesAreGloballyUnique(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-mine", nil)
	body := map[string]any{"location": "westeurope", "properties": map[string]any{
		"tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": []any{}}}
	elsewhere := "/subscriptions/99999999-2222-2222-2222-222222222222/resourceGroups/other/providers/Microsoft.KeyVault/vaults/KV-mine"
	wantRaw(t, w.control(t, http.MethodPut, elsewhere, "2023-07-01", body), 409, "VaultAlreadyExists")

	names := func(name string) armkeyvault.VaultsClientCheckNameAvailabilityResponse {
		return must[armkeyvault.VaultsClientCheckNameAvailabilityResponse](t)(w.vaults(t).CheckNameAvailability(t.Context(),
			armkeyvault.VaultCheckNameAvailabilityParameters{Name: &name, Type: new("Microsoft.KeyVault/vaults")}, nil))
	}
	if got := names("kv-mine"); *got.NameAvailable || *got.Reason != armkeyvault.ReasonAlreadyExists {
		t.Errorf("a taken name is said to be %v", got)
	}
	if got := names("kv--mine"); *got.NameAvailable || *got.Reason != armkeyvault.ReasonAccountNameInvalid {
		t.Errorf("a malformed name is said to be %v", got)
	}
	if got := names("kv-free"); !*got.NameAvailable {
		t.Errorf("a free name is said to be %v", got)
	}
	body["location"] = "eastus"
	wantRaw(t, w.control(t, http.MethodPut, vaultPath("kv-mine"), "2023-07-01", body), 409, "InvalidResourceLocation")
	body["location"] = "mars"
	wantRaw(t, w.control(t, http.MethodPut, vaultPath("kv-mars"), "2023-07-01", body), 400, "LocationNotAvailableForResourceType")
}

func TestMissingVaultIsARMsNotFound(t *testing.T) {
	w := newWorld(t, latency.Instant())
	a := w.control(t, http.MethodGet, vaultPath("kv-none"), "2023-02-01", nil)
	wantRaw(t, a, 404, "ResourceNotFound")
	message := "The Resource 'Microsoft.KeyVault/vaults/kv-none' under resource group 'rg-west' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
	if got := text(a.body, "error", "message"); got != message {
		t.Errorf("message is %q", got)
	}
	if a := w.control(t, http.MethodDelete, vaultPath("kv-none"), "2023-02-01", nil); a.status != http.StatusNoContent {
		t.Errorf("delete answers %d", a.status)
	}
	wantRaw(t, w.control(t, http.MethodPatch, vaultPath("kv-none"), "2023-02-01", map[string]any{}), 404, "ResourceNotFound")
	wantRaw(t, w.control(t, http.MethodGet, vaultPath("kv-none"), "2014-01-01", nil), 400, "NoRegisteredProviderFound")
}

func TestVaultsAreListedByGroupAndSubscription(t *testing.T) {
	w := newWorld(t, latency.Instant())
	for _, name := range []string{"kv-a", "kv-b", "kv-c"} {
		w.makeVault(t, name, nil)
	}
	list := func(pager *runtime.Pager[armkeyvault.VaultsClientListByResourceGroupResponse]) (names []string, pages int) {
		for pager.More() {
			page := must[armkeyvault.VaultsClientListByResourceGroupResponse](t)(pager.NextPage(t.Context()))
			pages++
			for _, v := range page.Value {
				names = append(names, *v.Name)
			}
		}
		return names, pages
	}
	names, pages := list(w.vaults(t).NewListByResourceGroupPager(group, &armkeyvault.VaultsClientListByResourceGroupOptions{Top: new(int32(2))}))
	if !slices.Equal(names, []string{"kv-a", "kv-b", "kv-c"}) || pages != 2 {
		t.Errorf("got %v in %d pages", names, pages)
	}
	if names, _ := list(w.vaults(t).NewListByResourceGroupPager("other", nil)); len(names) != 0 {
		t.Errorf("another group has %v", names)
	}
	all := w.vaults(t).NewListBySubscriptionPager(nil)
	page := must[armkeyvault.VaultsClientListBySubscriptionResponse](t)(all.NextPage(t.Context()))
	if len(page.Value) != 3 {
		t.Errorf("the subscription has %d vaults", len(page.Value))
	}
	wantRaw(t, w.send(t, http.MethodGet, "https://management.azure.com/subscriptions/"+subscription+"/providers/Microsoft.KeyVault/vaults?api-version=2023-07-01&$top=none",
		tokenFor(admin, "https://management.azure.com").String(), nil), 400, "BadRequest")
	hsms := w.control(t, http.MethodGet, "/subscriptions/"+subscription+"/providers/Microsoft.KeyVault/managedHSMs", "2023-07-01", nil)
	if got := string(hsms.text); got != `{"value":[]}` {
		t.Errorf("managed HSMs are %s", got)
	}
}

func TestPatchChangesOnlyWhatItNames(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-patch", func(p *armkeyvault.VaultProperties) {
		p.NetworkACLs = &armkeyvault.NetworkRuleSet{DefaultAction: new(armkeyvault.NetworkRuleActionAllow)}
	})
	got := must[armkeyvault.VaultsClientUpdateResponse](t)(w.vaults(t).Update(t.Context(), group, "kv-patch", armkeyvault.VaultPatchParameters{
		Tags: map[string]*string{"a": new("b")}, Properties: &armkeyvault.VaultPatchProperties{EnablePurgeProtection: new(true), EnabledForDeployment: new(true)},
	}, nil))
	p := got.Properties
	if !*p.EnablePurgeProtection || !*p.EnabledForDeployment || *got.Tags["a"] != "b" {
		t.Errorf("not changed: %+v %v", p, got.Tags)
	}
	if len(p.AccessPolicies) != 1 || *p.NetworkACLs.Bypass != armkeyvault.NetworkRuleBypassOptionsAzureServices {
		t.Errorf("changed what was not named: %+v", p)
	}
	_, err := w.vaults(t).Update(t.Context(), group, "kv-patch", armkeyvault.VaultPatchParameters{Properties: &armkeyvault.VaultPatchProperties{EnablePurgeProtection: new(false)}}, nil)
	want(t, err, 400, "BadRequest")
}

func TestDeletedVaultCanBeRecovered(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-gone", func(p *armkeyvault.VaultProperties) { p.SoftDeleteRetentionInDays = new(int32(7)) })
	w.createRSA(t, "kv-gone", "k")
	must[armkeyvault.VaultsClientDeleteResponse](t)(w.vaults(t).Delete(t.Context(), group, "kv-gone", nil))

	_, err := w.vaults(t).Get(t.Context(), group, "kv-gone", nil)
	want(t, err, 404, "ResourceNotFound")
	wantRaw(t, w.data(t, http.MethodGet, "kv-gone", "/keys/k", nil), 404, "VaultNotFound")
	_, err = w.tryVault(t, "kv-gone", nil)
	want(t, err, 409, "ConflictError")

	deleted := must[armkeyvault.VaultsClientGetDeletedResponse](t)(w.vaults(t).GetDeleted(t.Context(), "kv-gone", "westeurope", nil))
	if *deleted.Properties.VaultID != vaultPath("kv-gone") || deleted.Properties.ScheduledPurgeDate.Sub(*deleted.Properties.DeletionDate) != 7*24*time.Hour {
		t.Errorf("deleted vault is %+v", deleted.Properties)
	}
	page := must[armkeyvault.VaultsClientListDeletedResponse](t)(w.vaults(t).NewListDeletedPager(nil).NextPage(t.Context()))
	if len(page.Value) != 1 || *page.Value[0].Name != "kv-gone" {
		t.Errorf("deleted vaults are %v", page.Value)
	}
	_, err = w.vaults(t).GetDeleted(t.Context(), "kv-gone", "eastus", nil)
	want(t, err, 404, "DeletedVaultNotFound")

	elsewhere := strings.Replace(vaultPath("kv-gone"), group, "rg-other", 1)
	recovery := map[string]any{"location": "westeurope", "properties": map[string]any{
		"tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"}, "createMode": "recover"}}
	wantRaw(t, w.control(t, http.MethodPut, elsewhere, "2023-02-01", recovery), 400, "BadRequest")
	if a := w.control(t, http.MethodPut, vaultPath("kv-gone"), "2023-02-01", recovery); a.status != http.StatusOK {
		t.Fatalf("recovery answers %d %s", a.status, a.text)
	}
	if a := w.data(t, http.MethodGet, "kv-gone", "/keys/k", nil); a.status != http.StatusOK {
		t.Errorf("the recovered vault's key answers %d %s", a.status, a.text)
	}
}

func TestDeletedVaultCanBePurgedUnlessProtected(t *testing.T) {
	w := newWorld(t, latency.Azure(4))
	client := w.vaults(t)
	w.makeVault(t, "kv-purge", nil)
	w.createRSA(t, "kv-purge", "k")
	must[armkeyvault.VaultsClientDeleteResponse](t)(client.Delete(t.Context(), group, "kv-purge", nil))
	poller, err := client.BeginPurgeDeleted(t.Context(), "kv-purge", "westeurope", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.BeginPurgeDeleted(t.Context(), "kv-purge", "westeurope", nil)
	want(t, err, 409, "ConflictError")
	must[armkeyvault.VaultsClientPurgeDeletedResponse](t)(poller.PollUntilDone(t.Context(), nil))
	_, err = client.GetDeleted(t.Context(), "kv-purge", "westeurope", nil)
	want(t, err, 404, "DeletedVaultNotFound")
	w.makeVault(t, "kv-purge", nil)
	wantRaw(t, w.data(t, http.MethodGet, "kv-purge", "/keys/k", nil), 404, "KeyNotFound")

	w.makeVault(t, "kv-safe", func(p *armkeyvault.VaultProperties) { p.EnablePurgeProtection = new(true) })
	_, err = client.BeginPurgeDeleted(t.Context(), "kv-safe", "westeurope", nil)
	want(t, err, 404, "DeletedVaultNotFound")
	must[armkeyvault.VaultsClientDeleteResponse](t)(client.Delete(t.Context(), group, "kv-safe", nil))
	_, err = client.BeginPurgeDeleted(t.Context(), "kv-safe", "westeurope", nil)
	want(t, err, 405, "MethodNotAllowed")
}

func TestDeletedVaultIsPurgedAfterItsRetention(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-late", func(p *armkeyvault.VaultProperties) {
		p.SoftDeleteRetentionInDays, p.EnablePurgeProtection = new(int32(10)), new(true)
	})
	must[armkeyvault.VaultsClientDeleteResponse](t)(w.vaults(t).Delete(t.Context(), group, "kv-late", nil))
	w.clock.Advance(10*24*time.Hour - time.Minute)
	must[armkeyvault.VaultsClientGetDeletedResponse](t)(w.vaults(t).GetDeleted(t.Context(), "kv-late", "westeurope", nil))
	w.clock.Advance(2 * time.Minute)
	_, err := w.vaults(t).GetDeleted(t.Context(), "kv-late", "westeurope", nil)
	want(t, err, 404, "DeletedVaultNotFound")
	w.makeVault(t, "kv-late", nil)
}

func TestResourcesAndGroupDeletion(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-x", nil)
	w.makeVault(t, "kv-y", nil)
	list := func(group string) (found []keyvault.Resource) {
		if err := w.store.View(func(tx *store.Tx) (err error) {
			found, err = w.service.Resources(tx, subscription, group)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := list("RG-WEST"); len(got) != 2 || got[0].ID != vaultPath("kv-x") || got[0].Type != "Microsoft.KeyVault/vaults" {
		t.Fatalf("got %+v", got)
	}
	if got := list("other"); len(got) != 0 {
		t.Fatalf("another group has %+v", got)
	}
	if err := w.store.Update(func(tx *store.Tx) error { return w.service.DeleteGroup(tx, subscription, group) }); err != nil {
		t.Fatal(err)
	}
	if got := list(""); len(got) != 0 {
		t.Fatalf("after the group's deletion there is %+v", got)
	}
	must[armkeyvault.VaultsClientGetDeletedResponse](t)(w.vaults(t).GetDeleted(t.Context(), "kv-x", "westeurope", nil))
}

func TestRBACIsTheDefaultFromAPIVersion20260201(t *testing.T) {
	w := newWorld(t, latency.Instant())
	body := map[string]any{"location": "West Europe", "properties": map[string]any{"tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"}}}
	a := w.control(t, http.MethodPut, vaultPath("kv-new"), "2026-02-01", body)
	if a.status != http.StatusOK || field(a.body, "properties", "enableRbacAuthorization") != true {
		t.Errorf("got %d %s", a.status, a.text)
	}
	wantRaw(t, w.control(t, http.MethodPut, vaultPath("kv-old"), "2025-05-01", body), 400, "BadRequest")
}
