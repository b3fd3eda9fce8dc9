package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab"
)

// rotating registers the article's primary key on both servers and makes it a
// protector that rotates by itself on those named.
func rotating(t *testing.T, servers ...string) *azure {
	t.Helper()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		must(t, a.register(server, lab.ArticlePrimaryKey))
	}
	for _, server := range servers {
		poller, err := a.beginProtector(server, lab.ArticlePrimaryKey, true)
		_, err = done(t.Context(), poller, err)
		must(t, err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	return a
}

// newVersion makes a version of the article's primary key, by somebody else.
func (a *azure) newVersion() string {
	a.t.Helper()
	key := id(a.t, lab.ArticlePrimaryKey)
	made, err := a.keys(key).RotateKey(a.t.Context(), key.Name, nil)
	must(a.t, err)
	return string(*made.Key.KID)
}

// rotations are the events of automatic rotations: status, server, detail.
func (a *azure) rotations() (list []string) {
	a.t.Helper()
	events, err := a.lab.Events()
	must(a.t, err)
	for _, e := range events {
		if e.Operation == "RotateEncryptionProtector" {
			list = append(list, e.Status+" "+e.Server+" "+e.Detail)
		}
	}
	return list
}

func (a *azure) noInterval() {
	a.t.Helper()
	intervals, err := a.lab.Monitor()
	must(a.t, err)
	if len(intervals) > 0 {
		a.t.Errorf("the monitor: %+v", intervals)
	}
}

func TestAutoRotationMovesTheProtectorWithinADay(t *testing.T) {
	t.Parallel()
	a := rotating(t, lab.ArticlePrimary)
	other := a.protector(lab.ArticleSecondary)
	version := a.newVersion()
	a = a.advance(23 * time.Hour)
	if got := a.protector(lab.ArticlePrimary); got != lab.ArticlePrimaryKey {
		t.Fatalf("after 23 hours the protector is %s", got)
	}
	a = a.advance(time.Hour)
	a.eventually(func() bool { return a.protector(lab.ArticlePrimary) == version }, "the protector is the new version")
	a.wrappedBy(version)
	if a.registered(lab.ArticleSecondary)[version] == "" {
		t.Error("the geo-secondary does not have the new version")
	}
	if got := a.protector(lab.ArticleSecondary); got != other {
		t.Errorf("the geo-secondary's protector is %s", got)
	}
	list := a.rotations()
	if len(list) != 1 || !strings.HasPrefix(list[0], "Succeeded "+lab.ArticlePrimary+" ") || !strings.HasSuffix(list[0], version) {
		t.Errorf("events %q", list)
	}
	// It goes on rotating, and only where there is something newer.
	a = a.advance(25 * time.Hour)
	next := a.newVersion()
	a = a.advance(25 * time.Hour)
	a.eventually(func() bool { return a.protector(lab.ArticlePrimary) == next }, "the protector is the version after that")
	a.wrappedBy(next)
	a.noInterval()
}

func TestAutoRotationOfTheSameKeyOnBothServers(t *testing.T) {
	t.Parallel()
	a := rotating(t, lab.ArticleSecondary, lab.ArticlePrimary)
	version := a.newVersion()
	a = a.advance(24 * time.Hour)
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		a.eventually(func() bool { return a.protector(server) == version }, "the protector of "+server+" is the new version")
	}
	a.wrappedBy(version)
	a.noInterval()
}

// Where a server cannot take part nothing changes, and the next look moves the
// protector once it can.
func TestAutoRotationThatCannotBe(t *testing.T) {
	t.Parallel()
	t.Run("what is disabled is not the latest", func(t *testing.T) {
		t.Parallel()
		a := rotating(t, lab.ArticlePrimary)
		first, second := a.newVersion(), a.newVersion()
		key := id(t, second)
		_, err := a.keys(key).UpdateKey(t.Context(), key.Name, key.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
		must(t, err)
		a = a.advance(24 * time.Hour)
		a.eventually(func() bool { return a.protector(lab.ArticlePrimary) == first }, "the protector is the newest enabled version")
	})
	t.Run("the same key without rotation on the partner", func(t *testing.T) {
		t.Parallel()
		a := rotating(t, lab.ArticlePrimary)
		must(t, a.setProtector(lab.ArticleSecondary, lab.ArticlePrimaryKey))
		version := a.newVersion()
		a = a.advance(24 * time.Hour)
		a.eventually(func() bool { return len(a.rotations()) > 0 }, "the rotation fails")
		if got := a.rotations()[0]; !strings.HasPrefix(got, "Failed "+lab.ArticlePrimary+" ") || !strings.Contains(got, "AutoRotationOnOneSide") {
			t.Errorf("event %q", got)
		}
		if got := a.protector(lab.ArticlePrimary); got != lab.ArticlePrimaryKey {
			t.Errorf("the protector is %s", got)
		}
		must(t, a.setProtector(lab.ArticleSecondary, ""))
		a = a.advance(24 * time.Hour)
		a.eventually(func() bool { return a.protector(lab.ArticlePrimary) == version }, "the protector is the new version")
	})
}
