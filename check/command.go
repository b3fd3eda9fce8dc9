package check

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// CryptoServiceEncryptionUser is the built-in role that holds what TDE needs.
// Source: https://learn.microsoft.com/azure/key-vault/general/rbac-guide
const CryptoServiceEncryptionUser = "Key Vault Crypto Service Encryption User"

var plainWord = regexp.MustCompile(`^[0-9A-Za-z_./:=,@+-]+$`)

// az joins the words of one az command, quoted where a POSIX shell needs it.
// Options with an empty value are left out together with their name.
func az(words ...string) string {
	line := []string{"az"}
	for i := 0; i < len(words); i++ {
		option := strings.HasPrefix(words[i], "--")
		if option && i+1 < len(words) && words[i+1] == "" {
			i++
			continue
		}
		line = append(line, quoted(words[i]))
	}
	return strings.Join(line, " ")
}

func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	if strings.Contains(word, "'") && !strings.ContainsAny(word, "\"$`\\!") {
		return `"` + word + `"`
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// onServer are the words that name a server as a command's parent.
func onServer(s tde.Server) []string {
	return []string{"--resource-group", s.ResourceGroup, "--server", s.Name, "--subscription", s.Subscription}
}

func azServer(s tde.Server, verb ...string) string {
	return az(slices.Concat(verb, onServer(s))...)
}

// RegisterCommand registers the key on the server.
func RegisterCommand(s tde.Server, key tde.KeyID) string {
	return azServer(s, "sql", "server", "key", "create", "--kid", key.String())
}

// DeregisterCommand takes the key off the server.
func DeregisterCommand(s tde.Server, key tde.KeyID) string {
	return azServer(s, "sql", "server", "key", "delete", "--kid", key.String())
}

// ProtectorCommand makes p the server's protector.
func ProtectorCommand(s tde.Server, p tde.Protector) string {
	if p.ServiceManaged() {
		return azServer(s, "sql", "server", "tde-key", "set", "--server-key-type", "ServiceManaged")
	}
	auto := "false"
	if p.AutoRotation {
		auto = "true"
	}
	return azServer(s, "sql", "server", "tde-key", "set", "--server-key-type", "AzureKeyVault",
		"--kid", p.Key.String(), "--auto-rotation-enabled", auto)
}

// GrantCommand gives the server's identity get, wrapKey and unwrapKey on every
// key of the vault, by an access policy or, on a vault that uses roles, by
// Key Vault Crypto Service Encryption User.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-configure
func GrantCommand(s tde.Server, v tde.Vault) string {
	if v.RBAC {
		return az("role", "assignment", "create", "--role", CryptoServiceEncryptionUser,
			"--assignee-object-id", s.Identity.PrincipalID, "--assignee-principal-type", "ServicePrincipal", "--scope", v.ID)
	}
	return azVault(v, "keyvault", "set-policy", "--object-id", s.Identity.PrincipalID, "--key-permissions", "get", "wrapKey", "unwrapKey")
}

// RevokeCommand undoes GrantCommand.
func RevokeCommand(s tde.Server, v tde.Vault) string {
	if v.RBAC {
		return az("role", "assignment", "delete", "--role", CryptoServiceEncryptionUser,
			"--assignee", s.Identity.PrincipalID, "--scope", v.ID)
	}
	return azVault(v, "keyvault", "delete-policy", "--object-id", s.Identity.PrincipalID)
}

func azVault(v tde.Vault, verb ...string) string {
	return az(slices.Concat(verb, []string{
		"--name", v.Name, "--resource-group", segment(v.ID, "resourceGroups"), "--subscription", segment(v.ID, "subscriptions"),
	})...)
}

// segment is the part of an ARM id that follows the named one; empty when the
// id has none. Ids are compared without regard to case.
func segment(id, name string) string {
	parts := strings.Split(id, "/")
	for i := range len(parts) - 1 {
		if strings.EqualFold(parts[i], name) {
			return parts[i+1]
		}
	}
	return ""
}

// azKey sets attributes of one key version.
func azKey(id tde.KeyID, attributes ...string) string {
	return az(slices.Concat([]string{"keyvault", "key", "set-attributes", "--id", id.String()}, attributes)...)
}

// utc writes a time as az takes it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// revalidateCommand makes the service look at the server's keys again; az has
// no verb of its own for it in all versions.
// Source: https://learn.microsoft.com/rest/api/sql/encryption-protectors/revalidate
func revalidateCommand(s tde.Server) string {
	return az("rest", "--method", "post", "--url", s.ID+"/encryptionProtector/current/revalidate?api-version=2023-08-01")
}

// FailoverCommand makes the server the primary of the failover group, without
// data loss.
func FailoverCommand(s tde.Server, group string) string {
	return azServer(s, "sql", "failover-group", "set-primary", "--name", group)
}
