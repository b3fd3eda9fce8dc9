package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
)

func newRuns(a *app) *cobra.Command {
	command := &cobra.Command{
		Use: "runs", Short: "List, show and verify the journals of runs",
		Long: `Every run of apply and drill is written down before it acts. The journals are in
a SQLite file of your own, or in a PostgreSQL database that a team shares.`,
		Example: `  crosskeys runs list
  crosskeys runs show 20261124-093000 --export > run.jsonl
  crosskeys runs verify run.jsonl`,
	}
	where := command.PersistentFlags().String("journal", "", "`where` journals are: a folder, or postgres://… (default $"+journalVariable+")")
	command.AddCommand(newRunsList(a, where), newRunsShow(a, where), newRunsVerify(a, where))
	return command
}

func newRunsList(a *app, where *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the runs, oldest first", Args: cobra.NoArgs,
		Long: `Lists the runs. One whose process died is interrupted: crosskeys resume goes on
with it, as with one that is paused or was stopped. An aborted one is over.`,
		Example: `  crosskeys runs list
  crosskeys runs list --json --journal postgres://tde@db.example.com/tde`,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.inStore(command.Context(), *where, func(store *journal.Store) error {
				runs, err := store.Runs(command.Context())
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(command, struct {
						Journal string            `json:"journal"`
						Runs    []journal.Summary `json:"runs"`
					}{store.Where(), append([]journal.Summary{}, runs...)})
				}
				return a.listRuns(store, runs)
			})
		},
	}
}

func (a *app) listRuns(store *journal.Store, runs []journal.Summary) error {
	out := a.printer()
	if len(runs) == 0 {
		out.say("there is no run in %s\n", store.Where())
		return out.err
	}
	// A name is for copying, so it stands first on a line of its own width.
	for _, r := range runs {
		out.say("%s\n", out.colour(bold, r.Run))
		out.say("  %s of %s, %s, %d records\n", r.Verb, r.Target, statusOf(r), r.Records)
	}
	return out.err
}

// statusOf says how a run stands.
func statusOf(r journal.Summary) string {
	text := r.Status
	if r.Interrupted() {
		text = "interrupted"
	}
	if r.Wanted != "" && !r.Over() {
		text += ", asked to " + string(r.Wanted)
	}
	return text
}

func newRunsShow(a *app, where *string) *cobra.Command {
	var export bool
	command := &cobra.Command{
		Use: "show RUN", Short: "Show a run's records, or export them", Args: cobra.ExactArgs(1),
		Long: `Checks the run's chain and shows its records. RUN may be the beginning of a
name. --export writes the records as they are kept, one JSON object a line: a
copy that crosskeys runs verify checks anywhere.`,
		Example: `  crosskeys runs show 20261124-093000-000-my-failover-group-1a2b3c4d
  crosskeys runs show 20261124 --export > run.jsonl`,
		RunE: func(command *cobra.Command, args []string) error {
			return a.inStore(command.Context(), *where, func(store *journal.Store) error {
				found, err := findRun(command.Context(), store, args[0])
				if err != nil {
					return err
				}
				if export {
					lines, err := store.Lines(command.Context(), found.Run)
					if err != nil {
						return err
					}
					out := a.printer()
					out.say("%s", lines)
					return out.err
				}
				log, err := store.Read(command.Context(), found.Run)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(command, logOf(log))
				}
				return a.showLog(found, log)
			})
		},
	}
	command.Flags().BoolVar(&export, "export", false, "write the records as they are kept")
	return command
}

// shownLog is a journal for programs.
type shownLog struct {
	Run     string           `json:"run"`
	Status  string           `json:"status"`
	Head    string           `json:"head"`
	Records []journal.Record `json:"records"`
}

func logOf(log journal.Log) shownLog {
	return shownLog{log.Begin().Run, log.Status(), log.Head, log.Records}
}

func (a *app) showLog(found journal.Summary, log journal.Log) error {
	out := a.printer()
	out.say("%s\n%s of %s, %s\n\n", out.colour(bold, found.Run), found.Verb, found.Target, statusOf(found))
	for _, r := range log.Records {
		step := ""
		if r.Step > 0 {
			step = fmt.Sprintf("step %d, ", r.Step)
		}
		out.hanging(fmt.Sprintf("%4d  %s  ", r.Seq, r.At.UTC().Format("15:04:05.000")), fmt.Sprintf("%s%s: %s", step, r.Kind, recordText(r)))
	}
	out.say("\n%d records, whole; the last one's SHA-256 is\n%s\n", len(log.Records), log.Head)
	return out.err
}

// verified is the verdict on one journal.
type verified struct {
	Run     string `json:"run"`
	OK      bool   `json:"ok"`
	Records int    `json:"records,omitempty"`
	Head    string `json:"head,omitempty"`
	Why     string `json:"why,omitempty"`
}

func newRunsVerify(a *app, where *string) *cobra.Command {
	return &cobra.Command{
		Use: "verify [RUN|FILE]", Short: "Check that no record was changed, taken out or put in", Args: cobra.MaximumNArgs(1),
		Long: `Checks the chain of a run, of an exported file, or of every run: each record
holds the SHA-256 of the one before it. The first record that does not fit is
named. Compare the last hash with one that was kept elsewhere: a journal that
was cut short at its end, or made anew as a whole, shows in nothing else.`,
		Example: `  crosskeys runs verify
  crosskeys runs verify 20261124-093000
  crosskeys runs verify run.jsonl`,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 && strings.HasSuffix(args[0], journal.Suffix) {
				log, err := journal.Read(args[0])
				if err != nil {
					return err
				}
				return a.showVerified(command, []verified{{log.Begin().Run, true, len(log.Records), log.Head, ""}}, nil)
			}
			return a.inStore(command.Context(), *where, func(store *journal.Store) error { return a.verifyRuns(command, store, args) })
		},
	}
}

func (a *app) verifyRuns(command *cobra.Command, store *journal.Store, args []string) error {
	ctx := command.Context()
	runs, err := store.Runs(ctx)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		found, err := findRun(ctx, store, args[0])
		if err != nil {
			return err
		}
		runs = []journal.Summary{found}
	}
	list := []verified{}
	var broken error
	for _, r := range runs {
		log, err := store.Read(ctx, r.Run)
		if err != nil {
			broken = errors.Join(broken, err)
			list = append(list, verified{Run: r.Run, Why: err.Error()})
			continue
		}
		list = append(list, verified{r.Run, true, len(log.Records), log.Head, ""})
	}
	return a.showVerified(command, list, broken)
}

func (a *app) showVerified(command *cobra.Command, list []verified, broken error) error {
	if a.json {
		return errors.Join(printJSON(command, list), broken)
	}
	out := a.printer()
	if len(list) == 0 {
		out.say("there is no run\n")
	}
	for _, v := range list {
		if v.OK {
			out.say("%s\n  %s, %d records, the last one's SHA-256:\n  %s\n", v.Run, out.colour(green, "whole"), v.Records, v.Head)
			continue
		}
		out.say("%s\n  %s\n", v.Run, out.colour(red, "broken"))
		out.hanging("  ", v.Why)
	}
	return errors.Join(out.err, broken)
}

// standing is how a run stands, for status.
type standing struct {
	journal.Summary
	Holdings []journal.Holding `json:"holdings"`
	Steps    int               `json:"steps"`
	Done     int               `json:"done"`
	Doing    []string          `json:"doing"` // steps that were begun and have no result
	LastAt   time.Time         `json:"lastAt"`
	Last     string            `json:"last"`
}

func newStatus(a *app) *cobra.Command {
	var where string
	command := &cobra.Command{
		Use: "status [RUN]", Short: "Say how far a run is and who has its servers", Args: cobra.MaximumNArgs(1),
		Long: `Says of the newest run, or of the one that is named, what it is on, how far it
is, what it did last and which servers it holds. The run goes on undisturbed.`,
		Example: `  crosskeys status
  crosskeys status 20261124-093000 --json`,
		RunE: func(command *cobra.Command, args []string) error {
			return a.inStore(command.Context(), where, func(store *journal.Store) error { return a.status(command, store, args) })
		},
	}
	journalFlag(command, &where)
	return command
}

func (a *app) status(command *cobra.Command, store *journal.Store, args []string) error {
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
	holdings, err := store.Holdings(ctx)
	if err != nil {
		return err
	}
	is := standingOf(found, log)
	is.Holdings = append(is.Holdings, slices.DeleteFunc(holdings, func(h journal.Holding) bool { return h.Run != found.Run || !h.Live })...)
	if a.json {
		return printJSON(command, is)
	}
	out := a.printer()
	out.say("%s\n%s of %s, %s; %d of %d steps done\n", out.colour(bold, is.Run), is.Verb, is.Target, statusOf(found), is.Done, is.Steps)
	for _, doing := range is.Doing {
		out.hanging("  now   ", doing)
	}
	out.hanging("  last  ", fmt.Sprintf("%s ago: %s", took(a.now().Sub(is.LastAt)), is.Last))
	for _, h := range is.Holdings {
		out.hanging("  holds ", fmt.Sprintf("%s (%s)", h.Server, h.Holder))
	}
	return out.err
}

// standingOf reads how far a run is from its journal.
func standingOf(found journal.Summary, log journal.Log) standing {
	last := log.Records[len(log.Records)-1]
	is := standing{Summary: found, Holdings: []journal.Holding{}, Steps: len(log.Plan().Steps), Doing: []string{}, LastAt: last.At, Last: string(last.Kind) + ": " + recordText(last)}
	done, doing := map[int]bool{}, map[int]string{}
	for _, r := range log.Records {
		switch r.Kind {
		case journal.Replan:
			done, doing = map[int]bool{}, map[int]string{}
		case journal.Seen:
			for _, n := range r.Seen.DoneBefore {
				done[n] = true
			}
		case journal.Intent:
			doing[r.Step] = fmt.Sprintf("step %d: %s", r.Step, r.Intent.What)
		case journal.Result:
			delete(doing, r.Step)
			done[r.Step] = done[r.Step] || r.Result.Outcome.Effective()
		case journal.Begin, journal.Resume, journal.Call, journal.Answer, journal.ReadBack, journal.Note, journal.End:
		}
	}
	for _, s := range log.Plan().Steps {
		if done[s.Number] {
			is.Done++
		}
		if text := doing[s.Number]; text != "" {
			is.Doing = append(is.Doing, text)
		}
	}
	return is
}
