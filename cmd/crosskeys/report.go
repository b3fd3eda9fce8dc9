package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
)

// reporting is the report verb's flags.
type reporting struct {
	journal string
	output  string
	bundle  string
}

func newReport(a *app) *cobra.Command {
	r := &reporting{}
	command := &cobra.Command{
		Use: "report [RUN|FILE]", Short: "Write down what a run saw, decided, called and read back", Args: cobra.MaximumNArgs(1),
		Long: `Reads a run's journal, checks that no record was changed, and writes what
happened as Markdown, or all of it as JSON: what was seen, decided, called,
answered and read back, by whom and when, and the hash of the last record.
Without an argument the newest run is taken; FILE is one that crosskeys runs
show --export wrote. --bundle writes all of it, with the records and the hashes,
into one file of evidence that crosskeys report verify checks anywhere.`,
		Example: `  crosskeys report
  crosskeys report 20261124-093000 -o report.md
  crosskeys report --bundle run.evidence.json`,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 && strings.HasSuffix(args[0], journal.Suffix) {
				return r.file(command, a, args[0])
			}
			return a.inStore(command.Context(), r.journal, func(store *journal.Store) error { return r.run(command, a, store, args) })
		},
	}
	journalFlag(command, &r.journal)
	command.Flags().StringVarP(&r.output, "output", "o", "", "write to this `file`")
	command.Flags().StringVar(&r.bundle, "bundle", "", "write the evidence as a whole into this `file`")
	command.AddCommand(newReportVerify(a))
	return command
}

// file reports of an exported journal.
func (r *reporting) file(command *cobra.Command, a *app, path string) error {
	if r.bundle != "" {
		return usageError("--bundle takes a run from the journals, not a file")
	}
	log, err := journal.Read(path)
	if err != nil {
		return err
	}
	return r.write(command, a, path, log)
}

func (r *reporting) run(command *cobra.Command, a *app, store *journal.Store, args []string) error {
	ctx := command.Context()
	found, err := journal.Summary{}, error(nil)
	if len(args) == 1 {
		found, err = findRun(ctx, store, args[0])
	} else {
		found, err = newestRun(ctx, store, "", func(journal.Summary) bool { return true })
	}
	if err != nil {
		return err
	}
	log, err := store.Read(ctx, found.Run)
	if err != nil {
		return err
	}
	if r.bundle == "" {
		return r.write(command, a, store.Where(), log)
	}
	if err := a.writeEvidence(ctx, store, found.Run, r.bundle); err != nil {
		return err
	}
	out := a.printer()
	out.say("evidence of %d records written to %s\nlast record: SHA-256 %s\n", len(log.Records), r.bundle, log.Head)
	return out.err
}

// write writes the report as it was asked for.
func (r *reporting) write(command *cobra.Command, a *app, where string, log journal.Log) error {
	if a.json {
		return printJSON(command, logOf(log))
	}
	var text strings.Builder
	markdown(&text, where, log)
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

// readNamed reads a file that was named on the command line.
func readNamed(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &verbError{code: exitUsage, err: err}
	}
	return text, nil
}
