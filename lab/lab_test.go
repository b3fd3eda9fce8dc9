package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/tde"
)

// azure is a lab as a client of Microsoft's SDK sees it.
type azure struct {
	t       testing.TB
	lab     *lab.Lab
	cloud   cloud.Configuration
	sql     *armsql.ClientFactory
	vaults  *armkeyvault.VaultsClient
	groups  *armresources.ResourceGroupsClient
	cred    azcore.TokenCredential
	options *arm.ClientOptions // of a lab in another process
}

func start(t testing.TB, o lab.Options) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// templates are state folders with the article's starting point, made once
// and copied for each test: most of the time goes into RSA keys.
var templates = map[bool]func() (string, error){
	false: sync.OnceValues(func() (string, error) { return template(false) }),
	true:  sync.OnceValues(func() (string, error) { return template(true) }),
}

func template(withoutGrants bool) (string, error) {
	dir, err := os.MkdirTemp(templateRoot(), "")
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	l, err := lab.Start(ctx, lab.Options{Dir: dir})
	if err != nil {
		return "", err
	}
	return dir, errors.Join(l.SeedArticle(ctx, lab.SeedOptions{WithoutGrants: withoutGrants}), l.Close())
}

// templateRoot is removed by TestMain.
func templateRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("crosskeys-lab-test-%d", os.Getpid()))
}

// article is a lab with the article's starting point.
func article(t testing.TB, o lab.Options, seed lab.SeedOptions) *azure {
	t.Helper()
	from, err := templates[seed.WithoutGrants]()
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	if err := os.CopyFS(o.Dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return clients(t, start(t, o), cloud.AzurePublic)
}

func clients(t testing.TB, l *lab.Lab, c cloud.Configuration) *azure {
	t.Helper()
	cred, err := l.Credential(c)
	if err != nil {
		t.Fatal(err)
	}
	a := &azure{t: t, lab: l, cloud: c, cred: cred}
	options := l.ClientOptions(c)
	if a.sql, err = armsql.NewClientFactory(lab.SubscriptionID, cred, options); err != nil {
		t.Fatal(err)
	}
	if a.vaults, err = armkeyvault.NewVaultsClient(lab.SubscriptionID, cred, options); err != nil {
		t.Fatal(err)
	}
	if a.groups, err = armresources.NewResourceGroupsClient(lab.SubscriptionID, cred, options); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *azure) keys(key tde.KeyID) *azkeys.Client {
	a.t.Helper()
	options := a.lab.ClientOptions(a.cloud).ClientOptions
	client, err := azkeys.NewClient("https://"+key.Host, a.cred, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		a.t.Fatal(err)
	}
	return client
}

// done polls an operation to its end.
func done[T any](ctx context.Context, poller *runtime.Poller[T], err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	for !poller.Done() {
		if _, err := poller.Poll(ctx); err != nil { //nolint:bodyclose // the SDK has read and closed it
			var none T
			return none, err
		}
		if !poller.Done() {
			time.Sleep(2 * time.Millisecond)
		}
	}
	return poller.Result(ctx)
}

func id(t testing.TB, text string) tde.KeyID {
	t.Helper()
	key, err := tde.ParseKeyID(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *azure) register(server, key string) error {
	k := id(a.t, key)
	poller, err := a.sql.NewServerKeysClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, k.ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: &key},
	}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) deregisterSharedKey(server string) error {
	poller, err := a.sql.NewServerKeysClient().BeginDelete(a.t.Context(), lab.ArticleGroup, server, id(a.t, lab.ArticleSharedKey).ServerKeyName(), nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) beginProtector(server, key string, auto bool) (*runtime.Poller[armsql.EncryptionProtectorsClientCreateOrUpdateResponse], error) {
	properties := &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeServiceManaged), ServerKeyName: to.Ptr("ServiceManaged")}
	if key != "" {
		properties = &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(id(a.t, key).ServerKeyName()), AutoRotationEnabled: &auto}
	}
	return a.sql.NewEncryptionProtectorsClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, armsql.EncryptionProtectorNameCurrent,
		armsql.EncryptionProtector{Properties: properties}, nil)
}

func (a *azure) setProtector(server, key string) error {
	poller, err := a.beginProtector(server, key, false)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) protector(server string) string {
	a.t.Helper()
	answer, err := a.sql.NewEncryptionProtectorsClient().Get(a.t.Context(), lab.ArticleGroup, server, armsql.EncryptionProtectorNameCurrent, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if answer.Properties.URI == nil {
		return ""
	}
	return *answer.Properties.URI
}

// registered lists the URIs of the keys registered on a server.
func (a *azure) registered(server string) map[string]string {
	a.t.Helper()
	thumbprints := map[string]string{}
	pager := a.sql.NewServerKeysClient().NewListByServerPager(lab.ArticleGroup, server, nil)
	for pager.More() {
		page, err := pager.NextPage(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		for _, key := range page.Value {
			if key.Properties.URI != nil {
				thumbprints[*key.Properties.URI] = *key.Properties.Thumbprint
			}
		}
	}
	return thumbprints
}

func (a *azure) failover(server string) error {
	poller, err := a.sql.NewFailoverGroupsClient().BeginFailover(a.t.Context(), lab.ArticleGroup, server, lab.ArticleFailoverGroup, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func (a *azure) role(server string) string {
	a.t.Helper()
	answer, err := a.sql.NewFailoverGroupsClient().Get(a.t.Context(), lab.ArticleGroup, server, lab.ArticleFailoverGroup, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(*answer.Properties.ReplicationRole)
}

// wrappedBy waits until every database's DEK is wrapped by key on both
// servers.
func (a *azure) wrappedBy(key string) {
	a.t.Helper()
	want := "0x" + a.registered(lab.ArticlePrimary)[key]
	deadline := time.Now().Add(60 * time.Second)
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		for _, database := range lab.ArticleDatabases() {
			for {
				row, err := a.lab.EncryptionState(server, database)
				if err != nil {
					a.t.Fatal(err)
				}
				if row.Thumbprint == want {
					break
				}
				if time.Now().After(deadline) {
					a.t.Fatalf("database %s on %s: DEK wrapped by %s, want %s (%s)", database, server, row.Thumbprint, want, key)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}

// refused checks that err is Azure's refusal with the code.
func refused(t *testing.T, err error, code string) {
	t.Helper()
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || answer.ErrorCode != code {
		t.Fatalf("got %v, want the refusal %s", err, code)
	}
}

// refusedIn checks the delivery too: in a poll that answered 200, or in the
// call's own answer.
func refusedIn(t *testing.T, err error, code string, poll bool) {
	t.Helper()
	refused(t, err, code)
	answer, _ := errors.AsType[*azcore.ResponseError](err)
	if got := answer.RawResponse.StatusCode == http.StatusOK; got != poll {
		t.Fatalf("%s was delivered with HTTP %d, want it in the poll: %t", code, answer.RawResponse.StatusCode, poll)
	}
}
