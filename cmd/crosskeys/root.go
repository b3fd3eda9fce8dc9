package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

// app is what the verbs share. What is said to a person while something goes
// on is for talk; out takes results only.
type app struct {
	in      io.Reader
	out     io.Writer
	talk    io.Writer
	now     func() time.Time
	wait    func(ctx context.Context, d time.Duration) error
	connect func(ctx context.Context, s settings) (cloud, error)
	environ func(name string) string
	asks    bool // a person can be asked
	live    bool // talk can be redrawn
	paint   bool // out may have colours

	// around, where it is set, is put before a run's journal.
	around   func(run.Journal) run.Journal
	lease    time.Duration // how long a hold on servers lasts unless it is renewed; 0 for the usual
	settings settings
	json     bool
	noColor  bool
	begun    bool // a verb has begun, so that an error is no longer one of usage
}

// settings say where to look and as whom.
type settings struct {
	cloud         string
	subscription  string
	resourceGroup string
	server        string
	group         string
	verbose       bool
	talk          io.Writer
}

// target is what a verb is asked about.
type target struct {
	settings
	name string      // as given: a failover group's or a server's name or ARM id
	keys []tde.KeyID // to be read beside those that are in use
}

// shown is the target as a person named it.
func (t target) shown() string {
	for _, name := range []string{t.name, t.group, t.server} {
		if name != "" {
			return name
		}
	}
	return "the component"
}

// cloud is what the verbs need of Azure.
type cloud interface {
	// observe reads the whole component around the target.
	observe(ctx context.Context, t target) (tde.Topology, error)
	// world is the component as the executor sees it.
	world(t target) run.World
	// name is the cloud's name.
	name() string
	// principal is who is signed in; empty when that is not known.
	principal() string
	// sql asks databases as the caller; nil where there is no way to them.
	sql() *azure.SQLReader
}

// newRoot makes the command line. The returned command's own help is all that
// a person sees who gives no verb.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "crosskeys",
		Short: "Move the TDE protectors of Azure SQL failover groups safely",
		Long: `crosskeys sees an Azure SQL failover group, and everything that is linked to it
by geo-replication, as one thing, and brings its servers to the TDE protectors
that you want in an order in which every server can open every database at all
times.

  inspect   what is there             verify   is it as it must be
  plan      what has to be done       drill    fail over, and back, to prove it
  apply     do it, step by step       report   what was done, by whom, when
  pause, resume, abort, status, runs           a run, from another terminal

Sign-in is that of the Azure SDK: environment, workload identity, managed
identity, az login. Rehearse on a local Azure first: crosskeys demo.`,
		Example: `  crosskeys inspect my-failover-group
  crosskeys plan my-failover-group -o plan.json \
      --protector srv-a=https://vault-a.vault.azure.net/keys/a/0123 \
      --protector srv-b=https://vault-b.vault.azure.net/keys/b/4567
  crosskeys apply plan.json
  crosskeys verify my-failover-group --plan plan.json`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun: func(*cobra.Command, []string) {
			a.begun = true
			a.settings.talk = a.talk
			a.paint = a.paint && !a.noColor && a.environ("NO_COLOR") == ""
			a.live = a.live && !a.json
		},
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.talk)
	flags := root.PersistentFlags()
	s := &a.settings
	flags.StringVar(&s.cloud, "cloud", "", "`name` of the cloud: "+cloudNames)
	flags.StringVar(&s.subscription, "subscription", "", "subscription `id` (default $AZURE_SUBSCRIPTION_ID, else all that can be seen)")
	flags.StringVar(&s.resourceGroup, "resource-group", "", "resource group `name`, where a name alone is not unique")
	flags.StringVar(&s.server, "server", "", "the target is the server of this `name`")
	flags.StringVar(&s.group, "group", "", "the target is the failover group of this `name`")
	flags.BoolVar(&a.json, "json", false, "print the result as JSON")
	flags.BoolVar(&a.noColor, "no-color", false, "print without colours (also $NO_COLOR)")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "tell of every request")
	root.AddCommand(
		newInspect(a), newPlan(a), newApply(a), newRollback(a), newVerify(a), newDrill(a), newReport(a),
		newRuns(a), newStatus(a), newPause(a), newResume(a), newAbort(a), newVersion(a), newExitCodes(),
	)
	return root
}

// newExitCodes is a help topic: crosskeys help exit-codes.
func newExitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of crosskeys:

  0  done, or nothing to do
  1  failed: Azure refused a call, could not be reached, or a file cannot be
     used; or the run was aborted
  2  the command line, or a file named on it, makes no sense
  3  refused by preflight or verification: findings say why and name the cure;
     or the world is no longer the one that the plan was made for
  4  paused: by Ctrl-C or --until; apply the same plan again to go on
  5  needs a person: what happened cannot be told from here, somebody else is
     changing the same servers, or a drill's failover lost something

After 1, 3, 4 and 5 apply says which steps took effect and what state is left.
A command run by crosskeys lab exec ends with its own code.`,
	}
}

// target makes the target of a verb from its arguments and the flags.
func (a *app) target(args []string, keys ...tde.KeyID) (target, error) {
	t := target{settings: a.settings, keys: keys}
	if len(args) > 0 {
		t.name = args[0]
	}
	given := 0
	for _, name := range []string{t.name, t.server, t.group} {
		if name != "" {
			given++
		}
	}
	switch given {
	case 0:
		return t, usageError("name the failover group or a server, such as: crosskeys inspect my-failover-group")
	case 1:
		return t, nil
	}
	return t, usageError("name the target once: as an argument, or by --group, or by --server")
}

// look connects and observes, telling that it does.
func (a *app) look(ctx context.Context, t target) (tde.Topology, error) {
	talk := a.progress()
	defer talk.stop()
	talk.doing("reading " + t.shown() + " and all that is linked to it")
	c, err := a.connect(ctx, t.settings)
	if err != nil {
		return tde.Topology{}, err
	}
	return c.observe(ctx, t)
}

// oneTarget allows the target as the only argument.
func oneTarget() cobra.PositionalArgs { return cobra.MaximumNArgs(1) }
