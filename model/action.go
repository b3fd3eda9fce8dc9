package model

// Kind is the kind of an action.
type Kind uint8

// Our actions, each a step of a plan.
const (
	Grant Kind = iota + 1
	Register
	Flip
	Verify
	Failover
)

// The world's actions, which may happen at any point.
const (
	// Crash: we stop without knowing whether the call took effect; it did.
	Crash Kind = iota + 16
	// Propagate: the re-wrapped DEK reaches the database's primary.
	Propagate
	// Follow: it reaches a replica.
	Follow
	// Settle: a grant comes into force.
	Settle
	// PlannedFailover and ForcedFailover are by somebody else.
	PlannedFailover
	ForcedFailover
	// Rotate: the service moves a protector to a new version of its key.
	Rotate
)

// The faults, of which there is at most one in an exploration.
const (
	Revoke Kind = iota + 32
	Disable
	Deregister
	// FlipByOther: somebody else sets a protector, which the service's guards
	// allow in that moment.
	FlipByOther
)

// Action is one thing that happens. Which fields count depends on the kind.
type Action struct {
	Kind   Kind
	Server Server
	Key    Key
	Keys   Keys    // of a grant: the vault's
	Also   Servers // of a grant: every server that shares the identity
	Auto   bool    // of a flip
	Step   int     // place in the plan, from 0; -1 for the world's
}

// Step is an action of a plan with what it waits for.
type Step struct {
	Action
	After uint64 // steps that must be done before, by bit
	// UndoTo is the protector before a flip that is called undoable, and
	// UndoAuto its setting.
	UndoTo   Key
	UndoAuto bool
	Undoable bool
	Group    int // of a failover
	From     Server
}

// refused reports whether Azure refuses a step in state s.
// Sources: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview,
// https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (c *Component) refused(s *State, a Action) bool {
	switch a.Kind {
	case Register:
		return c.cutOff(s, a.Server) || !s.Usable[a.Server].Has(a.Key)
	case Deregister:
		return c.cutOff(s, a.Server) || c.inUse(s, a.Server, a.Key)
	case Flip:
		return c.flipRefused(s, a, c.Partners[a.Server])
	case FlipByOther:
		return c.flipRefused(s, a, c.linkedNow(s, a.Server))
	case Failover, PlannedFailover:
		return !c.inStep(s, a.Server)
	case Rotate:
		return !c.rotates(s, a.Server)
	default:
		return false
	}
}

// cutOff reports whether a server has lost the protector that it has: Azure
// refuses every change of its keys then, by CMKOperationNotAllowed.
func (c *Component) cutOff(s *State, server Server) bool {
	now := s.Protector[server]
	return now.Managed() && !c.opens(s, server, now, true)
}

// inUse reports whether a key is what a server's protector is, what wraps a
// DEK on it, or the protector of the primary whose replica it holds. Log files
// and backups are not asked.
func (c *Component) inUse(s *State, server Server, k Key) bool {
	if s.Protector[server] == k {
		return true
	}
	return c.Database.Exists && c.Database.Holders.Has(server) && (s.Wrap[server] == k || s.Protector[s.Primary] == k)
}

// linkedNow are the partners that the service asks for somebody else's change:
// those that a link leads to as the roles are, not the other secondaries of the
// same primary. Our own changes ask more of the plan, see Component.Partners,
// since a failover may link any two.
func (c *Component) linkedNow(s *State, server Server) Servers {
	d := c.Database
	if !d.Exists || !d.Holders.Has(server) || s.Primary == server {
		return c.Partners[server]
	}
	return c.Partners[server]&^d.Holders | Servers(0).With(s.Primary)
}

// flipRefused asks the guards of a protector change; partners are those that
// must have the key.
func (c *Component) flipRefused(s *State, a Action, partners Servers) bool {
	if c.cutOff(s, a.Server) {
		return true
	}
	if !a.Key.Managed() {
		return false
	}
	// A key that has a newer version can stay the protector, not become it.
	if !c.opens(s, a.Server, a.Key, true) || !s.Latest.Has(a.Key) && s.Protector[a.Server] != a.Key {
		return true
	}
	missing := false
	partners.Each(func(p Server) { missing = missing || !c.opens(s, p, a.Key, a.Auto) })
	return missing
}

// inStep reports whether a planned failover to the server goes through: its
// replica follows, and the server can open it.
func (c *Component) inStep(s *State, to Server) bool {
	return !s.Suspended.Has(to) && c.opens(s, to, s.Wrap[to], false)
}

// apply gives the state after the action; it asks no guard.
func (c *Component) apply(s State, a Action) State {
	switch a.Kind {
	case Grant:
		a.Also.With(a.Server).Each(func(at Server) { s.Coming[at] |= a.Keys &^ s.Usable[at] })
	case Settle:
		s.Usable[a.Server] |= s.Coming[a.Server]
		s.Coming[a.Server] = 0
	case Register:
		s.Registered[a.Server] = s.Registered[a.Server].With(a.Key)
	case Flip:
		setProtector(&s, a)
	case FlipByOther:
		setProtector(&s, a)
		s.Fault = uint8(a.Kind)
	case Propagate:
		c.propagate(&s)
	case Follow:
		c.follow(&s, a.Server)
	case Failover, PlannedFailover, ForcedFailover:
		s.Primary = a.Server
		s.Suspended &^= 1 << a.Server
	case Rotate:
		c.rotate(&s, a.Server)
	case Revoke, Disable, Deregister:
		c.damage(&s, a)
	default:
	}
	return s
}

func setProtector(s *State, a Action) {
	s.Protector[a.Server] = a.Key
	s.Auto &^= 1 << a.Server
	if a.Auto {
		s.Auto = s.Auto.With(a.Server)
	}
}

// befalls reports whether a fault can happen in the state and changes anything.
func (c *Component) befalls(s *State, a Action) bool {
	if s.Fault != 0 {
		return false
	}
	if a.Kind != FlipByOther {
		return true
	}
	same := s.Protector[a.Server] == a.Key && s.Auto.Has(a.Server) == a.Auto
	return !same && !c.refused(s, a)
}

// propagate wraps the primary's DEK by its server's protector; what wrapped it
// before is still in active VLFs and in backups. Every holder could open it
// then, by the rule Open; and where nothing is ever taken away, it still can,
// so that it need not be remembered.
func (c *Component) propagate(s *State) {
	if before := s.Wrap[s.Primary]; before.Managed() && c.Remember {
		s.Old = s.Old.With(before)
	}
	s.Wrap[s.Primary] = c.wrapsWith(s, s.Primary)
}

// follow carries the primary's wrapping to a replica; where the server cannot
// open it, the link is suspended.
func (c *Component) follow(s *State, to Server) {
	if !c.opens(s, to, s.Wrap[s.Primary], false) {
		s.Suspended = s.Suspended.With(to)
		return
	}
	s.Suspended &^= 1 << to
	s.Wrap[to] = s.Wrap[s.Primary]
}

// rotate registers the new version on the server and its partners, and makes
// it the protector.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (c *Component) rotate(s *State, server Server) {
	from := s.Protector[server]
	to := c.Successor[from]
	s.Latest = s.Latest&^(1<<from) | 1<<to
	for at := range Server(MaxServers) {
		if s.Usable[at].Has(from) {
			s.Usable[at] = s.Usable[at].With(to)
		}
	}
	register := func(at Server) { s.Registered[at] = s.Registered[at].With(to) }
	register(server)
	c.Partners[server].Each(register)
	s.Protector[server] = to
	s.Rotated = true
}

func (c *Component) damage(s *State, a Action) {
	switch a.Kind {
	case Revoke:
		s.Usable[a.Server] &^= 1 << a.Key
		s.Coming[a.Server] &^= 1 << a.Key
	case Disable:
		for i := range s.Usable {
			s.Usable[i] &^= 1 << a.Key
			s.Coming[i] &^= 1 << a.Key
		}
	case Deregister:
		s.Registered[a.Server] &^= 1 << a.Key
	default:
	}
	s.Fault = uint8(a.Kind)
}
