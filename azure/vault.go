package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/tde"
)

// readKeysAndGrants reads every vault that a registered, active or wanted key
// lies in, the keys themselves, and what the servers may do with them.
func (o *observation) readKeysAndGrants(ctx context.Context, wanted []tde.KeyID) error {
	keys := map[tde.KeyID]string{} // a server that holds it, for the record of what could not be read
	for _, key := range wanted {
		keys[key] = ""
	}
	for _, server := range o.topology.Servers {
		for _, key := range server.Keys {
			keys[key.Key] = server.Name
		}
		if !server.Protector.ServiceManaged() {
			keys[server.Protector.Key] = server.Name
		}
		for _, db := range server.Databases {
			if !db.OwnKey.IsZero() {
				keys[db.OwnKey] = server.Name
			}
		}
	}
	vaults := map[string]bool{}
	for key, server := range keys {
		if key.IsZero() {
			continue
		}
		if !vaults[key.Host] {
			vaults[key.Host] = true
			if err := o.readVault(ctx, key.Host, server); err != nil {
				o.unread("vault "+key.Vault(), server, err)
			}
		}
		if err := o.readKey(ctx, key); err != nil {
			o.unread("key "+key.String(), server, err)
		}
	}
	return ctx.Err()
}

// readVault finds a vault by its name and reads its settings and grants.
func (o *observation) readVault(ctx context.Context, host, server string) error {
	name, _, _ := strings.Cut(host, ".")
	id, err := o.cloud.vaultID(ctx, o.subscriptions(), name)
	if err != nil {
		return err
	}
	client, err := armkeyvault.NewVaultsClient(id.SubscriptionID, o.cloud.cred, o.cloud.arm)
	if err != nil {
		return err
	}
	answer, err := client.Get(ctx, id.ResourceGroupName, id.Name, nil)
	if err != nil {
		return serviceError("read vault "+name, server, tde.KeyID{}, err)
	}
	vault := vaultOf(answer.Vault, host)
	o.topology.Vaults = append(o.topology.Vaults, vault)
	if vault.RBAC {
		return o.readRoleGrants(ctx, vault)
	}
	o.addPolicyGrants(vault, answer.Vault)
	return nil
}

func (o *observation) subscriptions() []string {
	seen := map[string]bool{}
	var ids []string
	for _, server := range o.topology.Servers {
		if key := strings.ToLower(server.Subscription); !seen[key] {
			seen[key] = true
			ids = append(ids, server.Subscription)
		}
	}
	return ids
}

// vaultID finds a vault's ARM id by its name, which is unique in its cloud.
func (c *Cloud) vaultID(ctx context.Context, subscriptions []string, name string) (*arm.ResourceID, error) {
	filter := "resourceType eq 'Microsoft.KeyVault/vaults'"
	for _, subscription := range subscriptions {
		client, err := armresources.NewClient(subscription, c.cred, c.arm)
		if err != nil {
			return nil, err
		}
		items, err := all(ctx, client.NewListPager(&armresources.ClientListOptions{Filter: &filter}), func(p armresources.ClientListResponse) []*armresources.GenericResourceExpanded { return p.Value })
		if err != nil {
			return nil, serviceError("list vaults", "", tde.KeyID{}, err)
		}
		for _, item := range items {
			if strings.EqualFold(text(item.Name), name) {
				return arm.ParseResourceID(text(item.ID))
			}
		}
	}
	return nil, fmt.Errorf("the vault %s is in none of the servers' subscriptions, or may not be read", name)
}

func vaultOf(v armkeyvault.Vault, host string) tde.Vault {
	vault := tde.Vault{ID: text(v.ID), Name: text(v.Name), Host: host, Location: text(v.Location)}
	p := v.Properties
	if p == nil {
		return vault
	}
	vault.RBAC, vault.PurgeProtection = truth(p.EnableRbacAuthorization), truth(p.EnablePurgeProtection)
	vault.SoftDelete = p.EnableSoftDelete == nil || *p.EnableSoftDelete
	if p.SoftDeleteRetentionInDays != nil {
		vault.RetentionDays = int(*p.SoftDeleteRetentionInDays)
	}
	vault.TrustedServices = true
	if acls := p.NetworkACLs; acls != nil {
		vault.FirewallOn = text(acls.DefaultAction) == string(armkeyvault.NetworkRuleActionDeny)
		vault.TrustedServices = acls.Bypass == nil || *acls.Bypass == armkeyvault.NetworkRuleBypassOptionsAzureServices
	}
	if strings.EqualFold(text(p.PublicNetworkAccess), "Disabled") {
		vault.FirewallOn = true
	}
	return vault
}

// addPolicyGrants reads the servers' grants from a vault's access policies.
func (o *observation) addPolicyGrants(vault tde.Vault, v armkeyvault.Vault) {
	if v.Properties == nil {
		return
	}
	for _, server := range o.topology.Servers {
		for _, policy := range v.Properties.AccessPolicies {
			if server.Identity.PrincipalID == "" || !strings.EqualFold(text(policy.ObjectID), server.Identity.PrincipalID) || policy.Permissions == nil {
				continue
			}
			grant := tde.Grant{Server: server.Name, PrincipalID: server.Identity.PrincipalID, Vault: vault.Name, Via: "access policy"}
			for _, permission := range policy.Permissions.Keys {
				switch strings.ToLower(text(permission)) {
				case "get":
					grant.Get = true
				case "wrapkey":
					grant.Wrap = true
				case "unwrapkey":
					grant.Unwrap = true
				case "all":
					grant.Get, grant.Wrap, grant.Unwrap = true, true, true
				}
			}
			o.topology.Grants = append(o.topology.Grants, grant)
		}
	}
}

// readKey reads a key version as its vault shows it, and whether it is the
// newest enabled one of its key.
func (o *observation) readKey(ctx context.Context, key tde.KeyID) error {
	client, err := azkeys.NewClient("https://"+key.Host, o.cloud.cred, &azkeys.ClientOptions{ClientOptions: o.cloud.arm.ClientOptions})
	if err != nil {
		return err
	}
	latest, err := client.GetKey(ctx, key.Name, "", nil)
	if err != nil {
		return serviceError("read key", "", key, err)
	}
	if key.Versionless() {
		return nil
	}
	answer, err := client.GetKey(ctx, key.Name, key.Version, nil)
	if err != nil {
		return serviceError("read key", "", key, err)
	}
	read := vaultKeyOf(key, answer.KeyBundle)
	newest := versionOf(latest.KeyBundle)
	if read.Enabled && (latest.Attributes == nil || !truth(latest.Attributes.Enabled)) {
		newest, err = newestEnabled(ctx, client, key)
	}
	read.Latest = read.Enabled && err == nil && strings.EqualFold(newest, key.Version)
	o.topology.Keys = append(o.topology.Keys, read)
	return err
}

// newestEnabled finds a key's newest enabled version in the list of its
// versions, for a key whose newest version is disabled: that is what a vault
// gives for the key without a version. A vault tells the time of a version's
// creation in whole seconds; of two within one, the one that is listed later
// counts as the newer.
func newestEnabled(ctx context.Context, client *azkeys.Client, key tde.KeyID) (string, error) {
	items, err := all(ctx, client.NewListKeyPropertiesVersionsPager(key.Name, nil),
		func(p azkeys.ListKeyPropertiesVersionsResponse) []*azkeys.KeyProperties { return p.Value })
	if err != nil {
		return "", serviceError("list versions of key", "", key.WithoutVersion(), err)
	}
	version, created := "", time.Time{}
	for _, item := range items {
		a := item.Attributes
		if item.KID == nil || a == nil || !truth(a.Enabled) || a.Created == nil || a.Created.Before(created) {
			continue
		}
		version, created = item.KID.Version(), *a.Created
	}
	return version, nil
}

// versionOf is a key's version; empty where the vault names none.
func versionOf(bundle azkeys.KeyBundle) string {
	if bundle.Key == nil || bundle.Key.KID == nil {
		return ""
	}
	return bundle.Key.KID.Version()
}

func vaultKeyOf(id tde.KeyID, bundle azkeys.KeyBundle) tde.VaultKey {
	read := tde.VaultKey{ID: id}
	if k := bundle.Key; k != nil {
		read.Type, read.Bits = text(k.Kty), len(k.N)*8
		for _, op := range k.KeyOps {
			read.Operations = append(read.Operations, text(op))
		}
		sum := sha256.Sum256(append(append([]byte{}, k.N...), k.E...))
		read.Material = hex.EncodeToString(sum[:])
	}
	if a := bundle.Attributes; a != nil {
		read.Enabled, read.NotBefore, read.Expires, read.RecoveryLevel = truth(a.Enabled), a.NotBefore, a.Expires, text(a.RecoveryLevel)
	}
	return read
}
