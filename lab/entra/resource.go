package entra

import (
	"net/url"
	"slices"
	"strings"
)

// LoginHosts are the names under which Entra ID is reached in Microsoft's
// clouds.
// Source: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
func LoginHosts() []string {
	return []string{
		"login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net",
		"login.microsoftonline.us", "login.usgovcloudapi.net", "login-us.microsoftonline.com",
		"login.partner.microsoftonline.cn", "login.chinacloudapi.cn", "sts.chinacloudapi.cn",
		"login.microsoftonline.de",
	}
}

// graphResources are Microsoft Graph's.
// Source: https://learn.microsoft.com/graph/deployments
func graphResources() []string {
	return []string{
		"https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
		"https://microsoftgraph.chinacloudapi.cn",
	}
}

// azureResources are the services of Microsoft's clouds for which the lab
// gives tokens: Resource Manager, Key Vault and SQL Database.
func azureResources() []string {
	return []string{
		"https://management.azure.com", "https://management.core.windows.net",
		"https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net",
		"https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn",
		"https://vault.azure.net", "https://vault.usgovcloudapi.net", "https://vault.azure.cn", "https://vault.microsoftazure.de",
		"https://database.windows.net", "https://database.usgovcloudapi.net", "https://database.chinacloudapi.cn",
	}
}

// resourceOfApplication gives the resource behind a first-party application
// id, by which clients may name it too.
// Source: https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
func resourceOfApplication(id string) (resource string, known bool) {
	switch strings.ToLower(id) {
	case "797f4846-ba00-4fd7-ba43-dac1f8f63013":
		return "https://management.azure.com", true
	case "cfa8b339-82a2-471a-a3c9-0fc0be7a4093":
		return "https://vault.azure.net", true
	case "00000003-0000-0000-c000-000000000000":
		return "https://graph.microsoft.com", true
	case "022907d3-0f1b-48f7-badc-1ba6abab6d66":
		return "https://database.windows.net", true
	}
	return "", false
}

// audienceOf gives the aud of tokens for what a client named as resource, as
// it was written; known is false when the tenant has no such service.
func (s *Service) audienceOf(resource string) (audience string, known bool) {
	if named, ok := resourceOfApplication(resource); ok {
		return named, true
	}
	lists := [][]string{azureResources(), graphResources(), s.bases()}
	for _, list := range lists {
		if takes(list, resource) {
			return resource, true
		}
	}
	return resource, isLocalVaultResource(resource)
}

// isLocalVaultResource is for vaults that are addressed as
// NAME.vault.localhost:PORT: the resource is the rest of their address.
func isLocalVaultResource(resource string) bool {
	parsed, err := url.Parse(resource)
	return err == nil && parsed.Scheme == "https" && strings.EqualFold(parsed.Hostname(), "vault.localhost") && strings.Trim(parsed.Path, "/") == ""
}

// takes reports whether one of the audiences is the token's. A slash at the
// end makes no difference, as with Azure's services.
func takes(audiences []string, audience string) bool {
	audience = strings.TrimRight(audience, "/")
	return slices.ContainsFunc(audiences, func(each string) bool {
		return strings.EqualFold(strings.TrimRight(each, "/"), audience)
	})
}
