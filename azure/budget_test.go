package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/crosskeys/crosskeys/tde"
)

// service is a service with a token bucket, on the time of the test.
type service struct {
	size, refill float64
	mute         bool   // it does not tell how many calls are left
	says         string // what it tells; empty: the truth
	retryAfter   int    // seconds; 0: until there is a token
	answers      func(*http.Request) *http.Response

	mu      sync.Mutex
	tokens  float64
	at      time.Time
	calls   []call
	least   float64 // tokens that were left at the least
	refused int
}

// call is one that the service has seen.
type call struct {
	at      time.Time
	what    string
	refused bool
}

func newService(size, refill float64) *service {
	return &service{size: size, refill: refill, tokens: size, at: time.Now(), least: size}
}

// spend is somebody's call; it gives what is left, and false where it is
// refused.
func (s *service) spend() (float64, bool) {
	now := time.Now()
	s.tokens = min(s.size, s.tokens+now.Sub(s.at).Seconds()*s.refill)
	s.at = now
	if s.tokens < 1 {
		return 0, false
	}
	s.tokens--
	s.least = min(s.least, s.tokens)
	return s.tokens, true
}

// Do answers a request, after as long as Azure takes.
func (s *service) Do(r *http.Request) (*http.Response, error) {
	time.Sleep(20 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	left, let := s.spend()
	s.calls = append(s.calls, call{at: time.Now(), what: r.Method + " " + r.URL.Path, refused: !let})
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}
	if s.answers != nil {
		if own := s.answers(r); own != nil {
			own.Request, own.Body = r, io.NopCloser(strings.NewReader("{}"))
			s.refused++
			return own, nil
		}
	}
	if says := s.says; !s.mute {
		if says == "" {
			says = strconv.Itoa(int(left))
		}
		answer.Header.Set("x-ms-ratelimit-remaining-subscription-reads", says)
	}
	if !let {
		s.refused++
		answer.StatusCode = http.StatusTooManyRequests
		pause := s.retryAfter
		if pause == 0 {
			pause = int((1-s.tokens)/s.refill) + 1
		}
		answer.Header.Set("Retry-After", strconv.Itoa(pause))
	}
	return answer, nil
}

// client calls a service as the SDK does, with the budget or without.
type client struct {
	pipeline runtime.Pipeline
	budget   *budget
}

func newClient(s *service, budgeted bool) *client {
	c := &client{budget: newBudget(time.Now, nil)}
	options := policy.ClientOptions{Transport: s}
	if budgeted {
		options.PerCallPolicies = []policy.Policy{numbering{c.budget}}
		options.PerRetryPolicies = []policy.Policy{c.budget}
	}
	c.pipeline = runtime.NewPipeline("test", "v1", runtime.PipelineOptions{}, &options)
	return c
}

const (
	aRead   = "https://management.azure.com/subscriptions/s/providers/Microsoft.Sql/servers"
	aVault  = "https://v.vault.azure.net/keys/k"
	anOther = "https://management.azure.com/subscriptions/other/providers/Microsoft.Sql/servers"
)

// do makes one call; a 429 that is left over is an error.
func (c *client) do(ctx context.Context, method, url string) error {
	request, err := runtime.NewRequest(ctx, method, url)
	if err != nil {
		return err
	}
	answer, err := c.pipeline.Do(request)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}

// burst makes so many reads at once, and counts those that failed.
func (c *client) burst(ctx context.Context, n int) (failed int) {
	var group sync.WaitGroup
	var mu sync.Mutex
	for range n {
		group.Go(func() {
			if c.do(ctx, http.MethodGet, aRead) != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return failed
}

func TestABurstOfReadsLeavesTheReserveAndIsNeverRefused(t *testing.T) {
	for _, budgeted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(250, 25)
			began := time.Now()
			failed := newClient(s, budgeted).burst(t.Context(), 600)
			t.Logf("budget %t: 600 reads at once: %d refusals, %d failed, %.0f tokens left at the least, %s", budgeted, s.refused, failed, s.least, time.Since(began))
			if !budgeted && s.refused < 300 {
				t.Errorf("without the budget only %d calls were refused: the test shows nothing", s.refused)
			}
			if budgeted && (s.refused > 0 || failed > 0 || s.least < readLimit.reserve-1) {
				t.Errorf("%d refused, %d failed, %.1f tokens left", s.refused, failed, s.least)
			}
			// 200 calls at once, the others as the bucket fills.
			if took := time.Since(began); budgeted && took > 17*time.Second {
				t.Errorf("it took %s, more than the limit asks for", took)
			}
		})
	}
}

// A provider's own limit: the answers tell nothing of it, or of another one.
func TestALimitThatIsNotToldOfIsMetByFewCalls(t *testing.T) {
	for _, test := range []struct {
		says    string
		rate    float64
		reads   int
		refused int // that are met with the budget at the most
	}{
		{"", 20, 300, 17},
		{"1099", 20, 300, 17},
		{"1099", 5, 200, 18},
		{"1099", 2, 100, 19},
	} {
		for _, budgeted := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newService(test.rate, test.rate)
				s.mute, s.says = test.says == "", test.says
				began := time.Now()
				failed := newClient(s, budgeted).burst(t.Context(), test.reads)
				t.Logf("budget %t: %d reads at once at %g/s, %q left: %d refusals, %d failed, %s", budgeted, test.reads, test.rate, test.says, s.refused, failed, time.Since(began))
				if !budgeted && (s.refused < test.reads || failed < test.reads/3) {
					t.Errorf("without the budget only %d calls were refused and %d failed: the test shows nothing", s.refused, failed)
				}
				if budgeted && (s.refused > test.refused || failed > 0) {
					t.Errorf("%d refused, %d failed", s.refused, failed)
				}
			})
		}
	}
}

func TestARefusalHoldsBackEveryCallOfItsKindUntilTheServiceWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1e6, 1e6)
		refuse := true
		s.answers = func(r *http.Request) *http.Response {
			if !refuse || strings.Contains(r.URL.Path, "other") {
				return nil
			}
			return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}}
		}
		c := newClient(s, true)
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.do(t.Context(), http.MethodGet, aRead); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		refuse = false
		for range 5 {
			group.Go(func() {
				if err := c.do(t.Context(), http.MethodGet, aRead); err != nil {
					t.Error(err)
				}
			})
		}
		if err := c.do(t.Context(), http.MethodGet, anOther); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("another subscription has a limit of its own: %v after %s", err, time.Since(began))
		}
		if err := c.do(t.Context(), http.MethodPut, aRead); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("writes have a limit of their own: %v after %s", err, time.Since(began))
		}
		group.Wait()
		refusals := 0
		for _, call := range s.calls[1:] {
			if strings.HasPrefix(call.what, "GET /subscriptions/s/") && call.at.Sub(began) < 30*time.Second {
				t.Errorf("%s after %s", call.what, call.at.Sub(began))
			}
		}
		if refusals = s.refused; refusals != 1 {
			t.Errorf("%d refusals", refusals)
		}
		if took := time.Since(began); took > 34*time.Second {
			t.Errorf("six calls took %s", took)
		}
	})
}

func TestAClientThatEatsTheBudgetIsGivenWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(250, 25)
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		turnedAway := 0
		group.Go(func() { // 22 calls a second of somebody else, that never look
			for ctx.Err() == nil {
				time.Sleep(time.Second / 22)
				s.mu.Lock()
				if _, let := s.spend(); !let {
					turnedAway++
				}
				s.mu.Unlock()
			}
		})
		failed := newClient(s, true).burst(t.Context(), 400)
		stop()
		group.Wait()
		t.Logf("%d refusals of ours, %d of the other client, %.0f tokens left at the least", s.refused, turnedAway, s.least)
		if failed > 0 || s.refused > 0 || turnedAway > 0 {
			t.Errorf("%d failed, %d refused, %d of the other client", failed, s.refused, turnedAway)
		}
	})
}

func TestALargerLimitThanTheDocumentedOneIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1100, 100)
		began := time.Now()
		if failed := newClient(s, true).burst(t.Context(), 900); failed > 0 || s.refused > 0 {
			t.Errorf("%d failed, %d refused", failed, s.refused)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("900 calls of 1100 took %s", took)
		}
	})
}

func TestAChangeInHandIsNotStarvedByReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(250, 25)
		c := newClient(s, true)
		var group sync.WaitGroup
		group.Go(func() {
			if failed := c.burst(t.Context(), 600); failed > 0 {
				t.Errorf("%d reads failed", failed)
			}
		})
		time.Sleep(3 * time.Second) // the reads are at the reserve, and wait
		began := time.Now()
		for range 20 { // a change and its polls
			if err := c.do(t.Context(), http.MethodPut, aRead); err != nil {
				t.Fatal(err)
			}
			if err := c.do(InHand(t.Context()), http.MethodGet, aRead); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 900*time.Millisecond { // 40 calls of 20 ms
			t.Errorf("behind 400 waiting reads, 20 changes and 20 polls took %s", took)
		}
		group.Wait()
	})
}

func TestReadsWaitWhileAChangeIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1e6, 1e6)
		refused := false
		s.answers = func(r *http.Request) *http.Response {
			if r.Method != http.MethodPut || refused {
				return nil
			}
			refused = true
			return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"10"}}}
		}
		c := newClient(s, true)
		began := time.Now()
		if err := c.do(once(t.Context()), http.MethodPut, aRead); err == nil {
			t.Fatal("the change was not refused")
		}
		if err := c.do(InHand(t.Context()), http.MethodGet, aRead); err != nil || time.Since(began) > time.Second {
			t.Fatalf("a read for the change itself: %v after %s", err, time.Since(began))
		}
		if err := c.do(t.Context(), http.MethodGet, aRead); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("the read went after %s, with a change that may be made again after 10s", took)
		}
	})
}

func TestADeadlineIsKeptAndTold(t *testing.T) {
	tooMany := func(*http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"40"}}}
	}
	t.Run("a call whose turn comes after it fails at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(1e6, 1e6)
			s.answers = tooMany
			c := newClient(s, true)
			if err := c.do(once(t.Context()), http.MethodPut, aRead); err == nil {
				t.Fatal("it was not refused")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			err := serviceError("set TDE protector", "s1", tde.KeyID{}, c.do(ctx, http.MethodPut, aRead))
			failure, ok := asServiceError(err)
			if !ok || !failure.NotSent || !failure.Retryable || failure.RetryAfter < 39*time.Second || !strings.Contains(failure.Hint, "same identity") {
				t.Errorf("%+v", failure)
			}
			if want := "writes of subscription s are throttled by Azure: waited 0s, and would have to wait 40s more at the least"; !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
			if time.Since(began) > 0 || len(s.calls) != 1 {
				t.Errorf("it took %s and %d calls", time.Since(began), len(s.calls)-1)
			}
		})
	})
	t.Run("a call that the SDK would repeat too late says why", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(1e6, 1e6)
			s.answers = tooMany
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := newClient(s, true).do(ctx, http.MethodGet, aRead)
			held, is := errors.AsType[*BudgetError](err)
			if !is || !held.Refused || held.Attempted || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			if len(s.calls) != 1 {
				t.Errorf("%d calls", len(s.calls))
			}
		})
	})
	t.Run("a call waits for two minutes at most", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(1e6, 1e6)
			s.answers = func(*http.Request) *http.Response {
				return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}}
			}
			c := newClient(s, true)
			if err := c.do(t.Context(), http.MethodGet, aRead); err == nil {
				t.Fatal("it was not refused")
			}
			held, is := errors.AsType[*BudgetError](c.do(t.Context(), http.MethodGet, aRead))
			if !is || held.Wait < 50*time.Minute || len(s.calls) != 1 {
				t.Errorf("%+v, %d calls", held, len(s.calls))
			}
		})
	})
	t.Run("a call that is given up lets the others go", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(50, 25)
			c := newClient(s, true)
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() { c.burst(ctx, 300) })
			time.Sleep(time.Second)
			cancel()
			group.Wait()
			began := time.Now()
			if err := c.do(t.Context(), http.MethodGet, aRead); err != nil || time.Since(began) > 4*time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
			for _, l := range c.budget.scopes["subscription s"].lanes {
				if len(l.hand)+len(l.rest)+l.pending+l.others != 0 {
					t.Errorf("%s: %d wait, %d are under way", l.of, len(l.hand)+len(l.rest), l.pending)
				}
			}
		})
	})
}

func TestACallThatIsRepeatedKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1e6, 1e6)
		s.answers = func(r *http.Request) *http.Response {
			if len(s.calls) > 1 {
				return nil
			}
			return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"10"}}}
		}
		c := newClient(s, true)
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.do(t.Context(), http.MethodGet, aRead+"/first"); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		for range 10 {
			group.Go(func() {
				if err := c.do(t.Context(), http.MethodGet, aRead+"/later"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := s.calls[1].what; !strings.HasSuffix(got, "/first") {
			t.Errorf("%s came before the call that was refused", got)
		}
	})
}

func TestAWaitOfMoreThanASecondIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1e6, 1e6)
		s.answers = func(*http.Request) *http.Response {
			if len(s.calls) > 1 {
				return nil
			}
			return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"10"}}}
		}
		c := newClient(s, true)
		var told strings.Builder
		c.budget.log = slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if err := c.do(once(t.Context()), http.MethodPut, aRead); err == nil {
			t.Fatal("it was not refused")
		}
		if err := c.do(t.Context(), http.MethodPut, aRead); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"throttle.refused", `msg=throttle.wait of="writes of subscription s" for=10s refused=true in_hand=true`} {
			if strings.Count(told.String(), want) != 1 {
				t.Errorf("%q is not told once in\n%s", want, told.String())
			}
		}
	})
}

func TestAVaultHasABudgetOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(1e6, 1e6)
		s.mute = true
		refused := false
		s.answers = func(*http.Request) *http.Response {
			if refused {
				return nil
			}
			refused = true
			return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"10"}}}
		}
		c := newClient(s, true)
		began := time.Now()
		if err := c.do(once(t.Context()), http.MethodGet, aVault); err == nil {
			t.Fatal("it was not refused")
		}
		if err := c.do(t.Context(), http.MethodGet, aRead); err != nil || time.Since(began) > time.Second {
			t.Errorf("Resource Manager: %v after %s", err, time.Since(began))
		}
		if err := c.do(t.Context(), http.MethodGet, strings.Replace(aVault, "//v.", "//w.", 1)); err != nil || time.Since(began) > time.Second {
			t.Errorf("another vault: %v after %s", err, time.Since(began))
		}
		if err := c.do(t.Context(), http.MethodGet, aVault); err != nil || time.Since(began) < 10*time.Second {
			t.Errorf("the vault itself: %v after %s", err, time.Since(began))
		}
	})
}

func TestTheProvidersOwnThrottlingCounts(t *testing.T) {
	throttled := func(text string) bool {
		answer := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
		defer func() { _ = answer.Body.Close() }()
		return isThrottled(answer)
	}
	if !throttled(`{"error":{"code":"TooManyRequests","message":"m"}}`) {
		t.Error("503 TooManyRequests is throttling")
	}
	if throttled(`{"error":{"code":"ServiceUnavailable"}}`) || throttled("") {
		t.Error("a service that is out does not throttle")
	}
}

func TestRemainingIsTheScarcestOfTheLimits(t *testing.T) {
	for _, test := range []struct {
		header http.Header
		want   float64
	}{
		{http.Header{}, -1},
		{http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Reads": {"1099"}, "X-Ms-Ratelimit-Remaining-Subscription-Global-Reads": {"16500"}}, 1099},
		{http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Writes": {"199"}, "X-Ms-Ratelimit-Remaining-Subscription-Global-Writes": {"150"}}, 10},
		{http.Header{"X-Ms-Ratelimit-Remaining-Tenant-Reads": {"0"}}, 0},
		{http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Deletes": {"many"}}, -1},
		{http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Deletes": {"-5"}}, -1},
		{http.Header{"X-Ms-Ratelimit-Remaining-Resource": {"Microsoft.Compute/HighCostGet3Min;159,Microsoft.Compute/HighCostGet30Min;1259"}}, -1},
		{http.Header{"X-Ms-Ratelimit-Remaining-Resource": {"Microsoft.Compute/A;159,Microsoft.Compute/B;2"}, "X-Ms-Ratelimit-Remaining-Subscription-Reads": {"90"}}, 10},
	} {
		if got := remaining(test.header); got != test.want {
			t.Errorf("%v: %g, want %g", test.header, got, test.want)
		}
	}
}

func FuzzRemaining(f *testing.F) {
	f.Add("Subscription-Reads", "1099")
	f.Add("Resource", "Microsoft.Compute/HighCostGet3Min;159,Microsoft.Compute/HighCostGet30Min;1259")
	f.Add("Subscription-Global-Writes", "11999")
	f.Fuzz(func(t *testing.T, name, value string) {
		got := remaining(http.Header{remainingPrefix + name: {value}})
		if got != -1 && (got < 0 || got > 1<<31) {
			t.Errorf("%q: %q says %g", name, value, got)
		}
	})
}
