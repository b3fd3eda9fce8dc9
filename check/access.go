package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// identities: a server without a managed identity can reach no vault
// (AzureKeyVaultNoServerIdentity).
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-identity
func (j *judge) identities() {
	seen := map[string]bool{}
	for _, r := range j.requirements {
		s, _ := j.topology.Server(r.Server)
		if seen[s.Name] || hasIdentity(s) {
			continue
		}
		seen[s.Name] = true
		j.add(Finding{
			Rule: RuleIdentityMissing, Severity: Blocker, Server: s.Name, Key: r.Use,
			What: fmt.Sprintf("server %s has no managed identity, so it cannot reach key %s in its vault", s.Name, r.Use.Short()),
			Cure: "Give the server a system-assigned identity, then grant it the keys.",
			Command: az("sql", "server", "update", "--resource-group", s.ResourceGroup, "--name", s.Name,
				"--subscription", s.Subscription, "--identity-type", "SystemAssigned"),
		})
	}
}

func hasIdentity(s tde.Server) bool {
	return s.Identity.PrincipalID != "" && !strings.EqualFold(s.Identity.Type, "None")
}

// grants: every server must be able to use every key that a failover may ask
// it to open a DEK with (AzureKeyVaultMissingPermissions).
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) grants() {
	for _, r := range j.requirements {
		s, _ := j.topology.Server(r.Server)
		v, known := j.topology.Vault(r.Use.Host)
		if r.Granted || !known || !hasIdentity(s) {
			continue
		}
		way := "an access policy"
		if v.RBAC {
			way = "the role " + CryptoServiceEncryptionUser
		}
		j.add(Finding{
			Rule: RuleMissingGrant, Severity: Blocker, Server: s.Name, Key: r.Use,
			What: fmt.Sprintf("the identity %s of server %s lacks get, wrapKey and unwrapKey on key %s, which it needs as %s%s",
				s.Identity.PrincipalID, s.Name, r.Use.Short(), reason(r), j.noCopy(s, r)),
			Cure:    fmt.Sprintf("Grant the identity %s on vault %s and allow some ten minutes for it to take effect.", way, v.Name),
			Command: GrantCommand(s, v),
		})
	}
}

// noCopy says of a copy of the key that the server can use that it does not
// serve.
func (j *judge) noCopy(s tde.Server, r Requirement) string {
	if r.Exact || !holds(s, r.Use) {
		return ""
	}
	for _, id := range registeredIDs(s) {
		if id != r.Use && j.topology.SameMaterial(id, r.Use) && j.topology.MayUse(s.Name, id) && !Unfit(j.topology, id, j.now) {
			return fmt.Sprintf("; its copy %s does not serve there while the key itself is registered", id.Short())
		}
	}
	return ""
}

// reason says in words why a server needs a key.
func reason(r Requirement) string {
	if len(r.Owners) == 1 && strings.EqualFold(r.Owners[0], r.Server) {
		return "its own protector"
	}
	return "a key of " + strings.Join(r.Owners, " and ")
}

// needed lists the keys in use or to be used, each once, with all
// their owners.
func (j *judge) needed() []Requirement {
	var list []Requirement
	place := map[tde.KeyID]int{}
	for _, r := range j.requirements {
		i, seen := place[r.Use]
		if !seen {
			place[r.Use] = len(list)
			r.Owners = slices.Clone(r.Owners)
			list = append(list, r)
			continue
		}
		list[i].Change = list[i].Change || r.Change
		for _, owner := range r.Owners {
			if !slices.Contains(list[i].Owners, owner) {
				list[i].Owners = append(list[i].Owners, owner)
			}
		}
	}
	return list
}

// vaults: Azure demands soft delete and purge protection when a protector is
// set (SecurityInvalidAzureKeyVaultRecoveryLevel). A vault that is only in use
// already is warned about, since leaving it is the cure.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) vaults() {
	weight := map[string]Severity{}
	var hosts []string
	for _, r := range j.needed() {
		if _, seen := weight[r.Use.Host]; !seen {
			hosts = append(hosts, r.Use.Host)
			weight[r.Use.Host] = Warning
		}
		if r.Change {
			weight[r.Use.Host] = Blocker
		}
	}
	for _, host := range hosts {
		v, known := j.topology.Vault(host)
		if !known {
			name, _, _ := strings.Cut(host, ".")
			j.add(Finding{
				Rule: RuleVaultNotObserved, Severity: Blocker,
				What:    fmt.Sprintf("vault %s does not exist or was not observed, so its protection, firewall and grants are not known", host),
				Cure:    "Check the vault's name and the reading identity's access, then inspect again.",
				Command: az("keyvault", "show", "--name", name),
			})
			continue
		}
		j.vault(v, weight[host])
	}
}

func (j *judge) vault(v tde.Vault, weight Severity) {
	if !v.SoftDelete {
		j.add(Finding{
			Rule: RuleSoftDelete, Severity: weight,
			What:    fmt.Sprintf("vault %s has no soft delete: a deleted key would be lost at once and its databases with it, and Azure refuses its keys as protectors", v.Name),
			Cure:    "Turn soft delete on; it cannot be turned off again.",
			Command: azVault(v, "keyvault", "update", "--set", "properties.enableSoftDelete=true"),
		})
	}
	if !v.PurgeProtection {
		j.add(Finding{
			Rule: RulePurgeProtection, Severity: weight,
			What:    fmt.Sprintf("vault %s has no purge protection: a deleted key could be purged and its databases lost, and Azure refuses its keys as protectors", v.Name),
			Cure:    "Turn purge protection on; it cannot be turned off again.",
			Command: azVault(v, "keyvault", "update", "--enable-purge-protection", "true"),
		})
	}
	if v.FirewallOn && !v.TrustedServices {
		j.add(Finding{
			Rule: RuleVaultFirewall, Severity: Blocker,
			What:    fmt.Sprintf("the firewall of vault %s does not let trusted Microsoft services through, so Azure SQL cannot reach its keys except over a private endpoint, which was not looked for", v.Name),
			Cure:    "Let trusted Microsoft services bypass the vault's firewall.",
			Command: azVault(v, "keyvault", "update", "--bypass", "AzureServices"),
		})
	}
}
