package fault

import (
	"net/http"
	"time"
)

// The token buckets of Resource Manager, for each principal and kind of
// operation: so many calls at once, and so many more a second.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
const (
	readBucket, readRefill     = 250, 25
	writeBucket, writeRefill   = 200, 10
	deleteBucket, deleteRefill = 200, 10
)

type bucketKey struct{ principal, kind string }

type bucket struct {
	tokens float64
	at     time.Time
}

// Throttled says whether a call of a principal is over the limits that are in
// force, and how long it should wait; left is how many calls its bucket still
// holds, -1 where no bucket is in force.
func (s *Set) Throttled(principal, method string) (wait time.Duration, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left = -1
	for i, r := range s.text.Rules {
		if !s.inForce(i) {
			continue
		}
		switch r.Where {
		case Rate:
			if wait := s.takeRate(r.Rate); wait > 0 {
				s.strike(r, method)
				return wait, left
			}
		case Throttle:
			var wait time.Duration
			if wait, left = s.takeBucket(principal, method); wait > 0 {
				s.strike(r, method)
				return wait, left
			}
		default:
		}
	}
	return 0, left
}

func (s *Set) takeRate(rate float64) time.Duration {
	now := s.now()
	s.tokens = min(max(rate, 1), s.tokens+now.Sub(s.filled).Seconds()*rate)
	s.filled = now
	if s.tokens < 1 {
		return untilOne(s.tokens, rate)
	}
	s.tokens--
	return 0
}

// untilOne is how long a bucket takes to hold a token again, and never nothing.
func untilOne(tokens, refill float64) time.Duration {
	return max(time.Duration((1-tokens)/refill*float64(time.Second)), time.Nanosecond)
}

func (s *Set) takeBucket(principal, method string) (time.Duration, int) {
	kind, size, refill := "write", float64(writeBucket), float64(writeRefill)
	switch method {
	case http.MethodGet, http.MethodHead:
		kind, size, refill = "read", readBucket, readRefill
	case http.MethodDelete:
		kind, size, refill = "delete", deleteBucket, deleteRefill
	}
	key, now := bucketKey{principal, kind}, s.now()
	b := s.buckets[key]
	if b == nil {
		b = &bucket{tokens: size, at: now}
		s.buckets[key] = b
	}
	b.tokens = min(size, b.tokens+now.Sub(b.at).Seconds()*refill)
	b.at = now
	if b.tokens < 1 {
		return untilOne(b.tokens, refill), 0
	}
	b.tokens--
	return 0, int(b.tokens)
}
