package plan_test

import (
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// everyKind is a plan with a step of each kind, and the world that it is for.
func everyKind(t *testing.T) (*tdetest.World, map[plan.Kind]plan.Step) {
	t.Helper()
	w := tdetest.Article()
	w.Revoke(second, "testanu2")
	p := mustMake(t, w, plan.Desired{second: to(tdetest.Tey)}, plan.Options{Grant: true, Drill: true})
	steps := map[plan.Kind]plan.Step{}
	for _, s := range p.Steps {
		if _, seen := steps[s.Kind]; !seen {
			steps[s.Kind] = s
		}
	}
	return w, steps
}

func TestStepsSeeWhetherTheyAreDone(t *testing.T) {
	tests := []struct {
		kind plan.Kind
		do   func(w *tdetest.World)
	}{
		{plan.Grant, func(w *tdetest.World) { w.Grant(second, "testanu2") }},
		{plan.Register, func(w *tdetest.World) { w.Register(second, key(tdetest.Tey)) }},
		{plan.SetProtector, func(w *tdetest.World) { w.SetProtector(second, key(tdetest.Tey), false) }},
		{plan.PlannedFailover, func(w *tdetest.World) { w.Failover(tdetest.Group, second) }},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind), func(t *testing.T) {
			w, steps := everyKind(t)
			if tt.kind == plan.SetProtector {
				w.Register(second, key(tdetest.Tey))
			}
			step := steps[tt.kind]
			if step.Reached(w.Topology) {
				t.Fatal("reached before it is done")
			}
			if err := step.CheckBefore(w.Topology); err != nil {
				t.Fatalf("refused in the state it was planned for: %v", err)
			}
			tt.do(w)
			if !step.Reached(w.Topology) {
				t.Fatal("not reached after it is done")
			}
			if err := step.CheckBefore(w.Topology); err != nil {
				t.Fatalf("refused when it is done already: %v", err)
			}
		})
	}
	t.Run("VerifyEncryption", func(t *testing.T) {
		w, steps := everyKind(t)
		w.Grant(second, "testanu2")
		if !steps[plan.VerifyEncryption].Reached(w.Topology) {
			t.Fatal("not reached in a world in order")
		}
		w.AtDatabase(second, "orders").Encryption.State = 6
		if steps[plan.VerifyEncryption].Reached(w.Topology) {
			t.Fatal("reached while a change is in progress")
		}
	})
}

func TestStepsSeeThatTheWorldHasChanged(t *testing.T) {
	tests := []struct {
		name   string
		kind   plan.Kind
		change func(w *tdetest.World)
		words  string
	}{
		{"another identity", plan.Grant, func(w *tdetest.World) { w.At(second).Identity.PrincipalID = "new" }, "identity"},
		{"the server is gone", plan.Register, func(w *tdetest.World) { w.Servers = w.Servers[:1] }, "no longer there"},
		{"another protector", plan.SetProtector, func(w *tdetest.World) { w.SetProtector(second, tde.KeyID{}, false) }, "is now service-managed"},
		{"auto-rotation was switched on", plan.SetProtector, func(w *tdetest.World) { w.At(second).Protector.AutoRotation = true }, "with auto-rotation"},
		{"the key is not registered", plan.SetProtector, func(*tdetest.World) {}, "not registered"},
		{"another primary", plan.PlannedFailover, func(w *tdetest.World) {
			w.AddServer("third", "North Europe")
			joinGroup(w, "third")
			w.Failover(tdetest.Group, "third")
		}, "is now third"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, steps := everyKind(t)
			tt.change(w)
			if err := steps[tt.kind].CheckBefore(w.Topology); err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Fatalf("error %v", err)
			}
		})
	}
}
