package check

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// replica is one database on one server.
type replica struct {
	Server   string
	Database string
}

// replicaSet is a database with its geo-secondaries. A database that is not
// geo-replicated is a set of its primary alone.
type replicaSet struct {
	Primary     replica
	Secondaries []replica
}

// all are the set's replicas, the primary first.
func (r replicaSet) all() []replica {
	return append([]replica{r.Primary}, r.Secondaries...)
}

// servers are those of all().
func (r replicaSet) servers() []string {
	var names []string
	for _, each := range r.all() {
		names = append(names, each.Server)
	}
	return names
}

func (r replica) key() replica {
	return replica{Server: strings.ToLower(r.Server), Database: strings.ToLower(r.Database)}
}

// replicaSets finds every database of the topology and who replicates it. The
// links decide; a failover group's list of databases fills in for a link that
// was not seen. Sets are sorted by primary.
func replicaSets(t tde.Topology) []replicaSet {
	sets := map[replica]*replicaSet{}
	member := map[replica]bool{}
	join := func(primary, secondary replica) {
		set, ok := sets[primary.key()]
		if !ok {
			set = &replicaSet{Primary: primary}
			sets[primary.key()] = set
		}
		same := func(r replica) bool { return r.key() == secondary.key() }
		if !slices.ContainsFunc(set.Secondaries, same) {
			set.Secondaries = append(set.Secondaries, secondary)
		}
		member[primary.key()], member[secondary.key()] = true, true
	}
	for _, l := range t.Links {
		join(replica{l.Primary, l.Database}, replica{l.Secondary, l.PartnerDatabase})
	}
	for _, g := range t.Groups {
		for _, name := range g.Databases {
			joinGroup(t, g, name, join)
		}
	}
	for _, s := range t.Servers {
		for _, d := range s.Databases {
			alone := replica{s.Name, d.Name}
			if !member[alone.key()] {
				sets[alone.key()] = &replicaSet{Primary: alone}
			}
		}
	}
	return sortedSets(sets)
}

// joinGroup adds the replicas that a failover group's members hold of one of
// its databases.
func joinGroup(t tde.Topology, g tde.FailoverGroup, database string, join func(primary, secondary replica)) {
	primary, ok := t.Server(g.Primary())
	if !ok {
		return
	}
	for _, name := range g.Secondaries() {
		secondary, known := t.Server(name)
		if !known {
			continue
		}
		if _, held := secondary.Database(database); held {
			join(replica{primary.Name, database}, replica{secondary.Name, database})
		}
	}
}

func sortedSets(sets map[replica]*replicaSet) []replicaSet {
	list := make([]replicaSet, 0, len(sets))
	for _, set := range sets {
		list = append(list, *set)
	}
	slices.SortFunc(list, func(a, b replicaSet) int {
		return cmp.Or(cmp.Compare(a.Primary.Server, b.Primary.Server), cmp.Compare(a.Primary.Database, b.Primary.Database))
	})
	return list
}

// WrappingKey finds the registered key that wraps the DEK of a replica on
// server at. The first holder is the server of the primary, the others are
// those with a replica. The DEK shows no more than the key's thumbprint, which
// copies of a key have too. Of several keys it is taken to be the primary's
// protector, else the first that all holders can open, since a change that is
// on its way began where they could; those of the replica's own server come
// first.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
func WrappingKey(t tde.Topology, holders []string, at string, thumbprint tde.Thumbprint, now time.Time) (tde.KeyID, bool) {
	if thumbprint == "" {
		return tde.KeyID{}, false
	}
	if s, known := t.Server(holders[0]); known && !s.Protector.ServiceManaged() && protectorThumbprint(s) == thumbprint {
		return s.Protector.Key, true
	}
	var candidates []tde.KeyID
	add := func(s tde.Server) {
		if id, held := heldKey(s, thumbprint); held {
			candidates = append(candidates, id)
		}
		for _, k := range s.Keys {
			if k.Thumbprint == thumbprint && !slices.Contains(candidates, k.Key) {
				candidates = append(candidates, k.Key)
			}
		}
	}
	if s, known := t.Server(at); known {
		add(s)
	}
	for _, s := range t.Servers {
		add(s)
	}
	for _, id := range candidates {
		if !slices.ContainsFunc(holders, func(name string) bool { return !opens(t, name, id, now) }) {
			return id, true
		}
	}
	if len(candidates) > 0 {
		return candidates[0], true
	}
	return tde.KeyID{}, false
}

// opens reports whether the server can open what the key wraps: by the key
// itself where it has registered that, else by any copy.
func opens(t tde.Topology, server string, key tde.KeyID, now time.Time) bool {
	s, _ := t.Server(server)
	usable := func(id tde.KeyID) bool { return t.MayUse(s.Name, id) && !Unfit(t, id, now) }
	if holds(s, key) {
		return usable(key)
	}
	return slices.ContainsFunc(registeredIDs(s), func(id tde.KeyID) bool { return t.SameMaterial(id, key) && usable(id) })
}

// keyWithThumbprint finds a registered key by the thumbprint that wraps a DEK,
// on the given server if it has one, else on any.
func keyWithThumbprint(t tde.Topology, server string, thumbprint tde.Thumbprint) (tde.KeyID, bool) {
	if thumbprint == "" {
		return tde.KeyID{}, false
	}
	if s, ok := t.Server(server); ok {
		if id, found := heldKey(s, thumbprint); found {
			return id, true
		}
	}
	for _, s := range t.Servers {
		if id, found := heldKey(s, thumbprint); found {
			return id, true
		}
	}
	return tde.KeyID{}, false
}

// heldKey prefers the protector where several registered keys have the
// thumbprint.
func heldKey(s tde.Server, thumbprint tde.Thumbprint) (tde.KeyID, bool) {
	if protectorThumbprint(s) == thumbprint && !s.Protector.ServiceManaged() {
		return s.Protector.Key, true
	}
	for _, k := range s.Keys {
		if k.Thumbprint == thumbprint {
			return k.Key, true
		}
	}
	return tde.KeyID{}, false
}

// protectorThumbprint is the thumbprint of the server's protector, empty when
// it is service-managed or was not read.
func protectorThumbprint(s tde.Server) tde.Thumbprint {
	if s.Protector.ServiceManaged() || s.Protector.Thumbprint != "" {
		return s.Protector.Thumbprint
	}
	k, _ := s.Registered(s.Protector.Key)
	return k.Thumbprint
}
