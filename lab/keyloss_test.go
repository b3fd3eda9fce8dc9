package lab_test

import (
	"errors"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/instance"
)

// advance moves the lab's clock and gives clients with fresh tokens.
func (a *azure) advance(by time.Duration) *azure {
	a.t.Helper()
	if err := a.lab.Advance(by); err != nil {
		a.t.Fatal(err)
	}
	return clients(a.t, a.lab, a.cloud)
}

func (a *azure) enableSharedKey() {
	a.t.Helper()
	k := id(a.t, lab.ArticleSharedKey)
	if _, err := a.keys(k).UpdateKey(a.t.Context(), k.Name, k.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(true)}}, nil); err != nil {
		a.t.Fatal(err)
	}
}

func (a *azure) status(server, database string) string {
	a.t.Helper()
	answer, err := a.sql.NewDatabasesClient().Get(a.t.Context(), lab.ArticleGroup, server, database, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(*answer.Properties.Status)
}

func (a *azure) becomes(server, database, status string) {
	a.t.Helper()
	a.eventually(func() bool { return a.status(server, database) == status }, database+" on "+server+" is "+status)
}

func (a *azure) revalidate(server string) error {
	poller, err := a.sql.NewEncryptionProtectorsClient().BeginRevalidate(a.t.Context(), lab.ArticleGroup, server, armsql.EncryptionProtectorNameCurrent, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) drop(server, database string) error {
	poller, err := a.sql.NewDatabasesClient().BeginDelete(a.t.Context(), lab.ArticleGroup, server, database, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) attach(server, database string) (*instance.Lease, error) {
	return a.lab.SQL().Instances().Attach(a.t.Context(), instance.NewRef(server, database), instance.Client{Login: "sqladmin", Program: "test"})
}

// happened lists what the servers did by themselves to a database.
func (a *azure) happened(server, database string) []string {
	a.t.Helper()
	events, err := a.lab.Events()
	if err != nil {
		a.t.Fatal(err)
	}
	var list []string
	for _, event := range events {
		if event.Server == server && event.Database == database {
			list = append(list, event.Operation+" "+event.Status)
		}
	}
	return list
}

// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#inaccessible-tde-protector
func TestLostKeyTakesDatabasesDownAndGivesThemBackWithinHalfAnHour(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	lease, err := a.attach(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	a.disableSharedKey()
	if got := a.status(lab.ArticlePrimary, "orders"); got != "Online" {
		t.Fatalf("the database is %s the moment that its key is disabled", got)
	}
	a = a.advance(10 * time.Minute)
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		a.becomes(server, "orders", "Inaccessible")
	}
	select {
	case <-lease.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the session goes on although its database lost its key")
	}
	if !errors.Is(lease.Reason(), instance.ErrInaccessible) {
		t.Errorf("the session ended because %v", lease.Reason())
	}
	lease.Release()
	_, err = a.attach(lab.ArticlePrimary, "orders")
	if gone, ok := errors.AsType[*instance.UnavailableError](err); !ok || gone.Status != instance.Inaccessible {
		t.Fatalf("a connection to an Inaccessible database: %v", err)
	}
	refused(t, a.patchTags(lab.ArticlePrimary, "orders"), "InvalidDatabaseStateForOperation")
	a = a.advance(15 * time.Minute)
	a.enableSharedKey()
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		a.becomes(server, "orders", "Online")
	}
	if a.role(lab.ArticlePrimary) != "Primary" {
		t.Fatal("the failover group did not outlast half an hour without its key")
	}
	want := []string{"MakeDatabaseInaccessible Started", "MakeDatabaseAccessible Started", "MakeDatabaseAccessible Succeeded"}
	if diff := cmp.Diff(want, a.happened(lab.ArticlePrimary, "orders")); diff != "" {
		t.Error(diff)
	}
	a.eventually(func() bool { return a.linkState() == "CATCH_UP" }, "the link follows again")
	lease, err = a.attach(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
}

func (a *azure) linkState() string {
	a.t.Helper()
	links := a.links(lab.ArticlePrimary)
	if len(links) != 1 {
		return ""
	}
	return string(*links[0].Properties.ReplicationState)
}

func (a *azure) patchTags(server, database string) error {
	poller, err := a.sql.NewDatabasesClient().BeginUpdate(a.t.Context(), lab.ArticleGroup, server, database, armsql.DatabaseUpdate{Tags: map[string]*string{"cost": to.Ptr("center")}}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

// After half an hour only a revalidation brings the database back, and not
// all of it; its geo-secondary cannot come back at all.
func TestKeyThatComesBackTooLateNeedsRevalidationAndCostsTheGeoLink(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if err := a.patchTags(lab.ArticlePrimary, "orders"); err != nil {
		t.Fatal(err)
	}
	a.disableSharedKey()
	a = a.advance(31 * time.Minute)
	final := []string{"MakeDatabaseInaccessible Started", "MakeDatabaseInaccessible Succeeded"}
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		a.eventually(func() bool { return cmp.Equal(final, a.happened(server, "orders")) }, "the loss on "+server+" is final")
	}
	a.enableSharedKey()
	a = a.advance(2 * time.Hour)
	for range 3 { // of the monitor's rounds
		a = a.advance(time.Minute)
	}
	if got := a.status(lab.ArticlePrimary, "orders"); got != "Inaccessible" {
		t.Fatalf("the database is %s without a revalidation", got)
	}
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		if err := a.revalidate(server); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := a.sql.NewDatabasesClient().Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *answer.Properties.Status != "Online" || len(answer.Tags) != 0 || answer.Properties.FailoverGroupID != nil || len(a.links(lab.ArticlePrimary)) != 0 {
		t.Fatalf("after revalidation: status %v, tags %v, group %v", *answer.Properties.Status, answer.Tags, answer.Properties.FailoverGroupID)
	}
	if got := a.status(lab.ArticleSecondary, "orders"); got != "Inaccessible" {
		t.Fatalf("the former geo-secondary is %s: it has no backups to recover from", got)
	}
	lease, err := a.attach(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	if err := a.drop(lab.ArticleSecondary, "orders"); err != nil {
		t.Fatalf("an Inaccessible database is dropped: %v", err)
	}
	if err := a.createSecondary(serverBase+lab.ArticlePrimary+"/databases/orders", lab.ArticleSecondary); err != nil {
		t.Fatalf("the geo-secondary is seeded anew: %v", err)
	}
}

// A vault that cannot be reached has 24 hours; a failover inside them takes
// the database down, since the new primary has no key in memory.
func TestVaultOutOfReachHasADay(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	vault := id(t, lab.ArticleSharedKey).Vault()
	if _, err := a.vaults.Delete(t.Context(), lab.ArticleGroup, vault, nil); err != nil {
		t.Fatal(err)
	}
	a = a.advance(10 * time.Hour)
	for range 3 {
		a = a.advance(time.Minute)
	}
	if got := a.status(lab.ArticlePrimary, "ledger"); got != "Online" {
		t.Fatalf("ten hours after the vault was lost the database is %s", got)
	}
	refused(t, a.failover(lab.ArticleSecondary), "PlannedFailoverTimedOutForDatabase")
	poller, err := a.sql.NewFailoverGroupsClient().BeginForceFailoverAllowDataLoss(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	if _, err = done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	a.becomes(lab.ArticleSecondary, "ledger", "Inaccessible")
	if got := a.status(lab.ArticlePrimary, "ledger"); got != "Online" {
		t.Fatalf("the old primary, whose key is in memory, is %s", got)
	}
	a = a.advance(15 * time.Hour)
	a.becomes(lab.ArticlePrimary, "ledger", "Inaccessible")
}

// The classic accident: the protector has moved on, the old key is switched
// off, and an active virtual log file still needs it.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func TestOldKeyThatTheLogStillNeedsTakesTheDatabaseDown(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary} {
		if err := a.register(server, lab.ArticlePrimaryKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	old := a.registered(lab.ArticlePrimary)[lab.ArticleSharedKey]
	open, err := a.lab.SQL().Instances().Open(instance.NewRef(lab.ArticlePrimary, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Hold("a log that no backup has freed", 0); err != nil {
		t.Fatal(err)
	}
	vlfs := open.VLFs()
	needed := false
	for _, vlf := range vlfs {
		needed = needed || vlf.Active && vlf.Thumbprint == old
	}
	if !needed {
		t.Fatalf("no active virtual log file was begun under the old key: %+v", vlfs)
	}
	a.disableSharedKey()
	a = a.advance(10 * time.Minute)
	a.becomes(lab.ArticlePrimary, "orders", "Inaccessible")
	a.enableSharedKey()
	a.becomes(lab.ArticlePrimary, "orders", "Online")
}

func TestServerWithAnInaccessibleDatabaseIsNotDropped(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.disableSharedKey()
	a = a.advance(10 * time.Minute)
	a.becomes(lab.ArticlePrimary, "orders", "Inaccessible")
	poller, err := a.sql.NewServersClient().BeginDelete(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, nil)
	_, err = done(t.Context(), poller, err)
	refused(t, err, "CannotDropDatabaseAKVError")
}

// The course of a lost key goes on where a stopped lab left it.
func TestLostKeyIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	prepare(t, dir)
	l, err := lab.Start(t.Context(), lab.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	a := clients(t, l, cloud.AzurePublic)
	a.disableSharedKey()
	a = a.advance(10 * time.Minute)
	a.becomes(lab.ArticlePrimary, "orders", "Inaccessible")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a = clients(t, start(t, lab.Options{Dir: dir}), cloud.AzurePublic)
	if got := a.status(lab.ArticlePrimary, "orders"); got != "Inaccessible" {
		t.Fatalf("after the restart the database is %s", got)
	}
	a = a.advance(25 * time.Minute)
	a.eventually(func() bool { return len(a.happened(lab.ArticlePrimary, "orders")) == 2 }, "the loss is final")
	a.enableSharedKey()
	if err := a.revalidate(lab.ArticlePrimary); err != nil {
		t.Fatal(err)
	}
	a.becomes(lab.ArticlePrimary, "orders", "Online")
}
