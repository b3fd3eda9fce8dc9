package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

const planHash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func clock() func() time.Time {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	return func() time.Time {
		at = at.Add(time.Second)
		return at
	}
}

func begin() journal.BeginEntry {
	return journal.BeginEntry{Verb: "apply", PlanHash: planHash, Plan: plan.Plan{Group: "fog"}, Target: "fog", Who: journal.Who{User: "dba", Version: "1"}}
}

func create(t *testing.T, folder string) *journal.Journal {
	t.Helper()
	j, err := journal.Create(folder, begin(), clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func add(t *testing.T, j *journal.Journal, records ...journal.Record) {
	t.Helper()
	for _, r := range records {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

func note(text string) journal.Record { return journal.Record{Kind: journal.Note, Note: text} }

func done(step int) journal.Record {
	return journal.Record{Kind: journal.Result, Step: step, Result: &journal.ResultEntry{Outcome: journal.Done}}
}

func end(status string) journal.Record {
	return journal.Record{Kind: journal.End, End: &journal.EndEntry{Status: status}}
}

// written is a journal of four records on disk, and its text.
func written(t *testing.T) (path string, text []byte) {
	t.Helper()
	j := create(t, t.TempDir())
	add(t, j, note("first"), done(1), end(journal.StatusDone))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(j.Path())
	if err != nil {
		t.Fatal(err)
	}
	return j.Path(), text
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	j := create(t, t.TempDir())
	add(t, j, note("first"), done(1), end(journal.StatusDone))
	log, err := journal.Read(j.Path())
	if err != nil {
		t.Fatal(err)
	}
	if log.Head != j.Head() || log.TornBytes != 0 || !log.Complete() {
		t.Errorf("head %s, want %s; torn %d; complete %t", log.Head, j.Head(), log.TornBytes, log.Complete())
	}
	var kinds []journal.Kind
	for i, r := range log.Records {
		kinds = append(kinds, r.Kind)
		if r.Seq != i+1 || r.At.IsZero() {
			t.Errorf("record %d: %+v", i+1, r)
		}
	}
	if diff := cmp.Diff([]journal.Kind{journal.Begin, journal.Note, journal.Result, journal.End}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if got := log.Begin(); got.Run != j.Run() || got.PlanHash != planHash || got.Who.User != "dba" {
		t.Errorf("begin: %+v", got)
	}
	if head, err := journal.Verify(j.Path()); err != nil || head != j.Head() {
		t.Errorf("verify: %s, %v", head, err)
	}
}

func TestATornLastLineIsToleratedAndNamed(t *testing.T) {
	path, text := written(t)
	lines := bytes.SplitAfter(text, []byte{'\n'})
	whole := len(text) - len(lines[3])
	for cut := whole + 1; cut < len(text); cut++ {
		log, err := journal.Parse(bytes.NewReader(text[:cut]))
		if err != nil || log.TornBytes != cut-whole || len(log.Records) != 3 {
			t.Fatalf("cut at %d: torn %d, %d records, %v", cut, log.TornBytes, len(log.Records), err)
		}
	}
	if err := os.WriteFile(path, text[:whole+20], 0o600); err != nil {
		t.Fatal(err)
	}
	j, log, err := journal.Open(path, journal.Who{User: "other"}, clock())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	if log.TornBytes != 20 || len(log.Records) != 3 {
		t.Errorf("torn %d, %d records", log.TornBytes, len(log.Records))
	}
	add(t, j, note("goes on"))
	log, err = journal.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	resumed := log.Records[3]
	if resumed.Kind != journal.Resume || resumed.Resume.TornBytes != 20 || resumed.Resume.Who.User != "other" || len(log.Records) != 5 {
		t.Errorf("%d records, the fourth %+v", len(log.Records), resumed)
	}
}

func TestABrokenChainNamesTheRecord(t *testing.T) {
	_, text := written(t)
	lines := strings.SplitAfter(string(text), "\n")
	cases := map[string]struct {
		text   string
		record int
	}{
		"a changed record shows in the next":  {strings.Replace(string(text), "first", "other", 1), 3},
		"a record that was taken out":         {lines[0] + lines[2] + lines[3], 2},
		"two records that changed places":     {lines[0] + lines[2] + lines[1] + lines[3], 2},
		"a record that stands twice":          {lines[0] + lines[1] + lines[1], 3},
		"a line that is no JSON":              {lines[0] + "nonsense\n" + lines[2], 2},
		"an empty line":                       {lines[0] + "\n" + lines[1], 2},
		"an unknown field":                    {lines[0] + strings.Replace(lines[1], `"note":`, `"more":1,"note":`, 1), 2},
		"an unknown kind":                     {lines[0] + strings.Replace(lines[1], `"kind":"note"`, `"kind":"gossip"`, 1), 2},
		"a content of another kind":           {lines[0] + strings.Replace(lines[1], `"kind":"note"`, `"kind":"result"`, 1), 2},
		"a record after the record":           {lines[0] + strings.TrimSuffix(lines[1], "\n") + "{}\n", 2},
		"a first record of another kind":      {strings.Replace(lines[0], `"kind":"begin"`, `"kind":"note"`, 1), 1},
		"a schema version of another program": {strings.Replace(lines[0], `"schemaVersion":1,"run"`, `"schemaVersion":2,"run"`, 1), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := journal.Parse(strings.NewReader(c.text))
			broken, ok := errors.AsType[*journal.ChainError](err)
			if !ok || broken.Record != c.record {
				t.Errorf("want a break at record %d, got %v", c.record, err)
			}
		})
	}
	t.Run("a file without a whole record never began", func(t *testing.T) {
		for _, text := range []string{"", lines[0][:40]} {
			if _, err := journal.Parse(strings.NewReader(text)); !errors.Is(err, journal.ErrNeverBegan) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
	t.Run("a broken journal is not taken up again", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.jsonl")
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "first", "other", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := journal.Open(path, journal.Who{}, clock()); err == nil {
			t.Error("it was opened")
		}
	})
}

func TestOneWriterAtATime(t *testing.T) {
	folder := t.TempDir()
	j := create(t, folder)
	if _, _, err := journal.Open(j.Path(), journal.Who{}, clock()); !errors.Is(err, journal.ErrHeld) {
		t.Errorf("a journal in use was opened: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, _, err := journal.Open(j.Path(), journal.Who{}, clock())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := again.Append(note("too late")); err == nil {
		t.Error("a closed journal was written")
	}

	lock, err := journal.LockServers(folder, []string{"srv-b", "srv-a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.LockServers(folder, []string{"SRV-A", "srv-c"}); !errors.Is(err, journal.ErrHeld) || !strings.Contains(err.Error(), "SRV-A") {
		t.Errorf("a server in use was locked: %v", err)
	}
	other, err := journal.LockServers(folder, []string{"srv-c"})
	if err != nil {
		t.Fatalf("the refused run kept a lock: %v", err)
	}
	if err := errors.Join(lock.Release(), other.Release()); err != nil {
		t.Fatal(err)
	}
	lock, err = journal.LockServers(folder, []string{"srv-a", "srv-c"})
	if err != nil {
		t.Fatal(err)
	}
	_ = lock.Release()
}

func TestManyWritersMakeOneChain(t *testing.T) {
	j := create(t, t.TempDir())
	var group sync.WaitGroup
	for step := range 8 {
		group.Go(func() {
			for range 5 {
				if err := j.Append(done(step + 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	log, err := journal.Read(j.Path())
	if err != nil || len(log.Records) != 41 {
		t.Errorf("%d records, %v", len(log.Records), err)
	}
}

func TestNoBearerTokenIsWritten(t *testing.T) {
	j := create(t, t.TempDir())
	add(t, j, note("Authorization: Bearer abcdefghijklmnop and eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl end"))
	text, err := os.ReadFile(j.Path())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "abcdefgh") || strings.Contains(string(text), "eyJ") || !strings.Contains(string(text), "(removed)") {
		t.Errorf("written: %s", text)
	}
	if _, err := journal.Read(j.Path()); err != nil {
		t.Error(err)
	}
}

func TestUnfinishedRuns(t *testing.T) {
	folder := t.TempDir()
	expect := func(want string) {
		t.Helper()
		got, err := journal.Unfinished(folder, planHash)
		if err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	expect("")
	first := create(t, folder)
	add(t, first, end("stopped"))
	expect(first.Path())
	add(t, first, end(journal.StatusDone))
	expect("")
	second := create(t, folder)
	if second.Path() == first.Path() {
		t.Fatal("two runs have one journal")
	}
	expect(second.Path())
	if got, err := journal.Unfinished(folder, strings.Repeat("f", 64)); err != nil || got != "" {
		t.Errorf("another plan: %q, %v", got, err)
	}
	runs, err := journal.Runs(folder)
	if err != nil || len(runs) != 2 || runs[1] != second.Path() {
		t.Errorf("runs %v, %v", runs, err)
	}
	if err := os.WriteFile(second.Path(), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Unfinished(folder, planHash); err == nil {
		t.Error("a broken journal of the plan was passed over")
	}
	if err := os.WriteFile(second.Path(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("")
}

func TestAFailedWriteIsTheLast(t *testing.T) {
	j := create(t, t.TempDir())
	if err := j.Append(note(strings.Repeat("x", 17<<20))); err == nil {
		t.Error("a record that is too long was written")
	}
	add(t, j, note("still in order"))
	if _, err := journal.Read(j.Path()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	folder := f.TempDir()
	j, err := journal.Create(folder, begin(), clock())
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []journal.Record{note("first"), done(1), end(journal.StatusDone)} {
		if err := j.Append(r); err != nil {
			f.Fatal(err)
		}
	}
	text, err := os.ReadFile(j.Path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-7])
	f.Add([]byte("{}\n"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		log, err := journal.Parse(bytes.NewReader(text))
		if err != nil {
			_, broken := errors.AsType[*journal.ChainError](err)
			if !broken && !errors.Is(err, journal.ErrNeverBegan) {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if len(log.Records) == 0 || log.Records[0].Kind != journal.Begin || log.Begin().SchemaVersion != journal.SchemaVersion {
			t.Fatalf("accepted: %q", text)
		}
		// What was accepted is accepted again, without its torn end.
		again, err := journal.Parse(bytes.NewReader(text[:len(text)-log.TornBytes]))
		if err != nil || again.Head != log.Head || again.TornBytes != 0 {
			t.Fatalf("again: %v, %+v", err, again)
		}
	})
}

// Two runs of one second are listed in the order in which they began,
// whatever their plans' hashes are.
func TestRunsOfOneSecondAreInOrder(t *testing.T) {
	folder := t.TempDir()
	at := time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)
	now := func() time.Time { at = at.Add(5 * time.Millisecond); return at }
	var want []string
	for _, hash := range []string{"ffffffff", "00000000", "88888888"} {
		j, err := journal.Create(folder, journal.BeginEntry{Verb: "apply", PlanHash: hash, Target: "g"}, now)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, j.Path())
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := journal.Runs(folder)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
}
