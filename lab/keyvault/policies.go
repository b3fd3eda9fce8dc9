package keyvault

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

type policiesBody struct {
	ID         string             `json:"id"`
	Type       string             `json:"type"`
	Location   string             `json:"location"`
	Properties policiesProperties `json:"properties"`
}

type policiesProperties struct {
	AccessPolicies []accessPolicy `json:"accessPolicies"`
}

// putAccessPolicies adds permissions to entries of the access policies,
// replaces them, or takes them away; entries that the body does not name stay
// as they are.
// Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults/update-access-policy
func (s *Service) putAccessPolicies(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var request struct {
		Properties policiesProperties `json:"properties"`
	}
	if err := r.Decode(&request); err != nil {
		return nil, err
	}
	kind := strings.ToLower(r.Param("operationKind"))
	if kind != "add" && kind != "replace" && kind != "remove" {
		return nil, badRequest("The operation kind '%s' is invalid: it must be add, replace or remove.", r.Param("operationKind"))
	}
	if err := checkPolicies(request.Properties.AccessPolicies); err != nil {
		return nil, err
	}
	var v vault
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		if v, err = s.findVault(tx, r); err != nil {
			return err
		}
		policies := slices.Clone(v.Properties.AccessPolicies)
		for _, entry := range request.Properties.AccessPolicies {
			policies = changePolicy(policies, kind, entry)
		}
		v.Properties.AccessPolicies = policies
		v, err = s.saveChange(tx, r, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := policiesBody{
		ID: v.id() + "/accessPolicies/", Type: vaultType + "/accessPolicies", Location: v.Location,
		Properties: policiesProperties{AccessPolicies: bodyOf(v).Properties.AccessPolicies},
	}
	return &arm.Response{Status: http.StatusOK, Body: body}, nil
}

// changePolicy applies one entry of a request to the policies.
func changePolicy(policies []accessPolicy, kind string, entry accessPolicy) []accessPolicy {
	at := slices.IndexFunc(policies, entry.sameSubject)
	switch {
	case at < 0 && kind == "remove":
		return policies
	case at < 0:
		return append(policies, entry)
	case kind == "replace":
		policies[at] = entry
		return policies
	case kind == "add":
		policies[at].Permissions = policies[at].Permissions.each(entry.Permissions, union)
		return policies
	}
	left := policies[at].Permissions.each(entry.Permissions, without)
	if left.empty() || entry.Permissions.empty() {
		return slices.Delete(policies, at, at+1)
	}
	policies[at].Permissions = left
	return policies
}

// sameSubject reports whether two entries speak of the same principal.
func (a accessPolicy) sameSubject(b accessPolicy) bool {
	return strings.EqualFold(a.TenantID, b.TenantID) && strings.EqualFold(a.ObjectID, b.ObjectID) && strings.EqualFold(a.ApplicationID, b.ApplicationID)
}

func (p permissions) each(q permissions, combine func(a, b []string) []string) permissions {
	return permissions{
		Keys: combine(p.Keys, q.Keys), Secrets: combine(p.Secrets, q.Secrets),
		Certificates: combine(p.Certificates, q.Certificates), Storage: combine(p.Storage, q.Storage),
	}
}

func (p permissions) empty() bool {
	return len(p.Keys)+len(p.Secrets)+len(p.Certificates)+len(p.Storage) == 0
}

func union(a, b []string) []string {
	if a == nil && b == nil {
		return nil
	}
	all := append([]string{}, a...)
	for _, name := range b {
		if !containsFold(all, name) {
			all = append(all, name)
		}
	}
	return all
}

func without(a, b []string) []string {
	if a == nil {
		return nil
	}
	left := []string{}
	for _, name := range a {
		if !containsFold(b, name) {
			left = append(left, name)
		}
	}
	return left
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(item string) bool { return strings.EqualFold(item, name) })
}

// checkPolicies refuses entries that name nobody, and permissions that keys
// do not know.
func checkPolicies(policies []accessPolicy) error {
	for _, policy := range policies {
		if policy.ObjectID == "" || policy.TenantID == "" {
			return badRequest("An invalid value was provided for 'accessPolicies': objectId and tenantId must be specified.")
		}
		for _, name := range policy.Permissions.Keys {
			if !containsFold(keyPermissions(), name) {
				return badRequest("An invalid value was provided for 'permissions': '%s' is no permission to keys.", name)
			}
		}
	}
	return nil
}

// keyPermissions are the permissions to keys that an access policy can name.
// Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults/create-or-update#keypermissions
func keyPermissions() []string {
	return []string{
		permitAll, "encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "get", "list", "create", "update", "import", "delete",
		"backup", "restore", "recover", "purge", "release", "rotate", "getrotationpolicy", "setrotationpolicy",
	}
}

// permitAll is the permission that holds all others.
const permitAll = "all"
