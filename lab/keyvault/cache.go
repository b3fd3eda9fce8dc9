package keyvault

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// keyView is a vault and one of its keys as they were at one instant, with
// the private keys that have been opened since. Its records must not be
// changed: many calls share them.
type keyView struct {
	vault      vault
	vaultFound bool // and not deleted
	key        keyRecord
	keyFound   bool // perhaps deleted

	mu     sync.Mutex
	opened map[string]crypto.Signer // by version
}

// viewCache keeps views, so that a cryptographic operation costs little more
// than its cryptography. A view is good as long as nothing has been committed
// since: every commit moves the service's generation on, and a cache of
// another generation is emptied, opened private keys included. An answer that
// was given after a commit thus never comes from before it.
type viewCache struct {
	mu         sync.Mutex
	generation uint64
	views      map[string]*keyView
	next       *time.Time // when the first due task is due; nil: unknown
}

// maxViews bounds the cache; beyond it, it is emptied and fills anew.
const maxViews = 256

func newViewCache() *viewCache { return &viewCache{views: map[string]*keyView{}} }

// at empties the cache if it is of an older generation, and reports whether
// it is now of the one given. The lock is held.
func (c *viewCache) at(generation uint64) bool {
	if c.generation < generation {
		c.generation, c.next = generation, nil
		clear(c.views)
	}
	return c.generation == generation
}

func (c *viewCache) get(generation uint64, id string) *keyView {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at(generation) {
		return nil
	}
	return c.views[id]
}

// put keeps a view that was read when the generation was the one given.
func (c *viewCache) put(generation uint64, id string, view *keyView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at(generation) {
		return
	}
	if len(c.views) >= maxViews {
		clear(c.views)
	}
	c.views[id] = view
}

// view reads a vault, and a key of it unless the name is empty.
func (s *Service) view(vaultName, keyName string) (*keyView, error) {
	generation, id := s.generation.Load(), keyID(vaultName, keyName)
	if view := s.views.get(generation, id); view != nil {
		return view, nil
	}
	view := &keyView{}
	err := s.Store.View(func(tx *store.Tx) (err error) {
		view.vault, view.vaultFound, err = s.vaults.Get(tx, strings.ToLower(vaultName))
		view.vaultFound = view.vaultFound && view.vault.Deleted == nil
		if err != nil || keyName == "" {
			return err
		}
		view.key, view.keyFound, err = s.keys.Get(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.views.put(generation, id, view)
	return view, nil
}

// private opens the private key of a version.
func (s *Service) private(view *keyView, version keyVersion) (crypto.Signer, error) {
	view.mu.Lock()
	defer view.mu.Unlock()
	if key := view.opened[version.ID]; key != nil {
		return key, nil
	}
	key, err := s.open(view.vault.Name, view.key.Name, version)
	if err != nil {
		return nil, err
	}
	if view.opened == nil {
		view.opened = map[string]crypto.Signer{}
	}
	view.opened[version.ID] = key
	return key, nil
}

// open unseals a version's private key.
func (s *Service) open(vaultName, keyName string, version keyVersion) (crypto.Signer, error) {
	name := sealName(vaultName, keyName, version.ID)
	encoded, err := s.Sealer.Open(version.Sealed, name)
	if err != nil {
		return nil, err
	}
	defer clear(encoded)
	key, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode private key of %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of %s is a %T", name, key)
	}
	return signer, nil
}

// seal writes a private key for a version.
func (s *Service) seal(key crypto.Signer, vaultName, keyName, version string) ([]byte, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	defer clear(encoded)
	return s.Sealer.Seal(encoded, sealName(vaultName, keyName, version)), nil
}
