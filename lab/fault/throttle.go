package fault

import (
	"net/http"
	"time"
)

// The token buckets of Resource Manager, for each principal in each scope and
// each kind of operation: so many calls at once, and so many more a second. All
// principals together have one that is fifteen times as large.
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
const (
	readBucket, readRefill     = 250, 25
	writeBucket, writeRefill   = 200, 10
	deleteBucket, deleteRefill = 200, 10
	globalTimes                = 15
)

type bucketKey struct {
	principal   string // empty for all of them together
	all         bool
	scope, kind string
}

type bucket struct {
	tokens float64
	at     time.Time
}

// Caller is whose call it is, and what its limits are counted for.
type Caller struct {
	Principal string
	Scope     string // a subscription's id; empty for the tenant
}

// Allowance says whether a call is over the limits that are in force.
type Allowance struct {
	Wait time.Duration // how long it should wait; 0: it is not over them
	// Left is how many calls the caller's bucket still holds, Global that of all
	// principals together; -1 where no bucket is in force.
	Left, Global int
}

// Throttled counts a call against the limits that are in force.
func (s *Set) Throttled(c Caller, method string) Allowance {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Allowance{Left: -1, Global: -1}
	for i, r := range s.text.Rules {
		if !s.inForce(i) {
			continue
		}
		switch r.Where {
		case Rate:
			a.Wait = s.takeRate(r.Rate)
		case Throttle:
			a = s.takeBuckets(c, method)
		default:
		}
		if a.Wait > 0 {
			s.strike(r, method)
			return a
		}
	}
	return a
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

// takeBuckets takes a token of the caller's bucket and one of that of all, or
// none of either.
func (s *Set) takeBuckets(c Caller, method string) Allowance {
	kind, size, refill := "write", float64(writeBucket), float64(writeRefill)
	switch method {
	case http.MethodGet, http.MethodHead:
		kind, size, refill = "read", readBucket, readRefill
	case http.MethodDelete:
		kind, size, refill = "delete", deleteBucket, deleteRefill
	}
	own := s.filledBucket(bucketKey{principal: c.Principal, scope: c.Scope, kind: kind}, size, refill)
	all := s.filledBucket(bucketKey{all: true, scope: c.Scope, kind: kind}, globalTimes*size, globalTimes*refill)
	a := Allowance{}
	switch {
	case own.tokens < 1:
		a.Wait = untilOne(own.tokens, refill)
	case all.tokens < 1:
		a.Wait = untilOne(all.tokens, globalTimes*refill)
	default:
		own.tokens--
		all.tokens--
	}
	a.Left, a.Global = int(own.tokens), int(all.tokens)
	return a
}

func (s *Set) filledBucket(key bucketKey, size, refill float64) *bucket {
	now := s.now()
	b := s.buckets[key]
	if b == nil {
		b = &bucket{tokens: size, at: now}
		s.buckets[key] = b
	}
	b.tokens = min(size, b.tokens+now.Sub(b.at).Seconds()*refill)
	b.at = now
	return b
}
