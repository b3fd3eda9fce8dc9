package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
)

func newLabExec(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "exec -- COMMAND [ARG…]", Short: "Run any Azure client inside the lab", Args: cobra.MinimumNArgs(1), DisableFlagsInUseLine: true,
		Long: `Runs a command with everything set that sends an Azure client into the lab: the
proxy, the certificate authority, credentials. The command is unmodified and uses
Azure's own host names; nothing but the lab can be reached by them. Where no lab
runs, one of its own is started for the command and removed after it.`,
		Example: `  crosskeys lab exec -- az account show
  crosskeys lab exec -- terraform plan
  crosskeys lab exec -- bash e2e/az/flow.sh`,
		RunE: func(command *cobra.Command, args []string) error { return execInLab(command, *dir, args) },
	}
}

func execInLab(command *cobra.Command, dir string, args []string) error {
	remote, err := findLab(command, dir)
	if err == nil {
		return runInLab(command, remote.Access, args)
	}
	if !errors.Is(err, lab.ErrNotRunning) {
		return err
	}
	own, err := lab.Start(command.Context(), lab.Options{})
	if err != nil {
		return err
	}
	return errors.Join(runInLab(command, own.Access(), args), own.Close())
}

// exitError carries a child's exit code to main.
type exitError struct{ code int }

// Error says that the child failed; it has told why itself.
func (e *exitError) Error() string { return fmt.Sprintf("the command ended with exit code %d", e.code) }

func runInLab(command *cobra.Command, access lab.Access, args []string) error {
	// Ctrl-C reaches the child too; it decides what to do, and this waits.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt)
	defer signal.Stop(ignored)
	child := exec.CommandContext(context.WithoutCancel(command.Context()), args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = command.InOrStdin(), command.OutOrStdout(), command.ErrOrStderr()
	child.Env = labEnviron(os.Environ(), access.Environ())
	err := child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{code: max(exit.ExitCode(), 1)}
	}
	if err != nil {
		return fmt.Errorf("run %s in the lab: %w", args[0], err)
	}
	return nil
}

// labEnviron lays the lab's variables over those of this process; one with an
// empty value is taken away.
func labEnviron(now []string, lab []lab.Variable) []string {
	own := map[string]bool{}
	var environ []string
	for _, variable := range lab {
		own[variable.Name] = true
		if variable.Value != "" {
			environ = append(environ, variable.Name+"="+variable.Value)
		}
	}
	for _, entry := range now {
		name, _, _ := strings.Cut(entry, "=")
		if !own[name] {
			environ = append(environ, entry)
		}
	}
	return environ
}

func newLabEnv(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the variables that send clients into the lab", Args: cobra.NoArgs,
		Long:    "Prints shell commands that set what `crosskeys lab exec` sets. They hold the lab's\nown secrets, which are worth nothing outside it.",
		Example: "  eval \"$(crosskeys lab env)\"",
		RunE: func(command *cobra.Command, _ []string) error {
			remote, err := findLab(command, *dir)
			if err != nil {
				return err
			}
			for _, variable := range remote.Access.Environ() {
				line := "unset " + variable.Name
				if variable.Value != "" {
					line = "export " + variable.Name + "='" + strings.ReplaceAll(variable.Value, "'", `'\''`) + "'"
				}
				if _, err := fmt.Fprintln(command.OutOrStdout(), line); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
