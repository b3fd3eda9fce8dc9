package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is defined as a SHA-1 thumbprint; it names the key and protects nothing
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	signingKeyBits  = 2048
	signingKeyName  = "token signing key"
	signingKeyYears = 10
)

// keyRecord is the signing key as it is kept.
type keyRecord struct {
	Sealed      []byte // PKCS #8
	Certificate []byte // self-signed, DER
}

// signingKey signs the tenant's tokens. As in Entra ID, its kid is the
// thumbprint of its certificate.
type signingKey struct {
	private     *rsa.PrivateKey
	certificate []byte
	id          string
}

// signingKey gives the key, reading it or making it when it is asked for
// first; until then callers wait. A failure is not kept: the next caller
// tries again.
func (s *Service) signingKey() (*signingKey, error) {
	if key := s.key.Load(); key != nil {
		return key, nil
	}
	s.making.Lock()
	defer s.making.Unlock()
	if key := s.key.Load(); key != nil {
		return key, nil
	}
	key, err := s.readSigningKey()
	if err == nil && key == nil {
		key, err = s.makeSigningKey()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", signingKeyName, err)
	}
	s.key.Store(key)
	return key, nil
}

// readSigningKey gives the kept key, or nil when there is none yet.
func (s *Service) readSigningKey() (*signingKey, error) {
	var record keyRecord
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		record, found, err = s.keys.Get(tx, signingKeyName)
		return err
	})
	if err != nil || !found {
		return nil, err
	}
	encoded, err := s.Sealer.Open(record.Sealed, signingKeyName)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("kept as %T, want an RSA key", parsed)
	}
	return &signingKey{private: private, certificate: record.Certificate, id: thumbprint(record.Certificate)}, nil
}

func (s *Service) makeSigningKey() (*signingKey, error) {
	generate := s.NewRSA
	if generate == nil {
		generate = func(bits int) (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, bits) }
	}
	private, err := generate(signingKeyBits)
	if err != nil {
		return nil, err
	}
	certificate, err := selfSigned(private, s.Clock.Now())
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	record := keyRecord{Sealed: s.Sealer.Seal(encoded, signingKeyName), Certificate: certificate}
	err = s.Store.Update(func(tx *store.Tx) error { return s.keys.Put(tx, signingKeyName, record) })
	if err != nil {
		return nil, err
	}
	return &signingKey{private: private, certificate: certificate, id: thumbprint(certificate)}, nil
}

// selfSigned makes the certificate that the key is published with. Nobody
// checks its dates.
func selfSigned(key *rsa.PrivateKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    now.Add(-24 * time.Hour), NotAfter: now.AddDate(signingKeyYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

func thumbprint(certificate []byte) string {
	sum := sha1.Sum(certificate) //nolint:gosec // see the import
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// jwk is the public key as the discovery/keys endpoints publish it.
// Source: https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-signature
type jwk struct {
	KeyType      string   `json:"kty"`
	Use          string   `json:"use"`
	ID           string   `json:"kid"`
	Thumbprint   string   `json:"x5t"`
	Modulus      string   `json:"n"`
	Exponent     string   `json:"e"`
	Certificates []string `json:"x5c"`
	Issuer       string   `json:"issuer,omitempty"`
}

func (k *signingKey) public(issuer string) jwk {
	return jwk{
		KeyType: "RSA", Use: "sig", ID: k.id, Thumbprint: k.id,
		Modulus:      base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
		Exponent:     base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		Certificates: []string{base64.StdEncoding.EncodeToString(k.certificate)},
		Issuer:       issuer,
	}
}
