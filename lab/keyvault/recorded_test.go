package keyvault_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/latency"
)

// exchange is one request to the real service with its answer, as published
// in the Azure CLI's test recordings.
type exchange struct {
	N      int               `json:"n"`
	Host   string            `json:"host"`
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Query  map[string]string `json:"query"`
	Req    any               `json:"req"`
	Status int               `json:"status"`
	Header map[string]string `json:"h"`
	Res    any               `json:"res"`
}

// replay sends recorded requests to the lab. What the real service chose
// itself (versions, tokens of pages, backups, operation ids) is replaced by
// what the lab chose in its place.
type replay struct {
	w         *world
	tenant    string
	principal string
	known     map[string]string // recorded version to the lab's
	nextLink  string
	backup    any
	poll      string
}

const recordings = "../../../shared/az-cli/recorded"

func TestAnswersHaveTheShapeOfRecordedOnes(t *testing.T) {
	files := must[[]string](t)(filepath.Glob(filepath.Join(recordings, "test_keyvault_*.json")))
	if len(files) == 0 {
		t.Skipf("NOT COMPARED WITH THE REAL SERVICE: there are no recordings in %s beside the checkout", filepath.Clean(recordings))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var cassette struct {
				Exchanges []exchange `json:"exchanges"`
			}
			if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(file)), &cassette); err != nil {
				t.Fatal(err)
			}
			r := &replay{w: newWorld(t, latency.Instant()), known: map[string]string{}}
			r.prepare(t, cassette.Exchanges)
			compared := 0
			for _, e := range cassette.Exchanges {
				if r.skips(e) {
					continue
				}
				t.Run(fmt.Sprintf("%d %s %s", e.N, e.Method, e.Path), func(t *testing.T) { r.compare(t, e) })
				compared++
			}
			if compared < 8 {
				t.Errorf("only %d exchanges were compared", compared)
			}
		})
	}
}

// prepare creates the vaults that the recording begins with.
func (r *replay) prepare(t *testing.T, exchanges []exchange) {
	t.Helper()
	for _, e := range exchanges {
		shown, ok := e.Res.(map[string]any)
		if !ok || shown["type"] != "Microsoft.KeyVault/vaults" || r.tenant != "" {
			continue
		}
		policies, _ := field(shown, "properties", "accessPolicies").([]any)
		if len(policies) == 0 {
			continue
		}
		r.tenant, r.principal = text(shown, "properties", "tenantId"), text(policies[0], "objectId")
		base := e.Path[:len(e.Path)-len("000002")]
		for _, number := range []string{"000002", "000003"} {
			name := "standard"
			if slices.ContainsFunc(exchanges, func(e exchange) bool { return strings.Contains(e.Host, number) && asksForHSM(e) }) {
				name = "premium"
			}
			body := map[string]any{"location": "eastus2", "properties": map[string]any{
				"tenantId": r.tenant, "sku": map[string]any{"family": "A", "name": name}, "accessPolicies": policies, "softDeleteRetentionInDays": 7}}
			address := "https://management.azure.com" + base + number + "?api-version=2023-02-01"
			if a := r.w.send(t, http.MethodPut, address, r.token("https://management.azure.com"), body); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.text)
			}
		}
	}
}

func asksForHSM(e exchange) bool {
	return strings.HasSuffix(text(e.Req, "kty"), "-HSM")
}

func (r *replay) token(audience string) string {
	k := tokenFor(r.principal, audience)
	k.Tenant = r.tenant
	return k.String()
}

// skips leaves out what belongs to other services, and what cannot be sent
// again.
func (r *replay) skips(e exchange) bool {
	path := strings.ToLower(e.Path)
	return strings.Contains(path, "/certificates/") || strings.Contains(path, "certificates/") || strings.Contains(path, "secrets/") ||
		strings.HasSuffix(path, "/resources") ||
		e.Host == "" && e.Method == http.MethodGet && strings.HasSuffix(path, "/deletedvaults") // lists of another's leftovers
}

func (r *replay) compare(t *testing.T, e exchange) {
	host, audience := e.Host, "https://vault.azure.net"
	if host == "" {
		host, audience = "management.azure.com", "https://management.azure.com"
	}
	path := e.Path
	for recorded, own := range r.known {
		path = strings.ReplaceAll(path, recorded, own)
	}
	query := url.Values{}
	for name, value := range e.Query {
		query.Set(name, value)
	}
	address := "https://" + host + path + "?" + query.Encode()
	switch {
	case query.Has("$skiptoken"):
		address = r.nextLink
	case strings.Contains(path, "/operationResults/"):
		address = r.poll
		e.Status, e.Res = 200, map[string]any{"createdDateTime": "", "lastActionDateTime": "", "status": ""}
	}
	token := r.token(audience)
	if e.Status == http.StatusUnauthorized {
		token = ""
	}
	a := r.w.send(t, e.Method, address, token, r.substitute(t, e, "https://"+host+path))
	if a.status != e.Status {
		t.Fatalf("answers %d %s, recorded was %d", a.status, a.text, e.Status)
	}
	var got any
	if len(a.text) > 0 {
		if err := json.Unmarshal(a.text, &got); err != nil {
			t.Fatal(err)
		}
	}
	r.remember(e.Res, got, a)
	if strings.Contains(host, "000003") {
		dropExpiry(e.Res) // that vault's tenant had a policy which sets one
	}
	for _, difference := range differences("", e.Res, got) {
		t.Error(difference)
	}
	if location := e.Header["location"]; location != "" && e.Status == http.StatusAccepted && a.header.Get("Location") == "" {
		t.Error("the Location header is missing")
	}
	if recorded := e.Header["www-authenticate"]; recorded != "" && a.header.Get("WWW-Authenticate") != strings.ReplaceAll(recorded, r.tenant, tenant) {
		t.Errorf("challenge is %s", a.header.Get("WWW-Authenticate"))
	}
}

// substitute is the request's body, with values that the lab's own keys can
// work on.
func (r *replay) substitute(t *testing.T, e exchange, address string) any {
	t.Helper()
	switch {
	case strings.HasSuffix(e.Path, "/restore"):
		return map[string]any{"value": r.backup}
	case strings.HasSuffix(e.Path, "/decrypt"):
		body := map[string]any{"alg": text(e.Req, "alg"), "value": "YWJjZGVm"}
		a := r.w.send(t, http.MethodPost, strings.Replace(address, "/decrypt", "/encrypt", 1)+"?api-version=7.4", r.token("https://vault.azure.net"), body)
		body["value"] = a.body["value"]
		return body
	}
	return e.Req
}

// remember keeps what the lab chose, for later requests.
func (r *replay) remember(recorded, own any, a answer) {
	if location := a.header.Get("Location"); location != "" {
		r.poll = location
	}
	theirs, ok := recorded.(map[string]any)
	mine, okay := own.(map[string]any)
	if !ok || !okay {
		return
	}
	if link, ok := mine["nextLink"].(string); ok {
		r.nextLink = link
	}
	if value, ok := theirs["value"].(string); ok && strings.HasPrefix(value, "JkF6dXJl") {
		r.backup = mine["value"]
	}
	if their, my := text(theirs, "key", "kid"), text(mine, "key", "kid"); their != "" && my != "" {
		r.known[lastOf(their)] = lastOf(my)
	}
}

func lastOf(kid string) string { return kid[strings.LastIndexByte(kid, '/')+1:] }

func dropExpiry(recorded any) {
	if body, ok := recorded.(map[string]any); ok {
		if attributes, ok := body["attributes"].(map[string]any); ok {
			delete(attributes, "exp")
		}
	}
}

// differences lists where two JSON values differ in keys or types, and in
// the values of the fields that are fixed by the request.
func differences(at string, recorded, own any) (found []string) {
	switch theirs := recorded.(type) {
	case map[string]any:
		mine, ok := own.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, recorded was an object", at, own)}
		}
		names, mines := slices.Sorted(maps.Keys(theirs)), slices.Sorted(maps.Keys(mine))
		if !slices.Equal(names, mines) {
			return []string{fmt.Sprintf("%s has the keys %v, recorded were %v", at, mines, names)}
		}
		for _, name := range names {
			found = append(found, differences(at+"."+name, theirs[name], mine[name])...)
		}
	case []any:
		mine, ok := own.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, recorded was a list", at, own)}
		}
		if len(mine) != len(theirs) {
			return []string{fmt.Sprintf("%s has %d entries, recorded were %d", at, len(mine), len(theirs))}
		}
		for i := range min(len(theirs), len(mine)) {
			found = append(found, differences(fmt.Sprintf("%s[%d]", at, i), theirs[i], mine[i])...)
		}
	default:
		if fmt.Sprintf("%T", recorded) != fmt.Sprintf("%T", own) {
			return []string{fmt.Sprintf("%s is %v, recorded was %v", at, own, recorded)}
		}
		for _, fixed := range []string{".kty", ".crv", ".recoveryLevel", ".recoverableDays", ".hsmPlatform", ".enabled", ".e", ".code", ".message", ".location", ".id", ".name", ".type"} {
			if strings.HasSuffix(at, fixed) && recorded != own {
				return []string{fmt.Sprintf("%s is %v, recorded was %v", at, own, recorded)}
			}
		}
	}
	return found
}

// The published timestamps are of this form; the lab's must parse alike.
func TestTimestampsAreOfTheRecordedForm(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-t", nil)
	shown := w.control(t, http.MethodGet, vaultPath("kv-t"), "2023-02-01", nil)
	if _, err := time.Parse("2006-01-02T15:04:05.999Z", text(shown.body, "systemData", "createdAt")); err != nil {
		t.Error(err)
	}
}
