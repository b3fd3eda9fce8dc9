package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/monitor"
	"github.com/crosskeys/crosskeys/tde"
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
	// A lab that has just started may still be taking its replication up again.
	groups := rawOn(t, l).sql.NewFailoverGroupsClient()
	until(t, "replication is in step", func() bool {
		group, err := groups.Get(t.Context(), lab.ArticleGroup, lab.ArticlePrimary, lab.ArticleFailoverGroup, nil)
		if err != nil {
			t.Fatal(err)
		}
		return *group.Properties.ReplicationState == "CATCH_UP"
	})
	c.before = c.taken()
	return c
}

// left is what a process that died has left behind, without times, and without
// the order of what may come in any: what is in the journal, which calls that
// change something were answered how, and the lab's true state.
func (c *crashTrial) left() string {
	c.t.Helper()
	found := map[string]int{}
	for _, r := range c.journals() {
		found[fmt.Sprintln(r.Kind, r.Step)]++
	}
	calls, err := lab.ReadCalls(filepath.Join(c.lab.Dir(), "calls.jsonl"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, call := range calls {
		if call.Method != http.MethodGet && strings.Contains(call.Path, "/providers/") {
			found[fmt.Sprintln(call.Method, call.Path, call.Status)]++
		}
	}
	truth, err := c.lab.Truth()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range truth.Changing {
		truth.Changing[i].Began = time.Time{}
	}
	for _, s := range truth.Servers {
		slices.SortFunc(s.Keys, func(a, b monitor.Key) int { return strings.Compare(a.URI, b.URI) })
	}
	for _, d := range truth.Databases {
		slices.Sort(d.Old)
	}
	text, err := json.Marshal(map[string]any{"found": found, "truth": truth}) // maps are written in order
	if err != nil {
		c.t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// journals are the records of the runs that there are.
func (c *crashTrial) journals() (records []journal.Record) {
	c.t.Helper()
	store, err := journal.OpenStore(c.t.Context(), filepath.Join(c.folder, "crosskeys"), time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	runs, err := store.Runs(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range runs {
		log, err := store.Read(c.t.Context(), r.Run)
		if err != nil {
			c.t.Fatal(err)
		}
		records = append(records, log.Records...)
	}
	return records
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

// read is everything that plans rest on, as the tool sees it.
func (c *crashTrial) read() tde.Topology {
	c.t.Helper()
	reached, err := c.connect(c.t.Context(), settings{})
	if err != nil {
		c.t.Fatal(err)
	}
	topology, err := reached.observe(c.t.Context(), target{name: lab.ArticleFailoverGroup})
	if err != nil {
		c.t.Fatal(err)
	}
	return topology
}

// stateOf is a topology as one hash, without the moments of registration, which
// are others in each trial.
func (c *crashTrial) stateOf(topology tde.Topology) string {
	c.t.Helper()
	for i := range topology.Servers {
		for k := range topology.Servers[i].Keys {
			topology.Servers[i].Keys[k].CreatedAt = time.Time{}
		}
	}
	hash, err := topology.Fingerprint()
	if err != nil {
		c.t.Fatal(err)
	}
	return hash
}

// ended demands that the plan is done, each of its calls once, that the end is
// the wanted one, and that no rule was broken on the way. It gives the end.
func (c *crashTrial) ended(m template, want string) string {
	c.t.Helper()
	p, _, err := readPlan(filepath.Join(c.folder, "plan.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	topology := c.read()
	if v := check.Verify(topology, p.Desired(), time.Now()); !v.OK {
		c.t.Errorf("the goal is not reached: %+v", v.Findings)
	}
	is := c.stateOf(topology)
	if want != "" && is != want {
		c.expect(exitOK, "inspect", lab.ArticleFailoverGroup)
		c.t.Errorf("the end is another: %s\n%s", is, c.out.String())
	}
	after := c.taken()
	for _, call := range m.once {
		if n := after[call] - c.before[call]; n != 1 {
			c.t.Errorf("%s was taken %d times", call, n)
		}
	}
	intervals, err := c.lab.Monitor()
	if err != nil {
		c.t.Error(err)
	}
	for _, i := range intervals {
		c.t.Errorf("a rule was broken on the way: %+v", i)
	}
	return is
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
	end = c.ended(m, "")
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), end
}

// TestCrashMatrix kills the tool, a process of its own, at every point that a
// crash can be told apart by: before and after each journal record is on disk,
// before each call, and after each call has taken effect, its reply lost. Then
// the same plan is applied again, and has to end in the same state, with each
// flip and failover made once and no rule of the safety model broken at any
// moment. A crash around a read leaves behind what one before it left, as a
// rule; where it did, one in five is gone on from, and all with CROSSKEYS_SOAK.
// Without CROSSKEYS_WHOLE one point in forty is tried.
func TestCrashMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred processes")
	}
	// Much is allocated and little is kept: a collection costs more than room.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	every := 40
	if os.Getenv("CROSSKEYS_WHOLE") != "" || os.Getenv("CROSSKEYS_SOAK") != "" {
		every = 1
	}
	began := time.Now()
	for _, m := range templates(t, theDrill, theGrants, theWayBack) {
		x := &crashMatrix{template: m, all: os.Getenv("CROSSKEYS_SOAK") != "", left: map[string]bool{}}
		x.points, x.end = pointsOf(t, m)
		t.Run(m.name, func(t *testing.T) { x.run(t, every) })
		note("%s: the tool was killed at %d of %d points, which left %d different states behind; it was run again from %d of them",
			m.name, x.killed, len(x.points), len(x.left), x.resumed)
	}
	note("crash matrix: %s", time.Since(began).Round(time.Second))
}

// crashMatrix is the trials of one template.
type crashMatrix struct {
	template
	points []string
	end    string
	all    bool // go on from each point, whatever it left behind

	mu      sync.Mutex
	left    map[string]bool
	killed  int
	resumed int
	missed  int
}

// run has a trial at every so-manieth point.
func (x *crashMatrix) run(t *testing.T, every int) {
	var trials errgroup.Group
	trials.SetLimit(6) // part of a trial is waiting: for an operation, for a hold to end
	for i, what := range x.points {
		if i%every != 0 {
			continue
		}
		trials.Go(func() error {
			t.Run(fmt.Sprintf("%d %s", i+1, filepath.Base(what)), func(t *testing.T) { x.dies(t, i+1, what) })
			return nil
		})
	}
	_ = trials.Wait() // the trials tell their own failures
	// How often an operation is polled is not the same each time, so the last
	// points may not be there.
	if x.missed > 10 {
		t.Errorf("%d points were not reached", x.missed)
	}
}

// again reports whether to go on from what a crash at a point left behind.
func (x *crashMatrix) again(point int, what, left string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.killed++
	known := x.left[left]
	x.left[left] = true
	if known && strings.HasPrefix(what, "read ") && point%5 != 0 && !x.all {
		return false
	}
	x.resumed++
	return true
}

// note tells a reader of a good run, too.
func note(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, "NOTE "+format+"\n", args...)
}

// dies has the tool killed at a point, and the plan applied again.
func (x *crashMatrix) dies(t *testing.T, point int, what string) {
	c := x.begin(t)
	// Long enough for a busy machine; what it leaves held is let go below.
	long := map[string]string{leaseVariable: "5s"}
	died := c.apply(map[string]string{killVariable: strconv.Itoa(point), leaseVariable: long[leaseVariable]})
	switch code := died.ProcessState.ExitCode(); code {
	case -1:
	case exitOK:
		x.mu.Lock()
		defer x.mu.Unlock()
		x.missed++
		return
	default:
		t.Fatalf("it ended with %d:\n%s", code, died.said.String())
	}
	if !x.again(point, what, c.left()) {
		return
	}
	c.holdsEnd()
	if p := c.apply(long); p.ProcessState.ExitCode() != exitOK {
		t.Fatalf("killed %s; then:\n%s", what, p.said.String())
	}
	c.ended(x.template, x.end)
	c.wholeJournal()
}

// holdsEnd lets the holds of a dead process end at once, as they would by
// themselves.
func (c *crashTrial) holdsEnd() {
	c.t.Helper()
	path := filepath.Join(c.folder, "crosskeys", journal.FileName)
	if _, err := os.Stat(path); err != nil {
		return // it died before there was a journal
	}
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = db.ExecContext(c.t.Context(), "UPDATE leases SET expires_at = 0")
	if err := errors.Join(err, db.Close()); err != nil && !strings.Contains(err.Error(), "no such table") { // or before it had tables
		c.t.Fatal(err)
	}
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
