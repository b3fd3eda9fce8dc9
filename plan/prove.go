package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/model"
	"github.com/crosskeys/crosskeys/tde"
)

// Proof is what an exploration of every state says of a plan.
type Proof struct {
	Proved bool `json:"proved"`
	// States and Transitions were explored, over all kinds of databases.
	States      int `json:"states"`
	Transitions int `json:"transitions"`
	// Kinds is how many kinds of databases there are: those of one kind are in
	// the same position, and one stands for all.
	Kinds     int      `json:"kinds"`
	Databases int      `json:"databases"`
	Rules     []string `json:"rules"` // that hold in every state
	// Broken is the rule that does not hold, and Story the shortest way there.
	Broken string   `json:"broken,omitempty"`
	Story  []string `json:"story,omitempty"`
	// Inherited are breaches that can come about without any step of the plan.
	Inherited []string `json:"inherited,omitempty"`
	// Tolerances are filled in by whoever asks Tolerate.
	Tolerances []Tolerance `json:"tolerances,omitempty"`
}

// parallelLimit is how many steps are explored in every order that their
// dependencies allow; more are explored in theirs.
const parallelLimit = 8

// Prove explores every state that the plan can lead to from the topology,
// whatever the world does meanwhile: a crash of ours at any point, a planned
// or forced failover to any member by somebody else, effects that arrive late,
// automatic rotation. In each state it checks the rules Open, Next and Past;
// of the steps, that no two protectors change at once, that what is called
// undoable is, that none is refused; and that from every state the rest of the
// plan reaches its goal. What was wrong before the plan and is not made by it
// is told as inherited.
func Prove(t tde.Topology, p Plan, now time.Time) (Proof, error) {
	s, err := newSubject(t, p, now)
	if err != nil {
		return Proof{}, err
	}
	return s.prove(), nil
}

func (s *subject) prove() Proof {
	proof := Proof{Proved: true, Kinds: len(s.databases), Rules: ruleNames()}
	kinds := s.databases
	if len(kinds) == 0 {
		kinds = []standing{{database: model.Database{Group: -1}}}
	}
	for _, kind := range kinds {
		proof.Databases += len(kind.names)
		if !s.proveKind(&proof, kind) {
			break
		}
	}
	slices.Sort(proof.Inherited)
	proof.Inherited = slices.Compact(proof.Inherited)
	return proof
}

func ruleNames() []string {
	var names []string
	for r := model.Open; r <= model.Reaches; r++ {
		names = append(names, r.String())
	}
	return names
}

// proveKind adds the exploration of one kind of database; false ends the proof.
func (s *subject) proveKind(proof *Proof, kind standing) bool {
	e := s.exploration(kind)
	n := narrator{subject: s, kind: kind}
	if b := model.Alone(e); b != nil {
		proof.fail(b.Rule, []string{n.alone(*b)})
		return false
	}
	e.Parallel = len(e.Steps) <= parallelLimit && !e.Component.Healthy(&e.Start)
	out := model.Explore(e)
	proof.States += out.States
	proof.Transitions += out.Transitions
	for _, b := range out.Inherited {
		proof.Inherited = append(proof.Inherited, n.breach(b, nil))
	}
	switch {
	case out.Exhausted:
		proof.Proved, proof.Rules = false, nil
		proof.Broken = "not decided"
		proof.Story = []string{fmt.Sprintf("more than %d states: the component is too large to be explored", model.DefaultLimit)}
		return false
	case out.Breach != nil:
		proof.fail(out.Breach.Rule, n.tell(e.Start, out))
		return false
	}
	return true
}

func (p *Proof) fail(rule model.Rule, story []string) {
	p.Proved, p.Broken, p.Story, p.Rules = false, rule.String(), story, nil
}

// Tolerance says what becomes of a plan when something is taken away from
// under it, at any point.
type Tolerance struct {
	Fault string `json:"fault"`
	// Safe: nothing breaks but what the fault itself takes away; the plan stops
	// where Azure refuses, or goes on.
	Safe  bool     `json:"safe"`
	Story []string `json:"story,omitempty"`
}

// toleranceLimit is up to how many states of one exploration the faults are
// explored as well, each of which costs as much again.
const toleranceLimit = 5_000

// Tolerate explores each fault that can befall the plan, once and at any
// point: a right on a key is revoked, a key is disabled, a key is deregistered
// by somebody else, a protector is set by somebody else as far as the service
// allows it. It returns nil where there are too many states.
func Tolerate(t tde.Topology, p Plan, proof Proof, now time.Time) ([]Tolerance, error) {
	if !proof.Proved || proof.States > toleranceLimit || len(proof.Inherited) > 0 {
		return nil, nil
	}
	s, err := newSubject(t, p, now)
	if err != nil {
		return nil, err
	}
	var list []Tolerance
	for _, fault := range s.faults() {
		list = append(list, s.tolerate(fault))
	}
	return list, nil
}

// faults are those of keys that are protectors, or will be, and every protector
// that somebody else might set.
func (s *subject) faults() []model.Action {
	var inUse model.Keys
	for i := range s.servers {
		for _, k := range []model.Key{s.start.Protector[i], s.goal[i]} {
			if k.Managed() {
				inUse = inUse.With(k)
			}
		}
	}
	var list []model.Action
	for k := range s.keys {
		key := model.Key(k)
		if !inUse.Has(key) {
			continue
		}
		list = append(list, model.Action{Kind: model.Disable, Key: key, Step: -1})
		for i := range s.servers {
			server := model.Server(i)
			list = append(list,
				model.Action{Kind: model.Revoke, Server: server, Key: key, Step: -1},
				model.Action{Kind: model.Deregister, Server: server, Key: key, Step: -1})
		}
	}
	return append(list, s.flipsByOther()...)
}

// flipsByOther are the protectors that a server may be given by somebody else:
// any key that it has registered or is to have, and its own certificate.
func (s *subject) flipsByOther() []model.Action {
	registered := s.start.Registered
	for _, step := range s.steps {
		if step.Kind == model.Register {
			registered[step.Server] = registered[step.Server].With(step.Key)
		}
	}
	var list []model.Action
	for i := range s.servers {
		server := model.Server(i)
		for k := range s.keys {
			if key := model.Key(k); registered[i].Has(key) {
				list = append(list, model.Action{Kind: model.FlipByOther, Server: server, Key: key, Step: -1})
			}
		}
		list = append(list, model.Action{Kind: model.FlipByOther, Server: server, Key: model.Certificate(server), Step: -1})
	}
	return list
}

func (s *subject) tolerate(fault model.Action) Tolerance {
	result := Tolerance{Fault: narrator{subject: s}.event(fault, s.start), Safe: true}
	for _, kind := range s.databases {
		e := s.exploration(kind)
		e.Faults = []model.Action{fault}
		e.Component.Remember = true
		if out := model.Explore(e); out.Breach != nil {
			result.Safe = false
			result.Story = narrator{subject: s, kind: kind}.tell(e.Start, out)
			return result
		}
	}
	return result
}

// Alternative is another place for a step, and what would happen there.
type Alternative struct {
	// Place says where the step would stand, in words.
	Place string   `json:"place"`
	Safe  bool     `json:"safe"`
	Rule  string   `json:"rule,omitempty"`
	Story []string `json:"story,omitempty"`
}

// ErrNoStep is returned by Explain for a number that no step has.
var ErrNoStep = fmt.Errorf("the plan has no such step")

// Explain says what would go wrong if a step were left out or stood at any
// other place.
func Explain(t tde.Topology, p Plan, number int, now time.Time) ([]Alternative, error) {
	if number < 1 || number > len(p.Steps) {
		return nil, fmt.Errorf("step %d: %w", number, ErrNoStep)
	}
	var list []Alternative
	at := number - 1
	for to := range p.Steps {
		if to == at {
			continue
		}
		place := fmt.Sprintf("before step %d", to+1)
		if to > at {
			place = fmt.Sprintf("after step %d", to+1)
		}
		alternative, err := consider(t, p, moved(p.Steps, at, to), place, now)
		if err != nil {
			return nil, err
		}
		list = append(list, alternative)
	}
	left, err := consider(t, p, slices.Delete(slices.Clone(p.Steps), at, at+1), "left out", now)
	return append(list, left), err
}

// consider proves the plan with its steps in another order, one after the
// other.
func consider(t tde.Topology, p Plan, steps []Step, place string, now time.Time) (Alternative, error) {
	p.Steps = slices.Clone(steps)
	for i := range p.Steps {
		p.Steps[i].DependsOn = nil
		for before := range i {
			p.Steps[i].DependsOn = append(p.Steps[i].DependsOn, before+1)
		}
	}
	proof, err := Prove(t, p, now)
	if err != nil {
		return Alternative{}, err
	}
	return Alternative{Place: place, Safe: proof.Proved, Rule: proof.Broken, Story: proof.Story}, nil
}

// moved puts the step at index from to index to.
func moved(steps []Step, from, to int) []Step {
	out := slices.Delete(slices.Clone(steps), from, from+1)
	return slices.Insert(out, to, steps[from])
}

// Summary is the proof in a line.
func (p Proof) Summary() string {
	if !p.Proved {
		return fmt.Sprintf("not safe: the rule %s does not hold", p.Broken)
	}
	return fmt.Sprintf("%d states and %d transitions explored (%d databases of %d kinds); in each of them hold: %s",
		p.States, p.Transitions, p.Databases, p.Kinds, strings.Join(p.Rules, ", "))
}
