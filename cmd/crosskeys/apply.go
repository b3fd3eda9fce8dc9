package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/outage"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
)

// acting is the flags of the verbs that change something.
type acting struct {
	dryRun     bool
	yes        bool
	until      int
	holdBefore []string
	windows    []string
	preHook    string
	postHook   string
	autoReplan bool
	journal    string
}

func (c *acting) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&c.yes, "yes", false, "do not ask before beginning")
	flags.IntVar(&c.until, "until", 0, "pause after the step of this `number`")
	flags.StringSliceVar(&c.holdBefore, "hold-before", nil, "pause before the first `flip` of a protector that is left, or before the drill")
	flags.StringArrayVar(&c.windows, "window", nil, "`\"[DAYS] HH:MM-HH:MM [ZONE]\"` in which protectors change and groups fail over; may be repeated")
	flags.StringVar(&c.preHook, "pre-hook", "", "run this `command` before each change; where it fails the run stops")
	flags.StringVar(&c.postHook, "post-hook", "", "run this `command` after each change")
	flags.BoolVar(&c.autoReplan, "auto-replan", false, "when somebody else fails over, go on with a new, proved plan unasked")
	journalFlag(command, &c.journal)
}

// terms are what holds until the run's end, whoever goes on with it.
func (c *acting) terms() journal.Terms {
	return journal.Terms{Windows: c.windows, PreHook: c.preHook != "", PostHook: c.postHook != "", AutoReplan: c.autoReplan}
}

// under puts the terms of a run that is gone on with in the place of what was
// not said anew.
func (c *acting) under(begun journal.Terms) {
	if len(c.windows) == 0 {
		c.windows = begun.Windows
	}
	c.autoReplan = c.autoReplan || begun.AutoReplan
}

// hooked demands the hooks that a run was begun with. A command is never taken
// from a journal: whoever may write there could have it run here.
func (c *acting) hooked(begun journal.Terms) error {
	for flag, missing := range map[string]bool{"--pre-hook": begun.PreHook && c.preHook == "", "--post-hook": begun.PostHook && c.postHook == ""} {
		if missing {
			return &verbError{code: exitUsage, err: fmt.Errorf("the run was begun with a %s, and is gone on with under the same terms", flag), hint: "give it again; " + flag + " true is one that does nothing"}
		}
	}
	return nil
}

// options says the flags in the executor's words.
func (c *acting) options() (run.Options, error) {
	o := run.Options{DryRun: c.dryRun, Until: c.until}
	for _, what := range c.holdBefore {
		switch what {
		case "flip":
			o.HoldBefore = append(o.HoldBefore, plan.SetProtector)
		case "drill":
			o.HoldBefore = append(o.HoldBefore, plan.PlannedFailover)
		default:
			return o, usageError("--hold-before %s: want flip or drill", what)
		}
	}
	for _, text := range c.windows {
		w, err := run.ParseWindow(text)
		if err != nil {
			return o, usageError("--window: %w", err)
		}
		o.Windows = append(o.Windows, w)
	}
	return o, nil
}

func newApply(a *app) *cobra.Command {
	c := &acting{}
	command := &cobra.Command{
		Use: "apply PLAN", Short: "Carry out a plan, step by step, reading back after each", Args: cobra.ExactArgs(1),
		Long: `Carries out a plan file. First it reads everything again and refuses if the
world is no longer the one that the plan was made for. Before each call it
writes to a journal on disk what it is about to do; after each call it reads
back until the effect is seen. Applied again after a crash, a refusal or Ctrl-C
it goes on where it was.

Ctrl-C finishes the call in hand, writes down its result and pauses; so do
crosskeys pause and crosskeys abort from another terminal. One run at a time has
the servers of a geo-linked component, among all who share the journals.

A hook is a command for sh. It has the step as JSON on its standard input, and
CROSSKEYS_STEP, _KIND, _SERVER, _GROUP, _KEY and _RUN in its environment.`,
		Example: `  crosskeys apply plan.json
  crosskeys apply plan.json --dry-run
  crosskeys apply plan.json --hold-before flip --pre-hook ./is-it-quiet.sh
  crosskeys apply plan.json --window "Sat,Sun 22:00-04:00 Europe/Berlin"
  crosskeys apply plan.json --yes --journal postgres://tde@db.example.com/tde`,
		RunE: func(command *cobra.Command, args []string) error {
			made, text, err := readPlan(args[0])
			if err != nil {
				return err
			}
			hash, err := planHash(text)
			if err != nil {
				return err
			}
			return a.apply(command, job{
				acting: *c, verb: "apply", plan: made, hash: hash, target: targetOf(a.settings, made),
				again: "crosskeys apply " + args[0],
			})
		},
	}
	c.flags(command)
	command.Flags().BoolVar(&c.dryRun, "dry-run", false, "read, compare and judge, but call nothing that changes anything")
	return command
}

// job is one plan to be carried out.
type job struct {
	acting
	verb   string
	plan   plan.Plan
	hash   string // of the plan as it was approved
	run    string // to go on with; empty for the plan's unfinished one, or a new one
	target target
	again  string // the command that carries it on
	// measures, where it is set, measures the plan's failovers.
	measures *measuring
}

// targetOf finds the plan's component again from what the plan says.
func targetOf(s settings, made plan.Plan) target {
	t := target{settings: s, name: made.Group}
	for _, wanted := range made.Targets {
		if !wanted.Key.IsZero() {
			t.keys = append(t.keys, wanted.Key)
		}
	}
	for _, step := range made.Steps {
		if step.Server == "" {
			continue
		}
		if t.subscription == "" {
			t.subscription = step.Subscription
		}
		if t.resourceGroup == "" {
			t.resourceGroup = step.ResourceGroup
		}
		if t.name == "" {
			t.name = step.Server
		}
		break
	}
	if t.name == "" && len(made.Targets) > 0 {
		t.name = made.Targets[0].Server
	}
	// A flag that names the target says the same as the plan, or more exactly.
	if t.group != "" || t.server != "" {
		t.name = ""
	}
	return t
}

// apply asks, carries the job out, and tells the result.
func (a *app) apply(command *cobra.Command, j job) error {
	if j.plan.Empty() {
		if a.json {
			return printJSON(command, run.Result{Status: run.StatusDone, Steps: []run.StepResult{}, State: []string{}})
		}
		out := a.printer()
		out.say("nothing to do: the plan has no steps\n")
		return out.err
	}
	if err := a.confirm(j); err != nil {
		return err
	}
	result, ran, err := a.carryOut(command.Context(), j)
	if len(result.Steps) == 0 && len(result.Replanned) == 0 {
		return err
	}
	return errors.Join(a.showResult(command, j, result, ran), err, j.measures.verdict())
}

// confirm asks a person, where there is one.
func (a *app) confirm(j job) error {
	if j.yes || j.dryRun {
		return nil
	}
	if !a.asks {
		return &verbError{code: exitUsage, err: errors.New("nobody can be asked here whether to begin"), hint: "say --yes to begin without being asked, or --dry-run to change nothing"}
	}
	ask := &printer{to: a.talk}
	for _, s := range j.plan.Steps {
		ask.say("%3d  %s\n", s.Number, title(s))
	}
	if ask.err != nil {
		return ask.err
	}
	yes, err := a.askYes(fmt.Sprintf("Carry out these %d steps on %s? [y/N] ", len(j.plan.Steps), j.target.shown()))
	if yes || err != nil {
		return err
	}
	return &verbError{code: exitPaused, err: errors.New("not begun; nothing was changed")}
}

// askYes asks a person. Only a yes is one.
func (a *app) askYes(question string) (bool, error) {
	ask := &printer{to: a.talk}
	ask.say("%s", question)
	if ask.err != nil {
		return false, ask.err
	}
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// ranAs names a run and says where its journal is.
type ranAs struct{ run, journal, evidence string }

// carryOut runs the job under its journal.
func (a *app) carryOut(ctx context.Context, j job) (result run.Result, ran ranAs, err error) {
	talk := a.progress()
	defer talk.stop()
	talk.doing("reading " + j.target.shown() + " and all that is linked to it")
	c, err := a.connect(ctx, j.target.settings)
	if err != nil {
		return result, ran, err
	}
	executor := &run.Executor{World: c.world(j.target), Now: a.now, Wait: a.wait, Progress: talk.follow(j.plan), Jitter: jitter}
	if j.dryRun {
		options, err := j.options()
		if err != nil {
			return result, ran, err
		}
		result, err = executor.Apply(ctx, j.plan, options)
		return result, ran, err
	}
	store, err := a.journals(ctx, j.journal)
	if err != nil {
		return result, ran, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	options, found, err := j.goOn(ctx, store)
	if err != nil {
		return result, ran, err
	}
	u := &underway{app: a, store: store, job: j, cloud: c, talk: talk, found: found}
	runs, cancel := context.WithCancelCause(ctx)
	u.ctx, u.cancel = runs, cancel
	around := newHooks(talk, u.id)
	executor.Begin, executor.Permit, executor.Agree = u.begin, u.permit, u.agree
	executor.Before, executor.After = around.around(j.preHook, "pre"), around.around(j.postHook, "post")
	result, err = executor.Apply(runs, j.plan, options)
	ran = ranAs{run: u.id(), journal: store.Where()}
	err = errors.Join(err, u.end(ctx))
	if ran.run != "" {
		var written error
		ran.evidence, written = a.keepEvidence(ctx, store, ran.run, j.journal)
		err = errors.Join(err, written)
	}
	return result, ran, err
}

// goOn finds the run that the job goes on with, whose terms hold.
func (j *job) goOn(ctx context.Context, store *journal.Store) (run.Options, string, error) {
	found := j.run
	if found == "" {
		var err error
		if found, err = store.Unfinished(ctx, j.hash); err != nil {
			return run.Options{}, "", err
		}
	}
	if found != "" {
		log, err := store.Read(ctx, found)
		if err != nil {
			return run.Options{}, "", err
		}
		j.under(log.Begin().Terms)
	}
	options, err := j.options()
	return options, found, err
}

// agree asks whether to go on with a new plan.
func (u *underway) agree(_ context.Context, why string, next plan.Plan) (string, error) {
	u.talk.line("%s", wrap(why, "    "))
	for _, s := range next.Steps {
		u.talk.line("%3d  %s", s.Number, title(s))
	}
	if next.Proof != nil {
		u.talk.line("%s", wrap("the new plan is proved: "+next.Proof.Summary(), "    "))
	}
	if u.job.autoReplan {
		return "--auto-replan", nil
	}
	if !u.app.asks {
		return "", nil
	}
	yes, err := u.app.askYes(fmt.Sprintf("Go on with this plan of %d steps? [y/N] ", len(next.Steps)))
	if !yes || err != nil {
		return "", err
	}
	return byWhom(whoAsks()), nil
}

// jitter spreads repetitions in time.
func jitter() float64 {
	var random [4]byte
	_, _ = rand.Read(random[:]) // it does not fail; see its documentation
	return float64(binary.LittleEndian.Uint32(random[:])) / (1 << 32)
}

// planHash is the hash that the plan file carries of itself.
func planHash(text []byte) (string, error) {
	var file struct {
		PlanHash string `json:"planHash"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return "", fmt.Errorf("read the plan's hash: %w", err)
	}
	if file.PlanHash == "" {
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:]), nil
	}
	return file.PlanHash, nil
}

// showResult prints what was done and what is left.
func (a *app) showResult(command *cobra.Command, j job, result run.Result, ran ranAs) error {
	if a.json {
		return printJSON(command, struct {
			run.Result
			Run          string               `json:"run,omitempty"`
			Journal      string               `json:"journal,omitempty"`
			Evidence     string               `json:"evidence,omitempty"`
			Measurements []outage.Measurement `json:"measurements,omitempty"`
		}{result, ran.run, ran.journal, ran.evidence, j.measures.all()})
	}
	out := a.printer()
	if result.Status == run.StatusStopped && check.Blocked(result.Findings) {
		out.findings(result.Findings)
		out.say("\n")
	}
	rows := make([][]string, 0, len(result.Steps))
	for _, s := range result.Steps {
		seconds := ""
		if s.Seconds > 0 {
			seconds = fmt.Sprintf("%.1fs", s.Seconds)
		}
		outcome := string(s.Outcome)
		if s.Earlier {
			outcome = "done before"
		}
		rows = append(rows, []string{fmt.Sprint(s.Step.Number), title(s.Step), seconds, outcome})
	}
	out.table([]string{"STEP", "WHAT", "TOOK", "OUTCOME"}, rows)
	out.say("\n")
	for _, sentence := range result.State {
		out.paragraph("", sentence)
	}
	out.measurements(j.measures.all())
	out.say("\n%s", statusLine(result))
	out.say("\n")
	if ran.run != "" {
		out.say("run %s\njournal %s\n", ran.run, ran.journal)
	}
	if ran.evidence != "" {
		out.say("evidence %s\n", ran.evidence)
	}
	if result.Status == run.StatusPaused {
		out.say("go on with: %s\n", j.again)
	}
	return out.err
}

func statusLine(result run.Result) string {
	spent := took(result.EndedAt.Sub(result.StartedAt))
	switch result.Status {
	case run.StatusDone:
		return "done in " + spent
	case run.StatusDryRun:
		return "dry run: the plan fits the world and nothing stands against it; nothing was changed"
	case run.StatusPaused:
		return "paused after " + spent
	case run.StatusAborted:
		return "aborted after " + spent
	case run.StatusStopped:
	}
	return "stopped after " + spent
}
