package entra

import (
	"crypto/sha256"
	"strings"
	"sync"
)

// Bounds of what is remembered, in tokens. Only tokens that the tenant signed
// get in, so nobody else can push them out.
const (
	maxVerified = 4096
	maxIssued   = 1024
)

// trustCache remembers tokens that were verified, by digest, and tokens that
// were given to managed identities. It is safe for concurrent use; the zero
// value is empty.
type trustCache struct {
	mu       sync.RWMutex
	deleted  uint64 // how many principals were forgotten
	verified map[[sha256.Size]byte]Claims
	issued   map[issuedKey]issued
}

type issuedKey struct{ objectID, audience string }

// generation is to be read before the store is; what was found there is kept
// only if no principal has been deleted since.
func (c *trustCache) generation() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.deleted
}

func (c *trustCache) findVerified(digest [sha256.Size]byte) (Claims, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	claims, found := c.verified[digest]
	return claims, found
}

func (c *trustCache) keepVerified(generation uint64, digest [sha256.Size]byte, claims Claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation == c.deleted {
		keep(&c.verified, maxVerified, digest, claims)
	}
}

func (c *trustCache) findIssued(objectID, audience string) (issued, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	given, found := c.issued[issuedKey{strings.ToLower(objectID), audience}]
	return given, found
}

func (c *trustCache) keepIssued(generation uint64, objectID string, given issued) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation == c.deleted {
		keep(&c.issued, maxIssued, issuedKey{strings.ToLower(objectID), given.Audience}, given)
	}
}

// forget drops all tokens of a principal that is no longer there.
func (c *trustCache) forget(objectID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted++
	for digest, claims := range c.verified {
		if strings.EqualFold(claims.ObjectID, objectID) {
			delete(c.verified, digest)
		}
	}
	for key := range c.issued {
		if strings.EqualFold(key.objectID, objectID) {
			delete(c.issued, key)
		}
	}
}

// keep puts an entry into a map of at most limit entries; an arbitrary one
// makes room.
func keep[K comparable, V any](entries *map[K]V, limit int, key K, value V) {
	if *entries == nil {
		*entries = map[K]V{}
	}
	if _, there := (*entries)[key]; !there && len(*entries) >= limit {
		for victim := range *entries {
			delete(*entries, victim)
			break
		}
	}
	(*entries)[key] = value
}
