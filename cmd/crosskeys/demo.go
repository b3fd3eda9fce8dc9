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
commands that you would type: inspect, plan, apply, verify, drill, report. Nothing
is left running and nothing outside this machine is reached.`,
		Example: "  crosskeys demo",
		RunE:    func(command *cobra.Command, _ []string) error { return runDemo(command) },
	}
}

// scene is one step of the demo: a command line, what it does and why it is
// safe to do.
type scene struct {
	what, why string
	args      []string
}

func scenes(folder string) []scene {
	plan, journals, report := filepath.Join(folder, "plan.json"), filepath.Join(folder, "journals"), filepath.Join(folder, "report.md")
	group := lab.ArticleFailoverGroup
	return []scene{
		{"look at the failover group", "reading changes nothing", []string{"inspect", group}},
		{"plan one key per region", "a plan is only a file; it lists each call, its reason and its way back", []string{
			"plan", group, "--grant", "--protector", lab.ArticlePrimary + "=" + lab.ArticlePrimaryKey,
			"--protector", lab.ArticleSecondary + "=" + lab.ArticleSecondaryKey, "-o", plan,
		}},
		{"carry the plan out", "every key is registered on both servers before a protector changes, one at a time, each read back", []string{
			"apply", plan, "--yes", "--journal-dir", journals,
		}},
		{"verify keys, protectors and every DEK on both sides", "reading changes nothing", []string{"verify", group, "--plan", plan}},
		{"planned failover, verify, fail back, verify", "a planned failover loses no data, and both servers hold both keys", []string{
			"drill", group, "--failback", "--yes", "--journal-dir", journals,
		}},
		{"verify once more", "reading changes nothing", []string{"verify", group, "--plan", plan}},
		{"write the report from the journal", "the journal is hash-chained: a changed record would show", []string{
			"report", "--journal-dir", journals, "-o", report,
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
	environ := labEnviron(os.Environ(), local.Access().Environ())
	for _, next := range scenes(folder) {
		talk.scene(next.what, next.why)
		if err := talk.run(command.Context(), self, environ, next.args); err != nil {
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
