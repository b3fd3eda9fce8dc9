package sqlserver

import (
	"errors"
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/tde"
)

func TestKeyURIOfEachCloudIsTaken(t *testing.T) {
	for _, host := range []string{"v.vault.azure.net", "v.vault.azure.cn", "v.vault.usgovcloudapi.net", "v.managedhsm.azure.net", "V.vault.azure.net:443"} {
		key, err := parseKeyURI("https://" + host + "/keys/k/0123456789abcdef0123456789abcdef")
		if err != nil || key.ServerKeyName() != "v_k_0123456789abcdef0123456789abcdef" {
			t.Errorf("%s: %s, %v", host, key.ServerKeyName(), err)
		}
	}
}

// Whatever is sent as a key URI is either taken, and then names a version of
// a key in a vault with a name that fits, or refused in Azure's words.
func FuzzParseKeyURI(f *testing.F) {
	for _, seed := range []string{"", "https://v.vault.azure.net/keys/k/1", "https://v.vault.azure.net/keys/k", "http://v.vault.azure.net/keys/k/1", "https://v.vault.azure.net/secrets/k/1", "https://u:p@v.vault.azure.net/keys/k/1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		key, err := parseKeyURI(uri)
		if err != nil {
			if _, refused := errors.AsType[*arm.Error](err); !refused {
				t.Fatalf("%q: %v is no refusal of Azure's", uri, err)
			}
			return
		}
		if key.Versionless() || len(key.Vault())+len(key.Name) > tde.MaxServerKeyNameLength || strings.ContainsAny(key.ServerKeyName(), "/ ") {
			t.Fatalf("%q was taken as %v", uri, key)
		}
	})
}

func TestServiceObjectives(t *testing.T) {
	for _, each := range []struct {
		given     SKU
		objective string
		tier      string
		capacity  int
	}{
		{SKU{Name: "GP_Gen5_2"}, "GP_Gen5_2", "GeneralPurpose", 2},
		{SKU{Name: "BC_Gen5", Capacity: 8}, "BC_Gen5_8", "BusinessCritical", 8},
		{SKU{Name: "GP_S_Gen5_4"}, "GP_S_Gen5_4", "GeneralPurpose", 4},
		{SKU{Name: "S0"}, "S0", "Standard", 0},
		{SKU{Name: "Basic"}, "Basic", "Basic", 0},
		{SKU{Name: "P1"}, "P1", "Premium", 0},
	} {
		sku, objective := skuOf(each.given)
		if objective != each.objective || sku.Tier != each.tier || sku.Capacity != each.capacity {
			t.Errorf("%+v: %s %+v", each.given, objective, sku)
		}
	}
}
