package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// createRequest is the body of a key's creation.
type createRequest struct {
	Kty            string            `json:"kty"`
	KeySize        *int              `json:"key_size"`
	PublicExponent *int              `json:"public_exponent"`
	Crv            string            `json:"crv"`
	KeyOps         []string          `json:"key_ops"`
	Attributes     requestAttributes `json:"attributes"`
	Tags           map[string]string `json:"tags"`
	ReleasePolicy  *struct{}         `json:"release_policy"`
}

const (
	defaultRSASize  = 2048
	defaultExponent = 65537
)

// createKey makes a key, or a new version of one that is there.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/create-key/create-key
func (s *Service) createKey(c *call) (any, error) {
	var request createRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if c.keyFound && c.key.Deleted != nil {
		return nil, keyIsDeleted(c.key.Name)
	}
	version, err := s.draft(c, request.Kty, request.KeyOps, request.Attributes, request.Tags)
	if err != nil {
		return nil, err
	}
	if request.ReleasePolicy != nil {
		return nil, notSupported("Keys with a release policy are not supported by the lab's vaults.")
	}
	private, err := s.generate(request)
	if err != nil {
		return nil, err
	}
	return s.addVersion(c, version, private)
}

// generate makes the private key that a creation asks for.
func (s *Service) generate(request createRequest) (crypto.Signer, error) {
	if strings.HasPrefix(request.Kty, ktyEC) {
		curve, err := curveOf(request.Crv)
		if err != nil {
			return nil, err
		}
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generate EC key: %w", err)
		}
		return key, nil
	}
	size := *first(request.KeySize, new(defaultRSASize))
	if !isRSASize(size) {
		return nil, badParameter("The key size %d is invalid for an RSA key: it must be 2048, 3072 or 4096.", size)
	}
	if request.PublicExponent != nil && *request.PublicExponent != defaultExponent {
		return nil, notSupported("The public exponent %d is not supported: it must be %d.", *request.PublicExponent, defaultExponent)
	}
	return s.pool.take(size)
}

// importRequest is the body of a key's import.
type importRequest struct {
	HSM           *bool             `json:"hsm"`
	Key           *importJWK        `json:"key"`
	Attributes    requestAttributes `json:"attributes"`
	Tags          map[string]string `json:"tags"`
	ReleasePolicy *struct{}         `json:"release_policy"`
}

// importKey takes a key from outside, as a key of its own or as a new version
// of one that is there.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/import-key/import-key
func (s *Service) importKey(c *call) (any, error) {
	var request importRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if request.Key == nil {
		return nil, badParameter("Property key is required.")
	}
	if request.ReleasePolicy != nil {
		return nil, notSupported("Keys with a release policy are not supported by the lab's vaults.")
	}
	if c.keyFound && c.key.Deleted != nil {
		return nil, keyIsDeleted(c.key.Name)
	}
	kty := request.Key.Kty
	if isTrue(request.HSM) && kty != "" && !strings.HasSuffix(kty, "-HSM") {
		kty += "-HSM"
	}
	version, err := s.draft(c, kty, request.Key.KeyOps, request.Attributes, request.Tags)
	if err != nil {
		return nil, err
	}
	private, err := request.Key.private()
	if err != nil {
		return nil, err
	}
	return s.addVersion(c, version, private)
}

// draft is a new version without its material.
func (s *Service) draft(c *call, kty string, ops []string, attributes requestAttributes, tags map[string]string) (keyVersion, error) {
	if err := checkKty(kty); err != nil {
		return keyVersion{}, err
	}
	now := c.now.Unix()
	version := keyVersion{ID: s.newVersionID(), Kty: kty, Enabled: true, Created: now, Updated: now, Tags: tags}
	if version.isHSM() && !c.vault.premium() {
		return keyVersion{}, badParameter("HSM-protected keys need a vault of the premium sku; vault '%s' is of the standard sku.", c.vault.Name)
	}
	var err error
	if version.Ops, err = opsFor(kty, ops); err != nil {
		return keyVersion{}, err
	}
	if err := checkTags(tags); err != nil {
		return keyVersion{}, err
	}
	return version, attributes.set(&version)
}

// addVersion seals the material and puts the version behind those that the
// key has.
func (s *Service) addVersion(c *call, version keyVersion, private crypto.Signer) (any, error) {
	version.Public = publicOf(private)
	var key keyRecord
	err := s.changeKey(c, func(tx *store.Tx, found bool, record *keyRecord) error {
		if !found {
			record.Name = c.target.key
		}
		sealed, err := s.seal(private, c.vault.Name, record.Name, version.ID)
		if err != nil {
			return err
		}
		version.Sealed = sealed
		record.Versions = append(record.Versions, version)
		key = *record
		return s.planRotation(tx, c.vault.Name, key)
	})
	if err != nil {
		return nil, err
	}
	return c.keyBody(key, version), nil
}

// changeKey changes the target key in a transaction in which its vault still
// stands and the key is not deleted. A key that is not there is handed over
// empty.
func (s *Service) changeKey(c *call, change func(tx *store.Tx, found bool, key *keyRecord) error) error {
	return s.Store.Update(func(tx *store.Tx) error {
		key, found, err := s.lockKey(tx, c)
		if err != nil {
			return err
		}
		if found && key.Deleted != nil {
			return keyIsDeleted(key.Name)
		}
		if err := change(tx, found, &key); err != nil {
			return err
		}
		return s.saveKey(tx, c.vault.Name, key)
	})
}

// lockKey reads the target key inside a transaction that is to change it.
func (s *Service) lockKey(tx *store.Tx, c *call) (keyRecord, bool, error) {
	v, found, err := s.vaults.Get(tx, strings.ToLower(c.vault.Name))
	if err != nil {
		return keyRecord{}, false, err
	}
	if !found || v.Deleted != nil {
		return keyRecord{}, false, keyNotFound(c.target.key)
	}
	return s.keys.Get(tx, keyID(c.vault.Name, c.target.key))
}
