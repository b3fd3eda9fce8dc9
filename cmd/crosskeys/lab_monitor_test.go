package main

import (
	"testing"

	"github.com/crosskeys/crosskeys/lab"
)

// The move by crosskeys itself, with both failovers after it, breaks no rule
// at any moment, also where it has to grant first.
func TestTheMoveLeavesTheLabsMonitorEmpty(t *testing.T) {
	for name, seed := range map[string]lab.SeedOptions{"with the grants": {}, "with grants to make": {WithoutGrants: true}} {
		t.Run(name, func(t *testing.T) {
			c, l := onLab(t, lab.Options{}, seed)
			plan := c.plan()
			if seed.WithoutGrants {
				plan = c.plan("--grant")
			}
			c.expect(exitOK, plan...)
			c.expect(exitOK, "apply", "@plan.json", "--yes")
			c.expect(exitOK, "drill", lab.ArticleFailoverGroup, "--no-probe", "--yes")
			c.expect(exitOK, "verify", lab.ArticleFailoverGroup, "--plan", "@plan.json")
			intervals, err := l.Monitor()
			if err != nil {
				t.Fatal(err)
			}
			for _, each := range intervals {
				t.Errorf("%+v", each)
			}
		})
	}
}
