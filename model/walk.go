package model

// Refused reports whether Azure refuses an action in state s, whoever asks for
// it. What only happens, such as a grant that comes into force, is not refused.
func (c *Component) Refused(s *State, a Action) bool { return c.refused(s, a) }

// After is the state after an action; it asks no guard.
func (c *Component) After(s State, a Action) State { return c.apply(s, a) }

// Settled is s when every effect that is on its way has come.
func (c *Component) Settled(s State) State { return c.arrived(s) }
