package sim

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crosskeys/crosskeys/plan"
)

// What the checks are for happens here without being told to them.
func TestTheChecksSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, articleMove(""))
		defer w.close(t)
		tool := &tool{world: w, protectors: history{}, intended: map[string][]string{}}
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
	})
}
