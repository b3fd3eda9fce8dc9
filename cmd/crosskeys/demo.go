package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Move a failover group to one key per region, on a lab of its own", Args: cobra.NoArgs,
		Long: `Starts a lab on free loopback ports, makes two servers in two regions with a failover
group of three databases and one shared key, and runs the whole change with the
commands that you would type: inspect, plan, apply, verify, drill, report. While
the group fails over an application writes and reads, and every database is asked
with SQL which key wraps it. Nothing is left running and nothing outside this
machine is reached.`,
		Example: "  crosskeys demo",
		RunE:    func(command *cobra.Command, _ []string) error { return runDemo(command) },
	}
}

// scene is one step of the demo: a command line, what it does and why it is
// safe to do. One without a command line asks the databases.
type scene struct {
	what, why string
	args      []string
	load      bool // while a workload writes and reads
}

func scenes(folder string) []scene {
	plan, journals, report := filepath.Join(folder, "plan.json"), filepath.Join(folder, "journals"), filepath.Join(folder, "report.md")
	group := lab.ArticleFailoverGroup
	const reads = "reading changes nothing"
	return []scene{
		{what: "look at the failover group", why: reads, args: []string{"inspect", group}},
		{what: "ask every database which key wraps it: the shared one", why: reads},
		{what: "plan one key per region", why: "a plan is only a file; it lists each call, its reason and its way back", args: []string{
			"plan", group, "--grant", "--protector", lab.ArticlePrimary + "=" + lab.ArticlePrimaryKey,
			"--protector", lab.ArticleSecondary + "=" + lab.ArticleSecondaryKey, "-o", plan,
		}},
		{what: "carry the plan out", why: "every key is registered on both servers before a protector changes, one at a time, each read back", args: []string{
			"apply", plan, "--yes", "--journal", journals,
		}},
		{what: "verify keys, protectors and every DEK on both sides", why: reads, args: []string{"verify", group, "--plan", plan}},
		{what: "ask again: the primary's own key wraps both sides", why: reads},
		{what: "planned failover while an application writes and reads", why: "a planned failover loses no data, and both servers hold both keys", load: true, args: []string{
			"drill", group, "--probe-write", "--yes", "--journal", journals,
		}},
		{what: "ask again: the key of the new primary wraps both sides", why: reads},
		{what: "and back", why: "it is the same way", args: []string{"drill", group, "--yes", "--journal", journals}},
		{what: "verify once more", why: reads, args: []string{"verify", group, "--plan", plan}},
		{what: "write the report from the journal", why: "the journal is hash-chained: a changed record would show", args: []string{
			"report", "--journal", journals, "-o", report,
		}},
	}
}

func runDemo(command *cobra.Command) (err error) {
	began := time.Now()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	folder, err := os.MkdirTemp("", "crosskeys-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	talk := &narrator{command: command}
	talk.scene("start a lab", "it listens on loopback only and its proxy reaches nothing else")
	local, err := lab.Start(command.Context(), lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	talk.scene("make the starting point: one shared key on both servers of a live failover group", "all of it is local")
	if err := local.SeedArticle(command.Context(), lab.SeedOptions{WithoutGrants: true, Progress: talk.detail}); err != nil {
		return err
	}
	if err := local.Announce(); err != nil {
		return err
	}
	environ := labEnviron(os.Environ(), local.Access().Environ())
	for _, next := range scenes(folder) {
		talk.scene(next.what, next.why)
		if err := talk.play(command.Context(), self, local, environ, next); err != nil {
			return fmt.Errorf("demo: %s: %w", next.what, err)
		}
	}
	talk.say("\ndone in %s; the lab is gone, nothing is left running\n", time.Since(began).Round(100*time.Millisecond))
	return talk.err
}

// narrator prints the demo. The first failed write is kept in err.
type narrator struct {
	command *cobra.Command
	number  int
	err     error
}

func (n *narrator) say(format string, args ...any) {
	if _, err := fmt.Fprintf(n.command.OutOrStdout(), format, args...); n.err == nil {
		n.err = err
	}
}

func (n *narrator) scene(what, why string) {
	n.number++
	n.say("\n[%d] %s\n    safe, because %s\n", n.number, what, why)
}

func (n *narrator) detail(what string) { n.say("    %s\n", what) }

// play plays one scene.
func (n *narrator) play(ctx context.Context, self string, local *lab.Lab, environ []string, s scene) error {
	switch {
	case len(s.args) == 0:
		return n.query(ctx, local)
	case s.load:
		return n.during(ctx, self, local.Dir(), environ, func() error { return n.run(ctx, self, environ, s.args) })
	}
	return n.run(ctx, self, environ, s.args)
}

func (n *narrator) run(ctx context.Context, self string, environ, args []string) error {
	n.say("    $ crosskeys %s\n\n", shortLine(args))
	child := exec.CommandContext(ctx, self, args...)
	child.Env, child.Stdout, child.Stderr = environ, n.command.OutOrStdout(), n.command.ErrOrStderr()
	return child.Run()
}

// shortLine prints a command line with the temporary folder's paths cut to
// their last part.
func shortLine(args []string) string {
	line := ""
	for _, arg := range args {
		if filepath.IsAbs(arg) {
			arg = filepath.Base(arg)
		}
		line += " " + arg
	}
	return line[1:]
}
