package lab_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab"
)

func TestResourceGroupsComeAndGoWithWhatIsInThem(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if _, err := a.groups.CreateOrUpdate(t.Context(), "other", armresources.ResourceGroup{Location: to.Ptr("West US")}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := a.groups.CreateOrUpdate(t.Context(), "OTHER", armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil)
	refused(t, err, "InvalidResourceGroupLocation")
	if _, err := a.groups.Get(t.Context(), "nothing", nil); err == nil {
		t.Fatal("a group that is none was found")
	} else {
		refused(t, err, "ResourceGroupNotFound")
	}
	poller, err := a.groups.BeginDelete(t.Context(), lab.ArticleGroup, nil)
	if _, err := done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	client, err := armresources.NewClient(lab.SubscriptionID, a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		t.Fatal(err)
	}
	page, err := client.NewListPager(nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 0 {
		t.Fatalf("%d resources outlived their group: %v", len(page.Value), err)
	}
}

func TestResourceListTakesTheFiltersOfClients(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	client, err := armresources.NewClient(lab.SubscriptionID, a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		t.Fatal(err)
	}
	count := func(filter string) (int, error) {
		page, err := client.NewListPager(&armresources.ClientListOptions{Filter: &filter}).NextPage(t.Context())
		return len(page.Value), err
	}
	for filter, want := range map[string]int{
		"resourceType eq 'Microsoft.KeyVault/vaults'":                                            3,
		"(resourceType eq 'Microsoft.Sql/servers') and ((name eq '" + lab.ArticlePrimary + "'))": 1,
	} {
		if got, err := count(filter); err != nil || got != want {
			t.Errorf("%s: %d, %v", filter, got, err)
		}
	}
	_, err = count("resourceType like 'x'")
	refused(t, err, "InvalidFilterInQueryString")
}

func TestSubscriptionsAndIdentities(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	subscriptions, err := armsubscriptions.NewClient(a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		t.Fatal(err)
	}
	page, err := subscriptions.NewListPager(nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 || *page.Value[0].State != armsubscriptions.SubscriptionStateEnabled {
		t.Fatalf("%v %v", page.Value, err)
	}
	made := a.userAssigned("mine")
	client, err := armmsi.NewUserAssignedIdentitiesClient(lab.SubscriptionID, a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		t.Fatal(err)
	}
	if found, err := client.Get(t.Context(), lab.ArticleGroup, "mine", nil); err != nil || *found.ID != made {
		t.Fatalf("%v %v", found.ID, err)
	}
	if _, err := client.Delete(t.Context(), lab.ArticleGroup, "mine", nil); err != nil {
		t.Fatal(err)
	}
	_, err = client.Get(t.Context(), lab.ArticleGroup, "mine", nil)
	refused(t, err, "ResourceNotFound")
}

// A vault in RBAC mode asks role assignments, on the data plane too.
func TestRoleAssignmentsAreEnforced(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	poller, err := a.vaults.BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, "rbacvault", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("eastus"), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(lab.TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		EnableRbacAuthorization: to.Ptr(true), EnablePurgeProtection: to.Ptr(true),
	}}, nil)
	vault, err := done(t.Context(), poller, err)
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.keys(id(t, "https://rbacvault.vault.azure.net/keys/k")).CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	uri := string(*key.Key.KID)
	refusedIn(t, a.register(lab.ArticlePrimary, uri), "AzureKeyVaultMissingPermissions", true)
	server, err := a.sql.NewServersClient().Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, nil)
	if err != nil {
		t.Fatal(err)
	}
	roles, err := armauthorization.NewRoleAssignmentsClient(lab.SubscriptionID, a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		t.Fatal(err)
	}
	assign := func(principal, role string) error {
		_, err := roles.Create(t.Context(), *vault.ID, uuid.NewString(), armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
			PrincipalID: &principal, RoleDefinitionID: to.Ptr("/subscriptions/" + lab.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
		}}, nil)
		return err
	}
	const crypto = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
	refused(t, assign(uuid.NewString(), crypto), "PrincipalNotFound")
	refused(t, assign(*server.Identity.PrincipalID, uuid.NewString()), "RoleDefinitionDoesNotExist")
	if err := assign(*server.Identity.PrincipalID, crypto); err != nil {
		t.Fatal(err)
	}
	refused(t, assign(*server.Identity.PrincipalID, crypto), "RoleAssignmentExists")
	if err := a.register(lab.ArticlePrimary, uri); err != nil {
		t.Fatal(err)
	}
}
