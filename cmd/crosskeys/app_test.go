package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// standIn is a cloud in memory in which every call takes effect at once. What
// a real one does is the lab's to show; here it is the command line that is
// tested.
type standIn struct {
	mu    sync.Mutex
	world *tdetest.World
	calls int
	fail  map[int]*run.CallError // by the call's place
	// onCall is told of each call by its place, before it takes effect.
	onCall func(call int)
	asks   *azure.SQLReader // how databases are asked; nil where they are not
}

func (c *standIn) observe(ctx context.Context, _ target) (tde.Topology, error) { return c.Observe(ctx) }
func (c *standIn) name() string                                                { return "memory" }
func (c *standIn) principal() string                                           { return "tester" }
func (c *standIn) sql() *azure.SQLReader                                       { return c.asks }

func (c *standIn) Observe(context.Context) (tde.Topology, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.world.Clone().Topology, nil
}

func (c *standIn) ReadProtector(ctx context.Context, s tde.Server) (tde.Protector, error) {
	t, err := c.Observe(ctx)
	server, _ := t.Server(s.Name)
	return server.Protector, err
}

func (c *standIn) ReadKeys(ctx context.Context, s tde.Server) ([]tde.ServerKey, error) {
	t, err := c.Observe(ctx)
	server, _ := t.Server(s.Name)
	return server.Keys, err
}

func (c *standIn) ReadGroup(ctx context.Context, g tde.FailoverGroup, _ []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error) {
	t, err := c.Observe(ctx)
	is, _ := t.FailoverGroup(g.Name)
	return is, t.Links, err
}

func (c *standIn) Act(_ context.Context, s plan.Step, accepted func(run.Accepted) error) (run.Answer, error) {
	c.mu.Lock()
	c.calls++
	failure, told, call := c.fail[c.calls], c.onCall, c.calls
	c.mu.Unlock()
	if told != nil {
		told(call)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if failure != nil {
		return run.Answer{}, failure
	}
	if err := accepted(run.Accepted{Operation: string(s.Kind), RequestID: "request-1"}); err != nil {
		return run.Answer{}, err
	}
	switch s.Kind {
	case plan.Grant:
		c.world.Grant(s.Server, s.VaultName)
	case plan.Register:
		c.world.Register(s.Server, s.Key)
	case plan.SetProtector:
		c.world.SetProtector(s.Server, s.Key, s.AutoRotation)
	case plan.PlannedFailover:
		c.world.Failover(s.Group, s.Server)
	case plan.VerifyEncryption:
		return run.Answer{}, errors.New("a verification is no call")
	}
	c.world.Settle()
	return run.Answer{Status: 200}, nil
}

func (c *standIn) Await(context.Context, plan.Step, string) (run.Answer, error) {
	return run.Answer{}, nil
}

type standInCloud struct{ *standIn }

func (c standInCloud) world(target) run.World { return c.standIn }

// console runs command lines against a stand-in and keeps what they print.
type console struct {
	t      *testing.T
	cloud  *standIn
	folder string
	out    bytes.Buffer
	talk   bytes.Buffer
	typed  string // what a person types, when there is one
	asks   bool
	paint  bool
	ctx    context.Context //nolint:containedctx // the context of the one command line that is run
	seen   []target
	lease  time.Duration
}

func newConsole(t *testing.T, w *tdetest.World) *console {
	return &console{t: t, cloud: &standIn{world: w}, folder: t.TempDir(), ctx: t.Context(), lease: 300 * time.Millisecond}
}

func (c *console) app() *app {
	c.out.Reset()
	c.talk.Reset()
	return &app{
		in: strings.NewReader(c.typed), out: &c.out, talk: &c.talk, now: time.Now, wait: wait, asks: c.asks, paint: c.paint,
		lease: c.lease, environ: func(name string) string {
			if name == "XDG_STATE_HOME" {
				return filepath.Join(c.folder, "state")
			}
			return ""
		},
		connect: func(_ context.Context, s settings) (cloud, error) {
			c.seen = append(c.seen, target{settings: s})
			return standInCloud{c.cloud}, nil
		},
	}
}

// run gives the exit code. Words beginning with "@" are files in the folder.
func (c *console) run(words ...string) int {
	for i, word := range words {
		if strings.HasPrefix(word, "@") {
			words[i] = filepath.Join(c.folder, word[1:])
		}
	}
	a := c.app()
	root := newRoot(a)
	root.SetArgs(words)
	return a.end(root.ExecuteContext(c.ctx))
}

func (c *console) expect(code int, words ...string) {
	c.t.Helper()
	if got := c.run(words...); got != code {
		c.t.Fatalf("crosskeys %s: exit code %d, want %d\n%s\n%s", strings.Join(words, " "), got, code, c.out.String(), c.talk.String())
	}
}

func (c *console) says(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if !strings.Contains(c.out.String(), text) {
			c.t.Errorf("the result lacks %q:\n%s", text, c.out.String())
		}
	}
}

func (c *console) tells(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if !strings.Contains(c.talk.String(), text) {
			c.t.Errorf("the talk lacks %q:\n%s", text, c.talk.String())
		}
	}
}

// narrow demands that lines for people fit; commands and paths are for copying
// and may be longer.
func (c *console) narrow() {
	c.t.Helper()
	for line := range strings.Lines(c.out.String() + c.talk.String()) {
		line = strings.TrimRight(line, "\n")
		copied := strings.Contains(line, " az ") || strings.Contains(line, c.folder) || strings.Contains(line, "https://")
		if len([]rune(line)) > columns && !copied {
			c.t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
}

const (
	wantPrimary   = tdetest.PrimaryServer + "=" + tdetest.Subham
	wantSecondary = tdetest.SecondaryServer + "=" + tdetest.Tey
)

func TestFromPlanToReport(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "--protector", wantSecondary, "-o", "@plan.json")
	c.says("7 steps", "register testanu2/tey/29497bab… on tdeprimarytest", "why", "undo", "after  step", "crosskeys apply")
	c.narrow()
	c.expect(exitUsage, "apply", "@plan.json")
	c.tells("nobody can be asked", "hint: say --yes")
	c.expect(exitOK, "apply", "@plan.json", "--dry-run")
	c.says("not begun", "nothing was changed")
	if c.cloud.calls != 0 {
		t.Fatalf("%d calls before anything was to be changed", c.cloud.calls)
	}
	c.expect(exitRefused, "verify", tdetest.Group, "--plan", "@plan.json")
	c.says("protector-differs")
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	c.says("done in", "safe to stay", "journal")
	c.tells("[5/7] make testanu2/tey/29497bab… the protector of tdesecondarytest")
	c.narrow()
	c.expect(exitOK, "verify", tdetest.Group, "--plan", "@plan.json")
	c.says("everything is as it must be", "testprimarysubham/subham", "testanu2/tey", "Secondary")
	c.narrow()
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	c.says("done before")
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "--protector", wantSecondary)
	c.says("nothing to do")

	c.expect(exitOK, "drill", tdetest.Group, "--failback", "--yes")
	c.says("planned failover of fog-harshitha to tdesecondarytest", "planned failover of fog-harshitha to tdeprimarytest", "done in")
	c.expect(exitOK, "report", "-o", "@report.md")
	text, err := os.ReadFile(filepath.Join(c.folder, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# crosskeys drill of fog-harshitha", "signed in as tester", "about to make tdesecondarytest the primary", "request-1", "SHA-256"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestARunThatIsRefusedSaysWhatIsLeft(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.cloud.fail = map[int]*run.CallError{5: {Code: "SameKeyMaterialNotFoundOnRemoteServer", Message: "add the key", InPoll: true, Hint: "register it first"}}
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "--protector", wantSecondary, "-o", "@plan.json")
	c.expect(exitFailed, "apply", "@plan.json", "--yes", "--journal", "@journals")
	c.says("Of 7 steps, 4 took effect", "refused", "not begun", "The protector of tdeprimarytest is testshared", "stopped after")
	c.tells("crosskeys: step 5: Azure refused", "SameKeyMaterialNotFoundOnRemoteServer", "hint: register it first")
	c.expect(exitOK, "apply", "@plan.json", "--yes", "--journal", "@journals")
	c.tells("going on with run")
	c.says("done before", "done in")
	c.expect(exitOK, "report", "--journal", "@journals")
	c.says("Azure refused the operation, while it was followed", "gone on with by")
}

func TestTheWorldHasChanged(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	c.cloud.world.Failover(tdetest.Group, tdetest.SecondaryServer)
	c.expect(exitRefused, "apply", "@plan.json", "--yes")
	c.tells("somebody has failed over", "hint:")
	if c.cloud.calls != 0 {
		t.Errorf("%d calls", c.cloud.calls)
	}
}

func TestABlockedPlanIsNotWritten(t *testing.T) {
	w := tdetest.Article()
	w.Revoke(tdetest.PrimaryServer, "testanu2")
	c := newConsole(t, w)
	c.expect(exitRefused, "plan", tdetest.Group, "--protector", wantSecondary, "-o", "@plan.json")
	c.says("BLOCKER missing-grant", "cure", "run    az keyvault set-policy")
	c.narrow()
	if _, err := os.Stat(filepath.Join(c.folder, "plan.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plan was written: %v", err)
	}
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantSecondary, "--grant", "-o", "@plan.json")
	c.says("let tdeprimarytest use the keys of vault testanu2")
}

func TestAPersonIsAsked(t *testing.T) {
	for typed, code := range map[string]int{"y\n": exitOK, "yes\n": exitOK, "n\n": exitPaused, "\n": exitPaused, "": exitPaused} {
		c := newConsole(t, tdetest.Article())
		c.asks, c.typed = true, typed
		c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
		c.expect(code, "apply", "@plan.json")
		c.tells("Carry out these")
		if (c.cloud.calls > 0) != (code == exitOK) {
			t.Errorf("typed %q: %d calls", typed, c.cloud.calls)
		}
	}
}

func TestDrills(t *testing.T) {
	t.Run("a drill that was refused half-way is gone on with, not begun anew", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.cloud.fail = map[int]*run.CallError{2: {Code: "InternalServerError", Status: 500}}
		c.expect(exitFailed, "drill", tdetest.Group, "--failback", "--yes")
		c.expect(exitOK, "drill", tdetest.Group, "--failback", "--yes")
		c.tells("going on with run")
		if g, _ := c.cloud.world.FailoverGroup(tdetest.Group); g.Primary() != tdetest.PrimaryServer || c.cloud.calls != 3 {
			t.Errorf("primary %s after %d calls", g.Primary(), c.cloud.calls)
		}
	})
	t.Run("a new one is begun when that is asked for", func(t *testing.T) {
		c := newConsole(t, tdetest.Article())
		c.cloud.fail = map[int]*run.CallError{2: {Code: "InternalServerError", Status: 500}}
		c.expect(exitFailed, "drill", tdetest.Group, "--failback", "--yes")
		c.expect(exitOK, "drill", tdetest.Group, "--new", "--yes")
		if g, _ := c.cloud.world.FailoverGroup(tdetest.Group); g.Primary() != tdetest.PrimaryServer {
			t.Errorf("primary %s", g.Primary())
		}
	})
	t.Run("it goes to the secondary that is named", func(t *testing.T) {
		w := tdetest.Article()
		c := newConsole(t, w)
		c.expect(exitUsage, "drill", tdetest.Group, "--onto", tdetest.PrimaryServer, "--yes")
		c.expect(exitUsage, "drill", tdetest.Group, "--onto", "stranger", "--yes")
		c.expect(exitOK, "drill", tdetest.Group, "--onto", strings.ToUpper(tdetest.SecondaryServer), "--yes")
		if g, _ := w.FailoverGroup(tdetest.Group); g.Primary() != tdetest.SecondaryServer {
			t.Errorf("primary %s", g.Primary())
		}
	})
	t.Run("what stands against a failover stops it", func(t *testing.T) {
		w := tdetest.Article()
		w.Links[0].State = "SEEDING"
		c := newConsole(t, w)
		c.expect(exitRefused, "drill", tdetest.Group, "--yes")
		c.says("replication-not-in-catch-up")
	})
}

func TestJSONIsTheWholeResult(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	for _, words := range [][]string{
		{"inspect", tdetest.Group, "--json"},
		{"plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json", "--json"},
		{"apply", "@plan.json", "--yes", "--json"},
		{"verify", tdetest.Group, "--json"},
		{"report", "--json"},
		{"version", "--json"},
	} {
		c.expect(exitOK, words...)
		if text := c.out.String(); !strings.HasPrefix(text, "{\n") || !strings.HasSuffix(text, "}\n") {
			t.Errorf("%s prints %s", words[0], text)
		}
	}
}

func TestPausedByCtrlC(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	c.expect(exitPaused, "apply", "@plan.json", "--yes", "--until", "1")
	c.says("paused after", "go on with: crosskeys apply")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.ctx = ctx
	c.expect(exitPaused, "apply", "@plan.json", "--yes")
	c.ctx = t.Context()
	c.expect(exitOK, "apply", "@plan.json", "--yes")
}

func TestAnotherRunHoldsTheServers(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	store := c.store("@journals")
	lease, err := store.Acquire(t.Context(), "somebody's", "another process", []string{tdetest.SecondaryServer}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c.expect(exitOperator, "apply", "@plan.json", "--yes", "--journal", "@journals")
	c.tells("another run", "somebody's", "waiting whether it lives")
	if c.cloud.calls != 0 {
		t.Errorf("%d calls", c.cloud.calls)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.expect(exitOK, "apply", "@plan.json", "--yes", "--journal", "@journals")
}

// expire ends every hold on servers, as time does.
func (c *console) expire(folder string) {
	c.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(c.folder, folder[1:], journal.FileName)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := db.ExecContext(c.t.Context(), `UPDATE leases SET expires_at = 0`); err != nil {
		c.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// store opens the journals in a folder of the console's.
func (c *console) store(folder string) *journal.Store {
	c.t.Helper()
	store, err := journal.OpenStore(c.t.Context(), filepath.Join(c.folder, folder[1:]), time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return store
}

func TestABrokenJournalIsNoEvidence(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group, "--protector", wantPrimary, "-o", "@plan.json")
	c.expect(exitOK, "apply", "@plan.json", "--yes", "--journal", "@journals")
	c.expect(exitOK, "runs", "verify", "--journal", "@journals")
	c.says("whole", "SHA-256")
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(c.folder, "journals", journal.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var broken int // which record that is varies, since steps run side by side
	if err := db.QueryRowContext(t.Context(), `SELECT min(seq) FROM records WHERE line LIKE '%request-1"%'`).Scan(&broken); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `UPDATE records SET line = replace(line, 'request-1"', 'request-2"') WHERE seq = $1`, broken); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"report"}, {"runs", "verify"}, {"runs", "show", "2"}, {"status"}} {
		c.expect(exitFailed, append(words, "--journal", "@journals")...)
		c.tells(fmt.Sprintf("broken at record %d", broken+1), "hint:")
	}
}

func TestAutoRotationAloneKeepsTheKey(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	c.expect(exitOK, "plan", tdetest.Group,
		"--auto-rotation", tdetest.PrimaryServer+"=true", "--auto-rotation", tdetest.SecondaryServer+"=TRUE", "-o", "@plan.json")
	c.expect(exitOK, "apply", "@plan.json", "--yes")
	if p := c.cloud.world.At(tdetest.PrimaryServer).Protector; !p.AutoRotation || p.Key != tdetest.Key(tdetest.Shared) {
		t.Errorf("protector %+v", p)
	}
}

func TestHelpIsWholeAndNarrow(t *testing.T) {
	c := newConsole(t, tdetest.Article())
	var visit func(command *cobra.Command, words []string)
	visit = func(command *cobra.Command, words []string) {
		if len(words) > 0 && words[0] != "exit-codes" && (command.Example == "" || command.Short == "") {
			t.Errorf("crosskeys %s has no example or no description", strings.Join(words, " "))
		}
		if command.Example != "" && !strings.Contains(command.Example, "crosskeys "+strings.Join(words, " ")) {
			t.Errorf("crosskeys %s has an example of something else: %s", strings.Join(words, " "), command.Example)
		}
		c.expect(exitOK, append(words, "--help")...)
		for line := range strings.Lines(c.out.String()) {
			if len([]rune(strings.TrimRight(line, "\n"))) > columns && !strings.Contains(line, "https://") {
				t.Errorf("%d columns: %s", len([]rune(line)), line)
			}
		}
		for _, sub := range command.Commands() {
			visit(sub, append(append([]string{}, words...), sub.Name()))
		}
	}
	visit(newRoot(c.app()), nil)
}

func TestWrapping(t *testing.T) {
	text := strings.Repeat("word ", 60) + strings.Repeat("x", 100) + " end"
	for line := range strings.SplitSeq(wrap(text, "    "), "\n") {
		if len([]rune(line)) > columns && !strings.Contains(line, "xxx") {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	if got := cut("abcdef", 4); got != "abc…" {
		t.Errorf("cut to %q", got)
	}
	var out bytes.Buffer
	p := &printer{to: &out}
	p.table([]string{"A", "B"}, [][]string{{strings.Repeat("a", 200), "short"}})
	for line := range strings.Lines(out.String()) {
		if len([]rune(strings.TrimRight(line, "\n"))) > columns {
			t.Errorf("table line: %s", line)
		}
	}
}
