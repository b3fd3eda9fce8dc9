package model

// outlook is how a step stands in a state.
type outlook uint8

const (
	able    outlook = iota // it can be carried out
	reached                // it is so already
	waiting                // it has to wait for an effect that is on its way
	stopped                // somebody else has changed the roles: we stop
	refused                // Azure would refuse it
)

// outlook says how a step stands.
func (c *Component) outlook(s *State, step Step) outlook {
	switch step.Kind {
	case Grant:
		there := true
		step.Also.With(step.Server).Each(func(at Server) { there = there && step.Keys&^(s.Usable[at]|s.Coming[at]) == 0 })
		if there {
			return reached
		}
		return able
	case Register:
		if s.Registered[step.Server].Has(step.Key) {
			return reached
		}
	case Flip:
		if s.Protector[step.Server] == step.Key && (!step.Key.Managed() || s.Auto.Has(step.Server) == step.Auto) {
			return reached
		}
	case Verify:
		if c.settled(s) && s.Suspended == 0 {
			return reached
		}
		return waiting
	case Failover:
		if !c.Database.Exists || !c.Database.Movable || c.Database.Group != step.Group || s.Primary == step.Server {
			return reached
		}
		if s.Primary != step.From {
			return stopped
		}
	default:
	}
	if !c.refused(s, step.Action) {
		return able
	}
	if later := c.arrived(*s); later != *s && !c.refused(&later, step.Action) {
		return waiting
	}
	return refused
}

// noWayBack reports whether going back to the protector before a flip would be
// refused, now and when every effect that is on its way has come.
func (c *Component) noWayBack(s *State, step Step) bool {
	back := Action{Kind: Flip, Server: step.Server, Key: step.UndoTo, Auto: step.UndoAuto}
	later := c.arrived(*s)
	return c.refused(s, back) && c.refused(&later, back)
}

// arrived is s when every effect that is on its way has come.
func (c *Component) arrived(s State) State {
	for {
		on := c.progress(&s)
		if len(on) == 0 {
			return s
		}
		s = c.apply(s, on[0])
	}
}

// progress are the effects that are on their way, none of which changes
// anything twice.
func (c *Component) progress(s *State) []Action {
	var list []Action
	for i := range c.Servers {
		if s.Coming[i] != 0 {
			list = append(list, Action{Kind: Settle, Server: Server(i), Step: -1})
		}
	}
	if !c.Database.Exists {
		return list
	}
	if s.Wrap[s.Primary] != c.wrapsWith(s, s.Primary) && c.opens(s, s.Primary, s.Wrap[s.Primary], false) && c.opens(s, s.Primary, c.wrapsWith(s, s.Primary), true) {
		list = append(list, Action{Kind: Propagate, Server: s.Primary, Step: -1})
	}
	c.Database.Holders.Each(func(h Server) {
		if h == s.Primary {
			return
		}
		behind := s.Wrap[h] != s.Wrap[s.Primary] || s.Suspended.Has(h)
		if behind && (!s.Suspended.Has(h) || c.opens(s, h, s.Wrap[s.Primary], false)) {
			list = append(list, Action{Kind: Follow, Server: h, Step: -1})
		}
	})
	return list
}

// worldly are all actions of the world but the faults.
func (c *Component) worldly(s *State) []Action {
	list := c.progress(s)
	if c.Database.Exists && c.Database.Movable {
		c.Database.Holders.Each(func(h Server) {
			if h == s.Primary {
				return
			}
			if c.inStep(s, h) {
				list = append(list, Action{Kind: PlannedFailover, Server: h, Step: -1})
			}
			list = append(list, Action{Kind: ForcedFailover, Server: h, Step: -1})
		})
	}
	for i := range c.Servers {
		server := Server(i)
		if a := (Action{Kind: Rotate, Server: server, Step: -1}); s.Auto.Has(server) && c.rotates(s, server) {
			list = append(list, a)
		}
	}
	return list
}

// rotates reports whether the service can move the server's protector on: the
// partners have the same key, by the same URI.
func (c *Component) rotates(s *State, server Server) bool {
	k := s.Protector[server]
	if s.Rotated || !k.Managed() || c.Successor[k] == k || !c.opens(s, server, k, true) {
		return false
	}
	able := true
	c.Partners[server].Each(func(p Server) { able = able && c.opens(s, p, k, true) })
	return able
}
