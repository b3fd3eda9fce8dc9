package plan

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// validate refuses desires and options that cannot be planned for. What could
// be cured in Azure is a finding, not an error.
func validate(t tde.Topology, desired Desired, o Options) error {
	group, err := namedGroup(t, o)
	if err != nil {
		return err
	}
	if o.Failback && !o.Drill {
		return &DesireError{What: "a failback is asked for without a drill", Hint: "ask for the drill as well"}
	}
	if o.Drill && len(group.Secondaries()) == 0 {
		return &DesireError{What: "a drill is asked for without a failover group to fail over", Hint: "name a failover group that has a secondary"}
	}
	component := reachable(t, group, desired)
	seen := map[string]string{}
	for _, name := range desired.Servers() {
		if other, twice := seen[strings.ToLower(name)]; twice {
			return &DesireError{
				What: fmt.Sprintf("two protectors are desired for one server, as %q and as %q", other, name),
				Hint: "name each server once; names do not depend on case",
			}
		}
		seen[strings.ToLower(name)] = name
		if err := validateServer(t, component, name, desired[name]); err != nil {
			return err
		}
	}
	return nil
}

func namedGroup(t tde.Topology, o Options) (tde.FailoverGroup, error) {
	name := o.Group
	if name == "" {
		name = t.Group
	}
	if name == "" {
		return tde.FailoverGroup{}, nil
	}
	g, ok := t.FailoverGroup(name)
	if !ok {
		return g, &DesireError{What: fmt.Sprintf("failover group %q was not observed", name), Hint: "the groups that were: " + groupNames(t)}
	}
	return g, nil
}

func groupNames(t tde.Topology) string {
	names := make([]string, len(t.Groups))
	for i, g := range t.Groups {
		names[i] = g.Name
	}
	return listed(names)
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func validateServer(t tde.Topology, component map[string]bool, name string, d DesiredProtector) error {
	s, ok := t.Server(name)
	if !ok {
		return &DesireError{What: fmt.Sprintf("server %q is not known here", name), Hint: "the servers of this component are " + serverNames(t)}
	}
	if !component[s.Name] {
		return &DesireError{
			What: fmt.Sprintf("server %s is not in the component that is planned for: no failover group or replication link leads to it", s.Name),
			Hint: "make a plan of its own for that server",
		}
	}
	if d.Key.IsZero() {
		if d.AutoRotation != nil && *d.AutoRotation {
			return &DesireError{
				What: fmt.Sprintf("auto-rotation is desired for %s together with a service-managed protector", s.Name),
				Hint: "leave auto-rotation out; the service rotates its own certificate",
			}
		}
		return nil
	}
	if d.Key.Versionless() {
		hint := "name a version of the key: " + d.Key.String() + "/VERSION"
		if newest, found := t.Newest(t.Canonical(d.Key).WithoutVersion()); found {
			hint = "the newest version is " + newest.ID.String()
		}
		return &DesireError{What: fmt.Sprintf("the key desired for %s has no version: %s", s.Name, d.Key), Hint: hint}
	}
	return nil
}

func serverNames(t tde.Topology) string {
	names := make([]string, len(t.Servers))
	for i, s := range t.Servers {
		names[i] = s.Name
	}
	return listed(names)
}

// reachable are the servers that links and groups lead to from the group's
// members; without a group, from the first server that is desired something of.
func reachable(t tde.Topology, group tde.FailoverGroup, desired Desired) map[string]bool {
	var next []string
	for _, m := range group.Members {
		next = append(next, m.Server)
	}
	if group.Name == "" {
		next = desired.Servers()[:min(1, len(desired))]
	}
	found := map[string]bool{}
	for len(next) > 0 {
		s, ok := t.Server(next[0])
		next = next[1:]
		if ok && !found[s.Name] {
			found[s.Name] = true
			next = append(next, t.Partners(s.Name)...)
		}
	}
	return found
}
