package lab_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/crosskeys/crosskeys/lab"
)

// recordedFolder holds answers of the real service, beside the checkout. It
// is not part of the project.
const recordedFolder = "../../shared/az-cli/recorded"

// exchange is one recorded call.
type exchange struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"res"`
}

func recorded(t *testing.T) []exchange {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordedFolder, "test_sql_*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("SKIP the comparison with recorded answers of Azure: there is no %s", recordedFolder)
	}
	var all []exchange
	for _, name := range files {
		if strings.Contains(name, "_mi_") {
			continue // managed instances are another resource type
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var cassette map[string]json.RawMessage
		if err := json.Unmarshal(text, &cassette); err != nil {
			t.Fatal(err)
		}
		for _, part := range cassette {
			var exchanges []exchange
			if json.Unmarshal(part, &exchanges) == nil {
				all = append(all, exchanges...)
			}
		}
	}
	return all
}

// shape lists the paths of a JSON value with their types; elements of a list
// share one path.
func shape(prefix string, value any, into map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if strings.HasPrefix(name, "/subscriptions/") {
				name = "{id}"
			}
			shape(prefix+"."+name, inner, into)
		}
	case []any:
		into[prefix] = "list"
		for _, inner := range v {
			shape(prefix+"[]", inner, into)
		}
	case nil:
	default:
		into[prefix] = fmt.Sprintf("%T", v)
	}
}

// Every field that Azure answered for a resource in the recordings, the lab
// answers with the same type. What is left out is listed with its reason.
func TestAnswersHaveTheShapeOfRecordedOnes(t *testing.T) {
	t.Parallel()
	exchanges := recorded(t)
	a := article(t, lab.Options{}, lab.SeedOptions{})
	base := "/subscriptions/" + lab.SubscriptionID + "/resourceGroups/" + lab.ArticleGroup + "/providers/Microsoft.Sql/servers/" + lab.ArticlePrimary
	key := id(t, lab.ArticleSharedKey).ServerKeyName()
	for _, each := range []struct {
		name, recorded, path string
		except               []string // optional in Azure's answers: not there for a resource like the lab's
	}{
		{"server", `/servers/[^/]+$`, base, []string{".tags", ".identity.userAssignedIdentities", ".properties.primaryUserAssignedIdentityId", ".properties.workspaceFeature", ".properties.privateEndpointConnections[]", ".properties.administrators"}},
		{"server key", `/servers/[^/]+/keys/[^/]+$`, base + "/keys/" + key, []string{".subregion"}},
		{"server keys", `/servers/[^/]+/keys$`, base + "/keys", []string{".subregion"}},
		{"protector", `/encryptionProtector/current$`, base + "/encryptionProtector/current", nil},
		{"database", `/databases/[^/]+$`, base + "/databases/orders", []string{
			".tags", ".properties.elasticPoolId", ".properties.encryptionProtector", ".properties.keys", ".identity", ".properties.minCapacity", ".properties.autoPauseDelay",
			".properties.highAvailabilityReplicaCount", ".properties.earliestRestoreDate", ".properties.pausedDate", ".properties.resumedDate", ".properties.secondaryType", ".managedBy", ".properties.maxLogSizeBytes",
			".properties.readReplicaCount", ".properties.freeLimitExhaustionBehavior", ".properties.useFreeLimit", ".properties.preferredEnclaveType", ".properties.encryptionProtectorAutoRotation",
		}},
		{"transparent data encryption", `/transparentDataEncryption/current$`, base + "/databases/orders/transparentDataEncryption/current", nil},
		{"failover group", `/failoverGroups/[^/]+$`, base + "/failoverGroups/" + lab.ArticleFailoverGroup, []string{".properties.readWriteEndpoint.failoverWithDataLossGracePeriodMinutes", ".tags"}},
		{"replication links", `/databases/[^/]+/replicationLinks$`, base + "/databases/orders/replicationLinks", nil},
	} {
		t.Run(each.name, func(t *testing.T) {
			want := map[string]string{}
			pattern := regexp.MustCompile("(?i)" + each.recorded)
			for _, x := range exchanges {
				var answer any
				if x.Method == http.MethodGet && x.Status == http.StatusOK && pattern.MatchString(x.Path) && json.Unmarshal(x.Answer, &answer) == nil {
					shape("", answer, want)
				}
			}
			if len(want) == 0 {
				t.Fatalf("no recorded answer matches %s", each.recorded)
			}
			got := map[string]string{}
			shape("", a.getJSON(each.path), got)
			var missing []string
			for path, kind := range want {
				left := slices.ContainsFunc(each.except, func(prefix string) bool {
					return strings.TrimPrefix(path, ".value[]") == prefix || strings.HasPrefix(strings.TrimPrefix(path, ".value[]"), prefix+".") || strings.HasPrefix(path, prefix+"[")
				})
				if !left && got[path] != kind {
					missing = append(missing, fmt.Sprintf("%s: want %s, got %q", path, kind, got[path]))
				}
			}
			sort.Strings(missing)
			if len(missing) > 0 {
				t.Errorf("the lab's answer differs from Azure's:\n%s", strings.Join(missing, "\n"))
			}
		})
	}
}

// getJSON reads an ARM path as it is.
func (a *azure) getJSON(path string) any {
	a.t.Helper()
	token, err := a.cred.GetToken(a.t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		a.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "https://management.azure.com"+path+"?api-version=2023-08-01", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Token)
	response, err := a.lab.HTTPClient().Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		a.t.Fatalf("GET %s: %s %s %v", path, response.Status, text, err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		a.t.Fatal(err)
	}
	return answer
}
