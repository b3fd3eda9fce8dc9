package monitor

import (
	"slices"

	"github.com/crosskeys/crosskeys/model"
)

// Judge lists the rules that do not hold. It puts the snapshot into the terms
// of package model piece by piece, a server with its partners and a database
// with its copies, so that no lab is too large for it.
func Judge(s Snapshot) []Breach {
	servers := map[string]Server{}
	for _, server := range s.Servers {
		servers[server.Name] = server
	}
	var list []Breach
	for _, server := range s.Servers {
		list = append(list, judgeNext(server, servers)...)
	}
	for _, database := range s.Databases {
		list = append(list, judgeDatabase(database, servers)...)
	}
	return append(list, judgeOne(s, servers)...)
}

// The keys of a piece that is about a protector: the protector itself, and
// another key of its material.
const (
	theKey model.Key = iota
	sameMaterial
)

// judgeNext asks whether a server's protector can be used by it and by its
// partners.
func judgeNext(owner Server, servers map[string]Server) []Breach {
	if owner.Protector == "" {
		return nil
	}
	own, _ := owner.key(owner.Protector)
	var list []Breach
	partners := owner.Partners
	for first := true; first || len(partners) > 0; first = false {
		some := partners[:min(len(partners), model.MaxServers-1)]
		partners = partners[len(some):]
		members := []Server{owner}
		for _, name := range some {
			members = append(members, servers[name])
		}
		c := model.Component{Servers: len(members), Keys: 2}
		c.Same[theKey] = model.Keys(0).With(theKey).With(sameMaterial)
		var state model.State
		for i, member := range members {
			at := model.Server(i) //nolint:gosec // no more than MaxServers
			state.Protector[at] = model.Certificate(at)
			if at > 0 {
				c.Partners[0] = c.Partners[0].With(at)
			}
			lay(&state, at, theKey, member, owner.Protector, "")
			if _, exact := member.key(owner.Protector); !exact {
				lay(&state, at, sameMaterial, member, "", own.Thumbprint)
			}
		}
		state.Protector[0] = theKey
		if owner.Auto {
			state.Auto = state.Auto.With(0)
		}
		for _, b := range c.Breaches(&state) {
			breach := Breach{Rule: b.Rule.String(), Server: members[b.Server].Name, Owner: owner.Name, Key: owner.Protector}
			if !slices.Contains(list, breach) {
				list = append(list, breach)
			}
		}
	}
	return list
}

// lay notes how a member stands to a key. An unknown thumbprint is nobody's.
func lay(state *model.State, at model.Server, key model.Key, member Server, uri, thumbprint string) {
	if uri == "" && thumbprint == "" {
		return
	}
	registered, usable := member.material(uri, thumbprint)
	if registered {
		state.Registered[at] = state.Registered[at].With(key)
	}
	if usable {
		state.Usable[at] = state.Usable[at].With(key)
	}
}

// need is a key that a database needs.
type need struct{ uri, thumbprint string }

func (n need) String() string {
	if n.uri != "" {
		return n.uri
	}
	return n.thumbprint
}

// judgeDatabase asks whether every holder can open what wraps any copy's DEK,
// and what log files and backups may need.
func judgeDatabase(database Database, servers map[string]Server) []Breach {
	copies := database.Copies[:min(len(database.Copies), model.MaxServers)]
	var wraps, old []need
	for _, each := range copies {
		if n := (need{each.URI, each.Thumbprint}); each.URI != "" && !slices.Contains(wraps, n) {
			wraps = append(wraps, n)
		}
	}
	for _, thumbprint := range database.Old {
		if !slices.ContainsFunc(wraps, func(n need) bool { return n.thumbprint == thumbprint }) {
			old = append(old, need{thumbprint: thumbprint})
		}
	}
	var list []Breach
	room := model.MaxKeys - model.MaxServers
	for first := true; first || len(old) > 0; first = false {
		some := old[:min(len(old), room)]
		old = old[len(some):]
		for _, breach := range judgeNeeds(database, copies, wraps, some, servers) {
			if !slices.Contains(list, breach) {
				list = append(list, breach)
			}
		}
	}
	return list
}

func judgeNeeds(database Database, copies []Copy, wraps, old []need, servers map[string]Server) []Breach {
	needs := append(slices.Clone(wraps), old...)
	c := model.Component{Servers: len(copies), Keys: len(needs), Remember: true, Database: model.Database{Exists: true, Group: -1}}
	var state model.State
	for k := range needs {
		key := model.Key(k) //nolint:gosec // no more than MaxKeys
		c.Same[key] = model.Keys(0).With(key)
		if k >= len(wraps) {
			state.Old = state.Old.With(key)
		}
	}
	for i, each := range copies {
		at := model.Server(i) //nolint:gosec // no more than MaxServers
		c.Database.Holders = c.Database.Holders.With(at)
		state.Protector[at], state.Wrap[at] = model.Certificate(at), model.Certificate(at)
		if k := slices.Index(needs, need{each.URI, each.Thumbprint}); k >= 0 {
			state.Wrap[at] = model.Key(k) //nolint:gosec // no more than MaxKeys
		}
		for k, n := range needs {
			lay(&state, at, model.Key(k), servers[each.Server], n.uri, n.thumbprint) //nolint:gosec // no more than MaxKeys
		}
	}
	var list []Breach
	for _, b := range c.Breaches(&state) {
		list = append(list, Breach{
			Rule: b.Rule.String(), Server: copies[b.Server].Server, Owner: copies[b.Owner].Server, Key: needs[b.Key].String(), Database: database.Name,
		})
	}
	return list
}

// judgeOne asks whether two servers of one geo-linked component change their
// protectors at the same time.
func judgeOne(s Snapshot, servers map[string]Server) []Breach {
	var list []Breach
	for i, later := range s.Changing {
		for _, earlier := range s.Changing[:i] {
			if later.Server == earlier.Server || !linked(later.Server, earlier.Server, servers) {
				continue
			}
			list = append(list, Breach{Rule: model.One.String(), Server: later.Server, Owner: earlier.Server})
		}
	}
	return list
}

// linked reports whether replication links lead from one server to another,
// over any others.
func linked(from, to string, servers map[string]Server) bool {
	seen, queue := map[string]bool{from: true}, []string{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if at == to {
			return true
		}
		for _, partner := range servers[at].Partners {
			if !seen[partner] {
				seen[partner] = true
				queue = append(queue, partner)
			}
		}
	}
	return false
}
