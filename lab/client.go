package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// HTTPClient gives a client that reaches the lab by its proxy, under Azure's
// own names, and trusts its certificate authority.
func (l *Lab) HTTPClient() *http.Client {
	return httpClient(l.ProxyURL(), l.ca.Pool(), l.options.dialer(""))
}

func httpClient(proxyURL string, authority *x509.CertPool, dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	proxy := func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "localhost" {
			return nil, nil // the lab's own address
		}
		return url.Parse(proxyURL)
	}
	return &http.Client{Transport: &http.Transport{
		Proxy: proxy, DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16,
	}}
}

// CustomCloud is the lab as a cloud of its own, at its own address.
func (l *Lab) CustomCloud() cloud.Configuration {
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: l.BaseURL() + "/",
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: l.BaseURL(), Audience: l.BaseURL()},
		},
	}
}

// ClientOptions are options for Microsoft's clients: in the public cloud by
// the proxy, or in the custom cloud.
func (l *Lab) ClientOptions(c cloud.Configuration) *arm.ClientOptions {
	return clientOptions(c, l.HTTPClient())
}

func clientOptions(c cloud.Configuration, client *http.Client) *arm.ClientOptions {
	return &arm.ClientOptions{
		ClientOptions:         policy.ClientOptions{Cloud: c, Transport: client},
		DisableRPRegistration: true,
	}
}

// Credential signs in as the lab's operator.
func (l *Lab) Credential(c cloud.Configuration) (azcore.TokenCredential, error) {
	return credential(c, l.secret, l.HTTPClient())
}

func credential(c cloud.Configuration, secret string, client *http.Client) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(TenantID, ClientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: policy.ClientOptions{Cloud: c, Transport: client}, DisableInstanceDiscovery: true,
	})
}

// Clients gives a credential and options for Microsoft's clients in the given
// cloud, for a lab in another process.
func (r *Remote) Clients(c cloud.Configuration) (azcore.TokenCredential, *arm.ClientOptions, error) {
	authority, err := os.ReadFile(r.Access.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("the lab's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := httpClient(r.Access.ProxyURL, pool, nil)
	cred, err := credential(c, r.Access.ClientSecret, client)
	return cred, clientOptions(c, client), err
}
