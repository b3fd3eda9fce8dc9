package gateway_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/gateway"
	"github.com/crosskeys/crosskeys/lab/store"
)

func custom(f *front) cloud.Configuration {
	return cloud.Configuration{ActiveDirectoryAuthorityHost: f.BaseURL() + "/"}
}

func TestClientSecretCredential(t *testing.T) {
	f := open(t, gateway.Options{})
	government := cloud.AzureGovernment
	for _, c := range []struct {
		name, tenant, secret string
		cloud                cloud.Configuration
		proxied, discovery   bool
		scope, audience      string
	}{
		{"by the proxy under the public names", tenant, secret, cloud.AzurePublic, true, false, "https://management.azure.com/.default", "https://management.azure.com"},
		{"by the proxy with instance discovery", tenant, secret, cloud.AzurePublic, true, true, "https://vault.azure.net/.default", "https://vault.azure.net"},
		{"by the proxy under the names of another cloud", tenant, secret, government, true, false, "https://management.usgovcloudapi.net/.default", "https://management.usgovcloudapi.net"},
		{"by the proxy with the tenant's domain name", entra.DefaultDomain, secret, cloud.AzurePublic, true, false, "https://graph.microsoft.com/.default", "https://graph.microsoft.com"},
		{"in a custom cloud", tenant, secret, custom(f), false, false, f.BaseURL() + "/.default", f.BaseURL()},
		{"in a custom cloud that is looked up at the public name", tenant, secret, custom(f), true, true, "https://vault.azure.net/.default", "https://vault.azure.net"},
	} {
		t.Run(c.name+" a token is given that is taken", func(t *testing.T) {
			credential, err := azidentity.NewClientSecretCredential(c.tenant, app, c.secret, &azidentity.ClientSecretCredentialOptions{
				ClientOptions: policy.ClientOptions{Cloud: c.cloud, Transport: f.client(c.proxied)}, DisableInstanceDiscovery: !c.discovery,
			})
			if err != nil {
				t.Fatal(err)
			}
			given, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.scope}})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := f.entra.Verify(given.Token, []string{c.audience})
			if err != nil || claims.ObjectID != object {
				t.Fatalf("claims %+v, %v", claims, err)
			}
			if left := time.Until(given.ExpiresOn); left < 50*time.Minute || left > time.Hour {
				t.Errorf("the client takes it to live %s", left)
			}
			if _, err := f.entra.Verify(given.Token, []string{"https://database.windows.net"}); err == nil {
				t.Error("another service took it")
			}
			f.entra.Clock.Advance(time.Hour)
			if failed, ok := errors.AsType[*entra.TokenError](verify(f, given.Token, c.audience)); !ok || failed.Check != entra.CheckExpiry {
				t.Errorf("an hour later: %v", failed)
			}
		})
	}
}

func verify(f *front, token, audience string) error {
	_, err := f.entra.Verify(token, []string{audience})
	return err
}

func TestClientSecretCredentialIsRefused(t *testing.T) {
	f := open(t, gateway.Options{})
	for _, c := range []struct{ name, tenant, app, secret, scope, want string }{
		{"with a wrong secret", tenant, app, "wrong", "https://vault.azure.net/.default", "AADSTS7000215"},
		{"for an unknown application", tenant, tenant, secret, "https://vault.azure.net/.default", "AADSTS700016"},
		{"in an unknown tenant", app, app, secret, "https://vault.azure.net/.default", "AADSTS90002"},
		{"for an unknown resource", tenant, app, secret, "https://example.com/.default", "AADSTS500011"},
	} {
		t.Run(c.name, func(t *testing.T) {
			credential, err := azidentity.NewClientSecretCredential(c.tenant, c.app, c.secret, &azidentity.ClientSecretCredentialOptions{
				ClientOptions: policy.ClientOptions{Transport: f.client(true)}, DisableInstanceDiscovery: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.scope}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestManagedIdentityCredential(t *testing.T) {
	f := open(t, gateway.Options{})
	header, err := f.entra.IdentitySecret()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("IDENTITY_ENDPOINT", f.BaseURL()+"/msi/token")
	t.Setenv("MSI_ENDPOINT", "")
	get := func(t *testing.T, header string, id azidentity.ManagedIDKind) (azcore.AccessToken, error) {
		t.Helper()
		t.Setenv("IDENTITY_HEADER", header)
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: policy.ClientOptions{Transport: f.client(false), Retry: policy.RetryOptions{MaxRetries: -1}}, ID: id,
		})
		if err != nil {
			t.Fatal(err)
		}
		return credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	}
	// MSAL keeps tokens for the life of the process, so each case is for an
	// identity of its own.
	t.Run("a wrong header gets no token", func(t *testing.T) {
		if _, err := get(t, "wrong", nil); err == nil {
			t.Error("it got one")
		}
	})
	t.Run("a named identity gets its own token", func(t *testing.T) {
		given, err := get(t, header, azidentity.ResourceID(identityID))
		if err != nil {
			t.Fatal(err)
		}
		claims, err := f.entra.Verify(given.Token, []string{"https://vault.azure.net"})
		if err != nil || claims.ManagedIdentity != identityID {
			t.Fatalf("claims %+v, %v", claims, err)
		}
		err = f.entra.Store.Update(func(tx *store.Tx) error { return f.entra.DeletePrincipal(tx, claims.ObjectID) })
		if err != nil {
			t.Fatal(err)
		}
		if failed, ok := errors.AsType[*entra.TokenError](verify(f, given.Token, "https://vault.azure.net")); !ok || failed.Check != entra.CheckPrincipal {
			t.Errorf("after the identity's deletion: %v", failed)
		}
	})
	t.Run("an unnamed one gets the default identity's", func(t *testing.T) {
		given, err := get(t, header, nil)
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := f.entra.Verify(given.Token, []string{"https://vault.azure.net"}); err != nil || claims.AppID != app {
			t.Errorf("claims %+v, %v", claims, err)
		}
	})
	t.Run("an unknown one gets none", func(t *testing.T) {
		if _, err := get(t, header, azidentity.ClientID("99999999-9999-4999-8999-999999999999")); err == nil {
			t.Error("it got one")
		}
	})
}

func TestGraphByTheProxy(t *testing.T) {
	f := open(t, gateway.Options{})
	token, _, err := f.entra.Issue(object, "https://graph.microsoft.com")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"https://graph.microsoft.com/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c%20eq%20'"+app+"')", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if status, body := send(t, f.client(true), request); status != http.StatusOK || !strings.Contains(body, `"id":"`+object+`"`) {
		t.Errorf("got %d %s", status, body)
	}
}
