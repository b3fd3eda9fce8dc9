package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// unusable is how long somebody else has a key disabled or expired: less than
// the half hour after which a database does not come back by itself.
const unusable = 10 * time.Minute

// meddle does what somebody else does, and says what that was.
func (t *tool) meddle(ctx context.Context, o other) (what string, err error) {
	w := t.world
	name := ""
	switch o.does {
	case "flip", "version", "disable", "expire":
		if names := w.scenario.names(); o.group >= 0 && o.group < len(names) {
			name = names[o.group]
		}
	}
	switch o.does {
	case "planned", "forced":
		return o.does + " failover", w.failOver(ctx, o)
	case "revoke":
		return o.does, w.revoke(ctx, o.to)
	case "down":
		return o.does, w.lab.AddFaults("region " + w.scenario.servers[o.to].region + " down for 5m")
	case "flip":
		return "flip by somebody else", t.flipByOther(ctx, o.to, name)
	case "version":
		return "new version of a key", w.newVersion(ctx, name)
	case "disable", "expire":
		if err := w.spoil(ctx, name, o.does, true); err != nil {
			return o.does + " of a key", err
		}
		t.later(unusable, func() error { return w.spoil(t.ctx, name, o.does, false) })
		return o.does + " of a key", nil
	}
	return o.does, fmt.Errorf("nobody knows how to %s", o.does)
}

// later does something after a while, unless the scenario has ended, again and
// again where it does not work: a vault whose region is down cannot be changed.
// What is not done by the run's end is done by healed.
func (t *tool) later(after time.Duration, do func() error) {
	t.background.Go(func() {
		for wait(t.ctx, after) == nil {
			if do() == nil {
				return
			}
			after = 30 * time.Second
		}
	})
}

// flipByOther sets a server's protector, by somebody else who does not wait for
// its end. What comes of it is allowed beside the plans' flips.
func (t *tool) flipByOther(ctx context.Context, server int, key string) error {
	rotates := false
	for _, s := range t.world.scenario.servers {
		rotates = rotates || strings.HasSuffix(s.starts, auto) || strings.HasSuffix(s.wants, auto)
	}
	uri := ""
	if key != "" {
		uri = t.world.keys[key].String()
	}
	name, set := serverName(server), protectorText(uri, rotates && key != "")
	t.mu.Lock()
	before := t.foreign[name]
	t.foreign[name] = append(slices.Clone(before), set)
	t.meddled[name] = append(t.meddled[name], time.Now())
	t.mu.Unlock()
	_, err := t.world.protect(ctx, server, key, rotates)
	if err != nil {
		t.mu.Lock()
		t.foreign[name] = before
		t.mu.Unlock()
	}
	return err
}

// newVersion makes a new version of a key, as its rotation does.
func (w *world) newVersion(ctx context.Context, name string) error {
	client, err := w.vault(name)
	if err != nil {
		return err
	}
	made, err := client.RotateKey(ctx, "tde", nil)
	if err != nil {
		return err
	}
	id, err := tde.ParseKeyID(string(*made.Key.KID))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest[name] = id
	return nil
}

// renewed names in place of each desired version the newest of its key, where
// somebody has made one.
func (w *world) renewed(desired plan.Desired) (renewed plan.Desired, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	renewed = plan.Desired{}
	for server, wanted := range desired {
		for _, newest := range w.newest {
			if !wanted.Key.IsZero() && wanted.Key != newest && wanted.Key.WithoutVersion() == newest.WithoutVersion() {
				wanted.Key, changed = newest, true
			}
		}
		renewed[server] = wanted
	}
	return renewed, changed
}

// spoil disables a key's version, or has it expire, or makes it good again.
func (w *world) spoil(ctx context.Context, name, how string, bad bool) error {
	client, err := w.vault(name)
	if err != nil {
		return err
	}
	attributes := &azkeys.KeyAttributes{Enabled: to.Ptr(!bad)}
	if how == "expire" {
		expires := time.Now()
		if !bad {
			expires = expires.AddDate(10, 0, 0)
		}
		attributes = &azkeys.KeyAttributes{Expires: &expires}
	}
	_, err = client.UpdateKey(ctx, "tde", w.keys[name].Version, azkeys.UpdateKeyParameters{KeyAttributes: attributes}, nil)
	return err
}

// healed gives back what somebody else took, and waits until all is at rest.
func (t *tool) healed(ctx context.Context) error {
	w := t.world
	names := w.scenario.names()
	for _, o := range w.scenario.other {
		var err error
		switch o.does {
		case "revoke":
			err = w.regrant(ctx, w.revocable(), o.to, true)
		case "disable", "expire":
			err = w.spoil(ctx, names[o.group], o.does, false)
		}
		if err != nil {
			return err
		}
	}
	return wait(ctx, 16*time.Minute)
}

// spoiled reports whether somebody has made a key unusable, which lasts.
func (t *tool) spoiled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.did, func(what string) bool {
		return strings.Contains(what, " of a key,") && !strings.Contains(what, "version")
	})
}
