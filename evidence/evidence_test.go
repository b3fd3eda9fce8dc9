package evidence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/evidence"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
)

// bundle is the evidence of a short run.
func bundle(t testing.TB) evidence.Bundle {
	t.Helper()
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	store, err := journal.OpenStore(t.Context(), t.TempDir(), func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	made := plan.Plan{SchemaVersion: plan.SchemaVersion, Group: "fog", Steps: []plan.Step{{Number: 1, Kind: plan.Register, After: "it is registered <there>"}}}
	hash, err := plan.Hash(made)
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Begin(t.Context(), journal.BeginEntry{Verb: "apply", Target: "fog", PlanHash: hash, Plan: made, Who: journal.Who{User: "dba", Version: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range []journal.Record{
		{Kind: journal.Intent, Step: 1, Intent: &journal.IntentEntry{What: "register", Saw: "nothing"}},
		{Kind: journal.Answer, Step: 1, Answer: &journal.AnswerEntry{Attempt: 1, OK: true}},
		{Kind: journal.Replan, Replan: &journal.ReplanEntry{Why: "somebody has failed over", By: "dba", PlanHash: hash, Plan: made}},
		{Kind: journal.Result, Step: 1, Result: &journal.ResultEntry{Outcome: journal.Done}},
		{Kind: journal.End, End: &journal.EndEntry{Status: journal.StatusDone, State: []string{"all is well"}}},
	} {
		if err := r.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := store.Lines(t.Context(), r.ID())
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.Make(lines, "# a report\n", at, "1")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encoded(t testing.TB, b evidence.Bundle) []byte {
	t.Helper()
	text, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestABundleHolds(t *testing.T) {
	b, log, err := evidence.Verify(encoded(t, bundle(t)))
	if err != nil {
		t.Fatal(err)
	}
	s := b.Summary
	if len(log.Records) != 6 || log.Head != b.Head || s.Status != "done" || len(s.Plans) != 2 || s.Plans[1].By != "dba" || s.State[0] != "all is well" {
		t.Errorf("%+v", s)
	}
	// The same number is another step in another plan.
	if len(s.Steps) != 2 || len(s.Steps[0].Events) != 2 || len(s.Steps[1].Events) != 1 || s.Steps[1].Plan != 1 {
		t.Errorf("%+v", s.Steps)
	}
}

func TestEveryForgeryShows(t *testing.T) {
	for name, forge := range map[string]func(*evidence.Bundle){
		"a changed record":            func(b *evidence.Bundle) { b.Lines[1] = strings.Replace(b.Lines[1], "nothing", "all", 1) },
		"the last record changed":     func(b *evidence.Bundle) { b.Lines[5] = strings.Replace(b.Lines[5], "well", "ill.", 1) },
		"a record taken out":          func(b *evidence.Bundle) { b.Lines = append(b.Lines[:2], b.Lines[3:]...) },
		"the end cut off":             func(b *evidence.Bundle) { b.Lines = b.Lines[:4] },
		"another head":                func(b *evidence.Bundle) { b.Head = strings.Repeat("0", 64) },
		"another run's name":          func(b *evidence.Bundle) { b.Run = "other" },
		"a prettier summary":          func(b *evidence.Bundle) { b.Summary.State[0] = "all is very well" },
		"a step left out of it":       func(b *evidence.Bundle) { b.Summary.Steps = b.Summary.Steps[:1] },
		"an event changed in it":      func(b *evidence.Bundle) { b.Summary.Steps[0].Events[0] = json.RawMessage(`{}`) },
		"another report":              func(b *evidence.Bundle) { b.Report = "# all was well\n" },
		"no lines":                    func(b *evidence.Bundle) { b.Lines = nil },
		"another version of the form": func(b *evidence.Bundle) { b.SchemaVersion = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t)
			forge(&b)
			_, _, err := evidence.Verify(encoded(t, b))
			if _, ok := errors.AsType[*evidence.BrokenError](err); !ok {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a plan that is not the one that was approved, in a chain made anew", func(t *testing.T) {
		store, err := journal.OpenStore(t.Context(), t.TempDir(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = store.Close() }()
		r, err := store.Begin(t.Context(), journal.BeginEntry{Verb: "apply", PlanHash: strings.Repeat("ab", 32), Plan: plan.Plan{Group: "fog"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := store.Lines(t.Context(), r.ID())
		if err != nil {
			t.Fatal(err)
		}
		b, err := evidence.Make(lines, "", time.Now(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := evidence.Verify(encoded(t, b)); err == nil || !strings.Contains(err.Error(), "not the one whose hash") {
			t.Errorf("%v", err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	text := encoded(f, bundle(f))
	f.Add(text)
	f.Add(bytes.Replace(text, []byte(`"lines"`), []byte(`"line"`), 1))
	f.Add([]byte(`{"schemaVersion":1}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, log, err := evidence.Verify(text)
		if err != nil {
			if _, ok := errors.AsType[*evidence.BrokenError](err); !ok {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if b.Head != log.Head || len(b.Lines) != len(log.Records) {
			t.Fatalf("accepted: %+v", b)
		}
	})
}
