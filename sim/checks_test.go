package sim

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/plan"
)

// What the checks are for happens here without being told to them.
func TestTheChecksSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, articleMove(""))
		defer w.close(t)
		tool := newTool(w, "")
		began := time.Now()
		if broken := tool.rulesBroken(began); len(broken) > 0 {
			t.Fatalf("before anything has happened: %q", broken)
		}
		tool.look()
		shared, own := w.keys["shared"], w.keys["own1"]
		if err := w.regrant(t.Context(), "shared", 1, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settling)
		if broken := tool.rulesBroken(began); len(broken) == 0 || !strings.Contains(broken[0], "srv1 cannot use "+shared.String()) {
			t.Errorf("a right that somebody took away: %q", broken)
		}
		again, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			"https://management.azure.com/subscriptions/s/resourceGroups/sim/providers/Microsoft.Sql/servers/srv0/encryptionProtector/current",
			strings.NewReader(`{"properties": {"serverKeyName": "`+shared.ServerKeyName()+`"}}`))
		if err != nil {
			t.Fatal(err)
		}
		tool.sending(again)
		if wrong := tool.flipsWrong(); len(wrong) != 1 || !strings.Contains(wrong[0], "called again") {
			t.Errorf("a flip that is called again: %q", wrong)
		}
		tool.wrongs = nil
		tool.planned(plan.Plan{Steps: []plan.Step{{Kind: plan.SetProtector, Server: "srv1", Key: own}}})
		tool.protectors["srv1"] = []string{shared.String(), own.String()}
		if wrong := tool.flipsWrong(); len(wrong) > 0 {
			t.Errorf("as planned: %q", wrong)
		}
		tool.protectors["srv1"] = []string{shared.String(), own.String(), shared.String(), own.String()}
		if wrong := tool.flipsWrong(); len(wrong) != 1 {
			t.Errorf("there, back and there again: %q", wrong)
		}
		tool.protectors["srv1"] = []string{shared.String(), own.String() + auto}
		if wrong := tool.flipsWrong(); len(wrong) != 1 {
			t.Errorf("as planned, but with automatic rotation: %q", wrong)
		}
		tool.foreign["srv1"] = []string{shared.String()}
		tool.protectors["srv1"] = []string{shared.String(), own.String(), shared.String()}
		if wrong := tool.flipsWrong(); len(wrong) > 0 {
			t.Errorf("as planned, and back by somebody else: %q", wrong)
		}
		tool.protectors["srv1"] = []string{shared.String(), own.String(), shared.String(), own.String(), shared.String()}
		if wrong := tool.flipsWrong(); len(wrong) != 1 {
			t.Errorf("back by somebody else, and there and back again: %q", wrong)
		}
		tool.protectors["srv1"] = []string{shared.String()}
		tool.leader = 2
		(&process{tool: tool, number: 1}).leads(again)
		if wrong := tool.flipsWrong(); len(wrong) != 1 || !strings.Contains(wrong[0], "process 2 has the servers") {
			t.Errorf("a change by a process that does not have the servers: %q", wrong)
		}
		tool.wrongs = nil
		(&process{tool: tool, number: 2}).leads(again)
		if wrong := tool.flipsWrong(); len(wrong) > 0 {
			t.Errorf("a change by the process that has the servers: %q", wrong)
		}
		one := monitor.Interval{From: began, To: began.Add(time.Second)}
		one.Rule, one.Server, one.Owner = ruleOne, "srv0", "srv1"
		if tool.crossed(one) {
			t.Error("two changes at a time, with nobody else about, are excused")
		}
		tool.meddled["srv1"] = []time.Time{began.Add(-time.Hour)}
		if tool.crossed(one) {
			t.Error("two changes at a time are excused by somebody else's an hour before")
		}
	})
}

// The plan from a start is made once, since it is the same each time; another
// one is seen.
func TestAPlanFromAStartIsTheSame(t *testing.T) {
	st := &start{}
	o := plan.Options{Grant: true}
	if _, _, known := st.planned(o); known {
		t.Error("a plan is known that nobody has made")
	}
	if err := st.plannedAs(o, plan.Plan{Group: "a"}, "1"); err != nil {
		t.Error(err)
	}
	anew := 0
	for range 4 * madeEvery {
		if _, _, known := st.planned(o); !known {
			anew++
			if err := st.plannedAs(o, plan.Plan{Group: "a"}, "1"); err != nil {
				t.Error(err)
			}
		}
	}
	if anew != 5 {
		t.Errorf("the plan was made anew %d times", anew)
	}
	if err := st.plannedAs(o, plan.Plan{Group: "b"}, "2"); err == nil {
		t.Error("another plan from the same start is taken for the same")
	}
	if _, _, known := st.planned(plan.Options{}); known {
		t.Error("the plan is taken for one of other options")
	}
}
