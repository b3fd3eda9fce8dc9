package tds_test

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/microsoft/go-mssqldb/msdsn"
)

// report adds the median and the 99th percentile to a benchmark.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	if len(took) == 0 {
		return
	}
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}

func mustParse(t testing.TB, dsn string) msdsn.Config {
	t.Helper()
	if _, err := url.Parse(dsn); err != nil {
		t.Fatal(err)
	}
	config, err := msdsn.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return config
}
