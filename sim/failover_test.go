package sim

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/plan"
)

// articleMove is the published procedure's move: from one shared key to one in
// each region.
func articleMove(options string) scenario {
	s := scenario{
		servers: []serverIn{{"eastus", "shared", "own"}, {"westus", "shared", "own"}},
		groups:  []groupIn{{0, []int{1}, 3}},
	}
	for option := range strings.FieldsSeq(options) {
		switch option {
		case "grants":
			s.grant = true
			s.missing = []held{{0, "own0"}, {1, "own0"}, {0, "own1"}, {1, "own1"}}
		case "drill":
			s.drill, s.failback = true, true
		case "replan":
			s.replan = true
		case "rollback":
			s.moved = true
		}
	}
	return s
}

// matrix collects the points of a run at which something is to go wrong.
type matrix struct {
	base   scenario
	points []scenario
	names  []string
}

func (m *matrix) add(name string, trouble func(*scenario)) {
	s := m.base
	trouble(&s)
	m.points, m.names = append(m.points, s), append(m.names, name)
}

// failovers: somebody else fails over right before the nth write or call.
func (m *matrix) failovers(what string, places []int) {
	for _, n := range places {
		for _, does := range []string{"planned", "forced"} {
			m.add(fmt.Sprintf("%s at %s %d", does, what, n), func(s *scenario) {
				s.other = []other{{what: what, n: n, does: does, to: 1}}
			})
		}
	}
}

// steps: each kind of trouble at each step of the move.
func (m *matrix) steps(t *testing.T, end ending) {
	t.Helper()
	for _, s := range end.result.Steps {
		resource, operation := "", ""
		switch s.Step.Kind {
		case plan.Grant:
			resource = "put vaults/" + s.Step.VaultName + "/accessPolicies"
		case plan.Register:
			resource, operation = "put servers/"+s.Step.Server+"/keys", "UpsertLogicalServerEncryptionKeys"
		case plan.SetProtector:
			resource, operation = "put servers/"+s.Step.Server+"/encryptionProtector", "UpsertLogicalServerEncryptionprotector"
		case plan.PlannedFailover:
			resource, operation = "post servers/"+s.Step.Server+"/failoverGroups", "FailoverFailoverGroup"
		case plan.VerifyEncryption:
			continue
		}
		step := fmt.Sprintf("step %d, ", s.Step.Number)
		nth := 1
		if s.Step.Kind == plan.Register || s.Step.Kind == plan.Grant {
			nth = 1 + s.Step.Number%2 // two keys a server, two servers a vault
		}
		for _, effect := range []string{"lose-reply", "cut", "503", "429 retry-after 20s"} {
			m.add(step+effect, func(s *scenario) { s.faults = []string{fmt.Sprintf("on %s nth %d: %s", resource, nth, effect)} })
		}
		if operation != "" {
			m.add(step+"slow", func(s *scenario) { s.faults = []string{"operation " + operation + ": slow 4m"} })
			m.add(step+"slow and lost", func(s *scenario) {
				s.faults = []string{"operation " + operation + ": slow 4m", fmt.Sprintf("on %s nth %d: lose-reply", resource, nth)}
			})
		}
	}
	for i, n := range end.intents {
		for server := range m.base.servers {
			for _, does := range []string{"revoke", "down"} {
				m.add(fmt.Sprintf("%s of srv%d at intent %d", does, server, i+1), func(s *scenario) {
					s.other = []other{{what: "write", n: n, does: does, to: server}}
				})
			}
		}
	}
}

// came reports whether the trouble of a point came: a fault struck a call, an
// operation was slow, or somebody else did what was to be done.
func (e ending) came(s scenario) bool {
	slow := len(s.faults) > 0 && strings.HasPrefix(s.faults[0], "operation")
	return e.struck > 0 || len(e.did) > 0 || slow && e.virtual > 4*time.Minute
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

// TestFailoverMatrix goes through the article's move with a failover by
// somebody else at every journal write and every call, and with every other
// trouble at each step. In each case the run ends right, or stops and says why
// truly; then a new plan reaches the goal, and no rule was broken but by the
// trouble itself. All of it takes CROSSKEYS_SOAK. Without, it is every journal
// write, every call that changes something and every step of the plain move,
// and some points of its variants; in short runs and under the race detector, a
// few points of each.
func TestFailoverMatrix(t *testing.T) {
	soak := os.Getenv("CROSSKEYS_SOAK") != ""
	limit, limited := t.Deadline()
	began := cpu()
	var mu sync.Mutex
	ran, all := 0, 0
	counts := map[string]int{}
	t.Run("points", func(t *testing.T) {
		for _, options := range []string{"", "replan", "grants", "drill", "rollback"} {
			m := &matrix{base: articleMove(options)}
			var end ending
			t.Run("undisturbed "+options, func(t *testing.T) { end = simulateFrom(t, m.base, common.of(t, m.base)) })
			if end.err != nil || end.blocked || end.calls == 0 {
				t.Fatalf("the undisturbed move: %s", end)
			}
			everywhere := len(end.changes)
			calls := upTo(end.calls)
			all += 2 * (len(calls) + end.writes)
			if !soak && options == "" {
				calls = slices.DeleteFunc(calls, func(n int) bool { return !slices.Contains(end.changes, n) })
			}
			m.failovers("write", upTo(end.writes))
			m.failovers("call", calls)
			before := len(m.points)
			if options != "replan" {
				m.steps(t, end)
			}
			all += len(m.points) - before
			note("the move %q: %d calls, of which %d change something, %d journal writes, %d points", options, end.calls, everywhere, end.writes, len(m.points))
			every := 1
			switch {
			case testing.Short() || raced:
				every = max(1, len(m.points)/shortPoints)
			case !soak && options != "":
				every = max(1, len(m.points)/ciVariantPoints)
			}
			for i, s := range m.points {
				if i%every != 0 {
					continue
				}
				t.Run(options+" "+m.names[i], func(t *testing.T) {
					t.Parallel()
					leaveInTime(t, limit, limited)
					end := simulateFrom(t, s, common.of(t, s))
					// How often the tool looks is not the same each time, so the
					// last calls may not be there.
					if short := len(s.other) == 1 && s.other[0].what == "call" && s.other[0].n > end.calls; !end.came(s) && !short {
						t.Errorf("the trouble never came\n%s", s)
					}
					mu.Lock()
					defer mu.Unlock()
					ran++
					counts[end.kind()]++
				})
			}
		}
	})
	for kind, n := range counts {
		note("  %4d %s", n, kind)
	}
	note("%d of %d points of the failover matrix, %s of the processors' time", ran, all, (cpu() - began).Round(time.Second))
}
