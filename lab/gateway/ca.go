package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 5280's way to make key identifiers; it protects nothing
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	caFile, caKeyFile = "ca.pem", "ca.key"
	caYears           = 20
	leafLife          = 397 * 24 * time.Hour // the longest that TLS clients accept
	leafMargin        = 7 * 24 * time.Hour   // before its end a certificate is made anew
	maxLeaves         = 1024
)

// CA is the lab's certificate authority. It makes certificates for the names
// that the lab serves, and for no others. It is safe for concurrent use.
type CA struct {
	path        string
	now         func() time.Time
	certificate *x509.Certificate
	encoded     []byte // the certificate in PEM
	key         *ecdsa.PrivateKey
	leafKey     *ecdsa.PrivateKey // of all leaves; it lives as long as the process

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// OpenCA reads the authority in the folder dir (ca.pem, ca.key), making it
// where there is none; only the owner may read the files. now is the machine's
// clock and not the lab's, since that is what TLS clients check dates on.
func OpenCA(dir string, now func() time.Time) (*CA, error) {
	ca := &CA{path: filepath.Join(dir, caFile), now: now, leaves: map[string]*tls.Certificate{}}
	var err error
	if ca.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	ca.encoded, err = os.ReadFile(ca.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = ca.create(filepath.Join(dir, caKeyFile))
	} else if err == nil {
		err = ca.load(filepath.Join(dir, caKeyFile))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	return ca, nil
}

// create makes the authority. The key is written first: a certificate on disk
// always has its key beside it.
func (ca *CA) create(keyPath string) error {
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	identifier, err := keyIdentifier(ca.key)
	if err != nil {
		return err
	}
	now := ca.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "crosskeys lab CA " + now.UTC().Format(time.DateOnly), Organization: []string{"crosskeys lab"}},
		NotBefore:    now.Add(-48 * time.Hour), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:     x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: identifier, AuthorityKeyId: identifier,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		return err
	}
	if ca.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return err
	}
	if err := store.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})); err != nil {
		return err
	}
	ca.encoded = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return store.WriteFile(ca.path, ca.encoded)
}

func (ca *CA) load(keyPath string) error {
	block, _ := pem.Decode(ca.encoded)
	if block == nil {
		return fmt.Errorf("%s holds no certificate", caFile)
	}
	var err error
	if ca.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("%s: %w", caFile, err)
	}
	text, err := os.ReadFile(keyPath)
	if err != nil {
		return err
	}
	if block, _ = pem.Decode(text); block == nil {
		return fmt.Errorf("%s holds no key", caKeyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", caKeyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(ca.certificate.PublicKey) {
		return fmt.Errorf("%s is not the key of %s", caKeyFile, caFile)
	}
	ca.key = key
	return nil
}

// PEM is the authority's certificate, for clients to trust.
func (ca *CA) PEM() []byte { return ca.encoded }

// Path is the file that holds it.
func (ca *CA) Path() string { return ca.path }

// Pool is a pool of this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// GetCertificate is for tls.Config: it gives the certificate of the name that
// a client asks for, or that of localhost when it names none. A name that the
// lab does not serve is an error.
func (ca *CA) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	if name == "" || isLocal(name) {
		name = "localhost"
	}
	if !Served(name) {
		return nil, fmt.Errorf("no certificate for %q: the lab does not serve it", name)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if leaf := ca.leaves[name]; leaf != nil && ca.now().Before(leaf.Leaf.NotAfter.Add(-leafMargin)) {
		return leaf, nil
	}
	leaf, err := ca.mint(name)
	if err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", name, err)
	}
	if len(ca.leaves) >= maxLeaves {
		clear(ca.leaves)
	}
	ca.leaves[name] = leaf
	return leaf, nil
}

func (ca *CA) mint(name string) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	identifier, err := keyIdentifier(ca.leafKey)
	if err != nil {
		return nil, err
	}
	now := ca.now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(leafLife),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId: identifier, AuthorityKeyId: ca.certificate.SubjectKeyId,
	}
	if name == "localhost" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, ca.leafKey.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.certificate.Raw}, PrivateKey: ca.leafKey, Leaf: leaf}, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// keyIdentifier is the first method of RFC 5280, section 4.2.1.2.
func keyIdentifier(key *ecdsa.PrivateKey) ([]byte, error) {
	point, err := key.PublicKey.ECDH()
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(point.Bytes()) //nolint:gosec // see the import
	return sum[:], nil
}
