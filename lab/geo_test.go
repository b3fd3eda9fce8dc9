package lab_test

import (
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/lab"
)

const third = "tdethirdtest"

// addThirdServer makes another server in a third region, whose identity may
// use all the vaults.
func (a *azure) addThirdServer() {
	a.t.Helper()
	name, location := third, "northeurope"
	poller, err := a.sql.NewServersClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, name, armsql.Server{
		Location: &location, Identity: &armsql.ResourceIdentity{Type: to.Ptr(armsql.IdentityTypeSystemAssigned)},
		Properties: &armsql.ServerProperties{AdministratorLogin: to.Ptr("sqladmin"), AdministratorLoginPassword: to.Ptr("Aa1!aaaaaaaa")},
	}, nil)
	if _, err := done(a.t.Context(), poller, err); err != nil {
		a.t.Fatal(err)
	}
	for _, key := range []string{lab.ArticleSharedKey, lab.ArticlePrimaryKey, lab.ArticleSecondaryKey} {
		a.grant(name, id(a.t, key).Vault())
	}
}

func (a *azure) putGroup(partners, databases []string) error {
	const server, name = lab.ArticlePrimary, lab.ArticleFailoverGroup
	group := armsql.FailoverGroup{Properties: &armsql.FailoverGroupProperties{
		ReadWriteEndpoint: &armsql.FailoverGroupReadWriteEndpoint{FailoverPolicy: to.Ptr(armsql.ReadWriteEndpointFailoverPolicyManual)},
		ReadOnlyEndpoint:  &armsql.FailoverGroupReadOnlyEndpoint{FailoverPolicy: to.Ptr(armsql.ReadOnlyEndpointFailoverPolicyDisabled)},
	}}
	for _, partner := range partners {
		group.Properties.PartnerServers = append(group.Properties.PartnerServers, &armsql.PartnerInfo{ID: to.Ptr(serverBase + partner)})
	}
	for _, database := range databases {
		group.Properties.Databases = append(group.Properties.Databases, to.Ptr(serverBase+server+"/databases/"+database))
	}
	poller, err := a.sql.NewFailoverGroupsClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, name, group, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) links(server string) []*armsql.ReplicationLink {
	const database = "orders"
	a.t.Helper()
	var links []*armsql.ReplicationLink
	pager := a.sql.NewReplicationLinksClient().NewListByDatabasePager(lab.ArticleGroup, server, database, nil)
	for pager.More() {
		page, err := pager.NextPage(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		links = append(links, page.Value...)
	}
	return links
}

func TestGroupOfSeveralPartners(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.addThirdServer()
	partners := []string{lab.ArticleSecondary, third}
	refusedIn(t, a.putGroup(partners, lab.ArticleDatabases()), "SameKeyMaterialNotFoundOnRemoteServer", true)
	if err := a.register(third, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	if err := a.putGroup(partners, lab.ArticleDatabases()); err != nil {
		t.Fatal(err)
	}
	if err := a.failover(third); err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]string{third: "Primary", lab.ArticlePrimary: "Secondary", lab.ArticleSecondary: "Secondary"} {
		if got := a.role(server); got != want {
			t.Errorf("%s is %s, want %s", server, got, want)
		}
	}
	if got := a.links(third); len(got) != 2 {
		t.Fatalf("the new primary has %d links, want one to each partner", len(got))
	}
	if got := a.links(lab.ArticleSecondary); len(got) != 1 || *got[0].Properties.PartnerServer != third {
		t.Fatalf("the other secondary does not replicate from the new primary: %v", got)
	}
	// Every linked server is asked for the key, the sibling among them.
	if err := a.register(third, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	if err := a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	refusedIn(t, a.setProtector(third, lab.ArticlePrimaryKey), "SameKeyMaterialNotFoundOnRemoteServer", true)
}

func TestGroupShowsItselfFromEverySide(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		answer, err := a.sql.NewFailoverGroupsClient().Get(t.Context(), lab.ArticleGroup, server, lab.ArticleFailoverGroup, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := *answer.Properties.Databases[0]; got != serverBase+server+"/databases/ledger" {
			t.Errorf("%s lists %s, not its own database", server, got)
		}
		if len(answer.Properties.PartnerServers) != 1 || *answer.Properties.PartnerServers[0].ID == serverBase+server {
			t.Errorf("%s is its own partner", server)
		}
	}
}

func TestDatabaseLeavesAndJoinsAGroup(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	link := a.links(lab.ArticleSecondary)[0]
	begin := func() error {
		poller, err := a.sql.NewReplicationLinksClient().BeginFailover(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, "orders", *link.Name, nil)
		_, err = done(t.Context(), poller, err)
		return err
	}
	refusedIn(t, begin(), "FailoverGroupAlreadySetup", false)
	if err := a.putGroup([]string{lab.ArticleSecondary}, []string{"ledger", "payments"}); err != nil {
		t.Fatal(err)
	}
	if err := begin(); err != nil {
		t.Fatalf("a link outside any group fails over by itself: %v", err)
	}
	if got := a.links(lab.ArticlePrimary)[0]; *got.Properties.Role != armsql.ReplicationRoleSecondary || *got.Name != *link.Name {
		t.Fatalf("after the failover: role %v, name %v", *got.Properties.Role, *got.Name)
	}
	if err := a.putGroup([]string{lab.ArticleSecondary}, lab.ArticleDatabases()); err == nil {
		t.Fatal("a database that is no primary joined the group")
	} else {
		refusedIn(t, err, "DatabaseInFailoverGroupNotPrimary", false)
	}
}

func (a *azure) createSecondary(source, server string) error {
	const database = "orders"
	poller, err := a.sql.NewDatabasesClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, database, armsql.Database{
		Location: to.Ptr(a.location(server)), Properties: &armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeSecondary), SourceDatabaseID: &source},
	}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) location(server string) string {
	a.t.Helper()
	answer, err := a.sql.NewServersClient().Get(a.t.Context(), lab.ArticleGroup, server, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return *answer.Location
}

func TestGeoSecondaryByCreateMode(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.addThirdServer()
	source := serverBase + lab.ArticlePrimary + "/databases/orders"
	refusedIn(t, a.createSecondary(source, third), "SameKeyMaterialNotFoundOnRemoteServer", true)
	if err := a.register(third, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	if err := a.createSecondary(source, third); err != nil {
		t.Fatal(err)
	}
	want, err := a.lab.EncryptionState(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.lab.EncryptionState(third, "orders"); err != nil || got.Thumbprint != want.Thumbprint {
		t.Fatalf("the geo-secondary's DEK is wrapped by %s, the primary's by %s (%v)", got.Thumbprint, want.Thumbprint, err)
	}
}

func TestGeoSecondaryOfAGeoSecondaryIsRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.addThirdServer()
	if err := a.register(third, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	refusedIn(t, a.createSecondary(serverBase+lab.ArticleSecondary+"/databases/orders", third), "SecurityAzureKeyVaultGeoChainError", true)
}

// A replica whose server can no longer open the primary's key has its link
// suspended, and comes back when it can.
func TestReplicaThatCannotFollowIsSuspendedUntilItCan(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		if err := a.register(server, lab.ArticlePrimaryKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	vault := id(t, lab.ArticleSharedKey).Vault()
	a.revokeAll(lab.ArticleSecondary, vault)
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticleSharedKey); err == nil {
		t.Fatal("the protector went to a key that the partner cannot use")
	} else {
		refusedIn(t, err, "KeyMaterialNotFoundOnRemoteServer", true)
	}
	a.grant(lab.ArticleSecondary, vault)
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticleSharedKey)
}

func TestServerThatIsDroppedFreesItsReplicas(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	poller, err := a.sql.NewServersClient().BeginDelete(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, nil)
	if _, err := done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	if links := a.links(lab.ArticleSecondary); len(links) != 0 {
		t.Fatalf("%d links are left", len(links))
	}
	if _, err := a.sql.NewFailoverGroupsClient().Get(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil); err == nil {
		t.Fatal("the group outlived its primary")
	}
	if err := a.setProtector(lab.ArticleSecondary, ""); err != nil {
		t.Fatal(err)
	}
	a.eventually(func() bool {
		row, err := a.lab.EncryptionState(lab.ArticleSecondary, "orders")
		return err == nil && row.EncryptorType == "CERTIFICATE"
	}, "the former replica follows its own server's protector")
}

// An operation ends by time, whether it is polled or not.
func TestOperationEndsWithoutBeingPolled(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if _, err := a.sql.NewDatabasesClient().BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "unwatched", armsql.Database{Location: to.Ptr("eastus")}, nil); err != nil {
		t.Fatal(err)
	}
	a.eventually(func() bool {
		_, err := a.sql.NewDatabasesClient().Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "unwatched", nil)
		return err == nil
	}, "the database stands though nobody polled")
}

func (a *azure) revokeAll(server, vault string) {
	a.t.Helper()
	s, err := a.sql.NewServersClient().Get(a.t.Context(), lab.ArticleGroup, server, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	v, err := a.vaults.Get(a.t.Context(), lab.ArticleGroup, vault, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	body := `{"properties":{"accessPolicies":[{"tenantId":"` + lab.TenantID + `","objectId":"` + *s.Identity.PrincipalID + `","permissions":{"keys":["get","wrapKey","unwrapKey"]}}]}}`
	if status, code, _ := a.raw("PUT", *v.ID+"/accessPolicies/remove", "2022-07-01", body); status != 200 {
		a.t.Fatal(fmt.Sprint(status, code))
	}
}
