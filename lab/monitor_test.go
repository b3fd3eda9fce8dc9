package lab_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/monitor"
)

func (a *azure) intervals() []monitor.Interval {
	a.t.Helper()
	list, err := a.lab.Monitor()
	if err != nil {
		a.t.Fatal(err)
	}
	return list
}

// unbroken checks that every rule has held all the time.
func (a *azure) unbroken() {
	a.t.Helper()
	for _, interval := range a.intervals() {
		a.t.Errorf("%+v", interval)
	}
}

// found lists the intervals in short: rule, server, owner, the key's vault,
// and the call that opened it.
func found(intervals []monitor.Interval) []string {
	var list []string
	for _, i := range intervals {
		vault := ""
		if rest, is := strings.CutPrefix(i.Key, "https://"); is {
			vault, _, _ = strings.Cut(rest, ".")
		}
		path := i.By.Path
		if _, tail, is := strings.Cut(path, "/providers/"); is {
			path = tail
		}
		list = append(list, strings.Join([]string{i.Rule, i.Server, i.Owner, vault, i.By.Method, path}, " "))
	}
	return list
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheArticlesMoveLeavesTheMonitorEmpty(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	articleSteps(t, a)
	must(t, a.forced(lab.ArticleSecondary))
	a.wrappedBy(lab.ArticleSecondaryKey)
	must(t, a.failover(lab.ArticlePrimary))
	a.wrappedBy(lab.ArticlePrimaryKey)
	a.unbroken()
}

func (a *azure) forced(server string) error {
	poller, err := a.sql.NewFailoverGroupsClient().BeginForceFailoverAllowDataLoss(a.t.Context(), lab.ArticleGroup, server, lab.ArticleFailoverGroup, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

func TestAKeyDisabledTooEarlyShowsWithTheCall(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.disableSharedKey()
	list := a.intervals()
	if len(list) == 0 {
		t.Fatal("a disabled protector goes unnoticed")
	}
	for _, each := range list {
		if each.By.Method != "PATCH" || !strings.HasPrefix(each.By.Path, "https://tdesharedtest.vault.azure.net/keys/shared/") || each.By.Principal == "" || !each.Still() {
			t.Errorf("%+v", each)
		}
	}
	a.enableSharedKey()
	for _, each := range a.intervals() {
		if each.Still() || each.To.Before(each.From) {
			t.Errorf("the key is back: %+v", each)
		}
	}
	if len(a.intervals()) != len(list) {
		t.Error("enabling the key opened intervals")
	}
}

func TestARevokedPermissionOpensWhenItTakesEffect(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{Latency: latency.Azure(1)}, lab.SeedOptions{})
	began := a.lab.Now()
	a.revokeAll(lab.ArticleSecondary, "tdesharedtest")
	a.unbroken()
	a = a.advance(time.Hour)
	list := a.intervals()
	if len(list) == 0 {
		t.Fatal("a revoked permission goes unnoticed")
	}
	for _, each := range list {
		if took := each.From.Sub(began); took < 10*time.Minute || took > 11*time.Minute || each.Server != lab.ArticleSecondary {
			t.Errorf("opened after %s: %+v", took, each)
		}
		if each.By.Method != "PUT" && each.By.Method != "POST" && each.By.Method != "PATCH" || !strings.Contains(each.By.Path, "/vaults/tdesharedtest") || each.By.Event != "took effect later" {
			t.Errorf("%+v", each.By)
		}
	}
}

func TestTwoProtectorsAtOnceShow(t *testing.T) {
	t.Parallel()
	for name, profile := range map[string]latency.Profile{"at once": latency.Instant(), "at Azure's pace": latency.Azure(1)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := article(t, lab.Options{}, lab.SeedOptions{})
			for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
				for _, key := range []string{lab.ArticlePrimaryKey, lab.ArticleSecondaryKey} {
					must(t, a.register(server, key))
				}
			}
			a.unbroken()
			if profile.Name() == "azure" {
				a.faults("operation UpsertLogicalServerEncryptionprotector: slow 10s")
			}
			var calls sync.WaitGroup
			for server, key := range map[string]string{lab.ArticlePrimary: lab.ArticlePrimaryKey, lab.ArticleSecondary: lab.ArticleSecondaryKey} {
				calls.Go(func() {
					if _, err := a.beginProtector(server, key, false); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			list := a.intervals()
			if profile.Name() != "azure" {
				for _, each := range list { // they may have missed each other
					if each.Rule != "One" {
						t.Errorf("%+v", each)
					}
				}
				return
			}
			if len(list) != 1 || list[0].Rule != "One" || !strings.Contains(list[0].By.Path, "/servers/"+list[0].Server+"/encryptionProtector/current") || list[0].By.Method != "PUT" || !list[0].Still() {
				t.Fatalf("%+v", list)
			}
			a = a.advance(10 * time.Second)
			a.wrappedBy(lab.ArticlePrimaryKey)
			if list = a.intervals(); len(list) != 1 || list[0].Still() {
				t.Fatalf("%+v", list)
			}
		})
	}
}

// A script that deregisters the old key as soon as the protector has changed:
// Azure lets it, where the key wraps nothing any more, while log files and
// backups still need it.
func TestAnOldKeyDeregisteredTooEarlyShows(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticleSecondary, lab.ArticlePrimary} {
		must(t, a.register(server, lab.ArticlePrimaryKey))
	}
	must(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey))
	a.wrappedBy(lab.ArticlePrimaryKey)
	must(t, a.register(lab.ArticlePrimary, lab.ArticleSecondaryKey))
	must(t, a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	must(t, a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	a.unbroken()
	must(t, a.deregisterSharedKey(lab.ArticlePrimary))
	got := found(a.intervals())
	if len(got) == 0 {
		t.Fatal("deregistering a key that log files need goes unnoticed")
	}
	name := id(t, lab.ArticleSharedKey).ServerKeyName()
	for _, each := range got {
		if !strings.HasPrefix(each, "Past tdeprimarytest ") || !strings.HasSuffix(each, "DELETE Microsoft.Sql/servers/tdeprimarytest/keys/"+name) {
			t.Error(each)
		}
	}
}

func TestTheMonitorOutlivesARestart(t *testing.T) {
	t.Parallel()
	from, err := templates[false]()
	must(t, err)
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(from)))
	l, err := lab.Start(t.Context(), lab.Options{Dir: dir})
	must(t, err)
	a := clients(t, l, cloud.AzurePublic)
	a.disableSharedKey()
	before := a.intervals()
	must(t, l.Close())
	again := clients(t, start(t, lab.Options{Dir: dir}), a.cloud)
	if diff := cmp.Diff(before, again.intervals()); diff != "" || len(before) == 0 {
		t.Fatal(diff)
	}
	again.enableSharedKey()
	for _, each := range again.intervals() {
		if each.Still() {
			t.Errorf("%+v", each)
		}
	}
}

// The article's second step before its first: the secondary takes its own key
// while the primary has not registered it. Where the service lets it, the next
// failover is broken.
func TestTheArticlesStepsInTheWrongOrderShow(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{FreeSecondaryFlip: true}, lab.SeedOptions{})
	must(t, a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	must(t, a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	want := []string{"Next tdeprimarytest tdesecondarytest testanu2 PUT Microsoft.Sql/servers/tdesecondarytest/encryptionProtector/current"}
	if diff := cmp.Diff(want, found(a.intervals())); diff != "" {
		t.Fatal(diff)
	}
	must(t, a.register(lab.ArticlePrimary, lab.ArticleSecondaryKey))
	if list := a.intervals(); len(list) != 1 || list[0].Still() {
		t.Fatalf("the registration does not end it: %+v", list)
	}
}

// As az does it in two shells: each interval is laid at the right call.
func TestParallelCallsAreToldApart(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		for _, key := range []string{lab.ArticlePrimaryKey, lab.ArticleSecondaryKey} {
			must(t, a.register(server, key))
		}
	}
	must(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey))
	must(t, a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	a.wrappedBy(lab.ArticlePrimaryKey)
	a.unbroken()
	vaults := []string{lab.ArticlePrimaryKey, lab.ArticleSecondaryKey, lab.ArticleSharedKey}
	for _, on := range []bool{false, true, false, true} {
		var calls sync.WaitGroup
		for _, uri := range vaults {
			k := id(t, uri)
			client := a.keys(k)
			calls.Go(func() {
				if _, err := client.UpdateKey(t.Context(), k.Name, k.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &on}}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	}
	rules := map[string]int{}
	for _, each := range a.intervals() {
		rules[each.Rule]++
		host, _, _ := strings.Cut(strings.TrimPrefix(each.Key, "https://"), "/")
		if each.Still() || each.By.Method != "PATCH" || !strings.HasPrefix(each.By.Path, "https://"+host+"/") {
			t.Errorf("%+v", each)
		}
	}
	if rules["Open"] == 0 || rules["Next"] == 0 || rules["Past"] == 0 {
		t.Errorf("%v", rules)
	}
}
