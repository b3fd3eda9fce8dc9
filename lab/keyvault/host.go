package keyvault

import (
	"net/http"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/entra"
)

// publicSuffix is the DNS suffix of vaults in Azure's public cloud.
const publicSuffix = "vault.azure.net"

// sovereignSuffixes are those of the other clouds.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#vault-name-and-object-name
func sovereignSuffixes() []string {
	return []string{"vault.azure.cn", "vault.usgovcloudapi.net", "vault.microsoftazure.de"}
}

// address is what a request's Host says.
type address struct {
	vault    string // name, in lower case
	resource string // the audience named in challenges
	suffix   string // of the ids of what the vault holds
}

// parseHost reads a Host header. The first label is the vault. The resource of
// the challenge is the rest, port included, since clients demand that it be a
// suffix of the address that they called. Ids always have an Azure name, by
// which clients tell a vault's key, whatever the address.
func parseHost(host string) address {
	host = strings.ToLower(host)
	name, rest, _ := strings.Cut(host, ".")
	bare := rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		bare = rest[:i]
	}
	a := address{vault: name, resource: "https://" + rest, suffix: publicSuffix}
	if slices.Contains(sovereignSuffixes(), bare) {
		a.suffix = bare
	}
	return a
}

// audiences are the resources for which the vaults take tokens: the address
// itself, Azure's names, and Key Vault's application id.
func (a address) audiences() []string {
	list := []string{a.resource, a.resource + "/", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"}
	for _, suffix := range append(sovereignSuffixes(), publicSuffix) {
		list = append(list, "https://"+suffix, "https://"+suffix+"/")
	}
	return list
}

// challenge is the WWW-Authenticate header that every 401 carries.
func (s *Service) challenge(r *http.Request, a address) string {
	return `Bearer authorization="` + strings.TrimSuffix(s.LoginURL(r), "/") + "/" + s.TenantID + `", resource="` + a.resource + `"`
}

// describe names a caller as the data plane does in its refusals.
func describe(caller entra.Claims) string {
	text := "appid=" + caller.AppID + ";oid=" + caller.ObjectID + ";iss=" + caller.Issuer
	if caller.ManagedIdentity != "" {
		text += ";xms_mirid=" + caller.ManagedIdentity
	}
	return text
}

func (v vault) described() string { return v.Name + ";location=" + v.Location }

// objectBase is the beginning of the ids of what the vault holds.
func (v vault) objectBase(suffix string) string {
	return "https://" + strings.ToLower(v.Name) + "." + suffix
}
