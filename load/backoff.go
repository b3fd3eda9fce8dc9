package load

import "time"

// Backoff is the pause before an operation is tried again: it doubles from First
// to Max, and between half and all of it is taken at random, so that many clients
// do not come back at one moment. Microsoft advises applications to wait 5 seconds
// first and 60 at most; that is too coarse to measure an outage with, so the
// defaults are shorter.
// Source: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-connectivity-issues#retry-logic-for-transient-errors
type Backoff struct {
	First time.Duration // 0: 20 milliseconds
	Max   time.Duration // 0: half a second
}

func (b Backoff) withDefaults() Backoff {
	if b.First <= 0 {
		b.First = 20 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 500 * time.Millisecond
	}
	b.Max = max(b.Max, b.First)
	return b
}

// pause is the wait after the given attempt, the first being 1; random is from
// [0, 1).
func (b Backoff) pause(attempt int, random float64) time.Duration {
	pause := b.First
	for range attempt - 1 {
		if pause >= b.Max {
			break
		}
		pause *= 2
	}
	return time.Duration(float64(min(pause, b.Max)) * (0.5 + random/2))
}
