package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newLabCommand groups the verbs that run and ask a local Azure.
func newLabCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "lab",
		Short: "Run a local Azure to rehearse on",
		Long: `The lab is a local Azure: sign-in, Resource Manager, Key Vault and the SQL control
plane, faithful on the wire and real underneath. It listens on loopback only, and
its proxy reaches nothing else, so a rehearsal cannot touch the real Azure.`,
		Example: `  crosskeys lab up
  crosskeys lab seed
  crosskeys lab exec -- az sql failover-group list -g harshitha_lab -s tdeprimarytest
  crosskeys lab exec -- crosskeys inspect tdefailovertest
  crosskeys lab down`,
	}
	dir := command.PersistentFlags().String("dir", "", "the lab's state folder (default $CROSSKEYS_LAB_DIR, else $XDG_STATE_HOME/crosskeys/lab)")
	command.AddCommand(
		newLabUp(dir), newLabSeed(dir), newLabStatus(dir), newLabExec(dir), newLabEnv(dir), newLabClock(dir), newLabLog(dir), newLabLoad(dir), newLabDown(dir),
		newLabFault(dir), newLabMonitor(dir), newLabEvents(dir),
	)
	return command
}

// labDir is the state folder: as given, from the environment, or the user's.
func labDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if dir := os.Getenv("CROSSKEYS_LAB_DIR"); dir != "" {
		return dir, nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "crosskeys", "lab"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the lab's state folder: %w", err)
	}
	return filepath.Join(home, ".local", "state", "crosskeys", "lab"), nil
}
