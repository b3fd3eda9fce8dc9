package lab_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkReady measures a lab in a process of its own, on a state folder
// that holds the article's starting point: milliseconds from the start of the
// process until it answers over TLS, and its resident memory then.
func BenchmarkReady(b *testing.B) {
	dir := b.TempDir()
	prepare(b, dir)
	var ready time.Duration
	var resident float64
	for b.Loop() {
		began := time.Now()
		c := startChild(b, dir)
		ready += time.Since(began)
		resident += residentMiB(b, c.process.Process.Pid)
		c.kill()
	}
	b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ready-ms")
	b.ReportMetric(resident/float64(b.N), "resident-MiB")
}

// residentMiB reads a process's resident memory.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("SKIP resident memory: %v", err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS in the process's status")
	return 0
}
