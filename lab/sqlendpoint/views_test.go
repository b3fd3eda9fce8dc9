package sqlendpoint_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/tde"
)

func do(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// arm is a client of the lab's Resource Manager.
func arm(t testing.TB, l *lab.Lab) *armsql.ClientFactory {
	t.Helper()
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	factory, err := armsql.NewClientFactory(lab.SubscriptionID, credential, l.ClientOptions(cloud.AzurePublic))
	if err != nil {
		t.Fatal(err)
	}
	return factory
}

func failOver(t testing.TB, l *lab.Lab, to string) {
	t.Helper()
	poller, err := arm(t, l).NewFailoverGroupsClient().BeginFailover(t.Context(), lab.ArticleGroup, to, lab.ArticleFailoverGroup, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for !poller.Done() {
		if _, err := poller.Poll(ctx); err != nil { //nolint:bodyclose // the SDK has read and closed it
			t.Fatal(err)
		}
	}
}

func disableSharedKey(t testing.TB, l *lab.Lab) {
	t.Helper()
	key, err := tde.ParseKeyID(lab.ArticleSharedKey)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := azkeys.NewClient("https://"+key.Host, credential, &azkeys.ClientOptions{ClientOptions: l.ClientOptions(cloud.AzurePublic).ClientOptions})
	if err != nil {
		t.Fatal(err)
	}
	off := azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}
	if _, err := keys.UpdateKey(t.Context(), key.Name, key.Version, off, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFirewall(t *testing.T) {
	l := seeded(t)
	rules := arm(t, l).NewFirewallRulesClient()
	if _, err := rules.Delete(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "loopback", nil); err != nil {
		t.Fatal(err)
	}
	err := connect(t, l, primary, "master").PingContext(t.Context())
	wantError(t, err, 40615)
	if err == nil || !strings.Contains(err.Error(), "Client with IP address '127.0.0.1' is not allowed to access the server.") {
		t.Error(err)
	}
	if err := connect(t, l, secondary, "master").PingContext(t.Context()); err != nil {
		t.Error("the other server:", err)
	}
	if _, err := rules.CreateOrUpdate(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, "mine", armsql.FirewallRule{
		Properties: &armsql.ServerFirewallRuleProperties{StartIPAddress: to.Ptr("127.0.0.0"), EndIPAddress: to.Ptr("127.0.0.255")},
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, l, primary, "master").PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUsers(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	admin := connect(t, l, primary, database)
	do(t, admin, "CREATE USER alice WITH PASSWORD = 'Wonder-land1'; CREATE TABLE dbo.t (id int); INSERT dbo.t VALUES (7); GRANT SELECT ON dbo.t TO alice")
	alice := open(t, dsn(l, primary, "alice", "Wonder-land1", database))
	t.Run("a contained user sees what is granted", func(t *testing.T) {
		if got := ask[int](t, alice, "SELECT id FROM dbo.t"); got != 7 {
			t.Error(got)
		}
		_, err := alice.ExecContext(t.Context(), "DELETE dbo.t")
		wantError(t, err, 229)
		wantError(t, open(t, dsn(l, primary, "alice", "wrong", database)).PingContext(t.Context()), 18456)
		wantError(t, open(t, dsn(l, primary, "alice", "Wonder-land1", "master")).PingContext(t.Context()), 18456)
	})
	t.Run("management views need VIEW DATABASE STATE", func(t *testing.T) {
		for _, view := range []string{"sys.dm_database_encryption_keys", "sys.dm_db_log_info(NULL)", "sys.dm_geo_replication_link_status"} {
			var n int
			wantError(t, alice.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+view).Scan(&n), 262)
		}
		if got := ask[int](t, alice, "SELECT COUNT(*) FROM sys.dm_exec_sessions"); got != 1 {
			t.Errorf("%d sessions", got)
		}
		do(t, admin, "GRANT VIEW DATABASE STATE TO alice")
		if got := ask[int](t, alice, "SELECT COUNT(*) FROM sys.dm_database_encryption_keys WHERE database_id <> 2"); got != 1 {
			t.Errorf("%d rows", got)
		}
		if got := ask[int](t, alice, "SELECT COUNT(*) FROM sys.dm_exec_sessions"); got < 2 {
			t.Errorf("%d sessions", got)
		}
	})
	t.Run("a user may not alter the database", func(t *testing.T) {
		_, err := alice.ExecContext(t.Context(), "ALTER DATABASE CURRENT SET ENCRYPTION OFF")
		wantError(t, err, 5011)
		_, err = alice.ExecContext(t.Context(), "KILL 51")
		wantError(t, err, 6102)
	})
	t.Run("a principal of Entra ID that is not the administrator needs a user", func(t *testing.T) {
		for _, server := range []string{lab.ArticlePrimary} {
			poller, err := arm(t, l).NewServerAzureADAdministratorsClient().BeginDelete(t.Context(), lab.ArticleGroup, server, armsql.AdministratorNameActiveDirectory, nil)
			if err != nil {
				t.Fatal(err)
			}
			for !poller.Done() {
				if _, err := poller.Poll(t.Context()); err != nil { //nolint:bodyclose // the SDK has read and closed it
					t.Fatal(err)
				}
			}
		}
		login := func() *sql.DB {
			connector, err := mssql.NewAccessTokenConnector(dsn(l, primary, "", "", database), token(t, l))
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			t.Cleanup(func() { _ = db.Close() })
			return db
		}
		wantError(t, login().PingContext(t.Context()), 18456)
		do(t, admin, "CREATE USER ["+lab.ClientID+"] FROM EXTERNAL PROVIDER; ALTER ROLE db_datareader ADD MEMBER ["+lab.ClientID+"]")
		if got := ask[int](t, login(), "SELECT id FROM dbo.t"); got != 7 {
			t.Error(got)
		}
		_, err := login().ExecContext(t.Context(), "DELETE dbo.t")
		wantError(t, err, 229)
	})
}

func TestViews(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	user, master := connect(t, l, primary, database), connect(t, l, primary, "master")
	t.Run("sys.databases: all in master, itself elsewhere", func(t *testing.T) {
		if got := ask[int](t, master, "SELECT COUNT(*) FROM sys.databases"); got != 1+len(lab.ArticleDatabases()) {
			t.Errorf("%d databases in master", got)
		}
		if got := ask[int](t, user, "SELECT COUNT(*) FROM sys.databases"); got != 2 {
			t.Errorf("%d databases", got)
		}
		if !ask[bool](t, user, "SELECT is_encrypted FROM sys.databases WHERE name = DB_NAME()") {
			t.Error("not encrypted")
		}
		if got := ask[int](t, user, "SELECT database_id FROM sys.databases WHERE name = DB_NAME()"); got < 5 || got != ask[int](t, user, "SELECT DB_ID()") {
			t.Errorf("database_id %d", got)
		}
	})
	t.Run("the encryption keys' columns and types are those that are documented", func(t *testing.T) {
		rows, err := user.QueryContext(t.Context(), "SELECT * FROM sys.dm_database_encryption_keys WHERE database_id <> 2")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		types, err := rows.ColumnTypes()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range types {
			got = append(got, c.Name()+" "+c.DatabaseTypeName())
		}
		want := []string{
			"database_id INT", "encryption_state INT", "create_date DATETIME", "regenerate_date DATETIME", "modify_date DATETIME", "set_date DATETIME",
			"opened_date DATETIME", "key_algorithm NVARCHAR", "key_length INT", "encryptor_thumbprint VARBINARY", "encryptor_type NVARCHAR", "percent_complete REAL",
			"encryption_state_desc NVARCHAR", "encryption_scan_state INT", "encryption_scan_state_desc NVARCHAR", "encryption_scan_modify_date DATETIME",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if !rows.Next() || rows.Next() || rows.Err() != nil {
			t.Errorf("not one row: %v", rows.Err())
		}
	})
	t.Run("the log's virtual files carry the thumbprint that the keys show", func(t *testing.T) {
		query := "SELECT COUNT(*) FROM sys.dm_db_log_info(DB_ID()) AS l JOIN sys.dm_database_encryption_keys AS k ON k.encryptor_thumbprint = l.vlf_encryptor_thumbprint WHERE l.vlf_active = 1"
		if got := ask[int](t, user, query); got == 0 {
			t.Error("none")
		}
		if got := ask[int](t, user, "SELECT COUNT(*) FROM sys.dm_db_log_info(999)"); got != 0 {
			t.Errorf("%d of another database", got)
		}
	})
	t.Run("replication, from both ends and from master", func(t *testing.T) {
		if got := ask[string](t, user, "SELECT partner_server + ' ' + role_desc + ' ' + replication_state_desc FROM sys.dm_geo_replication_link_status"); got != lab.ArticleSecondary+" PRIMARY CATCH_UP" {
			t.Error(got)
		}
		if got := ask[sql.NullInt64](t, user, "SELECT replication_lag_sec FROM sys.dm_geo_replication_link_status"); !got.Valid {
			t.Error("the primary knows no lag")
		}
		other := connect(t, l, secondary, database)
		if got := ask[string](t, other, "SELECT partner_server + ' ' + role_desc FROM sys.dm_geo_replication_link_status"); got != lab.ArticlePrimary+" SECONDARY" {
			t.Error(got)
		}
		if got := ask[int](t, master, "SELECT COUNT(*) FROM sys.geo_replication_links WHERE role = 0 AND replication_state = 2"); got != len(lab.ArticleDatabases()) {
			t.Errorf("%d links in master", got)
		}
		do(t, user, "EXEC sp_wait_for_database_copy_sync @target_server = N'"+lab.ArticleSecondary+"', @target_database = N'"+database+"'")
	})
	t.Run("operations and sessions", func(t *testing.T) {
		if got := ask[int](t, master, "SELECT COUNT(*) FROM sys.dm_operation_status WHERE operation = 'CREATE DATABASE' AND state_desc = 'COMPLETED'"); got != len(lab.ArticleDatabases()) {
			t.Errorf("%d databases were created", got)
		}
		if got := ask[string](t, user, "SELECT login_name + ' ' + status FROM sys.dm_exec_sessions WHERE session_id = @@SPID"); got != lab.SQLLogin+" running" {
			t.Error(got)
		}
		if got := ask[string](t, user, "SELECT command FROM sys.dm_exec_requests WHERE session_id = @@SPID"); got != "SELECT" {
			t.Error(got)
		}
		if got := ask[string](t, user, "SELECT client_net_address + ' ' + encrypt_option FROM sys.dm_exec_connections WHERE session_id = @@SPID"); got != "127.0.0.1 TRUE" {
			t.Error(got)
		}
		if got := ask[string](t, user, "SELECT edition FROM sys.database_service_objectives"); got != "GeneralPurpose" {
			t.Error(got)
		}
	})
}

func TestAlterDatabase(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	user := connect(t, l, primary, database)
	waitFor := func(state int) {
		t.Helper()
		for until := time.Now().Add(deadline); ; {
			got := ask[int](t, user, "SELECT encryption_state FROM sys.dm_database_encryption_keys WHERE database_id = DB_ID()")
			if got == state {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("encryption_state %d, not %d", got, state)
			}
		}
	}
	t.Run("TDE goes off and on again", func(t *testing.T) {
		do(t, user, "ALTER DATABASE CURRENT SET ENCRYPTION OFF")
		waitFor(1)
		if ask[bool](t, user, "SELECT is_encrypted FROM sys.databases WHERE database_id = DB_ID()") {
			t.Error("is_encrypted is still on")
		}
		do(t, connect(t, l, primary, "master"), "ALTER DATABASE ["+database+"] SET ENCRYPTION ON")
		waitFor(3)
	})
	t.Run("refusals", func(t *testing.T) {
		_, err := connect(t, l, secondary, "master").ExecContext(t.Context(), "ALTER DATABASE ["+database+"] SET ENCRYPTION OFF")
		wantError(t, err, 3989)
		_, err = connect(t, l, secondary, "master").ExecContext(t.Context(), "ALTER DATABASE ["+database+"] FAILOVER")
		wantError(t, err, 40960)
		_, err = user.ExecContext(t.Context(), "ALTER DATABASE CURRENT FAILOVER")
		wantError(t, err, 40958)
		_, err = user.ExecContext(t.Context(), "ALTER DATABASE nothing SET ENCRYPTION ON")
		wantError(t, err, 5011)
		_, err = connect(t, l, primary, "master").ExecContext(t.Context(), "ALTER DATABASE ["+database+"] MODIFY NAME = other")
		wantError(t, err, 40510)
	})
}

func TestCreateAndDropDatabase(t *testing.T) {
	l := seeded(t)
	master := connect(t, l, primary, "master")
	do(t, master, "CREATE DATABASE fresh (SERVICE_OBJECTIVE = 'GP_Gen5_4')")
	fresh := connect(t, l, primary, "fresh")
	if got := ask[string](t, fresh, "SELECT CONVERT(nvarchar(60), DATABASEPROPERTYEX('fresh', 'ServiceObjective'))"); got != "GP_Gen5_4" {
		t.Error(got)
	}
	do(t, fresh, "CREATE TABLE dbo.t (id int); INSERT dbo.t VALUES (1)")
	_, err := master.ExecContext(t.Context(), "CREATE DATABASE Fresh")
	wantError(t, err, 1801)
	_, err = fresh.ExecContext(t.Context(), "CREATE DATABASE other")
	wantError(t, err, 262)
	do(t, master, "ALTER DATABASE fresh ADD SECONDARY ON SERVER "+lab.ArticleSecondary)
	if got := ask[int](t, connect(t, l, secondary, "fresh"), "SELECT id FROM dbo.t"); got != 1 {
		t.Error(got)
	}
	do(t, fresh, "INSERT dbo.t VALUES (2)")
	do(t, connect(t, l, secondary, "master"), "ALTER DATABASE fresh FAILOVER")
	if got := ask[int](t, connect(t, l, secondary, "fresh"), "SELECT COUNT(*) FROM dbo.t"); got != 2 {
		t.Error(got)
	}
	_, err = connect(t, l, primary, "fresh").ExecContext(t.Context(), "INSERT dbo.t VALUES (3)")
	wantError(t, err, 3906)
	do(t, master, "ALTER DATABASE fresh FORCE_FAILOVER_ALLOW_DATA_LOSS")
	do(t, connect(t, l, primary, "fresh"), "INSERT dbo.t VALUES (3)")
	do(t, master, "ALTER DATABASE fresh REMOVE SECONDARY ON SERVER "+lab.ArticleSecondary)
	do(t, master, "DROP DATABASE fresh")
	wantError(t, connect(t, l, primary, "fresh").PingContext(t.Context()), 4060)
	_, err = master.ExecContext(t.Context(), "DROP DATABASE fresh")
	wantError(t, err, 3701)
	do(t, master, "DROP DATABASE IF EXISTS fresh")
}

func TestSessionsThatEnd(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	t.Run("KILL", func(t *testing.T) {
		victim := connect(t, l, primary, database)
		victim.SetMaxOpenConns(1)
		spid := ask[int](t, victim, "SELECT @@SPID")
		killer := connect(t, l, primary, database)
		done := make(chan error)
		go func() { _, err := victim.ExecContext(t.Context(), "WAITFOR DELAY '00:01:00'"); done <- err }()
		for ask[int](t, killer, "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE session_id = @p1", spid) == 0 {
			if t.Failed() {
				t.FailNow()
			}
		}
		do(t, killer, fmt.Sprintf("KILL %d", spid))
		wantError(t, <-done, 596)
		_, err := killer.ExecContext(t.Context(), fmt.Sprintf("KILL %d", 9999))
		wantError(t, err, 6106)
		_, err = killer.ExecContext(t.Context(), fmt.Sprintf("KILL %d", ask[int](t, killer, "SELECT @@SPID")))
		if err == nil {
			t.Error("a session killed itself")
		}
	})
	t.Run("a request that the client cancels, and the session after it", func(t *testing.T) {
		db := connect(t, l, primary, database)
		db.SetMaxOpenConns(1)
		spid := ask[int](t, db, "SELECT @@SPID")
		do(t, db, "CREATE TABLE dbo.counted (id int); INSERT dbo.counted VALUES (1), (2), (3)")
		for _, statement := range []string{"WAITFOR DELAY '00:01:00'", "SELECT COUNT(*) FROM sys.all_objects a, sys.all_objects b, sys.all_objects c, sys.all_objects d, sys.all_objects e"} {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				var n int64
				done <- db.QueryRowContext(ctx, statement).Scan(&n)
			}()
			for other := connect(t, l, primary, database); ask[int](t, other, "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE session_id = @p1", spid) == 0; {
				if t.Failed() {
					t.FailNow()
				}
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", statement, err)
			}
			if got := ask[int](t, db, "SELECT @@SPID"); got != spid {
				t.Errorf("session %d goes on as %d", spid, got)
			}
			if got := ask[int](t, db, "SELECT COUNT(*) FROM dbo.counted"); got != 3 {
				t.Error(got)
			}
		}
	})
	t.Run("a failover ends the sessions, and the listener leads to the new primary", func(t *testing.T) {
		do(t, connect(t, l, listener, database), "CREATE TABLE dbo.kept (id int); INSERT dbo.kept VALUES (1)")
		idle, busy := connect(t, l, listener, database), connect(t, l, listener, database)
		if err := idle.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { _, err := busy.ExecContext(t.Context(), "WAITFOR DELAY '00:01:00'"); done <- err }()
		for ask[int](t, connect(t, l, primary, "master"), "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE command = 'WAITFOR'") == 0 {
			if t.Failed() {
				t.FailNow()
			}
		}
		failOver(t, l, lab.ArticleSecondary)
		wantError(t, <-done, 40197)
		var server string
		for try := 0; ; try++ { // the pool may hand out its dead connection once
			err := idle.QueryRowContext(t.Context(), "SELECT @@SERVERNAME").Scan(&server)
			if err == nil {
				break
			}
			if try == 3 {
				t.Fatal(err)
			}
		}
		if server != lab.ArticleSecondary {
			t.Errorf("the listener leads to %s", server)
		}
		if got := ask[int](t, idle, "SELECT id FROM dbo.kept"); got != 1 {
			t.Error(got)
		}
		do(t, idle, "INSERT dbo.kept VALUES (2)")
		_, err := connect(t, l, primary, database).ExecContext(t.Context(), "INSERT dbo.kept VALUES (3)")
		wantError(t, err, 3906)
	})
	t.Run("a database that loses its key takes no more logins", func(t *testing.T) {
		own := seeded(t)
		db := connect(t, own, primary, database)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		disableSharedKey(t, own)
		if err := own.Advance(15 * time.Minute); err != nil {
			t.Fatal(err)
		}
		var err error
		for until := time.Now().Add(deadline); err == nil && time.Now().Before(until); {
			err = connect(t, own, primary, database).PingContext(t.Context())
		}
		wantError(t, err, 40613)
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("the session that was there still answers")
		}
		if err := connect(t, own, primary, "master").PingContext(t.Context()); err != nil {
			t.Error("master:", err)
		}
	})
	t.Run("the end of the lab ends them all", func(t *testing.T) {
		own, err := lab.Start(t.Context(), lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := own.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
			t.Fatal(errors.Join(err, own.Close()))
		}
		db := connect(t, own, primary, database)
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if err := own.Close(); err != nil {
			t.Error(err)
		}
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it still answers")
		}
	})
}

// What a client reads while roles change is what retry logic knows.
func TestLoginsDuringFailovers(t *testing.T) {
	l := seeded(t)
	database := lab.ArticleDatabases()[0]
	address := dsn(l, "localhost", lab.SQLLogin+"@"+lab.ArticleFailoverGroup, password(t, l), database)
	stop := make(chan struct{})
	failures := make(chan error, 4)
	var logins atomic.Int64
	for range cap(failures) {
		go func() { failures <- knock(t.Context(), address, stop, &logins) }()
	}
	for i, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary, lab.ArticleSecondary} {
		failOver(t, l, server)
		if got := ask[string](t, connect(t, l, listener, database), "SELECT @@SERVERNAME"); got != server {
			t.Errorf("failover %d: the listener leads to %s", i, got)
		}
	}
	close(stop)
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	if logins.Load() == 0 {
		t.Error("nobody got in")
	}
}

// knock logs in again and again, and gives the first error that is not
// transient.
func knock(ctx context.Context, address string, stop <-chan struct{}, logins *atomic.Int64) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		db, err := sql.Open("sqlserver", address)
		if err != nil {
			return err
		}
		var server string
		err = db.QueryRowContext(ctx, "SELECT @@SERVERNAME").Scan(&server)
		_ = db.Close()
		var refused mssql.Error
		switch {
		case err == nil:
			logins.Add(1)
		case errors.As(err, &refused) && (refused.Number == 40613 || refused.Number == 40197):
		case errors.Is(err, io.EOF):
		default:
			return fmt.Errorf("after %d logins: %w", logins.Load(), err)
		}
	}
}
