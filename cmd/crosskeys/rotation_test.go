package main

import (
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab"
)

// What was planned with automatic rotation stays verified when the service has
// moved on to a newer version of a key, and planning again finds nothing to do.
func TestVerifyAfterAnAutomaticRotation(t *testing.T) {
	c, l := onLab(t, lab.Options{RotationEvery: time.Hour}, lab.SeedOptions{})
	rotating := c.plan("--auto-rotation", lab.ArticlePrimary+"=true")
	c.expect(exitOK, rotating...)
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	before, err := l.EncryptionState(lab.ArticlePrimary, "orders")
	if err != nil {
		t.Fatal(err)
	}
	rotateKey(t, l, lab.ArticlePrimaryKey)
	if err := l.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	until(t, "all DEKs are wrapped by the new version", func() bool {
		for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
			for _, database := range lab.ArticleDatabases() {
				row, err := l.EncryptionState(server, database)
				if err != nil {
					t.Fatal(err)
				}
				if row.Thumbprint == before.Thumbprint {
					return false
				}
			}
		}
		return true
	})
	c.expect(exitOK, "verify", lab.ArticleFailoverGroup, "--plan", "@plan.json")
	c.expect(exitOK, rotating...)
	if !strings.Contains(c.out.String(), "nothing to do") {
		t.Errorf("planned again:\n%s", c.out.String())
	}
	intervals, err := l.Monitor()
	if err != nil || len(intervals) > 0 {
		t.Errorf("%+v %v", intervals, err)
	}
}
