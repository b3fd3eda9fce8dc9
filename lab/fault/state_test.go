package fault_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/fault"
)

// strikes is a string of what befalls so many calls.
func strikes(s *fault.Set, calls int) string {
	var b strings.Builder
	for range calls {
		b.WriteByte("-x"[min(len(s.Next("PUT", "/keys/k")), 1)])
	}
	return b.String()
}

func TestARestoredSetGoesOnWhereTheOtherWas(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	const text = "seed 5\non any keys chance 50%: cut\non put keys nth 70: 503\nat call 72: cut\nregion a down after 5m for 1m"
	whole, first := fault.NewSet(clock.now), fault.NewSet(clock.now)
	whole.Replace(parse(t, text))
	first.Replace(parse(t, text))
	want := strikes(whole, 100)
	got := strikes(first, 30)
	kept, err := json.Marshal(first.State())
	if err != nil {
		t.Fatal(err)
	}
	var state fault.State
	if err := json.Unmarshal(kept, &state); err != nil {
		t.Fatal(err)
	}
	clock.at = clock.at.Add(5 * time.Minute)
	second := fault.NewSet(clock.now)
	if err := second.Restore(state); err != nil {
		t.Fatal(err)
	}
	if got += strikes(second, 70); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if !second.RegionDown("A") {
		t.Error("the times of a restored set begin anew")
	}
	state.Matched = nil
	if err := second.Restore(state); err == nil {
		t.Error("a state without its counters is taken")
	}
}

func TestAddedRulesCountFromWhenTheyWereAdded(t *testing.T) {
	began := time.Unix(1e9, 0)
	clock := &stopped{at: began}
	s := fault.NewSet(clock.now)
	add := func(text string) {
		t.Helper()
		if err := s.Add(parse(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	add("region a down for 10m\non put keys nth 2: cut")
	first := strikes(s, 1)
	clock.at = began.Add(4 * time.Minute)
	add("vault v: 403 after 1m for 2m")
	if first += strikes(s, 2); first != "-x-" {
		t.Errorf("counters do not go on: %s", first)
	}
	var turns []string
	for _, turn := range s.Turns(began, began.Add(time.Hour)) {
		turns = append(turns, turn.Rule.Text+" "+turn.At.Sub(began).String()+" "+map[bool]string{false: "begins", true: "ends"}[turn.Ends])
	}
	want := []string{"region a down for 10m 10m0s ends", "vault v: 403 after 1m for 2m 5m0s begins", "vault v: 403 after 1m for 2m 7m0s ends"}
	if diff := cmp.Diff(want, turns); diff != "" {
		t.Error(diff)
	}
	for after, struck := range map[time.Duration]bool{4 * time.Minute: false, 5 * time.Minute: true, 7 * time.Minute: false} {
		if _, is := s.VaultAt("V", began.Add(after)); is != struck {
			t.Errorf("after %s: %t", after, is)
		}
	}
}
