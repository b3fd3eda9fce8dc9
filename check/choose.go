package check

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// chooser finds a smallest set of registrations and grants by which all
// requirements are met; smallest in that none of them can be left out. Where
// no keys are copies of each other there is nothing to choose.
type chooser struct {
	topology tde.Topology
	now      time.Time
	register map[pair]bool
	grant    map[grantee]bool
}

// grantee is an identity and a vault: one grant serves all servers that share
// the identity and all keys of the vault.
type grantee struct{ principal, host string }

func newChooser(t tde.Topology, now time.Time) *chooser {
	return &chooser{topology: t, now: now, register: map[pair]bool{}, grant: map[grantee]bool{}}
}

// choose sets each requirement's Use. It first takes what costs least for each,
// those that have no choice first, and then leaves out what the others'
// actions have made superfluous.
func (c *chooser) choose(list []*Requirement) {
	for _, exact := range []bool{true, false} {
		for _, r := range list {
			if r.Exact == exact {
				c.take(*r)
			}
		}
	}
	// A registration less may make a copy count that did not, and with it a
	// grant superfluous.
	for c.leaveOut(list) {
	}
	for _, r := range list {
		r.Use, _ = c.meeting(*r)
	}
}

// leaveOut takes away what is not needed, one after the other, and reports
// whether there was any.
func (c *chooser) leaveOut(list []*Requirement) bool {
	return needless(c.grant, func(g grantee) string { return g.principal + " " + g.host }, func() bool { return c.allMet(list) }) ||
		needless(c.register, func(p pair) string { return p.server + " " + p.key.String() }, func() bool { return c.allMet(list) })
}

// needless deletes the actions without which all is met; text gives their
// order.
func needless[K comparable](of map[K]bool, text func(K) string, met func() bool) bool {
	before := len(of)
	for _, action := range sortedKeys(of, text) {
		delete(of, action)
		if !met() {
			of[action] = true
		}
	}
	return len(of) < before
}

func sortedKeys[K comparable](of map[K]bool, text func(K) string) []K {
	keys := make([]K, 0, len(of))
	for k := range of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Compare(text(a), text(b)) })
	return keys
}

// take adds the actions by which the requirement is met with least to do.
func (c *chooser) take(r Requirement) {
	least, use := -1, r.Key
	for _, k := range c.candidates(r) {
		if cost := c.cost(r.Server, k); least < 0 || cost < least {
			least, use = cost, k
		}
	}
	if !c.registered(r.Server, use) {
		c.register[at(r.Server, use)] = true
	}
	if !c.granted(r.Server, use) {
		c.grant[c.grantee(r.Server, use)] = true
	}
}

// cost is two for a call and one more where that is a grant: of as many calls a
// registration is better, since it gives no right and needs no wait.
func (c *chooser) cost(server string, key tde.KeyID) int {
	cost := 0
	if !c.registered(server, key) {
		cost += 2
	}
	if !c.granted(server, key) {
		cost += 3
	}
	return cost
}

// candidates are the key itself and, where its material is enough, all fit keys
// of the same material: the server may already be allowed to use a copy that
// only others, or none, have registered. A server
// that has registered the key itself, or is to, takes no copy of it: that the
// service turns to another vault then is no longer documented.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (c *chooser) candidates(r Requirement) []tde.KeyID {
	list := []tde.KeyID{r.Key}
	if r.Exact || c.registered(r.Server, r.Key) {
		return list
	}
	var others []tde.KeyID
	for _, k := range c.topology.Keys {
		others = append(others, k.ID)
	}
	for _, s := range c.topology.Servers {
		others = append(others, registeredIDs(s)...)
	}
	slices.SortFunc(others, func(a, b tde.KeyID) int { return cmp.Compare(a.String(), b.String()) })
	for _, k := range slices.Compact(others) {
		if k != r.Key && c.topology.SameMaterial(k, r.Key) && !Unfit(c.topology, k, c.now) {
			list = append(list, k)
		}
	}
	if len(list) > 1 && Unfit(c.topology, r.Key, c.now) {
		return list[1:]
	}
	return list
}

// meeting finds the candidate that meets the requirement once all actions are
// done; the key itself is preferred, and named where none does.
func (c *chooser) meeting(r Requirement) (tde.KeyID, bool) {
	for _, k := range c.candidates(r) {
		if c.cost(r.Server, k) == 0 {
			return k, true
		}
	}
	return r.Key, false
}

func (c *chooser) allMet(list []*Requirement) bool {
	return !slices.ContainsFunc(list, func(r *Requirement) bool {
		_, met := c.meeting(*r)
		return !met
	})
}

func at(server string, key tde.KeyID) pair { return pair{strings.ToLower(server), key} }

func (c *chooser) grantee(server string, key tde.KeyID) grantee {
	s, _ := c.topology.Server(server)
	if s.Identity.PrincipalID == "" {
		return grantee{"server " + strings.ToLower(server), key.Host}
	}
	return grantee{s.Identity.PrincipalID, key.Host}
}

func (c *chooser) registered(server string, key tde.KeyID) bool {
	s, _ := c.topology.Server(server)
	return c.register[at(server, key)] || holds(s, key)
}

func (c *chooser) granted(server string, key tde.KeyID) bool {
	return c.grant[c.grantee(server, key)] || c.topology.MayUse(server, key)
}
