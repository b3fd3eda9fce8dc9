// Package gateway is the lab's front door: a certificate authority of its own,
// a TLS server for every name that the lab answers to, a router by host name,
// and a CONNECT proxy that brings unmodified clients to that server under
// Azure's own names. It listens on loopback only and never opens a connection
// to anywhere: what it does not serve itself, it refuses.
package gateway

import (
	"net"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/entra"
)

// destination is what answers for a host.
type destination int

const (
	nowhere destination = iota
	toLocal             // the lab's own address: everything but vaults, by path
	toLogin
	toARM
	toGraph
	toVault
	toSQL // by the proxy alone: it is not HTTP
)

// armHosts are Resource Manager's names.
// Source: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure#guidance-for-developers
// Source: https://learn.microsoft.com/azure/china/resources-developer-guide
func armHosts() []string {
	return []string{
		"management.azure.com", "management.core.windows.net",
		"management.usgovcloudapi.net", "management.core.usgovcloudapi.net",
		"management.chinacloudapi.cn", "management.core.chinacloudapi.cn",
	}
}

// graphHosts are Microsoft Graph's names.
// Source: https://learn.microsoft.com/graph/deployments
func graphHosts() []string {
	return []string{"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}
}

// vaultSuffixes are what follows a vault's name; vault.localhost is the lab's
// own, for clients that do without the proxy.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-base-url
func vaultSuffixes() []string {
	return []string{localVaultSuffix, "vault.azure.net", "vault.usgovcloudapi.net", "vault.azure.cn", "vault.microsoftazure.de"}
}

// sqlSuffixes are what follows a logical server's name, or a failover group's.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func sqlSuffixes() []string {
	return []string{"database.windows.net", "database.usgovcloudapi.net", "database.chinacloudapi.cn"}
}

// isSQL reports whether a host is a server's name, or one of a failover
// group's two listeners.
func isSQL(host string) bool {
	name, suffix, _ := strings.Cut(host, ".")
	return isLabel(name) && slices.Contains(sqlSuffixes(), strings.TrimPrefix(suffix, "secondary."))
}

const localVaultSuffix = "vault.localhost"

// Served reports whether the lab answers to a host name, given without a port.
// The proxy, the certificate authority and the router all go by it.
func Served(host string) bool { return destinationOf(host) != nowhere }

func destinationOf(host string) destination {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case isLocal(host):
		return toLocal
	case slices.Contains(entra.LoginHosts(), host):
		return toLogin
	case slices.Contains(armHosts(), host):
		return toARM
	case slices.Contains(graphHosts(), host):
		return toGraph
	}
	if name, suffix, found := strings.Cut(host, "."); found && isLabel(name) && slices.Contains(vaultSuffixes(), suffix) {
		return toVault
	}
	if isSQL(host) {
		return toSQL
	}
	return nowhere
}

// isLocal reports whether a host is the lab's own address.
func isLocal(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// isLabel reports whether a name can be one label of a DNS name.
func isLabel(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool {
		return c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}) < 0
}

// hostOf takes the port and the brackets of an IPv6 address away.
func hostOf(hostPort string) string {
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]")
}
