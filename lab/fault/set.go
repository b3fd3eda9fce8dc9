package fault

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Set is the faults that are in force. The zero value is of no use: make it
// with NewSet. It is safe for concurrent use.
type Set struct {
	now func() time.Time

	mu      sync.Mutex
	text    Text
	since   time.Time
	calls   int   // of Resource Manager, since the text was set
	matched []int // by rule
	random  *rand.Rand
	tokens  float64
	filled  time.Time
	buckets map[bucketKey]*bucket
	hits    []Hit
}

// Hit is a fault that struck.
type Hit struct {
	At   time.Time `json:"at"`
	Call int       `json:"call,omitempty"`
	Rule string    `json:"rule"`
	What string    `json:"what"` // method and path, or the vault or region
}

// full is more than any bucket holds.
const full = 1e9

// maxHits bounds the list of hits; the oldest go.
const maxHits = 1000

// NewSet makes a set without faults, on the lab's clock.
func NewSet(now func() time.Time) *Set {
	s := &Set{now: now}
	s.Replace(Text{})
	return s
}

// Replace puts a text in force in place of the one before. Counters begin
// anew, and times count from now.
func (s *Set) Replace(text Text) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.since, s.calls, s.matched, s.hits = text, s.now(), 0, make([]int, len(text.Rules)), nil
	s.random = rand.New(rand.NewPCG(text.Seed, text.Seed))
	s.tokens, s.filled, s.buckets = full, s.since, map[bucketKey]*bucket{}
}

// Text is the text that is in force.
func (s *Set) Text() Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// Hits are the faults that struck since the text was set, oldest first.
func (s *Set) Hits() []Hit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Hit{}, s.hits...)
}

func (s *Set) strike(r Rule, what string) {
	if len(s.hits) >= maxHits {
		s.hits = s.hits[1:]
	}
	s.hits = append(s.hits, Hit{At: s.now(), Call: s.calls, Rule: r.Text, What: what})
}

// inForce reports whether it is the rule's time.
func (s *Set) inForce(r Rule) bool {
	passed := s.now().Sub(s.since)
	return passed >= r.After && (r.For == 0 || passed < r.After+r.For)
}

// Next counts a call of Resource Manager and gives the rules that strike it,
// in their order.
func (s *Set) Next(method, path string) []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	lower := strings.ToLower(path)
	var struck []Rule
	for i, r := range s.text.Rules {
		if r.Where != Calls || !s.inForce(r) || !s.matches(i, method, lower) {
			continue
		}
		s.strike(r, method+" "+path)
		struck = append(struck, r)
	}
	return struck
}

func (s *Set) matches(i int, method, path string) bool {
	r := s.text.Rules[i]
	if r.Call != 0 {
		return r.Call == s.calls
	}
	if r.Method != "" && r.Method != method || !strings.Contains(path, r.Resource) {
		return false
	}
	s.matched[i]++
	if r.Nth != 0 && r.Nth != s.matched[i] {
		return false
	}
	return r.Chance == 0 || s.random.Float64() < r.Chance
}

// Vault gives the rule that strikes a call of a vault's data plane.
func (s *Set) Vault(name string) (Rule, bool) {
	return s.first(Vault, strings.ToLower(name), "vault "+name)
}

// RegionDown reports whether a region is down. The region's name is that of
// Azure, such as westeurope.
func (s *Set) RegionDown(name string) bool {
	_, down := s.first(Region, strings.ToLower(name), "region "+name)
	return down
}

// Operation is how much longer an operation takes.
func (s *Set) Operation(kind string) time.Duration {
	r, slow := s.first(Operation, strings.ToLower(kind), "operation "+kind)
	if !slow {
		return 0
	}
	return r.Pause
}

// ReplicaDelay is by how much replication is held back.
func (s *Set) ReplicaDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.text.Rules {
		if r.Where == Replica && s.inForce(r) {
			return r.Pause
		}
	}
	return 0
}

func (s *Set) first(where Where, name, what string) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.text.Rules {
		if r.Where == where && r.Resource == name && s.inForce(r) {
			s.strike(r, what)
			return r, true
		}
	}
	return Rule{}, false
}
