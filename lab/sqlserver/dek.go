package sqlserver

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/store"
)

// dekSize is the size of a DEK in bytes: AES-256.
const dekSize = 32

// newDEK makes a DEK and has it wrapped by the server's protector. The caller
// clears its key.
func (s *Service) newDEK(ctx context.Context, server Server) (*engine.PlainDEK, error) {
	plain := make([]byte, dekSize)
	if _, err := io.ReadFull(s.Random, plain); err != nil {
		return nil, fmt.Errorf("make database encryption key: %w", err)
	}
	now := s.Clock.Now()
	wrapped, err := s.wrapDEK(ctx, server, plain, engine.WrappedDEK{ID: s.NewID(), CreatedAt: now})
	if err != nil {
		clear(plain)
		return nil, err
	}
	return &engine.PlainDEK{Wrapped: wrapped, Key: plain}, nil
}

func dekCipher(plain []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(plain)
	if err != nil {
		return nil, fmt.Errorf("database encryption key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// wrapDEK wraps plain, the key that dek names, by the server's protector, as
// the server's identity.
func (s *Service) wrapDEK(ctx context.Context, server Server, plain []byte, dek engine.WrappedDEK) (engine.WrappedDEK, error) {
	dek.KeyURI, dek.ServiceOf, dek.SetAt = server.Protector.URI, "", s.Clock.Now()
	var err error
	if dek.KeyURI == "" {
		dek.ServiceOf, dek.Thumbprint = server.key(), server.ServiceThumbprint
		dek.Wrapped, err = s.sealWithServiceKey(server, plain)
		return dek, err
	}
	principal, err := s.principalOf(server)
	if err != nil {
		return dek, err
	}
	if dek.Wrapped, err = s.Vault.Wrap(ctx, principal, dek.KeyURI, plain); err != nil {
		return dek, s.keyRefusal(server, dek.KeyURI, err)
	}
	key, err := s.registeredKey(server, server.Protector.KeyName)
	dek.Thumbprint = key.Thumbprint
	return dek, err
}

// openDEK unwraps as the server's identity. That the result is the database's
// key, the engine makes sure of. The caller clears it when done with it.
func (s *Service) openDEK(ctx context.Context, server Server, dek engine.WrappedDEK) ([]byte, error) {
	if dek.KeyURI == "" {
		return s.openWithServiceKey(dek)
	}
	return s.unwrapAs(ctx, server, dek)
}

// openFor is the instances' Opener.
func (s *Service) openFor(ctx context.Context, server string, dek engine.WrappedDEK) ([]byte, error) {
	record, err := s.readServer(server)
	if err != nil {
		return nil, err
	}
	return s.openDEK(ctx, record, dek)
}

// unwrapAs unwraps through a key that is registered on the server: the very
// key that wrapped, or any usable one of the same material in another vault.
// The error is that of the first key.
func (s *Service) unwrapAs(ctx context.Context, server Server, dek engine.WrappedDEK) ([]byte, error) {
	principal, err := s.principalOf(server)
	if err != nil {
		return nil, err
	}
	keys, err := s.keysThatOpen(server, dek.KeyURI, dek.Thumbprint)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, serverKeyMissing(server, dek.KeyURI)
	}
	var refusal error
	for _, key := range keys {
		plain, err := s.Vault.Unwrap(ctx, principal, key.URI, dek.Wrapped)
		if err == nil {
			return plain, nil
		}
		if refusal == nil {
			refusal = s.keyRefusal(server, key.URI, err)
		}
	}
	return nil, refusal
}

// keysThatOpen are the keys registered on the server that can open what uri
// wrapped: that key alone where it is registered, else all of its material.
func (s *Service) keysThatOpen(server Server, uri, thumbprint string) (same []ServerKey, err error) {
	var keys []ServerKey
	err = s.Store.View(func(tx *store.Tx) (err error) {
		keys, err = s.keysOf(tx, server.Name)
		return err
	})
	for _, key := range keys {
		if strings.EqualFold(key.URI, uri) {
			return []ServerKey{key}, err
		}
		if key.Thumbprint == thumbprint {
			same = append(same, key)
		}
	}
	return same, err
}

// probeAny probes keys until one works. The error is that of the first key.
func (s *Service) probeAny(ctx context.Context, server Server, keys []ServerKey) error {
	var refusal error
	for _, key := range keys {
		err := s.probeKey(ctx, server, key.URI)
		if err == nil {
			return nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	return refusal
}

func (s *Service) registeredKey(server Server, name string) (key ServerKey, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		key, found, err = s.keys.Get(tx, keyKey(server.Name, name))
		if err == nil && !found {
			err = serverKeyMissing(server, name)
		}
		return err
	})
	return key, err
}

// sealWithServiceKey stands for wrapping by the server's built-in certificate.
func (s *Service) sealWithServiceKey(server Server, plain []byte) ([]byte, error) {
	aead, err := s.serviceCipher(server)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(server.key())), nil
}

func (s *Service) openWithServiceKey(dek engine.WrappedDEK) ([]byte, error) {
	var server Server
	err := s.Store.View(func(tx *store.Tx) error {
		found := false
		var err error
		if server, found, err = s.servers.Get(tx, dek.ServiceOf); err != nil || found {
			return err
		}
		server, _, err = s.retired.Get(tx, dek.ServiceOf)
		return err
	})
	if err != nil {
		return nil, err
	}
	aead, err := s.serviceCipher(server)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, dek.Wrapped, []byte(server.key()))
	if err != nil {
		return nil, fmt.Errorf("unwrap with the built-in certificate of %s: %w", server.Name, err)
	}
	return plain, nil
}

func (s *Service) serviceCipher(server Server) (cipher.AEAD, error) {
	key, err := s.Sealer.Open(server.ServiceKey, serviceKeyOwner(server))
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return dekCipher(key)
}

func serviceKeyOwner(server Server) string { return "built-in certificate of " + server.key() }

func bodyOf(response *http.Response) ([]byte, error) { return runtime.Payload(response) }
