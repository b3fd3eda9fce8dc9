package lab_test

import (
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/lab"
)

// What the monitor costs: a read, and a change that it has to judge.
func BenchmarkMonitor(b *testing.B) {
	for _, watched := range []bool{false, true} {
		o := lab.Options{}
		if !watched {
			o = lab.Unwatched(o)
		}
		a := article(b, o, lab.SeedOptions{})
		for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
			if err := a.register(server, lab.ArticlePrimaryKey); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("GET/monitor=%t", watched), func(b *testing.B) {
			for b.Loop() {
				if _, err := a.get(lab.ArticlePrimary); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("PATCH/monitor=%t", watched), func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				_, err := a.sql.NewFirewallRulesClient().CreateOrUpdate(b.Context(), lab.ArticleGroup, lab.ArticlePrimary, "rule", armsql.FirewallRule{
					Properties: &armsql.ServerFirewallRuleProperties{StartIPAddress: to.Ptr("10.0.0.1"), EndIPAddress: to.Ptr(fmt.Sprintf("10.0.0.%d", n%250+1))},
				}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("flip/monitor=%t", watched), func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				key := lab.ArticlePrimaryKey
				if n%2 == 1 {
					key = lab.ArticleSharedKey
				}
				if err := a.setProtector(lab.ArticlePrimary, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What one look at the truth costs, by the number of databases.
func BenchmarkTruth(b *testing.B) {
	a := article(b, lab.Options{}, lab.SeedOptions{})
	for _, databases := range []int{3, 103} {
		if databases > 3 {
			for n := range databases - 3 {
				poller, err := a.sql.NewDatabasesClient().BeginCreateOrUpdate(b.Context(), lab.ArticleGroup, lab.ArticlePrimary, fmt.Sprintf("more%d", n), armsql.Database{Location: to.Ptr("eastus")}, nil)
				if _, err := done(b.Context(), poller, err); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(fmt.Sprintf("databases=%d", databases), func(b *testing.B) {
			for b.Loop() {
				if _, err := a.lab.Truth(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
