package main

import (
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/latency"
)

// speed is by how much the benchmark runs ahead of Azure's durations.
const speed = 10

// BenchmarkCriticalPath measures the move under Azure's durations against the
// longest chain of operations that its rules force one after another: one
// registration (they run side by side), two protector changes, and the change
// reaching the databases and then the replicas.
func BenchmarkCriticalPath(b *testing.B) {
	profile := latency.Azure(speed)
	chain := profile.Of("UpsertLogicalServerEncryptionKeys") + 2*profile.Of("UpsertLogicalServerEncryptionprotector") + profile.Of(latency.Rewrap) + profile.Of(latency.Replica)
	var took time.Duration
	for range b.N {
		c, _ := onLab(b, lab.Options{Latency: profile}, lab.SeedOptions{})
		c.expect(exitOK, c.plan()...)
		began := time.Now()
		c.expect(exitOK, "apply", "@plan.json", "--yes")
		took += time.Since(began)
	}
	b.ReportMetric(took.Seconds()/float64(b.N)/chain.Seconds(), "of-critical-path")
	b.ReportMetric(chain.Seconds(), "critical-path-s")
}
