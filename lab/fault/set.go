package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
	since   []time.Time // by rule
	calls   int         // of Resource Manager, since the text was set
	matched []int       // by rule
	random  *rand.Rand
	draws   int // numbers taken from random
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

// State is what of a Set outlives a restart: the text with its counters, the
// times from which its rules count, and what struck. The token buckets begin
// full again.
type State struct {
	Text    string      `json:"text"`
	Since   []time.Time `json:"since,omitempty"`   // by rule
	Calls   int         `json:"calls"`             // of Resource Manager, since the text was set
	Matched []int       `json:"matched,omitempty"` // by rule
	Draws   int         `json:"draws,omitempty"`   // of chance
	Hits    []Hit       `json:"hits"`
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
	now := s.now()
	s.text, s.calls, s.matched, s.hits, s.draws = text, 0, make([]int, len(text.Rules)), nil, 0
	s.since = slices.Repeat([]time.Time{now}, len(text.Rules))
	s.random = rand.New(rand.NewPCG(text.Seed, text.Seed))
	s.tokens, s.filled, s.buckets = full, now, map[bucketKey]*bucket{}
}

// Add puts further rules in force behind those that are. Counters go on; the
// times of the new rules count from now. A seed in the text is left out where
// rules are in force already.
func (s *Set) Add(text Text) error {
	s.mu.Lock()
	if len(s.text.Rules) == 0 {
		s.mu.Unlock()
		s.Replace(text)
		return nil
	}
	defer s.mu.Unlock()
	if len(s.text.Rules)+len(text.Rules) > maxRules {
		return fmt.Errorf("the text of faults has more than %d rules", maxRules)
	}
	for _, rule := range text.Rules {
		s.text.Rules = append(slices.Clone(s.text.Rules), rule)
		s.since, s.matched = append(s.since, s.now()), append(s.matched, 0)
	}
	return nil
}

// Text is the text that is in force.
func (s *Set) Text() Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// State is the set's state, to be kept and restored.
func (s *Set) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{
		Text: s.text.String(), Since: slices.Clone(s.since), Calls: s.calls, Matched: slices.Clone(s.matched), Draws: s.draws,
		Hits: append([]Hit{}, s.hits...),
	}
}

// Restore takes a kept state up.
func (s *Set) Restore(state State) error {
	text, err := Parse(state.Text)
	if err != nil {
		return fmt.Errorf("restore faults: %w", err)
	}
	if len(state.Since) != len(text.Rules) || len(state.Matched) != len(text.Rules) {
		return fmt.Errorf("restore faults: %d rules with %d times and %d counters", len(text.Rules), len(state.Since), len(state.Matched))
	}
	s.Replace(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.calls, s.matched, s.hits = slices.Clone(state.Since), state.Calls, slices.Clone(state.Matched), slices.Clone(state.Hits)
	for range state.Draws {
		s.draw()
	}
	return nil
}

// Hits are the faults that struck since the text was set, oldest first.
func (s *Set) Hits() []Hit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Hit{}, s.hits...)
}

// Strike notes that a rule has struck, and what it struck.
func (s *Set) Strike(r Rule, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strike(r, what)
}

func (s *Set) strike(r Rule, what string) {
	if len(s.hits) >= maxHits {
		s.hits = s.hits[1:]
	}
	s.hits = append(s.hits, Hit{At: s.now(), Call: s.calls, Rule: r.Text, What: what})
}

// inForce reports whether it is the rule's time.
func (s *Set) inForce(i int) bool {
	r, passed := s.text.Rules[i], s.now().Sub(s.since[i])
	return passed >= r.After && (r.For == 0 || passed < r.After+r.For)
}

// Turn is a moment at which a rule comes into force, or ends.
type Turn struct {
	At   time.Time
	Rule Rule
	Ends bool
}

// Turns are the turns of the rules after one moment and up to another.
func (s *Set) Turns(after, until time.Time) (turns []Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.text.Rules {
		from := s.since[i].Add(r.After)
		for _, turn := range []Turn{{At: from, Rule: r}, {At: from.Add(r.For), Rule: r, Ends: true}} {
			if turn.At.After(after) && !turn.At.After(until) && (!turn.Ends || r.For > 0) {
				turns = append(turns, turn)
			}
		}
	}
	return turns
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
		if r.Where != Calls || !s.inForce(i) || !s.matches(i, method, lower) {
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
	return r.Chance == 0 || s.draw() < r.Chance
}

func (s *Set) draw() float64 {
	s.draws++
	return s.random.Float64()
}

// Vault gives the rule that strikes the calls of a vault's data plane now.
func (s *Set) Vault(name string) (Rule, bool) { return s.first(Vault, name) }

// VaultAt gives the rule that strikes, or will have struck, a vault's data
// plane at a moment.
func (s *Set) VaultAt(name string, at time.Time) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.text.Rules {
		passed := at.Sub(s.since[i])
		if r.Where == Vault && strings.EqualFold(r.Resource, name) && passed >= r.After && (r.For == 0 || passed < r.After+r.For) {
			return r, true
		}
	}
	return Rule{}, false
}

// Region gives the rule by which a region is down now. The region's name is
// that of Azure, such as westeurope.
func (s *Set) Region(name string) (Rule, bool) { return s.first(Region, name) }

// RegionDown reports whether a region is down.
func (s *Set) RegionDown(name string) bool {
	_, down := s.first(Region, name)
	return down
}

// Operation is how much longer an operation takes that begins now.
func (s *Set) Operation(kind string) time.Duration {
	r, slow := s.first(Operation, kind)
	if !slow {
		return 0
	}
	return r.Pause
}

// ReplicaDelay is by how much replication is held back.
func (s *Set) ReplicaDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.text.Rules {
		if r.Where == Replica && s.inForce(i) {
			return r.Pause
		}
	}
	return 0
}

func (s *Set) first(where Where, name string) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.text.Rules {
		if r.Where == where && strings.EqualFold(r.Resource, name) && s.inForce(i) {
			return r, true
		}
	}
	return Rule{}, false
}
