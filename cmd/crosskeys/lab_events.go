package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newLabEvents(dir *string) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use: "events", Short: "Show what the lab's servers did by themselves", Args: cobra.NoArgs, Example: "  crosskeys lab events --json",
		Long: `Shows what no call asked for: databases that became Inaccessible with the loss of their
key and came back, and what forced failovers threw away.`,
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			events, err := remote.Events(command.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(command, events)
			}
			for _, event := range events {
				if _, err := fmt.Fprintf(command.OutOrStdout(), "%s  %s %s  %s/%s  %s\n",
					event.Time.Format("2006-01-02 15:04:05.000"), event.Operation, event.Status, event.Server, event.Database, event.Detail); err != nil {
					return err
				}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}
