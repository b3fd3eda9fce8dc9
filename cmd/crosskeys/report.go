package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
)

// reporting is the report verb's flags.
type reporting struct {
	journalDir string
	output     string
}

func newReport(a *app) *cobra.Command {
	r := &reporting{}
	command := &cobra.Command{
		Use: "report [RUN|FILE]", Short: "Write down what a run saw, decided, called and read back", Args: cobra.MaximumNArgs(1),
		Long: `Reads a run's journal, checks that no record was changed, and writes what
happened as Markdown, or all of it as JSON: what was seen, decided, called,
answered and read back, by whom and when, and the hash of the last record.
Without an argument the newest run is taken.`,
		Example: `  crosskeys report
  crosskeys report 20261124-093000-my-failover-group-1a2b3c4d -o report.md
  crosskeys report ./journals/20261124-093000-my-group-1a2b3c4d.jsonl --json`,
		RunE: func(command *cobra.Command, args []string) error { return r.run(command, a, args) },
	}
	journalFlag(command, &r.journalDir)
	command.Flags().StringVarP(&r.output, "output", "o", "", "write to this `file`")
	return command
}

func (r *reporting) run(command *cobra.Command, a *app, args []string) error {
	path, err := r.find(a, args)
	if err != nil {
		return err
	}
	log, err := journal.Read(path)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(command, struct {
			Run       string           `json:"run"`
			Head      string           `json:"head"`
			TornBytes int              `json:"tornBytes,omitempty"`
			Records   []journal.Record `json:"records"`
		}{log.Begin().Run, log.Head, log.TornBytes, log.Records})
	}
	var text strings.Builder
	markdown(&text, path, log)
	out := a.printer()
	if r.output == "" {
		out.say("%s", text.String())
		return out.err
	}
	if err := writeFile(r.output, []byte(text.String())); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	out.say("report of %d records written to %s\nlast record: SHA-256 %s\n", len(log.Records), r.output, log.Head)
	return out.err
}

// find gives the journal's path: a file as named, a run of the folder, or the
// folder's newest.
func (r *reporting) find(a *app, args []string) (string, error) {
	if len(args) == 1 && strings.HasSuffix(args[0], journal.Suffix) {
		return args[0], nil
	}
	folder, err := a.journalFolder(r.journalDir)
	if err != nil {
		return "", err
	}
	if len(args) == 1 {
		path := filepath.Join(folder, filepath.Base(args[0])+journal.Suffix)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return "", &verbError{code: exitUsage, err: fmt.Errorf("there is no run %s in %s", args[0], folder), hint: "name one of its files without " + journal.Suffix + ", or another --journal-dir"}
		}
		return path, nil
	}
	paths, err := journal.Runs(folder)
	if err != nil {
		return "", err
	}
	if len(paths) == 0 {
		return "", &verbError{code: exitUsage, err: fmt.Errorf("there is no run in %s", folder), hint: "crosskeys apply and crosskeys drill write them; --journal-dir names another folder"}
	}
	return paths[len(paths)-1], nil
}
