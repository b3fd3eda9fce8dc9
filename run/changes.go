package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// maxChanges is how many differences are named.
const maxChanges = 6

// changes says, as far as it can be told, what has changed since the plan was
// made. The plan holds a fingerprint of what it saw and the state before each
// of its own steps; the journal of an earlier run holds all of it.
func changes(p plan.Plan, t tde.Topology, h history) string {
	var list []string
	for _, s := range p.Steps {
		// A failback starts from a state that is yet to come.
		if s.Kind == plan.PlannedFailover {
			continue
		}
		if err := s.CheckBefore(t); err != nil && s.Kind != plan.SetProtector {
			list = append(list, err.Error())
		}
	}
	for _, target := range p.Targets {
		list = append(list, protectorChange(target, t)...)
	}
	for _, f := range check.Preflight(t, p.Desired(), t.ReadAt) {
		mended := f.Rule == check.RuleMissingGrant && slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.Grant })
		if f.Severity == check.Blocker && !mended {
			list = append(list, f.What)
		}
	}
	list = append(list, guess(p, t)...)
	if h.seen != nil {
		list = append(list, foreign(p, *h.seen, t)...)
	}
	if len(list) == 0 {
		return "; something that it rests on differs: a key, a grant, a vault, a database, a link or a role"
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if more := len(list) - maxChanges; more > 0 {
		list = append(list[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return ": " + strings.Join(list, "; ")
}

func protectorChange(target plan.Target, t tde.Topology) []string {
	s, ok := t.Server(target.Server)
	if !ok {
		return []string{"server " + target.Server + " is no longer there"}
	}
	is := tde.Protector{Key: s.Protector.Key, AutoRotation: s.Protector.AutoRotation}
	if is == (tde.Protector{Key: target.Key, AutoRotation: target.AutoRotation}) || is == (tde.Protector{Key: target.BeforeKey, AutoRotation: target.BeforeAutoRotation}) {
		return nil
	}
	return []string{fmt.Sprintf("the protector of %s is now %s, which is neither the old one nor the wanted one", s.Name, protectorText(is))}
}

// guess undoes one thing at a time that people do and looks whether the rest is
// what the plan was made for.
func guess(p plan.Plan, t tde.Topology) []string {
	tried := func(what string, undo func(*tde.Topology)) []string {
		if !fitsWithout(p, t, undo) {
			return nil
		}
		return []string{what}
	}
	var list []string
	if moved := failedOver(p, t); moved != "" {
		list = append(list, moved)
	}
	for _, s := range t.Servers {
		for _, k := range s.Keys {
			list = append(list, tried(fmt.Sprintf("key %s is new on %s", k.Key.Short(), s.Name), func(t *tde.Topology) {
				server := at(t, s.Name)
				server.Keys = slices.DeleteFunc(server.Keys, func(is tde.ServerKey) bool { return is.Key == k.Key })
				t.Keys = slices.DeleteFunc(t.Keys, func(is tde.VaultKey) bool { return is.ID == k.Key })
			})...)
		}
	}
	return list
}

// fitsWithout reports whether the plan fits the topology once something is
// undone in a copy of it.
func fitsWithout(p plan.Plan, t tde.Topology, undo func(*tde.Topology)) bool {
	without, err := clone(t)
	if err != nil {
		return false
	}
	undo(&without)
	fits, err := fitsPlan(p, without)
	return fits && err == nil
}

// failedOver says which group somebody has failed over, where that alone keeps
// the plan from fitting; empty otherwise.
func failedOver(p plan.Plan, t tde.Topology) string {
	for _, g := range t.Groups {
		for _, was := range g.Secondaries() {
			if fitsWithout(p, t, func(t *tde.Topology) { turn(t, g.Name, was) }) {
				return fmt.Sprintf("somebody has failed over %s: its primary is now %s, not %s", g.Name, g.Primary(), was)
			}
		}
	}
	return ""
}

// foreign names the differences that the plan's own effects do not explain.
func foreign(p plan.Plan, was, is tde.Topology) []string {
	var both [2]tde.Topology
	for i, t := range []tde.Topology{was, is} {
		base, grants, err := withoutEffects(p, t)
		if err != nil {
			return nil
		}
		for _, s := range grants {
			base.Grants = takeAway(s, base, rights{})
		}
		both[i] = base
	}
	return differences(both[0], both[1])
}

// differences names the values that differ between two observations.
func differences(was, is tde.Topology) []string {
	before, after := flat(was), flat(is)
	var list []string
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if now, there := after[path]; !there {
			list = append(list, fmt.Sprintf("%s %s is gone", path, before[path]))
		} else if now != before[path] {
			list = append(list, fmt.Sprintf("%s was %s and is %s", path, before[path], now))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if _, there := before[path]; !there {
			list = append(list, fmt.Sprintf("%s %s is new", path, after[path]))
		}
	}
	return list
}

// flat writes a topology as paths and values. Elements of lists are named by
// what identifies them, so that an insertion moves nothing.
func flat(t tde.Topology) map[string]string {
	paths := map[string]string{}
	text, err := json.Marshal(t)
	if err != nil {
		return paths
	}
	var value any
	if err := json.Unmarshal(text, &value); err == nil {
		flatten(paths, "", value)
	}
	return paths
}

// unstable are members that change in a world at rest, or that say again what
// another one says.
func unstable(name string) bool {
	return slices.Contains([]string{"readAt", "encryption", "percentComplete"}, name)
}

func flatten(paths map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if !unstable(name) {
				flatten(paths, strings.TrimPrefix(path+"."+name, "."), member)
			}
		}
	case []any:
		for i, element := range v {
			flatten(paths, fmt.Sprintf("%s[%s]", path, identity(element, i)), element)
		}
	case nil:
	default:
		paths[path] = fmt.Sprint(v)
	}
}

// identity is what tells an element of a list from its neighbours.
func identity(element any, place int) string {
	switch e := element.(type) {
	case string:
		return e
	case map[string]any:
		var parts []string
		for _, name := range []string{"name", "id", "server", "vault", "via", "key", "database", "secondary", "what"} {
			if text, ok := e[name].(string); ok && text != "" {
				parts = append(parts, text)
				if name == "name" || name == "id" {
					break
				}
			}
		}
		if len(parts) > 0 {
			return strings.Join(parts, " ")
		}
	}
	return fmt.Sprint(place)
}
