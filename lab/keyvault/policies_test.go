package keyvault_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/latency"
)

type shownPolicy struct {
	ObjectID    string `json:"objectId"`
	Permissions struct {
		Keys    []string `json:"keys"`
		Secrets []string `json:"secrets"`
	} `json:"permissions"`
}

func policyBody(objectID string, keys, secrets []string) map[string]any {
	granted := map[string]any{}
	if keys != nil {
		granted["keys"] = keys
	}
	if secrets != nil {
		granted["secrets"] = secrets
	}
	return map[string]any{"tenantId": tenant, "objectId": objectID, "permissions": granted}
}

func TestAccessPoliciesAreChangedEntryByEntry(t *testing.T) {
	tests := []struct {
		name, kind string
		entry      map[string]any
		keys       []string // what reader has then; nil: no entry
	}{
		{"add merges permissions into the entry", "add", policyBody(reader, []string{"SIGN", "get"}, nil), []string{"WrapKey", "get", "SIGN"}},
		{"replace puts others in their place", "replace", policyBody(reader, []string{"list"}, nil), []string{"list"}},
		{"remove takes some away", "remove", policyBody(reader, []string{"GET"}, nil), []string{"WrapKey"}},
		{"remove of all takes the entry away", "remove", policyBody(reader, []string{"get", "wrapkey"}, []string{"get"}), nil},
		{"remove without permissions takes the entry away", "remove", policyBody(reader, nil, nil), nil},
		{"remove of another's changes nothing", "remove", policyBody(subscription, []string{"get"}, nil), []string{"WrapKey", "get"}},
		{"kinds are known without regard to case", "Replace", policyBody(reader, []string{}, nil), []string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, latency.Instant())
			w.makeVault(t, "kv-pol", nil)
			add := func(kind string, entry map[string]any) answer {
				return w.control(t, http.MethodPut, vaultPath("kv-pol")+"/accessPolicies/"+kind, "2023-07-01",
					map[string]any{"name": "kv-pol", "properties": map[string]any{"accessPolicies": []any{entry}}})
			}
			if a := add("add", policyBody(reader, []string{"WrapKey", "get"}, []string{"get"})); a.status != http.StatusOK {
				t.Fatalf("%s", a.text)
			}
			a := add(test.kind, test.entry)
			if a.status != http.StatusOK || a.body["type"] != "Microsoft.KeyVault/vaults/accessPolicies" {
				t.Fatalf("%d %s", a.status, a.text)
			}
			read := w.control(t, http.MethodGet, vaultPath("kv-pol"), "2023-07-01", nil)
			var v struct {
				Properties struct {
					AccessPolicies []shownPolicy `json:"accessPolicies"`
				} `json:"properties"`
			}
			if err := json.Unmarshal(read.text, &v); err != nil {
				t.Fatal(err)
			}
			found := map[string][]string{}
			for _, p := range v.Properties.AccessPolicies {
				found[p.ObjectID] = p.Permissions.Keys
			}
			if diff := cmp.Diff(test.keys, found[reader]); diff != "" {
				t.Errorf("reader's permissions: %s", diff)
			}
			if diff := cmp.Diff([]string{"all"}, found[admin]); diff != "" {
				t.Errorf("admin's permissions: %s", diff)
			}
		})
	}
}

func TestAccessPolicyRefusals(t *testing.T) {
	w := newWorld(t, latency.Instant())
	w.makeVault(t, "kv-pol", nil)
	send := func(vault, kind string, entry map[string]any) answer {
		return w.control(t, http.MethodPut, vaultPath(vault)+"/accessPolicies/"+kind, "2023-07-01", map[string]any{"properties": map[string]any{"accessPolicies": []any{entry}}})
	}
	good := policyBody(reader, []string{"get"}, nil)
	wantRaw(t, send("kv-pol", "append", good), 400, "BadRequest")
	wantRaw(t, send("kv-none", "add", good), 404, "ResourceNotFound")
	wantRaw(t, send("kv-pol", "add", policyBody("", []string{"get"}, nil)), 400, "BadRequest")
	wantRaw(t, send("kv-pol", "add", policyBody(reader, []string{"fly"}, nil)), 400, "BadRequest")
	wantRaw(t, w.control(t, http.MethodPut, vaultPath("kv-pol")+"/accessPolicies/add", "2023-07-01", nil), 400, "InvalidRequestContent")
}
