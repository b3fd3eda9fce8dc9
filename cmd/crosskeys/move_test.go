package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/tde"
)

// onLab is a console whose commands reach a lab through Microsoft's SDK.
func onLab(t testing.TB, o lab.Options, seed lab.SeedOptions) (*labConsole, *lab.Lab) {
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
	if err := l.SeedArticle(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	return &labConsole{t: t, lab: l, folder: t.TempDir()}, l
}

type labConsole struct {
	t         testing.TB
	lab       *lab.Lab
	folder    string
	out, talk strings.Builder
}

func (c *labConsole) connect(context.Context, settings) (cloud, error) {
	credential, err := c.lab.Credential(sdkcloud.AzurePublic)
	if err != nil {
		return nil, err
	}
	client := c.lab.HTTPClient()
	options, err := sqlOf(c.lab)
	if err != nil {
		return nil, err
	}
	reader := &azure.SQLReader{Options: options}
	connected, err := azure.Connect(azure.Config{
		Cloud: sdkcloud.AzurePublic, SubscriptionID: lab.SubscriptionID, Transport: client, Credential: credential, Now: time.Now,
		Databases: reader,
	})
	return azureCloud{Cloud: connected, named: "public", databases: reader}, err
}

func (c *labConsole) run(words ...string) int {
	c.out.Reset()
	c.talk.Reset()
	for i, word := range words {
		if strings.HasPrefix(word, "@") {
			words[i] = filepath.Join(c.folder, word[1:])
		}
	}
	a := &app{
		in: strings.NewReader(""), out: &c.out, talk: &c.talk, now: time.Now, wait: wait, connect: c.connect,
		environ: func(name string) string {
			if name == "XDG_STATE_HOME" {
				return c.folder
			}
			return ""
		},
	}
	root := newRoot(a)
	root.SetArgs(words)
	return a.end(root.ExecuteContext(c.t.Context()))
}

func (c *labConsole) expect(code int, words ...string) {
	c.t.Helper()
	if got := c.run(words...); got != code {
		c.t.Fatalf("crosskeys %s: exit code %d, want %d\n%s\n%s", strings.Join(words, " "), got, code, c.out.String(), c.talk.String())
	}
}

func (c *labConsole) plan(extra ...string) []string {
	return append([]string{
		"plan", lab.ArticleFailoverGroup, "-o", "@plan.json", "--protector", lab.ArticlePrimary + "=" + lab.ArticlePrimaryKey,
		"--protector", lab.ArticleSecondary + "=" + lab.ArticleSecondaryKey,
	}, extra...)
}

// raw changes a server's keys by calls of Microsoft's SDK, as another tool
// would.
type raw struct {
	t   *testing.T
	sql *armsql.ClientFactory
}

func rawOn(t *testing.T, l *lab.Lab) raw {
	t.Helper()
	credential, err := l.Credential(sdkcloud.AzurePublic)
	if err != nil {
		t.Fatal(err)
	}
	factory, err := armsql.NewClientFactory(lab.SubscriptionID, credential, l.ClientOptions(sdkcloud.AzurePublic))
	if err != nil {
		t.Fatal(err)
	}
	return raw{t, factory}
}

func (r raw) name(key string) string {
	r.t.Helper()
	id, err := tde.ParseKeyID(key)
	if err != nil {
		r.t.Fatal(err)
	}
	return id.ServerKeyName()
}

func (r raw) register(server, key string) {
	r.t.Helper()
	poller, err := r.sql.NewServerKeysClient().BeginCreateOrUpdate(r.t.Context(), lab.ArticleGroup, server, r.name(key), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: &key},
	}, nil)
	if err == nil {
		_, err = poller.PollUntilDone(r.t.Context(), nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r raw) flip(server, key string) error {
	poller, err := r.sql.NewEncryptionProtectorsClient().BeginCreateOrUpdate(r.t.Context(), lab.ArticleGroup, server, armsql.EncryptionProtectorNameCurrent, armsql.EncryptionProtector{
		Properties: &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(r.name(key))},
	}, nil)
	if err == nil {
		_, err = poller.PollUntilDone(r.t.Context(), nil)
	}
	return err
}

// The famous failure, and the way out of it: another tool flips the primary
// first and is refused; plan and apply succeed from exactly there.
func TestPlanAndApplySucceedWhereTheWrongOrderFailed(t *testing.T) {
	c, l := onLab(t, lab.Options{}, lab.SeedOptions{})
	other := rawOn(t, l)
	other.register(lab.ArticlePrimary, lab.ArticlePrimaryKey)
	err := other.flip(lab.ArticlePrimary, lab.ArticlePrimaryKey)
	if answer, ok := errors.AsType[*azcore.ResponseError](err); !ok || answer.ErrorCode != "SameKeyMaterialNotFoundOnRemoteServer" {
		t.Fatalf("the wrong order: %v", err)
	}
	c.expect(exitOK, c.plan()...)
	if strings.Contains(c.out.String(), "register testprimarysubham/subham/e0637ed7… on tdeprimarytest") {
		t.Error("what the other tool left registered is planned again")
	}
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	c.expect(exitOK, "verify", lab.ArticleFailoverGroup, "--plan", "@plan.json")
}

func TestChangedWorldIsRefused(t *testing.T) {
	c, l := onLab(t, lab.Options{}, lab.SeedOptions{})
	c.expect(exitOK, c.plan()...)
	other := rawOn(t, l)
	other.register(lab.ArticleSecondary, lab.ArticlePrimaryKey)
	other.register(lab.ArticlePrimary, lab.ArticlePrimaryKey)
	if err := other.flip(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	if err := other.flip(lab.ArticlePrimary, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	c.expect(exitOK, c.plan()...) // from here: fewer steps
	failover, err := other.sql.NewFailoverGroupsClient().BeginFailover(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	if err == nil {
		_, err = failover.PollUntilDone(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.expect(exitRefused, "apply", "@plan.json", "--yes")
	if _, err := os.Stat(filepath.Join(c.folder, "plan.json")); err != nil {
		t.Fatal(err)
	}
	c.expect(exitOK, c.plan()...)
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	c.expect(exitOK, "verify", lab.ArticleFailoverGroup, "--plan", "@plan.json")
}

// Going on after --until recognises what has been done.
func TestApplyGoesOnWhereItPaused(t *testing.T) {
	c, l := onLab(t, lab.Options{}, lab.SeedOptions{WithoutGrants: true})
	c.expect(exitOK, c.plan("--grant")...)
	c.expect(exitPaused, "apply", "@plan.json", "--yes", "--until", "6")
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	if !strings.Contains(c.out.String(), "done before") {
		t.Errorf("what was done before is not told:\n%s", c.out.String())
	}
	state, err := l.EncryptionState(lab.ArticleSecondary, "orders")
	if err != nil || state.EncryptorType != "ASYMMETRIC KEY" {
		t.Fatalf("%+v %v", state, err)
	}
}
