package plan

import (
	"fmt"
	"slices"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// flips plans the protectors that change, one at a time.
func (m *maker) flips() {
	previous := 0
	for _, s := range m.servers {
		target := check.Target(m.topology, s, m.desired)
		if !check.Changes(s, target) {
			continue
		}
		step := m.step(SetProtector, s)
		step.Key, step.AutoRotation = target.Key, target.AutoRotation
		step.Reason = m.whyFlip(s, target)
		step.Before = fmt.Sprintf("the protector of %s is %s", s.Name, describe(s.Protector))
		step.PreState = PreState{Protector: s.Protector.Key, AutoRotation: s.Protector.AutoRotation}
		step.After = fmt.Sprintf("the protector of %s is %s; every other protector is unchanged; the DEKs of databases that are primary or standalone on it follow within minutes", s.Name, describe(target))
		step.Undo, step.WayBack = m.wayBack(s)
		step.Command = check.ProtectorCommand(s, target)
		step.DependsOn = m.before(s.Name)
		if previous != 0 {
			step.DependsOn = append(step.DependsOn, previous)
		}
		previous = m.add(step)
	}
}

func (m *maker) whyFlip(s tde.Server, target tde.Protector) string {
	partners := m.topology.Partners(s.Name)
	switch {
	case s.Protector.Key == target.Key && target.AutoRotation:
		return "auto-rotation is to be on"
	case s.Protector.Key == target.Key:
		return "auto-rotation is to be off"
	case target.ServiceManaged():
		return fmt.Sprintf("%s is to be protected by its own service-managed certificate; the old key stays registered everywhere for what it still wraps", s.Name)
	case len(partners) == 0:
		return fmt.Sprintf("%s is to be protected by %s", s.Name, target.Key.Short())
	}
	return fmt.Sprintf("%s is to be protected by %s, which %s can use by now, as they can the old key", s.Name, target.Key.Short(), listed(partners))
}

func describe(p tde.Protector) string {
	switch {
	case p.ServiceManaged():
		return "service-managed"
	case p.AutoRotation:
		return p.Key.Short() + " with auto-rotation"
	}
	return p.Key.Short()
}

// wayBack says how a flip is undone. The old key is registered and usable
// everywhere when the flip is made, so what may stand against its return is
// the key itself: Azure takes only the newest version of a key, and checks
// key and vault anew.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (m *maker) wayBack(s tde.Server) (string, bool) {
	old := s.Protector
	again := "set the old protector again: " + check.ProtectorCommand(s, old)
	if old.ServiceManaged() {
		return again, true
	}
	k, seen := m.topology.Resolve(old.Key)
	v, known := m.topology.Vault(old.Key.Host)
	switch {
	case !seen:
		return fmt.Sprintf("no way back: the old key %s was not seen in its vault", old.Key.Short()), false
	case !k.Latest:
		return fmt.Sprintf("no way back: %s is not the newest enabled version of its key, and Azure lets a protector return to no older one", old.Key.Short()), false
	case check.Unfit(m.topology, old.Key, m.options.Now):
		return fmt.Sprintf("no way back: the old key %s cannot be used as it is", old.Key.Short()), false
	case !known || !v.SoftDelete || !v.PurgeProtection:
		return fmt.Sprintf("no way back: vault %s of the old key lacks soft delete or purge protection, without which Azure takes no protector", old.Key.Vault()), false
	case !m.oldKeyInPlace(s):
		return fmt.Sprintf("no way back: the old key %s is not registered and usable everywhere", old.Key.Short()), false
	}
	possible := again + "; possible while " + old.Key.Short() + " is the newest version of its key and registered everywhere"
	if partner := m.oneSided(s); partner != "" {
		possible += fmt.Sprintf("; rollback does not plan it, since %s has the same key and auto-rotation is on on one side only, which blocks later rotations", partner)
	}
	return possible, true
}

// oneSided names a partner that has the same protector now, one of them with
// auto-rotation; a state that nobody should return to.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (m *maker) oneSided(s tde.Server) string {
	for _, name := range m.topology.Partners(s.Name) {
		p, _ := m.topology.Server(name)
		if p.Protector.Key == s.Protector.Key && p.Protector.AutoRotation != s.Protector.AutoRotation {
			return p.Name
		}
	}
	return ""
}

// oldKeyInPlace reports whether every server that must have the present
// protector's key has it, or gets it by the plan's own steps.
func (m *maker) oldKeyInPlace(s tde.Server) bool {
	for _, r := range m.requirements {
		if r.Key != s.Protector.Key || !slices.Contains(r.Owners, s.Name) {
			continue
		}
		if !r.Granted && m.grantFor(r) == 0 {
			return false
		}
	}
	return true
}
