package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/plan"
)

// hooks runs the commands around changes, one at a time.
type hooks struct {
	talk io.Writer     // takes what the commands print; safe for concurrent use
	run  func() string // the run's name
	one  chan struct{} // holds one token
}

func newHooks(talk io.Writer, run func() string) *hooks {
	h := &hooks{talk: talk, run: run, one: make(chan struct{}, 1)}
	h.one <- struct{}{}
	return h
}

// around gives what runs a command, which the shell takes; nil for none.
func (h *hooks) around(command, when string) func(context.Context, plan.Step) error {
	if command == "" {
		return nil
	}
	return func(ctx context.Context, s plan.Step) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.one:
		}
		defer func() { h.one <- struct{}{} }()
		return h.execute(ctx, command, when, s)
	}
}

// hookWait is how long the output of what a hook left running is waited for.
const hookWait = time.Second

func (h *hooks) execute(ctx context.Context, command, when string, s plan.Step) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the step for the %s-hook: %w", when, err)
	}
	child := exec.CommandContext(ctx, "sh", "-c", command)
	child.Stdin, child.Stdout, child.Stderr = strings.NewReader(string(text)+"\n"), h.talk, h.talk
	child.WaitDelay = hookWait
	child.Env = append(os.Environ(), "CROSSKEYS_HOOK="+when, "CROSSKEYS_RUN="+h.run())
	for name, value := range map[string]string{
		"STEP": fmt.Sprint(s.Number), "KIND": string(s.Kind), "SERVER": s.Server, "GROUP": s.Group, "KEY": s.Key.String(), "VAULT": s.VaultName, "RESOURCE_GROUP": s.ResourceGroup,
		"SUBSCRIPTION": s.Subscription,
	} {
		child.Env = append(child.Env, "CROSSKEYS_"+name+"="+value)
	}
	if err := child.Run(); err != nil {
		return fmt.Errorf("%s-hook: %w", when, err)
	}
	return nil
}
