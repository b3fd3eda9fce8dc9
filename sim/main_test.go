package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	// Much is allocated and little is kept: a collection costs more than room.
	debug.SetGCPercent(400)
	// Labs and journals are on a disk in memory, where there is one.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			panic(err)
		}
	}
	root, err := os.MkdirTemp("", "crosskeys-starts-")
	if err != nil {
		panic(err)
	}
	common.root = root
	code := m.Run()
	_ = os.RemoveAll(root)
	os.Exit(code)
}

// note tells a reader of a good run, too.
func note(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, "NOTE "+format+"\n", args...)
}
