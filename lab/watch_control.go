package lab

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
)

// followLimit bounds how long one question waits for news, in the machine's
// time.
const followLimit = 30 * time.Second

// handleMonitor serves the monitor's intervals on the control endpoint; with
// wait=true once there is news, or after half a minute.
func (l *Lab) handleMonitor(mux *http.ServeMux) {
	mux.HandleFunc("GET /_lab/monitor", l.owned(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("wait") == "true" {
			l.awaitNews(r.Context())
		}
		intervals, err := l.Monitor()
		answer(w, intervals, err)
	}))
}

func (l *Lab) awaitNews(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	select {
	case <-l.monitor.Next():
	case <-l.done:
	case <-ctx.Done():
	}
}

// Monitor asks for the intervals in which a rule did not hold; with wait, once
// the monitor has judged again.
func (r *Remote) Monitor(ctx context.Context, wait bool) (intervals []monitor.Interval, err error) {
	query := url.Values{}
	if wait {
		query.Set("wait", "true")
	}
	return intervals, r.call(ctx, http.MethodGet, "/monitor?"+query.Encode(), &intervals)
}

// Events asks for what the servers did by themselves.
func (r *Remote) Events(ctx context.Context) (events []sqlserver.Event, err error) {
	return events, r.call(ctx, http.MethodGet, "/events", &events)
}
