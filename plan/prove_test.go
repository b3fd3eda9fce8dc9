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

// A plan that relies on a copy where the key itself is registered and may not
// be used is blocked for that, and would not be proved either.
func TestACopyBesideTheKeyItselfIsNotReliedOn(t *testing.T) {
	w := tdetest.Article()
	copyBesideTheKey(w)
	desired := plan.Desired{second: to(tdetest.Tey)}
	p := mustMake(t, w, desired, plan.Options{})
	if !slices.ContainsFunc(p.Findings, func(f check.Finding) bool {
		return f.Severity == check.Blocker && f.Rule == check.RuleMissingGrant && f.Server == first && f.Key == key(tdetest.Tey) && strings.Contains(f.What, "testcopy/tey")
	}) {
		t.Errorf("%+v", p.Findings)
	}
	if proof := prove(t, w.Topology, p); proof.Proved || proof.Broken != "Unrefused" {
		t.Errorf("%v: %+v", short(p.Steps), proof)
	}
	if err := simulate(w.Clone()).do(p.Steps[len(p.Steps)-2]); err == nil {
		t.Error("the flip goes through")
	}
	granted := mustMake(t, w, desired, plan.Options{Grant: true})
	if proof := prove(t, w.Topology, granted); granted.Blocked() || !proof.Proved {
		t.Errorf("%+v %+v", granted.Findings, proof)
	}
	w.Deregister(first, key(tdetest.Tey))
	p = mustMake(t, w, desired, plan.Options{})
	if proof := prove(t, w.Topology, p); p.Blocked() || !proof.Proved {
		t.Errorf("with the copy alone: %+v %+v", p.Findings, proof)
	}
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
	byOther := 0
	for _, fault := range tolerances {
		if strings.HasPrefix(fault.Fault, "somebody sets the protector of ") {
			byOther++
		}
		if !fault.Safe {
			t.Errorf("%s: %v", fault.Fault, fault.Story)
		}
	}
	// Three keys and its own certificate on each of two servers.
	if len(tolerances) != 23 || byOther != 8 {
		t.Errorf("%d faults, %d protectors set by somebody else", len(tolerances), byOther)
	}
}

// In a random world too, a protector that somebody else sets makes nothing
// worse: the plan reaches its goal or stops, and the rules hold. Worlds with
// many states are left out, for time.
func TestAProtectorThatSomebodyElseSetsIsTolerated(t *testing.T) {
	tried := 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		p, err := plan.Make(s.world.Topology, s.desired, plan.Options{Grant: true, Now: tdetest.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if p.Blocked() || p.Empty() {
			return
		}
		proof := prove(t, s.world.Topology, p)
		if proof.States > 60 {
			return
		}
		tried++
		tolerances, err := plan.Tolerate(s.world.Topology, p, proof, tdetest.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range tolerances {
			if strings.HasPrefix(fault.Fault, "somebody sets") && !fault.Safe {
				t.Fatalf("%v\n%s: %s", short(p.Steps), fault.Fault, strings.Join(fault.Story, "\n"))
			}
		}
	})
	if tried == 0 {
		t.Error("no world was small enough")
	}
	t.Logf("%d worlds were small enough", tried)
}
