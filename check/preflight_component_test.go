package check_test

import (
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// elsewhere adds a second pair of servers that the first is linked to, so that
// there is something in the component beyond the group.
func elsewhere(s *situation) {
	s.AddServer("far", "North Europe")
	s.AddServer("farther", "West Europe")
	s.AddGroup("fog-far", "far", []string{"farther", first}, "ledger")
	s.Settle()
}

func componentCases() []preflightCase {
	return []preflightCase{
		{
			name: "something was not read", rule: check.RuleUnread, severity: check.Blocker, server: first, command: "az sql server show --resource-group harshitha_lab --name " + first,
			change: func(s *situation) {
				s.Unread = []tde.Unread{{What: "keys of " + first, Server: first, Reason: "403", Hint: "Assign Reader."}}
			},
		},
		{
			name: "a server that is not there was not read", rule: check.RuleUnread, severity: check.Blocker, server: "gone", command: "az sql server list --query",
			change: func(s *situation) { s.Unread = []tde.Unread{{What: "server gone", Server: "gone", Reason: "403"}} },
		},
		{name: "all was read", rule: check.RuleUnread, change: func(*situation) {}},
		{
			name: "a link leads to an unknown server", rule: check.RuleServerNotObserved, severity: check.Blocker, server: "gone", command: "az sql server list --query",
			change: func(s *situation) { s.AddLink(first, "gone", "orders", "") },
		},
		{name: "all linked servers are known, whatever the case of their names", rule: check.RuleServerNotObserved, change: func(s *situation) { s.Links[0].Primary = "TDEprimaryTEST" }},
		{
			name: "the members disagree", rule: check.RuleRolesDisagree, severity: check.Blocker, server: first, command: "az sql failover-group show --name " + tdetest.Group + " --resource-group harshitha_lab --server " + first,
			change: func(s *situation) { s.Groups[0].DisagreementOnMember = "both say Primary" },
		},
		{
			name: "no member is primary", rule: check.RuleRolesDisagree, severity: check.Blocker, command: "--server " + first,
			change: func(s *situation) { s.Groups[0].Members[0].Role = tde.Secondary },
		},
		{name: "the members agree", rule: check.RuleRolesDisagree, change: func(*situation) {}},
		{
			name: "the group is out of step", rule: check.RuleGroupBusy, severity: check.Blocker, server: first, command: "az sql failover-group show",
			change: func(s *situation) { s.Groups[0].ReplicationState = "SUSPENDED" },
		},
		{
			name: "another group without a server that changes is out of step", rule: check.RuleGroupBusy, severity: check.Warning, server: "far", command: "fog-far",
			change: func(s *situation) {
				elsewhere(s)
				delete(s.desired, first)
				s.Groups[1].ReplicationState = "SEEDING"
			},
		},
		{name: "the group is in step", rule: check.RuleGroupBusy, change: func(s *situation) { s.Groups[0].ReplicationState = "catch_up" }},
		{
			name: "a replica of the group is seeding", rule: check.RuleReplication, severity: check.Blocker, server: second, database: "billing", command: "az sql db replica list-links --name billing --resource-group harshitha_lab --server " + first,
			change: func(s *situation) { s.Links[0].State = "SEEDING" },
		},
		{
			name: "a link between servers that do not change is suspended", rule: check.RuleReplication, severity: check.Warning, server: "farther", database: "ledger", command: "list-links",
			change: func(s *situation) { elsewhere(s); s.Links[3].State = "SUSPENDED" },
		},
		{
			name: "a link outside the group whose primary changes is suspended", rule: check.RuleReplication, severity: check.Blocker, server: "far", database: "lone", command: "list-links",
			change: func(s *situation) {
				elsewhere(s)
				s.AddDatabase(first, "lone")
				s.AddDatabase("far", "lone")
				s.AddLink(first, "far", "lone", "")
				s.Links[len(s.Links)-1].State = "SUSPENDED"
			},
		},
		{
			name: "a replica of the group is seeding and no protector changes, but a drill may be wanted", rule: check.RuleReplication, severity: check.Blocker, server: second, database: "billing", command: "list-links",
			change: func(s *situation) { s.desired = nil; s.Links[0].State = "SEEDING" },
		},
		{name: "every link is in step", rule: check.RuleReplication, change: func(s *situation) { s.Links[0].Percent = 12 }},
		{
			name: "a secondary has a secondary", rule: check.RuleGeoChain, severity: check.Blocker, server: second, database: "orders",
			command: "az sql db replica delete-link --name orders --partner-server far --yes --resource-group harshitha_lab --server " + second,
			change: func(s *situation) {
				s.AddServer("far", "North Europe")
				s.AddDatabase("far", "orders")
				s.AddLink(second, "far", "orders", "")
			},
		},
		{
			name: "a chain without customer-managed keys", rule: check.RuleGeoChain,
			change: func(s *situation) {
				s.AddServer("far", "North Europe")
				s.AddDatabase("far", "orders")
				s.AddLink(second, "far", "orders", "")
				s.SetProtector(first, tde.KeyID{}, false)
				s.SetProtector(second, tde.KeyID{}, false)
				s.desired = nil
			},
		},
		{
			name: "two secondaries of one primary", rule: check.RuleGeoChain,
			change: func(s *situation) {
				s.AddServer("far", "North Europe")
				s.AddDatabase("far", "orders")
				s.AddLink(first, "far", "orders", "")
			},
		},
	}
}

func accessCases() []preflightCase {
	return []preflightCase{
		{
			name: "no identity", rule: check.RuleIdentityMissing, severity: check.Blocker, server: second, key: tdetest.Tey,
			command: "az sql server update --resource-group harshitha_lab --name " + second + " --subscription " + tdetest.Subscription + " --identity-type SystemAssigned",
			change:  func(s *situation) { s.At(second).Identity = tde.Identity{Type: "None"} },
		},
		{name: "a user-assigned identity", rule: check.RuleIdentityMissing, change: func(s *situation) { s.At(second).Identity.Type = "UserAssigned" }},
		{
			name: "a server that needs no key needs no identity", rule: check.RuleIdentityMissing,
			change: func(s *situation) {
				s.AddServer("alone", "North Europe")
				s.At("alone").Identity = tde.Identity{Type: "None"}
			},
		},
		{
			name: "the partner may not use the key of a vault with access policies", rule: check.RuleMissingGrant, severity: check.Blocker, server: first, key: tdetest.Tey,
			command: "az keyvault set-policy --object-id principal-of-" + first + " --key-permissions get wrapKey unwrapKey --name testanu2 --resource-group harshitha_lab --subscription " + tdetest.Subscription,
			change:  func(s *situation) { s.Revoke(first, "testanu2") },
		},
		{
			name: "the partner may not use the key of a vault with roles", rule: check.RuleMissingGrant, severity: check.Blocker, server: first, key: tdetest.Tey,
			command: "az role assignment create --role 'Key Vault Crypto Service Encryption User' --assignee-object-id principal-of-" + first +
				" --assignee-principal-type ServicePrincipal --scope /subscriptions/" + tdetest.Subscription + "/resourceGroups/harshitha_lab/providers/Microsoft.KeyVault/vaults/testanu2",
			change: func(s *situation) { s.AtVault("testanu2").RBAC = true; s.Revoke(first, "testanu2") },
		},
		{
			name: "the partner lost the key that wraps its replicas now", rule: check.RuleMissingGrant, severity: check.Blocker, server: second, key: tdetest.Shared,
			command: "set-policy", change: func(s *situation) { s.Revoke(second, "testshared") },
		},
		{
			name: "a right on another key of the vault", rule: check.RuleMissingGrant, severity: check.Blocker, server: first, key: tdetest.Tey, command: "set-policy",
			change: func(s *situation) {
				s.Revoke(first, "testanu2")
				s.Grants = append(s.Grants, tde.Grant{Server: first, Vault: "testanu2", Key: "other", Get: true, Wrap: true, Unwrap: true})
			},
		},
		{
			name: "a right on the key alone", rule: check.RuleMissingGrant,
			change: func(s *situation) {
				s.Revoke(first, "testanu2")
				s.Grants = append(s.Grants, tde.Grant{Server: first, Vault: "testanu2", Key: "tey", Get: true, Wrap: true, Unwrap: true})
			},
		},
		{name: "a key that nobody asks for", rule: check.RuleMissingGrant, change: func(s *situation) { delete(s.desired, second); s.Revoke(first, "testanu2") }},
		{
			name: "the same material in a vault that the partner may use", rule: check.RuleMissingGrant,
			change: func(s *situation) {
				copied := key("https://testcopy.vault.azure.net/keys/tey/1")
				s.AddKey(copied, tdetest.Tey)
				s.Grant(first, "testcopy")
				s.Register(first, copied)
				s.Revoke(first, "testanu2")
			},
		},
		{
			name: "the same material in a vault that the partner may use, and the key itself registered", rule: check.RuleMissingGrant, severity: check.Blocker, server: first, key: tdetest.Tey,
			command: "az keyvault set-policy --object-id principal-of-" + first,
			change: func(s *situation) {
				copied := key("https://testcopy.vault.azure.net/keys/tey/1")
				s.AddKey(copied, tdetest.Tey)
				s.Grant(first, "testcopy")
				s.Register(first, copied)
				s.Register(first, key(tdetest.Tey))
				s.Revoke(first, "testanu2")
			},
		},
	}
}

func vaultCases() []preflightCase {
	return []preflightCase{
		{
			name: "the vault of a wanted key is unknown", rule: check.RuleVaultNotObserved, severity: check.Blocker, command: "az keyvault show --name nowhere",
			change: func(s *situation) {
				s.desired[second] = check.DesiredProtector{Key: key("https://nowhere.vault.azure.net/keys/k/1")}
			},
		},
		{name: "all vaults are known", rule: check.RuleVaultNotObserved, change: func(*situation) {}},
		{
			name: "a wanted key's vault has no purge protection", rule: check.RulePurgeProtection, severity: check.Blocker,
			command: "az keyvault update --enable-purge-protection true --name testanu2 --resource-group harshitha_lab",
			change:  func(s *situation) { s.AtVault("testanu2").PurgeProtection = false },
		},
		{
			name: "the vault that is left has no purge protection", rule: check.RulePurgeProtection, severity: check.Warning, command: "testshared",
			change: func(s *situation) { s.AtVault("testshared").PurgeProtection = false },
		},
		{
			name: "a vault that nobody needs has no purge protection", rule: check.RulePurgeProtection,
			change: func(s *situation) { s.AtVault("testanu2").PurgeProtection = false; delete(s.desired, second) },
		},
		{
			name: "a wanted key's vault has no soft delete", rule: check.RuleSoftDelete, severity: check.Blocker, command: "az keyvault update --set properties.enableSoftDelete=true --name testanu2",
			change: func(s *situation) { s.AtVault("testanu2").SoftDelete = false },
		},
		{name: "every vault has soft delete", rule: check.RuleSoftDelete, change: func(*situation) {}},
		{
			name: "the firewall keeps the service out", rule: check.RuleVaultFirewall, severity: check.Blocker, command: "az keyvault update --bypass AzureServices --name testshared",
			change: func(s *situation) { v := s.AtVault("testshared"); v.FirewallOn, v.TrustedServices = true, false },
		},
		{name: "the firewall lets the service through", rule: check.RuleVaultFirewall, change: func(s *situation) { s.AtVault("testshared").FirewallOn = true }},
		{
			name: "both keys in one vault", rule: check.RuleVaultShared, severity: check.Note, server: second, key: "https://testprimarysubham.vault.azure.net/keys/other/1",
			change: func(s *situation) {
				other := key("https://testprimarysubham.vault.azure.net/keys/other/1")
				s.AddKey(other, "other")
				s.desired[second] = check.DesiredProtector{Key: other}
			},
		},
		{name: "a vault for each", rule: check.RuleVaultShared, change: func(*situation) {}},
	}
}

// later is a newer version of the shared key.
const later = "https://testshared.vault.azure.net/keys/shared/ffffffffffffffffffffffffffffffff"

func aged(s *situation) {
	s.AddKey(key(later), "later")
	s.AtKey(key(tdetest.Shared)).Latest = false
}

func keyCases() []preflightCase {
	tey := func(change func(k *tde.VaultKey)) func(s *situation) {
		return func(s *situation) { change(s.AtKey(key(tdetest.Tey))) }
	}
	return []preflightCase{
		{
			name: "the wanted key is not in its vault", rule: check.RuleKeyNotObserved, severity: check.Blocker, key: "https://testanu2.vault.azure.net/keys/tea/1", command: "az keyvault key show --id https://testanu2.vault.azure.net/keys/tea/1",
			change: func(s *situation) {
				s.desired[second] = check.DesiredProtector{Key: key("https://testanu2.vault.azure.net/keys/tea/1")}
			},
		},
		{name: "every key is there", rule: check.RuleKeyNotObserved, change: func(*situation) {}},
		{
			name: "disabled", rule: check.RuleKeyDisabled, severity: check.Blocker, key: tdetest.Tey, command: "az keyvault key set-attributes --id " + tdetest.Tey + " --enabled true",
			change: tey(func(k *tde.VaultKey) { k.Enabled = false }),
		},
		{
			name: "the key in use is disabled", rule: check.RuleKeyDisabled, severity: check.Blocker, key: tdetest.Shared, command: "--enabled true",
			change: func(s *situation) { s.AtKey(key(tdetest.Shared)).Enabled = false },
		},
		{
			name: "a key that nobody needs is disabled", rule: check.RuleKeyDisabled,
			change: func(s *situation) { s.AtKey(key(tdetest.Tey)).Enabled = false; delete(s.desired, second) },
		},
		{
			name: "expired", rule: check.RuleKeyExpired, severity: check.Blocker, key: tdetest.Tey, command: "--expires 2028-11-24T09:00:00Z",
			change: tey(func(k *tde.VaultKey) { k.Expires = at(0) }),
		},
		{name: "expires a second later", rule: check.RuleKeyExpired, change: tey(func(k *tde.VaultKey) { k.Expires = at(time.Second) })},
		{
			name: "not active yet", rule: check.RuleKeyNotYetActive, severity: check.Blocker, key: tdetest.Tey, command: "--not-before 2026-11-24T09:00:00Z",
			change: tey(func(k *tde.VaultKey) { k.NotBefore = at(time.Second) }),
		},
		{name: "active from now", rule: check.RuleKeyNotYetActive, change: tey(func(k *tde.VaultKey) { k.NotBefore = at(0) })},
		{
			name: "within 30 days", rule: check.RuleKeyExpiresSoon, severity: check.Warning, key: tdetest.Tey, command: "--expires",
			change: tey(func(k *tde.VaultKey) { k.Expires = at(check.ExpiresSoon - time.Second) }),
		},
		{name: "in 30 days", rule: check.RuleKeyExpiresSoon, change: tey(func(k *tde.VaultKey) { k.Expires = at(check.ExpiresSoon) })},
		{name: "expired already is not soon", rule: check.RuleKeyExpiresSoon, change: tey(func(k *tde.VaultKey) { k.Expires = at(-time.Hour) })},
		{
			name: "the wanted version is old", rule: check.RuleKeyNotNewest, severity: check.Blocker, server: second, key: "https://testanu2.vault.azure.net/keys/tey/0001", command: "az keyvault key list-versions --vault-name testanu2 --name tey",
			change: func(s *situation) {
				old := key("https://testanu2.vault.azure.net/keys/tey/0001")
				s.AddKey(old, "old")
				s.AtKey(old).Latest = false
				s.desired[second] = check.DesiredProtector{Key: old}
			},
		},
		{
			name: "the protector that stays is old", rule: check.RuleKeyNotNewest, severity: check.Warning, server: first, key: tdetest.Shared, command: "list-versions",
			change: func(s *situation) { aged(s); s.desired = nil },
		},
		{
			name: "auto-rotation will move it on", rule: check.RuleKeyNotNewest, severity: check.Note, server: first, key: tdetest.Shared,
			change: func(s *situation) {
				aged(s)
				s.desired = nil
				s.SetProtector(first, key(tdetest.Shared), true)
				s.SetProtector(second, key(tdetest.Shared), true)
			},
		},
		{name: "the protector that is left is old", rule: check.RuleKeyNotNewest, change: aged},
		{
			name: "too long", rule: check.RuleKeyUnsupported, severity: check.Blocker, key: tdetest.Tey, command: "az keyvault key create --vault-name testanu2 --name tey --kty RSA --size 3072",
			change: tey(func(k *tde.VaultKey) { k.Bits = 4096 }),
		},
		{
			name: "an elliptic curve", rule: check.RuleKeyUnsupported, severity: check.Blocker, key: tdetest.Tey, command: "--kty RSA-HSM",
			change: tey(func(k *tde.VaultKey) { k.Type, k.Bits = "EC-HSM", 256 }),
		},
		{name: "RSA-HSM of 2048 bits", rule: check.RuleKeyUnsupported, change: tey(func(k *tde.VaultKey) { k.Type, k.Bits = "RSA-HSM", 2048 })},
		{
			name: "no unwrapKey", rule: check.RuleKeyOperations, severity: check.Blocker, key: tdetest.Tey, command: "--ops encrypt wrapKey unwrapKey",
			change: tey(func(k *tde.VaultKey) { k.Operations = []string{"encrypt", "wrapKey"} }),
		},
		{name: "nothing but the two", rule: check.RuleKeyOperations, change: tey(func(k *tde.VaultKey) { k.Operations = []string{"unwrapKey", "wrapKey"} })},
		longName("95 characters", 95, check.Blocker), longName("94 characters", 94, ""),
		{
			name: "wanted", rule: check.RuleKeyVersionless, severity: check.Blocker, server: first, key: "https://testanu2.vault.azure.net/keys/tey", command: "az keyvault key show --vault-name testanu2 --name tey --query key.kid",
			change: func(s *situation) {
				s.desired[second] = check.DesiredProtector{Key: key(tdetest.Tey).WithoutVersion()}
			},
		},
		{
			name: "already the protector", rule: check.RuleKeyVersionless, severity: check.Warning, server: first, key: "https://testanu2.vault.azure.net/keys/tey", command: "key show",
			change: func(s *situation) {
				for _, server := range []string{first, second} {
					s.Register(server, key(tdetest.Tey).WithoutVersion())
					s.SetProtector(server, key(tdetest.Tey).WithoutVersion(), false)
				}
				s.desired = nil
			},
		},
		{name: "with a version", rule: check.RuleKeyVersionless, change: func(*situation) {}},
		{
			name: "one key for both", rule: check.RuleKeySameInRegions, severity: check.Warning, server: second, key: tdetest.Subham, command: "--name subham-westus",
			change: func(s *situation) { s.desired[second] = check.DesiredProtector{Key: key(tdetest.Subham)} },
		},
		{
			name: "one material in two vaults", rule: check.RuleKeySameInRegions, severity: check.Warning, server: second, key: tdetest.Tey, command: "key create",
			change: tey(func(k *tde.VaultKey) { k.Material = tdetest.Subham }),
		},
		{
			name: "one key in one region", rule: check.RuleKeySameInRegions,
			change: func(s *situation) {
				s.desired[second] = check.DesiredProtector{Key: key(tdetest.Subham)}
				s.At(second).Location = "eastus"
			},
		},
	}
}

func longName(name string, length int, severity check.Severity) preflightCase {
	long := "https://testanu2.vault.azure.net/keys/"
	for range length - len("testanu2") {
		long += "k"
	}
	c := preflightCase{name: name, rule: check.RuleKeyNameTooLong, severity: severity, key: long + "/1", command: "az keyvault key create --vault-name testanu2"}
	c.change = func(s *situation) {
		s.AddKey(key(long+"/1"), "long")
		s.desired[second] = check.DesiredProtector{Key: key(long + "/1")}
	}
	return c
}
