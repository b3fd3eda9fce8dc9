package plan

import (
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/model"
	"github.com/crosskeys/crosskeys/tde"
)

// stand sorts the databases into kinds, each of which is explored once.
// Databases with a key of their own are left out: no server's protector wraps
// them.
func (s *subject) stand() {
	for i, server := range s.topology.Servers {
		at := model.Server(i)
		for _, d := range server.Databases {
			if !d.OwnKey.IsZero() || s.isReplica(server.Name, d.Name) {
				continue
			}
			s.add(s.standingOf(at, d), d.Name)
		}
	}
}

func (s *subject) isReplica(server, database string) bool {
	return slices.ContainsFunc(s.topology.Links, func(l tde.ReplicationLink) bool {
		return strings.EqualFold(l.Secondary, server) && strings.EqualFold(l.PartnerDatabase, database)
	})
}

func (s *subject) add(kind standing, name string) {
	for i := range s.databases {
		known := &s.databases[i]
		if known.database == kind.database && known.primary == kind.primary && known.wrap == kind.wrap && known.old == kind.old {
			known.names = append(known.names, name)
			return
		}
	}
	kind.names = []string{name}
	s.databases = append(s.databases, kind)
}

func (s *subject) standingOf(primary model.Server, d tde.Database) standing {
	kind := standing{primary: primary, database: model.Database{Exists: true, Group: -1}}
	name := s.servers[primary]
	replicas := map[model.Server]tde.Database{primary: d}
	holders := []string{name}
	for _, l := range s.topology.Links {
		if !strings.EqualFold(l.Primary, name) || !strings.EqualFold(l.Database, d.Name) {
			continue
		}
		holder, known := s.server(l.Secondary)
		if !known {
			continue
		}
		kind.database.Movable = true
		kind.database.Group = s.group(l.Group)
		replicas[holder], _ = s.topology.Servers[holder].Database(l.PartnerDatabase)
		holders = append(holders, s.servers[holder])
	}
	for at, replica := range replicas {
		kind.database.Holders = kind.database.Holders.With(at)
		kind.wrap[at] = s.wrapping(at, holders, replica)
	}
	return kind
}

// wrapping is the key that wraps the DEK of a replica, as it was read; else
// the protector of its primary's server, which is the first of the holders.
func (s *subject) wrapping(at model.Server, holders []string, d tde.Database) model.Key {
	e := d.Encryption
	primary, _ := s.server(holders[0])
	switch {
	case e == nil:
		return s.start.Protector[primary]
	case e.EncryptorType != tde.EncryptorAsymmetricKey:
		return model.Certificate(primary)
	}
	if key, found := check.WrappingKey(s.topology, holders, s.servers[at], e.Thumbprint, s.now); found {
		return s.key(key, at)
	}
	return s.start.Protector[primary]
}

// exploration is that of one kind of database.
func (s *subject) exploration(kind standing) model.Exploration {
	start := s.start
	component := s.component
	component.Database, start.Primary, start.Wrap, start.Old = kind.database, kind.primary, kind.wrap, kind.old
	return model.Exploration{Component: component, Start: start, Steps: s.steps, Goal: s.goal, GoalAuto: s.goalAuto}
}
