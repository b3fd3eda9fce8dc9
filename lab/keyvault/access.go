package keyvault

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/store"
)

// allow refuses a call that the vault's firewall, access policies or role
// assignments do not let through.
func (s *Service) allow(c *call, op operation) error {
	if err := c.passFirewall(); err != nil {
		return err
	}
	if op.permission == "" {
		return nil
	}
	state := c.vault.accessAt(c.now)
	if state.RBAC {
		return s.allowByRole(c, op)
	}
	if state.permits(c.caller, op.permission) {
		return nil
	}
	return forbidden("ForbiddenByPolicy",
		"The user, group or application '%s' does not have keys %s permission on key vault '%s'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
		describe(c.caller), op.permission, c.vault.described())
}

// permits reports whether an access policy grants the permission. Names are
// compared without regard to case; "all" grants each of them. An entry with
// an applicationId is for that application acting for the principal alone.
func (a accessState) permits(caller entra.Claims, permission string) bool {
	return slices.ContainsFunc(a.Policies, func(p accessPolicy) bool {
		return caller.ObjectID != "" && strings.EqualFold(p.ObjectID, caller.ObjectID) &&
			(p.ApplicationID == "" || strings.EqualFold(p.ApplicationID, caller.AppID)) &&
			(containsFold(p.Permissions.Keys, permission) || containsFold(p.Permissions.Keys, permitAll))
	})
}

// allowByRole asks the role assignments at the scope of the key, which those
// of the vault and above it cover.
// Source: https://learn.microsoft.com/azure/key-vault/general/rbac-guide
func (s *Service) allowByRole(c *call, op operation) error {
	scope := c.vault.id()
	if c.target.key != "" {
		scope += "/keys/" + c.target.key
	}
	allowed := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		allowed, err = s.Roles.AuthorizeData(tx, c.caller, op.dataAction, scope)
		return err
	})
	if err != nil || allowed {
		return err
	}
	return forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n"+
		"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
		"Caller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: %s\r\n",
		describe(c.caller), op.dataAction, strings.ToLower(scope), c.vault.described())
}

// passFirewall refuses callers that the network rules shut out. Unlike grants,
// changed rules act at once.
// Source: https://learn.microsoft.com/azure/key-vault/general/network-security
func (c *call) passFirewall() error {
	p := c.vault.Properties
	closed := p.PublicNetworkAccess == "Disabled"
	if !closed && (p.NetworkACLs == nil || p.NetworkACLs.DefaultAction != "Deny") {
		return nil
	}
	bypass := p.NetworkACLs == nil || p.NetworkACLs.Bypass == "AzureServices"
	if bypass && isTrustedService(c.caller) {
		return nil
	}
	if closed {
		return forbidden("ForbiddenByConnection",
			"Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: %s\r\nVault: %s",
			describe(c.caller), c.vault.described())
	}
	from := clientAddress(c.http.RemoteAddr)
	if p.NetworkACLs.admits(from) {
		return nil
	}
	return forbidden("ForbiddenByFirewall",
		"Client address is not authorized and caller is not a trusted service.\r\nClient address: %s\r\nCaller: %s\r\nVault: %s",
		from, describe(c.caller), c.vault.described())
}

// isTrustedService reports whether the caller is a service that the bypass
// AzureServices lets in: of those, the lab has Azure SQL.
// Source: https://learn.microsoft.com/azure/key-vault/general/overview-vnet-service-endpoints#trusted-services
func isTrustedService(caller entra.Claims) bool {
	return strings.Contains(strings.ToLower(caller.ManagedIdentity), "/providers/microsoft.sql/servers/")
}

func (n *networkACLs) admits(from netip.Addr) bool {
	return slices.ContainsFunc(n.IPRules, func(rule ipRule) bool {
		prefix, err := addressRange(rule.Value)
		return err == nil && prefix.Contains(from)
	})
}

// clientAddress reads a connection's far end; the zero address, which no rule
// admits, when it is none.
func clientAddress(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	from, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return from.Unmap()
}
