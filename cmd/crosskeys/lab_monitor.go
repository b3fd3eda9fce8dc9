package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/monitor"
)

func newLabMonitor(dir *string) *cobra.Command {
	asJSON, follow := false, false
	command := &cobra.Command{
		Use: "monitor", Short: "List the times in which a safety rule did not hold in the lab, and who opened them", Args: cobra.NoArgs,
		Long: `The lab judges its own true state by the rules of docs/safety.md after every change:
what wraps each replica's DEK, what is registered where, and what each server's identity
can really use. Each line is an interval in which a rule did not hold, with the call that
opened it. With --follow, intervals are printed as they open and close, until Ctrl-C.`,
		Example: "  crosskeys lab monitor\n  crosskeys lab monitor --json\n  crosskeys lab monitor --follow",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			if follow {
				return followMonitor(command, remote, asJSON)
			}
			intervals, err := remote.Monitor(command.Context(), false)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(command, intervals)
			}
			return printIntervals(command.OutOrStdout(), intervals)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --follow, one object a line")
	command.Flags().BoolVar(&follow, "follow", false, "go on as intervals open and close")
	return command
}

func printIntervals(out io.Writer, intervals []monitor.Interval) error {
	if len(intervals) == 0 {
		_, err := fmt.Fprintln(out, "every rule has held all the time")
		return err
	}
	for _, interval := range intervals {
		if err := printInterval(out, interval); err != nil {
			return err
		}
	}
	return nil
}

func printInterval(out io.Writer, i monitor.Interval) error {
	lasted := "still"
	if !i.Still() {
		lasted = i.To.Sub(i.From).Round(time.Millisecond).String()
	}
	_, err := fmt.Fprintf(out, "%s  %-5s %s\n    lasted %s; opened by %s\n", i.From.Format("2006-01-02 15:04:05.000"), i.Rule, sayBreach(i.Breach), lasted, sayCause(i.By))
	return err
}

// sayBreach puts a breach into words.
func sayBreach(b monitor.Breach) string {
	switch {
	case b.Rule == "One":
		return fmt.Sprintf("%s changes its protector while %s does", b.Server, b.Owner)
	case b.Rule == "Next" && b.Server == b.Owner:
		return fmt.Sprintf("%s cannot use its own protector %s", b.Server, b.Key)
	case b.Rule == "Next":
		return fmt.Sprintf("%s cannot use %s, the protector of %s", b.Server, b.Key, b.Owner)
	case b.Rule == "Past":
		return fmt.Sprintf("%s cannot use %s, which logs or backups of database %s may need", b.Server, b.Key, b.Database)
	}
	return fmt.Sprintf("%s cannot use %s, which wraps the DEK of database %s on %s", b.Server, b.Key, b.Database, b.Owner)
}

func sayCause(by monitor.Cause) string {
	text := by.Event
	if by.Method != "" {
		text = fmt.Sprintf("%s %s at %s by %s", by.Method, by.Path, by.Time.Format("15:04:05.000"), by.Principal)
		if by.Event != "" {
			text += ", which " + by.Event
		}
	}
	if by.Operation != "" {
		text += " (" + by.Operation + ")"
	}
	return text
}

// followMonitor prints intervals as they open, and again as they close.
func followMonitor(command *cobra.Command, remote *lab.Remote, asJSON bool) error {
	type mark struct {
		monitor.Breach
		from int64
	}
	printed := map[mark]bool{} // whether it was over
	for wait := false; ; wait = true {
		intervals, err := remote.Monitor(command.Context(), wait)
		if command.Context().Err() != nil {
			return nil //nolint:nilerr // Ctrl-C is how following ends
		}
		if err != nil {
			return err
		}
		for _, each := range intervals {
			id := mark{each.Breach, each.From.UnixNano()}
			if over, known := printed[id]; known && over == !each.Still() {
				continue
			}
			printed[id] = !each.Still()
			if err := printFollowed(command.OutOrStdout(), each, asJSON); err != nil {
				return err
			}
		}
	}
}

func printFollowed(out io.Writer, i monitor.Interval, asJSON bool) error {
	if !asJSON {
		return printInterval(out, i)
	}
	return json.NewEncoder(out).Encode(i)
}
