// Package authorization is the lab's Microsoft.Authorization: role
// definitions and assignments, enforced by Resource Manager on every call and
// by vaults in RBAC mode on their data plane.
package authorization

import (
	"slices"
	"strings"
)

// role is a role definition: what it allows and what it takes back.
type role struct {
	ID             string   `json:"id"` // GUID
	Name           string   `json:"name"`
	Description    string   `json:"description,omitempty"`
	Custom         bool     `json:"custom,omitempty"`
	Scopes         []string `json:"scopes,omitempty"`
	Actions        []string `json:"actions,omitempty"`
	NotActions     []string `json:"notActions,omitempty"`
	DataActions    []string `json:"dataActions,omitempty"`
	NotDataActions []string `json:"notDataActions,omitempty"`
}

// builtIn are the built-in roles that matter for SQL and Key Vault.
// Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
func builtIn() []role {
	shared := []string{"Microsoft.Authorization/*/read", "Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read"}
	vaultRead := []string{"Microsoft.KeyVault/checkNameAvailability/read", "Microsoft.KeyVault/deletedVaults/read", "Microsoft.KeyVault/locations/*/read", "Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/operations/read"}
	with := func(own ...string) []string { return append(own, shared...) }
	return []role{
		{ID: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", Name: "Owner", Actions: []string{"*"}},
		{ID: "b24988ac-6180-42a0-ab88-20f7382dd24c", Name: "Contributor", Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}},
		{ID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Name: "Reader", Actions: []string{"*/read"}},
		{ID: "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", Name: "User Access Administrator", Actions: []string{"*/read", "Microsoft.Authorization/*"}},
		{ID: "6d8ee4ec-f05a-4a1d-8b00-a9b17e38b437", Name: "SQL Server Contributor", Actions: with("Microsoft.Sql/locations/*/read", "Microsoft.Sql/servers/*")},
		{ID: "9b7fa17d-e63e-47b0-bb0a-15c516ac86ec", Name: "SQL DB Contributor", Actions: with("Microsoft.Sql/locations/*/read", "Microsoft.Sql/servers/databases/*", "Microsoft.Sql/servers/read")},
		{ID: "f25e0fa2-a7c8-4377-a976-54943a77a395", Name: "Key Vault Contributor", Actions: with("Microsoft.KeyVault/*"), NotActions: []string{"Microsoft.KeyVault/locations/deletedVaults/purge/action", "Microsoft.KeyVault/hsmPools/*", "Microsoft.KeyVault/managedHsms/*"}},
		{ID: "00482a5a-887f-4fb3-b363-3b7fe8e74483", Name: "Key Vault Administrator", Actions: append(with(), vaultRead...), DataActions: []string{"Microsoft.KeyVault/vaults/*"}},
		{ID: "21090545-7ca7-4776-b22c-e363652d74d2", Name: "Key Vault Reader", Actions: append(with(), vaultRead...), DataActions: []string{"Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"}},
		{ID: "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", Name: "Key Vault Crypto Officer", Actions: append(with(), vaultRead...), DataActions: []string{"Microsoft.KeyVault/vaults/keys/*", "Microsoft.KeyVault/vaults/keyrotationpolicies/*"}},
		{ID: "12338af0-0e69-4776-bea7-57ae8d297424", Name: "Key Vault Crypto User", DataActions: []string{
			"Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/update/action", "Microsoft.KeyVault/vaults/keys/backup/action", "Microsoft.KeyVault/vaults/keys/encrypt/action",
			"Microsoft.KeyVault/vaults/keys/decrypt/action", "Microsoft.KeyVault/vaults/keys/wrap/action", "Microsoft.KeyVault/vaults/keys/unwrap/action", "Microsoft.KeyVault/vaults/keys/sign/action", "Microsoft.KeyVault/vaults/keys/verify/action",
		}},
		{ID: "e147488a-f6f5-4113-8e2d-b22465e65bf6", Name: "Key Vault Crypto Service Encryption User", Actions: []string{"Microsoft.EventGrid/eventSubscriptions/write", "Microsoft.EventGrid/eventSubscriptions/read", "Microsoft.EventGrid/eventSubscriptions/delete"},
			DataActions: []string{"Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/wrap/action", "Microsoft.KeyVault/vaults/keys/unwrap/action"}},
		{ID: "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", Name: "Managed Identity Contributor", Actions: with("Microsoft.ManagedIdentity/userAssignedIdentities/*")},
		{ID: "f1a07417-d97a-45cb-824c-7a7467783830", Name: "Managed Identity Operator", Actions: with("Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action")},
	}
}

// allows reports whether the role holds an action, or a data action.
func (r role) allows(action string, data bool) bool {
	if data {
		return anyMatch(r.DataActions, action) && !anyMatch(r.NotDataActions, action)
	}
	return anyMatch(r.Actions, action) && !anyMatch(r.NotActions, action)
}

func anyMatch(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(strings.ToLower(pattern), strings.ToLower(action)) })
}

// match compares an action with a pattern in which * stands for any text.
// Source: https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions-format
func match(pattern, action string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == action
	}
	if !strings.HasPrefix(action, head) {
		return false
	}
	rest := action[len(head):]
	for i := 0; i <= len(rest); i++ {
		if match(tail, rest[i:]) {
			return true
		}
	}
	return false
}

// within reports whether a scope is the same as another or lies below it.
func within(scope, above string) bool {
	scope, above = strings.ToLower(strings.TrimRight(scope, "/")), strings.ToLower(strings.TrimRight(above, "/"))
	return scope == above || strings.HasPrefix(scope, above+"/")
}
