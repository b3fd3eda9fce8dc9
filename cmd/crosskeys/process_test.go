package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/run"
)

// onJournals runs a test with journals in folders, and in databases where
// CROSSKEYS_TEST_POSTGRES names a server; fresh makes new ones.
func onJournals(t *testing.T, test func(t *testing.T, fresh func(t *testing.T) string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, func(t *testing.T) string { return t.TempDir() }) })
	t.Run("PostgreSQL", func(t *testing.T) {
		address := os.Getenv("CROSSKEYS_TEST_POSTGRES")
		if address == "" {
			if os.Getenv("CI") != "" {
				t.Fatal("CROSSKEYS_TEST_POSTGRES names no server; scripts/unit.sh starts one")
			}
			t.Skip("SKIP two processes on PostgreSQL: CROSSKEYS_TEST_POSTGRES names no server; scripts/unit.sh starts one")
		}
		test(t, func(t *testing.T) string { return ownDatabase(t, address) })
	})
}

func ownDatabase(t *testing.T, address string) string {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("process_%d", time.Now().UnixNano())
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		if err := errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// begin starts a process that is ended with the test.
func (c *process) begin(t *testing.T) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
}

// end waits for a process that was begun.
func (c *process) end(t *testing.T) int {
	t.Helper()
	if err := c.Wait(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}

// until waits for a condition, with a deadline.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		if err := wait(t.Context(), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// stopped reports whether a process is stopped by a signal.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(state, "T")
}

func (m template) processes(t *testing.T, journals string) (c *crashTrial, tool func(variables map[string]string, extra ...string) *process) {
	t.Helper()
	c = m.begin(t)
	return c, func(variables map[string]string, extra ...string) *process {
		return child(t.Context(), t, c.access, c.folder, variables, append([]string{"apply", "@plan.json", "--yes", "--journal", journals}, extra...)...)
	}
}

// Of two processes that carry out plans on the same component one acts.
func TestTwoProcessesOnTheSameServers(t *testing.T) {
	if testing.Short() {
		t.Skip("processes and labs")
	}
	m := templates(t, theMove)[0]
	onJournals(t, func(t *testing.T, fresh func(t *testing.T) string) {
		t.Run("one that comes while another is at work is turned away", func(t *testing.T) {
			c, tool := m.processes(t, fresh(t))
			term := map[string]string{leaseVariable: "3s"}
			busy, gate := filepath.Join(c.folder, "busy"), filepath.Join(c.folder, "go")
			first := tool(term, "--pre-hook", fmt.Sprintf("touch %s; while [ ! -e %s ]; do sleep 0.05; done", busy, gate))
			first.begin(t)
			until(t, "the first process is at work", func() bool { _, err := os.Stat(busy); return err == nil })
			second := tool(term, "--pre-hook", "false")
			if code := second.code(t); code != exitOperator || !strings.Contains(second.said.String(), "another run works on this component") {
				t.Errorf("the second process ended with %d:\n%s", code, second.said.String())
			}
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if code := first.end(t); code != exitOK {
				t.Errorf("the first process ended with %d:\n%s", code, first.said.String())
			}
			c.ended(m, "")
		})
		t.Run("of four that begin at once", func(t *testing.T) {
			c, tool := m.processes(t, fresh(t))
			var all []*process
			for range 4 {
				p := tool(map[string]string{leaseVariable: "3s"})
				p.begin(t)
				all = append(all, p)
			}
			done := 0
			for _, p := range all {
				switch code := p.end(t); code {
				case exitOK: // also one that comes when all is done already
					done++
				case exitOperator:
				default:
					t.Errorf("a process ended with %d:\n%s", code, p.said.String())
				}
			}
			if done == 0 {
				t.Error("none has done it")
			}
			c.ended(m, "")
		})
	})
}

// A process that was asleep when its hold on the servers ended, and that wakes
// when another has done its work, calls nothing.
func TestAProcessThatSleptTooLong(t *testing.T) {
	if testing.Short() {
		t.Skip("processes and labs")
	}
	m := templates(t, theMove)[0]
	onJournals(t, func(t *testing.T, fresh func(t *testing.T) string) {
		for name, point := range map[string]string{
			"before anything":                     "record after begin 0",
			"between an intent and its call":      "record after intent 5",
			"between a call and its answer":       "record before call 5",
			"between an answer and the next step": "record after answer 5",
		} {
			if point == "record after begin 0" {
				point = "record after seen 0" // begin is written before the test's journal stands
			}
			t.Run(name, func(t *testing.T) {
				for try := 1; !m.sleepsTooLong(t, fresh(t), point); try++ {
					if try == 5 {
						t.Fatal("it fell asleep in the middle of a transaction five times")
					}
				}
			})
		}
	})
}

// sleepsTooLong is false when the process happened to fall asleep in the middle
// of a transaction of its journal: with SQLite's lock, nobody can do anything
// until it wakes; PostgreSQL ends the transaction after a while, so that others
// can, and the process learns that instead when it wakes.
func (m template) sleepsTooLong(t *testing.T, journals, point string) bool {
	t.Helper()
	c, tool := m.processes(t, journals)
	asleep := tool(map[string]string{stopVariable: point, leaseVariable: "500ms"})
	asleep.begin(t)
	until(t, "the process sleeps", func() bool { return stopped(t, asleep.Process.Pid) })
	other := tool(map[string]string{leaseVariable: "500ms"})
	code := other.code(t)
	if code == exitFailed && strings.Contains(other.said.String(), "database is locked") {
		if err := asleep.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if code := asleep.end(t); code != exitOK {
			t.Fatalf("it went on and ended with %d:\n%s", code, asleep.said.String())
		}
		c.ended(m, "")
		return false
	}
	if code != exitOK {
		t.Fatalf("the other process ended with %d:\n%s", code, other.said.String())
	}
	c.ended(m, "")
	if err := asleep.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	code = asleep.end(t)
	c.ended(m, "")
	if code == exitOK {
		t.Fatalf("it ended well:\n%s", asleep.said.String())
	}
	if strings.Contains(asleep.said.String(), "idle-in-transaction") {
		return false
	}
	if code != exitOperator || !strings.Contains(asleep.said.String(), "no longer has the servers") {
		t.Errorf("it ended with %d:\n%s", code, asleep.said.String())
	}
	return true
}

// One that found no run of its plan, and waited for the servers while another
// began it and died, begins no second one.
func TestARunThatWasBegunMeanwhileIsNotBegunAgain(t *testing.T) {
	c, _ := onLab(t, lab.Options{}, lab.SeedOptions{})
	reached, err := c.connect(t.Context(), settings{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := journal.OpenStore(t.Context(), t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	u := &underway{store: store, cloud: reached, job: job{hash: "the plan's"}}
	if u.lease, err = store.Acquire(t.Context(), "", "the other", []string{lab.ArticlePrimary}, time.Minute); err != nil {
		t.Fatal(err)
	}
	other, err := store.Begin(t.Context(), journal.BeginEntry{Verb: "apply", PlanHash: u.job.hash}, u.lease)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = u.open(t.Context())
	if stop, ok := errors.AsType[*run.StopError](err); !ok || stop.Reason != run.Elsewhere || !strings.Contains(stop.Hint, other.ID()) {
		t.Errorf("%v", err)
	}
	if runs, err := store.Runs(t.Context()); err != nil || len(runs) != 1 {
		t.Errorf("%+v %v", runs, err)
	}
}
