package lab_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
)

// Source: https://learn.microsoft.com/azure/azure-sql/database/firewall-configure
func TestFirewallRulesDecideWhoConnects(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	rules := a.sql.NewFirewallRulesClient()
	allowed := func(address string) bool {
		ok, err := a.lab.SQL().FirewallAllows(lab.ArticlePrimary, netip.MustParseAddr(address))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !allowed("127.0.0.1") || !allowed("::ffff:127.0.0.1") || allowed("127.0.0.2") || allowed("::1") {
		t.Error("the seeded rule lets in exactly 127.0.0.1")
	}
	put := func(name, start, end string) error {
		_, err := rules.CreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, name, armsql.FirewallRule{
			Properties: &armsql.ServerFirewallRuleProperties{StartIPAddress: &start, EndIPAddress: &end},
		}, nil)
		return err
	}
	if err := put("office", "10.0.0.5", "10.0.0.9"); err != nil {
		t.Fatal(err)
	}
	if !allowed("10.0.0.5") || !allowed("10.0.0.9") || allowed("10.0.0.10") {
		t.Error("a rule is a closed range")
	}
	if err := put("AllowAllWindowsAzureIps", "0.0.0.0", "0.0.0.0"); err != nil || allowed("10.1.0.1") {
		t.Errorf("Azure's own addresses alone are let in by 0.0.0.0: %v", err)
	}
	for _, bad := range [][2]string{{"10.0.0.9", "10.0.0.5"}, {"here", "there"}, {"::1", "::1"}, {"", ""}} {
		refused(t, put("bad", bad[0], bad[1]), "InvalidServerFirewallRuleResourceParameters")
	}
	page, err := rules.NewListByServerPager(lab.ArticleGroup, lab.ArticlePrimary, nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 3 {
		t.Fatalf("%d rules, %v", len(page.Value), err)
	}
	got, err := rules.Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "OFFICE", nil)
	if err != nil || *got.Properties.EndIPAddress != "10.0.0.9" || *got.Name != "office" {
		t.Fatalf("%+v %v", got, err)
	}
	for range 2 { // the second finds nothing, which is no error
		if _, err := rules.Delete(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "office", nil); err != nil {
			t.Fatal(err)
		}
	}
	if allowed("10.0.0.5") {
		t.Error("a deleted rule still lets in")
	}
}

// Source: https://learn.microsoft.com/azure/azure-sql/database/authentication-azure-ad-only-authentication
func TestEntraAdministrator(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	const sid = "99999999-9999-4999-8999-999999999999"
	admins, only := a.sql.NewServerAzureADAdministratorsClient(), a.sql.NewServerAzureADOnlyAuthenticationsClient()
	seeded, err := admins.Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.AdministratorNameActiveDirectory, nil)
	if err != nil || *seeded.Properties.Login != "crosskeys lab operator" {
		t.Fatalf("%+v %v", seeded, err)
	}
	put := func(login, sid string) error {
		poller, err := admins.BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.AdministratorNameActiveDirectory, armsql.ServerAzureADAdministrator{
			Properties: &armsql.AdministratorProperties{AdministratorType: to.Ptr(armsql.AdministratorTypeActiveDirectory), Login: &login, Sid: &sid, TenantID: to.Ptr(lab.TenantID)},
		}, nil)
		_, err = done(t.Context(), poller, err)
		return err
	}
	refused(t, put("dba", "not a GUID"), "InvalidServerAzureADAdministratorRequest")
	if err := put("dba", sid); err != nil {
		t.Fatal(err)
	}
	if admin, found, err := a.lab.SQL().EntraAdministrator(lab.ArticlePrimary); err != nil || !found || admin.SID != sid || admin.Login != "dba" {
		t.Fatalf("%+v %v %v", admin, found, err)
	}
	password, err := a.lab.SQLPassword()
	if err != nil {
		t.Fatal(err)
	}
	login := func(user, password string) bool {
		ok, err := a.lab.SQL().CheckLogin(lab.ArticlePrimary, user, password)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !login("SQLAdmin", password) || login("sqladmin", password+"x") || login("other", password) {
		t.Error("exactly the administrator's login and password are taken")
	}
	setOnly := func(on bool) error {
		poller, err := only.BeginCreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.AuthenticationNameDefault, armsql.ServerAzureADOnlyAuthentication{
			Properties: &armsql.AzureADOnlyAuthProperties{AzureADOnlyAuthentication: &on},
		}, nil)
		_, err = done(t.Context(), poller, err)
		return err
	}
	if err := setOnly(true); err != nil {
		t.Fatal(err)
	}
	if login("sqladmin", password) {
		t.Error("a server that takes Entra tokens only took a password")
	}
	remove := func() error {
		poller, err := admins.BeginDelete(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.AdministratorNameActiveDirectory, nil)
		_, err = done(t.Context(), poller, err)
		return err
	}
	refused(t, remove(), "AadOnlyAuthenticationIsEnabled")
	if err := setOnly(false); err != nil || !login("sqladmin", password) {
		t.Fatalf("passwords are taken again: %v", err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	refused(t, setOnly(true), "AadOnlyAuthenticationNoAadAdminConfigured")
	if _, err := admins.Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.AdministratorNameActiveDirectory, nil); err == nil {
		t.Error("a removed administrator is still there")
	}
}

func TestNamesLeadToServersAndListenersFollowTheRoles(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	resolve := func(host string) sqlserver.Target {
		t.Helper()
		target, found, err := a.lab.SQL().Resolve(host)
		if err != nil || !found {
			t.Fatalf("%s: found %t, %v", host, found, err)
		}
		return target
	}
	group := lab.ArticleFailoverGroup
	for host, want := range map[string]sqlserver.Target{
		"TDEprimarytest.database.windows.net":     {Server: lab.ArticlePrimary},
		lab.ArticleSecondary:                      {Server: lab.ArticleSecondary},
		group + ".database.windows.net":           {Server: lab.ArticlePrimary, Group: group},
		group + ".secondary.database.windows.net": {Server: lab.ArticleSecondary, Group: group, ReadOnly: true},
	} {
		if diff := cmp.Diff(want, resolve(host)); diff != "" {
			t.Errorf("%s: %s", host, diff)
		}
	}
	if err := a.failover(lab.ArticleSecondary); err != nil {
		t.Fatal(err)
	}
	if got := resolve(group); got.Server != lab.ArticleSecondary {
		t.Errorf("after the failover the listener leads to %s", got.Server)
	}
	if got := resolve(group + ".secondary"); got.Server != lab.ArticlePrimary {
		t.Errorf("after the failover the read-only listener leads to %s", got.Server)
	}
	for _, host := range []string{"nobody.database.windows.net", lab.ArticlePrimary + ".secondary", ""} {
		if _, found, err := a.lab.SQL().Resolve(host); found || err != nil {
			t.Errorf("%q leads somewhere: %v", host, err)
		}
	}
}

func TestDatabasesLinksAndOperationsAreShown(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	databases, err := a.lab.SQL().Databases(lab.ArticleSecondary)
	if err != nil || len(databases) != 4 || databases[0].Name != "master" || databases[0].Number != 1 {
		t.Fatalf("%+v %v", databases, err)
	}
	numbers := map[int]bool{}
	for _, each := range databases[1:] {
		numbers[each.Number] = true
		if !each.Secondary || each.Group != lab.ArticleFailoverGroup || each.Status != instance.Online || each.Boot.DEK == nil || each.Objective != "GP_Gen5_2" {
			t.Errorf("%+v", each)
		}
	}
	if !numbers[5] || !numbers[6] || !numbers[7] {
		t.Errorf("database ids %v", numbers)
	}
	for server, primary := range map[string]bool{lab.ArticlePrimary: true, lab.ArticleSecondary: false} {
		a.eventually(func() bool { return a.linkState() == "CATCH_UP" }, "the link follows")
		links, err := a.lab.SQL().GeoLinks(server, "orders")
		if err != nil || len(links) != 1 || links[0].Primary != primary || links[0].State != 2 || links[0].Percent != 100 || links[0].DatabaseNumber < 5 {
			t.Errorf("%s: %+v %v", server, links, err)
		}
	}
	if err := a.lab.SQL().AwaitSync(t.Context(), lab.ArticlePrimary, "orders", lab.ArticleSecondary, "orders"); err != nil {
		t.Error(err)
	}
	var refusal *arm.Error
	if err := a.lab.SQL().AwaitSync(t.Context(), lab.ArticleSecondary, "orders", lab.ArticlePrimary, "orders"); !errors.As(err, &refusal) {
		t.Errorf("a secondary awaits nobody: %v", err)
	}
	operations, err := a.lab.SQL().OperationStatuses(lab.ArticlePrimary)
	if err != nil || len(operations) != 3 || operations[0].Operation != "CREATE DATABASE" || operations[0].StateName != "COMPLETED" {
		t.Errorf("%+v %v", operations, err)
	}
}

// ALTER DATABASE … FAILOVER and SET ENCRYPTION, as the SQL endpoint asks for them.
func TestDatabaseFailsOverAndIsEncryptedByTSQLsMethods(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	code := func(err error) string {
		refusal, _ := errors.AsType[*arm.Error](err)
		if refusal == nil {
			return ""
		}
		return refusal.Code
	}
	sql := a.lab.SQL()
	if got := code(sql.FailoverDatabase(t.Context(), lab.ArticleSecondary, "orders", false)); got != "FailoverGroupAlreadySetup" {
		t.Errorf("in a failover group: %q", got)
	}
	if err := a.putGroup([]string{lab.ArticleSecondary}, []string{"ledger", "payments"}); err != nil {
		t.Fatal(err)
	}
	if got := code(sql.FailoverDatabase(t.Context(), lab.ArticlePrimary, "orders", false)); got != "GeoReplicationDatabaseNotSecondary" {
		t.Errorf("on the primary: %q", got)
	}
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	if err := sql.FailoverDatabase(t.Context(), lab.ArticleSecondary, "orders", false); err != nil {
		t.Fatal(err)
	}
	a.mustExec(lab.ArticleSecondary, "orders", "INSERT INTO t VALUES (2)")
	if got := code(sql.SetDatabaseEncryption(t.Context(), lab.ArticlePrimary, "orders", false)); got != "CanNotDropAlterOnMirror" {
		t.Errorf("at the replica: %q", got)
	}
	if got := code(sql.SetDatabaseEncryption(t.Context(), lab.ArticlePrimary, "master", true)); got != "AttemptedEncryptionOnSystemDatabase" {
		t.Errorf("of master: %q", got)
	}
	state := func(server string, want int) {
		t.Helper()
		a.eventually(func() bool {
			row, err := a.lab.EncryptionState(server, "orders")
			return err == nil && row.EncryptionState == want
		}, "the encryption state on "+server)
	}
	if err := sql.SetDatabaseEncryption(t.Context(), lab.ArticleSecondary, "orders", false); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary} {
		state(server, 1)
	}
	if got := a.encryption(lab.ArticleSecondary, "orders"); got != "Disabled Completed" {
		t.Errorf("ARM shows %s", got)
	}
	if err := a.setEncryption(lab.ArticleSecondary, "orders", true); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary} {
		state(server, 3)
	}
	if got := a.encryption(lab.ArticlePrimary, "orders"); got != "Enabled Completed" {
		t.Errorf("ARM shows %s at the replica", got)
	}
	if diff := cmp.Diff([]int{1, 2}, a.rows(lab.ArticleSecondary, "orders")); diff != "" {
		t.Error(diff)
	}
}

func (a *azure) encryption(server, database string) string {
	a.t.Helper()
	answer, err := a.sql.NewTransparentDataEncryptionsClient().Get(a.t.Context(), lab.ArticleGroup, server, database, armsql.TransparentDataEncryptionNameCurrent, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(*answer.Properties.State) + " " + string(*answer.Properties.ScanState)
}

func (a *azure) setEncryption(server, database string, on bool) error {
	state := armsql.TransparentDataEncryptionStateDisabled
	if on {
		state = armsql.TransparentDataEncryptionStateEnabled
	}
	poller, err := a.sql.NewTransparentDataEncryptionsClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, database, armsql.TransparentDataEncryptionNameCurrent,
		armsql.LogicalDatabaseTransparentDataEncryption{Properties: &armsql.TransparentDataEncryptionProperties{State: &state}}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

// inStep waits until the secondary has all that its primary has; a link that is
// only just taken up may be suspended for a moment.
func (a *azure) inStep(database string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := a.lab.SQL().AwaitSync(ctx, lab.ArticlePrimary, database, lab.ArticleSecondary, database)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			a.t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A forced failover says what it threw away, in the lab's status and events.
func TestForcedFailoverReportsItsLoss(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.mustExec(lab.ArticlePrimary, "orders", "CREATE TABLE t(x)")
	a.inStep("orders")
	link := *a.links(lab.ArticlePrimary)[0].Name
	a.lab.SQL().Instances().Suspend(link, errors.New("the regions are cut off"))
	if got := a.linkState(); got != "SUSPENDED" {
		t.Fatalf("ARM shows the link as %s", got)
	}
	for range 3 {
		a.mustExec(lab.ArticlePrimary, "orders", "INSERT INTO t VALUES (1)")
	}
	refused(t, a.failover(lab.ArticleSecondary), "PlannedFailoverTimedOutForDatabase")
	lease, err := a.attach(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	poller, err := a.sql.NewFailoverGroupsClient().BeginTryPlannedBeforeForcedFailover(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	if _, err = done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the session on the old primary goes on")
	}
	lease.Release()
	status, err := a.lab.Status()
	if err != nil || len(status.Lost) != 1 || status.Lost[0].Transactions != 3 || status.Lost[0].Database != "orders" || status.Lost[0].ToLSN-status.Lost[0].FromLSN != 2 {
		t.Fatalf("%+v %v", status.Lost, err)
	}
	if got := a.rows(lab.ArticleSecondary, "orders"); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
	a.eventually(func() bool { return a.linkState() == "CATCH_UP" }, "the old primary rejoins as a secondary")
	a.wrappedBy(lab.ArticleSharedKey)
}

// CREATE, COPY, ADD SECONDARY, REMOVE SECONDARY, SUSPEND and DROP, as the SQL
// endpoint asks for them.
func TestDatabasesComeAndGoByTSQLsMethods(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	sql, ctx := a.lab.SQL(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	code := func(err error) string {
		refusal, _ := errors.AsType[*arm.Error](err)
		if refusal == nil {
			return ""
		}
		return refusal.Code
	}
	must(sql.CreateDatabase(ctx, lab.ArticlePrimary, "fresh", "S0", "", ""))
	a.mustExec(lab.ArticlePrimary, "fresh", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	if info, found, err := sql.Database(lab.ArticlePrimary, "FRESH"); err != nil || !found || info.Objective != "S0" {
		t.Errorf("%+v %v %v", info, found, err)
	}
	must(sql.CreateDatabase(ctx, lab.ArticlePrimary, "twin", "", lab.ArticlePrimary, "fresh"))
	if diff := cmp.Diff([]int{1}, a.rows(lab.ArticlePrimary, "twin")); diff != "" {
		t.Error(diff)
	}
	must(sql.AddSecondary(ctx, lab.ArticlePrimary, "fresh", lab.ArticleSecondary))
	if diff := cmp.Diff([]int{1}, a.rows(lab.ArticleSecondary, "fresh")); diff != "" {
		t.Error(diff)
	}
	must(sql.RemoveSecondary(ctx, lab.ArticlePrimary, "fresh", lab.ArticleSecondary))
	a.mustExec(lab.ArticleSecondary, "fresh", "INSERT INTO t VALUES (2)")
	must(sql.DropDatabase(ctx, lab.ArticlePrimary, "twin"))
	for want, err := range map[string]error{
		"RemoteDatabaseExists": sql.CreateDatabase(ctx, lab.ArticlePrimary, "fresh", "", "", ""),
		"InvalidDatabaseName":  sql.CreateDatabase(ctx, lab.ArticlePrimary, "master", "", "", ""),
		"InvalidOperationForDatabaseNotInReplicationRelationship": sql.RemoveSecondary(ctx, lab.ArticlePrimary, "fresh", lab.ArticleSecondary),
		"FailoverGroupAlreadySetup":                               sql.RemoveSecondary(ctx, lab.ArticlePrimary, "orders", lab.ArticleSecondary),
		"ResourceNotFound":                                        sql.DropDatabase(ctx, lab.ArticlePrimary, "twin"),
		"TransparentDataEncryptionCannotSuspend":                  sql.SuspendDatabaseEncryption(ctx, lab.ArticlePrimary, "fresh", true),
		"TransparentDataEncryptionCannotResume":                   sql.SuspendDatabaseEncryption(ctx, lab.ArticlePrimary, "fresh", false),
	} {
		if got := code(err); got != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
