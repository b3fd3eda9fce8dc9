package engine

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
)

// checkText is what a wrapped DEK's Check says when it is opened with the right key.
const checkText = "crosskeys database encryption key"

// dek is a database encryption key in use.
type dek struct {
	id   string
	tag  uint32
	key  []byte
	aead cipher.AEAD
}

func newDEK(id string, key []byte) (*dek, error) {
	if id == "" || len(id) > 255 {
		return nil, fmt.Errorf("a database encryption key needs an id of 1 to 255 bytes, not %d", len(id))
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("a database encryption key has %d bytes, not %d", keySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	return &dek{id: id, tag: keyTag(id), key: key, aead: aead}, nil
}

// keyTag is what a slot says of the DEK under which it is sealed. 0 is kept for plain slots.
func keyTag(id string) uint32 {
	h := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint32(h[:]) | 1
}

// makeCheck seals the known text.
func (k *dek) makeCheck(random io.Reader) ([]byte, error) {
	nonce := make([]byte, nonceSize, nonceSize+len(checkText)+tagSize)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return k.aead.Seal(nonce, nonce, []byte(checkText), []byte("check:"+k.id)), nil
}

// checks reports whether the key opens the known text.
func (k *dek) checks(check []byte) bool {
	if len(check) < nonceSize {
		return false
	}
	text, err := k.aead.Open(nil, check[:nonceSize], check[nonceSize:], []byte("check:"+k.id))
	return err == nil && string(text) == checkText
}

// GenerateDEK makes the bytes of a new DEK.
func GenerateDEK(random io.Reader) ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("generating a database encryption key: %w", err)
	}
	return key, nil
}

// keyring holds the DEKs that are in memory, by tag.
type keyring struct {
	mu   sync.RWMutex
	keys map[uint32]*dek
}

func (r *keyring) byTag(tag uint32) *dek {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[tag]
}

func (r *keyring) byID(id string) *dek {
	if k := r.byTag(keyTag(id)); k != nil && k.id == id {
		return k
	}
	return nil
}

// add takes the key over: it is cleared when a key of that id is there already.
func (r *keyring) add(k *dek) (*dek, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.keys[k.tag]; ok {
		same := subtle.ConstantTimeCompare(old.key, k.key) == 1
		clear(k.key)
		if old.id != k.id || !same {
			return nil, fmt.Errorf("database encryption keys %s and %s cannot be told apart: %w", old.id, k.id, ErrWrongKey)
		}
		return old, nil
	}
	if r.keys == nil {
		r.keys = map[uint32]*dek{}
	}
	r.keys[k.tag] = k
	return k, nil
}

// clear zeroes the keys. What the cipher made of them goes with the garbage collector, out of our reach.
func (r *keyring) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		clear(k.key)
	}
	r.keys = nil
}

// unwrap opens a wrapped DEK through the opener, checks it, and keeps it.
func (r *keyring) unwrap(ctx context.Context, open Opener, w WrappedDEK) error {
	if open == nil {
		return &KeyError{Thumbprint: w.Thumbprint, Err: errors.New("no opener given")}
	}
	key, err := open(ctx, w)
	if err != nil {
		return &KeyError{Thumbprint: w.Thumbprint, Err: err}
	}
	k, err := newDEK(w.ID, append([]byte(nil), key...))
	clear(key)
	if err != nil {
		return &KeyError{Thumbprint: w.Thumbprint, Err: err}
	}
	if !k.checks(w.Check) {
		clear(k.key)
		return &KeyError{Thumbprint: w.Thumbprint, Err: ErrWrongKey}
	}
	_, err = r.add(k)
	return err
}
