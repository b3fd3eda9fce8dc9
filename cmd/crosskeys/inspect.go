package main

import (
	"github.com/crosskeys/crosskeys/report"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/spf13/cobra"
)

func newInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "inspect NAME", Short: "Show a failover group and all that is linked to it", Args: oneTarget(),
		Long: `Finds a failover group by its name, or by the name or ARM id of any of its
servers, and reads the whole geo-linked component around it: servers, roles,
databases, registered keys, protectors, identities, grants, vaults and the keys
in them. Reading changes nothing.`,
		Example: `  crosskeys inspect my-failover-group
  crosskeys inspect --server my-server --resource-group my-group --json`,
		RunE: func(command *cobra.Command, args []string) error {
			t, err := a.target(args)
			if err != nil {
				return err
			}
			topology, err := a.look(command.Context(), t)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(command, topology)
			}
			return a.showTopology(topology)
		},
	}
}

// showTopology draws the component.
func (a *app) showTopology(t tde.Topology) error { return report.Topology(a.out, t) }
