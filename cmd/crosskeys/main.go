// Command crosskeys moves the TDE protectors of a geo-linked component of
// Azure SQL servers as one safe change: it inspects, plans, applies, verifies,
// drills and reports.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(mainCode()) }

func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first Ctrl-C pauses; a second one ends the process as it always does.
	context.AfterFunc(ctx, stop)
	a := &app{
		in: os.Stdin, out: os.Stdout, talk: os.Stderr, now: time.Now, wait: wait,
		connect: func(ctx context.Context, s settings) (cloud, error) { return connectAzure(ctx, s, nil) },
		asks:    isTerminal(os.Stdin) && isTerminal(os.Stderr), live: isTerminal(os.Stderr), paint: isTerminal(os.Stdout),
		environ: os.Getenv,
	}
	root := newRoot(a)
	root.AddCommand(newLabCommand(), newDemoCommand())
	return a.end(root.ExecuteContext(ctx))
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// wait returns after d, or earlier with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
