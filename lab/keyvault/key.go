package keyvault

import (
	"strings"
	"time"
)

// keyRecord is a key with its versions, oldest first. A soft-deleted key
// stays in the table: its name is taken until it is purged.
type keyRecord struct {
	Name     string          `json:"name"`
	Versions []keyVersion    `json:"versions"`
	Policy   *rotationPolicy `json:"policy,omitempty"`
	Deleted  *deletion       `json:"deleted,omitempty"`
}

// keyVersion is one version of a key. Its material is fixed; its attributes
// are not.
type keyVersion struct {
	ID        string            `json:"id"` // 32 hexadecimal digits
	Kty       string            `json:"kty"`
	Ops       []string          `json:"ops"`
	Public    publicJWK         `json:"public"`
	Enabled   bool              `json:"enabled"`
	NotBefore *int64            `json:"nbf,omitempty"` // Unix seconds
	Expires   *int64            `json:"exp,omitempty"`
	Created   int64             `json:"created"`
	Updated   int64             `json:"updated"`
	Tags      map[string]string `json:"tags,omitempty"`
	// Sealed is the private key in PKCS #8, sealed for sealName of this
	// version.
	Sealed []byte `json:"sealed"`
}

// sealName is what a version's material is bound to: its id in the public
// cloud.
func sealName(vaultName, key, version string) string {
	return strings.ToLower("https://" + vaultName + "." + publicSuffix + "/keys/" + key + "/" + version)
}

// latest is the newest version, disabled or not: what the data plane means by
// a key without a version. Every key has one.
func (k keyRecord) latest() keyVersion { return k.Versions[len(k.Versions)-1] }

// find gives a version by id, the latest for an empty one.
func (k keyRecord) find(id string) (keyVersion, bool) {
	if len(k.Versions) == 0 {
		return keyVersion{}, false
	}
	if id == "" {
		return k.latest(), true
	}
	for _, version := range k.Versions {
		if version.ID == id {
			return version, true
		}
	}
	return keyVersion{}, false
}

func (v keyVersion) isHSM() bool { return strings.HasSuffix(v.Kty, "-HSM") }

func (v keyVersion) family() string { return strings.TrimSuffix(v.Kty, "-HSM") }

// keyBody is a key version in the data plane's answers.
type keyBody struct {
	Key        jwkBody           `json:"key"`
	Attributes attributesBody    `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
}

type jwkBody struct {
	KID    string   `json:"kid"`
	Kty    string   `json:"kty"`
	KeyOps []string `json:"key_ops"`
	publicJWK
}

type attributesBody struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       *int64 `json:"nbf,omitempty"`
	Expires         *int64 `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
	HSMPlatform     string `json:"hsmPlatform"`
}

// deletedKeyBody is a soft-deleted key, its latest version shown.
type deletedKeyBody struct {
	deletionBody
	keyBody
}

type deletionBody struct {
	RecoveryID         string `json:"recoveryId"`
	DeletedDate        int64  `json:"deletedDate"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate"`
}

// kid is the id of a version; of the key as a whole for an empty version.
func (c *call) kid(name, version string) string {
	id := c.vault.objectBase(c.address.suffix) + "/keys/" + name
	if version != "" {
		id += "/" + version
	}
	return id
}

func (c *call) keyBody(key keyRecord, version keyVersion) keyBody {
	return keyBody{
		Key:        jwkBody{KID: c.kid(key.Name, version.ID), Kty: version.Kty, KeyOps: version.Ops, publicJWK: version.Public},
		Attributes: c.attributes(version),
		Tags:       version.Tags,
	}
}

func (c *call) attributes(version keyVersion) attributesBody {
	platform := "0"
	if version.isHSM() {
		platform = "1"
	}
	return attributesBody{
		Enabled: version.Enabled, NotBefore: version.NotBefore, Expires: version.Expires, Created: version.Created, Updated: version.Updated,
		RecoveryLevel: c.vault.recoveryLevel(), RecoverableDays: c.vault.retentionDays(), HSMPlatform: platform,
	}
}

func (c *call) deletedBody(key keyRecord) deletedKeyBody {
	return deletedKeyBody{deletionBody: c.deletion(key), keyBody: c.keyBody(key, key.latest())}
}

func (c *call) deletion(key keyRecord) deletionBody {
	return deletionBody{
		RecoveryID:  c.vault.objectBase(c.address.suffix) + "/deletedkeys/" + key.Name,
		DeletedDate: key.Deleted.At.Unix(), ScheduledPurgeDate: key.Deleted.PurgeAt.Unix(),
	}
}

// requestAttributes are the attributes that a caller may set.
type requestAttributes struct {
	Enabled    *bool  `json:"enabled"`
	NotBefore  *int64 `json:"nbf"`
	Expires    *int64 `json:"exp"`
	Exportable *bool  `json:"exportable"`
}

// set lays the attributes that are given over those of the version.
func (a requestAttributes) set(version *keyVersion) error {
	if isTrue(a.Exportable) {
		return notSupported("Exportable keys need secure key release, which the lab's vaults do not have.")
	}
	if a.Enabled != nil {
		version.Enabled = *a.Enabled
	}
	version.NotBefore = first(a.NotBefore, version.NotBefore)
	version.Expires = first(a.Expires, version.Expires)
	if version.NotBefore != nil && version.Expires != nil && *version.Expires <= *version.NotBefore {
		return badParameter("The attribute exp must be later than nbf.")
	}
	return nil
}

const (
	maxTags   = 15
	maxTagLen = 256
)

// checkTags holds tags to the service's limits.
// Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#key-tags
func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return badParameter("A key can have at most %d tags.", maxTags)
	}
	for name, value := range tags {
		if len(name) > maxTagLen || len(value) > maxTagLen {
			return badParameter("A tag's name and value can have at most %d characters each.", maxTagLen)
		}
	}
	return nil
}

// newVersionID makes a version's id out of a GUID.
func (s *Service) newVersionID() string {
	return strings.ToLower(strings.ReplaceAll(s.NewID(), "-", ""))
}

// usableAt says whether now lies inside the version's dates, as one of "",
// "expired" and "not yet valid".
func (v keyVersion) usableAt(now time.Time) string {
	if v.Expires != nil && now.Unix() >= *v.Expires {
		return "expired"
	}
	if v.NotBefore != nil && now.Unix() < *v.NotBefore {
		return "not yet valid"
	}
	return ""
}
