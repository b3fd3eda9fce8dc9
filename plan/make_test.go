package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

const (
	first  = tdetest.PrimaryServer
	second = tdetest.SecondaryServer
)

func key(text string) tde.KeyID { return tdetest.Key(text) }

func flag(on bool) *bool { return &on }

func to(text string) plan.DesiredProtector { return plan.DesiredProtector{Key: key(text)} }

func onePerRegion() plan.Desired {
	return plan.Desired{first: to(tdetest.Subham), second: to(tdetest.Tey)}
}

func mustMake(t *testing.T, w *tdetest.World, desired plan.Desired, o plan.Options) plan.Plan {
	t.Helper()
	o.Now = tdetest.Now()
	p, err := plan.Make(w.Topology, desired, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// short writes the steps in few words, for comparison.
func short(steps []plan.Step) []string {
	lines := []string{}
	for _, s := range steps {
		line := fmt.Sprintf("%d %s", s.Number, s.Kind)
		if s.Server != "" {
			line += " " + s.Server
		}
		switch s.Kind {
		case plan.Grant:
			line += " " + s.VaultName
		case plan.Register, plan.SetProtector:
			name := "service-managed"
			if !s.Key.IsZero() {
				name = s.Key.Name
			}
			line += " " + name
		case plan.PlannedFailover:
			line += " " + s.Group
		case plan.VerifyEncryption:
		}
		if s.AutoRotation {
			line += " auto"
		}
		if len(s.DependsOn) > 0 {
			line += " after " + strings.Trim(fmt.Sprint(s.DependsOn), "[]")
		}
		lines = append(lines, line)
	}
	return lines
}

func wantSteps(t *testing.T, p plan.Plan, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, short(p.Steps)); diff != "" {
		t.Fatalf("steps (-want +got): %s", diff)
	}
}

// article are the steps from one shared key to one key per region.
func article() []string {
	return []string{
		"1 Register tdesecondarytest tey",
		"2 Register tdesecondarytest subham",
		"3 Register tdeprimarytest tey",
		"4 Register tdeprimarytest subham",
		"5 SetProtector tdesecondarytest tey after 1 3",
		"6 SetProtector tdeprimarytest subham after 2 4 5",
		"7 VerifyEncryption after 6",
	}
}

func TestTheArticlesMove(t *testing.T) {
	p := mustMake(t, tdetest.Article(), onePerRegion(), plan.Options{})
	wantSteps(t, p, article()...)
	if p.Blocked() || len(p.Findings) > 0 || len(p.Effects) > 0 {
		t.Errorf("findings %+v, effects %v", p.Findings, p.Effects)
	}
	if p.Group != tdetest.Group || p.SchemaVersion != plan.SchemaVersion || !p.CreatedAt.Equal(tdetest.Now()) {
		t.Errorf("head: %+v", p)
	}
	sum, err := tdetest.Article().Fingerprint()
	if err != nil || p.Fingerprint != sum {
		t.Errorf("fingerprint %s, want %s, %v", p.Fingerprint, sum, err)
	}
	want := []plan.Target{
		{Server: first, Key: key(tdetest.Subham), BeforeKey: key(tdetest.Shared)},
		{Server: second, Key: key(tdetest.Tey), BeforeKey: key(tdetest.Shared)},
	}
	if diff := cmp.Diff(want, p.Targets); diff != "" {
		t.Error(diff)
	}
}

func TestEveryStepSaysWhatAPersonNeeds(t *testing.T) {
	w := tdetest.Article()
	w.Revoke(first, "testanu2")
	p := mustMake(t, w, onePerRegion(), plan.Options{Grant: true, Drill: true, Failback: true})
	for _, s := range p.Steps {
		if s.Reason == "" || s.Before == "" || s.After == "" || s.Undo == "" {
			t.Errorf("step %d lacks words: %+v", s.Number, s)
		}
		if s.Kind != plan.VerifyEncryption && (s.Command == "" || s.ResourceGroup != tdetest.ResourceGroup || s.Subscription != tdetest.Subscription) {
			t.Errorf("step %d lacks its place: %+v", s.Number, s)
		}
	}
}

// A plan made anew after each step is exactly the rest: nothing is done twice,
// nothing is forgotten.
func TestHalfWayStartsPlanTheRest(t *testing.T) {
	w := tdetest.Article()
	whole := mustMake(t, w, onePerRegion(), plan.Options{}).Steps
	rest := article()
	for i, step := range whole {
		sim := simulate(w)
		if err := sim.do(step); err != nil {
			t.Fatal(err)
		}
		p := mustMake(t, w, onePerRegion(), plan.Options{})
		if got, want := kinds(p.Steps), words(rest[i+1:]); !slices.Equal(got, want) {
			t.Fatalf("after step %d the rest is %v, want %v", step.Number, got, want)
		}
	}
}

// kinds are the steps without numbers and dependencies.
func kinds(steps []plan.Step) []string { return words(short(steps)) }

func words(lines []string) []string {
	list := []string{}
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " after ")
		_, line, _ = strings.Cut(line, " ")
		list = append(list, line)
	}
	return list
}

func TestAReachedTargetIsAnEmptyPlan(t *testing.T) {
	w := tdetest.Article()
	p := mustMake(t, w, plan.Desired{first: to(tdetest.Shared), second: to(tdetest.Shared)}, plan.Options{})
	wantSteps(t, p)
	if !p.Empty() {
		t.Error("not empty")
	}
}

func TestAChangeThatIsStillTravellingIsOnlyWaitedFor(t *testing.T) {
	w := moved()
	w.AtDatabase(second, "orders").Encryption.Thumbprint = tdetest.Thumbprint(tdetest.Shared)
	wantSteps(t, mustMake(t, w, onePerRegion(), plan.Options{}), "1 VerifyEncryption")
}

// moved is the article's end, with the old key left where it was.
func moved() *tdetest.World {
	w := tdetest.Article()
	for _, server := range []string{first, second} {
		w.Register(server, key(tdetest.Subham))
		w.Register(server, key(tdetest.Tey))
	}
	w.SetProtector(first, key(tdetest.Subham), false)
	w.SetProtector(second, key(tdetest.Tey), false)
	w.Settle()
	return w
}

func TestAMissingGrantBlocksWhereNoGrantsAreAllowed(t *testing.T) {
	w := tdetest.Article()
	w.Revoke(first, "testanu2")
	p := mustMake(t, w, onePerRegion(), plan.Options{})
	wantSteps(t, p, article()...)
	if !p.Blocked() || len(p.Findings) != 1 || p.Findings[0].Rule != check.RuleMissingGrant {
		t.Fatalf("findings %+v", p.Findings)
	}
	p = mustMake(t, w, onePerRegion(), plan.Options{Grant: true})
	if p.Blocked() {
		t.Fatalf("with grants: %+v", p.Findings)
	}
}

func TestAGrantCannotReplaceAnIdentity(t *testing.T) {
	w := tdetest.Article()
	w.Revoke(first, "testanu2")
	w.At(first).Identity = tde.Identity{Type: "None"}
	p := mustMake(t, w, onePerRegion(), plan.Options{Grant: true})
	if !p.Blocked() || slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.Grant }) {
		t.Fatalf("steps %v, findings %+v", short(p.Steps), p.Findings)
	}
}

func TestGrantSteps(t *testing.T) {
	for _, rbac := range []bool{false, true} {
		w := tdetest.Article()
		w.Revoke(first, "testanu2")
		w.AtVault("testanu2").RBAC = rbac
		s := mustMake(t, w, onePerRegion(), plan.Options{Grant: true}).Steps[0]
		want := plan.Step{
			Number: 1, Kind: plan.Grant, Server: first, ResourceGroup: tdetest.ResourceGroup, Subscription: tdetest.Subscription, Group: tdetest.Group,
			VaultID: w.AtVault("testanu2").ID, VaultName: "testanu2", PrincipalID: "principal-of-" + first, RBAC: rbac, WayBack: true,
			Reason: s.Reason, Before: s.Before, After: s.After, Undo: s.Undo, Command: s.Command,
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Error(diff)
		}
		if got := strings.Contains(s.Command, "role assignment create"); got != rbac {
			t.Errorf("RBAC %v gives the command %s", rbac, s.Command)
		}
	}
}

func TestWayBack(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *tdetest.World)
		want   bool
		words  string
	}{
		{"the old key is the newest version of its name", func(*tdetest.World) {}, true, "--kid " + tdetest.Shared},
		{"the old protector was service-managed", func(w *tdetest.World) { w.SetProtector(second, tde.KeyID{}, false) }, true, "--server-key-type ServiceManaged"},
		{"the old key has a newer version", rotate, false, "no older one"},
		{"the old key was not seen", func(w *tdetest.World) {
			w.Keys = slices.DeleteFunc(w.Keys, func(k tde.VaultKey) bool { return k.ID == key(tdetest.Shared) })
		}, false, "not seen"},
		{"the old key is disabled", func(w *tdetest.World) { w.AtKey(key(tdetest.Shared)).Enabled = false }, false, "cannot be used"},
		{"the old key's vault is not protected", func(w *tdetest.World) { w.AtVault("testshared").PurgeProtection = false }, false, "purge protection"},
		{"the old protector rotated on one side only", func(w *tdetest.World) { w.SetProtector(second, key(tdetest.Shared), true) }, true, "one side only"},
		{"the partner may not use the old key", func(w *tdetest.World) { w.Revoke(first, "testshared") }, false, "registered and usable everywhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tdetest.Article()
			tt.change(w)
			p := mustMake(t, w, plan.Desired{second: to(tdetest.Tey)}, plan.Options{})
			i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.SetProtector })
			if got := p.Steps[i]; got.WayBack != tt.want || !strings.Contains(got.Undo, tt.words) {
				t.Fatalf("way back %v: %s", got.WayBack, got.Undo)
			}
		})
	}
}

func TestEffectsNameWhatLiesBeyondTheGroup(t *testing.T) {
	w := tdetest.Article()
	w.AddServer("other", "North Europe")
	w.AddGroup("fog-other", first, []string{"other"}, "ledger")
	w.Grant("other", "testshared")
	w.Register("other", key(tdetest.Shared))
	w.AddDatabase(first, "local")
	w.AddDatabase(first, "own")
	w.AtDatabase(first, "own").OwnKey = key(tdetest.Tey)
	w.AddDatabase(first, "lone")
	w.AddDatabase(second, "lone")
	w.AddLink(first, second, "lone", "")
	w.Settle()
	p := mustMake(t, w, onePerRegion(), plan.Options{Grant: true})
	want := []string{
		"the identity of other, which is not in failover group fog-harshitha, may use the keys of vault testprimarysubham",
		"other, which is not in failover group fog-harshitha, gets key testprimarysubham/subham/e0637ed7… registered, since it is linked to tdeprimarytest",
		"tdeprimarytest is also primary of failover group fog-other (ledger), whose databases follow its protector while it is primary",
		"database lone, which tdeprimarytest replicates to tdesecondarytest outside any failover group, follows its protector on both",
		"databases on tdeprimarytest that are not replicated follow its protector too: local",
	}
	if diff := cmp.Diff(want, p.Effects); diff != "" {
		t.Fatal(diff)
	}
}

func TestDesiresThatMakeNoSense(t *testing.T) {
	tests := []struct {
		name    string
		desired plan.Desired
		options plan.Options
		what    string
		hint    string
	}{
		{"an unknown server", plan.Desired{"nobody": to(tdetest.Tey)}, plan.Options{}, `server "nobody"`, first + ", " + second},
		{"a server that nothing links", plan.Desired{"island": to(tdetest.Tey)}, plan.Options{}, "not in the component", "a plan of its own"},
		{"a key without a version", plan.Desired{first: {Key: key(tdetest.Tey).WithoutVersion()}}, plan.Options{}, "no version", tdetest.Tey},
		{"an unknown key without a version", plan.Desired{first: to("https://x.vault.azure.net/keys/k")}, plan.Options{}, "no version", "/keys/k/VERSION"},
		{"two desires for one server", plan.Desired{first: to(tdetest.Tey), strings.ToUpper(first): to(tdetest.Subham)}, plan.Options{}, "two protectors", "once"},
		{"auto-rotation without a key", plan.Desired{first: {AutoRotation: flag(true)}}, plan.Options{}, "auto-rotation", "leave"},
		{"an unknown group", nil, plan.Options{Group: "fog-x"}, `"fog-x"`, tdetest.Group},
		{"a failback without a drill", nil, plan.Options{Failback: true}, "without a drill", "drill"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tdetest.Article()
			w.AddServer("island", "North Europe")
			tt.options.Now = tdetest.Now()
			if tt.hint == first+", "+second {
				tt.hint += ", island"
			}
			_, err := plan.Make(w.Topology, tt.desired, tt.options)
			var desire *plan.DesireError
			if !errors.As(err, &desire) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(desire.What, tt.what) || !strings.Contains(desire.Hint, tt.hint) {
				t.Fatalf("what %q, hint %q", desire.What, desire.Hint)
			}
		})
	}
	t.Run("a drill without a group", func(t *testing.T) {
		w := tdetest.Article()
		w.Group, w.Groups = "", nil
		_, err := plan.Make(w.Topology, nil, plan.Options{Drill: true, Now: tdetest.Now()})
		var desire *plan.DesireError
		if !errors.As(err, &desire) || !strings.Contains(desire.What, "drill") {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("service-managed with auto-rotation off is no contradiction", func(t *testing.T) {
		mustMake(t, tdetest.Article(), plan.Desired{first: {AutoRotation: flag(false)}}, plan.Options{})
	})
}

func TestALoneServer(t *testing.T) {
	w := &tdetest.World{}
	w.ReadAt = tdetest.Now()
	w.AddKey(key(tdetest.Tey), tdetest.Tey)
	w.AddServer("alone", "North Europe")
	w.AddDatabase("alone", "ledger")
	w.Grant("alone", "testanu2")
	w.Settle()
	p := mustMake(t, w, plan.Desired{"alone": to(tdetest.Tey)}, plan.Options{})
	wantSteps(t, p, "1 Register alone tey", "2 SetProtector alone tey after 1", "3 VerifyEncryption after 2")
	if p.Blocked() || p.Group != "" {
		t.Errorf("%+v", p)
	}
}
