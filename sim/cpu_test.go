package sim

import (
	"syscall"
	"time"
)

// cpu is how much of the processors' time the test binary has used, by the
// machine's clock also in a bubble.
func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
