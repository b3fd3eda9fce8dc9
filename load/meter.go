package load

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/sqlconn"
)

// Series is what the workers of one kind have seen.
type Series struct {
	Done     int64 `json:"done"`     // operations that the server has answered well
	Failures int64 `json:"failures"` // attempts that failed
	// Outage is the longest time from the beginning of an operation that failed
	// at first to its success: what an application's user waits for.
	Outage Outage `json:"longestOutage,omitzero"`
	// Gap is the longest time between two successes of one worker. The pauses
	// that a rate asks for are in it.
	Gap     Outage           `json:"longestGap,omitzero"`
	Latency Latency          `json:"latency"`
	Errors  map[string]int64 `json:"errors"` // failed attempts by the server's error number, "connection" where no answer came
}

// Outage is a time without an answer.
type Outage struct {
	From     time.Time     `json:"from"`
	To       time.Time     `json:"to"`
	Duration time.Duration `json:"nanoseconds"`
	Attempts int           `json:"attempts"`
	Worker   int           `json:"worker"`
}

// Latency is how long operations took, from their beginning to their success.
type Latency struct {
	P50 time.Duration `json:"p50"` // nanoseconds, as all of them
	P95 time.Duration `json:"p95"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// Progress is how it goes.
type Progress struct {
	Elapsed      time.Duration
	Writes       int64 // acknowledged so far
	Reads        int64
	WriteRate    float64 // a second, since the last progress
	ReadRate     float64
	WriteLatency Latency // since the last progress
	ReadLatency  Latency
	Primary      string // the server that took writes last
	Failures     int64  // attempts that have failed so far
}

// meter measures. It is safe for concurrent use.
type meter struct {
	mu            sync.Mutex
	started       time.Time
	writes, reads *series
	primary       string
	switches      []Switch
	switched      chan struct{}
	missed        int64
	corrupt       int64
	told          time.Time // of the last progress
}

type series struct {
	Series
	all    histogram
	recent histogram // since the last progress
	last   map[int]time.Time
}

func newMeter(started time.Time) *meter {
	fresh := func() *series { return &series{Series: Series{Errors: map[string]int64{}}, last: map[int]time.Time{}} }
	return &meter{started: started, told: started, writes: fresh(), reads: fresh(), switched: make(chan struct{}, 1), switches: []Switch{}}
}

// done counts a success.
func (m *meter) done(s *series, worker int, began, now time.Time, attempts int, answer Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Done++
	s.all.add(now.Sub(began))
	s.recent.add(now.Sub(began))
	if attempts > 1 {
		s.Outage = longer(s.Outage, Outage{From: began, To: now, Attempts: attempts, Worker: worker})
	}
	if last, some := s.last[worker]; some {
		s.Gap = longer(s.Gap, Outage{From: last, To: now, Attempts: attempts, Worker: worker})
	}
	s.last[worker] = now
	if !answer.Writable || answer.Server == "" || answer.Server == m.primary {
		return
	}
	if m.primary != "" {
		m.switches = append(m.switches, Switch{At: now, From: m.primary, To: answer.Server})
		select {
		case m.switched <- struct{}{}:
		default: // one is waiting to be looked at
		}
	}
	m.primary = answer.Server
}

// unanswered counts an outage that was not over when the end was asked for: it
// lasted at least until then.
func (m *meter) unanswered(s *series, worker int, began, now time.Time, attempts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Outage = longer(s.Outage, Outage{From: began, To: now, Attempts: attempts, Worker: worker})
	if last, some := s.last[worker]; some {
		s.Gap = longer(s.Gap, Outage{From: last, To: now, Attempts: attempts, Worker: worker})
	}
}

func longer(a, b Outage) Outage {
	if b.Duration = b.To.Sub(b.From); b.Duration > a.Duration {
		return b
	}
	return a
}

// failed counts a failed attempt.
func (m *meter) failed(s *series, err error) {
	name := "connection"
	if numbers := sqlconn.Numbers(err); len(numbers) > 0 {
		name = fmt.Sprint(numbers[0])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Failures++
	s.Errors[name]++
}

// read counts what a read found.
func (m *meter) read(found, corrupt bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !found {
		m.missed++
	}
	if corrupt {
		m.corrupt++
	}
}

func (m *meter) result() Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	finish := func(s *series) Series {
		s.Latency = s.all.latency()
		return s.Series
	}
	return Result{Writes: finish(m.writes), Reads: finish(m.reads), MissedReads: m.missed, CorruptReads: m.corrupt, Switches: m.switches}
}

func (m *meter) progress(now time.Time) Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	seconds := cmp.Or(now.Sub(m.told).Seconds(), 1)
	p := Progress{
		Elapsed: now.Sub(m.started), Writes: m.writes.Done, Reads: m.reads.Done, Primary: m.primary, Failures: m.writes.Failures + m.reads.Failures,
		WriteRate: float64(m.writes.recent.count) / seconds, ReadRate: float64(m.reads.recent.count) / seconds,
		WriteLatency: m.writes.recent.latency(), ReadLatency: m.reads.recent.latency(),
	}
	m.told, m.writes.recent, m.reads.recent = now, histogram{}, histogram{}
	return p
}

// histogram counts durations in buckets that grow by an eighth of a power of
// two each, from a microsecond to days: a quantile is off by less than 10 %.
type histogram struct {
	buckets [320]int64
	count   int64
	max     time.Duration
}

func bucketOf(d time.Duration) int {
	units, octave := uint64(max(d, 0)/time.Microsecond), 0
	for units >= 16 {
		units >>= 1
		octave++
	}
	if octave == 0 {
		return int(units)
	}
	return min(octave*8+int(units), 319)
}

// upTo is the upper end of a bucket.
func upTo(bucket int) time.Duration {
	if bucket < 16 {
		return time.Duration(bucket+1) * time.Microsecond
	}
	octave := bucket/8 - 1
	return time.Duration(uint64(bucket-octave*8+1)<<octave) * time.Microsecond
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)]++
	h.count++
	h.max = max(h.max, d)
}

func (h *histogram) latency() Latency {
	return Latency{P50: h.quantile(0.50), P95: h.quantile(0.95), P99: h.quantile(0.99), Max: h.max}
}

func (h *histogram) quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	left := int64(q * float64(h.count))
	for i, n := range h.buckets {
		if left < n {
			return min(upTo(i), h.max)
		}
		left -= n
	}
	return h.max
}
