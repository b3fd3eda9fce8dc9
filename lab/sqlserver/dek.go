package sqlserver

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/crosskeys/crosskeys/lab/store"
)

// DEK is a database encryption key as it lies at rest: wrapped, never in the
// clear. A geo-secondary holds its primary's record, still wrapped by the
// primary's protector.
type DEK struct {
	Wrapped []byte `json:"wrapped,omitempty"` // empty: the database has none
	// KeyURI names the customer-managed key that wraps; empty when the built-in
	// certificate of the server ServiceOf does.
	KeyURI     string    `json:"keyUri,omitempty"`
	ServiceOf  string    `json:"serviceOf,omitempty"`
	Thumbprint string    `json:"thumbprint,omitempty"`
	SetAt      time.Time `json:"setAt"`
	// Check is a known text sealed under the DEK: unwrapping to a wrong key is
	// noticed, never taken for the right one.
	Check []byte `json:"check,omitempty"`
}

const (
	dekSize   = 32 // bytes: AES-256
	checkText = "database encryption key"
)

// errWrongDEK is returned when what was unwrapped is not the database's key.
var errWrongDEK = errors.New("the unwrapped key does not open the database")

// newDEK makes a DEK and has it wrapped by the server's protector.
func (s *Service) newDEK(ctx context.Context, server Server) (DEK, error) {
	plain := make([]byte, dekSize)
	defer clear(plain)
	if _, err := io.ReadFull(s.Random, plain); err != nil {
		return DEK{}, fmt.Errorf("make database encryption key: %w", err)
	}
	aead, err := dekCipher(plain)
	if err != nil {
		return DEK{}, err
	}
	check := aead.Seal(nil, nil, []byte(checkText), nil)
	return s.wrapDEK(ctx, server, plain, check)
}

func dekCipher(plain []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(plain)
	if err != nil {
		return nil, fmt.Errorf("database encryption key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// wrapDEK wraps plain by the server's protector, as the server's identity.
func (s *Service) wrapDEK(ctx context.Context, server Server, plain, check []byte) (DEK, error) {
	dek := DEK{KeyURI: server.Protector.URI, SetAt: s.Clock.Now(), Check: check}
	if dek.KeyURI == "" {
		wrapped, err := s.sealWithServiceKey(server, plain)
		dek.Wrapped, dek.ServiceOf, dek.Thumbprint = wrapped, server.key(), server.ServiceThumbprint
		return dek, err
	}
	principal, err := s.principalOf(server)
	if err != nil {
		return DEK{}, err
	}
	if dek.Wrapped, err = s.Vault.Wrap(ctx, principal, dek.KeyURI, plain); err != nil {
		return DEK{}, s.keyRefusal(server, dek.KeyURI, err)
	}
	key, err := s.registeredKey(server, server.Protector.KeyName)
	dek.Thumbprint = key.Thumbprint
	return dek, err
}

// openDEK unwraps as the server's identity and makes sure that the result is
// the database's key. The caller clears the result when done with it.
func (s *Service) openDEK(ctx context.Context, server Server, dek DEK) ([]byte, error) {
	var plain []byte
	var err error
	if dek.KeyURI == "" {
		plain, err = s.openWithServiceKey(dek)
	} else {
		plain, err = s.unwrapAs(ctx, server, dek)
	}
	if err != nil {
		return nil, err
	}
	aead, err := dekCipher(plain)
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nil, dek.Check, nil)
	if err != nil || string(text) != checkText {
		clear(plain)
		return nil, errWrongDEK
	}
	return plain, nil
}

// unwrapAs unwraps through a key that is registered on the server: the very
// key that wrapped, or one of the same material in another vault.
func (s *Service) unwrapAs(ctx context.Context, server Server, dek DEK) ([]byte, error) {
	principal, err := s.principalOf(server)
	if err != nil {
		return nil, err
	}
	key, found, err := s.keyOfMaterial(server, dek.KeyURI, dek.Thumbprint)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, serverKeyMissing(server, dek.KeyURI)
	}
	plain, err := s.Vault.Unwrap(ctx, principal, key.URI, dek.Wrapped)
	if err != nil {
		return nil, s.keyRefusal(server, key.URI, err)
	}
	return plain, nil
}

// keyOfMaterial finds a key of the server that can open what uri wrapped.
func (s *Service) keyOfMaterial(server Server, uri, thumbprint string) (ServerKey, bool, error) {
	var keys []ServerKey
	err := s.Store.View(func(tx *store.Tx) (err error) {
		keys, err = s.keysOf(tx, server.Name)
		return err
	})
	var same ServerKey
	for _, key := range keys {
		if key.URI == uri {
			return key, true, err
		}
		if key.Thumbprint == thumbprint {
			same = key
		}
	}
	return same, same.URI != "", err
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

func (s *Service) openWithServiceKey(dek DEK) ([]byte, error) {
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
