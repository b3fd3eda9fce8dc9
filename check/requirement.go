package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// Requirement says that a server must have a key registered and be able to get
// it, wrap and unwrap with it. Taken together they are the rules Open (what
// wraps a DEK now) and Next (what will after a failover) for the protectors
// that are and for those that are wanted.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
type Requirement struct {
	Server string
	Key    tde.KeyID
	// Exact asks for the key itself: it is the server's own protector, or the
	// owner's protector rotates by itself. Otherwise any key of the same
	// material serves, unless the server has registered the key itself: then it
	// must be able to use that.
	Exact bool
	// Owners are the servers whose present or wanted protector the key is, or
	// whose databases it now wraps; they must not be changed before it is met.
	Owners []string
	// Use is the key that meets the requirement or, where none does yet, the
	// one with which it takes least to meet it.
	Use        tde.KeyID
	Registered bool // Use is registered on Server
	Granted    bool // Server's identity has get, wrapKey and unwrapKey on Use
	// Change is set where Use's registration or the owner's protector has yet
	// to be made, so that Azure will validate key and vault again.
	Change bool
}

// Met reports whether nothing has to be done for the requirement, the key's
// own state aside.
func (r Requirement) Met() bool { return r.Registered && r.Granted }

// Requirements lists what the present protectors, the keys that now wrap a
// DEK, and the desired protectors ask of every server of the component. It is
// sorted by server, as the topology is, and key.
func Requirements(t tde.Topology, desired Desired, now time.Time) []Requirement {
	c := collector{topology: t, now: now, asked: map[pair]*Requirement{}}
	for _, s := range t.Servers {
		target := Target(t, s, desired)
		c.protector(s, s.Protector)
		if Changes(s, target) {
			c.protector(s, target)
		}
	}
	for _, set := range replicaSets(t) {
		c.wrapping(set)
	}
	return c.resolve(desired)
}

type pair struct {
	server string
	key    tde.KeyID
}

type collector struct {
	topology tde.Topology
	now      time.Time
	asked    map[pair]*Requirement
}

func (c *collector) ask(server string, key tde.KeyID, exact bool, owner string) {
	where := at(server, key)
	r, ok := c.asked[where]
	if !ok {
		r = &Requirement{Server: server, Key: key}
		c.asked[where] = r
	}
	r.Exact = r.Exact || exact
	if !slices.Contains(r.Owners, owner) {
		r.Owners = append(r.Owners, owner)
	}
}

// protector asks for a protector on its own server and on every partner, since
// a failover may make any of them open what it wraps.
func (c *collector) protector(s tde.Server, p tde.Protector) {
	if p.ServiceManaged() {
		return
	}
	c.ask(s.Name, p.Key, true, s.Name)
	for _, partner := range c.topology.Partners(s.Name) {
		c.ask(partner, p.Key, p.AutoRotation, s.Name)
	}
}

// wrapping asks for the keys that wrap the DEK of any replica now, on every
// server that holds one: a protector change may still be on its way.
func (c *collector) wrapping(set replicaSet) {
	owner, known := c.topology.Server(set.Primary.Server)
	if !known {
		return // the component is not closed, which is a finding of its own
	}
	for _, at := range set.all() {
		s, _ := c.topology.Server(at.Server)
		d, held := s.Database(at.Database)
		if !held || d.Encryption == nil || !d.OwnKey.IsZero() || d.Encryption.EncryptorType != tde.EncryptorAsymmetricKey {
			continue
		}
		key, found := WrappingKey(c.topology, set.servers(), at.Server, d.Encryption.Thumbprint, c.now)
		if !found {
			continue
		}
		for _, r := range set.all() {
			if on, ok := c.topology.Server(r.Server); ok {
				c.ask(on.Name, key, false, owner.Name)
			}
		}
	}
}

// resolve chooses for each requirement the key that meets it, and fills in
// what is there already.
func (c *collector) resolve(desired Desired) []Requirement {
	list := make([]*Requirement, 0, len(c.asked))
	for _, r := range c.asked {
		slices.Sort(r.Owners)
		list = append(list, r)
	}
	place := map[string]int{}
	for i, s := range c.topology.Servers {
		place[s.Name] = i
	}
	slices.SortFunc(list, func(a, b *Requirement) int {
		return cmp.Or(cmp.Compare(place[a.Server], place[b.Server]), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	newChooser(c.topology, c.now).choose(list)
	done := make([]Requirement, len(list))
	for i, r := range list {
		s, _ := c.topology.Server(r.Server)
		r.Registered = holds(s, r.Use)
		r.Granted = c.topology.MayUse(s.Name, r.Use)
		r.Change = !r.Registered || c.becomesProtector(*r, desired)
		done[i] = *r
	}
	return done
}

func (c *collector) becomesProtector(r Requirement, desired Desired) bool {
	for _, owner := range r.Owners {
		s, _ := c.topology.Server(owner)
		if target := Target(c.topology, s, desired); Changes(s, target) && target.Key == r.Use {
			return true
		}
	}
	return false
}

// holds reports whether the key is registered on the server; its protector
// always is.
func holds(s tde.Server, key tde.KeyID) bool {
	_, listed := s.Registered(key)
	return listed || (!key.IsZero() && s.Protector.Key == key)
}

func registeredIDs(s tde.Server) []tde.KeyID {
	ids := make([]tde.KeyID, len(s.Keys))
	for i, k := range s.Keys {
		ids[i] = k.Key
	}
	return ids
}

// Unfit reports whether nobody can use the key at that time, whatever its
// grants: it was not seen in its vault, is disabled, out of its dates, may not
// wrap and unwrap, or its vault's firewall keeps the service out.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func Unfit(t tde.Topology, id tde.KeyID, now time.Time) bool {
	k, seen := t.Resolve(id)
	if !seen || !k.Enabled || expired(k, now) || notYetActive(k, now) || len(lackingOperations(k)) > 0 {
		return true
	}
	v, known := t.Vault(id.Host)
	return !known || (v.FirewallOn && !v.TrustedServices)
}

func expired(k tde.VaultKey, now time.Time) bool {
	return k.Expires != nil && !now.Before(*k.Expires)
}

func notYetActive(k tde.VaultKey, now time.Time) bool {
	return k.NotBefore != nil && now.Before(*k.NotBefore)
}

// lackingOperations are those of wrapKey and unwrapKey that the key's key_ops
// do not permit.
func lackingOperations(k tde.VaultKey) []string {
	var lacking []string
	for _, op := range []string{"wrapKey", "unwrapKey"} {
		if !slices.Contains(k.Operations, op) {
			lacking = append(lacking, op)
		}
	}
	return lacking
}
