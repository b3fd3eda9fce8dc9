package azure_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/memnet"
	"github.com/crosskeys/crosskeys/tde"
)

// counting counts the answers that a client gets.
type counting struct {
	next policy.Transporter

	mu      sync.Mutex
	calls   int
	refused int
}

// Do sends a request.
func (c *counting) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.next.Do(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if err == nil && answer.StatusCode == http.StatusTooManyRequests {
		c.refused++
	}
	return answer, err
}

// burst makes so many reads at once; it gives how many failed, and counts anew.
func (c *counting) burst(n int, read func() error) (failed int, took time.Duration) {
	c.calls, c.refused = 0, 0
	began := time.Now()
	var group sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		group.Go(func() { errs[i] = read() })
	}
	group.Wait()
	return len(slices.DeleteFunc(errs, func(err error) bool { return err == nil })), time.Since(began)
}

// bubble runs a test against a lab on virtual time.
func bubble(t *testing.T, faults string, test func(*testing.T, *lab.Lab, *azure.Cloud, *armsql.ClientFactory, *counting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := lab.Start(t.Context(), lab.Options{Network: memnet.New()})
		if err != nil {
			t.Fatal(err)
		}
		client := l.HTTPClient()
		defer func() {
			client.CloseIdleConnections()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := l.SetFaults(faults); err != nil {
			t.Fatal(err)
		}
		credential, err := l.Credential(cloud.AzurePublic)
		if err != nil {
			t.Fatal(err)
		}
		count := &counting{next: client}
		budgeted, err := azure.Connect(azure.Config{Cloud: cloud.AzurePublic, SubscriptionID: lab.SubscriptionID, Transport: count, Credential: credential, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		plain, err := armsql.NewClientFactory(lab.SubscriptionID, credential, &arm.ClientOptions{
			ClientOptions: policy.ClientOptions{Cloud: cloud.AzurePublic, Transport: count}, DisableRPRegistration: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, l, budgeted, plain, count)
	})
}

var primary = tde.Server{Name: lab.ArticlePrimary, ResourceGroup: lab.ArticleGroup, Subscription: lab.SubscriptionID}

// The same reads by the SDK alone and with the throttling budget, against the
// lab's limits.
func TestReadsKeepToTheLabsLimits(t *testing.T) {
	bubble(t, "arm: throttle", func(t *testing.T, l *lab.Lab, budgeted *azure.Cloud, plain *armsql.ClientFactory, count *counting) {
		protectors := plain.NewEncryptionProtectorsClient()
		bySDK := func() error {
			_, err := protectors.Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, armsql.EncryptionProtectorNameCurrent, nil)
			return err
		}
		withBudget := func() error {
			_, err := budgeted.ReadProtector(t.Context(), primary)
			return err
		}
		for _, test := range []struct {
			faults  string
			reads   int
			without int // refusals that the SDK alone meets at the least, so that the test shows something
			with    int // that are met with the budget at the most
			within  time.Duration
		}{
			{"arm: throttle", 400, 300, 0, 10 * time.Second},
			{"arm: 429 rate 20/s", 120, 200, 17, 20 * time.Second},
		} {
			if err := l.SetFaults(test.faults); err != nil {
				t.Fatal(err)
			}
			failed, took := count.burst(test.reads, bySDK)
			t.Logf("%s: %d reads at once by the SDK alone: %d of %d calls refused, %d reads failed, %s", test.faults, test.reads, count.refused, count.calls, failed, took)
			if count.refused < test.without {
				t.Errorf("%d refusals are too few to show anything", count.refused)
			}
			time.Sleep(time.Minute) // the limits have recovered
			failed, took = count.burst(test.reads, withBudget)
			t.Logf("%s: %d reads at once with the budget: %d of %d calls refused, %d reads failed, %s", test.faults, test.reads, count.refused, count.calls, failed, took)
			if count.refused > test.with || failed > 0 || took > test.within {
				t.Errorf("%d refused, %d failed, %s", count.refused, failed, took)
			}
		}
	})
}

// A change goes on while the reads of a whole fleet are kept back, and the tool's
// reads leave to others what they need.
func TestAChangeIsNotStarvedByAFleetOfReads(t *testing.T) {
	bubble(t, "arm: throttle", func(t *testing.T, _ *lab.Lab, budgeted *azure.Cloud, plain *armsql.ClientFactory, count *counting) {
		ctx, stop := context.WithCancel(t.Context())
		var fleet sync.WaitGroup
		for range 60 {
			fleet.Go(func() {
				for ctx.Err() == nil {
					if _, err := budgeted.ReadKeys(ctx, primary); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(15 * time.Second)
		key, err := tde.ParseKeyID(lab.ArticlePrimaryKey)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := budgeted.RegisterKey(t.Context(), primary, key, nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("behind the reads, registering a key took %s", took)
		}
		// Another program of the same principal that knows nothing of any of this.
		for range 40 {
			if _, err := plain.NewServersClient().Get(policy.WithRetryOptions(t.Context(), policy.RetryOptions{MaxRetries: -1}), lab.ArticleGroup, lab.ArticlePrimary, nil); err != nil {
				t.Fatalf("another client of the same principal: %v", err)
			}
		}
		stop()
		fleet.Wait()
		if count.refused > 0 {
			t.Errorf("%d calls were refused", count.refused)
		}
	})
}
