package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab/fault"
)

// newLabFault groups the verbs about the lab's faults.
func newLabFault(dir *string) *cobra.Command {
	command := &cobra.Command{
		Use: "fault", Short: "Let accidents happen in the lab: lost replies, outages, throttling, failovers",
		Long: `Faults are a text, a rule a line: what is to go wrong, and when on the lab's clock.
They strike whoever calls the lab; docs/faults.md has the language.`,
		Example: `  crosskeys lab fault set accidents.txt
  crosskeys lab fault add 'on put encryptionProtector nth 2: lose-reply'
  crosskeys lab fault list
  crosskeys lab fault clear`,
	}
	command.AddCommand(newFaultSet(dir), newFaultAdd(dir), newFaultList(dir), newFaultClear(dir))
	return command
}

func newFaultSet(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "set FILE|-", Short: "Put a text of faults in force in place of the one before", Args: cobra.ExactArgs(1),
		Example: "  crosskeys lab fault set accidents.txt\n  echo 'region westus down for 5m' | crosskeys lab fault set -",
		RunE: func(command *cobra.Command, args []string) error {
			text, err := readText(command.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			return changeFaults(command, *dir, text, false)
		},
	}
}

func newFaultAdd(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "add RULE", Short: "Put one more fault in force", Args: cobra.ExactArgs(1),
		Example: "  crosskeys lab fault add 'vault testanu2: 403 after 10m'",
		RunE: func(command *cobra.Command, args []string) error {
			return changeFaults(command, *dir, args[0], true)
		},
	}
}

// readText reads a file, or what comes in for -.
func readText(in io.Reader, name string) (string, error) {
	if name != "-" {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read faults: %w", err)
		}
		return string(text), nil
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read faults: %w", err)
	}
	return string(text), nil
}

// checkFaults reports what in a text is no fault.
func checkFaults(text string) error {
	if _, err := fault.Parse(text); err != nil {
		return &verbError{code: exitUsage, err: err, hint: "docs/faults.md has the language of faults"}
	}
	return nil
}

// faultsGiven reads a text of faults as it is given for a lab that starts: a
// file's name, - or the text itself. An empty one clears what an earlier lab
// left.
func faultsGiven(in io.Reader, given string) (string, error) {
	text := given
	if _, err := os.Stat(given); given == "-" || err == nil {
		if text, err = readText(in, given); err != nil {
			return "", &verbError{code: exitUsage, err: err, hint: "give a file, or the faults themselves; docs/faults.md has the language of faults"}
		}
	}
	if err := checkFaults(text); err != nil {
		return "", err
	}
	if strings.TrimSpace(text) == "" {
		return noFaults, nil
	}
	return text, nil
}

// noFaults is a text that has no fault in it, and is not empty.
const noFaults = "# none\n"

// changeFaults has the lab take a text, once it is known to be one.
func changeFaults(command *cobra.Command, dir, text string, add bool) error {
	if err := checkFaults(text); err != nil {
		return err
	}
	remote, err := findLab(command, dir)
	if err != nil {
		return err
	}
	change := remote.SetFaults
	if add {
		change = remote.AddFaults
	}
	state, err := change(command.Context(), text)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "faults in force: %d\n", len(state.Since))
	return err
}

func newFaultList(dir *string) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use: "list", Short: "Show the faults in force and what they have struck", Args: cobra.NoArgs, Example: "  crosskeys lab fault list --json",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			state, err := remote.Faults(command.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(command, state)
			}
			return printFaults(command.OutOrStdout(), state)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}

func printFaults(out io.Writer, state fault.State) error {
	if len(state.Since) == 0 {
		_, err := fmt.Fprintln(out, "no faults are in force")
		return err
	}
	if _, err := fmt.Fprintf(out, "%s\ncalls of Resource Manager since: %d\n", strings.TrimSpace(state.Text), state.Calls); err != nil {
		return err
	}
	for _, hit := range state.Hits {
		if _, err := fmt.Fprintf(out, "%s  call %d  %s  %s\n", hit.At.Format("15:04:05.000"), hit.Call, hit.Rule, hit.What); err != nil {
			return err
		}
	}
	return nil
}

func newFaultClear(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "Take all faults back", Args: cobra.NoArgs, Example: "  crosskeys lab fault clear",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			if err := remote.ClearFaults(command.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), "no faults are in force")
			return err
		},
	}
}
