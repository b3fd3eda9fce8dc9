package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// settle closes the changes with a verification. Where no change is planned,
// it plans one only if an earlier change has not yet reached every replica.
func (m *maker) settle() {
	if len(m.steps) == 0 && !m.travelling() {
		return
	}
	m.verify("Azure reports a change as done minutes before it has reached every database and replica",
		"every DEK is in state 3 and wrapped by the protector of the server that is primary for its database, on every side")
}

// travelling reports whether a replica's DEK was seen wrapped by another key
// than it will be when all is quiet.
func (m *maker) travelling() bool {
	rules := []string{check.RuleWrappedByOther, check.RuleEncryptorType, check.RuleChangeInProgress}
	now := check.Verify(m.topology, nil, m.options.Now)
	return slices.ContainsFunc(now.Findings, func(f check.Finding) bool { return slices.Contains(rules, f.Rule) })
}

// verify plans a wait for the encryption state, after everything so far.
func (m *maker) verify(reason, after string) {
	m.add(Step{
		Kind: VerifyEncryption, Group: m.group.Name,
		Reason: reason, Before: "DEKs may still be wrapped by what wrapped them before", After: after,
		Undo: "nothing to undo: it only reads", WayBack: true,
		DependsOn: m.ends(),
	})
}

// drill plans a planned failover to the group's first secondary, and back.
func (m *maker) drill() {
	if !m.options.Drill {
		return
	}
	primary, secondary := m.server(m.group.Primary()), m.server(m.group.Secondaries()[0])
	m.failover(primary, secondary, "only a failover shows that the new primary can open the databases with the key that wraps them now, and wrap them with its own")
	if m.options.Failback {
		m.failover(secondary, primary, "the group goes back to the primary that it had")
	}
}

func (m *maker) failover(from, to tde.Server, reason string) {
	step := m.step(PlannedFailover, to)
	step.Reason = reason
	step.Before = fmt.Sprintf("%s is primary of failover group %s, and every link is in %s", from.Name, m.group.Name, tde.StateCatchUp)
	step.PreState = PreState{Primary: from.Name}
	step.After = fmt.Sprintf("every member reports %s as primary of %s", to.Name, m.group.Name)
	step.Undo = "fail over again, to " + from.Name + ": " + check.FailoverCommand(from, m.group.Name)
	step.WayBack = true
	step.Command = check.FailoverCommand(to, m.group.Name)
	step.DependsOn = m.ends()
	m.add(step)
	if m.options.Unverified {
		return
	}
	protector := check.Target(m.topology, to, m.desired)
	m.verify("the new primary wraps every DEK anew with its own protector, and the replicas follow",
		fmt.Sprintf("every DEK of %s, on every member, is in state 3 and wrapped by %s, the protector of %s", m.group.Name, describe(protector), to.Name))
}

// effects lists what the plan does beyond the group that was named.
func (m *maker) effects() []string {
	list := []string{}
	for _, step := range m.steps {
		s := m.server(step.Server)
		switch step.Kind {
		case SetProtector:
			list = append(list, m.beyond(s)...)
		case Register:
			if m.outside(s.Name) {
				list = append(list, fmt.Sprintf("%s, which is not in failover group %s, gets key %s registered, since it is linked to %s",
					s.Name, m.group.Name, step.Key.Short(), listed(m.topology.Partners(s.Name))))
			}
		case Grant:
			if m.outside(s.Name) {
				list = append(list, fmt.Sprintf("the identity of %s, which is not in failover group %s, may use the keys of vault %s",
					s.Name, m.group.Name, step.VaultName))
			}
		case VerifyEncryption, PlannedFailover:
		}
	}
	return slices.Compact(list)
}

// outside reports whether a group was named that the server is no member of.
func (m *maker) outside(server string) bool {
	return m.group.Name != "" && !slices.ContainsFunc(m.group.Members, func(member tde.Member) bool {
		return strings.EqualFold(member.Server, server)
	})
}

// beyond says what else a server's new protector wraps.
func (m *maker) beyond(s tde.Server) []string {
	var list []string
	if m.outside(s.Name) {
		list = append(list, fmt.Sprintf("the protector of %s changes, which is not in failover group %s", s.Name, m.group.Name))
	}
	covered := map[string]bool{}
	for _, g := range m.topology.Groups {
		for _, member := range g.Members {
			if !strings.EqualFold(member.Server, s.Name) {
				continue
			}
			for _, name := range g.Databases {
				covered[strings.ToLower(name)] = true
			}
			if g.Name != m.group.Name {
				list = append(list, fmt.Sprintf("%s is also %s of failover group %s (%s), whose databases follow its protector while it is primary",
					s.Name, strings.ToLower(string(member.Role)), g.Name, listed(g.Databases)))
			}
		}
	}
	for _, l := range m.topology.Links {
		if l.Group == "" && strings.EqualFold(l.Primary, s.Name) {
			covered[strings.ToLower(l.Database)] = true
			list = append(list, fmt.Sprintf("database %s, which %s replicates to %s outside any failover group, follows its protector on both", l.Database, s.Name, l.Secondary))
		}
		if l.Group == "" && strings.EqualFold(l.Secondary, s.Name) {
			covered[strings.ToLower(l.PartnerDatabase)] = true
		}
	}
	var alone []string
	for _, d := range s.Databases {
		if !covered[strings.ToLower(d.Name)] && d.OwnKey.IsZero() {
			alone = append(alone, d.Name)
		}
	}
	if len(alone) > 0 {
		list = append(list, fmt.Sprintf("databases on %s that are not replicated follow its protector too: %s", s.Name, strings.Join(alone, ", ")))
	}
	return list
}
