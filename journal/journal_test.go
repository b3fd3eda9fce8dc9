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
	var mu sync.Mutex
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
}

func begin() journal.BeginEntry {
	return journal.BeginEntry{Verb: "apply", PlanHash: planHash, Plan: plan.Plan{Group: "fog"}, Target: "fog", Who: journal.Who{User: "dba", Version: "1"}}
}

// begun is a run's journal on SQLite that is being written, and its store.
func begun(t testing.TB) (*journal.Store, *journal.Run) {
	t.Helper()
	s, err := journal.OpenStore(t.Context(), t.TempDir(), clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := s.Begin(t.Context(), begin(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func add(t testing.TB, r *journal.Run, records ...journal.Record) {
	t.Helper()
	for _, record := range records {
		if err := r.Append(record); err != nil {
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

// written is a journal of four records, as lines.
func written(t testing.TB) []byte {
	t.Helper()
	s, r := begun(t)
	add(t, r, note("first"), done(1), end(journal.StatusDone))
	text, err := s.Lines(t.Context(), r.ID())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	s, j := begun(t)
	add(t, j, note("first"), done(1), end(journal.StatusDone))
	log, err := s.Read(t.Context(), j.ID())
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
	if got := log.Begin(); got.Run != j.ID() || got.PlanHash != planHash || got.Who.User != "dba" {
		t.Errorf("begin: %+v", got)
	}
	path := filepath.Join(t.TempDir(), "copy.jsonl")
	text, err := s.Lines(t.Context(), j.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if copied, err := journal.Read(path); err != nil || copied.Head != j.Head() {
		t.Errorf("a file of the lines: %s, %v", copied.Head, err)
	}
}

// A copy that was cut in the middle of a line still shows what comes before.
func TestATornLastLineIsToleratedAndNamed(t *testing.T) {
	text := written(t)
	lines := bytes.SplitAfter(text, []byte{'\n'})
	whole := len(text) - len(lines[3])
	for cut := whole + 1; cut < len(text); cut++ {
		log, err := journal.Parse(bytes.NewReader(text[:cut]))
		if err != nil || log.TornBytes != cut-whole || len(log.Records) != 3 {
			t.Fatalf("cut at %d: torn %d, %d records, %v", cut, log.TornBytes, len(log.Records), err)
		}
	}
}

func TestABrokenChainNamesTheRecord(t *testing.T) {
	text := written(t)
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
}

func TestManyWritersMakeOneChain(t *testing.T) {
	s, j := begun(t)
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
	log, err := s.Read(t.Context(), j.ID())
	if err != nil || len(log.Records) != 41 {
		t.Errorf("%d records, %v", len(log.Records), err)
	}
}

func TestNoBearerTokenIsWritten(t *testing.T) {
	s, j := begun(t)
	add(t, j, note("Authorization: Bearer abcdefghijklmnop and eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl end"))
	text, err := s.Lines(t.Context(), j.ID())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "abcdefgh") || strings.Contains(string(text), "eyJ") || !strings.Contains(string(text), "(removed)") {
		t.Errorf("written: %s", text)
	}
	if _, err := s.Read(t.Context(), j.ID()); err != nil {
		t.Error(err)
	}
}

func TestUnfinishedRuns(t *testing.T) {
	onStores(t, func(t *testing.T, open func() *journal.Store) {
		s := open()
		expect := func(want string) {
			t.Helper()
			got, err := s.Unfinished(t.Context(), planHash)
			if err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
		again := func() *journal.Run {
			t.Helper()
			r, err := s.Begin(t.Context(), begin(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		expect("")
		first := again()
		expect(first.ID())
		add(t, first, end("stopped"))
		expect(first.ID())
		if got, err := s.Finished(t.Context(), planHash); err != nil || got != "" {
			t.Errorf("a stopped run is called finished: %q %v", got, err)
		}
		add(t, first, end(journal.StatusDone))
		expect("")
		if got, err := s.Finished(t.Context(), planHash); err != nil || got != first.ID() {
			t.Errorf("finished: %q %v", got, err)
		}
		second := again()
		if second.ID() == first.ID() {
			t.Fatal("two runs have one name")
		}
		expect(second.ID())
		if got, err := s.Unfinished(t.Context(), strings.Repeat("f", 64)); err != nil || got != "" {
			t.Errorf("another plan: %q, %v", got, err)
		}
		add(t, second, end(journal.StatusAborted))
		expect("")
		if _, _, err := s.Resume(t.Context(), second.ID(), journal.Who{}, nil); !errors.Is(err, journal.ErrAborted) {
			t.Errorf("an aborted run is resumed: %v", err)
		}
		runs, err := s.Runs(t.Context())
		if err != nil || len(runs) != 2 || runs[0].Run != first.ID() || !runs[1].Over() || runs[1].Interrupted() {
			t.Errorf("runs %+v, %v", runs, err)
		}
	})
}

func TestARecordThatIsTooLongIsNotWritten(t *testing.T) {
	s, j := begun(t)
	if err := j.Append(note(strings.Repeat("x", 17<<20))); err == nil {
		t.Error("a record that is too long was written")
	}
	if log, err := s.Read(t.Context(), j.ID()); err != nil || len(log.Records) != 1 {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	text := written(f)
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
	at := time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)
	s, err := journal.OpenStore(t.Context(), t.TempDir(), func() time.Time { at = at.Add(5 * time.Millisecond); return at })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var want, got []string
	for _, hash := range []string{"ffffffff", "00000000", "88888888"} {
		j, err := s.Begin(t.Context(), journal.BeginEntry{Verb: "apply", PlanHash: hash, Target: "g"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, j.ID())
	}
	runs, err := s.Runs(t.Context())
	for _, r := range runs {
		got = append(got, r.Run)
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
}
