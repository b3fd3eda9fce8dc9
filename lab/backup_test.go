package lab_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
)

// exec runs SQL in a database's engine.
func (a *azure) exec(server, database, sql string) error {
	lease, err := a.attach(server, database)
	if err != nil {
		return err
	}
	defer lease.Release()
	conn, err := lease.DB().Conn(a.t.Context())
	if err != nil {
		return err
	}
	return errors.Join(conn.Exec(sql), conn.Close())
}

// rows reads the numbers in table t.
func (a *azure) rows(server, database string) []int {
	a.t.Helper()
	lease, err := a.attach(server, database)
	if err != nil {
		a.t.Fatal(err)
	}
	defer lease.Release()
	conn, err := lease.DB().Conn(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	stmt, _, err := conn.Prepare("SELECT x FROM t ORDER BY x")
	if err != nil {
		a.t.Fatal(errors.Join(err, conn.Close()))
	}
	numbers := []int{}
	for stmt.Step() {
		numbers = append(numbers, stmt.ColumnInt(0))
	}
	if err := errors.Join(stmt.Close(), conn.Close()); err != nil {
		a.t.Fatal(err)
	}
	return numbers
}

func (a *azure) mustExec(server, database, sql string) {
	a.t.Helper()
	if err := a.exec(server, database, sql); err != nil {
		a.t.Fatal(err)
	}
}

// make creates a database with the given properties.
func (a *azure) make(server, database string, properties armsql.DatabaseProperties) error {
	poller, err := a.sql.NewDatabasesClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, database, armsql.Database{Location: to.Ptr(a.location(server)), Properties: &properties}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func pointInTime(database string, at time.Time) armsql.DatabaseProperties {
	return armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModePointInTimeRestore), SourceDatabaseID: to.Ptr(serverBase + database), RestorePointInTime: &at}
}

func (a *azure) backedUp(server, database string) {
	a.t.Helper()
	a.eventually(func() bool {
		answer, err := a.sql.NewDatabasesClient().Get(a.t.Context(), lab.ArticleGroup, server, database, nil)
		return err == nil && answer.Properties.EarliestRestoreDate != nil
	}, "the first backup is taken")
}

// Source: https://learn.microsoft.com/azure/azure-sql/database/recovery-using-backups
func TestPointInTimeRestore(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	const source = lab.ArticlePrimary + "/databases/orders"
	a.backedUp(lab.ArticlePrimary, "orders")
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	a = a.advance(time.Hour)
	at := a.lab.Now()
	a = a.advance(time.Hour)
	a.mustExec(lab.ArticlePrimary, "orders", "INSERT INTO t VALUES (2)")
	if err := a.make(lab.ArticlePrimary, "then", pointInTime(source, at)); err != nil {
		t.Fatal(err)
	}
	if err := a.make(lab.ArticlePrimary, "now", pointInTime(source, a.lab.Now())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1}, a.rows(lab.ArticlePrimary, "then")); diff != "" {
		t.Errorf("an hour ago: %s", diff)
	}
	if diff := cmp.Diff([]int{1, 2}, a.rows(lab.ArticlePrimary, "now")); diff != "" {
		t.Errorf("now: %s", diff)
	}
	a.mustExec(lab.ArticlePrimary, "then", "INSERT INTO t VALUES (3)")
	refused(t, a.make(lab.ArticlePrimary, "never", pointInTime(source, a.lab.Now().Add(-30*24*time.Hour))), "InvalidRestorePointInTime")
	refused(t, a.make(lab.ArticlePrimary, "never", pointInTime(source, a.lab.Now().Add(time.Hour))), "InvalidRestorePointInTime")
	refused(t, a.make(lab.ArticlePrimary, "never", armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModePointInTimeRestore), SourceDatabaseID: to.Ptr(serverBase + source)}), "BadRequest")
	refused(t, a.make(lab.ArticlePrimary, "never", pointInTime(lab.ArticlePrimary+"/databases/nobody", at)), "SourceDatabaseNotFound")
	refused(t, a.make(lab.ArticlePrimary, "orders2", armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeRecovery)}), "NotSupportedByLab")
}

// A restore needs the keys of the time of its backups.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#database-backup-and-restore-with-customer-managed-tde
func TestRestoreNeedsTheOldKey(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	const source = lab.ArticlePrimary + "/databases/orders"
	a.addThirdServer()
	a.backedUp(lab.ArticlePrimary, "orders")
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	a = a.advance(time.Hour)
	at := a.lab.Now()
	a = a.advance(time.Hour)
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary, third} {
		if err := a.register(server, lab.ArticlePrimaryKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	refusedIn(t, a.make(third, "old", pointInTime(source, at)), "MissingKeyVaultUriForRestore", true)
	if err := a.register(third, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	if err := a.make(third, "old", pointInTime(source, at)); err != nil {
		t.Fatalf("with the old key registered: %v", err)
	}
	if diff := cmp.Diff([]int{1}, a.rows(third, "old")); diff != "" {
		t.Error(diff)
	}
}

func TestDroppedDatabaseIsRestored(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if err := a.make(lab.ArticlePrimary, "brief", armsql.DatabaseProperties{}); err != nil {
		t.Fatal(err)
	}
	a.mustExec(lab.ArticlePrimary, "brief", "CREATE TABLE t(x); INSERT INTO t VALUES (7)")
	if err := a.drop(lab.ArticlePrimary, "brief"); err != nil {
		t.Fatal(err)
	}
	page, err := a.sql.NewRestorableDroppedDatabasesClient().NewListByServerPager(lab.ArticleGroup, lab.ArticlePrimary, nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 || *page.Value[0].Properties.DatabaseName != "brief" {
		t.Fatalf("%v %v", page.Value, err)
	}
	one, err := a.sql.NewRestorableDroppedDatabasesClient().Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, *page.Value[0].Name, nil)
	if err != nil || *one.ID != *page.Value[0].ID {
		t.Fatalf("%v %v", one.ID, err)
	}
	if err := a.make(lab.ArticlePrimary, "again", armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeRestore), SourceDatabaseID: one.ID}); err != nil {
		t.Fatal(err)
	}
	if err := a.make(lab.ArticlePrimary, "third", armsql.DatabaseProperties{
		CreateMode: to.Ptr(armsql.CreateModeRestore), SourceDatabaseID: to.Ptr(serverBase + lab.ArticlePrimary + "/databases/brief"), SourceDatabaseDeletionDate: one.Properties.DeletionDate,
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"again", "third"} {
		if diff := cmp.Diff([]int{7}, a.rows(lab.ArticlePrimary, name)); diff != "" {
			t.Error(diff)
		}
	}
	a = a.advance(8 * 24 * time.Hour)
	a.eventually(func() bool {
		page, err := a.sql.NewRestorableDroppedDatabasesClient().NewListByServerPager(lab.ArticleGroup, lab.ArticlePrimary, nil).NextPage(t.Context())
		return err == nil && len(page.Value) == 0
	}, "the retention of the dropped database is over")
}

// Source: https://learn.microsoft.com/azure/azure-sql/database/long-term-retention-overview
func TestLongTermBackupsAreKeptListedAndRestored(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.addThirdServer()
	policies := a.sql.NewLongTermRetentionPoliciesClient()
	poller, err := policies.BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "orders", armsql.LongTermRetentionPolicyNameDefault,
		armsql.LongTermRetentionPolicy{Properties: &armsql.LongTermRetentionPolicyProperties{WeeklyRetention: to.Ptr("forever")}}, nil)
	_, err = done(t.Context(), poller, err)
	refused(t, err, "LongTermRetentionPolicyInvalid")
	poller, err = policies.BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "orders", armsql.LongTermRetentionPolicyNameDefault,
		armsql.LongTermRetentionPolicy{Properties: &armsql.LongTermRetentionPolicyProperties{WeeklyRetention: to.Ptr("P10W")}}, nil)
	if _, err := done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	a.backedUp(lab.ArticlePrimary, "orders")
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x); INSERT INTO t VALUES (5)")
	var kept []*armsql.LongTermRetentionBackup
	list := func() []*armsql.LongTermRetentionBackup {
		page, err := a.sql.NewLongTermRetentionBackupsClient().NewListByDatabasePager("eastus", lab.ArticlePrimary, "orders", nil).NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return page.Value
	}
	for week := range 2 {
		a = a.advance(7 * 24 * time.Hour)
		a.eventually(func() bool { kept = list(); return len(kept) > week }, fmt.Sprintf("the long-term backup of week %d", week))
	}
	last := kept[len(kept)-1]
	for _, level := range []string{"", "/longTermRetentionServers/" + lab.ArticlePrimary, "/longTermRetentionServers/" + lab.ArticlePrimary + "/longTermRetentionDatabases/orders"} {
		path := "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + lab.ArticleGroup + "/providers/Microsoft.Sql/locations/eastus" + level + "/longTermRetentionBackups"
		if status, code, _ := a.raw("GET", path, current, ""); status != 200 {
			t.Errorf("%s: %d %s", level, status, code)
		}
	}
	if status, code, _ := a.raw("GET", (&url.URL{Path: *last.ID}).EscapedPath(), current, ""); status != 200 {
		t.Errorf("one backup: %d %s", status, code)
	}
	restore := armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeRestoreLongTermRetentionBackup), LongTermRetentionBackupResourceID: last.ID}
	refusedIn(t, a.make(third, "kept", restore), "MissingKeyVaultUriForRestore", true)
	if err := a.register(third, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	if err := a.make(third, "kept", restore); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{5}, a.rows(third, "kept")); diff != "" {
		t.Error(diff)
	}
	if err := a.drop(lab.ArticlePrimary, "orders"); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) == 0 || got[0].Properties.DatabaseDeletionTime == nil {
		t.Errorf("the long-term backups of a dropped database: %+v", got)
	}
}

func TestCopyIsADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	copyOf := armsql.DatabaseProperties{CreateMode: to.Ptr(armsql.CreateModeCopy), SourceDatabaseID: to.Ptr(serverBase + lab.ArticlePrimary + "/databases/orders")}
	a.addThirdServer()
	refused(t, a.make(third, "copy", copyOf), "SameKeyMaterialNotFoundOnRemoteServer")
	if err := a.make(lab.ArticlePrimary, "copy", copyOf); err != nil {
		t.Fatal(err)
	}
	a.mustExec(lab.ArticlePrimary, "copy", "INSERT INTO t VALUES (2)")
	if diff := cmp.Diff([]int{1}, a.rows(lab.ArticlePrimary, "orders")); diff != "" {
		t.Error(diff)
	}
}
