package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// access plans the grants that are missing. One grant serves all keys of a
// vault and all servers that share the identity.
func (m *maker) access() {
	if !m.options.Grant {
		return
	}
	for _, r := range m.requirements {
		s := m.server(r.Server)
		v, known := m.topology.Vault(r.Use.Host)
		at := grantee{s.Identity.PrincipalID, r.Use.Host}
		if r.Granted || !known || at.principal == "" || m.granted[at] != 0 {
			continue
		}
		step := m.step(Grant, s)
		step.VaultID, step.VaultName, step.RBAC, step.PrincipalID = v.ID, v.Name, v.RBAC, s.Identity.PrincipalID
		way := "an access policy"
		if v.RBAC {
			way = "the role " + check.CryptoServiceEncryptionUser
		}
		step.Reason = fmt.Sprintf("%s must be able to use %s, which is %s", s.Name, m.keysIn(s, v), owners(r))
		step.Before = fmt.Sprintf("the identity of %s lacks get, wrapKey or unwrapKey on vault %s", s.Name, v.Name)
		step.After = fmt.Sprintf("%s on vault %s gives the identity of %s get, wrapKey and unwrapKey; it takes effect after some ten minutes", way, v.Name, s.Name)
		step.Undo = "take the grant away while no key of the vault is registered on the server: " + check.RevokeCommand(s, v)
		step.WayBack = true
		step.Command = check.GrantCommand(s, v)
		m.granted[at] = m.add(step)
	}
}

// keysIn names the vault's keys that the server cannot use yet.
func (m *maker) keysIn(s tde.Server, v tde.Vault) string {
	var names []string
	for _, r := range m.requirements {
		if r.Server == s.Name && !r.Granted && strings.EqualFold(r.Use.Host, v.Host) && !slices.Contains(names, r.Use.Short()) {
			names = append(names, r.Use.Short())
		}
	}
	return strings.Join(names, " and ")
}

// owners says in words whose key it is.
func owners(r check.Requirement) string {
	if len(r.Owners) == 1 && r.Owners[0] == r.Server {
		return "its own protector"
	}
	return "a key of " + strings.Join(r.Owners, " and ")
}

// registrations plans every key that a server lacks. They change no protector,
// so they are safe at any time, in any order, whichever member is primary.
func (m *maker) registrations() {
	for _, r := range m.requirements {
		at := held{r.Server, r.Use}
		if r.Registered || m.registered[at] != 0 {
			continue
		}
		s := m.server(r.Server)
		step := m.step(Register, s)
		step.Key = r.Use
		step.VaultName = r.Use.Vault()
		if v, known := m.topology.Vault(r.Use.Host); known {
			step.VaultID, step.VaultName = v.ID, v.Name
		}
		step.Reason = m.whyRegister(r)
		step.Before = fmt.Sprintf("%s is not registered on %s", r.Use.Short(), s.Name)
		step.After = fmt.Sprintf("%s is listed among the keys of %s; its protector is unchanged", r.Use.Short(), s.Name)
		step.Undo = "deregister it while it is no protector and wraps nothing: " + check.DeregisterCommand(s, r.Use)
		step.WayBack = true
		step.Command = check.RegisterCommand(s, r.Use)
		if grant := m.grantFor(r); grant != 0 {
			step.DependsOn = []int{grant}
		}
		m.registered[at] = m.add(step)
	}
}

func (m *maker) whyRegister(r check.Requirement) string {
	for _, owner := range r.Owners {
		s := m.server(owner)
		target := check.Target(m.topology, s, m.desired)
		switch {
		case owner == r.Server && target.Key == r.Use:
			return "a key must be registered before it can become the server's protector"
		case target.Key == r.Key && check.Changes(s, target):
			return fmt.Sprintf("it is to become the protector of %s, and %s must be able to open what it wraps after a failover; Azure refuses the change otherwise", owner, r.Server)
		case s.Protector.Key == r.Key:
			return fmt.Sprintf("it is the protector of %s, and %s must be able to open what it wraps after a failover", owner, r.Server)
		}
	}
	return fmt.Sprintf("it wraps databases of %s now, and %s holds their replicas", strings.Join(r.Owners, " and "), r.Server)
}

// grantFor is the planned step that lets the requirement's server use the key;
// 0 when there is none.
func (m *maker) grantFor(r check.Requirement) int {
	if r.Granted {
		return 0
	}
	return m.granted[grantee{m.server(r.Server).Identity.PrincipalID, r.Use.Host}]
}

// before are the steps by which all keys come into place that must be there
// before the owner's protector changes: those of the new protector, and those
// that the present one and its DEKs still need.
func (m *maker) before(owner string) []int {
	var steps []int
	for _, r := range m.requirements {
		if !slices.Contains(r.Owners, owner) {
			continue
		}
		if n := m.registered[held{r.Server, r.Use}]; n != 0 {
			steps = append(steps, n)
		} else if n := m.grantFor(r); n != 0 {
			steps = append(steps, n)
		}
	}
	return steps
}
