package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
)

// acting is the flags of the verbs that change something.
type acting struct {
	dryRun     bool
	yes        bool
	until      int
	journalDir string
}

func (c *acting) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&c.yes, "yes", false, "do not ask before beginning")
	journalFlag(command, &c.journalDir)
}

func journalFlag(command *cobra.Command, to *string) {
	command.Flags().StringVar(to, "journal-dir", "", "`folder` of the journals (default $XDG_STATE_HOME/crosskeys, else ~/.local/state/crosskeys)")
}

// journalFolder is the folder of the journals as given, or the user's own.
func (a *app) journalFolder(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if state := a.environ("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "crosskeys"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &verbError{code: exitUsage, err: fmt.Errorf("find the folder of the journals: %w", err), hint: "name one with --journal-dir"}
	}
	return filepath.Join(home, ".local", "state", "crosskeys"), nil
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

Ctrl-C finishes the call in hand, writes down its result and pauses.`,
		Example: `  crosskeys apply plan.json
  crosskeys apply plan.json --dry-run
  crosskeys apply plan.json --yes --journal-dir ./journals`,
		RunE: func(command *cobra.Command, args []string) error {
			made, text, err := readPlan(args[0])
			if err != nil {
				return err
			}
			return a.apply(command, job{
				acting: *c, verb: "apply", plan: made, text: text, target: targetOf(a.settings, made),
				again: "crosskeys apply " + args[0],
			})
		},
	}
	c.flags(command)
	command.Flags().BoolVar(&c.dryRun, "dry-run", false, "read, compare and judge, but call nothing that changes anything")
	command.Flags().IntVar(&c.until, "until", 0, "pause after the step of this `number`")
	return command
}

// job is one plan to be carried out.
type job struct {
	acting
	verb   string
	plan   plan.Plan
	text   []byte // of the plan file
	target target
	again  string // the command that carries it on
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
	result, path, err := a.carryOut(command.Context(), j)
	if len(result.Steps) == 0 {
		return err
	}
	return errors.Join(a.showResult(command, j, result, path), err)
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
	ask.say("Carry out these %d steps on %s? [y/N] ", len(j.plan.Steps), j.target.shown())
	if ask.err != nil {
		return ask.err
	}
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &verbError{code: exitPaused, err: errors.New("not begun; nothing was changed")}
}

// carryOut runs the job under its journal, whose path it returns.
func (a *app) carryOut(ctx context.Context, j job) (result run.Result, path string, err error) {
	talk := a.progress()
	defer talk.stop()
	talk.doing("reading " + j.target.shown() + " and all that is linked to it")
	c, err := a.connect(ctx, j.target.settings)
	if err != nil {
		return result, "", err
	}
	executor := &run.Executor{World: c.world(j.target), Now: a.now, Wait: a.wait, Progress: talk.follow(j.plan)}
	options := run.Options{DryRun: j.dryRun, Until: j.until}
	if j.dryRun {
		result, err = executor.Apply(ctx, j.plan, options)
		return result, "", err
	}
	folder, err := a.journalFolder(j.journalDir)
	if err != nil {
		return result, "", err
	}
	written, earlier, err := a.openJournal(folder, j, c)
	if err != nil {
		return result, "", err
	}
	defer func() { err = errors.Join(err, written.Close()) }()
	if len(earlier) > 0 {
		talk.line("going on with run %s", written.Run())
	}
	var locks []*journal.Lock
	defer func() {
		for _, lock := range locks {
			err = errors.Join(err, lock.Release())
		}
	}()
	executor.Journal, options.Earlier = written, earlier
	executor.Exclude = func(servers []string) error {
		lock, err := journal.LockServers(folder, servers)
		if err == nil {
			locks = append(locks, lock)
		}
		return err
	}
	result, err = executor.Apply(ctx, j.plan, options)
	return result, written.Path(), err
}

// openJournal takes up the plan's unfinished journal, or begins a new one.
func (a *app) openJournal(folder string, j job, c cloud) (*journal.Journal, []journal.Record, error) {
	who := whoRuns(c)
	hash, err := planHash(j.text)
	if err != nil {
		return nil, nil, err
	}
	path, err := journal.Unfinished(folder, hash)
	if err != nil {
		return nil, nil, err
	}
	if path != "" {
		written, log, err := journal.Open(path, who, a.now)
		return written, log.Records, err
	}
	written, err := journal.Create(folder, journal.BeginEntry{
		Verb: j.verb, PlanHash: hash, Plan: j.plan, Cloud: c.name(), Target: j.target.shown(), Who: who,
	}, a.now)
	return written, nil, err
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

// whoRuns is who runs the tool, as far as it can be told.
func whoRuns(c cloud) journal.Who {
	who := journal.Who{Principal: c.principal(), Version: version}
	if u, err := user.Current(); err == nil {
		who.User = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who.Host = host
	}
	return who
}

// showResult prints what was done and what is left.
func (a *app) showResult(command *cobra.Command, j job, result run.Result, path string) error {
	if a.json {
		return printJSON(command, struct {
			run.Result
			Journal string `json:"journal,omitempty"`
		}{result, path})
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
	out.say("\n%s", statusLine(result))
	if path != "" {
		out.say("; journal %s", path)
	}
	out.say("\n")
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
	case run.StatusStopped:
	}
	return "stopped after " + spent
}
