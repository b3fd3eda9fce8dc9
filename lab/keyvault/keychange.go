package keyvault

import (
	"slices"

	"github.com/crosskeys/crosskeys/lab/store"
)

type updateRequest struct {
	KeyOps        []string          `json:"key_ops"`
	Attributes    requestAttributes `json:"attributes"`
	Tags          map[string]string `json:"tags"`
	ReleasePolicy *struct{}         `json:"release_policy"`
}

// updateKey changes the attributes, operations and tags of one version; what
// the body does not name stays.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/update-key/update-key
func (s *Service) updateKey(c *call) (any, error) {
	var request updateRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	version, err := c.live()
	if err != nil {
		return nil, err
	}
	if request.ReleasePolicy != nil {
		return nil, notSupported("Keys with a release policy are not supported by the lab's vaults.")
	}
	if err := checkTags(request.Tags); err != nil {
		return nil, err
	}
	var key keyRecord
	err = s.changeKey(c, func(tx *store.Tx, found bool, record *keyRecord) error {
		at := slices.IndexFunc(record.Versions, func(v keyVersion) bool { return v.ID == version.ID })
		if !found || at < 0 {
			return keyNotFound(c.target.key)
		}
		version = record.Versions[at]
		if request.KeyOps != nil {
			if version.Ops, err = opsFor(version.Kty, request.KeyOps); err != nil {
				return err
			}
		}
		if request.Tags != nil {
			version.Tags = request.Tags
		}
		if err := request.Attributes.set(&version); err != nil {
			return err
		}
		version.Updated = c.now.Unix()
		record.Versions[at] = version
		key = *record
		return s.planRotation(tx, c.vault.Name, key)
	})
	if err != nil {
		return nil, err
	}
	return c.keyBody(key, version), nil
}

// deleteKey soft-deletes a key with all its versions.
func (s *Service) deleteKey(c *call) (any, error) {
	if _, err := c.live(); err != nil {
		return nil, err
	}
	var key keyRecord
	err := s.changeKey(c, func(tx *store.Tx, found bool, record *keyRecord) error {
		if !found {
			return keyNotFound(c.target.key)
		}
		record.Deleted = c.vault.deletedAt(c.now)
		key = *record
		return s.plan(tx, dueTask{At: record.Deleted.PurgeAt, Kind: purgesKey, Vault: c.vault.Name, Key: key.Name})
	})
	if err != nil {
		return nil, err
	}
	return c.deletedBody(key), nil
}

func (s *Service) getDeletedKey(c *call) (any, error) {
	if !c.keyFound || c.key.Deleted == nil {
		return nil, deletedKeyNotFound(c.target.key)
	}
	return c.deletedBody(c.key), nil
}

// recoverKey brings a soft-deleted key back as it was.
func (s *Service) recoverKey(c *call) (any, error) {
	var key keyRecord
	err := s.Store.Update(func(tx *store.Tx) error {
		record, found, err := s.lockKey(tx, c)
		if err != nil {
			return err
		}
		if !found || record.Deleted == nil {
			return deletedKeyNotFound(c.target.key)
		}
		record.Deleted = nil
		key = record
		if err := s.planRotation(tx, c.vault.Name, key); err != nil {
			return err
		}
		return s.saveKey(tx, c.vault.Name, key)
	})
	if err != nil {
		return nil, err
	}
	return c.keyBody(key, key.latest()), nil
}

// purgeKey deletes a soft-deleted key for good, unless the vault is protected
// from that.
// Source: https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview#purge-protection
func (s *Service) purgeKey(c *call) (any, error) {
	err := s.Store.Update(func(tx *store.Tx) error {
		record, found, err := s.lockKey(tx, c)
		if err != nil {
			return err
		}
		if !found || record.Deleted == nil {
			return deletedKeyNotFound(c.target.key)
		}
		if c.vault.purgeProtected() {
			return forbidden("", "Operation \"purge\" is not allowed because purge protection is enabled for this vault."+
				" Key Vault service will automatically purge it after the retention period has passed.\r\nVault: %s", c.vault.described())
		}
		return s.removeKey(tx, c.vault.Name, record.Name)
	})
	return nil, err
}
