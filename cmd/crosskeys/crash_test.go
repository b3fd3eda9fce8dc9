package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/lab"
)

// template is a lab's folder from which each trial starts, with a plan to be
// carried out there.
type template struct {
	name, folder string
	words        []string // of the command that plans
	// once are the calls that have to take effect exactly once, as they end.
	once []string
}

const (
	flipPrimary   = "PUT /servers/" + lab.ArticlePrimary + "/encryptionProtector/current"
	flipSecondary = "PUT /servers/" + lab.ArticleSecondary + "/encryptionProtector/current"
	toSecondary   = "POST /servers/" + lab.ArticleSecondary + "/failoverGroups/" + lab.ArticleFailoverGroup + "/failover"
	toPrimary     = "POST /servers/" + lab.ArticlePrimary + "/failoverGroups/" + lab.ArticleFailoverGroup + "/failover"
)

// The templates' names.
const (
	theMove    = "the move"
	theDrill   = "the move, drilled there and back"
	theGrants  = "the move without grants"
	theWayBack = "the way back"
)

// templates makes those that are named.
func templates(t *testing.T, names ...string) []template {
	t.Helper()
	plan := (&labConsole{}).plan
	list := []template{
		{name: theMove, words: plan(), once: []string{flipPrimary, flipSecondary}},
		{name: theDrill, words: plan("--drill", "--failback"), once: []string{flipPrimary, flipSecondary, toSecondary, toPrimary}},
		{name: theGrants, words: plan("--grant"), once: []string{flipPrimary, flipSecondary}},
		{name: theWayBack, words: []string{"rollback", "@forth.json", "-o", "@plan.json"}, once: []string{flipPrimary, flipSecondary}},
	}
	list = slices.DeleteFunc(list, func(m template) bool { return !slices.Contains(names, m.name) })
	for i := range list {
		l, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.SeedArticle(t.Context(), lab.SeedOptions{WithoutGrants: list[i].name == theGrants}); err != nil {
			t.Fatal(err)
		}
		c := &labConsole{t: t, lab: l, folder: t.TempDir()}
		if list[i].name == theWayBack {
			c.expect(exitOK, plan()...)
			if err := os.Rename(filepath.Join(c.folder, "plan.json"), filepath.Join(c.folder, "forth.json")); err != nil {
				t.Fatal(err)
			}
			c.expect(exitOK, "apply", "@forth.json", "--yes")
		}
		c.expect(exitOK, list[i].words...)
		text, err := os.ReadFile(filepath.Join(c.folder, "plan.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.Dir(), "plan.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		list[i].folder = l.Dir()
	}
	return list
}

// trial is a lab of its own that began as the template.
type crashTrial struct {
	*labConsole
	access lab.Access
	before map[string]int
}

func (m template) begin(t *testing.T) *crashTrial {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "lab")
	if err := os.CopyFS(folder, os.DirFS(m.folder)); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Options{Dir: folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &crashTrial{labConsole: &labConsole{t: t, lab: l, folder: folder}, access: l.Access()}
	c.before = c.taken()
	return c
}

// taken counts the calls that the lab took, by method and end of the path.
func (c *crashTrial) taken() map[string]int {
	c.t.Helper()
	calls, err := lab.ReadCalls(filepath.Join(c.lab.Dir(), "calls.jsonl"))
	if err != nil {
		c.t.Fatal(err)
	}
	count := map[string]int{}
	for _, call := range calls {
		if call.Method == http.MethodGet || call.Status >= 300 {
			continue
		}
		if _, path, ok := strings.Cut(call.Path, "/providers/Microsoft.Sql"); ok {
			count[call.Method+" "+path]++
		}
	}
	return count
}

// apply carries the plan out in a process of its own.
func (c *crashTrial) apply(variables map[string]string) *process {
	p := child(c.t.Context(), c.t, c.access, c.folder, variables, "apply", "@plan.json", "--yes")
	p.code(c.t)
	return p
}

// state is everything that plans rest on, as one hash.
func (c *crashTrial) state() string {
	c.t.Helper()
	reached, err := c.connect(c.t.Context(), settings{})
	if err != nil {
		c.t.Fatal(err)
	}
	topology, err := reached.observe(c.t.Context(), target{name: lab.ArticleFailoverGroup})
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range topology.Servers {
		for k := range topology.Servers[i].Keys {
			topology.Servers[i].Keys[k].CreatedAt = time.Time{} // registered anew in each trial
		}
	}
	hash, err := topology.Fingerprint()
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

// ended demands that the plan is done, and each of its calls once.
func (c *crashTrial) ended(m template, want string) {
	c.t.Helper()
	if is := c.state(); want != "" && is != want {
		c.expect(exitOK, "inspect", lab.ArticleFailoverGroup)
		c.t.Errorf("the end is another: %s\n%s", is, c.out.String())
	}
	c.expect(exitOK, "verify", lab.ArticleFailoverGroup, "--plan", "@plan.json")
	after := c.taken()
	for _, call := range m.once {
		if n := after[call] - c.before[call]; n != 1 {
			c.t.Errorf("%s was taken %d times", call, n)
		}
	}
}

// pointsOf runs a template's plan to its end and gives its points by number,
// and the end state.
func pointsOf(t *testing.T, m template) (all []string, end string) {
	t.Helper()
	c := m.begin(t)
	trace := filepath.Join(c.folder, "trace")
	if p := c.apply(map[string]string{traceVariable: trace}); p.ProcessState.ExitCode() != exitOK {
		t.Fatalf("%s", p.said.String())
	}
	c.ended(m, "")
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), c.state()
}

// TestCrashMatrix kills the tool, a process of its own, at every point at which
// a crash leaves another journal or another world behind: after each record is
// on disk, and after each call that changes something has taken effect, its
// reply lost. Then the same plan is applied again, and has to end in the same
// state with each flip and failover made once. Before a record, before a call
// and around reads a crash leaves what it leaves right after the point before;
// with CROSSKEYS_SOAK set those are tried as well.
func TestCrashMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred processes")
	}
	total, tried := 0, 0
	began := time.Now()
	for _, m := range templates(t, theDrill, theGrants, theWayBack) {
		points, end := pointsOf(t, m)
		t.Run(m.name, func(t *testing.T) {
			var trials errgroup.Group
			trials.SetLimit(6) // most of a trial is waiting: for an operation, for a hold to end
			for i, what := range points {
				total++
				matters := strings.HasPrefix(what, "record after") || strings.HasPrefix(what, "change after")
				if !matters && os.Getenv("CROSSKEYS_SOAK") == "" || raceDetector && i%10 != 0 {
					continue
				}
				tried++
				trials.Go(func() error {
					t.Run(fmt.Sprintf("%d %s", i+1, filepath.Base(what)), func(t *testing.T) { m.dies(t, i+1, what, end) })
					return nil
				})
			}
			_ = trials.Wait() // the trials tell their own failures
		})
	}
	t.Logf("the tool was killed at %d of %d points in %s; the others leave the same behind", tried, total, time.Since(began).Round(time.Second))
}

// dies has the tool killed at a point, and the plan applied again.
func (m template) dies(t *testing.T, point int, what, end string) {
	c := m.begin(t)
	died := c.apply(map[string]string{killVariable: strconv.Itoa(point)})
	if code := died.ProcessState.ExitCode(); code != -1 {
		t.Skipf("point %d was not reached this time: it ended with %d", point, code)
	}
	if p := c.apply(nil); p.ProcessState.ExitCode() != exitOK {
		t.Fatalf("killed %s; then:\n%s", what, p.said.String())
	}
	c.ended(m, end)
	c.wholeJournal()
}

// wholeJournal demands complete journals with chains that hold.
func (c *crashTrial) wholeJournal() {
	c.t.Helper()
	store, err := journal.OpenStore(c.t.Context(), filepath.Join(c.folder, "crosskeys"), time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	runs, err := store.Runs(c.t.Context())
	// One that died after its end is over; applying its plan again is another.
	if err != nil || len(runs) == 0 || len(runs) > 2 {
		c.t.Fatalf("%+v %v", runs, err)
	}
	for _, r := range runs {
		if _, err := store.Read(c.t.Context(), r.Run); err != nil || r.Status != journal.StatusDone {
			c.t.Errorf("%+v %v", r, err)
		}
	}
}
