package lab

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/fault"
)

// throttled answers a call that is over the limits in force, and gives nil
// then; else it gives the writer to go on with.
func (l *Lab) throttled(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	caller := fault.Caller{Principal: l.principalOf(r), Scope: subscriptionOf(r.URL.Path)}
	allowance := l.faults.Throttled(caller, r.Method)
	if allowance.Left >= 0 {
		w = &remaining{ResponseWriter: w, method: r.Method, tenant: caller.Scope == "", allowance: allowance}
	}
	if allowance.Wait == 0 {
		return w
	}
	seconds := int64((allowance.Wait + time.Second - 1) / time.Second)
	l.refuse(w, r, arm.Refuse(http.StatusTooManyRequests, "SubscriptionRequestsThrottled",
		"Number of '%s' requests for subscription '%s' actor '%s' exceeded. Please try again after '%d' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for additional information.",
		kindOf(r.Method), caller.Scope, caller.Principal, seconds), allowance.Wait)
	return nil
}

// subscriptionOf is the subscription that a path lies in, in lower case; empty
// for the tenant.
func subscriptionOf(path string) string {
	segments := strings.Split(strings.ToLower(strings.Trim(path, "/")), "/")
	if len(segments) < 2 || segments[0] != "subscriptions" {
		return ""
	}
	return segments[1]
}

func kindOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "read"
	case http.MethodDelete:
		return "delete"
	}
	return "write"
}

// remaining says truly how many calls of its kind the caller has left, and all
// callers together.
type remaining struct {
	http.ResponseWriter
	method    string
	tenant    bool
	allowance fault.Allowance
}

// WriteHeader sets the headers before the status is out.
func (w *remaining) WriteHeader(status int) {
	header, kind, scope := w.Header(), kindOf(w.method)+"s", "subscription-"
	if w.tenant {
		header.Del("x-ms-ratelimit-remaining-subscription-" + kind)
		header.Del("x-ms-ratelimit-remaining-subscription-global-" + kind)
		scope = "tenant-"
	}
	header.Set("x-ms-ratelimit-remaining-"+scope+kind, fmt.Sprint(w.allowance.Left))
	header.Set("x-ms-ratelimit-remaining-"+scope+"global-"+kind, fmt.Sprint(w.allowance.Global))
	w.ResponseWriter.WriteHeader(status)
}
