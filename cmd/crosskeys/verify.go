package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// verifying is the verify verb's flags.
type verifying struct {
	wish
	plan string
}

func newVerify(a *app) *cobra.Command {
	v := &verifying{}
	command := &cobra.Command{
		Use: "verify NAME", Short: "Check keys, protectors and every database's key on every side", Args: oneTarget(),
		Long: `Checks that every server has every key that it needs, now and after a
failover, registered and usable; that the protectors are the wanted ones, where
any are named; and that each database's encryption key is wrapped by the
protector of the server that is primary for it, on every side. The databases are
asked with SQL, as the caller; which keys their logs still need is told too.
Reading changes nothing. The exit code is 3 when anything is not as it must be.`,
		Example: `  crosskeys verify my-failover-group
  crosskeys verify my-failover-group --plan plan.json
  crosskeys verify my-failover-group --json`,
		RunE: func(command *cobra.Command, args []string) error { return v.run(command, a, args) },
	}
	v.flags(command)
	command.Flags().StringVar(&v.plan, "plan", "", "the wanted protectors are those of this plan `file`")
	return command
}

func (v *verifying) run(command *cobra.Command, a *app, args []string) error {
	desired, group, err := v.desired()
	if err != nil {
		return err
	}
	if len(args) == 0 && group != "" && a.settings.group == "" && a.settings.server == "" {
		args = []string{group}
	}
	t, err := a.target(args, keysOf(desired)...)
	if err != nil {
		return err
	}
	topology, err := a.look(command.Context(), t)
	if err != nil {
		return err
	}
	for _, name := range desired.Servers() {
		if _, known := topology.Server(name); !known {
			return usageError("server %q is not in this component", name)
		}
	}
	verification := check.Verify(topology, complete(desired, topology), a.now())
	if a.json {
		err = printJSON(command, verification)
	} else {
		out := a.printer()
		out.verification(verification)
		err = out.err
	}
	if err != nil || verification.OK {
		return err
	}
	return refusal("the findings name the cure of each; until then leave every key registered and enabled",
		"not everything is as it must be: %d findings", countBlockers(verification.Findings))
}

func (v *verifying) desired() (plan.Desired, string, error) {
	if v.plan == "" {
		group, desired, err := v.read()
		return desired, group, err
	}
	if v.file != "" || len(v.protectors)+len(v.autoRotation) > 0 {
		return nil, "", usageError("give either --plan or the protectors, not both")
	}
	made, _, err := readPlan(v.plan)
	return made.Desired(), made.Group, err
}

// readPlan reads a plan file and gives its text beside it.
func readPlan(path string) (plan.Plan, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return plan.Plan{}, nil, &verbError{code: exitUsage, err: err, hint: "make one with: crosskeys plan NAME … -o " + path}
	}
	made, err := plan.Decode(text)
	return made, text, err
}

// verification prints three tables and what was found.
func (p *printer) verification(v check.Verification) {
	rows := make([][]string, 0, len(v.Servers))
	for _, s := range v.Servers {
		rows = append(rows, []string{s.Server, rolesCell(s.Roles), protectorCell(s), s.Thumbprint.Short(), string(s.Verdict)})
	}
	p.table([]string{"SERVER", "ROLE", "PROTECTOR", "THUMBPRINT", "VERDICT"}, rows)
	rows = nil
	for _, k := range v.Keys {
		rows = append(rows, []string{k.Server, k.Key.Short(), yes(k.Registered), yes(k.Usable), string(k.Verdict)})
	}
	if len(rows) > 0 {
		p.say("\n")
		p.table([]string{"SERVER", "KEY IT NEEDS", "REGISTERED", "USABLE", "VERDICT"}, rows)
	}
	p.say("\n")
	p.databases(v.Databases)
	if len(v.Findings) > 0 {
		p.say("\n")
		p.findings(v.Findings)
	}
	if v.OK {
		p.say("\n%s\n", p.colour(green, "everything is as it must be"))
	}
}

// rolesCell names each role once: one group is the rule, and findings name it.
func rolesCell(roles []string) string {
	var list []string
	for _, role := range roles {
		role, _, _ = strings.Cut(role, " ")
		if !slices.Contains(list, role) {
			list = append(list, role)
		}
	}
	return strings.Join(list, "+")
}

// keyCell leaves the version to the thumbprint beside it.
func keyCell(k tde.KeyID) string { return k.WithoutVersion().Short() }

func protectorCell(s check.ServerRow) string {
	text := keyCell(s.Key)
	if s.AutoRotation && !s.Key.IsZero() {
		text += " (rotates)"
	}
	return text
}

// databases prints the replicas; their states only where one is not at rest,
// since the verdict says it otherwise.
func (p *printer) databases(list []check.DatabaseRow) {
	headings := []string{"DATABASE", "ON", "ROLE", "STATE", "WRAPPED BY", "THUMBPRINT", "VERDICT"}
	const stateColumn = 3
	rest := !slices.ContainsFunc(list, func(d check.DatabaseRow) bool { return d.Encryption != nil && d.State != tde.StateEncrypted })
	if rest {
		headings = slices.Delete(headings, stateColumn, stateColumn+1)
	}
	rows := make([][]string, 0, len(list))
	for _, d := range list {
		by := keyCell(d.Key)
		switch {
		case d.EncryptorType == tde.EncryptorCertificate:
			by = "service-managed"
		case d.Key.IsZero():
			by = "-"
		}
		row := []string{d.Database, d.Server, d.Role, stateCell(d.Encryption), by, d.Thumbprint.Short(), string(d.Verdict)}
		if rest {
			row = slices.Delete(row, stateColumn, stateColumn+1)
		}
		rows = append(rows, row)
	}
	p.table(headings, rows)
}

// stateCell is an encryption state and, while it changes, how far that has come.
func stateCell(e *tde.EncryptionState) string {
	switch {
	case e == nil:
		return "-"
	case e.Changing():
		return fmt.Sprintf("%d, %.0f %%", e.State, e.Percent)
	}
	return fmt.Sprint(e.State)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
