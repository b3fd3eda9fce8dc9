package azure

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/crosskeys/crosskeys/tde"
)

// The data actions that TDE needs of a vault in RBAC mode.
// Source: https://learn.microsoft.com/azure/key-vault/general/rbac-guide
const (
	actionRead   = "Microsoft.KeyVault/vaults/keys/read"
	actionWrap   = "Microsoft.KeyVault/vaults/keys/wrap/action"
	actionUnwrap = "Microsoft.KeyVault/vaults/keys/unwrap/action"
)

// readRoleGrants reads the servers' grants on a vault from role assignments
// at the vault, above it, and on its keys.
func (o *observation) readRoleGrants(ctx context.Context, vault tde.Vault) error {
	subscription := strings.Split(vault.ID, "/")[2]
	factory, err := armauthorization.NewClientFactory(subscription, o.cloud.cred, o.cloud.arm)
	if err != nil {
		return err
	}
	for _, server := range o.topology.Servers {
		if server.Identity.PrincipalID == "" {
			continue
		}
		// This client of the SDK sends the filter as it is given.
		filter := url.PathEscape(fmt.Sprintf("principalId eq '%s'", server.Identity.PrincipalID))
		items, err := all(ctx, factory.NewRoleAssignmentsClient().NewListForScopePager(vault.ID, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: &filter}),
			func(p armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
				return p.Value
			})
		if err != nil {
			return serviceError("list role assignments on vault "+vault.Name, server.Name, tde.KeyID{}, err)
		}
		for _, item := range items {
			if item.Properties == nil {
				continue
			}
			grant, err := roleGrant(ctx, factory.NewRoleDefinitionsClient(), text(item.Properties.RoleDefinitionID))
			if err != nil {
				return err
			}
			if !grant.Get && !grant.Wrap && !grant.Unwrap {
				continue
			}
			grant.Server, grant.PrincipalID, grant.Vault = server.Name, server.Identity.PrincipalID, vault.Name
			grant.Key = keyOfScope(vault.ID, text(item.Properties.Scope))
			o.topology.Grants = append(o.topology.Grants, grant)
		}
	}
	return nil
}

// keyOfScope is the key's name in a scope below the vault; empty for the vault
// and above.
func keyOfScope(vaultID, scope string) string {
	if len(scope) <= len(vaultID) || !strings.EqualFold(scope[:len(vaultID)], vaultID) {
		return ""
	}
	return scope[strings.LastIndex(scope, "/")+1:]
}

func roleGrant(ctx context.Context, client *armauthorization.RoleDefinitionsClient, id string) (tde.Grant, error) {
	answer, err := client.GetByID(ctx, id, nil)
	if err != nil {
		return tde.Grant{}, serviceError("read role definition", "", tde.KeyID{}, err)
	}
	grant := tde.Grant{Via: "role"}
	if answer.Properties == nil {
		return grant, nil
	}
	grant.Via = "role " + text(answer.Properties.RoleName)
	for _, p := range answer.Properties.Permissions {
		may := func(action string) bool {
			return anyMatches(p.DataActions, action) && !anyMatches(p.NotDataActions, action)
		}
		grant.Get, grant.Wrap, grant.Unwrap = grant.Get || may(actionRead), grant.Wrap || may(actionWrap), grant.Unwrap || may(actionUnwrap)
	}
	return grant, nil
}

func anyMatches(patterns []*string, action string) bool {
	for _, pattern := range patterns {
		if matches(strings.ToLower(text(pattern)), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// matches compares an action with a pattern in which * stands for any text.
func matches(pattern, action string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == action
	}
	if !strings.HasPrefix(action, parts[0]) {
		return false
	}
	rest := action[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
