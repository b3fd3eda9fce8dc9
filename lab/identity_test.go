package lab_test

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"

	"github.com/crosskeys/crosskeys/lab"
)

// userAssigned makes a user-assigned identity that may use all three vaults,
// and gives its ARM id.
func (a *azure) userAssigned(name string) string {
	a.t.Helper()
	client, err := armmsi.NewUserAssignedIdentitiesClient(lab.SubscriptionID, a.cred, a.lab.ClientOptions(a.cloud))
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := client.CreateOrUpdate(a.t.Context(), lab.ArticleGroup, name, armmsi.Identity{Location: to.Ptr("eastus")}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, key := range []string{lab.ArticleSharedKey, lab.ArticlePrimaryKey, lab.ArticleSecondaryKey} {
		a.grantPrincipal(*made.Properties.PrincipalID, id(a.t, key).Vault())
	}
	return *made.ID
}
