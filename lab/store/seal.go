package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Sealer encrypts secrets at rest (vault key material, client secrets,
// signing keys) under the lab's root key with AES-256-GCM. It is safe for
// concurrent use.
type Sealer struct{ aead cipher.AEAD }

const rootKeySize = 32

// OpenSealer reads the root key at path; where there is none it makes one
// that only the owner may read.
func OpenSealer(path string) (*Sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeRootKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("lab root key: %w", err)
	}
	if len(key) != rootKeySize {
		return nil, fmt.Errorf("lab root key %s: %d bytes, want %d", path, len(key), rootKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("lab root key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("lab root key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

func makeRootKey(path string) ([]byte, error) {
	key := make([]byte, rootKeySize)
	if _, err := io.ReadFull(rand.Reader, key); err != nil {
		return nil, err
	}
	return key, WriteFile(path, key)
}

// Seal encrypts secret; what it belongs to is bound in as associated data, so
// that a sealed value cannot be moved to another record.
func (s *Sealer) Seal(secret []byte, belongsTo string) []byte {
	return s.aead.Seal(nil, nil, secret, []byte(belongsTo))
}

// Open decrypts what Seal made for the same belongsTo; anything else is an
// error.
func (s *Sealer) Open(sealed []byte, belongsTo string) ([]byte, error) {
	secret, err := s.aead.Open(nil, nil, sealed, []byte(belongsTo))
	if err != nil {
		return nil, fmt.Errorf("open sealed secret of %s: %w", belongsTo, err)
	}
	return secret, nil
}

// WriteFile writes a file that is either wholly there or not at all, also
// after a crash: temporary file, fsync, rename, fsync of the folder. Only the
// owner may read it.
func WriteFile(path string, data []byte) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(path)
}
