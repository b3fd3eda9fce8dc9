package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// drilling is the drill verb's flags.
type drilling struct {
	acting
	onto     string
	failback bool
	anew     bool
}

func newDrill(a *app) *cobra.Command {
	d := &drilling{}
	command := &cobra.Command{
		Use: "drill NAME", Short: "Fail a group over without data loss, verify, and fail back", Args: oneTarget(),
		Long: `Proves that a failover works: looks for everything that stands against it,
makes a secondary the primary by a planned failover, which loses no data, and
waits until every database is wrapped by the new primary's protector on every
side. With --failback the group then goes back to where it was, verified again.
It is journalled like apply. Connections are broken for the moment of each
failover. A drill that was paused or interrupted is gone on with when it is
asked for again.`,
		Example: `  crosskeys drill my-failover-group --failback
  crosskeys drill my-failover-group --onto my-other-server --yes`,
		RunE: func(command *cobra.Command, args []string) error { return d.run(command, a, args) },
	}
	d.flags(command)
	flags := command.Flags()
	flags.StringVar(&d.onto, "onto", "", "fail over to this `server` (default the first secondary)")
	flags.BoolVar(&d.failback, "failback", false, "go back afterwards, verified")
	flags.BoolVar(&d.anew, "new", false, "begin a new drill although the last one was not finished")
	return command
}

func (d *drilling) run(command *cobra.Command, a *app, args []string) error {
	t, err := a.target(args)
	if err != nil {
		return err
	}
	topology, err := a.look(command.Context(), t)
	if err != nil {
		return err
	}
	if err := preferred(&topology, d.onto); err != nil {
		return err
	}
	made, err := d.plan(a, topology)
	if err != nil {
		return err
	}
	if made.Blocked() {
		out := a.printer()
		out.findings(made.Findings)
		if out.err != nil {
			return out.err
		}
		return refusal("cure what the findings name and drill again", "a failover is not safe now: %d findings forbid it", countBlockers(made.Findings))
	}
	text, err := plan.Encode(made)
	if err != nil {
		return err
	}
	return a.apply(command, job{acting: d.acting, verb: drillVerb, plan: made, text: text, target: targetOf(a.settings, made), again: "crosskeys drill " + t.shown()})
}

// drillVerb marks a drill's journals.
const drillVerb = "drill"

// plan is a new drill's, or that of one that was begun and not finished: half
// of a drill cannot be planned for.
func (d *drilling) plan(a *app, t tde.Topology) (plan.Plan, error) {
	folder, err := a.journalFolder(d.journalDir)
	if err != nil {
		return plan.Plan{}, err
	}
	if !d.anew {
		begun, err := unfinishedDrill(folder, t.Group)
		if err != nil || begun != nil {
			return *cmp.Or(begun, &plan.Plan{}), err
		}
	}
	return plan.Make(t, nil, plan.Options{Drill: true, Failback: d.failback, Now: a.now()})
}

// unfinishedDrill finds the plan of the group's last drill, if that has called
// something and has not reached its end.
func unfinishedDrill(folder, group string) (*plan.Plan, error) {
	paths, err := journal.Runs(folder)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Backward(paths) {
		log, err := journal.Read(path)
		if err != nil {
			continue // openJournal judges the one that it needs
		}
		begin := log.Begin()
		if begin.Verb != drillVerb || !strings.EqualFold(begin.Plan.Group, group) {
			continue
		}
		called := slices.ContainsFunc(log.Records, func(r journal.Record) bool { return r.Kind == journal.Intent })
		if log.Complete() || !called {
			return nil, nil
		}
		return &begin.Plan, nil
	}
	return nil, nil
}

// preferred puts the server first among the group's secondaries, which is the
// one that a drill takes. The order of members is no part of what is compared.
func preferred(t *tde.Topology, onto string) error {
	if onto == "" {
		return nil
	}
	for i, g := range t.Groups {
		if !strings.EqualFold(g.Name, t.Group) {
			continue
		}
		at := slices.IndexFunc(g.Members, func(m tde.Member) bool { return strings.EqualFold(m.Server, onto) })
		switch {
		case at < 0:
			return usageError("--onto %s: it is no member of failover group %s", onto, g.Name)
		case g.Members[at].Role == tde.Primary:
			return usageError("--onto %s: it is the primary of failover group %s already", onto, g.Name)
		}
		members := slices.Clone(g.Members)
		chosen := members[at]
		t.Groups[i].Members = slices.Insert(slices.Delete(members, at, at+1), 1, chosen)
		return nil
	}
	return fmt.Errorf("failover group %q was not observed", t.Group)
}
