package lab_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab"
)

// The published procedure, step by step, by raw calls of Microsoft's SDK: in
// the public cloud through the proxy, and as a custom cloud.
// Source: https://techcommunity.microsoft.com/blog/azuredbsupport/using-different-azure-key-vault-keys-for-azure-sql-servers-in-a-failover-group/4500775
func TestArticle(t *testing.T) {
	for _, each := range []struct {
		name  string
		cloud func(*lab.Lab) cloud.Configuration
	}{
		{"public cloud through the proxy", func(*lab.Lab) cloud.Configuration { return cloud.AzurePublic }},
		{"custom cloud", (*lab.Lab).CustomCloud},
	} {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			l := start(t, lab.Options{})
			if err := l.SeedArticle(t.Context(), lab.SeedOptions{}); err != nil {
				t.Fatal(err)
			}
			articleSteps(t, clients(t, l, each.cloud(l)))
		})
	}
}

func articleSteps(t *testing.T, a *azure) {
	a.wrappedBy(lab.ArticleSharedKey)
	must := func(step string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	must("step 1, the secondary's key on the primary", a.register(lab.ArticlePrimary, lab.ArticleSecondaryKey))
	if got := a.protector(lab.ArticlePrimary); got != lab.ArticleSharedKey {
		t.Fatalf("registering changed the primary's protector to %s", got)
	}
	must("step 2, registering the key that the portal selects", a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	must("step 2, the secondary's protector", a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey))
	a.wrappedBy(lab.ArticleSharedKey) // a geo-secondary's DEK stays wrapped by the primary's protector
	must("step 3, the primary's key on the secondary", a.register(lab.ArticleSecondary, lab.ArticlePrimaryKey))
	must("step 4, registering the key that the portal selects", a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey))
	must("step 4, the primary's protector", a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey))
	on := a.registered(lab.ArticlePrimary)
	if diff := cmp.Diff(on, a.registered(lab.ArticleSecondary)); diff != "" || on[lab.ArticlePrimaryKey] == "" || on[lab.ArticleSecondaryKey] == "" {
		t.Fatalf("step 5, both keys on both servers: %v\n%s", on, diff)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	must("step 7, planned failover", a.failover(lab.ArticleSecondary))
	if a.role(lab.ArticleSecondary) != "Primary" || a.role(lab.ArticlePrimary) != "Secondary" {
		t.Fatal("step 7: the roles did not change")
	}
	a.wrappedBy(lab.ArticleSecondaryKey)
	must("failing back", a.failover(lab.ArticlePrimary))
	a.wrappedBy(lab.ArticlePrimaryKey)
}
