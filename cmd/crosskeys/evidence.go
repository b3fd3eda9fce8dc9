package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/evidence"
	"github.com/crosskeys/crosskeys/journal"
)

// evidenceSuffix ends the names of evidence files.
const evidenceSuffix = ".evidence.json"

// keepEvidence writes a run's evidence beside its journal, where that is a
// file, and says where. It is done also when the run was interrupted.
func (a *app) keepEvidence(ctx context.Context, store *journal.Store, run, given string) (string, error) {
	place, err := a.journalPlace(given)
	if err != nil || journal.IsAddress(place) {
		return "", err
	}
	path := filepath.Join(place, run+evidenceSuffix)
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return path, a.writeEvidence(soon, store, run, path)
}

// writeEvidence writes a run's evidence into a file.
func (a *app) writeEvidence(ctx context.Context, store *journal.Store, run, path string) error {
	lines, err := store.Lines(ctx, run)
	if err != nil {
		return err
	}
	log, err := journal.Parse(bytes.NewReader(lines))
	if err != nil {
		return err
	}
	var report strings.Builder
	markdown(&report, store.Where(), log)
	bundle, err := evidence.Make(lines, report.String(), a.now(), version)
	if err != nil {
		return err
	}
	text, err := bundle.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(path, text); err != nil {
		return fmt.Errorf("write the evidence: %w", err)
	}
	return nil
}

func newReportVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check a file of evidence against itself, without any network", Args: cobra.ExactArgs(1),
		Long: `Checks a file that crosskeys report --bundle wrote: the chain of the journal's
records, the hash of each plan, and that the summary and the report are those of
the records. Compare the last hash with one that was kept elsewhere: evidence
that somebody has made anew as a whole shows in nothing else.`,
		Example: `  crosskeys report verify run.evidence.json`,
		RunE: func(command *cobra.Command, args []string) error {
			text, err := readNamed(args[0])
			if err != nil {
				return err
			}
			bundle, log, err := evidence.Verify(text)
			if err != nil {
				return &verbError{code: exitFailed, err: fmt.Errorf("%s: %w", args[0], err), hint: "it is no evidence; look for another copy, or for the journal itself"}
			}
			if a.json {
				return printJSON(command, struct {
					OK      bool             `json:"ok"`
					Run     string           `json:"run"`
					Records int              `json:"records"`
					Head    string           `json:"head"`
					Summary evidence.Summary `json:"summary"`
				}{true, bundle.Run, len(log.Records), bundle.Head, bundle.Summary})
			}
			s := bundle.Summary
			out := a.printer()
			out.say("%s: %s of %s, %s\n", out.colour(green, "it holds"), s.Verb, s.Target, s.Status)
			out.say("run %s\n%d records, %d plans, %d steps, %d observations, %d judgements\nthe last record's SHA-256:\n%s\n",
				bundle.Run, len(log.Records), len(s.Plans), len(s.Steps), len(s.Seen), len(s.Judged), bundle.Head)
			return out.err
		},
	}
}
