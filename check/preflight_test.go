package check_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

const (
	first  = tdetest.PrimaryServer
	second = tdetest.SecondaryServer
)

func key(text string) tde.KeyID { return tdetest.Key(text) }

func at(d time.Duration) *time.Time {
	t := tdetest.Now().Add(d)
	return &t
}

func flag(on bool) *bool { return &on }

// onePerRegion is what the article wants.
func onePerRegion() check.Desired {
	return check.Desired{first: {Key: key(tdetest.Subham)}, second: {Key: key(tdetest.Tey)}}
}

// situation is a world and what is desired of it.
type situation struct {
	*tdetest.World
	desired check.Desired
}

type preflightCase struct {
	name     string
	rule     string
	severity check.Severity // empty: the rule must not fire
	change   func(s *situation)
	server   string
	key      string
	database string
	command  string // a part of it
}

func byRule(findings []check.Finding, rule string) []check.Finding {
	var found []check.Finding
	for _, f := range findings {
		if f.Rule == rule {
			found = append(found, f)
		}
	}
	return found
}

func (c preflightCase) run(t *testing.T) {
	t.Helper()
	s := &situation{World: tdetest.Article(), desired: onePerRegion()}
	c.change(s)
	all := check.Preflight(s.Topology, s.desired, tdetest.Now())
	found := byRule(all, c.rule)
	if c.severity == "" {
		if len(found) > 0 {
			t.Fatalf("fired: %+v", found)
		}
		return
	}
	if len(found) == 0 {
		t.Fatalf("did not fire; the findings are %+v", all)
	}
	f := found[0]
	got := []string{string(f.Severity), f.Server, f.Key.String(), f.Database}
	want := []string{string(c.severity), c.server, c.key, c.database}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("severity, server, key, database: %s", diff)
	}
	if !strings.Contains(f.Command, c.command) {
		t.Errorf("the command is\n%s\nand lacks\n%s", f.Command, c.command)
	}
	for _, f := range all {
		if f.What == "" || f.Cure == "" || (f.Command == "" && f.Severity != check.Note) {
			t.Errorf("the finding lacks words: %+v", f)
		}
		if strings.Contains(f.Command, "  ") || strings.Contains(f.Command, "''") {
			t.Errorf("the command has a hole: %s", f.Command)
		}
	}
}

func TestPreflightHasNothingAgainstTheArticle(t *testing.T) {
	w := tdetest.Article()
	if got := check.Preflight(w.Topology, onePerRegion(), tdetest.Now()); len(got) > 0 {
		t.Fatalf("findings: %+v", got)
	}
}

func TestPreflight(t *testing.T) {
	cases := slices.Concat(componentCases(), accessCases(), vaultCases(), keyCases(), rotationCases(), databaseCases())
	for _, c := range cases {
		t.Run(c.rule+"/"+c.name, c.run)
	}
	t.Run("every rule is seen to fire and seen not to", func(t *testing.T) {
		rules := []string{
			check.RuleUnread, check.RuleServerNotObserved, check.RuleRolesDisagree, check.RuleGroupBusy, check.RuleReplication, check.RuleGeoChain,
			check.RuleIdentityMissing, check.RuleMissingGrant, check.RuleVaultNotObserved, check.RulePurgeProtection, check.RuleSoftDelete,
			check.RuleVaultFirewall, check.RuleVaultShared, check.RuleKeyNotObserved, check.RuleKeyDisabled, check.RuleKeyExpired, check.RuleKeyNotYetActive,
			check.RuleKeyExpiresSoon, check.RuleKeyNotNewest, check.RuleKeyUnsupported, check.RuleKeyOperations, check.RuleKeyNameTooLong,
			check.RuleKeyVersionless, check.RuleKeySameInRegions, check.RuleAutoRotationOneSide, check.RuleAutoRotationURI, check.RuleChangeInProgress,
			check.RuleInaccessible, check.RuleNotOnline, check.RuleTDEDisabled, check.RuleDatabaseLevelKey, check.RuleEncryptionUnread, check.RuleWrappingKeyUnknown,
		}
		for _, rule := range rules {
			fires := slices.ContainsFunc(cases, func(c preflightCase) bool { return c.rule == rule && c.severity != "" })
			rests := slices.ContainsFunc(cases, func(c preflightCase) bool { return c.rule == rule && c.severity == "" })
			if !fires || !rests {
				t.Errorf("%s: positive test %v, negative test %v", rule, fires, rests)
			}
		}
	})
}

func TestFindingsAreSortedHeaviestFirst(t *testing.T) {
	w := tdetest.Article()
	w.AtDatabase(second, "orders").OwnKey = key(tdetest.Tey)
	w.AtKey(key(tdetest.Tey)).Expires = at(time.Hour)
	w.AtVault("testanu2").PurgeProtection = false
	got := check.Preflight(w.Topology, onePerRegion(), tdetest.Now())
	var rules []string
	for _, f := range got {
		rules = append(rules, f.Rule)
	}
	want := []string{check.RulePurgeProtection, check.RuleKeyExpiresSoon, check.RuleDatabaseLevelKey}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Fatal(diff)
	}
	if !check.Blocked(got) || check.Blocked(got[1:]) {
		t.Fatal("Blocked does not follow the severities")
	}
}
