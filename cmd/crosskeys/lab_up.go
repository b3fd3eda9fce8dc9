package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/latency"
)

type labUp struct {
	dir        *string
	foreground bool
	latency    string
	speed      float64
	https      string
	proxy      string
	sql        string
	freeFlip   bool
	rotation   time.Duration
	faults     string // a file, - or a text, as it was given
	faultText  string // what was read of it
}

func newLabUp(dir *string) *cobra.Command {
	up := labUp{dir: dir}
	command := &cobra.Command{
		Use: "up", Short: "Start the lab in the background", Args: cobra.NoArgs,
		Long: `Starts the lab on its state folder and returns when it answers.

With --faults accidents happen from its first moment on: a text of faults, or a
file that holds one, or - for standard input. They take the place of those that
an earlier lab on the folder left; docs/faults.md has the language.`,
		Example: `  crosskeys lab up
  crosskeys lab up --latency azure --speed 10
  crosskeys lab up --faults accidents.txt
  crosskeys lab up --faults 'arm: throttle'
  crosskeys lab up --foreground`,
		RunE: func(command *cobra.Command, _ []string) error { return up.run(command) },
	}
	flags := command.Flags()
	flags.BoolVar(&up.foreground, "foreground", false, "stay in the foreground until Ctrl-C")
	flags.StringVar(&up.latency, "latency", "instant", "how long operations take: instant, or azure (as seen on Azure)")
	flags.Float64Var(&up.speed, "speed", 1, "divide azure's durations by this")
	flags.StringVar(&up.https, "https-addr", "", "loopback address of the TLS port (default a free one)")
	flags.StringVar(&up.proxy, "proxy-addr", "", "loopback address of the proxy (default a free one)")
	flags.StringVar(&up.sql, "sql-addr", "", "loopback address of the SQL port (default a free one)")
	flags.StringVar(&up.faults, "faults", "", "faults in force from the start: a text, a file that holds one, or - for standard input")
	flags.DurationVar(&up.rotation, "rotation-every", 24*time.Hour, "how often, on the lab's clock, protectors with automatic rotation are moved to newer versions")
	flags.BoolVar(&up.freeFlip, "free-secondary-flip", false, "let a geo-secondary take a protector that its primary has not registered")
	return command
}

func (u labUp) run(command *cobra.Command) error {
	if u.rotation <= 0 {
		return usageError("--rotation-every %s: want a time above 0, such as 1h", u.rotation)
	}
	dir, err := labDir(*u.dir)
	if err != nil {
		return err
	}
	if command.Flags().Changed("faults") {
		if u.faultText, err = faultsGiven(command.InOrStdin(), u.faults); err != nil {
			return err
		}
	}
	if u.foreground {
		return u.serve(command.Context(), dir, command.ErrOrStderr())
	}
	if remote, err := lab.Find(command.Context(), dir); err == nil {
		if u.faultText != "" {
			return &verbError{
				code: exitUsage, err: fmt.Errorf("the lab runs already (process %d), and --faults is for one that starts", remote.Access.PID),
				hint: "crosskeys lab fault set FILE puts faults in force now; crosskeys lab down ends the lab",
			}
		}
		_, err = fmt.Fprintf(command.OutOrStdout(), "the lab runs already: %s, proxy %s (process %d)\n", remote.Access.BaseURL, remote.Access.ProxyURL, remote.Access.PID)
		return err
	}
	return u.background(command, dir)
}

// serve runs the lab until it is told to stop.
func (u labUp) serve(ctx context.Context, dir string, talk io.Writer) error {
	profile, err := latency.Parse(u.latency, u.speed)
	if err != nil {
		return err
	}
	running, err := lab.Start(ctx, lab.Options{
		Dir: dir, HTTPSAddr: u.https, ProxyAddr: u.proxy, SQLAddr: u.sql, Latency: profile, FreeSecondaryFlip: u.freeFlip,
		RotationEvery: u.rotation, Faults: u.faultText,
		Log: slog.New(slog.NewTextHandler(talk, nil)),
	})
	if err != nil {
		return err
	}
	if err := running.Announce(); err != nil {
		return errors.Join(err, running.Close())
	}
	if u.foreground {
		_, _ = fmt.Fprintf(talk, "lab ready: %s, proxy %s, state in %s\n", running.BaseURL(), running.ProxyURL(), dir)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	select {
	case <-ctx.Done():
	case <-running.Done():
	}
	return errors.Join(running.Withdraw(), running.Close())
}

// startLimit bounds how long a lab may take to answer.
const startLimit = 20 * time.Second

// background starts this program again as the lab's process and returns once
// the lab answers.
func (u labUp) background(command *cobra.Command, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	logPath := filepath.Join(dir, "lab.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	defer func() { _ = logFile.Close() }()
	args := []string{
		"lab", "up", "--foreground", "--dir", dir, "--latency", u.latency, "--speed", fmt.Sprint(u.speed),
		"--https-addr", u.https, "--proxy-addr", u.proxy, "--sql-addr", u.sql, fmt.Sprintf("--free-secondary-flip=%t", u.freeFlip), "--rotation-every", u.rotation.String(),
	}
	if u.faultText != "" {
		args = append(args, "--faults", "-")
	}
	process := exec.Command(self, args...) //nolint:noctx // the lab outlives this command
	process.Stdin = strings.NewReader(u.faultText)
	process.Stdout, process.Stderr = logFile, logFile
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	remote, err := awaitLab(command.Context(), dir, ended)
	if err != nil {
		return fmt.Errorf("start the lab: %w (its log: %s)", err, logPath)
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "lab ready: %s, proxy %s, state in %s (process %d)\n", remote.Access.BaseURL, remote.Access.ProxyURL, dir, remote.Access.PID)
	return err
}

func awaitLab(ctx context.Context, dir string, ended <-chan error) (*lab.Remote, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		remote, err := lab.Find(ctx, dir)
		if err == nil {
			return remote, nil
		}
		select {
		case exit := <-ended:
			return nil, fmt.Errorf("it ended at once: %w", errors.Join(exit, err))
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}
