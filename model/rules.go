package model

// Rule is one of the five rules, or a demand on a plan that goes with them.
type Rule uint8

// The rules. Source: the project's safety model, docs/safety.md.
const (
	// Open: what wraps the DEK of any replica can be opened by every server
	// that holds one.
	Open Rule = iota + 1
	// Next: the protector of every server can be used by all its partners,
	// since a failover makes it the wrapping key.
	Next
	// Past: what an active VLF or a backup may still need can still be used.
	Past
	// One: no two protectors change at the same time.
	One
	// WayBack: a step that is called undoable can be undone right after it.
	WayBack
	// Unrefused: no step of ours is refused in a run without faults.
	Unrefused
	// Reaches: from every state, left alone, resuming reaches the goal.
	Reaches
)

// String names the rule.
func (r Rule) String() string {
	return [...]string{"", "Open", "Next", "Past", "One", "Way back", "Unrefused", "Reaches"}[r]
}

// Breach is a rule that does not hold: Server cannot use Key, which Owner's
// protector is, or by which the replica on Owner is wrapped. Step is the place
// of the step in question, for the rules about steps.
type Breach struct {
	Rule   Rule
	Server Server
	Owner  Server
	Key    Key
	Step   int
}

// Breaches lists the rules Open, Next and Past that do not hold in s.
func (c *Component) Breaches(s *State) []Breach {
	var list []Breach
	c.eachBreach(s, func(b Breach) bool {
		list = append(list, b)
		return true
	})
	return list
}

// eachBreach calls fn for every breach until it returns false.
func (c *Component) eachBreach(s *State, fn func(Breach) bool) {
	for i := range c.Servers {
		at := Server(i)
		if !c.breachesOfNext(s, at, fn) {
			return
		}
	}
	if c.Database.Exists {
		c.breachesOfDatabase(s, fn)
	}
}

func (c *Component) breachesOfNext(s *State, owner Server, fn func(Breach) bool) bool {
	k := s.Protector[owner]
	if !k.Managed() {
		return true
	}
	if !c.opens(s, owner, k, true) && !fn(Breach{Rule: Next, Server: owner, Owner: owner, Key: k}) {
		return false
	}
	exact, more := s.Auto.Has(owner), true
	c.Partners[owner].Each(func(p Server) {
		if more && !c.opens(s, p, k, exact) {
			more = fn(Breach{Rule: Next, Server: p, Owner: owner, Key: k})
		}
	})
	return more
}

func (c *Component) breachesOfDatabase(s *State, fn func(Breach) bool) {
	more := true
	c.Database.Holders.Each(func(holder Server) {
		c.Database.Holders.Each(func(at Server) {
			if more && !c.opens(s, holder, s.Wrap[at], false) {
				more = fn(Breach{Rule: Open, Server: holder, Owner: at, Key: s.Wrap[at]})
			}
		})
		for k := range Key(MaxKeys) {
			if more && s.Old.Has(k) && !c.opens(s, holder, k, false) {
				more = fn(Breach{Rule: Past, Server: holder, Owner: s.Primary, Key: k})
			}
		}
	})
}

// healthy reports whether Open, Next and Past hold.
func (c *Component) healthy(s *State) bool {
	well := true
	c.eachBreach(s, func(Breach) bool {
		well = false
		return false
	})
	return well
}
