package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// wish is what a person asks for on the command line of plan and verify.
type wish struct {
	protectors   []string
	autoRotation []string
	file         string
}

func (w *wish) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVar(&w.protectors, "protector", nil, "`SERVER=KEYID` or SERVER=service-managed; once for each server")
	flags.StringArrayVar(&w.autoRotation, "auto-rotation", nil, "`SERVER=true|false`; left out, the setting stays")
	flags.StringVarP(&w.file, "file", "f", "", "read the desired protectors from this YAML `file`")
}

// read gives the failover group that a file names, and the desires. A desired
// auto-rotation without a key has no key yet; complete adds it.
func (w wish) read() (group string, desired plan.Desired, err error) {
	desired = plan.Desired{}
	if w.file != "" {
		if len(w.protectors)+len(w.autoRotation) > 0 {
			return "", nil, usageError("give either a file or --protector and --auto-rotation, not both")
		}
		text, err := os.ReadFile(w.file)
		if err != nil {
			return "", nil, &verbError{code: exitUsage, err: err}
		}
		return plan.ReadDesired(text)
	}
	for _, text := range w.protectors {
		server, value, err := pairOf("--protector", text, "SERVER=KEYID or SERVER=service-managed")
		if err != nil {
			return "", nil, err
		}
		wanted := plan.DesiredProtector{}
		if !strings.EqualFold(value, "service-managed") {
			if wanted.Key, err = tde.ParseKeyID(value); err != nil {
				return "", nil, usageError("--protector %s: %w", text, err)
			}
		}
		if _, twice := desired.For(server); twice {
			return "", nil, usageError("--protector names %s twice", server)
		}
		desired[server] = wanted
	}
	return "", desired, w.rotations(desired)
}

func (w wish) rotations(desired plan.Desired) error {
	for _, text := range w.autoRotation {
		server, value, err := pairOf("--auto-rotation", text, "SERVER=true or SERVER=false")
		if err != nil {
			return err
		}
		on := strings.EqualFold(value, "true")
		if !on && !strings.EqualFold(value, "false") {
			return usageError("--auto-rotation %s: want true or false", text)
		}
		for name := range desired {
			if strings.EqualFold(name, server) {
				server = name
			}
		}
		wanted, named := desired[server]
		if named && wanted.Key.IsZero() {
			return usageError("--auto-rotation %s: a service-managed protector has none", text)
		}
		wanted.AutoRotation = &on
		desired[server] = wanted
	}
	return nil
}

func pairOf(flag, text, want string) (server, value string, err error) {
	server, value, ok := strings.Cut(text, "=")
	if !ok || server == "" || value == "" {
		return "", "", usageError("%s %q: want %s", flag, text, want)
	}
	return server, value, nil
}

// complete gives a desired auto-rotation the key that the server has.
func complete(desired plan.Desired, t tde.Topology) plan.Desired {
	for name, wanted := range desired {
		if s, ok := t.Server(name); ok && wanted.Key.IsZero() && wanted.AutoRotation != nil {
			wanted.Key = s.Protector.Key
			desired[name] = wanted
		}
	}
	return desired
}

func keysOf(desired plan.Desired) []tde.KeyID {
	var keys []tde.KeyID
	for _, name := range desired.Servers() {
		if key := desired[name].Key; !key.IsZero() {
			keys = append(keys, key)
		}
	}
	return keys
}

// planning is the plan verb's flags.
type planning struct {
	wish
	options plan.Options
	output  string
	explain int
}

func newPlan(a *app) *cobra.Command {
	p := &planning{}
	command := &cobra.Command{
		Use: "plan NAME", Short: "Say what has to be done to reach the protectors you want", Args: oneTarget(),
		Long: `Compares what is there with the protectors that you want and prints the
smallest list of steps between the two, in an order that is safe at every
point, with what stands against it and how that is cured. Nothing is changed.
Then it proves the plan: every state is explored that it can lead to, with a
crash of ours, a failover by somebody else to any member, and effects that
arrive late, at any point; in each of them every server can open what it may
have to open. A plan that is not safe is refused, with the shortest way to the
accident. With -o the plan is written to a file for crosskeys apply; a plan that
is refused is not.`,
		Example: `  crosskeys plan my-failover-group --grant -o plan.json \
      --protector srv-a=https://vault-a.vault.azure.net/keys/a/0123456789abcdef \
      --protector srv-b=https://vault-b.vault.azure.net/keys/b/0123456789abcdef
  crosskeys plan -f target.yaml -o plan.json
  crosskeys plan my-failover-group --protector srv-a=service-managed
  crosskeys plan -f target.yaml --explain 3`,
		RunE: func(command *cobra.Command, args []string) error { return p.run(command, a, args) },
	}
	p.flags(command)
	flags := command.Flags()
	flags.BoolVar(&p.options.Grant, "grant", false, "plan missing rights on vaults too, instead of only reporting them")
	flags.BoolVar(&p.options.Drill, "drill", false, "end with a planned failover, verified")
	flags.BoolVar(&p.options.Failback, "failback", false, "with --drill: fail back, verified")
	flags.StringVarP(&p.output, "output", "o", "", "write the plan to this `file`")
	flags.IntVar(&p.explain, "explain", 0, "say what would go wrong if the step of this `number` stood anywhere else")
	return command
}

func (p *planning) run(command *cobra.Command, a *app, args []string) error {
	group, desired, err := p.read()
	if err != nil {
		return err
	}
	if len(desired) == 0 && !p.options.Drill {
		return usageError("say what is wanted: --protector SERVER=KEYID, --auto-rotation SERVER=true|false, or -f FILE")
	}
	if len(args) == 0 && group != "" && a.settings.group == "" && a.settings.server == "" {
		args = []string{group}
	}
	t, err := a.target(args, keysOf(desired)...)
	if err != nil {
		return err
	}
	topology, made, err := a.makePlan(command.Context(), t, desired, p.options)
	if err != nil {
		return err
	}
	if p.explain != 0 {
		return a.explain(topology, made, p.explain)
	}
	took, err := a.prove(topology, &made)
	if err != nil {
		return err
	}
	return p.show(a, made, took)
}

// makePlan observes and plans.
func (a *app) makePlan(ctx context.Context, t target, desired plan.Desired, o plan.Options) (tde.Topology, plan.Plan, error) {
	topology, err := a.look(ctx, t)
	if err != nil {
		return topology, plan.Plan{}, err
	}
	o.Now = a.now()
	made, err := plan.Make(topology, complete(desired, topology), o)
	return topology, made, err
}

func (p *planning) show(a *app, made plan.Plan, took time.Duration) error {
	text, err := plan.Encode(made)
	if err != nil {
		return err
	}
	out := a.printer()
	if a.json {
		out.say("%s", text)
	} else {
		out.plan(made)
		out.proof(made, took)
	}
	if out.err != nil {
		return out.err
	}
	if made.Proof != nil && !made.Proof.Proved && !made.Blocked() {
		return unproved(*made.Proof)
	}
	if made.Blocked() {
		return refusal("cure what the findings name, each by its command, and plan again", "the plan cannot be carried out: %d findings forbid it", countBlockers(made.Findings))
	}
	if p.output == "" {
		return nil
	}
	if err := writeFile(p.output, text); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	if !a.json && !made.Empty() {
		out.say("\nwritten to %s; carry it out with: crosskeys apply %s\n", p.output, p.output)
	}
	return out.err
}

func countBlockers(findings []check.Finding) int {
	n := 0
	for _, f := range findings {
		if f.Severity == check.Blocker {
			n++
		}
	}
	return n
}

// plan prints a plan: first what stands against it, then what it does.
func (p *printer) plan(made plan.Plan) {
	p.findings(made.Findings)
	if len(made.Findings) > 0 {
		p.say("\n")
	}
	if made.Empty() {
		p.say("nothing to do: every protector and every key is as wanted\n")
		return
	}
	p.steps(made.Steps)
	if len(made.Effects) > 0 {
		p.say("\n%s\n", p.colour(bold, "What it does beside that"))
		for _, effect := range made.Effects {
			p.paragraph("  ", effect)
		}
	}
}

func (p *printer) steps(steps []plan.Step) {
	p.say("%s\n", p.colour(bold, fmt.Sprintf("%d steps", len(steps))))
	for _, s := range steps {
		p.hanging(fmt.Sprintf("%3d  ", s.Number), p.colour(bold, title(s)))
		p.labelled(5, "why", s.Reason)
		if len(s.DependsOn) > 0 {
			p.labelled(5, "after", "step "+strings.Trim(strings.ReplaceAll(fmt.Sprint(s.DependsOn), " ", ", "), "[]"))
		}
		p.labelled(5, "undo", s.Undo)
	}
}

// title names a step in a line.
func title(s plan.Step) string {
	switch s.Kind {
	case plan.Grant:
		return fmt.Sprintf("let %s use the keys of vault %s", s.Server, s.VaultName)
	case plan.Register:
		return fmt.Sprintf("register %s on %s", s.Key.Short(), s.Server)
	case plan.SetProtector:
		return fmt.Sprintf("protector of %s: %s", s.Server, s.Key.Short())
	case plan.VerifyEncryption:
		return "verify the encryption of every database on every side"
	case plan.PlannedFailover:
		return fmt.Sprintf("planned failover of %s to %s", s.Group, s.Server)
	}
	return string(s.Kind)
}

// writeFile replaces a file as a whole: a reader sees the old one or the new.
func writeFile(path string, text []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".crosskeys-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
