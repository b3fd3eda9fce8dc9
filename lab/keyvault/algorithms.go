package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSA-OAEP is defined with SHA-1
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512 of the signature algorithms
	"fmt"
	"hash"
	"math/big"
	"strings"
)

// oaepHash is the hash of an OAEP algorithm; nil for RSA1_5.
// Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#wrapkeyunwrapkey-encryptdecrypt
func oaepHash(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "RSA1_5":
		return nil, nil
	case "RSA-OAEP":
		return sha1.New(), nil //nolint:gosec // see the import
	case "RSA-OAEP-256":
		return sha256.New(), nil
	}
	return nil, badParameter("The algorithm '%s' is invalid for an RSA key: it must be RSA1_5, RSA-OAEP or RSA-OAEP-256.", algorithm)
}

func rsaKeyOf(private crypto.Signer) (*rsa.PrivateKey, error) {
	key, ok := private.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("stored as RSA, but it is a %T", private)
	}
	return key, nil
}

// pkcs1Overhead is what RSA1_5 adds to what it encrypts, in bytes.
const pkcs1Overhead = 11

func encryptRSA(private crypto.Signer, algorithm string, value []byte) ([]byte, error) {
	key, err := rsaKeyOf(private)
	if err != nil {
		return nil, err
	}
	digest, err := oaepHash(algorithm)
	if err != nil {
		return nil, err
	}
	room := key.Size() - pkcs1Overhead
	if digest != nil {
		room = key.Size() - 2*digest.Size() - 2
	}
	if len(value) > room {
		return nil, badParameter("Invalid length of 'value': %d bytes. %s with a key of %d bits can encrypt at most %d bytes.", len(value), algorithm, key.N.BitLen(), room)
	}
	var result []byte
	if digest == nil {
		//lint:ignore SA1019 RSA1_5 is the service's, safe or not
		result, err = rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, value) //nolint:staticcheck // see above
	} else {
		result, err = rsa.EncryptOAEP(digest, rand.Reader, &key.PublicKey, value, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt with %s: %w", algorithm, err)
	}
	return result, nil
}

func decryptRSA(private crypto.Signer, algorithm string, value []byte) ([]byte, error) {
	key, err := rsaKeyOf(private)
	if err != nil {
		return nil, err
	}
	digest, err := oaepHash(algorithm)
	if err != nil {
		return nil, err
	}
	if len(value) != key.Size() {
		return nil, badParameter("Invalid length of 'value': %d bytes. %s with a key of %d bits requires %d bytes, encoded with base64url.",
			len(value), algorithm, key.N.BitLen(), key.Size())
	}
	var result []byte
	if digest == nil {
		//lint:ignore SA1019 RSA1_5 is the service's, safe or not
		result, err = rsa.DecryptPKCS1v15(nil, key, value) //nolint:staticcheck // see above
	} else {
		result, err = rsa.DecryptOAEP(digest, nil, key, value, nil)
	}
	if err != nil {
		return nil, badParameter("The value could not be decrypted with this key and algorithm '%s'.", algorithm)
	}
	return result, nil
}

// signature is a signature algorithm.
type signature struct {
	name  string
	hash  crypto.Hash
	curve string // of ES algorithms
}

// findSignature finds an algorithm by its JWA name.
// Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#signverify
func findSignature(name string) (signature, error) {
	switch name {
	case "RS256", "PS256":
		return signature{name: name, hash: crypto.SHA256}, nil
	case "RS384", "PS384":
		return signature{name: name, hash: crypto.SHA384}, nil
	case "RS512", "PS512":
		return signature{name: name, hash: crypto.SHA512}, nil
	case "ES256":
		return signature{name: name, hash: crypto.SHA256, curve: "P-256"}, nil
	case "ES384":
		return signature{name: name, hash: crypto.SHA384, curve: "P-384"}, nil
	case "ES512":
		return signature{name: name, hash: crypto.SHA512, curve: "P-521"}, nil
	case "ES256K", "RSNULL":
		return signature{}, notSupported("The algorithm '%s' is not supported by the lab's vaults.", name)
	}
	return signature{}, badParameter("The signature algorithm '%s' is invalid.", name)
}

func (a signature) family() string {
	if a.curve != "" {
		return ktyEC
	}
	return ktyRSA
}

func (a signature) isPSS() bool { return strings.HasPrefix(a.name, "PS") }

func (a signature) pss() *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
}

func (a signature) sign(private crypto.Signer, digest []byte) ([]byte, error) {
	switch key := private.(type) {
	case *rsa.PrivateKey:
		if a.isPSS() {
			return rsa.SignPSS(rand.Reader, key, a.hash, digest, a.pss())
		}
		return rsa.SignPKCS1v15(nil, key, a.hash, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", a.name, err)
		}
		size := curveBytes(key.Curve)
		both := make([]byte, 2*size)
		r.FillBytes(both[:size])
		s.FillBytes(both[size:])
		return both, nil
	}
	return nil, fmt.Errorf("sign with %s: key is a %T", a.name, private)
}

func (a signature) verify(public crypto.PublicKey, digest, signed []byte) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if a.isPSS() {
			return rsa.VerifyPSS(key, a.hash, digest, signed, a.pss()) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signed) == nil
	case *ecdsa.PublicKey:
		size := curveBytes(key.Curve)
		if len(signed) != 2*size {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signed[:size]), new(big.Int).SetBytes(signed[size:]))
	}
	return false
}
