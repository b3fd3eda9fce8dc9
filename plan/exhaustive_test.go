package plan_test

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

const (
	maxSmall  = 3 // servers
	smallKeys = 3
	managed   = smallKeys // in place of a protector: the server's own certificate
)

// small is a whole small world as bits: what each server has registered and may
// use, and the place of its protector among the keys.
type small struct {
	registered [maxSmall]uint8
	usable     [maxSmall]uint8
	protector  [maxSmall]uint8
}

// code orders worlds.
func (w small) code() (code uint32) {
	for i := range maxSmall {
		code = code<<8 | uint32(w.registered[i])<<5 | uint32(w.usable[i])<<2 | uint32(w.protector[i])
	}
	return code
}

// materials says which of the keys are copies: equal numbers, equal material.
type materials [smallKeys]uint8

// placement is where a database lives; no secondaries: it is not replicated.
type placement struct {
	primary     int
	secondaries uint8
}

// shape is a way to link servers: two databases and where they live.
type shape struct {
	servers   int
	databases [2]placement
	linked    [maxSmall]uint8
}

func (s shape) String() string {
	var parts []string
	for _, d := range s.databases {
		part := fmt.Sprintf("on %d", d.primary)
		for i := range s.servers {
			if d.secondaries&(1<<i) != 0 {
				part += fmt.Sprintf(" to %d", i)
			}
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("%d servers, %s", s.servers, strings.Join(parts, ", "))
}

// shapes are all components of up to three servers and two databases, but for
// the names of servers and databases.
func shapes() []shape {
	var list []shape
	seen := map[string]bool{}
	for n := 1; n <= maxSmall; n++ {
		var places []placement
		for primary := range n {
			for secondaries := range uint8(1) << n {
				if secondaries&(1<<primary) == 0 {
					places = append(places, placement{primary, secondaries})
				}
			}
		}
		for _, a := range places {
			for _, b := range places {
				s := shape{servers: n, databases: [2]placement{a, b}}
				s.link()
				if s.connected() && !seen[s.String()] {
					list = append(list, s)
					for _, p := range permutations(n) {
						same := s.renamed(p)
						seen[same.String()] = true
						same.databases[0], same.databases[1] = same.databases[1], same.databases[0]
						seen[same.String()] = true
					}
				}
			}
		}
	}
	return list
}

// link fills in who is geo-linked; all members of a group are.
func (s *shape) link() {
	for _, d := range s.databases {
		holders := d.secondaries | 1<<d.primary
		for i := range s.servers {
			if holders&(1<<i) != 0 {
				s.linked[i] |= holders &^ (1 << i)
			}
		}
	}
}

func (s shape) connected() bool {
	found := uint8(1)
	for range s.servers {
		for i := range s.servers {
			if found&(1<<i) != 0 {
				found |= s.linked[i]
			}
		}
	}
	return bits.OnesCount8(found) == s.servers
}

func (s shape) renamed(p []int) shape {
	out := shape{servers: s.servers}
	for i, d := range s.databases {
		out.databases[i] = placement{p[d.primary], renamedSet(d.secondaries, p)}
	}
	out.link()
	return out
}

func renamedSet(set uint8, p []int) (out uint8) {
	for i, to := range p {
		out |= set >> i & 1 << to
	}
	return out
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var list [][]int
	for _, shorter := range permutations(n - 1) {
		for at := range n {
			list = append(list, slices.Insert(slices.Clone(shorter), at, n-1))
		}
	}
	return list
}

// symmetries are the renamings of servers and of keys that change neither the
// shape nor which keys are copies.
func (s shape) symmetries(m materials) (servers, keys [][]int) {
	for _, p := range permutations(s.servers) {
		if s.renamed(p) == s {
			servers = append(servers, p)
		}
	}
	for _, p := range permutations(smallKeys) {
		kept := true
		for a := range smallKeys {
			for b := range smallKeys {
				kept = kept && (m[a] == m[b]) == (m[p[a]] == m[p[b]])
			}
		}
		if kept {
			keys = append(keys, p)
		}
	}
	return servers, keys
}

func (w small) renamed(servers, keys []int) (out small) {
	for i, to := range servers {
		out.registered[to] = renamedSet(w.registered[i], keys)
		out.usable[to] = renamedSet(w.usable[i], keys)
		out.protector[to] = managed
		if p := w.protector[i]; p != managed {
			out.protector[to] = uint8(keys[p])
		}
	}
	return out
}

// rules is the oracle: what Azure allows in a shape, written down once more.
type rules struct {
	shape
	materials
	granting bool // a grant is a call; else the rights stay as they are
}

// opens: the server has registered the key and can use it, or has not and can
// use a registered copy.
func (r rules) opens(w *small, at int, k uint8) bool {
	if w.registered[at]&(1<<k) != 0 {
		return w.usable[at]&(1<<k) != 0
	}
	for other := range uint8(smallKeys) {
		if r.materials[other] == r.materials[k] && w.registered[at]&w.usable[at]&(1<<other) != 0 {
			return true
		}
	}
	return false
}

// legal: every server can use its protector, and every partner can open what it
// wraps.
func (r rules) legal(w *small) bool {
	for i := range r.servers {
		p := w.protector[i]
		if p == managed {
			continue
		}
		if w.registered[i]&w.usable[i]&(1<<p) == 0 {
			return false
		}
		for j := range r.servers {
			if r.linked[i]&(1<<j) != 0 && !r.opens(w, j, p) {
				return false
			}
		}
	}
	return true
}

// next are the worlds that are one call away, which Azure does not refuse and
// after which the rules hold.
func (r rules) next(w small, visit func(small)) {
	try := func(next small) {
		if next != w && r.legal(&next) {
			visit(next)
		}
	}
	for i := range r.servers {
		for k := range uint8(smallKeys) {
			if next := w; r.granting {
				next.usable[i] |= 1 << k
				try(next)
			}
			if next := w; w.usable[i]&(1<<k) != 0 {
				next.registered[i] |= 1 << k
				try(next)
			}
			next := w
			next.protector[i] = k
			try(next)
		}
		next := w
		next.protector[i] = managed
		try(next)
	}
}

// least finds by exhaustive search, for all protectors that can be reached from
// start, the least number of calls.
func (r rules) least(start small) map[[maxSmall]uint8]int {
	reached := map[small]int{start: 0}
	least := map[[maxSmall]uint8]int{start.protector: 0}
	queue := []small{start}
	all := 1 << (2 * r.servers)
	for i := 0; i < len(queue) && len(least) < all; i++ {
		calls := reached[queue[i]] + 1
		r.next(queue[i], func(next small) {
			if _, known := reached[next]; known {
				return
			}
			reached[next] = calls
			queue = append(queue, next)
			if _, known := least[next.protector]; !known {
				least[next.protector] = calls
			}
		})
	}
	return least
}

// starts are the legal worlds, one of each kind that differs by names alone;
// all says that every server may use every key.
func (r rules) starts(all bool) []small {
	servers, keys := r.symmetries(r.materials)
	var list []small
	var fill func(w small, i int)
	fill = func(w small, i int) {
		if i == r.servers {
			if r.legal(&w) && comesFirst(w, servers, keys) {
				list = append(list, w)
			}
			return
		}
		for p := range uint8(managed + 1) {
			for registered := range uint8(1) << smallKeys {
				for usable := range uint8(1) << smallKeys {
					if p != managed && registered&usable&(1<<p) == 0 || all && usable != 1<<smallKeys-1 {
						continue
					}
					w.protector[i], w.registered[i], w.usable[i] = p, registered, usable
					fill(w, i+1)
				}
			}
		}
	}
	fill(small{}, 0)
	return list
}

// comesFirst reports whether no other names would come before those that w has.
func comesFirst(w small, servers, keys [][]int) bool {
	for _, s := range servers {
		for _, k := range keys {
			if w.renamed(s, k).code() < w.code() {
				return false
			}
		}
	}
	return true
}

func (r rules) world(w small) *tdetest.World {
	t := &tdetest.World{}
	t.ReadAt, t.Group = tdetest.Now(), "fog"
	for i := range r.servers {
		t.AddServer(smallServer(i), fmt.Sprintf("Region %d", i))
	}
	for k := range uint8(smallKeys) {
		t.AddKey(smallKey(k), fmt.Sprintf("material %d", r.materials[k]))
	}
	for i, d := range r.databases {
		name := []string{"a", "b"}[i]
		var secondaries []string
		for j := range r.servers {
			if d.secondaries&(1<<j) != 0 {
				secondaries = append(secondaries, smallServer(j))
			}
		}
		// The second database is in no group where it has one secondary and the
		// first is in one: a link outside any group.
		switch {
		case len(secondaries) == 0:
			t.AddDatabase(smallServer(d.primary), name)
		case i == 1 && len(secondaries) == 1 && len(t.Groups) > 0:
			t.AddDatabase(smallServer(d.primary), name)
			t.AddDatabase(secondaries[0], name)
			t.AddLink(smallServer(d.primary), secondaries[0], name, "")
		default:
			t.AddGroup([]string{"fog", "gof"}[len(t.Groups)], smallServer(d.primary), secondaries, name)
		}
	}
	if len(t.Groups) == 0 {
		t.Group = ""
	}
	for i := range r.servers {
		for k := range uint8(smallKeys) {
			if w.usable[i]&(1<<k) != 0 {
				t.Grant(smallServer(i), smallKey(k).Vault())
			}
			if w.registered[i]&(1<<k) != 0 {
				t.Register(smallServer(i), smallKey(k))
			}
		}
		if w.protector[i] != managed {
			t.SetProtector(smallServer(i), smallKey(w.protector[i]), false)
		}
	}
	t.Settle()
	return t
}

func smallServer(i int) string { return fmt.Sprintf("server%d", i) }

func smallKey(k uint8) tde.KeyID {
	return key(fmt.Sprintf("https://vault%d.vault.azure.net/keys/key%d/1", k, k))
}

func calls(steps []plan.Step) int {
	n := 0
	for _, s := range steps {
		if s.Kind != plan.VerifyEncryption {
			n++
		}
	}
	return n
}

// family is a set of starts that is tried as a whole.
type family struct {
	name      string
	materials materials
	all       bool // every server may use every key
	granting  bool
	servers   int // at most
	ci, soak  int // one start in so many is tried
	mutants   int // and of one in so many of those, every mutant of every plan
}

func families() []family {
	distinct, two, one := materials{0, 1, 2}, materials{0, 0, 1}, materials{0, 0, 0}
	return []family{
		{"every right is there", distinct, true, false, 3, 263, 1, 12},
		{"two keys are copies", two, true, false, 3, 1999, 7, 16},
		{"all keys are copies", one, true, false, 3, 1201, 5, 16},
		{"rights are missing", distinct, false, false, 3, 100003, 401, 8},
		{"rights are missing, and two keys are copies", two, false, false, 3, 200003, 1201, 8},
		{"rights are missing, and all keys are copies", one, false, false, 3, 100003, 601, 8},
		{"missing rights are granted", distinct, false, true, 2, 409, 1, 8},
		{"missing rights are granted, and two keys are copies", two, false, true, 2, 499, 3, 8},
		{"missing rights are granted, and all keys are copies", one, false, true, 2, 299, 1, 8},
	}
}

// TestEverySmallComponent compares planner and prover with an exhaustive
// search, for all legal starts of all components of up to three servers, three
// keys and two databases, but for names, and for every wish: a plan that can be
// there is found, has as few calls as there can be, and is proved; where there
// can be none, it is blocked. Mutants of the plan, each step left out and each
// two steps swapped, are proved exactly if the search's rules allow them.
//
// Starts are sampled; with CROSSKEYS_SOAK those with every right and no copies,
// and most of two servers, are tried in full. The race detector, for which there
// is little to find here, costs most of the sample.
func TestEverySmallComponent(t *testing.T) {
	soak := os.Getenv("CROSSKEYS_SOAK") != ""
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			if raced && !f.all && f.servers == maxSmall {
				t.Skip("millions of starts are counted out, which takes minutes with the race detector")
			}
			t.Parallel()
			every := f.ci
			switch {
			case soak:
				every = f.soak
			case raced:
				every *= 7 // as much slower
			}
			var total tried
			starts := 0
			for _, s := range shapes() {
				if s.servers > f.servers {
					continue
				}
				r := rules{s, f.materials, f.granting}
				list := r.starts(f.all)
				starts += len(list)
				r.tryEvery(t, list, every, f.mutants, &total)
			}
			t.Logf("%d of %d legal starts in all shapes, %d plans, %d rightly blocked, %d mutants, %d of them wrong and caught",
				total.starts.Load(), starts, total.plans.Load(), total.blocked.Load(), total.mutants.Load(), total.caught.Load())
		})
	}
}

// tried counts.
type tried struct{ starts, plans, blocked, mutants, caught atomic.Int64 }

// tryEvery tries a part of the starts, two at a time.
func (r rules) tryEvery(t *testing.T, starts []small, every, mutants int, total *tried) {
	var both sync.WaitGroup
	for half := range 2 {
		both.Go(func() {
			for i := half * every; i < len(starts) && !t.Failed(); i += 2 * every {
				n := total.starts.Add(1)
				if err := r.tryAll(starts[i], total, n%int64(mutants) == 0); err != nil {
					t.Errorf("%s, materials %v, from %+v: %v", r.shape, r.materials, starts[i], err)
				}
			}
		})
	}
	both.Wait()
}

// tryAll tries every wish.
func (r rules) tryAll(start small, total *tried, mutants bool) error {
	least := r.least(start)
	world := r.world(start)
	for wish := range 1 << (2 * r.servers) {
		var goal [maxSmall]uint8
		desired := plan.Desired{}
		for i := range r.servers {
			goal[i] = uint8(wish >> (2 * i) & 3)
			wanted := plan.DesiredProtector{}
			if goal[i] != managed {
				wanted.Key = smallKey(goal[i])
			}
			desired[smallServer(i)] = wanted
		}
		n, possible := least[goal]
		p, err := plan.Make(world.Topology, desired, plan.Options{Grant: r.granting, Now: tdetest.Now()})
		if err == nil {
			err = r.try(world, start, p, n, possible, total)
		}
		if err == nil && mutants && possible {
			err = r.tryMutants(world, start, p, total)
		}
		if err != nil {
			return fmt.Errorf("to %v: %w: %v", goal, err, short(p.Steps))
		}
	}
	return nil
}

func (r rules) try(world *tdetest.World, start small, p plan.Plan, least int, possible bool, total *tried) error {
	total.plans.Add(1)
	if !possible {
		total.blocked.Add(1)
		if !p.Blocked() {
			return fmt.Errorf("there is no way, and the plan is not blocked")
		}
		return nil
	}
	proof, err := plan.Prove(world.Topology, p, tdetest.Now())
	switch {
	case err != nil:
		return err
	case p.Blocked():
		return fmt.Errorf("there is a way, and the plan is blocked: %+v", p.Findings)
	case calls(p.Steps) != least:
		return fmt.Errorf("%d calls, and %d are enough", calls(p.Steps), least)
	case !proof.Proved:
		return fmt.Errorf("%s %v", proof.Broken, proof.Story)
	case !r.allows(start, p.Steps, p):
		return fmt.Errorf("the search's rules do not allow it")
	}
	return nil
}

// allows carries the steps out by the search's rules, and reports whether none
// is refused, the rules hold after each, and the targets are reached.
func (r rules) allows(w small, steps []plan.Step, p plan.Plan) bool {
	number := func(id tde.KeyID) uint8 {
		for k := range uint8(smallKeys) {
			if smallKey(k) == id {
				return k
			}
		}
		return managed
	}
	for _, s := range steps {
		i := slices.Index([]string{smallServer(0), smallServer(1), smallServer(2)}, s.Server)
		switch s.Kind {
		case plan.Grant:
			w.usable[i] |= 1 << number(tde.KeyID{Host: s.VaultName + ".vault.azure.net", Name: "key" + strings.TrimPrefix(s.VaultName, "vault"), Version: "1"})
		case plan.Register:
			if w.usable[i]&(1<<number(s.Key)) == 0 {
				return false
			}
			w.registered[i] |= 1 << number(s.Key)
		case plan.SetProtector:
			w.protector[i] = number(s.Key)
		case plan.VerifyEncryption, plan.PlannedFailover:
		}
		if !r.legal(&w) {
			return false
		}
	}
	for _, target := range p.Targets {
		if i := slices.Index([]string{smallServer(0), smallServer(1), smallServer(2)}, target.Server); w.protector[i] != number(target.Key) {
			return false
		}
	}
	return true
}

// tryMutants proves every mutant of the plan.
func (r rules) tryMutants(world *tdetest.World, start small, p plan.Plan, total *tried) error {
	var mutants [][]plan.Step
	for i := range p.Steps {
		mutants = append(mutants, slices.Delete(slices.Clone(p.Steps), i, i+1))
		for j := range i {
			swapped := slices.Clone(p.Steps)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			mutants = append(mutants, swapped)
		}
	}
	for _, steps := range mutants {
		mutant := p
		mutant.Steps = inSequence(steps)
		proof, err := plan.Prove(world.Topology, mutant, tdetest.Now())
		if err != nil {
			return err
		}
		total.mutants.Add(1)
		right := r.allows(start, steps, p)
		if proof.Proved != right {
			return fmt.Errorf("the mutant %v is right: %t, proved: %t: %s %v", short(mutant.Steps), right, proof.Proved, proof.Broken, proof.Story)
		}
		if !right {
			total.caught.Add(1)
			if proof.Broken == "" || len(proof.Story) == 0 {
				return fmt.Errorf("the mutant %v is refused without a story", short(mutant.Steps))
			}
		}
	}
	return nil
}

// inSequence has each step wait for all before it.
func inSequence(steps []plan.Step) []plan.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Number, steps[i].DependsOn = i+1, nil
		for before := range i {
			steps[i].DependsOn = append(steps[i].DependsOn, before+1)
		}
	}
	return steps
}
