package gateway

import (
	"net/http"
	"sync"
)

// requests counts those that are being answered. The zero value has none; it
// is safe for concurrent use.
type requests struct {
	mu      sync.Mutex
	running int
	waiting chan struct{} // closed when running has come to zero; nil when nobody waits
}

// count wraps a handler so that its requests are counted.
func (q *requests) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q.add(1)
		defer q.add(-1)
		next.ServeHTTP(w, r)
	})
}

func (q *requests) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running += n
	if q.running == 0 && q.waiting != nil {
		close(q.waiting)
		q.waiting = nil
	}
}

// ended is closed as soon as none is running.
func (q *requests) ended() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running > 0 {
		if q.waiting == nil {
			q.waiting = make(chan struct{})
		}
		return q.waiting
	}
	none := make(chan struct{})
	close(none)
	return none
}
