package keyvault

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// backupMark begins every backup blob. What follows is sealed: a backup is of
// no use outside the lab that made it, as Azure's is of none outside Azure.
const backupMark = "&AzureKeyVaultKeyBackupV1.microsoft.com"

// backupName is what the sealed part of a backup is bound to.
const backupName = "keyvault/backup"

// backup is a key with all its versions, on its way to a vault of the same
// subscription and geography.
// Source: https://learn.microsoft.com/azure/key-vault/general/backup
type backup struct {
	Subscription string            `json:"subscription"`
	Geography    string            `json:"geography"`
	Key          keyRecord         `json:"key"`
	Material     map[string][]byte `json:"material"` // PKCS #8, by version
}

type backupBody struct {
	Value string `json:"value"`
}

// backupKey exports a key for restoreKey.
func (s *Service) backupKey(c *call) (any, error) {
	if _, err := c.live(); err != nil {
		return nil, err
	}
	b := backup{Subscription: c.vault.Subscription, Geography: geographyOf(c.vault.Location), Key: c.key, Material: map[string][]byte{}}
	b.Key.Versions = append([]keyVersion{}, c.key.Versions...)
	for i, version := range b.Key.Versions {
		material, err := s.Sealer.Open(version.Sealed, sealName(c.vault.Name, c.key.Name, version.ID))
		if err != nil {
			return nil, err
		}
		b.Material[version.ID] = material
		b.Key.Versions[i].Sealed = nil
	}
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write backup of %s: %w", c.key.Name, err)
	}
	return backupBody{Value: encode(append([]byte(backupMark), s.Sealer.Seal(text, backupName)...))}, nil
}

// readBackup opens a blob that backupKey made.
func (s *Service) readBackup(blob []byte) (backup, error) {
	refusal := badParameter("The value of the backup is invalid: it was not made by this lab, or has been changed.")
	sealed, marked := bytes.CutPrefix(blob, []byte(backupMark))
	if !marked {
		return backup{}, refusal
	}
	text, err := s.Sealer.Open(sealed, backupName)
	if err != nil {
		return backup{}, refusal
	}
	var b backup
	if err := json.Unmarshal(text, &b); err != nil || len(b.Key.Versions) == 0 {
		return backup{}, refusal
	}
	for _, version := range b.Key.Versions {
		if _, err := x509.ParsePKCS8PrivateKey(b.Material[version.ID]); err != nil {
			return backup{}, refusal
		}
	}
	return b, nil
}

// restoreKey puts a key from a backup into the vault, with all versions and
// attributes as they were. It does not go over a key that is there.
func (s *Service) restoreKey(c *call) (any, error) {
	var request struct {
		Value base64url `json:"value"`
	}
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	b, err := s.readBackup(request.Value)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(b.Subscription, c.vault.Subscription) || b.Geography != geographyOf(c.vault.Location) {
		return nil, badParameter("The backup was made in another subscription or geography than the one of vault '%s'.", c.vault.described())
	}
	key := b.Key
	for i, version := range key.Versions {
		if version.isHSM() && !c.vault.premium() {
			return nil, badParameter("HSM-protected keys need a vault of the premium sku; vault '%s' is of the standard sku.", c.vault.Name)
		}
		key.Versions[i].Sealed = s.Sealer.Seal(b.Material[version.ID], sealName(c.vault.Name, key.Name, version.ID))
	}
	c.target.key = key.Name
	err = s.changeKey(c, func(tx *store.Tx, found bool, record *keyRecord) error {
		if found {
			return &dataError{Status: http.StatusConflict, Code: "Conflict", Message: "Key " + key.Name + " already exists in this key vault, and cannot be restored over."}
		}
		*record = key
		return s.planRotation(tx, c.vault.Name, key)
	})
	if err != nil {
		return nil, err
	}
	return c.keyBody(key, key.latest()), nil
}
