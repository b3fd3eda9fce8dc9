// Package evidence puts a run into one file that can be verified anywhere, by
// whoever gets it: what was seen, decided, proved, called, answered and read
// back, by whom and when, as a summary for programs and a report for people,
// beside the journal's own lines, from which both follow. The package is pure:
// no I/O, no clock.
package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// SchemaVersion is the version of the bundle's form.
const SchemaVersion = 1

// Bundle is a run's evidence. Lines are the evidence itself; Summary and
// Report say the same for programs and for people.
type Bundle struct {
	SchemaVersion int       `json:"schemaVersion"`
	MadeAt        time.Time `json:"madeAt"`
	MadeBy        string    `json:"madeBy"` // the version of the tool
	Run           string    `json:"run"`
	Head          string    `json:"head"` // SHA-256 of the last line
	Summary       Summary   `json:"summary"`
	Report        string    `json:"report"` // Markdown
	ReportSHA256  string    `json:"reportSha256"`
	Lines         []string  `json:"lines"` // of the journal, byte for byte, without their line feeds
}

// Summary is what the journal's lines say, sorted by what it is.
type Summary struct {
	Verb     string           `json:"verb"`
	Target   string           `json:"target"`
	Cloud    string           `json:"cloud,omitempty"`
	Status   string           `json:"status"`
	BeganAt  time.Time        `json:"beganAt"`
	EndedAt  time.Time        `json:"endedAt"` // of the last record
	By       []journal.Who    `json:"by"`      // of each process, in order
	Plans    []Plan           `json:"plans"`   // the one that was begun with, and those that replaced it
	Seen     []Seen           `json:"seen"`
	Steps    []Step           `json:"steps"`
	Judged   []Judged         `json:"judged"`
	Notes    []string         `json:"notes"`
	State    []string         `json:"state"` // what the run left, in words
	Findings []check.Finding  `json:"findings"`
	Servers  []ServerEvidence `json:"servers"`
}

// Plan is one plan that was carried out.
type Plan struct {
	At     time.Time `json:"at"`
	Hash   string    `json:"hash"`
	Why    string    `json:"why,omitempty"` // it replaced the one before
	By     string    `json:"by,omitempty"`  // who agreed to that
	Plan   plan.Plan `json:"plan"`
	Proved bool      `json:"proved"`
}

// Seen is an observation, by its fingerprint; the whole is in the lines.
type Seen struct {
	At          time.Time   `json:"at"`
	Fingerprint string      `json:"fingerprint"`
	DoneBefore  []int       `json:"doneBefore,omitempty"`
	Proof       *plan.Proof `json:"proof,omitempty"`
}

// Step is everything that happened in one step of one plan.
type Step struct {
	Plan   int               `json:"plan"` // index in Plans
	Number int               `json:"number"`
	What   string            `json:"what"`
	Events []json.RawMessage `json:"events"` // its records, in order
}

// Judged is a judgement of the encryption of every database on every side.
type Judged struct {
	At   time.Time `json:"at"`
	Step int       `json:"step"`
	OK   bool      `json:"ok"`
	Saw  string    `json:"saw"`
}

// ServerEvidence is a server's protector at the first and the last look.
type ServerEvidence struct {
	Server string        `json:"server"`
	Before tde.Protector `json:"before"`
	After  tde.Protector `json:"after"`
}

// Make puts a run's lines into a bundle.
func Make(lines []byte, report string, madeAt time.Time, madeBy string) (Bundle, error) {
	log, err := journal.Parse(bytes.NewReader(lines))
	if err != nil {
		return Bundle{}, fmt.Errorf("make evidence: %w", err)
	}
	summary, err := summarise(log)
	if err != nil {
		return Bundle{}, fmt.Errorf("make evidence: %w", err)
	}
	whole := lines[:len(lines)-log.TornBytes]
	return Bundle{
		SchemaVersion: SchemaVersion, MadeAt: madeAt.UTC().Round(0), MadeBy: madeBy, Run: log.Begin().Run, Head: log.Head, Summary: summary,
		Report: report, ReportSHA256: sumOf(report), Lines: strings.Split(strings.TrimSuffix(string(whole), "\n"), "\n"),
	}, nil
}

// Encode writes the bundle as indented JSON.
func (b Bundle) Encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	// The lines stay readable, and are what was hashed either way.
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(b); err != nil {
		return nil, fmt.Errorf("write evidence: %w", err)
	}
	return text.Bytes(), nil
}

// BrokenError says what in a bundle does not hold.
type BrokenError struct {
	What string
	Err  error // the cause, where there is one
}

// Error says what does not hold, and why.
func (e *BrokenError) Error() string {
	text := "the evidence does not hold: " + e.What
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// Verify reads a bundle and checks it against itself: the chain of its lines,
// the head, the hash of each plan, and that the summary and the report's hash
// are those of what is there. It gives the journal that the lines are. Every
// fault is a *BrokenError. Whoever made a bundle anew, with a chain of their
// own, passes; only the head, kept elsewhere, tells that.
func Verify(text []byte) (Bundle, journal.Log, error) {
	b, err := decode(text)
	if err != nil {
		return b, journal.Log{}, err
	}
	log, err := journal.Parse(strings.NewReader(strings.Join(b.Lines, "\n") + "\n"))
	if err != nil {
		return b, log, &BrokenError{What: "the journal's lines", Err: err}
	}
	switch {
	case log.Head != b.Head:
		return b, log, &BrokenError{What: "the last line's hash is " + log.Head + ", not " + b.Head}
	case log.Begin().Run != b.Run:
		return b, log, &BrokenError{What: "the lines are those of run " + log.Begin().Run}
	case sumOf(b.Report) != b.ReportSHA256:
		return b, log, &BrokenError{What: "the report was changed"}
	}
	if err := checkPlans(log); err != nil {
		return b, log, err
	}
	return b, log, checkSummary(b.Summary, log)
}

func decode(text []byte) (Bundle, error) {
	var version struct {
		SchemaVersion *int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return Bundle{}, &BrokenError{What: "the file is not JSON", Err: err}
	}
	if version.SchemaVersion == nil || *version.SchemaVersion != SchemaVersion {
		return Bundle{}, &BrokenError{What: fmt.Sprintf("the file is no evidence of schema version %d", SchemaVersion)}
	}
	var b Bundle
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&b); err != nil {
		return b, &BrokenError{What: "the file cannot be read", Err: err}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return b, &BrokenError{What: "the file goes on after the evidence"}
	}
	return b, nil
}

// checkPlans holds every plan to the hash under which it was approved.
func checkPlans(log journal.Log) error {
	for _, r := range log.Records {
		var made plan.Plan
		var want string
		switch r.Kind {
		case journal.Begin:
			made, want = r.Begin.Plan, r.Begin.PlanHash
		case journal.Replan:
			made, want = r.Replan.Plan, r.Replan.PlanHash
		case journal.Resume, journal.Seen, journal.Intent, journal.Call, journal.Answer, journal.ReadBack, journal.Result, journal.Note, journal.End:
			continue
		}
		is, err := plan.Hash(made)
		if err != nil {
			return &BrokenError{What: "the plan", Err: err}
		}
		if is != want {
			return &BrokenError{What: fmt.Sprintf("the plan in record %d is not the one whose hash is %s", r.Seq, want)}
		}
	}
	return nil
}

func checkSummary(is Summary, log journal.Log) error {
	want, err := summarise(log)
	if err != nil {
		return &BrokenError{What: "the summary", Err: err}
	}
	isText, err := json.Marshal(is)
	if err != nil {
		return &BrokenError{What: "the summary", Err: err}
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		return &BrokenError{What: "the summary", Err: err}
	}
	if !bytes.Equal(isText, wantText) {
		return &BrokenError{What: "the summary is not that of the lines"}
	}
	return nil
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
