package world

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

type signedIn struct{}

// GetToken gives a token that nobody looks at.
func (signedIn) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// throttling refuses every request.
type throttling struct{ calls int }

// Do answers a request.
func (s *throttling) Do(r *http.Request) (*http.Response, error) {
	s.calls++
	return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"40"}}, Body: http.NoBody, Request: r}, nil
}

// A change that was kept back was not made: nobody has to look for its effect.
func TestAChangeThatIsKeptBackIsNotLost(t *testing.T) {
	service := &throttling{}
	c, err := azure.Connect(azure.Config{Cloud: cloud.AzurePublic, Transport: service, Credential: signedIn{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Cloud: c}
	step := plan.Step{Kind: plan.SetProtector, Server: "s1", ResourceGroup: "g", Subscription: "s", Key: tde.KeyID{Host: "v.vault.azure.net", Name: "k", Version: "1"}}
	act := func() *run.CallError {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := w.Act(ctx, step, func(run.Accepted) error { return nil })
		failure, ok := errors.AsType[*run.CallError](err)
		if !ok {
			t.Fatal(err)
		}
		return failure
	}
	if refused := act(); refused.Lost || !refused.Retryable || refused.RetryAfter != 40*time.Second || refused.Status != http.StatusTooManyRequests {
		t.Errorf("refused by the service: %+v", refused)
	}
	kept := act()
	if kept.Lost || !kept.Retryable || kept.RetryAfter < 30*time.Second || kept.RetryAfter > 40*time.Second || kept.Hint == "" {
		t.Errorf("kept back: %+v", kept)
	}
	if service.calls != 1 {
		t.Errorf("%d calls were made", service.calls)
	}
}
