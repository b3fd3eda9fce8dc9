package lab

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/crosskeys/crosskeys/lab/store"
)

// Java reads no PEM: its clients get the certificate authority as a PKCS #12
// trust store. The password protects nothing; Java insists on one.
const (
	trustStoreFile     = "ca.p12"
	trustStorePassword = "changeit"
)

// writeTrustStore puts the trust store beside the authority, where it is not
// there yet.
func (l *Lab) writeTrustStore() error {
	path := filepath.Join(l.dir, trustStoreFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	block, _ := pem.Decode(l.ca.PEM())
	if block == nil {
		return errors.New("trust store: the certificate authority is not PEM")
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	text, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{authority}, trustStorePassword)
	if err != nil {
		return fmt.Errorf("trust store: %w", err)
	}
	return store.WriteFile(path, text)
}
