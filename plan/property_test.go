package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// scene is a random world and what is wanted of it.
type scene struct {
	world   *tdetest.World
	keys    []tde.KeyID
	desired plan.Desired
}

// drawScene draws a legal start: every server can use its own protector, and
// everything else may be there or not.
func drawScene(t *rapid.T) scene {
	s := scene{world: &tdetest.World{}, desired: plan.Desired{}}
	w := s.world
	w.ReadAt = tdetest.Now()
	s.drawKeys(t)
	s.drawLinks(t)
	for i := range w.Servers {
		s.drawServer(t, w.Servers[i].Name)
	}
	w.Settle()
	s.drawTravelling(t)
	s.drawDesired(t)
	return s
}

// drawKeys: several vaults, and few enough materials that some keys are copies
// of each other.
func (s *scene) drawKeys(t *rapid.T) {
	for i := range rapid.IntRange(2, 5).Draw(t, "keys") {
		vault := rapid.IntRange(0, 2).Draw(t, "vault")
		material := rapid.IntRange(0, 3).Draw(t, "material")
		id := key(fmt.Sprintf("https://vault%d.vault.azure.net/keys/key%d/1", vault, i))
		s.world.AddKey(id, fmt.Sprintf("material %d", material))
		s.world.AtVault(id.Vault()).RBAC = vault == 1
		s.keys = append(s.keys, id)
	}
}

// drawLinks: up to four servers in failover groups with one or two partners
// and in links outside any group, so that a server may be primary here and
// secondary there.
func (s *scene) drawLinks(t *rapid.T) {
	w := s.world
	count := rapid.IntRange(2, 4).Draw(t, "servers")
	for i := range count {
		w.AddServer(fmt.Sprintf("server%d", i), fmt.Sprintf("Region %d", i))
	}
	if rapid.Bool().Draw(t, "shared identity") {
		w.At("server1").Identity = w.At("server0").Identity
	}
	w.AddDatabase("server0", "local")
	for i := 1; i < count; i++ {
		other := fmt.Sprintf("server%d", rapid.IntRange(0, i-1).Draw(t, "linked to"))
		primary, secondary := other, fmt.Sprintf("server%d", i)
		if rapid.Bool().Draw(t, "turned") {
			primary, secondary = secondary, primary
		}
		name := fmt.Sprintf("db%d", i)
		if i > 1 && rapid.Bool().Draw(t, "outside any group") {
			w.AddDatabase(primary, name)
			w.AddDatabase(secondary, name)
			w.AddLink(primary, secondary, name, "")
			continue
		}
		partners := []string{secondary}
		if third := fmt.Sprintf("server%d", rapid.IntRange(0, i).Draw(t, "second partner")); third != primary && third != secondary {
			partners = append(partners, third)
		}
		w.AddGroup(fmt.Sprintf("fog%d", i), primary, partners, name)
	}
	w.Group = "fog1"
}

func (s *scene) drawServer(t *rapid.T, name string) {
	w := s.world
	for _, v := range w.Vaults {
		if rapid.IntRange(0, 2).Draw(t, "granted") > 0 {
			w.Grant(name, v.Name)
		}
	}
	for _, id := range s.keys {
		if rapid.IntRange(0, 2).Draw(t, "registered") == 0 {
			w.Register(name, id)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "service-managed") == 0 {
		return
	}
	own := rapid.SampledFrom(s.keys).Draw(t, "protector")
	w.Register(name, own)
	if !w.MayUse(name, own) {
		w.Grant(name, own.Vault())
	}
	w.SetProtector(name, own, rapid.IntRange(0, 3).Draw(t, "auto-rotation") == 0)
}

// drawTravelling lets some replicas still be wrapped by another key that is
// registered on some server, as after a change that is on its way.
func (s *scene) drawTravelling(t *rapid.T) {
	for _, server := range s.world.Servers {
		for _, d := range server.Databases {
			if len(server.Keys) == 0 || rapid.IntRange(0, 4).Draw(t, "travelling") > 0 {
				continue
			}
			old := rapid.SampledFrom(server.Keys).Draw(t, "old key")
			s.world.Wrap(server.Name, d.Name, tde.Protector{Key: old.Key, Thumbprint: old.Thumbprint})
		}
	}
}

func (s *scene) drawDesired(t *rapid.T) {
	for _, server := range s.world.Servers {
		switch rapid.IntRange(0, 4).Draw(t, "desire") {
		case 0:
		case 1:
			s.desired[server.Name] = plan.DesiredProtector{}
		default:
			wanted := plan.DesiredProtector{Key: rapid.SampledFrom(s.keys).Draw(t, "wanted")}
			if rapid.Bool().Draw(t, "auto-rotation is named") {
				wanted.AutoRotation = flag(rapid.Bool().Draw(t, "auto-rotation wanted"))
			}
			s.desired[server.Name] = wanted
		}
	}
}

// reached reports what is missing when all steps are done.
func (s scene) reached(sim simulator) error {
	for _, server := range sim.Servers {
		before, _ := s.world.Server(server.Name)
		target := check.Target(s.world.Topology, before, s.desired)
		if check.Changes(server, target) {
			return fmt.Errorf("the protector of %s is %s, not %s", server.Name, server.Protector.Key.Short(), target.Key.Short())
		}
	}
	return sim.rules()
}

// run carries out the steps in the given order.
func (s scene) run(steps []plan.Step) error {
	sim := simulate(s.world.Clone())
	inOrder := sim.rules() == nil
	for _, step := range steps {
		if err := sim.do(step); err != nil {
			return fmt.Errorf("step %d (%s %s): %w", step.Number, step.Kind, step.Server, err)
		}
		if err := sim.rules(); inOrder && err != nil {
			return fmt.Errorf("after step %d the rules no longer hold: %w", step.Number, err)
		}
	}
	return s.reached(sim)
}

// anyOrder shuffles the steps as far as their dependencies allow.
func anyOrder(t *rapid.T, steps []plan.Step) []plan.Step {
	var order []plan.Step
	done := map[int]bool{}
	for len(order) < len(steps) {
		var ready []plan.Step
		for _, s := range steps {
			if !done[s.Number] && !slices.ContainsFunc(s.DependsOn, func(n int) bool { return !done[n] }) {
				ready = append(ready, s)
			}
		}
		next := ready[rapid.IntRange(0, len(ready)-1).Draw(t, "next")]
		done[next.Number] = true
		order = append(order, next)
	}
	return order
}

// oneAtATime is the rule One: each flip waits for the one before.
func oneAtATime(steps []plan.Step) error {
	previous := 0
	for _, s := range steps {
		if s.Kind != plan.SetProtector {
			continue
		}
		if previous != 0 && !slices.Contains(s.DependsOn, previous) {
			return fmt.Errorf("step %d does not wait for step %d", s.Number, previous)
		}
		previous = s.Number
	}
	return nil
}

func TestEveryPlanIsSafeCompleteAndMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		o := plan.Options{Grant: true, Now: tdetest.Now()}
		p, err := plan.Make(s.world.Topology, s.desired, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Findings {
			if f.Severity == check.Blocker && f.Rule != check.RuleAutoRotationOneSide {
				t.Fatalf("blocked: %+v", f)
			}
		}
		if err := s.run(anyOrder(t, p.Steps)); err != nil {
			t.Fatalf("%v: %v", short(p.Steps), err)
		}
		if err := oneAtATime(p.Steps); err != nil {
			t.Fatalf("%v: %v", short(p.Steps), err)
		}
		for i, dropped := range p.Steps {
			if dropped.Kind == plan.VerifyEncryption {
				continue
			}
			if err := s.run(slices.Concat(p.Steps[:i], p.Steps[i+1:])); err == nil {
				t.Fatalf("%v: step %d is not needed", short(p.Steps), dropped.Number)
			}
		}
	})
}

// A plan made after any number of steps, in any order, is the rest and no more.
func TestEveryInterruptedPlanIsResumedByItsRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		o := plan.Options{Grant: true, Now: tdetest.Now()}
		p, err := plan.Make(s.world.Topology, s.desired, o)
		if err != nil {
			t.Fatal(err)
		}
		order := anyOrder(t, p.Steps)
		stop := rapid.IntRange(0, len(order)).Draw(t, "stop")
		w := s.world.Clone()
		sim := simulate(w)
		for _, step := range order[:stop] {
			if err := sim.do(step); err != nil {
				t.Fatal(err)
			}
		}
		rest, err := plan.Make(w.Topology, p.Desired(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(rest.Steps) > len(order)-stop {
			t.Fatalf("%v stopped after %v, and the rest is %v", short(p.Steps), short(order[:stop]), short(rest.Steps))
		}
		resumed := scene{world: w, desired: p.Desired()}
		if err := resumed.run(rest.Steps); err != nil {
			t.Fatalf("%v: %v", short(rest.Steps), err)
		}
		if stop == len(order) && !rest.Empty() {
			t.Fatalf("after all steps there are %v", short(rest.Steps))
		}
	})
}

// A way back that is promised is open: right after the step, setting the old
// protector again is not refused.
func TestEveryPromisedWayBackIsOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for _, id := range s.keys {
			s.world.AtKey(id).Latest = rapid.IntRange(0, 2).Draw(t, "latest") > 0
		}
		p, err := plan.Make(s.world.Topology, s.desired, plan.Options{Grant: true, Now: tdetest.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if p.Blocked() {
			t.Skip("the plan is blocked")
		}
		w := s.world.Clone()
		sim := simulate(w)
		for _, step := range p.Steps {
			if err := sim.do(step); err != nil {
				t.Fatal(err)
			}
			if step.Kind != plan.SetProtector {
				continue
			}
			back := plan.Step{
				Kind: plan.SetProtector, Server: step.Server, Key: step.PreState.Protector, AutoRotation: step.PreState.AutoRotation,
				PreState: plan.PreState{Protector: step.Key, AutoRotation: step.AutoRotation},
			}
			err := simulator{World: w.Clone(), now: sim.now, wraps: maps.Clone(sim.wraps)}.do(back)
			if step.WayBack != (err == nil) {
				t.Fatalf("step %d promises a way back: %v; taking it: %v", step.Number, step.WayBack, err)
			}
		}
	})
}
