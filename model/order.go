package model

// Alone checks each step in the state in which only the steps that it waits
// for, and those that they wait for, are done: the executor promises no more.
// Grants and registrations only add to what can be opened, so this is the
// worst order for all of them. It returns the first breach, which is Unrefused
// or One.
func Alone(e Exploration) *Breach {
	c := &e.Component
	needs := make([]uint64, len(e.Steps))
	var flips uint64
	for i, step := range e.Steps {
		needs[i] = step.After
		s := e.Start
		for j := range i {
			if step.After&(1<<j) != 0 {
				needs[i] |= needs[j]
			}
		}
		if step.Kind == Flip || step.Kind == Failover {
			if flips&^needs[i] != 0 {
				return &Breach{Rule: One, Server: step.Server, Key: step.Key, Step: i}
			}
			flips |= 1 << i
		}
		for j := range i {
			if needs[i]&(1<<j) != 0 && e.Steps[j].Kind != Failover {
				s = c.arrived(c.apply(s, e.Steps[j].Action))
			}
		}
		if (step.Kind == Register || step.Kind == Flip) && c.outlook(&s, step) == refused {
			return &Breach{Rule: Unrefused, Server: step.Server, Key: step.Key, Step: i}
		}
	}
	return nil
}

// Healthy reports whether the rules Open, Next and Past hold in the state.
func (c *Component) Healthy(s *State) bool { return c.healthy(s) }
