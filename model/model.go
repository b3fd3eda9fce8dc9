// Package model is the transition system of one geo-linked component: what
// matters for the safety of its databases while TDE protectors change, what we
// and the world can do to it, and the rules that must hold in every state. It
// is small and explicit so that all its states can be visited. It is pure: no
// I/O, no clock; its functions are safe for concurrent use.
//
// One database stands for all that are in the same position. A database's fate
// depends on the servers and on its own group alone, never on another
// database; and equal databases can move in lockstep. So a state in which one
// database breaks a rule is reachable among many if, and only if, it is
// reachable for the one.
package model

import "math/bits"

// The measures of a component that can be explored.
const (
	MaxServers = 8
	MaxKeys    = 24
	MaxSteps   = 64
)

// Server is a server's place in a Component.
type Server uint8

// Key is a key's place in a Component; MaxKeys or more is the built-in
// certificate of a server, see Certificate.
type Key uint8

// Certificate is the service-managed key of a server.
func Certificate(s Server) Key { return MaxKeys + Key(s) }

// Managed reports whether the key is customer-managed, in a vault.
func (k Key) Managed() bool { return k < MaxKeys }

// Keys is a set of customer-managed keys.
type Keys uint32

// Has reports whether k is in the set.
func (ks Keys) Has(k Key) bool { return ks&(1<<k) != 0 }

// With is the set with k.
func (ks Keys) With(k Key) Keys { return ks | 1<<k }

// Servers is a set of servers.
type Servers uint8

// Has reports whether s is in the set.
func (ss Servers) Has(s Server) bool { return ss&(1<<s) != 0 }

// With is the set with s.
func (ss Servers) With(s Server) Servers { return ss | 1<<s }

// Each calls fn for every server of the set.
func (ss Servers) Each(fn func(Server)) {
	for rest := ss; rest != 0; rest &= rest - 1 {
		fn(Server(bits.TrailingZeros8(uint8(rest))))
	}
}

// Component is what does not change: the servers and who is linked to whom,
// the keys and which of them hold the same material.
type Component struct {
	Servers  int
	Keys     int
	Partners [MaxServers]Servers // geo-linked servers, in either role
	// Same lists, for each key, all keys of its material, itself included.
	Same [MaxKeys]Keys
	// Successor is the version that automatic rotation makes of a key; the key
	// itself where none is modelled.
	Successor [MaxKeys]Key
	// Remember keeps in State.Old what wraps a DEK no longer. It is needed
	// where a step or a fault takes keys away.
	Remember bool
	// Strict has a server that has registered a key itself take no copy of it:
	// that the service turns to another vault where it cannot use the key is no
	// longer documented. Plans are proved so; off, any copy serves.
	Strict bool
	// Database is the one that stands for its kind.
	Database Database
}

// Database says where a database lives and how its primary may move.
type Database struct {
	Exists  bool
	Holders Servers // every server with a replica, the primary included
	// Movable: its failover group, or its link outside any, can fail over to
	// any holder.
	Movable bool
	Group   int // the failover group that it moves with; -1 for none
}

// State is one moment of a component. It is comparable.
type State struct {
	Registered [MaxServers]Keys
	Usable     [MaxServers]Keys // what the server's identity can get, wrap and unwrap with now
	Coming     [MaxServers]Keys // granted, not yet in force
	Protector  [MaxServers]Key
	Auto       Servers // whose protector rotates by itself
	Latest     Keys    // which a protector may be set to
	Primary    Server  // of the database
	Wrap       [MaxServers]Key
	Old        Keys   // what active VLFs and backups of the database may still need
	Done       uint64 // our steps that we know to be done, by bit
	Suspended  Servers
	Rotated    bool // automatic rotation has happened
	Fault      uint8
}

// opens reports whether the server has a key of k's material registered and
// usable; exact asks for the key itself. A built-in certificate is there
// whenever it is needed: the service sees to it.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-tde-overview
func (c *Component) opens(s *State, at Server, k Key, exact bool) bool {
	if !k.Managed() {
		return true
	}
	wanted := c.Same[k]
	if exact || c.Strict && s.Registered[at].Has(k) {
		wanted = Keys(0).With(k)
	}
	return s.Registered[at]&s.Usable[at]&wanted != 0
}

// settled reports whether every replica is wrapped by its primary's protector.
func (c *Component) settled(s *State) bool {
	if !c.Database.Exists {
		return true
	}
	calm := true
	want := c.wrapsWith(s, s.Primary)
	c.Database.Holders.Each(func(h Server) { calm = calm && s.Wrap[h] == want })
	return calm
}

// wrapsWith is the key by which a server wraps the databases that are primary
// on it.
func (c *Component) wrapsWith(s *State, server Server) Key { return s.Protector[server] }
