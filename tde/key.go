package tde

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// KeyID is a Key Vault key identifier, https://{vault host}/keys/{name}/{version}.
// It is comparable, so it serves as a map key; the zero value means "no key"
// (a service-managed protector). The version is empty for a versionless id.
type KeyID struct {
	Host    string // vault host in lower case, such as testanu2.vault.azure.net
	Name    string
	Version string
}

var (
	keyNamePattern    = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	keyVersionPattern = regexp.MustCompile(`^[0-9a-zA-Z]{1,64}$`)
	vaultHostPattern  = regexp.MustCompile(`^[0-9a-zA-Z-]{1,63}(\.[0-9a-zA-Z-]{1,63})+$`)
)

// ParseKeyID reads a key identifier as Key Vault writes it. A trailing slash
// and the default port are accepted and dropped; anything else that is not a
// key id is an error that quotes the text.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
func ParseKeyID(text string) (KeyID, error) {
	u, err := url.Parse(text)
	if err != nil {
		return KeyID{}, fmt.Errorf("key id %q: %w", text, err)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Host, ":443"))
	// Key Vault writes no escapes and no query; an escaped slash would move the
	// border between name and version.
	if u.Scheme != "https" || u.User != nil || strings.ContainsAny(text, "?#%") || !vaultHostPattern.MatchString(host) {
		return KeyID{}, fmt.Errorf("key id %q: want https://VAULT.vault.azure.net/keys/NAME/VERSION", text)
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(u.Path, "/"), "/"), "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "keys" || !keyNamePattern.MatchString(parts[1]) {
		return KeyID{}, fmt.Errorf("key id %q: want https://VAULT.vault.azure.net/keys/NAME/VERSION", text)
	}
	id := KeyID{Host: host, Name: parts[1]}
	if len(parts) == 3 {
		if !keyVersionPattern.MatchString(parts[2]) {
			return KeyID{}, fmt.Errorf("key id %q: %q is not a key version", text, parts[2])
		}
		id.Version = parts[2]
	}
	return id, nil
}

// String gives the id as Key Vault writes it; empty for the zero value.
func (k KeyID) String() string {
	if k.IsZero() {
		return ""
	}
	return strings.TrimSuffix("https://"+k.Host+"/keys/"+k.Name+"/"+k.Version, "/")
}

// IsZero reports whether k names no key at all.
func (k KeyID) IsZero() bool { return k == KeyID{} }

// Versionless reports whether k names a key but none of its versions.
func (k KeyID) Versionless() bool { return !k.IsZero() && k.Version == "" }

// WithoutVersion gives the id of the key that k is a version of.
func (k KeyID) WithoutVersion() KeyID { return KeyID{Host: k.Host, Name: k.Name} }

// Vault is the vault's name: the first label of the host.
func (k KeyID) Vault() string {
	name, _, _ := strings.Cut(k.Host, ".")
	return name
}

// MaxServerKeyNameLength is the longest that vault name and key name may be
// together, in characters, for a key to be registered on a server.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
const MaxServerKeyNameLength = 94

// ServerKeyName is the name under which Azure SQL registers the key,
// vault_key_version, or vault_key for a versionless id; "ServiceManaged" for
// the zero value.
// Source: https://learn.microsoft.com/rest/api/sql/server-keys/create-or-update
func (k KeyID) ServerKeyName() string {
	if k.IsZero() {
		return ServiceManagedKeyName
	}
	return strings.TrimSuffix(k.Vault()+"_"+k.Name+"_"+k.Version, "_")
}

// Short is k for a narrow column: vault/key/first eight of the version.
func (k KeyID) Short() string {
	if k.IsZero() {
		return "service-managed"
	}
	version := k.Version
	if len(version) > 8 {
		version = version[:8] + "…"
	}
	return strings.TrimSuffix(k.Vault()+"/"+k.Name+"/"+version, "/")
}

// MarshalText writes the id as text, so that it is a JSON string and map key.
func (k KeyID) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote; empty text is the zero value.
func (k *KeyID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = KeyID{}
		return nil
	}
	id, err := ParseKeyID(string(text))
	if err != nil {
		return err
	}
	*k = id
	return nil
}

// ServiceManagedKeyName is the name of the pseudo server key that stands for
// the built-in certificate.
const ServiceManagedKeyName = "ServiceManaged"

// Thumbprint identifies key material: 40 upper-case hexadecimal digits, empty
// when not known. How the service derives it is not published; it is always
// read back, never computed.
type Thumbprint string

// NormalizeThumbprint accepts the forms in which tools print a thumbprint
// (0x prefix, lower case) and gives the one that ARM uses.
func NormalizeThumbprint(text string) Thumbprint {
	return Thumbprint(strings.ToUpper(strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")))
}

// Short is the first eight digits, for a narrow column; "-" when not known.
func (t Thumbprint) Short() string {
	switch {
	case t == "":
		return "-"
	case len(t) > 8:
		return string(t[:8]) + "…"
	}
	return string(t)
}
