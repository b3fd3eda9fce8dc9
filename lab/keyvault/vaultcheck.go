package keyvault

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
)

func badRequest(format string, args ...any) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "BadRequest", format, args...)
}

// check refuses values that no vault may have, and writes the others in the
// service's own spelling.
func (p *vaultProperties) check() error {
	if p.EnableSoftDelete != nil && !*p.EnableSoftDelete {
		return badRequest(`The property "enableSoftDelete" can be set to false only for creating new vault. Enabling the 'soft delete' functionality is an irreversible action.`)
	}
	if p.EnablePurgeProtection != nil && !*p.EnablePurgeProtection {
		return badRequest(`The property "enablePurgeProtection" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.`)
	}
	if days := p.SoftDeleteRetentionInDays; days != nil && (*days < minRetention || *days > maxRetention) {
		return badRequest(`The property "softDeleteRetentionInDays" has the invalid value %d: it must be between %d and %d.`, *days, minRetention, maxRetention)
	}
	if !spell(&p.PublicNetworkAccess, "Enabled", "Disabled") {
		return badRequest(`The property "publicNetworkAccess" has the invalid value '%s': it must be Enabled or Disabled.`, p.PublicNetworkAccess)
	}
	if p.SKU != nil {
		if !spell(&p.SKU.Family, "A") || !spell(&p.SKU.Name, "standard", "premium") || p.SKU.Name == "" {
			return badRequest("The sku '%s' of family '%s' is not supported: it must be standard or premium of family A.", p.SKU.Name, p.SKU.Family)
		}
	}
	if err := p.NetworkACLs.check(); err != nil {
		return err
	}
	return checkPolicies(p.AccessPolicies)
}

// checkComplete refuses a PUT that lacks what every vault has.
func (p *vaultProperties) checkComplete() error {
	if p.SKU == nil {
		return badRequest("The parameter sku is not specified.")
	}
	if p.TenantID == "" {
		return badRequest("The parameter tenantId is not specified.")
	}
	return nil
}

// checkIrreversible refuses to change what was set once for all.
func (p *vaultProperties) checkIrreversible(v vault) error {
	if days := p.SoftDeleteRetentionInDays; days != nil && *days != v.retentionDays() {
		return badRequest(`The property "softDeleteRetentionInDays" has been set already and it can't be modified.`)
	}
	return nil
}

func (n *networkACLs) check() error {
	if n == nil {
		return nil
	}
	if !spell(&n.Bypass, "AzureServices", "None") {
		return badRequest("The network ACL bypass '%s' is invalid: it must be AzureServices or None.", n.Bypass)
	}
	if !spell(&n.DefaultAction, "Allow", "Deny") {
		return badRequest("The network ACL default action '%s' is invalid: it must be Allow or Deny.", n.DefaultAction)
	}
	for _, rule := range n.IPRules {
		if _, err := addressRange(rule.Value); err != nil {
			return badRequest("The network ACL IP rule '%s' is neither an IPv4 address nor a range in CIDR notation.", rule.Value)
		}
	}
	return nil
}

// addressRange reads an IP rule: one address or a range.
func addressRange(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return address.Prefix(address.BitLen())
}

// completed fills in what the service adds by itself.
func (p vaultProperties) completed(name string) vaultProperties {
	p.EnableSoftDelete = new(true)
	p.EnabledForDeployment = first(p.EnabledForDeployment, new(false))
	if p.PublicNetworkAccess == "" {
		p.PublicNetworkAccess = "Enabled"
	}
	if acls := p.NetworkACLs; acls != nil {
		full := networkACLs{Bypass: "AzureServices", DefaultAction: "Allow", IPRules: []ipRule{}, VirtualNetworkRules: []subnetRule{}}
		if acls.Bypass != "" {
			full.Bypass = acls.Bypass
		}
		if acls.DefaultAction != "" {
			full.DefaultAction = acls.DefaultAction
		}
		full.IPRules = append(full.IPRules, acls.IPRules...)
		full.VirtualNetworkRules = append(full.VirtualNetworkRules, acls.VirtualNetworkRules...)
		p.NetworkACLs = &full
	}
	p.CreateMode, p.ProvisioningState = "", "Succeeded"
	p.VaultURI = "https://" + strings.ToLower(name) + "." + publicSuffix + "/"
	return p
}

// over lays what is set in p over old.
func (p vaultProperties) over(old vaultProperties) vaultProperties {
	old.SKU = first(p.SKU, old.SKU)
	old.NetworkACLs = first(p.NetworkACLs, old.NetworkACLs)
	old.EnabledForDeployment = first(p.EnabledForDeployment, old.EnabledForDeployment)
	old.EnabledForDiskEncryption = first(p.EnabledForDiskEncryption, old.EnabledForDiskEncryption)
	old.EnabledForTemplateDeployment = first(p.EnabledForTemplateDeployment, old.EnabledForTemplateDeployment)
	old.EnableRBACAuthorization = first(p.EnableRBACAuthorization, old.EnableRBACAuthorization)
	old.EnablePurgeProtection = first(p.EnablePurgeProtection, old.EnablePurgeProtection)
	if p.TenantID != "" {
		old.TenantID = p.TenantID
	}
	if p.AccessPolicies != nil {
		old.AccessPolicies = p.AccessPolicies
	}
	if p.PublicNetworkAccess != "" {
		old.PublicNetworkAccess = p.PublicNetworkAccess
	}
	return old
}

// spell writes a value in the spelling of the known one that it equals
// without regard to case. An unset value is left alone.
func spell(value *string, known ...string) bool {
	if *value == "" {
		return true
	}
	for _, k := range known {
		if strings.EqualFold(*value, k) {
			*value = k
			return true
		}
	}
	return false
}

// validVaultName: 3 to 24 letters, digits and hyphens, a letter first, no
// hyphen last, no two in a row.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#vault-name-and-object-name
func validVaultName(name string) bool {
	if len(name) < 3 || len(name) > 24 || strings.Contains(name, "--") || !isLetter(name[0]) || name[len(name)-1] == '-' {
		return false
	}
	return onlyNameRunes(name)
}

func vaultNameNotValid(name string) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "VaultNameNotValid", "%s", invalidVaultName(name))
}

func invalidVaultName(name string) string {
	return "The vault name '" + name + "' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit," +
		" and not contain consecutive hyphens. Follow this link for more information: https://go.microsoft.com/fwlink/?linkid=2147742"
}
