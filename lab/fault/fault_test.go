package fault_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/fault"
)

func parse(t testing.TB, text string) fault.Text {
	t.Helper()
	parsed, err := fault.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

type stopped struct{ at time.Time }

func (s *stopped) now() time.Time { return s.at }

func TestEveryKindOfRuleIsRead(t *testing.T) {
	text := parse(t, `
seed 7
on put encryptionProtector nth 2: lose-reply   # the classic
on any servers/keys chance 10%: 503 TooManyRequests retry-after 5s for 30s
at call 17: cut
at call 9: failover tdefailovertest to tdesecondarytest
at call 9: forced failover tdefailovertest to tdesecondarytest
region westus down after 2m for 5m
vault testanu2: 403 after 10m
arm: 429 rate 20/s
arm: throttle
operation FailoverFailoverGroup: slow 3m
replica: delay 90s
on get failoverGroups: slow 2s
`)
	want := []fault.Rule{
		{Where: fault.Calls, Method: "PUT", Resource: "encryptionprotector", Nth: 2, Effect: fault.LoseReply},
		{Where: fault.Calls, Resource: "servers/keys", Chance: 0.1, Effect: fault.Answer, Status: 503, Code: "TooManyRequests", RetryAfter: 5 * time.Second, For: 30 * time.Second},
		{Where: fault.Calls, Call: 17, Effect: fault.Cut},
		{Where: fault.Calls, Call: 9, Effect: fault.Failover, Group: "tdefailovertest", To: "tdesecondarytest"},
		{Where: fault.Calls, Call: 9, Effect: fault.Failover, Group: "tdefailovertest", To: "tdesecondarytest", Forced: true},
		{Where: fault.Region, Resource: "westus", After: 2 * time.Minute, For: 5 * time.Minute},
		{Where: fault.Vault, Resource: "testanu2", Effect: fault.Answer, Status: 403, After: 10 * time.Minute},
		{Where: fault.Rate, Effect: fault.Answer, Status: 429, Rate: 20},
		{Where: fault.Throttle},
		{Where: fault.Operation, Resource: "failoverfailovergroup", Effect: fault.Slow, Pause: 3 * time.Minute},
		{Where: fault.Replica, Effect: fault.Slow, Pause: 90 * time.Second},
		{Where: fault.Calls, Method: "GET", Resource: "failovergroups", Effect: fault.Slow, Pause: 2 * time.Second},
	}
	got := parse(t, text.String())
	for i := range text.Rules {
		text.Rules[i].Text = ""
	}
	if diff := cmp.Diff(fault.Text{Seed: 7, Rules: want}, text); diff != "" {
		t.Error(diff)
	}
	for i := range got.Rules {
		got.Rules[i].Text = ""
	}
	if diff := cmp.Diff(text, got); diff != "" {
		t.Errorf("read again: %s", diff)
	}
}

func TestWhatIsNoRuleIsRefusedWithItsLine(t *testing.T) {
	for _, line := range []string{
		"off put x: cut", "on fetch x: cut", "on put: cut", "on put x", "on put x: explode", "on put x nth 0: cut", "on put x nth: cut",
		"on put x chance 200%: cut", "on put x: 200", "on put x: 503 after never", "at call: cut", "at dawn: cut", "at call 1 2: cut",
		"at call 1: failover g", "at call 1: forced march", "region down", "region x up", "region x down: cut", "vault: 403", "vault a b: 403",
		"vault x: lose-reply", "arm: 429", "arm: 429 rate 0/s", "arm: 429 rate NaN/s", "operation x: fast", "replica: away", "replica: delay -3s", "seed x", ": cut",
	} {
		_, err := fault.Parse("# first\n" + line)
		if syntax, ok := errors.AsType[*fault.SyntaxError](err); !ok || syntax.Line != 2 {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestTheNthCallIsStruckAndNoOther(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	s := fault.NewSet(clock.now)
	s.Replace(parse(t, "on put encryptionProtector nth 2: lose-reply\nat call 3: cut"))
	path := "/subscriptions/s/servers/a/EncryptionProtector/current"
	var struck []int
	for range 5 {
		struck = append(struck, len(s.Next(http.MethodPut, path)))
	}
	if diff := cmp.Diff([]int{0, 1, 1, 0, 0}, struck); diff != "" {
		t.Error(diff)
	}
	if hits := s.Hits(); len(hits) != 2 || hits[0].Call != 2 || hits[1].Call != 3 {
		t.Errorf("%+v", hits)
	}
	if len(s.Next(http.MethodGet, path)) != 0 {
		t.Error("another method is struck")
	}
}

func TestEqualSeedsGiveEqualAccidents(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	run := func(seed string) string {
		s := fault.NewSet(clock.now)
		s.Replace(parse(t, "seed "+seed+"\non any keys chance 50%: cut"))
		var b strings.Builder
		for range 64 {
			b.WriteByte("-x"[len(s.Next(http.MethodPut, "/keys/k"))])
		}
		return b.String()
	}
	first, again, other := run("1"), run("1"), run("2")
	if first != again || first == other {
		t.Error(first, again, other)
	}
}

func TestTimesAreTheLabs(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	s := fault.NewSet(clock.now)
	s.Replace(parse(t, "region westus down after 2m for 5m\nvault v: 403 after 10m\noperation Op: slow 3m\nreplica: delay 90s for 1m"))
	for _, at := range []struct {
		after        time.Duration
		down, denied bool
		delay        time.Duration
	}{
		{0, false, false, 90 * time.Second},
		{2 * time.Minute, true, false, 0},
		{7 * time.Minute, false, false, 0},
		{11 * time.Minute, false, true, 0},
	} {
		clock.at = time.Unix(1e9, 0).Add(at.after)
		_, denied := s.Vault("V")
		if s.RegionDown("WestUS") != at.down || denied != at.denied || s.ReplicaDelay() != at.delay {
			t.Errorf("after %s: down %v, denied %v, delay %s", at.after, s.RegionDown("westus"), denied, s.ReplicaDelay())
		}
	}
	if s.Operation("op") != 3*time.Minute || s.Operation("other") != 0 {
		t.Error("the operation is not slow")
	}
}

func TestARateIsHeld(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	s := fault.NewSet(clock.now)
	s.Replace(parse(t, "arm: 429 rate 20/s"))
	let := 0
	for range 100 {
		if s.Throttled(fault.Caller{Principal: "me"}, http.MethodGet).Wait == 0 {
			let++
		}
		clock.at = clock.at.Add(10 * time.Millisecond)
	}
	if let < 38 || let > 41 { // a bucket of 20, and 20 in the second
		t.Errorf("%d calls of 100 in a second", let)
	}
}

func TestThrottling(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	s := fault.NewSet(clock.now)
	me := fault.Caller{Principal: "me", Scope: "s"}
	if got := s.Throttled(me, http.MethodGet); got != (fault.Allowance{Left: -1, Global: -1}) {
		t.Errorf("without a rule: %+v", got)
	}
	s.Replace(parse(t, "arm: throttle"))
	for n := range 200 {
		if got := s.Throttled(me, http.MethodPut); got != (fault.Allowance{Left: 199 - n, Global: 2999 - n}) {
			t.Fatalf("call %d within the bucket: %+v", n+1, got)
		}
	}
	if got := s.Throttled(me, http.MethodPut); got != (fault.Allowance{Wait: 100 * time.Millisecond, Global: 2800}) {
		t.Errorf("beyond the bucket: %+v", got)
	}
	if got := s.Throttled(me, http.MethodGet); got.Wait != 0 || got.Left != 249 || got.Global != 3749 {
		t.Errorf("reads share the writes' bucket: %+v", got)
	}
	if got := s.Throttled(fault.Caller{Principal: "me", Scope: "another"}, http.MethodPut); got.Wait != 0 || got.Global != 2999 {
		t.Errorf("subscriptions share a bucket: %+v", got)
	}
	if got := s.Throttled(fault.Caller{Principal: "somebody else", Scope: "s"}, http.MethodPut); got.Wait != 0 || got.Left != 199 {
		t.Errorf("principals share a bucket: %+v", got)
	}
	clock.at = clock.at.Add(time.Second)
	for range 10 {
		if got := s.Throttled(me, http.MethodPut); got.Wait != 0 {
			t.Fatal("the bucket is not filled again")
		}
	}
	if got := s.Throttled(me, http.MethodPut); got.Wait == 0 {
		t.Error("the bucket is filled too fast")
	}
}

func TestAllPrincipalsTogetherHaveFifteenTimesAsMuch(t *testing.T) {
	clock := &stopped{at: time.Unix(1e9, 0)}
	s := fault.NewSet(clock.now)
	s.Replace(parse(t, "arm: throttle"))
	let := 0
	for who := range 20 {
		for range 200 {
			got := s.Throttled(fault.Caller{Principal: strconv.Itoa(who), Scope: "s"}, http.MethodDelete)
			if got.Wait == 0 {
				let++
				continue
			}
			if got.Global != 0 || got.Left != 200 || got.Wait > time.Second/150+1 {
				t.Fatalf("after %d calls: %+v", let, got)
			}
		}
	}
	if let != 15*200 {
		t.Errorf("%d calls were let through", let)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("on put x nth 2: lose-reply\nseed 3\nregion a down for 5m")
	f.Add("arm: 429 rate 20/s\nvault v: 403 Forbidden after 1m")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := fault.Parse(text)
		if err != nil {
			return
		}
		again, err := fault.Parse(parsed.String())
		if err != nil {
			t.Fatalf("%q: %v", parsed.String(), err)
		}
		if diff := cmp.Diff(parsed, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
