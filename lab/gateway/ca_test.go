package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/gateway"
)

func openCA(t *testing.T, dir string) *gateway.CA {
	t.Helper()
	ca, err := gateway.OpenCA(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func certificateFor(ca *gateway.CA, name string) (*tls.Certificate, error) {
	return ca.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
}

func TestCA(t *testing.T) {
	dir := t.TempDir()
	ca := openCA(t, dir)
	t.Run("its certificate is one that strict clients take", func(t *testing.T) {
		block, _ := pem.Decode(ca.PEM())
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !certificate.IsCA || !certificate.BasicConstraintsValid || certificate.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(certificate.SubjectKeyId) == 0 {
			t.Errorf("got %+v", certificate)
		}
		critical := map[string]bool{"2.5.29.19": false, "2.5.29.15": false} // basicConstraints, keyUsage
		for _, extension := range certificate.Extensions {
			if _, wanted := critical[extension.Id.String()]; wanted {
				critical[extension.Id.String()] = extension.Critical
			}
		}
		for id, is := range critical {
			if !is {
				t.Errorf("extension %s is not critical", id)
			}
		}
		if certificate.NotAfter.Before(time.Now().AddDate(10, 0, 0)) {
			t.Errorf("it ends on %s", certificate.NotAfter)
		}
	})
	t.Run("only the owner can read its files", func(t *testing.T) {
		for _, name := range []string{"ca.pem", "ca.key"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	})
	t.Run("it is the same after a restart", func(t *testing.T) {
		again := openCA(t, dir)
		if !bytes.Equal(again.PEM(), ca.PEM()) || again.Path() != filepath.Join(dir, "ca.pem") {
			t.Error("another authority")
		}
		leaf, err := certificateFor(again, "kv.vault.azure.net")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "kv.vault.azure.net"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a folder whose key is missing or another's is refused", func(t *testing.T) {
		other, broken := t.TempDir(), t.TempDir()
		openCA(t, other)
		if err := os.WriteFile(filepath.Join(broken, "ca.pem"), ca.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := gateway.OpenCA(broken, time.Now); err == nil {
			t.Error("a missing key was passed over")
		}
		key, err := os.ReadFile(filepath.Join(other, "ca.key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken, "ca.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := gateway.OpenCA(broken, time.Now); err == nil {
			t.Error("another's key was taken")
		}
	})
}

func TestCertificates(t *testing.T) {
	ca := openCA(t, t.TempDir())
	for _, name := range []string{"login.microsoftonline.com", "management.azure.com", "kv.vault.azure.net", "kv.vault.localhost", "KV.vault.azure.net", "localhost", "127.0.0.1"} {
		t.Run(name+" has one", func(t *testing.T) {
			leaf, err := certificateFor(ca, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name}); err != nil {
				t.Error(err)
			}
			if leaf.Leaf.IsCA || leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore) > 398*24*time.Hour || len(leaf.Leaf.AuthorityKeyId) == 0 {
				t.Errorf("got %+v", leaf.Leaf)
			}
		})
	}
	t.Run("a client that names nobody gets localhost's, addresses included", func(t *testing.T) {
		leaf, err := certificateFor(ca, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
			if err := leaf.Leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		if err := leaf.Leaf.VerifyHostname("management.azure.com"); err == nil {
			t.Error("it is good for another name too")
		}
	})
	for _, name := range []string{"example.com", "a.b.database.windows.net", "a.b.vault.azure.net", "vault.azure.net", "azure.com"} {
		t.Run(name+" has none", func(t *testing.T) {
			if leaf, err := certificateFor(ca, name); err == nil {
				t.Errorf("got one for %v", leaf.Leaf.DNSNames)
			}
		})
	}
	t.Run("a name's certificate is made once", func(t *testing.T) {
		first, err := certificateFor(ca, "once.vault.azure.net")
		if err != nil {
			t.Fatal(err)
		}
		if second, err := certificateFor(ca, "once.vault.azure.net"); err != nil || first != second {
			t.Errorf("another one, %v", err)
		}
	})
	t.Run("many names do not break the one that is asked for", func(t *testing.T) {
		for i := range 1100 {
			name := fmt.Sprintf("kv-%d.vault.azure.net", i)
			leaf, err := certificateFor(ca, name)
			if err != nil || leaf.Leaf.DNSNames[0] != name {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
	t.Run("a certificate near its end is made anew", func(t *testing.T) {
		now := time.Now()
		ca, err := gateway.OpenCA(t.TempDir(), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		first, err := certificateFor(ca, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		now = now.AddDate(2, 0, 0)
		if second, err := certificateFor(ca, "localhost"); err != nil || !second.Leaf.NotAfter.After(now) || second == first {
			t.Errorf("it is the old one, %v", err)
		}
	})
}

func TestUnservedNamesFailTheHandshake(t *testing.T) {
	f := open(t, gateway.Options{})
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: f.ca.Pool(), ServerName: "example.com", MinVersion: tls.VersionTLS12}}
	if conn, err := dialer.DialContext(t.Context(), "tcp", f.HTTPSAddr()); err == nil {
		_ = conn.Close()
		t.Error("example.com was served")
	}
	old := &tls.Dialer{Config: &tls.Config{RootCAs: f.ca.Pool(), ServerName: "localhost", MaxVersion: tls.VersionTLS11}} //nolint:gosec // what is refused here
	if conn, err := old.DialContext(t.Context(), "tcp", f.HTTPSAddr()); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was spoken")
	}
}
