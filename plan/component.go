package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/model"
	"github.com/crosskeys/crosskeys/tde"
)

// ErrTooLarge is returned where a component has more servers, keys or steps
// than a proof can hold.
var ErrTooLarge = errors.New("the component is too large to be proved")

// subject is a topology and a plan in the model's terms, with the names that
// belong to its numbers.
type subject struct {
	topology   tde.Topology
	now        time.Time
	servers    []string
	keys       []tde.KeyID // a zero id is a version that does not exist yet
	component  model.Component
	start      model.State
	steps      []model.Step
	goal       [model.MaxServers]model.Key
	goalAuto   model.Servers
	databases  []standing
	successors map[model.Key]model.Key
}

// standing is a kind of database, and the names of those that are of it.
type standing struct {
	database model.Database
	primary  model.Server
	wrap     [model.MaxServers]model.Key
	old      model.Keys
	names    []string
}

func newSubject(t tde.Topology, p Plan, now time.Time) (*subject, error) {
	s := &subject{topology: t, now: now, successors: map[model.Key]model.Key{}}
	for _, server := range t.Servers {
		s.servers = append(s.servers, server.Name)
	}
	s.collectKeys(p)
	if len(s.servers) > model.MaxServers || len(s.keys) > model.MaxKeys || len(p.Steps) > model.MaxSteps {
		return nil, fmt.Errorf("%w: %d servers of %d, %d keys of %d, %d steps of %d", ErrTooLarge,
			len(s.servers), model.MaxServers, len(s.keys), model.MaxKeys, len(p.Steps), model.MaxSteps)
	}
	s.component.Servers, s.component.Keys, s.component.Strict = len(s.servers), len(s.keys), true
	s.relate()
	s.begin(now)
	s.aim(p)
	if err := s.plan(p); err != nil {
		return nil, err
	}
	s.stand()
	return s, nil
}

// collectKeys numbers every key that is registered or planned, and the version
// that follows each one that rotates by itself.
func (s *subject) collectKeys(p Plan) {
	add := func(id tde.KeyID) {
		if !id.IsZero() && !slices.Contains(s.keys, id) {
			s.keys = append(s.keys, id)
		}
	}
	rotating := map[tde.KeyID]bool{}
	for _, server := range s.topology.Servers {
		add(server.Protector.Key)
		for _, k := range server.Keys {
			add(k.Key)
		}
		if server.Protector.AutoRotation {
			rotating[server.Protector.Key] = true
		}
	}
	for _, target := range p.Targets {
		add(target.Key)
	}
	for _, step := range p.Steps {
		add(step.Key)
		if step.Kind == SetProtector && step.AutoRotation {
			rotating[step.Key] = true
		}
	}
	known := len(s.keys)
	for i := range known {
		if rotating[s.keys[i]] {
			s.successors[model.Key(i)] = model.Key(len(s.keys))
			s.keys = append(s.keys, tde.KeyID{})
		}
	}
}

func (s *subject) server(name string) (model.Server, bool) {
	i := slices.IndexFunc(s.servers, func(n string) bool { return strings.EqualFold(n, name) })
	return model.Server(max(i, 0)), i >= 0
}

// key is the number of a key; a zero id is the server's own certificate.
func (s *subject) key(id tde.KeyID, server model.Server) model.Key {
	if id.IsZero() {
		return model.Certificate(server)
	}
	return model.Key(slices.Index(s.keys, id))
}

// relate fills in partners, equal material and successors.
func (s *subject) relate() {
	for i, name := range s.servers {
		for _, partner := range s.topology.Partners(name) {
			if p, known := s.server(partner); known {
				s.component.Partners[i] = s.component.Partners[i].With(p)
			}
		}
	}
	for i, a := range s.keys {
		s.component.Successor[i] = model.Key(i)
		s.component.Same[i] = model.Keys(0).With(model.Key(i))
		for j, b := range s.keys {
			if !a.IsZero() && s.topology.SameMaterial(a, b) {
				s.component.Same[i] = s.component.Same[i].With(model.Key(j))
			}
		}
	}
	for from, to := range s.successors {
		s.component.Successor[from] = to
	}
}

// begin fills in the state in which the topology is.
func (s *subject) begin(now time.Time) {
	for i, server := range s.topology.Servers {
		at := model.Server(i)
		s.start.Protector[i] = s.key(server.Protector.Key, at)
		if server.Protector.AutoRotation {
			s.start.Auto = s.start.Auto.With(at)
		}
		for k, id := range s.keys {
			if id.IsZero() {
				continue
			}
			if _, listed := server.Registered(id); listed || server.Protector.Key == id {
				s.start.Registered[i] = s.start.Registered[i].With(model.Key(k))
			}
			if s.topology.MayUse(server.Name, id) && !check.Unfit(s.topology, id, now) {
				s.start.Usable[i] = s.start.Usable[i].With(model.Key(k))
			}
		}
	}
	for k, id := range s.keys {
		if seen, known := s.topology.Resolve(id); known && seen.Latest {
			s.start.Latest = s.start.Latest.With(model.Key(k))
		}
	}
}

// aim sets the protectors that the plan is to bring about; those of other
// servers stay.
func (s *subject) aim(p Plan) {
	s.goal, s.goalAuto = s.start.Protector, s.start.Auto
	for _, target := range p.Targets {
		at, known := s.server(target.Server)
		if !known {
			continue
		}
		s.goal[at] = s.key(target.Key, at)
		s.goalAuto &^= 1 << at
		if target.AutoRotation {
			s.goalAuto = s.goalAuto.With(at)
		}
	}
}

// plan puts the plan's steps in the model's terms.
func (s *subject) plan(p Plan) error {
	for i, step := range p.Steps {
		server, known := s.server(step.Server)
		if !known && step.Kind != VerifyEncryption {
			return fmt.Errorf("prove plan: step %d is on server %s, which was not observed", step.Number, step.Server)
		}
		m := model.Step{Action: model.Action{Server: server, Step: i}, Group: -1}
		for _, n := range step.DependsOn {
			m.After |= 1 << (n - 1)
		}
		switch step.Kind {
		case Grant:
			m.Kind, m.Keys, m.Also = model.Grant, s.vaultKeys(step.VaultName, p), s.sharing(server)
		case Register:
			m.Kind, m.Key = model.Register, s.key(step.Key, server)
		case SetProtector:
			m.Kind, m.Key, m.Auto = model.Flip, s.key(step.Key, server), step.AutoRotation
			m.Undoable, m.UndoTo, m.UndoAuto = step.WayBack, s.key(step.PreState.Protector, server), step.PreState.AutoRotation
		case VerifyEncryption:
			m.Kind = model.Verify
		case PlannedFailover:
			m.Kind, m.Group = model.Failover, s.group(step.Group)
			if m.From, known = s.server(step.PreState.Primary); !known {
				return fmt.Errorf("prove plan: step %d starts from primary %s, which was not observed", step.Number, step.PreState.Primary)
			}
		}
		s.steps = append(s.steps, m)
	}
	return nil
}

func (s *subject) group(name string) int {
	return slices.IndexFunc(s.topology.Groups, func(g tde.FailoverGroup) bool { return strings.EqualFold(g.Name, name) })
}

// vaultKeys are the keys of a vault that can be used at all once granted.
func (s *subject) vaultKeys(vault string, p Plan) model.Keys {
	var keys model.Keys
	for k, id := range s.keys {
		if !id.IsZero() && strings.EqualFold(id.Vault(), vault) && !check.Unfit(s.topology, id, p.CreatedAt) {
			keys = keys.With(model.Key(k))
		}
	}
	return keys
}

// sharing are the servers with the same identity.
func (s *subject) sharing(server model.Server) model.Servers {
	var shared model.Servers
	principal := s.topology.Servers[server].Identity.PrincipalID
	for i, other := range s.topology.Servers {
		if other.Identity.PrincipalID == principal {
			shared = shared.With(model.Server(i))
		}
	}
	return shared
}
