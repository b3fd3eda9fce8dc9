package keyvault

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// PlantKey puts an RSA key of 2048 bits with a given version into a vault that
// stands. No client can choose a version, so a starting point that is known
// by its key ids needs this. A version that is there already is left alone.
func (s *Service) PlantKey(vaultName, name, version string) error {
	private, err := s.pool.take(defaultRSASize)
	if err != nil {
		return err
	}
	sealed, err := s.seal(private, vaultName, name, version)
	if err != nil {
		return err
	}
	ops, err := opsFor(ktyRSA, nil)
	if err != nil {
		return err
	}
	now := s.Clock.Now().Unix()
	planted := keyVersion{ID: version, Kty: ktyRSA, Ops: ops, Public: publicOf(private), Enabled: true, Created: now, Updated: now, Sealed: sealed}
	return s.Store.Update(func(tx *store.Tx) error {
		v, found, err := s.vaults.Get(tx, strings.ToLower(vaultName))
		if err == nil && !found {
			err = fmt.Errorf("plant key %s: there is no vault %s", name, vaultName)
		}
		if err != nil {
			return err
		}
		key, _, err := s.keys.Get(tx, keyID(v.Name, name))
		if err != nil {
			return err
		}
		if _, there := key.find(version); there {
			return nil
		}
		key.Name = name
		key.Versions = append(key.Versions, planted)
		return s.saveKey(tx, v.Name, key)
	})
}
