package load_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// onLab starts a lab with the article's group, and gives the workload's table
// in one of its databases and a client of failover groups.
func onLab(t *testing.T) (*lab.Lab, load.Table, *armsql.FailoverGroupsClient) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
		t.Fatal(err)
	}
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(l.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	o := azure.SQLOptions(cloud.AzurePublic, credential)
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AppendCertsFromPEM(authority)
	o.Dial = sqlconn.FromEnvironment(func(*http.Request) (*url.URL, error) { return url.Parse(l.ProxyURL()) })
	groups, err := armsql.NewFailoverGroupsClient(lab.SubscriptionID, credential, l.ClientOptions(cloud.AzurePublic))
	if err != nil {
		t.Fatal(err)
	}
	table := load.Table{Options: o, Listener: lab.ArticleFailoverGroup + ".database.windows.net", Database: "orders"}
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, table, groups
}

// writers is how many there are.
const writers = 8

// under runs a workload while the group is failed over, which begins once the
// workload does, and ends a while after that.
func under(t *testing.T, table load.Table, failover func(ctx context.Context) error) load.Result {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	warm, done := make(chan struct{}), make(chan error, 1)
	told, past := false, int64(0)
	o := load.Options{
		Open: table.Open, Ledger: load.NewLedger(load.Header{Run: run}), Writers: writers, Readers: 2, Now: time.Now, Wait: wait, Random: rand.Reader,
		GiveUp: 30 * time.Second, Every: 20 * time.Millisecond,
		Progress: func(p load.Progress) {
			if !told && p.Writes > 100 {
				told = true
				close(warm)
			}
			if p.Primary == lab.ArticleSecondary && past == 0 {
				past = p.Writes
			}
			if past > 0 && p.Writes > past+100 {
				stop()
			}
		},
	}
	go func() {
		select {
		case <-warm:
			done <- failover(context.WithoutCancel(ctx))
		case <-ctx.Done():
			done <- ctx.Err()
		}
	}()
	result, err := load.Run(ctx, o)
	if err != nil {
		t.Fatalf("%v; %+v", err, result)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if result.Verification.Server != lab.ArticleSecondary || len(result.Switches) != 1 {
		t.Errorf("%+v %+v", result.Switches, result.Verification)
	}
	return result
}

func finish[T any](ctx context.Context, poller *runtime.Poller[T], err error) error {
	if err != nil {
		return err
	}
	_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
	return err
}

func TestOnTheLabAPlannedFailoverLosesNothing(t *testing.T) {
	_, table, groups := onLab(t)
	result := under(t, table, func(ctx context.Context) error {
		poller, err := groups.BeginFailover(ctx, lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
		return finish(ctx, poller, err)
	})
	if v := result.Verification; !v.OK || v.LedgerHash != v.TableHash {
		t.Errorf("%+v", v)
	}
	t.Logf("writes were without an answer for %s, reads for %s; failures %v %v", result.Writes.Outage.Duration, result.Reads.Outage.Duration, result.Writes.Errors, result.Reads.Errors)
}

// What the lab says that a forced failover threw away is what the ledger finds
// missing, but for writes that were in hand: of those the lab may have thrown
// away one for each writer, which has written it again.
func TestOnTheLabAForcedFailoverLosesWhatTheLabSays(t *testing.T) {
	l, table, groups := onLab(t)
	result := under(t, table, func(ctx context.Context) error {
		poller, err := groups.BeginForceFailoverAllowDataLoss(ctx, lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
		return finish(ctx, poller, err)
	})
	events, err := l.Events()
	if err != nil {
		t.Fatal(err)
	}
	said := int64(-1)
	for _, event := range events {
		if event.Operation == "ForceFailoverAllowDataLoss" && event.Database == "orders" {
			said = int64(event.Transactions) //nolint:gosec // a small number
		}
	}
	v := result.Verification
	if v.Lost > said || v.Lost < said-writers || len(v.Duplicates)+len(v.Corrupted) > 0 {
		t.Errorf("the lab says %d, the ledger %+v", said, v)
	}
	t.Logf("lost by the ledger %d, by the lab %d", v.Lost, said)
}
