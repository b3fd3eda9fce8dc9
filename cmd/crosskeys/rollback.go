package main

import (
	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/plan"
)

func newRollback(a *app) *cobra.Command {
	p := &planning{}
	command := &cobra.Command{
		Use: "rollback PLAN", Short: "Plan the way back to the protectors that a plan began with", Args: cobra.ExactArgs(1),
		Long: `Reads a plan file, looks at what is there now, and plans the way back to the
protectors that the plan's servers had when it was made, wherever it stopped.
The way back is a plan like any other: judged, proved and, with -o, written to a
file for crosskeys apply. Keys that were registered stay registered.

Azure lets a protector return to no older version of its key. Where that is so
the plan is refused and says it; what there is instead is another key, or a new
version of the old one, as the wish of a new plan. Nothing is changed here.`,
		Example: `  crosskeys rollback plan.json -o back.json && crosskeys apply back.json`,
		RunE: func(command *cobra.Command, args []string) error {
			made, _, err := readPlan(args[0])
			if err != nil {
				return err
			}
			return p.back(command, a, made)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&p.options.Grant, "grant", false, "plan missing rights on vaults too, instead of only reporting them")
	flags.BoolVar(&p.options.Drill, "drill", false, "end with a planned failover, verified")
	flags.BoolVar(&p.options.Failback, "failback", false, "with --drill: fail back, verified")
	flags.StringVarP(&p.output, "output", "o", "", "write the plan to this `file`")
	return command
}

func (p *planning) back(command *cobra.Command, a *app, forth plan.Plan) error {
	if len(forth.Targets) == 0 {
		return usageError("the plan changes no protector, so there is nothing to go back to")
	}
	desired := forth.Back()
	t := targetOf(a.settings, forth)
	t.keys = append(t.keys, keysOf(desired)...)
	topology, made, err := a.makePlan(command.Context(), t, desired, p.options)
	if err != nil {
		return err
	}
	took, err := a.prove(topology, &made)
	if err != nil {
		return err
	}
	return p.show(a, made, took)
}
