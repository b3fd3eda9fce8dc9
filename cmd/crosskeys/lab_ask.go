package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
)

// findLab finds the running lab of the given folder.
func findLab(command *cobra.Command, dir string) (*lab.Remote, error) {
	folder, err := labDir(dir)
	if err != nil {
		return nil, err
	}
	remote, err := lab.Find(command.Context(), folder)
	if errors.Is(err, lab.ErrNotRunning) {
		return nil, hinted(err, "start one with: crosskeys lab up")
	}
	return remote, err
}

func newLabSeed(dir *string) *cobra.Command {
	withoutGrants := false
	command := &cobra.Command{
		Use: "seed", Short: "Make the starting point to rehearse from", Args: cobra.NoArgs,
		Long: `Makes the published procedure's starting point: servers tdeprimarytest and
tdesecondarytest in two regions, failover group tdefailovertest of three databases,
one shared key as the protector of both, and a vault with a key for each region.
What stands already is left as it is.`,
		Example: "  crosskeys lab seed\n  crosskeys lab seed --without-grants",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			if err := remote.SeedArticle(command.Context(), withoutGrants); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "failover group %s stands in resource group %s; try: crosskeys lab exec -- crosskeys inspect %s\n",
				lab.ArticleFailoverGroup, lab.ArticleGroup, lab.ArticleFailoverGroup)
			return err
		},
	}
	command.Flags().BoolVar(&withoutGrants, "without-grants", false, "leave out the servers' permissions on the two regional vaults")
	return command
}

func newLabStatus(dir *string) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use: "status", Short: "Say whether the lab runs, where, and what it is doing", Args: cobra.NoArgs, Example: "  crosskeys lab status --json",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			status, err := remote.Status(command.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(command, status)
			}
			table := tabwriter.NewWriter(command.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, row := range [][2]any{
				{"address", status.BaseURL}, {"proxy", status.ProxyURL}, {"state", status.Dir}, {"process", status.PID},
				{"lab time", status.Now.Format(time.RFC3339)}, {"clock ahead", status.ClockAhead}, {"latency", status.Latency}, {"running", len(status.Running)},
			} {
				if _, err := fmt.Fprintf(table, "%s\t%v\n", row[0], row[1]); err != nil {
					return err
				}
			}
			return table.Flush()
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}

func printJSON(command *cobra.Command, v any) error {
	encoder := json.NewEncoder(command.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func newLabClock(dir *string) *cobra.Command {
	command := &cobra.Command{
		Use: "clock", Short: "Show the lab's time", Args: cobra.NoArgs, Example: "  crosskeys lab clock\n  crosskeys lab clock advance 36h",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			status, err := remote.Status(command.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), status.Now.Format(time.RFC3339))
			return err
		},
	}
	command.AddCommand(&cobra.Command{
		Use: "advance DURATION", Short: "Move the lab's time forward", Args: cobra.ExactArgs(1), Example: "  crosskeys lab clock advance 10m",
		RunE: func(command *cobra.Command, args []string) error {
			by, err := time.ParseDuration(args[0])
			if err != nil || by <= 0 {
				return usageError("%q is not a duration that time could move forward by, such as 36h or 10m", args[0])
			}
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			now, err := remote.Advance(command.Context(), by)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), now.Format(time.RFC3339))
			return err
		},
	})
	return command
}

func newLabLog(dir *string) *cobra.Command {
	last, asJSON := 50, false
	command := &cobra.Command{
		Use: "log", Short: "Show the calls that the lab answered", Args: cobra.NoArgs, Example: "  crosskeys lab log -n 20",
		RunE: func(command *cobra.Command, _ []string) error {
			folder, err := labDir(*dir)
			if err != nil {
				return err
			}
			calls, err := lab.ReadCalls(filepath.Join(folder, "calls.jsonl"))
			if errors.Is(err, os.ErrNotExist) {
				return hinted(lab.ErrNotRunning, "start one with: crosskeys lab up")
			}
			if err != nil {
				return err
			}
			calls = calls[max(len(calls)-last, 0):]
			if asJSON {
				return printJSON(command, calls)
			}
			for _, call := range calls {
				if _, err := fmt.Fprintf(command.OutOrStdout(), "%s %3d %-6s %s %s\n", call.Time.Format("15:04:05.000"), call.Status, call.Method, call.Path, call.Code); err != nil {
					return err
				}
			}
			return nil
		},
	}
	command.Flags().IntVarP(&last, "last", "n", last, "how many calls to show")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}

func newLabDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the lab; its state stays", Args: cobra.NoArgs, Example: "  crosskeys lab down",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			if err := remote.Stop(command.Context()); err != nil {
				return err
			}
			if err := awaitGone(command, remote); err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "the lab has stopped; its state stays in %s\n", remote.Access.Dir)
			return err
		},
	}
}

// awaitGone returns when the lab has let go of its state folder.
func awaitGone(command *cobra.Command, remote *lab.Remote) error {
	deadline := time.After(startLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := lab.Find(command.Context(), remote.Access.Dir); errors.Is(err, lab.ErrNotRunning) {
			return nil
		}
		select {
		case <-deadline:
			return fmt.Errorf("the lab (process %d) does not stop", remote.Access.PID)
		case <-tick.C:
		}
	}
}
