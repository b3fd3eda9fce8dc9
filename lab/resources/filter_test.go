package resources

import (
	"strings"
	"testing"
)

func TestFilters(t *testing.T) {
	r := Resource{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/servers/Srv", Name: "Srv", Type: "Microsoft.Sql/servers", Location: "eastus"}
	for _, each := range []struct {
		filter string
		want   bool
	}{
		{"", true},
		{"resourceType eq 'microsoft.sql/servers'", true},
		{"resourceType eq 'Microsoft.KeyVault/vaults'", false},
		{"(resourceType eq 'Microsoft.Sql/servers') and ((name eq 'srv'))", true},
		{"(resourceType eq 'Microsoft.Sql/servers') and ((name eq 'other'))", false},
		{"name eq 'other' or location eq 'eastus'", true},
		{"name eq 'other' or name eq 'Srv' and location eq 'westus'", false},
		{"substringof('rv', name)", true},
		{"resourceGroup eq 'G'", true},
	} {
		holds, err := parseFilter(each.filter)
		if err != nil {
			t.Errorf("%s: %v", each.filter, err)
		} else if holds(r) != each.want {
			t.Errorf("%s: not %t", each.filter, each.want)
		}
	}
	for _, broken := range []string{"name", "name eq", "name eq srv", "name ne 'srv'", "(name eq 'srv'", "name eq 'srv') ", "name eq 'srv' and", "name eq 'srv", "substringof('x' name)", strings.Repeat("(", 100)} {
		if _, err := parseFilter(broken); err == nil {
			t.Errorf("%s was taken", broken)
		}
	}
}

// Whatever stands in $filter is read or refused, never a panic, and what is
// read can be asked.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"", "name eq 'x'", "(name eq 'x') or substringof('y',name)", "'''", "((("} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		if holds, err := parseFilter(text); err == nil {
			holds(Resource{Name: "x"})
		}
	})
}
