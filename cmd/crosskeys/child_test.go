package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/run"
)

// The variables by which a test has its own binary be the tool, and die or wait
// at a point of its way. The tool itself reads none of them.
const (
	childVariable = "CROSSKEYS_TEST_CHILD" // any text: this process is the tool
	leaseVariable = "CROSSKEYS_TEST_LEASE" // how long holds on servers last
	killVariable  = "CROSSKEYS_TEST_KILL"  // the point at which the process kills itself
	stopVariable  = "CROSSKEYS_TEST_STOP"  // the point, by what it is, at which it stops itself by SIGSTOP, once
	traceVariable = "CROSSKEYS_TEST_TRACE" // a file that takes a line for each point
)

// childCode is the tool's main, with points.
func childCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	lease, err := time.ParseDuration(os.Getenv(leaseVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	kill, _ := strconv.Atoi(os.Getenv(killVariable)) // absent: it lives
	p := &points{kill: kill, stop: os.Getenv(stopVariable), trace: os.Getenv(traceVariable)}
	client := &http.Client{Transport: p}
	a := &app{
		in: os.Stdin, out: os.Stdout, talk: os.Stderr, now: time.Now, wait: wait, environ: os.Getenv, lease: lease, around: p.around,
		connect: func(ctx context.Context, s settings) (cloud, error) { return connectAzure(ctx, s, client) },
	}
	root := newRoot(a)
	root.SetArgs(os.Args[1:])
	return a.end(root.ExecuteContext(ctx))
}

// points counts what a process does that another can notice, and the answers
// it gets: before and after each record, before each request, and after each
// reply, which then is lost.
type points struct {
	kill  int
	stop  string
	trace string

	mu      sync.Mutex
	reached int
}

func (p *points) reach(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reached++
	if p.trace != "" {
		file, err := os.OpenFile(p.trace, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, _ = fmt.Fprintln(file, what)
			_ = file.Close()
		}
	}
	switch {
	case p.reached == p.kill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case p.stop == what:
		p.stop = ""
		// To this very thread: a signal to the process may reach another one
		// first, and this one would go on for a while, with its next call.
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGSTOP))
		runtime.UnlockOSThread()
	}
}

// changes reports whether a request may change something that matters here.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasSuffix(r.URL.Path, "/token")
}

// RoundTrip is the network, with a point before and one after each request.
func (p *points) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := "read"
	if changes(r) {
		kind = "change"
	}
	p.reach(fmt.Sprintf("%s before %s %s", kind, r.Method, r.URL.Path))
	answer, err := http.DefaultTransport.RoundTrip(r)
	p.reach(fmt.Sprintf("%s after %s %s", kind, r.Method, r.URL.Path))
	return answer, err
}

func (p *points) around(to run.Journal) run.Journal { return &pointedJournal{p, to} }

type pointedJournal struct {
	points *points
	to     run.Journal
}

func (j *pointedJournal) Append(r journal.Record) error {
	j.points.reach(fmt.Sprintf("record before %s %d", r.Kind, r.Step))
	err := j.to.Append(r)
	j.points.reach(fmt.Sprintf("record after %s %d", r.Kind, r.Step))
	return err
}

// process is a child that is the tool.
type process struct {
	*exec.Cmd
	said strings.Builder
}

// child makes a process of the tool against a lab. Words beginning with "@" are
// files in the folder.
func child(ctx context.Context, t testing.TB, access lab.Access, folder string, variables map[string]string, words ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := make([]string, len(words))
	for i, word := range words {
		args[i] = word
		if strings.HasPrefix(word, "@") {
			args[i] = folder + "/" + word[1:]
		}
	}
	c := &process{Cmd: exec.CommandContext(ctx, self, args...)}
	c.Stdout, c.Stderr = &c.said, &c.said
	c.Env = append(labEnviron(os.Environ(), access.Environ()), childVariable+"=1", "XDG_STATE_HOME="+folder, "CROSSKEYS_DISABLE_INSTANCE_DISCOVERY=1", "GOGC=400")
	if variables[leaseVariable] == "" {
		c.Env = append(c.Env, leaseVariable+"=300ms")
	}
	for name, value := range variables {
		c.Env = append(c.Env, name+"="+value)
	}
	return c
}

// code runs the process to its end; -1 when a signal ended it.
func (c *process) code(t testing.TB) int {
	t.Helper()
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}
