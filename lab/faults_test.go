package lab_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/google/go-cmp/cmp"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/fault"
)

// once gives clients that try each call once, so that a test sees what befell
// it.
func (a *azure) once() *azure {
	a.t.Helper()
	options := a.lab.ClientOptions(a.cloud)
	options.Retry.MaxRetries = -1
	b := *a
	var err error
	if b.sql, err = armsql.NewClientFactory(lab.SubscriptionID, a.cred, options); err != nil {
		a.t.Fatal(err)
	}
	return &b
}

// soon gives clients that retry as Microsoft's do, but do not wait long.
func (a *azure) soon() *azure {
	a.t.Helper()
	options := a.lab.ClientOptions(a.cloud)
	options.Retry.RetryDelay, options.Retry.MaxRetryDelay = time.Millisecond, 10*time.Millisecond
	b := *a
	var err error
	if b.sql, err = armsql.NewClientFactory(lab.SubscriptionID, a.cred, options); err != nil {
		a.t.Fatal(err)
	}
	return &b
}

func (a *azure) faults(text string) {
	a.t.Helper()
	if err := a.lab.SetFaults(text); err != nil {
		a.t.Fatal(err)
	}
}

// struck lists what the faults in force have struck.
func (a *azure) struck() []string {
	var list []string
	for _, hit := range a.lab.Faults().Hits {
		list = append(list, hit.Rule)
	}
	return list
}

func (a *azure) get(server string) (http.Header, error) {
	_, err := a.sql.NewServersClient().Get(a.t.Context(), lab.ArticleGroup, server, nil)
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.RawResponse.Header, err
	}
	return nil, err
}

func statusOf(err error) int {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.StatusCode
	}
	return 0
}

func TestALostReplyHasItsEffectAndACutCallHasNone(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	b := a.once()
	a.faults("on put servers/tdeprimarytest/keys nth 1: lose-reply\non put servers/tdesecondarytest/keys: cut")
	if err := b.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err == nil || statusOf(err) != 0 {
		t.Fatalf("a lost reply is a broken connection: %v", err)
	}
	a.eventually(func() bool { return a.registered(lab.ArticlePrimary)[lab.ArticlePrimaryKey] != "" }, "the call whose reply was lost took effect")
	if err := b.register(lab.ArticleSecondary, lab.ArticlePrimaryKey); err == nil || statusOf(err) != 0 {
		t.Fatalf("a cut call is a broken connection: %v", err)
	}
	if a.registered(lab.ArticleSecondary)[lab.ArticlePrimaryKey] != "" {
		t.Fatal("a call that was cut took effect")
	}
	if diff := cmp.Diff([]string{"on put servers/tdeprimarytest/keys nth 1: lose-reply", "on put servers/tdesecondarytest/keys: cut"}, a.struck()); diff != "" {
		t.Fatal(diff)
	}
	// A client that tries again gets through: the call is safe to repeat.
	a.faults("on put keys nth 1: lose-reply")
	if err := a.soon().register(lab.ArticleSecondary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
}

func TestAStatusComesWithCodeAndRetryAfterInAzuresShape(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("on get servers/tdeprimarytest nth 2: 503 ServiceUnavailable retry-after 7s\non get servers/tdesecondarytest: 409 ConflictingServerOperation")
	b := a.once()
	if _, err := b.get(lab.ArticlePrimary); err != nil {
		t.Fatal(err)
	}
	header, err := b.get(lab.ArticlePrimary)
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || answer.StatusCode != 503 || answer.ErrorCode != "ServiceUnavailable" || header.Get("Retry-After") != "7" || header.Get("x-ms-request-id") == "" {
		t.Fatalf("%v %v", err, header)
	}
	refused(t, func() error { _, err := b.get(lab.ArticleSecondary); return err }(), "ConflictingServerOperation")
	if _, err := b.get(lab.ArticlePrimary); err != nil {
		t.Fatal(err)
	}
}

func TestACallIsHeldBackOnTheLabsClock(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("on get servers/tdeprimarytest: slow 30m")
	ended := make(chan error, 1)
	go func() {
		_, err := a.get(lab.ArticlePrimary)
		ended <- err
	}()
	a.eventually(func() bool { return len(a.struck()) == 1 }, "the call is struck")
	select {
	case err := <-ended:
		t.Fatalf("the call came back at once: %v", err)
	default:
	}
	if err := a.lab.Advance(30 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestSomebodyElseFailsOverAtACall(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "forced "} {
		t.Run(kind+"failover", func(t *testing.T) {
			t.Parallel()
			a := article(t, lab.Options{}, lab.SeedOptions{})
			a.faults("at call 2: " + kind + "failover " + lab.ArticleFailoverGroup + " to " + lab.ArticleSecondary + "\nat call 4: failover nogroup to " + lab.ArticleSecondary)
			if a.role(lab.ArticlePrimary) != "Primary" {
				t.Fatal("call 1 comes before the failover")
			}
			if a.role(lab.ArticlePrimary) != "Secondary" || a.role(lab.ArticleSecondary) != "Primary" {
				t.Fatal("the group did not fail over at call 2")
			}
			a.wrappedBy(lab.ArticleSharedKey)
			_ = a.role(lab.ArticlePrimary)
			hits := a.lab.Faults().Hits
			if last := hits[len(hits)-1]; !strings.Contains(last.What, "refused: (FailoverGroupDoesNotExist)") {
				t.Fatalf("%+v", hits)
			}
		})
	}
}

func TestARateOfCallsIsHeld(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("arm: 429 rate 5/s")
	b, let := a.once(), 0
	var last error
	var header http.Header
	for range 40 {
		if header, last = b.get(lab.ArticlePrimary); last == nil {
			let++
		}
	}
	if let < 5 || let > 30 || statusOf(last) != 429 && let == 40 {
		t.Fatalf("%d of 40 calls at once were let through: %v", let, last)
	}
	if statusOf(last) == 429 && header.Get("Retry-After") != "1" {
		t.Fatal(header)
	}
}

// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
func TestThrottlingByTheDocumentedBuckets(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("arm: throttle")
	client := a.lab.HTTPClient()
	answer, err := a.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	token := answer.Token
	deleteOne := func() (int, http.Header, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "https://management.azure.com"+serverBase+lab.ArticlePrimary+"/firewallRules/none?api-version=2023-08-01", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Header, string(body)
	}
	status, header, _ := deleteOne()
	if got := header.Get("x-ms-ratelimit-remaining-subscription-deletes"); status != 204 || got != "199" {
		t.Fatalf("%d, %s left", status, got)
	}
	if got := header.Get("x-ms-ratelimit-remaining-subscription-global-deletes"); got != "2999" {
		t.Fatalf("%s left to all principals together", got)
	}
	for range 400 {
		status, header, body := deleteOne()
		if status != 429 {
			continue
		}
		if header.Get("Retry-After") != "1" || header.Get("x-ms-ratelimit-remaining-subscription-deletes") != "0" ||
			!strings.Contains(body, `"code":"SubscriptionRequestsThrottled"`) || !strings.Contains(body, "Number of 'delete' requests") {
			t.Fatalf("%v %s", header, body)
		}
		if _, err := a.get(lab.ArticlePrimary); err != nil { // reads have a bucket of their own
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no call of 400 was throttled")
}

func TestLimitsOfTheTenantAreToldAsSuch(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("arm: throttle")
	answer, err := a.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	left := func(path string) map[string]string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://management.azure.com"+path+"?api-version=2022-12-01", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+answer.Token)
		response, err := a.lab.HTTPClient().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		told := map[string]string{}
		for name := range response.Header {
			if limited, is := strings.CutPrefix(name, "X-Ms-Ratelimit-Remaining-"); is {
				told[limited] = response.Header.Get(name)
			}
		}
		return told
	}
	for range 3 {
		_ = left("/subscriptions/" + strings.ToUpper(lab.SubscriptionID))
	}
	if diff := cmp.Diff(map[string]string{"Tenant-Reads": "249", "Tenant-Global-Reads": "3749"}, left("/subscriptions")); diff != "" {
		t.Error(diff)
	}
	got := left("/subscriptions/" + lab.SubscriptionID)
	if n, err := strconv.Atoi(got["Subscription-Reads"]); err != nil || n < 246 || n > 249 || len(got) != 2 || got["Subscription-Global-Reads"] == "16499" {
		t.Error(got)
	}
}

func TestAVaultRefusesClientsAndServersAlike(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.faults("vault testanu2: 403 after 10m")
	if err := a.register(lab.ArticlePrimary, lab.ArticleSecondaryKey); err != nil {
		t.Fatal(err)
	}
	a = a.advance(10 * time.Minute)
	refusedIn(t, a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey), "AzureKeyVaultMissingPermissions", true)
	k := id(t, lab.ArticleSecondaryKey)
	_, err := a.keys(k).GetKey(t.Context(), k.Name, k.Version, nil)
	if statusOf(err) != http.StatusForbidden {
		t.Fatal(err)
	}
	a.faults("vault testanu2: 503 for 5m")
	refusedIn(t, a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey), "AzureKeyVaultConnectionFailed", true)
	a = a.advance(5 * time.Minute)
	if err := a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey); err != nil {
		t.Fatal(err)
	}
}

func (a *azure) openSQL(server, database string) *sql.DB {
	a.t.Helper()
	password, err := a.lab.SQLPassword()
	if err != nil {
		a.t.Fatal(err)
	}
	db, err := sql.Open("sqlserver", fmt.Sprintf("sqlserver://%s%%40%s:%s@%s?database=%s&TrustServerCertificate=true&dial+timeout=5&connection+timeout=5", lab.SQLLogin, server, password, a.lab.SQLAddr(), database))
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestARegionGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	db := a.openSQL(lab.ArticlePrimary, "orders")
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		if err := a.register(server, lab.ArticleSecondaryKey); err != nil {
			t.Fatal(err)
		}
	}
	a.faults("region eastus down for 30m")
	b := a.once()
	refused(t, func() error { _, err := b.get(lab.ArticlePrimary); return err }(), "GatewayTimeout")
	if _, err := b.get(lab.ArticleSecondary); err != nil {
		t.Fatal(err)
	}
	_, err := db.ExecContext(t.Context(), "SELECT 1")
	_, again := db.ExecContext(t.Context(), "SELECT 1")
	if refusal, ok := errors.AsType[mssql.Error](errors.Join(err, again)); !ok || refusal.Number != 40613 {
		t.Fatalf("the SQL endpoint of a region that is down: %v, %v", err, again)
	}
	refusedIn(t, b.failover(lab.ArticleSecondary), "PlannedFailoverTimedOut", true)
	if a.role(lab.ArticleSecondary) != "Secondary" {
		t.Fatal("a planned failover out of a region that is down went through")
	}
	poller, err := a.sql.NewFailoverGroupsClient().BeginForceFailoverAllowDataLoss(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	if _, err := done(t.Context(), poller, err); err != nil {
		t.Fatal(err)
	}
	if a.role(lab.ArticleSecondary) != "Primary" {
		t.Fatal("the forced failover did not change the roles")
	}
	if err := a.openSQL(lab.ArticleSecondary, "orders").PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey); err != nil {
		t.Fatal(err)
	}
	wrapping := func(server string) string {
		state, err := a.lab.EncryptionState(server, "orders")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(state.Thumbprint, "0x")
	}
	after := a.registered(lab.ArticleSecondary)[lab.ArticleSecondaryKey]
	a.eventually(func() bool { return wrapping(lab.ArticleSecondary) == after }, "the new primary's DEK moves")
	if wrapping(lab.ArticlePrimary) == after {
		t.Fatal("a replica in a region that is down follows")
	}
	a = a.advance(30 * time.Minute)
	a.wrappedBy(lab.ArticleSecondaryKey)
	a.eventually(func() bool {
		for _, link := range a.links(lab.ArticleSecondary) {
			if *link.Properties.ReplicationState != "CATCH_UP" {
				return false
			}
		}
		return true
	}, "the links go on when the region is back")
	if err := a.failover(lab.ArticlePrimary); err != nil {
		t.Fatal(err)
	}
}

func TestOperationsAndReplicationTakeLonger(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		if err := a.register(server, lab.ArticlePrimaryKey); err != nil {
			t.Fatal(err)
		}
	}
	a.faults("operation UpsertLogicalServerEncryptionProtector: slow 3m\nreplica: delay 90s")
	poller, err := a.beginProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poller.Poll(t.Context()); err != nil || poller.Done() { //nolint:bodyclose // the SDK has read and closed it
		t.Fatalf("the operation ended at once: %v", err)
	}
	if err := a.lab.Advance(3 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := poller.PollUntilDone(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	thumbprint := a.registered(lab.ArticlePrimary)[lab.ArticlePrimaryKey]
	at := func(server, database string) bool {
		state, err := a.lab.EncryptionState(server, database)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(state.Thumbprint, "0x") == thumbprint
	}
	for _, database := range lab.ArticleDatabases() {
		a.eventually(func() bool { return at(lab.ArticlePrimary, database) }, "the primary's DEK moves")
		if at(lab.ArticleSecondary, database) {
			t.Fatal("the replica follows at once")
		}
	}
	a.advance(90 * time.Second).wrappedBy(lab.ArticlePrimaryKey)
}

func TestFaultsOutliveARestartAndCountOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := lab.Start(t.Context(), lab.Options{Dir: dir, Faults: "seed 3\non any resourcegroups nth 2: 503\non any providers chance 50%: cut"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(a *azure) error {
		return a.once().groupsOnce()
	}
	_ = ask(clients(t, l, cloud.AzurePublic))
	if status := statusOf(ask(clients(t, l, cloud.AzurePublic))); status != 503 {
		t.Fatal(status)
	}
	// Which of the chances strike is the seed's choice; a call that nothing
	// strikes is counted all the same.
	_ = ask(clients(t, l, cloud.AzurePublic))
	before := l.Faults()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, lab.Options{Dir: dir})
	if diff := cmp.Diff(before, again.Faults()); diff != "" || before.Calls != 3 {
		t.Fatalf("%d calls, %s", before.Calls, diff)
	}
	if err := ask(clients(t, again, cloud.AzurePublic)); statusOf(err) == 503 {
		t.Fatal("the second call is struck twice")
	}
	if err := again.AddFaults("at call 5: 500 Boom"); err != nil {
		t.Fatal(err)
	}
	if err := ask(clients(t, again, cloud.AzurePublic)); statusOf(err) != 500 {
		t.Fatal(err)
	}
	if err := again.SetFaults("on put: nonsense"); err == nil {
		t.Fatal("nonsense was taken")
	} else if _, is := lab.IsFaultSyntax(err); !is {
		t.Fatal(err)
	}
}

func (a *azure) groupsOnce() error {
	options := a.lab.ClientOptions(a.cloud)
	options.Retry.MaxRetries = -1
	groups, err := armresources.NewResourceGroupsClient(lab.SubscriptionID, a.cred, options)
	if err != nil {
		a.t.Fatal(err)
	}
	_, err = groups.CheckExistence(a.t.Context(), "none", nil)
	return err
}

// Every example of the page about faults is read, and the page names every
// kind of rule.
func TestThePageAboutFaultsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[fault.Where]bool{}
	effects := map[fault.Effect]bool{}
	for _, block := range regexp.MustCompile("(?s)```text\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		parsed, err := fault.Parse(block[1])
		if err != nil {
			t.Errorf("%v", err)
		}
		for _, rule := range parsed.Rules {
			kinds[rule.Where], effects[rule.Effect] = true, true
		}
	}
	for _, where := range []fault.Where{fault.Calls, fault.Region, fault.Vault, fault.Rate, fault.Throttle, fault.Operation, fault.Replica} {
		if !kinds[where] {
			t.Errorf("the page has no example of kind %d", where)
		}
	}
	for _, effect := range []fault.Effect{fault.LoseReply, fault.Cut, fault.Answer, fault.Slow, fault.Failover} {
		if !effects[effect] {
			t.Errorf("the page has no example of effect %d", effect)
		}
	}
}
