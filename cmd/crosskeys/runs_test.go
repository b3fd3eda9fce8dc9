package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/evidence"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// terminal is another terminal of the same person: the same folder and cloud.
func (c *console) terminal() *console {
	return &console{t: c.t, cloud: c.cloud, folder: c.folder, ctx: c.t.Context(), lease: c.lease}
}

// inHand begins an apply and gives the place where its n-th call waits until
// it is let go, and its end.
func (c *console) inHand(n int, words ...string) (reached <-chan struct{}, letGo func(), ended <-chan int) {
	at, gate, code := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	c.cloud.mu.Lock()
	c.cloud.onCall = func(call int) {
		if call == n {
			close(at)
			<-gate
		}
	}
	c.cloud.mu.Unlock()
	go func() { code <- c.run(words...) }()
	return at, func() { close(gate) }, code
}

func TestARunIsPausedFromAnotherTerminalAndResumed(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.lease = 2 * time.Second
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "--protector", wantSecondary, "-o", "@plan.json")
	other := c.terminal()
	other.expect(exitUsage, "pause")
	other.tells("there is no run under way")
	reached, letGo, ended := c.inHand(5, "apply", "@plan.json", "--yes")
	<-reached
	other.expect(exitOK, "status")
	other.says("apply of fog-harshitha, running; 4 of 7 steps done", "now   step 5: make testanu2/tey", "holds "+tdetest.PrimaryServer, "holds "+tdetest.SecondaryServer)
	other.expect(exitOK, "runs", "list")
	other.says("running")
	other.expect(exitOperator, "apply", "@plan.json", "--yes")
	other.tells("another run works on this component")
	other.expect(exitOK, "pause")
	other.says("was asked to pause")
	letGo()
	if code := <-ended; code != exitPaused {
		t.Fatalf("exit code %d\n%s\n%s", code, c.out.String(), c.talk.String())
	}
	c.says("paused after", "go on with: crosskeys apply")
	c.tells("paused by ")
	if c.cloud.calls != 5 {
		t.Errorf("%d calls", c.cloud.calls)
	}
	other.expect(exitRefused, "pause", "2")
	other.expect(exitOK, "resume", "--yes")
	other.tells("going on with run")
	other.says("done before", "done in")
	if c.cloud.calls != 6 {
		t.Errorf("%d calls", c.cloud.calls)
	}
	other.expect(exitUsage, "resume", "--yes")
	other.tells("there is no run to go on with")
	other.expect(exitOK, "status", "--json")
	var is standing
	if err := json.Unmarshal(other.out.Bytes(), &is); err != nil || is.Done != 7 || is.Status != journal.StatusDone || len(is.Holdings) != 0 {
		t.Errorf("%+v %v", is, err)
	}
}

func TestAnAbortedRunIsNotResumed(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	other := c.terminal()
	reached, letGo, ended := c.inHand(2, "apply", "@plan.json", "--yes")
	<-reached
	other.expect(exitOK, "abort")
	letGo()
	if code := <-ended; code != exitFailed {
		t.Fatalf("exit code %d\n%s\n%s", code, c.out.String(), c.talk.String())
	}
	c.says("aborted after")
	other.expect(exitOK, "runs", "list", "--json")
	var list struct{ Runs []journal.Summary }
	if err := json.Unmarshal(other.out.Bytes(), &list); err != nil || len(list.Runs) != 1 || list.Runs[0].Status != journal.StatusAborted || list.Runs[0].Wanted != "" {
		t.Fatalf("%+v %v", list, err)
	}
	other.expect(exitRefused, "resume", list.Runs[0].Run, "--yes")
	other.tells("aborted", "hint: make a new plan")
	other.expect(exitRefused, "abort", "2")

	// One that nobody is at is aborted where it lies; a new one begins.
	other.expect(exitPaused, "apply", "@plan.json", "--yes", "--until", "2")
	other.expect(exitOK, "runs", "list", "--json")
	if err := json.Unmarshal(other.out.Bytes(), &list); err != nil || len(list.Runs) != 2 || list.Runs[1].Status != "paused" {
		t.Fatalf("%+v %v", list, err)
	}
	other.expect(exitOK, "abort", list.Runs[1].Run)
	other.expect(exitRefused, "resume", list.Runs[1].Run, "--yes")
	other.expect(exitOK, "apply", "@plan.json", "--yes")
	other.expect(exitOK, "runs", "verify")
	if got := strings.Count(other.out.String(), "whole"); got != 3 {
		t.Errorf("%d runs", got)
	}
}

// A hold that another run has taken over ends this one: it calls nothing more.
func TestAnOvertakenRunStops(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	reached, letGo, ended := c.inHand(2, "apply", "@plan.json", "--yes", "--journal", "@journals")
	<-reached
	// As if the process had been asleep: its hold is taken from it.
	store := c.store("@journals")
	for err := journal.ErrHeld; err != nil; { // it is renewed all the time
		c.expire("@journals")
		_, err = store.Acquire(t.Context(), "another-run", "another process", []string{tdetest.PrimaryServer}, time.Minute)
		if err != nil && !errors.Is(err, journal.ErrHeld) {
			t.Fatal(err)
		}
	}
	letGo()
	if code := <-ended; code != exitOperator {
		t.Fatalf("exit code %d\n%s\n%s", code, c.out.String(), c.talk.String())
	}
	c.tells("no longer has the servers", "taken over by run another-run")
	if c.cloud.calls > 4 { // those that were under way
		t.Errorf("%d calls", c.cloud.calls)
	}
}

func TestTermsOutliveTheProcess(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	c.expect(exitUsage, "apply", "@plan.json", "--yes", "--window", "at night")
	c.expect(exitUsage, "apply", "@plan.json", "--yes", "--hold-before", "lunch")
	hook := `echo "$CROSSKEYS_HOOK $CROSSKEYS_STEP $CROSSKEYS_KIND $CROSSKEYS_SERVER $CROSSKEYS_RUN" >> ` + filepath.Join(c.folder, "hooks") + `; cat >> ` + filepath.Join(c.folder, "steps")
	c.expect(exitPaused, "apply", "@plan.json", "--yes", "--hold-before", "flip", "--window", "00:00-24:00", "--pre-hook", hook, "--post-hook", hook)
	calls := c.cloud.calls
	c.expect(exitUsage, "resume", "--yes")
	c.tells("was begun with a --p", "hint: give it again")
	c.expect(exitRefused, "resume", "--yes", "--pre-hook", "echo no; exit 3", "--post-hook", "true")
	c.tells("the pre-hook speaks against it")
	if c.cloud.calls != calls {
		t.Errorf("%d calls after a pre-hook's no", c.cloud.calls-calls)
	}
	c.expect(exitOK, "resume", "--yes", "--pre-hook", hook, "--post-hook", "exit 1")
	c.tells("the post-hook failed")
	text, err := os.ReadFile(filepath.Join(c.folder, "hooks"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pre 1 Register ", "post 1 Register ", "SetProtector " + tdetest.PrimaryServer + " 2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	steps, err := os.ReadFile(filepath.Join(c.folder, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(steps)) {
		var s plan.Step
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.Number == 0 {
			t.Errorf("%v: %s", err, line)
		}
	}
	c.expect(exitOK, "runs", "show", "2", "--export")
	if !strings.Contains(c.out.String(), `"windows":["00:00-24:00"]`) || strings.Contains(c.out.String(), "echo") {
		t.Error("the journal lacks the terms, or holds a command")
	}
}

func TestEvidence(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "--protector", wantSecondary, "-o", "@plan.json")
	c.expect(exitPaused, "apply", "@plan.json", "--yes", "--until", "5", "--journal", "@journals")
	c.expect(exitOK, "apply", "@plan.json", "--yes", "--journal", "@journals")
	c.says("evidence ")
	files, err := filepath.Glob(filepath.Join(c.folder, "journals", "*"+evidenceSuffix))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	c.expect(exitOK, "report", "verify", files[0])
	c.says("it holds: apply of fog-harshitha, done", "1 plans, 7 steps")
	c.narrow()
	c.expect(exitOK, "report", "--bundle", "@bundle.json", "--journal", "@journals")
	c.expect(exitOK, "report", "verify", "@bundle.json", "--json")
	text, err := os.ReadFile(filepath.Join(c.folder, "bundle.json"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, log, err := evidence.Verify(text)
	if err != nil {
		t.Fatal(err)
	}
	s := bundle.Summary
	if len(s.By) != 2 || len(s.Seen) != 2 || s.Seen[0].Proof == nil || !s.Plans[0].Proved || len(s.Servers) != 2 || s.Servers[0].Before == s.Servers[0].After || !log.Complete() {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(bundle.Report, "# crosskeys apply of fog-harshitha") {
		t.Errorf("the report is %s", bundle.Report)
	}
	if err := os.WriteFile(filepath.Join(c.folder, "forged.json"), []byte(strings.Replace(string(text), "request-1", "request-9", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.expect(exitFailed, "report", "verify", "@forged.json")
	c.tells("does not hold", "hint:")

	c.expect(exitOK, "runs", "show", "2", "--export", "--journal", "@journals")
	if err := os.WriteFile(filepath.Join(c.folder, "run.jsonl"), c.out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.expect(exitOK, "runs", "verify", "@run.jsonl")
	c.says(log.Head)
	c.expect(exitOK, "report", "@run.jsonl")
	c.says("# crosskeys apply of fog-harshitha")
}
