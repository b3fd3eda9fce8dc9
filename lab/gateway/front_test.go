package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/gateway"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	tenant     = "11111111-1111-4111-8111-111111111111"
	app        = "33333333-3333-4333-8333-333333333333"
	object     = "44444444-4444-4444-8444-444444444444"
	secret     = "operator secret"
	identityID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
)

// front is a gateway with a real Entra ID behind it; the other services say
// their name and what reached them.
type front struct {
	*gateway.Gateway
	ca    *gateway.CA
	entra *entra.Service
}

func open(t *testing.T, o gateway.Options) *front {
	t.Helper()
	dir := t.TempDir()
	state, err := store.Open(filepath.Join(dir, "state.db"), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	sealer, err := store.OpenSealer(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	f.entra, err = entra.New(entra.Options{Store: state, Sealer: sealer, Clock: clock.New(0), TenantID: tenant, NewID: uuid.NewString})
	if err != nil {
		t.Fatal(err)
	}
	err = state.Update(func(tx *store.Tx) error {
		if _, err := f.entra.CreateManagedIdentity(tx, "one", identityID); err != nil {
			return err
		}
		return f.entra.PutApplication(tx, entra.Principal{ObjectID: object, AppID: app, Name: "operator"}, secret)
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.ca, err = gateway.OpenCA(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	o.CA, o.Hosts = f.ca, gateway.Served
	if o.Handler == nil {
		o.Handler = &gateway.Router{
			ARM: named("arm"), Login: f.entra.Handler(), Identity: f.entra.IdentityHandler(),
			Metadata: f.entra.MetadataHandler(func(*http.Request) string { return f.BaseURL() }),
			Graph:    f.entra.GraphHandler(), Vault: named("vault"), Control: named("control"),
		}
	}
	if f.Gateway, err = gateway.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := f.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	f.entra.SetBaseURLs([]string{f.BaseURL()})
	return f
}

// named is a service that says what reached it.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s %d %s", name, r.Method, r.URL.Path, len(body), r.Proto)
	})
}

// client goes by the proxy, or straight to the lab's own address.
func (f *front) client(proxied bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.ca.Pool(), MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	if proxied {
		transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(f.ProxyURL()) }
	}
	return &http.Client{Transport: transport}
}

func get(t *testing.T, client *http.Client, target string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, client, request)
}

func send(t *testing.T, client *http.Client, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
