package gateway

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
)

func TestEverySignInHostIsServed(t *testing.T) {
	for _, host := range entra.LoginHosts() {
		if destinationOf(host) != toLogin {
			t.Errorf("%s leads to %d", host, destinationOf(host))
		}
	}
}

// FuzzHost gives the door names as outsiders can write them: as SNI, as Host
// and as the target of CONNECT.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{"", "localhost:8443", "[::1]:8443", "[", "KV.vault.azure.net:443", "kv.vault.azure.net.:443", "example.com:443", "a:b:c", "\x00.vault.azure.net"} {
		f.Add(seed)
	}
	ca, err := OpenCA(f.TempDir(), time.Now)
	if err != nil {
		f.Fatal(err)
	}
	g := &Gateway{options: Options{Hosts: Served}, port: "8443"}
	vault := http.NotFoundHandler()
	router := &Router{Vault: vault, ARM: vault, Login: vault, Graph: vault, Metadata: vault, Identity: vault, Control: vault}
	f.Fuzz(func(t *testing.T, text string) {
		host := hostOf(text)
		served := Served(host)
		if (router.route(host, "/"+text) != nil) != served {
			t.Errorf("%q: served %t, but the router differs", text, served)
		}
		if g.reaches(text) && !served {
			t.Errorf("%q: the proxy goes where nothing is served", text)
		}
		leaf, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: text})
		if err != nil {
			return
		}
		name := strings.TrimSuffix(strings.ToLower(text), ".")
		if name == "" || isLocal(name) {
			name = "localhost"
		}
		if !Served(name) || len(leaf.Leaf.DNSNames) != 1 || leaf.Leaf.DNSNames[0] != name {
			t.Errorf("%q got a certificate for %v", text, leaf.Leaf.DNSNames)
		}
	})
}
