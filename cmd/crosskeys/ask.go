package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
)

func newPause(a *app) *cobra.Command {
	var where string
	command := &cobra.Command{
		Use: "pause [RUN]", Short: "Have a run finish its call in hand and stop", Args: cobra.MaximumNArgs(1),
		Long: `Asks a run that is under way, on this machine or on another that shares the
journals, to finish the call in hand, write down its result and stop. It hears
within a second. crosskeys resume goes on with it.`,
		Example: `  crosskeys pause
  crosskeys pause 20261124 --journal postgres://tde@db.example.com/tde`,
		RunE: func(command *cobra.Command, args []string) error {
			return a.inStore(command.Context(), where, func(store *journal.Store) error {
				return a.ask(command.Context(), store, args, journal.Pause)
			})
		},
	}
	journalFlag(command, &where)
	return command
}

func newAbort(a *app) *cobra.Command {
	var where string
	command := &cobra.Command{
		Use: "abort [RUN]", Short: "Have a run finish its call in hand and stop for good", Args: cobra.MaximumNArgs(1),
		Long: `Like pause, but for good: an aborted run is not gone on with. Nothing is undone;
the state that is left is a safe one to stay in, as after every step. A run that
is not under way is marked as aborted. crosskeys rollback plans the way back.`,
		Example: `  crosskeys abort
  crosskeys abort 20261124-093000`,
		RunE: func(command *cobra.Command, args []string) error {
			return a.inStore(command.Context(), where, func(store *journal.Store) error {
				return a.ask(command.Context(), store, args, journal.Abort)
			})
		},
	}
	journalFlag(command, &where)
	return command
}

// ask asks something of a run. One that no process is at is aborted here.
func (a *app) ask(ctx context.Context, store *journal.Store, args []string, wanted journal.Wanted) error {
	found, err := journal.Summary{}, error(nil)
	if len(args) == 1 {
		found, err = findRun(ctx, store, args[0])
	} else {
		found, err = newestRun(ctx, store, "under way ", func(r journal.Summary) bool { return r.Live && !r.Over() })
	}
	if err != nil {
		return err
	}
	out := a.printer()
	switch {
	case found.Over():
		return &verbError{code: exitRefused, err: fmt.Errorf("run %s is over: %s", found.Run, found.Status)}
	case found.Live:
		if err := store.Ask(ctx, found.Run, wanted, byWhom(whoAsks())); err != nil {
			return err
		}
		out.say("run %s was asked to %s; crosskeys status says when it has\n", found.Run, wanted)
		return out.err
	case wanted == journal.Pause:
		return &verbError{code: exitRefused, err: fmt.Errorf("run %s is not under way", found.Run), hint: "crosskeys status says how it stands"}
	}
	marked, _, err := store.Resume(ctx, found.Run, whoAsks(), nil)
	if err != nil {
		return err
	}
	end := &journal.EndEntry{Status: journal.StatusAborted, Why: "aborted by " + byWhom(whoAsks()) + " while nothing was under way"}
	if err := marked.AppendContext(ctx, journal.Record{Kind: journal.End, End: end}); err != nil {
		return err
	}
	out.say("run %s is aborted\n", found.Run)
	return out.err
}

func newResume(a *app) *cobra.Command {
	c := &acting{}
	command := &cobra.Command{
		Use: "resume [RUN]", Short: "Go on with a run that was paused, stopped or interrupted", Args: cobra.MaximumNArgs(1),
		Long: `Goes on with the newest run that is not over, or with the one that is named,
from its journal and what is there now: what has taken effect is recognised and
not repeated, operations that are still under way are followed. The plan is the
one in the journal. Windows and --auto-replan hold as they were said when the
run began, unless they are said anew; hooks have to be given again.

The hold of a process that died on its servers lasts for half a minute, which is
waited for.`,
		Example: `  crosskeys resume
  crosskeys resume 20261124-093000 --yes`,
		RunE: func(command *cobra.Command, args []string) error {
			j, err := a.resumed(command.Context(), *c, args)
			if err != nil {
				return err
			}
			return a.apply(command, j)
		},
	}
	c.flags(command)
	return command
}

// resumed makes the job of a run that is gone on with.
func (a *app) resumed(ctx context.Context, c acting, args []string) (j job, err error) {
	err = a.inStore(ctx, c.journal, func(store *journal.Store) error {
		var found journal.Summary
		if len(args) == 1 {
			found, err = findRun(ctx, store, args[0])
		} else {
			found, err = newestRun(ctx, store, "to go on with ", func(r journal.Summary) bool { return !r.Over() && !r.Live })
		}
		switch {
		case err != nil:
			return err
		case found.Status == journal.StatusAborted:
			return fmt.Errorf("resume run %s: %w", found.Run, journal.ErrAborted)
		case found.Over():
			return &verbError{code: exitRefused, err: fmt.Errorf("run %s is over: %s", found.Run, found.Status)}
		}
		log, err := store.Read(ctx, found.Run)
		if err != nil {
			return err
		}
		begin, made := log.Begin(), log.Plan()
		j = job{acting: c, verb: begin.Verb, plan: made, hash: begin.PlanHash, run: found.Run, target: targetOf(a.settings, made), again: "crosskeys resume " + found.Run}
		return nil
	})
	return j, err
}
