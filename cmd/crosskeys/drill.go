package main

import (
	"cmp"
	"context"
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
	onto       string
	failback   bool
	anew       bool
	unverified bool
	probe      probing
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
asked for again.

During each failover it reads over the listener every few milliseconds, and
says how long clients were without an answer. With --probe-write it writes too,
to a table of its own that it drops, and proves that no acknowledged write was
lost. That needs SQL access to the databases; --unverified drills without it.`,
		Example: `  crosskeys drill my-failover-group --failback
  crosskeys drill my-failover-group --probe-write --probe-database orders
  crosskeys drill my-failover-group --onto my-other-server --yes`,
		RunE: func(command *cobra.Command, args []string) error { return d.run(command, a, args) },
	}
	d.flags(command)
	flags := command.Flags()
	flags.StringVar(&d.onto, "onto", "", "fail over to this `server` (default the first secondary)")
	flags.BoolVar(&d.failback, "failback", false, "go back afterwards, verified")
	flags.BoolVar(&d.anew, "new", false, "begin a new drill although the last one was not finished")
	flags.BoolVar(&d.unverified, "unverified", false, "drill although the databases cannot be asked which key wraps them")
	d.probe.flags(command)
	return command
}

func (d *drilling) run(command *cobra.Command, a *app, args []string) error {
	t, err := a.target(args)
	if err != nil {
		return err
	}
	if err := d.probe.usage(); err != nil {
		return err
	}
	topology, err := a.look(command.Context(), t)
	if err != nil {
		return err
	}
	if err := preferred(&topology, d.onto); err != nil {
		return err
	}
	made, err := d.plan(command.Context(), a, topology)
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
	if err := d.asked(topology, made); err != nil {
		return err
	}
	measures, err := d.probe.prober(command.Context(), a, t, topology, made)
	if err != nil {
		return err
	}
	hash, err := plan.Hash(made)
	if err != nil {
		return err
	}
	return a.apply(command, job{
		acting: d.acting, verb: drillVerb, plan: made, hash: hash, target: targetOf(a.settings, made), again: "crosskeys drill " + t.shown(), measures: measures,
	})
}

// asked makes sure, before anything fails over, that the verification after it
// can be made: a drill that stops half-way would leave the group there.
func (d *drilling) asked(t tde.Topology, made plan.Plan) error {
	if d.unverified || !slices.ContainsFunc(made.Steps, func(s plan.Step) bool { return s.Kind == plan.VerifyEncryption }) {
		return nil
	}
	for _, s := range t.Servers {
		for _, db := range s.Databases {
			if db.Encryption != nil || db.SQLUnread == nil || !db.OwnKey.IsZero() || strings.EqualFold(db.TDEState, "Disabled") {
				continue
			}
			hint := "or say --unverified: the group then fails over, and nobody looks which key wraps the databases"
			if db.SQLUnread.Hint != "" {
				hint = db.SQLUnread.Hint + "; " + hint
			}
			return refusal(hint, "after the failover it could not be verified: %s could not be asked: %s", db.SQLUnread.What, db.SQLUnread.Reason)
		}
	}
	return nil
}

// drillVerb marks a drill's journals.
const drillVerb = "drill"

// plan is a new drill's, or that of one that was begun and not finished: half
// of a drill cannot be planned for.
func (d *drilling) plan(ctx context.Context, a *app, t tde.Topology) (made plan.Plan, err error) {
	if !d.anew {
		var begun *plan.Plan
		err := a.inStore(ctx, d.journal, func(store *journal.Store) (err error) {
			begun, err = unfinishedDrill(ctx, store, t.Group)
			return err
		})
		if err != nil || begun != nil {
			return *cmp.Or(begun, &plan.Plan{}), err
		}
	}
	return plan.Make(t, nil, plan.Options{Drill: true, Failback: d.failback, Unverified: d.unverified, Now: a.now()})
}

// unfinishedDrill finds the plan of the group's last drill, if that has called
// something and can be gone on with.
func unfinishedDrill(ctx context.Context, store *journal.Store, group string) (*plan.Plan, error) {
	runs, err := store.Runs(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(runs) {
		if r.Verb != drillVerb {
			continue
		}
		log, err := store.Read(ctx, r.Run)
		if err != nil {
			continue // the one that is gone on with is judged there
		}
		begin := log.Begin()
		if !strings.EqualFold(begin.Plan.Group, group) {
			continue
		}
		called := slices.ContainsFunc(log.Records, func(r journal.Record) bool { return r.Kind == journal.Intent })
		if r.Over() || !called {
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
