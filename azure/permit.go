package azure

import (
	"context"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

type permitKey struct{}

// BeforeEachChange gives a context in which every request to Resource Manager
// that may change something is preceded by permit, also each that the SDK
// repeats. A failure of permit keeps the request from being sent; it comes back
// as a *NotSentError.
func BeforeEachChange(ctx context.Context, permit func(context.Context) error) context.Context {
	return context.WithValue(ctx, permitKey{}, permit)
}

// NotSentError says that a request was not sent, since its sender may not.
type NotSentError struct{ Err error }

// Error says why.
func (e *NotSentError) Error() string { return fmt.Sprintf("the request was not sent: %v", e.Err) }

// Unwrap gives the cause.
func (e *NotSentError) Unwrap() error { return e.Err }

// NonRetriable tells the SDK not to try again.
func (e *NotSentError) NonRetriable() {}

// permitting asks before each request that may change something. It is the
// last to see a request before the network does.
type permitting struct{}

// Do sends the request if it may be.
func (permitting) Do(request *policy.Request) (*http.Response, error) {
	raw := request.Raw()
	permit, asked := raw.Context().Value(permitKey{}).(func(context.Context) error)
	if asked && raw.Method != http.MethodGet && raw.Method != http.MethodHead {
		if err := permit(raw.Context()); err != nil {
			return nil, &NotSentError{Err: err}
		}
	}
	return request.Next()
}
