package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func articleMove() plan.Desired {
	return plan.Desired{
		tdetest.PrimaryServer:   {Key: key(tdetest.Subham)},
		tdetest.SecondaryServer: {Key: key(tdetest.Tey)},
	}
}

func prove(t interface{ Fatal(...any) }, topology tde.Topology, p plan.Plan) plan.Proof {
	proof, err := plan.Prove(topology, p, tdetest.Now())
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func TestTheArticlesMoveIsProved(t *testing.T) {
	w := tdetest.Article()
	for _, o := range []plan.Options{{}, {Grant: true}, {Drill: true}, {Drill: true, Failback: true}} {
		o.Now = tdetest.Now()
		p, err := plan.Make(w.Topology, articleMove(), o)
		if err != nil {
			t.Fatal(err)
		}
		proof := prove(t, w.Topology, p)
		if !proof.Proved || proof.States < 10 || proof.Kinds != 1 || proof.Databases != 3 {
			t.Errorf("%+v: %+v", o, proof)
		}
		t.Log(proof.Summary())
	}
}

// Every mutant of the article's plan that Azure or a failover would punish is
// refused, with a story.
func TestMutantsOfThePlanAreCaught(t *testing.T) {
	w := tdetest.Article()
	p, err := plan.Make(w.Topology, articleMove(), plan.Options{Now: tdetest.Now()})
	if err != nil {
		t.Fatal(err)
	}
	caught := 0
	for number := range p.Steps {
		alternatives, err := plan.Explain(w.Topology, p, number+1, tdetest.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range alternatives {
			step := p.Steps[number]
			t.Logf("step %d %s %s, %s: safe %v %s %s", number+1, step.Kind, step.Server, a.Place, a.Safe, a.Rule, strings.Join(a.Story, "; "))
			if !a.Safe {
				caught++
				if a.Rule == "" || len(a.Story) == 0 {
					t.Errorf("no story for step %d %s", number+1, a.Place)
				}
			}
			if step.Kind != plan.VerifyEncryption && a.Place == "left out" && a.Safe && step.Kind != plan.SetProtector {
				t.Errorf("leaving out step %d is called safe", number+1)
			}
		}
	}
	if caught < 8 {
		t.Errorf("only %d mutants were caught", caught)
	}
}

func TestEveryPlanThatIsNotBlockedIsProved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		p, err := plan.Make(s.world.Topology, s.desired, plan.Options{Grant: true, Now: tdetest.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(p.Findings, func(f check.Finding) bool { return f.Severity == check.Blocker }) {
			t.Skip("blocked")
		}
		if proof := prove(t, s.world.Topology, p); !proof.Proved {
			t.Fatalf("%v\n%s: %s\ninherited: %s", short(p.Steps), proof.Broken, strings.Join(proof.Story, "\n"), strings.Join(proof.Inherited, "\n"))
		}
	})
}

func BenchmarkProve(b *testing.B) {
	large := func(servers, keys, databases int) *tdetest.World {
		w := &tdetest.World{}
		w.ReadAt, w.Group = tdetest.Now(), "fog"
		var names, dbs []string
		for i := range servers {
			names = append(names, fmt.Sprintf("server%d", i))
			w.AddServer(names[i], fmt.Sprintf("Region %d", i))
		}
		for i := range databases {
			dbs = append(dbs, fmt.Sprintf("db%03d", i))
		}
		w.AddGroup("fog", names[0], names[1:], dbs...)
		for i := range keys {
			id := key(fmt.Sprintf("https://vault%d.vault.azure.net/keys/key%d/1", i, i))
			w.AddKey(id, id.String())
			for _, n := range names {
				w.Grant(n, id.Vault())
			}
		}
		for _, n := range names {
			w.Register(n, w.Keys[0].ID)
			w.SetProtector(n, w.Keys[0].ID, false)
		}
		w.Settle()
		return w
	}
	for _, size := range []struct{ servers, keys, databases int }{{2, 3, 10}, {4, 6, 100}} {
		b.Run(fmt.Sprintf("%d servers, %d keys, %d databases", size.servers, size.keys, size.databases), func(b *testing.B) {
			w := large(size.servers, size.keys, size.databases)
			desired := plan.Desired{}
			for i, s := range w.Servers {
				desired[s.Name] = plan.DesiredProtector{Key: w.Keys[i+1].ID}
			}
			p, err := plan.Make(w.Topology, desired, plan.Options{Now: tdetest.Now(), Drill: true, Failback: true})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if proof := prove(b, w.Topology, p); !proof.Proved {
					b.Fatal(proof)
				}
			}
		})
	}
}

// Whatever is taken away from under the article's move, at whatever point, the
// move makes nothing worse than the fault itself does.
func TestAFaultIsNotMadeWorse(t *testing.T) {
	w := tdetest.Article()
	p, err := plan.Make(w.Topology, articleMove(), plan.Options{Drill: true, Failback: true, Now: tdetest.Now()})
	if err != nil {
		t.Fatal(err)
	}
	tolerances, err := plan.Tolerate(w.Topology, p, prove(t, w.Topology, p), tdetest.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(tolerances) != 15 {
		t.Errorf("%d faults", len(tolerances))
	}
	for _, fault := range tolerances {
		if !fault.Safe {
			t.Errorf("%s: %v", fault.Fault, fault.Story)
		}
	}
}
