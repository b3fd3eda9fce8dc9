package keyvault

import (
	"crypto"
	"slices"
	"strings"
)

// cryptRequest is the body of the cryptographic operations.
type cryptRequest struct {
	Alg    string    `json:"alg"`
	Value  base64url `json:"value"`
	Digest base64url `json:"digest"` // of verify, whose value is the signature
}

type cryptResult struct {
	KID   string `json:"kid"`
	Value string `json:"value"`
}

type verifyResult struct {
	Value bool `json:"value"`
}

// prepare reads the body of a cryptographic operation and gives the version
// that is to carry it out.
func (c *call) prepare(s *Service) (cryptRequest, keyVersion, error) {
	var request cryptRequest
	if err := c.decode(&request); err != nil {
		return request, keyVersion{}, err
	}
	version, err := c.live()
	if err != nil {
		return request, keyVersion{}, err
	}
	if err := version.allow(s.operations[c.target.op].permission, c); err != nil {
		return request, keyVersion{}, err
	}
	if request.Alg == "" {
		return request, keyVersion{}, badParameter("Property alg is required.")
	}
	if len(request.Value) == 0 {
		return request, keyVersion{}, badParameter("Property value is required.")
	}
	return request, version, nil
}

// allow refuses operations that the version's attributes rule out. Outside its
// dates a key still decrypts, unwraps and verifies, so that what it has
// protected can be recovered.
// Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#date-time-controlled-operations
func (v keyVersion) allow(op string, c *call) error {
	if !v.Enabled {
		return forbidden("KeyDisabled", "Operation %s is not allowed on a disabled key.", op)
	}
	if recovers := op == "decrypt" || op == "unwrapKey" || op == "verify"; !recovers {
		switch v.usableAt(c.now) {
		case "expired":
			return forbidden("KeyExpired", "Operation %s is not allowed on an expired key.", op)
		case "not yet valid":
			return forbidden("KeyNotYetValid", "Operation %s is not allowed on a key that is not yet valid.", op)
		}
	}
	if !slices.Contains(v.Ops, op) {
		return forbidden("KeyOperationForbidden", "Operation %s is not permitted on this key.", op)
	}
	return nil
}

// incompatible is the refusal of an algorithm that the key's type has not.
func (c *call) incompatible(version keyVersion, algorithm, needs string) error {
	return badParameter("Key and signing algorithm are incompatible. Key %s is of type '%s', and algorithm '%s' can only be used with a key of type '%s'.",
		c.kid(c.key.Name, version.ID), version.Kty, algorithm, needs)
}

// encrypt does encrypt and wrapKey, which differ only in the permission that
// they ask for.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/wrap-key/wrap-key
func (s *Service) encrypt(c *call) (any, error) {
	return s.transform(c, encryptRSA)
}

// decrypt does decrypt and unwrapKey.
func (s *Service) decrypt(c *call) (any, error) {
	return s.transform(c, decryptRSA)
}

func (s *Service) transform(c *call, do func(crypto.Signer, string, []byte) ([]byte, error)) (any, error) {
	request, version, err := c.prepare(s)
	if err != nil {
		return nil, err
	}
	if version.family() != ktyRSA {
		return nil, c.incompatible(version, request.Alg, ktyRSA)
	}
	private, err := s.private(c.keyView, version)
	if err != nil {
		return nil, err
	}
	result, err := do(private, request.Alg, request.Value)
	if err != nil {
		return nil, err
	}
	return cryptResult{KID: c.kid(c.key.Name, version.ID), Value: encode(result)}, nil
}

// sign signs a digest.
func (s *Service) sign(c *call) (any, error) {
	request, version, err := c.prepare(s)
	if err != nil {
		return nil, err
	}
	private, algorithm, err := s.signing(c, version, request.Alg, request.Value)
	if err != nil {
		return nil, err
	}
	signature, err := algorithm.sign(private, request.Value)
	if err != nil {
		return nil, err
	}
	return cryptResult{KID: c.kid(c.key.Name, version.ID), Value: encode(signature)}, nil
}

// verify checks a signature over a digest.
func (s *Service) verify(c *call) (any, error) {
	request, version, err := c.prepare(s)
	if err != nil {
		return nil, err
	}
	private, algorithm, err := s.signing(c, version, request.Alg, request.Digest)
	if err != nil {
		return nil, err
	}
	return verifyResult{Value: algorithm.verify(private.Public(), request.Digest, request.Value)}, nil
}

// signing gives the key and the algorithm of a signature, checked against one
// another and against the digest.
func (s *Service) signing(c *call, version keyVersion, name string, digest []byte) (crypto.Signer, signature, error) {
	algorithm, err := findSignature(name)
	if err != nil {
		return nil, signature{}, err
	}
	if version.family() != algorithm.family() {
		return nil, signature{}, c.incompatible(version, name, algorithm.family())
	}
	if algorithm.curve != "" && algorithm.curve != version.Public.Crv {
		return nil, signature{}, badParameter("Algorithm '%s' can only be used with a key of curve '%s', and key %s is of curve '%s'.",
			name, algorithm.curve, c.kid(c.key.Name, version.ID), version.Public.Crv)
	}
	if size := algorithm.hash.Size(); len(digest) != size {
		return nil, signature{}, badParameter("Invalid length of 'value': %d bytes. %s requires %d bytes, encoded with base64url.", len(digest), strings.ToUpper(name), size)
	}
	private, err := s.private(c.keyView, version)
	return private, algorithm, err
}
