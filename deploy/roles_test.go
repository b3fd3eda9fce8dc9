package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// role is a custom role as az role definition create takes it.
// https://learn.microsoft.com/azure/role-based-access-control/custom-roles
type role struct {
	Name             string
	IsCustom         bool
	Description      string
	Actions          []string
	NotActions       []string
	DataActions      []string
	NotDataActions   []string
	AssignableScopes []string
}

// action is the form of an Azure operation: provider, resource types, verb.
var action = regexp.MustCompile(`^Microsoft\.[A-Za-z]+(/([A-Za-z]+|\*))+/(read|write|delete|action)$`)

func readRole(t *testing.T, name string) role {
	t.Helper()
	text, err := os.ReadFile("role-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var r role
	if err := decoder.Decode(&r); err != nil {
		t.Fatalf("role %s: %v", name, err)
	}
	return r
}

func (r role) all() []string { return slices.Concat(r.Actions, r.DataActions) }

func TestEachRoleFileIsACustomRoleThatAzureTakes(t *testing.T) {
	files, err := filepath.Glob("role-*.json")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"role-grantor.json", "role-operator.json", "role-reader.json"}; !cmp.Equal(files, want) {
		t.Fatalf("role files: %s", cmp.Diff(want, files))
	}
	for _, name := range []string{"reader", "operator", "grantor"} {
		t.Run(name, func(t *testing.T) {
			r := readRole(t, name)
			if r.Name != "crosskeys "+name || !r.IsCustom || r.Description == "" || len(r.AssignableScopes) != 1 {
				t.Errorf("name %q, custom %v, description %q, scopes %v", r.Name, r.IsCustom, r.Description, r.AssignableScopes)
			}
			if len(r.NotActions)+len(r.NotDataActions) != 0 {
				t.Errorf("a role that grants little needs no exceptions: %v %v", r.NotActions, r.NotDataActions)
			}
			for _, a := range r.all() {
				if !action.MatchString(a) {
					t.Errorf("%s is not the form of an Azure action", a)
				}
			}
			for _, list := range [][]string{r.Actions, r.DataActions} {
				if sorted := slices.Compact(slices.Sorted(slices.Values(list))); !slices.Equal(list, sorted) {
					t.Errorf("actions sorted and once each: %s", cmp.Diff(sorted, list))
				}
			}
		})
	}
}

func TestTheReaderCanChangeNothing(t *testing.T) {
	for _, a := range readRole(t, "reader").all() {
		if !strings.HasSuffix(a, "/read") || strings.Contains(a, "*") {
			t.Errorf("the reader holds %s", a)
		}
	}
}

func TestTheOperatorCanDoAllThatTheReaderCan(t *testing.T) {
	operator := readRole(t, "operator").all()
	for _, a := range readRole(t, "reader").all() {
		if !slices.Contains(operator, a) {
			t.Errorf("the operator lacks the reader's %s", a)
		}
	}
}

func TestNoRoleCanDeleteForceOrUseAKey(t *testing.T) {
	for _, name := range []string{"reader", "operator", "grantor"} {
		for _, a := range readRole(t, name).all() {
			switch {
			case strings.HasSuffix(a, "/delete"),
				strings.Contains(a, "forceFailover"), strings.Contains(a, "BeforeForced"),
				strings.HasPrefix(a, "Microsoft.KeyVault/vaults/keys/") && !strings.HasSuffix(a, "/keys/read"),
				strings.HasSuffix(a, "*"),
				strings.Contains(a, "*") && !strings.HasSuffix(a, "/read"):
				t.Errorf("role %s holds %s", name, a)
			}
		}
	}
}

func TestOnlyTheGrantorCanGrant(t *testing.T) {
	for _, name := range []string{"reader", "operator"} {
		for _, a := range readRole(t, name).all() {
			if strings.HasPrefix(a, "Microsoft.Authorization/") && !strings.HasSuffix(a, "/read") ||
				strings.HasPrefix(a, "Microsoft.KeyVault/") && !strings.HasSuffix(a, "/read") {
				t.Errorf("role %s holds %s", name, a)
			}
		}
	}
}

func TestThePermissionsPageNamesEachActionWithItsReason(t *testing.T) {
	page, err := os.ReadFile("../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := tableActions(string(page))
	granted := map[string][]string{}
	reader := readRole(t, "reader").all()
	granted["Reader"] = reader
	for _, a := range readRole(t, "operator").all() {
		if !slices.Contains(reader, a) { // the page gives the operator's as what it has more
			granted["Operator"] = append(granted["Operator"], a)
		}
	}
	granted["Grantor"] = readRole(t, "grantor").all()
	if diff := cmp.Diff(granted, documented); diff != "" {
		t.Errorf("role files and docs/permissions.md differ (-files +page):\n%s", diff)
	}
}

// tableActions returns, for each section of the page, the actions whose table
// row also gives a reason.
func tableActions(page string) map[string][]string {
	row := regexp.MustCompile("^\\| `(Microsoft\\.[^`]+)` \\| [^|]{10,} \\|$")
	found, section := map[string][]string{}, ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		if m := row.FindStringSubmatch(line); m != nil {
			found[section] = append(found[section], m[1])
		}
	}
	return found
}
