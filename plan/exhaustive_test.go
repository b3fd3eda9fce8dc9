package plan_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

const maxSmall = 3 // servers, and keys

// small is a whole small world as bits: what each server has registered, and
// the place of its protector among the keys; the number of keys stands for
// service-managed.
type small struct {
	registered [maxSmall]uint8
	protector  [maxSmall]uint8
}

// shape is a way to link servers.
type shape struct {
	name    string
	servers int
	build   func(w *tdetest.World, names []string)
	linked  [maxSmall]uint8
}

func shapes() []shape {
	return []shape{
		{"two servers in a group", 2, func(w *tdetest.World, n []string) { w.AddGroup("fog", n[0], n[1:2], "a", "b") }, [maxSmall]uint8{0b10, 0b01}},
		{"three servers in a group", 3, func(w *tdetest.World, n []string) { w.AddGroup("fog", n[0], n[1:3], "a", "b") }, [maxSmall]uint8{0b110, 0b101, 0b011}},
		{"two groups that share a server", 3, func(w *tdetest.World, n []string) {
			w.AddGroup("fog", n[0], n[1:2], "a")
			w.AddGroup("gof", n[1], n[2:3], "b")
		}, [maxSmall]uint8{0b010, 0b101, 0b010}},
		{"a group and a link outside it", 3, func(w *tdetest.World, n []string) {
			w.AddGroup("fog", n[0], n[1:2], "a")
			w.AddDatabase(n[0], "b")
			w.AddDatabase(n[2], "b")
			w.AddLink(n[0], n[2], "b", "")
		}, [maxSmall]uint8{0b110, 0b001, 0b001}},
	}
}

// legal: every server can use every key that protects it or a partner.
func (s shape) legal(w small, keys uint8) bool {
	for i := range s.servers {
		p := w.protector[i]
		if p == keys {
			continue
		}
		for j := range s.servers {
			if (i == j || s.linked[i]&(1<<j) != 0) && w.registered[j]&(1<<p) == 0 {
				return false
			}
		}
	}
	return true
}

// calls finds, for every world, the least number of calls from start: of
// registrations, and of protector changes that Azure does not refuse.
func (s shape) calls(start small, keys uint8) map[small]int {
	reached := map[small]int{start: 0}
	queue := []small{start}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		visit := func(next small) {
			if _, known := reached[next]; !known && s.legal(next, keys) {
				reached[next] = reached[w] + 1
				queue = append(queue, next)
			}
		}
		for i := range s.servers {
			for k := range keys {
				next := w
				next.registered[i] |= 1 << k
				visit(next)
				next = w
				next.protector[i] = k
				visit(next)
			}
			next := w
			next.protector[i] = keys
			visit(next)
		}
	}
	return reached
}

// canonical leaves out worlds that are others with the keys renamed.
func canonical(w small, servers int, keys uint8) bool {
	seen := uint8(0)
	for i := range servers {
		if p := w.protector[i]; p != keys {
			if p > seen {
				return false
			}
			if p == seen {
				seen++
			}
		}
	}
	return true
}

func (s shape) starts(keys uint8) []small {
	var list []small
	var fill func(w small, i int)
	fill = func(w small, i int) {
		if i == s.servers {
			if s.legal(w, keys) && canonical(w, s.servers, keys) {
				list = append(list, w)
			}
			return
		}
		for p := range keys + 1 {
			for set := range uint8(1) << keys {
				w.protector[i], w.registered[i] = p, set
				fill(w, i+1)
			}
		}
	}
	fill(small{}, 0)
	return list
}

func (s shape) world(w small, keys uint8) *tdetest.World {
	t := &tdetest.World{}
	t.ReadAt, t.Group = tdetest.Now(), "fog"
	names := make([]string, s.servers)
	for i := range names {
		names[i] = fmt.Sprintf("server%d", i)
		t.AddServer(names[i], fmt.Sprintf("Region %d", i))
	}
	for k := range keys {
		t.AddKey(smallKey(k), fmt.Sprintf("material %d", k))
	}
	s.build(t, names)
	for i, name := range names {
		for k := range keys {
			t.Grant(name, smallKey(k).Vault())
			if w.registered[i]&(1<<k) != 0 {
				t.Register(name, smallKey(k))
			}
		}
		if w.protector[i] != keys {
			t.SetProtector(name, smallKey(w.protector[i]), false)
		}
	}
	t.Settle()
	return t
}

func smallKey(k uint8) tde.KeyID {
	return key(fmt.Sprintf("https://vault%d.vault.azure.net/keys/key%d/1", k, k))
}

func calls(steps []plan.Step) int {
	n := 0
	for _, s := range steps {
		if s.Kind == plan.Register || s.Kind == plan.SetProtector {
			n++
		}
	}
	return n
}

// TestEverySmallComponent compares the planner with a search of its own, for
// every legal start of every shape up to three servers, three keys and two
// databases, and every wish: the plan has as few calls as there can be, and is
// proved. Starts are sampled unless CROSSKEYS_SOAK is set.
func TestEverySmallComponent(t *testing.T) {
	every := 307
	if os.Getenv("CROSSKEYS_SOAK") != "" {
		every = 1
	}
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			const keys = 3
			starts, plans := s.starts(keys), 0
			for i := 0; i < len(starts); i += every {
				plans += s.tryAll(t, starts[i], keys)
			}
			t.Logf("%d legal starts, %d plans", len(starts), plans)
		})
	}
}

func (s shape) tryAll(t *testing.T, start small, keys uint8) int {
	least := map[[maxSmall]uint8]int{}
	for w, n := range s.calls(start, keys) {
		if old, known := least[w.protector]; !known || n < old {
			least[w.protector] = n
		}
	}
	world := s.world(start, keys)
	for goal, n := range least {
		desired := plan.Desired{}
		for i := range s.servers {
			wanted := plan.DesiredProtector{}
			if goal[i] != keys {
				wanted.Key = smallKey(goal[i])
			}
			desired[world.Servers[i].Name] = wanted
		}
		p, err := plan.Make(world.Topology, desired, plan.Options{Now: tdetest.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if calls(p.Steps) != n {
			t.Fatalf("from %+v to %v: %d calls, and %d are enough: %v", start, goal, calls(p.Steps), n, short(p.Steps))
		}
		if proof := prove(t, world.Topology, p); !proof.Proved {
			t.Fatalf("from %+v to %v: %s %v: %v", start, goal, proof.Broken, proof.Story, short(p.Steps))
		}
	}
	return len(least)
}
