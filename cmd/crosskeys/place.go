package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/journal"
)

// journalVariable is the environment variable that says where journals are.
const journalVariable = "CROSSKEYS_JOURNAL"

// leaseTerm is how long a run that dies keeps others off its servers.
const leaseTerm = 30 * time.Second

func journalFlag(command *cobra.Command, to *string) {
	command.Flags().StringVar(to, "journal", "", "`where` journals are: a folder, or postgres://… to share them (default $"+journalVariable+", else a folder in $XDG_STATE_HOME or ~/.local/state)")
}

// journalPlace is where the journals are as given, or as the environment says,
// or the user's own folder.
func (a *app) journalPlace(given string) (string, error) {
	if given == "" {
		given = a.environ(journalVariable)
	}
	if journal.IsAddress(given) {
		return given, nil
	}
	if given != "" {
		return filepath.Abs(given)
	}
	if state := a.environ("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "crosskeys"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &verbError{code: exitUsage, err: fmt.Errorf("find the folder of the journals: %w", err), hint: "name one with --journal"}
	}
	return filepath.Join(home, ".local", "state", "crosskeys"), nil
}

// journals opens the store of journals; the caller closes it.
func (a *app) journals(ctx context.Context, given string) (*journal.Store, error) {
	place, err := a.journalPlace(given)
	if err != nil {
		return nil, err
	}
	store, err := journal.OpenStore(ctx, place, a.now)
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), closed(store))
	}
	if err != nil {
		return nil, hinted(err, "--journal, or $"+journalVariable+", names a folder, or the address of a PostgreSQL database that can be reached and written")
	}
	return store, nil
}

// closed closes a store that may not have been opened.
func closed(store *journal.Store) error {
	if store == nil {
		return nil
	}
	return store.Close()
}

// inStore opens the store of journals for as long as use lasts.
func (a *app) inStore(ctx context.Context, given string, use func(*journal.Store) error) (err error) {
	store, err := a.journals(ctx, given)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return use(store)
}

// findRun finds the run that a person names, in full or by a beginning that
// fits one run alone.
func findRun(ctx context.Context, store *journal.Store, name string) (journal.Summary, error) {
	runs, err := store.Runs(ctx)
	if err != nil {
		return journal.Summary{}, err
	}
	name = strings.TrimSuffix(name, "…") // as a table cuts it
	var found []journal.Summary
	for _, r := range runs {
		if r.Run == name {
			return r, nil
		}
		if strings.HasPrefix(r.Run, name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return journal.Summary{}, &verbError{code: exitUsage, err: fmt.Errorf("there is no run %s in %s", name, store.Where()), hint: "crosskeys runs list shows them; --journal names another place"}
	}
	return journal.Summary{}, usageError("%d runs begin with %s", len(found), name)
}

// newestRun is the newest run of those that fit; which says what they are.
func newestRun(ctx context.Context, store *journal.Store, which string, fits func(journal.Summary) bool) (journal.Summary, error) {
	runs, err := store.Runs(ctx)
	if err != nil {
		return journal.Summary{}, err
	}
	for _, r := range slices.Backward(runs) {
		if fits(r) {
			return r, nil
		}
	}
	return journal.Summary{}, &verbError{code: exitUsage, err: fmt.Errorf("there is no run %sin %s", which, store.Where()), hint: "crosskeys apply and crosskeys drill begin them; --journal names another place"}
}

// whoRuns is who runs the tool, as far as it can be told.
func whoRuns(c cloud) journal.Who {
	who := whoAsks()
	who.Principal = c.principal()
	return who
}

// whoAsks is who runs the tool without a sign-in.
func whoAsks() journal.Who {
	who := journal.Who{Version: version}
	if u, err := user.Current(); err == nil {
		who.User = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who.Host = host
	}
	return who
}

// byWhom names a person in a sentence.
func byWhom(who journal.Who) string {
	name := who.User
	if who.Host != "" {
		name += " on " + who.Host
	}
	return strings.TrimSpace(name)
}

// holderName names this process among all that share the journals, once and
// never again.
func holderName() (string, error) {
	nonce := make([]byte, 6)
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("name this process: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "somewhere"
	}
	return fmt.Sprintf("%s, process %d, %s", host, os.Getpid(), hex.EncodeToString(nonce)), nil
}
