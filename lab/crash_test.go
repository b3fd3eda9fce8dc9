package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/tde"
)

// childDir has this test binary run a lab on the named folder instead of the
// tests: a process of its own, to be killed.
const childDir = "CROSSKEYS_LAB_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(runChild(dir))
	}
	if err := os.MkdirAll(templateRoot(), 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(templateRoot())
	os.Exit(code)
}

func runChild(dir string) int {
	l, err := lab.Start(context.Background(), lab.Options{Dir: dir})
	if err == nil {
		err = l.Announce()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	if err := l.Close(); err != nil {
		return 1
	}
	return 0
}

// child is a lab in a process of its own.
type child struct {
	process *exec.Cmd
	*azure
}

func startChild(t testing.TB, dir string) *child {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "lab.json")); err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), os.Args[0])
	process.Env = append(os.Environ(), childDir+"="+dir)
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	var remote *lab.Remote
	for deadline := time.Now().Add(60 * time.Second); remote == nil; time.Sleep(10 * time.Millisecond) {
		found, err := lab.Find(t.Context(), dir)
		if err == nil {
			remote = found
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	cred, options, err := remote.Clients(cloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	// A killed lab answers nothing: no use in trying again.
	options.Retry = policy.RetryOptions{MaxRetries: -1}
	a := &azure{t: t, cloud: cloud.AzurePublic, cred: cred}
	if a.sql, err = armsql.NewClientFactory(lab.SubscriptionID, cred, options); err != nil {
		t.Fatal(err)
	}
	if a.groups, err = armresources.NewResourceGroupsClient(lab.SubscriptionID, cred, options); err != nil {
		t.Fatal(err)
	}
	a.options = options
	return &child{process: process, azure: a}
}

func (c *child) kill() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
}

// deed is an operation that the lab acknowledged, and how to see that it is
// still done.
type deed struct {
	what  string
	check func(ctx context.Context, c *child) error
}

// A lab that is killed at any moment has lost nothing that it acknowledged:
// what was answered 200 is there, what was answered 202 comes to its end.
func TestCrashLosesNoAcknowledgedOperation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CROSSKEYS_SEED"); text != "" {
		parsed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("CROSSKEYS_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	prepare(t, dir)
	var deeds []deed
	want := 50
	if limit, err := time.ParseDuration(os.Getenv("CROSSKEYS_SOAK")); err == nil {
		want = int(limit.Seconds()) * 10
	}
	for round := 0; len(deeds) < want; round++ {
		c := startChild(t, dir)
		for _, d := range deeds {
			if err := d.check(t.Context(), c); err != nil {
				t.Fatalf("round %d: acknowledged before the kill, lost after it: %s: %v", round, d.what, err)
			}
		}
		deeds = append(deeds, workUntilKilled(c, random, round)...)
	}
	c := startChild(t, dir)
	defer c.kill()
	for _, d := range deeds {
		if err := d.check(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", d.what, err)
		}
	}
	t.Logf("%d acknowledged operations, none lost", len(deeds))
}

func prepare(t testing.TB, dir string) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// workUntilKilled runs random operations from three sides and kills the lab
// in the middle of them.
func workUntilKilled(c *child, random *rand.Rand, round int) []deed {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var mu sync.Mutex
	var deeds []deed
	var workers sync.WaitGroup
	for worker := range 3 {
		source := rand.New(rand.NewPCG(random.Uint64(), uint64(worker)))
		workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if d, err := c.deed(ctx, source, fmt.Sprintf("r%dw%di%d", round, worker, i)); err == nil {
					mu.Lock()
					deeds = append(deeds, d)
					mu.Unlock()
				} else if ctx.Err() == nil && !unreachable(err) {
					c.t.Errorf("an operation was refused: %v", err)
					return
				}
			}
		})
	}
	time.Sleep(time.Duration(50+random.IntN(400)) * time.Millisecond)
	c.kill()
	cancel()
	workers.Wait()
	return deeds
}

func unreachable(err error) bool {
	_, answered := errors.AsType[*azcore.ResponseError](err)
	return !answered
}

func (c *child) deed(ctx context.Context, random *rand.Rand, name string) (deed, error) {
	switch random.IntN(4) {
	case 0:
		return c.tagGroup(ctx, name)
	case 1:
		return c.createKey(ctx, name)
	case 2:
		return c.registerKey(ctx, name)
	}
	return c.createDatabase(ctx, name)
}

func (c *child) tagGroup(ctx context.Context, name string) (deed, error) {
	_, err := c.groups.CreateOrUpdate(ctx, "rg-"+name, armresources.ResourceGroup{Location: to.Ptr("eastus"), Tags: map[string]*string{"made": &name}}, nil)
	return deed{"resource group " + name, func(ctx context.Context, c *child) error {
		answer, err := c.groups.Get(ctx, "rg-"+name, nil)
		if err == nil && *answer.Tags["made"] != name {
			err = errors.New("the tag is lost")
		}
		return err
	}}, err
}

func (c *child) createKey(ctx context.Context, name string) (deed, error) {
	made, err := c.newKey(ctx, name)
	if err != nil {
		return deed{}, err
	}
	return deed{"key " + name, func(ctx context.Context, c *child) error {
		key, err := tde.ParseKeyID(string(*made.Key.KID))
		if err != nil {
			return err
		}
		client, err := c.keyClient(key.Host)
		if err != nil {
			return err
		}
		found, err := client.GetKey(ctx, key.Name, key.Version, nil)
		if err == nil && string(found.Key.N) != string(made.Key.N) {
			err = errors.New("the key is another one")
		}
		return err
	}}, nil
}

func (c *child) keyClient(host string) (*azkeys.Client, error) {
	return azkeys.NewClient("https://"+host, c.cred, &azkeys.ClientOptions{ClientOptions: c.options.ClientOptions})
}

func (c *child) newKey(ctx context.Context, name string) (azkeys.CreateKeyResponse, error) {
	client, err := c.keyClient(lab.ArticlePrimaryVault + ".vault.azure.net")
	if err != nil {
		return azkeys.CreateKeyResponse{}, err
	}
	return client.CreateKey(ctx, name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
}

func (c *child) registerKey(ctx context.Context, name string) (deed, error) {
	made, err := c.newKey(ctx, name)
	if err != nil {
		return deed{}, err
	}
	uri := string(*made.Key.KID)
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return deed{}, err
	}
	_, err = c.sql.NewServerKeysClient().BeginCreateOrUpdate(ctx, lab.ArticleGroup, lab.ArticlePrimary, key.ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: &uri},
	}, nil)
	return deed{"server key " + name, func(ctx context.Context, c *child) error {
		return c.comes(func() error {
			_, err := c.sql.NewServerKeysClient().Get(ctx, lab.ArticleGroup, lab.ArticlePrimary, key.ServerKeyName(), nil)
			return err
		})
	}}, err
}

func (c *child) createDatabase(ctx context.Context, name string) (deed, error) {
	_, err := c.sql.NewDatabasesClient().BeginCreateOrUpdate(ctx, lab.ArticleGroup, lab.ArticlePrimary, name, armsql.Database{Location: to.Ptr("eastus")}, nil)
	return deed{"database " + name, func(ctx context.Context, c *child) error {
		return c.comes(func() error {
			_, err := c.sql.NewDatabasesClient().Get(ctx, lab.ArticleGroup, lab.ArticlePrimary, name, nil)
			return err
		})
	}}, err
}

// comes waits for an operation that was accepted to come to its end.
func (c *child) comes(there func() error) error {
	err := there()
	for deadline := time.Now().Add(60 * time.Second); err != nil && time.Now().Before(deadline); err = there() {
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// The state file holds no key in the clear: not a DEK, not a private key, not
// a client secret.
func TestStateAtRestHoldsNoSecretInTheClear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := start(t, lab.Options{Dir: dir})
	if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{l.ClientSecret(), l.ControlToken(), "PRIVATE KEY", `"d":"`} {
		if i := bytes.Index(state, []byte(secret)); i >= 0 {
			t.Errorf("the state holds %q at %d", secret[:4]+"…", i)
		}
	}
	if !bytes.Contains(state, []byte(lab.ArticlePrimary)) {
		t.Fatal("the state does not even hold the server's name: this test looks in the wrong place")
	}
}
