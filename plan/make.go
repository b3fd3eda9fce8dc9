package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// Make derives the plan from what is there. What is already done is not
// planned; a reached target is a plan without steps. A plan that a finding
// blocks has its steps all the same, for a person to see. The error is a
// *DesireError where the desires make no sense for the topology.
func Make(t tde.Topology, desired Desired, o Options) (Plan, error) {
	if err := validate(t, desired, o); err != nil {
		return Plan{}, err
	}
	fingerprint, err := t.Fingerprint()
	if err != nil {
		return Plan{}, fmt.Errorf("make plan: %w", err)
	}
	m := newMaker(t, desired, o)
	m.access()
	m.registrations()
	m.flips()
	m.settle()
	m.drill()
	return Plan{
		SchemaVersion: SchemaVersion,
		Group:         m.group.Name,
		CreatedAt:     o.Now.UTC().Round(0),
		Fingerprint:   fingerprint,
		Targets:       m.targets(),
		Steps:         m.steps,
		Findings:      m.findings(),
		Effects:       m.effects(),
	}, nil
}

// maker collects the steps of one plan.
type maker struct {
	topology     tde.Topology
	desired      Desired
	options      Options
	group        tde.FailoverGroup
	servers      []tde.Server // in the order in which they are changed
	requirements []check.Requirement
	steps        []Step
	granted      map[grantee]int // step by which an identity gets a vault
	registered   map[held]int    // step by which a server gets a key
}

type grantee struct{ principal, vault string }

type held struct {
	server string
	key    tde.KeyID
}

func newMaker(t tde.Topology, desired Desired, o Options) *maker {
	m := &maker{
		topology: t, desired: desired, options: o, steps: []Step{},
		granted: map[grantee]int{}, registered: map[held]int{},
	}
	if o.Group == "" {
		o.Group = t.Group
	}
	m.group, _ = t.FailoverGroup(o.Group)
	m.topology.Group = m.group.Name
	m.servers = inOrder(t, m.group)
	m.requirements = check.Requirements(t, desired, o.Now)
	place := map[string]int{}
	for i, s := range m.servers {
		place[s.Name] = i
	}
	first := func(r check.Requirement) int {
		least := len(place)
		for _, owner := range r.Owners {
			least = min(least, place[owner])
		}
		return least
	}
	slices.SortStableFunc(m.requirements, func(a, b check.Requirement) int {
		return cmp.Or(
			cmp.Compare(place[a.Server], place[b.Server]),
			cmp.Compare(first(a), first(b)),
			cmp.Compare(a.Use.String(), b.Use.String()),
		)
	})
	return m
}

// inOrder sorts the servers as Microsoft documents it for setting up and for
// rotating: geo-secondaries first, then primaries; the primary of the named
// group after its partners, whatever else it is.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func inOrder(t tde.Topology, group tde.FailoverGroup) []tde.Server {
	primary, secondary := map[string]bool{}, map[string]bool{}
	mark := func(of map[string]bool, name string) { of[strings.ToLower(name)] = true }
	for _, l := range t.Links {
		mark(primary, l.Primary)
		mark(secondary, l.Secondary)
	}
	for _, g := range t.Groups {
		for _, m := range g.Members {
			if m.Role == tde.Primary {
				mark(primary, m.Server)
			} else {
				mark(secondary, m.Server)
			}
		}
	}
	rank := func(s tde.Server) int {
		name := strings.ToLower(s.Name)
		switch {
		case strings.EqualFold(s.Name, group.Primary()):
			return 3
		case !primary[name]:
			return 0
		case secondary[name]:
			return 1
		}
		return 2
	}
	servers := slices.Clone(t.Servers)
	slices.SortStableFunc(servers, func(a, b tde.Server) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	return servers
}

// add numbers a step and appends it.
func (m *maker) add(s Step) int {
	s.Number = len(m.steps) + 1
	slices.Sort(s.DependsOn)
	s.DependsOn = slices.Compact(s.DependsOn)
	m.steps = append(m.steps, s)
	return s.Number
}

// step begins a step on a server.
func (m *maker) step(kind Kind, s tde.Server) Step {
	return Step{Kind: kind, Server: s.Name, ResourceGroup: s.ResourceGroup, Subscription: s.Subscription, Group: m.group.Name}
}

func (m *maker) server(name string) tde.Server {
	s, _ := m.topology.Server(name)
	return s
}

// ends are the steps that no other step waits for: whoever waits for them
// waits for everything.
func (m *maker) ends() []int {
	waitedFor := map[int]bool{}
	for _, s := range m.steps {
		for _, n := range s.DependsOn {
			waitedFor[n] = true
		}
	}
	var ends []int
	for _, s := range m.steps {
		if !waitedFor[s.Number] {
			ends = append(ends, s.Number)
		}
	}
	return ends
}

func (m *maker) targets() []Target {
	list := []Target{}
	for _, s := range m.topology.Servers {
		if _, named := m.desired.For(s.Name); !named {
			continue
		}
		target := check.Target(m.topology, s, m.desired)
		list = append(list, Target{
			Server: s.Name, Key: target.Key, AutoRotation: target.AutoRotation,
			BeforeKey: s.Protector.Key, BeforeAutoRotation: s.Protector.AutoRotation,
		})
	}
	return list
}

// findings are the preflight's, without the missing grants that are planned.
func (m *maker) findings() []check.Finding {
	list := []check.Finding{}
	for _, f := range check.Preflight(m.topology, m.desired, m.options.Now) {
		at := grantee{m.server(f.Server).Identity.PrincipalID, f.Key.Host}
		if _, planned := m.granted[at]; planned && f.Rule == check.RuleMissingGrant {
			continue
		}
		list = append(list, f)
	}
	return list
}
