package model

import (
	"math/bits"
	"slices"
)

// Exploration says what to explore.
type Exploration struct {
	Component Component
	Start     State
	Steps     []Step
	// Goal are the protectors that are to be there in the end, and GoalAuto
	// those that are to rotate by themselves.
	Goal     [MaxServers]Key
	GoalAuto Servers
	// Parallel lets steps that do not wait for each other be done in any
	// order; else they are done in theirs. From a start that keeps the rules
	// the order of grants and registrations makes no difference: they only add
	// to what can be opened, and no protector changes before they are done. (A
	// key takes the place of its copies where it is registered, but Azure
	// registers only what the server can use.)
	Parallel bool
	// Faults are what may go wrong, once. What a fault itself takes away is not
	// counted against the plan; what the plan then makes of it is. After a
	// protector that somebody else sets the plan must reach its goal or stop.
	Faults []Action
	// Limit bounds the number of states; 0 for DefaultLimit.
	Limit int
}

// DefaultLimit is how many states are visited at most unless a limit is given.
const DefaultLimit = 4_000_000

// Outcome is what an exploration found.
type Outcome struct {
	States      int
	Transitions int
	// Story leads from the start to a state that breaks a rule; nil when there
	// is none.
	Story []Event
	// Breach is the rule that the story's last state breaks.
	Breach *Breach
	// Inherited are breaches that can come about with no step of ours: they
	// were there before, and are not counted against the plan.
	Inherited []Breach
	// Exhausted is set when the limit was reached: nothing is proved.
	Exhausted bool
}

// Event is one action of a story, and the state after it.
type Event struct {
	Action Action
	After  State
}

// Explore visits every reachable state, nearest first, and checks the rules
// in each; so a story that it finds is a shortest one.
func Explore(e Exploration) Outcome {
	bare := e
	bare.Steps, bare.Faults = nil, nil
	alone := newExplorer(bare, nil)
	alone.breached = func(b Breach) bool {
		alone.ignored[b.lack()] = true
		return alone.inherit(b)
	}
	alone.search()
	for _, fault := range e.Faults {
		e.excuse(alone.ignored, fault)
	}
	x := newExplorer(e, alone.ignored)
	x.search()
	takesAway := func(a Action) bool { return a.Kind != FlipByOther }
	if x.out.Breach == nil && !x.out.Exhausted && !slices.ContainsFunc(e.Faults, takesAway) {
		x.reaches()
	}
	for b := range alone.inherited {
		x.out.Inherited = append(x.out.Inherited, b)
	}
	slices.SortFunc(x.out.Inherited, compareBreaches)
	return x.out
}

func compareBreaches(a, b Breach) int {
	for _, d := range []int{int(a.Rule) - int(b.Rule), int(a.Server) - int(b.Server), int(a.Owner) - int(b.Owner), int(a.Key) - int(b.Key)} {
		if d != 0 {
			return d
		}
	}
	return 0
}

// lack is what a breach of Open, Next or Past comes from: a server that cannot
// use a key. A lack that is there without any step of ours is not the plan's,
// by whichever rule it shows.
type lack struct {
	server Server
	key    Key
}

// excuse adds what a fault itself takes away: it is not the plan's doing. Of a
// protector that somebody else sets that is what the service does not ask for:
// the other secondaries of the same primary.
func (e *Exploration) excuse(ignored map[lack]bool, fault Action) {
	switch fault.Kind {
	case Revoke, Deregister:
		e.excuseAt(ignored, fault.Server, fault.Key)
	case Disable:
		for s := range Server(MaxServers) {
			e.excuseAt(ignored, s, fault.Key)
		}
	case FlipByOther:
		if d := e.Component.Database; d.Exists && d.Holders.Has(fault.Server) && bits.OnesCount8(uint8(d.Holders)) > 2 {
			(d.Holders &^ (1 << fault.Server)).Each(func(p Server) { ignored[lack{p, fault.Key}] = true })
		}
	default:
	}
}

// excuseAt is for a key that a server loses, and with it what it opens by that
// key: the keys of the same material that it never has itself.
func (e *Exploration) excuseAt(ignored map[lack]bool, at Server, lost Key) {
	for k := range Key(MaxKeys) {
		itself := e.Start.Registered[at].Has(k)
		for _, step := range e.Steps {
			itself = itself || step.Kind == Register && step.Server == at && step.Key == k
		}
		if k == lost || e.Component.Same[lost].Has(k) && !itself {
			ignored[lack{at, k}] = true
		}
	}
}

func (b Breach) lack() lack { return lack{b.Server, b.Key} }

func (x *explorer) inherit(b Breach) bool {
	x.inherited[b] = true
	return true
}

type explorer struct {
	component *Component
	steps     []Step
	all       uint64 // every step, by bit
	options   Exploration
	states    []State
	parents   []int32
	via       []Action
	index     map[State]int32
	ignored   map[lack]bool
	inherited map[Breach]bool
	breached  func(Breach) bool // whether to go on
	out       Outcome
	from      int32 // the state that is being expanded
}

func newExplorer(e Exploration, ignored map[lack]bool) *explorer {
	x := &explorer{component: &e.Component, steps: e.Steps, options: e, index: map[State]int32{}, ignored: ignored, inherited: map[Breach]bool{}}
	if x.ignored == nil {
		x.ignored = map[lack]bool{}
	}
	if x.options.Limit == 0 {
		x.options.Limit = DefaultLimit
	}
	if len(e.Steps) > 0 {
		x.all = ^uint64(0) >> (MaxSteps - len(e.Steps))
	}
	x.breached = func(b Breach) bool {
		x.out.Breach = &b
		return false
	}
	return x
}

// search is breadth-first.
func (x *explorer) search() {
	x.from = -1
	if !x.visit(x.options.Start, Action{Step: -1}) {
		return
	}
	for i := 0; i < len(x.states); i++ {
		if len(x.states) >= x.options.Limit {
			x.out.Exhausted = true
			break
		}
		x.from = int32(i)
		if !x.expand(x.states[i]) {
			break
		}
	}
	x.out.States = len(x.states)
}

// visit adds a state unless it is known, and judges it; it returns false when
// the search is over.
func (x *explorer) visit(s State, by Action) bool {
	x.out.Transitions++
	if _, known := x.index[s]; known {
		return true
	}
	x.index[s] = int32(len(x.states))
	x.states = append(x.states, s)
	x.parents = append(x.parents, x.from)
	x.via = append(x.via, by)
	more := true
	x.component.eachBreach(&s, func(b Breach) bool {
		if !x.ignored[b.lack()] {
			more = x.breach(b, int32(len(x.states)-1))
		}
		return more
	})
	return more
}

func (x *explorer) breach(b Breach, at int32) bool {
	more := x.breached(b)
	if !more {
		x.out.Story = x.story(at)
	}
	return more
}

func (x *explorer) story(at int32) []Event {
	var story []Event
	for ; at > 0; at = x.parents[at] {
		story = append(story, Event{Action: x.via[at], After: x.states[at]})
	}
	slices.Reverse(story)
	return story
}

// expand visits every state that is one action away.
func (x *explorer) expand(s State) bool {
	for todo := x.ready(&s); todo != 0; todo &= todo - 1 {
		if !x.do(s, bits.TrailingZeros64(todo)) {
			return false
		}
	}
	for _, a := range x.component.worldly(&s) {
		if !x.visit(x.component.apply(s, a), a) {
			return false
		}
	}
	for _, a := range x.options.Faults {
		if x.component.befalls(&s, a) && !x.visit(x.component.apply(s, a), a) {
			return false
		}
	}
	return true
}

// ready are the steps whose turn it is, by bit.
func (x *explorer) ready(s *State) uint64 {
	if !x.options.Parallel {
		left := x.all &^ s.Done
		return left & -left
	}
	var ready uint64
	for left := x.all &^ s.Done; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if x.steps[i].After&^s.Done == 0 {
			ready |= 1 << i
		}
	}
	return ready
}

// do carries out step i from s: it is done and we know it, or it took effect
// and we stopped before we knew. A step that has to wait leads nowhere yet.
func (x *explorer) do(s State, i int) bool {
	step := x.steps[i]
	step.Step = i
	done := s
	done.Done |= 1 << i
	switch x.component.outlook(&s, step) {
	case reached:
		return x.visit(done, step.Action)
	case waiting, stopped:
		return true
	case refused:
		if s.Fault != 0 || s.Rotated {
			return true // we stop, and say why
		}
		return x.breach(Breach{Rule: Unrefused, Server: step.Server, Key: step.Key, Step: i}, x.from)
	case able:
	}
	after := x.component.apply(s, step.Action)
	done = after
	done.Done |= 1 << i
	if !x.visit(done, step.Action) {
		return false
	}
	if step.Undoable && s.Fault == 0 && !s.Rotated && x.component.noWayBack(&done, step) {
		if !x.breach(Breach{Rule: WayBack, Server: step.Server, Key: step.UndoTo, Step: i}, x.index[done]) {
			return false
		}
	}
	if after == s {
		return true
	}
	lost := step.Action
	lost.Kind = Crash
	return x.visit(after, lost)
}

// reaches follows every state, the world being quiet, to its end.
func (x *explorer) reaches() {
	const unknown, good = 0, 1
	verdict := make([]byte, len(x.states))
	for i := range x.states {
		var path []int32
		at := int32(i)
		for verdict[at] == unknown {
			path = append(path, at)
			next, end := x.quiet(x.states[at])
			if end {
				break
			}
			to, known := x.index[next]
			if (!known || to == at) && !x.component.healthy(&x.states[at]) {
				break // what was wrong before keeps it from going on
			}
			if !known || to == at || len(path) > len(x.states) {
				x.out.Breach = &Breach{Rule: Reaches, Step: bits.TrailingZeros64(x.all &^ x.states[at].Done)}
				x.out.Story = x.story(int32(i))
				return
			}
			at = to
		}
		for _, p := range path {
			verdict[p] = good
		}
	}
}

// quiet gives the state that follows when nobody but us acts; end says that
// there is nothing more to do: all is done and settled, or we stop because
// somebody else has changed the roles or a protector.
func (x *explorer) quiet(s State) (next State, end bool) {
	for _, a := range x.component.progress(&s) {
		return x.component.apply(s, a), false
	}
	todo := x.ready(&s)
	for ; todo != 0; todo &= todo - 1 {
		i := bits.TrailingZeros64(todo)
		step := x.steps[i]
		switch x.component.outlook(&s, step) {
		case stopped:
			return s, true
		case refused:
			return s, s.Rotated || s.Fault != 0
		case waiting:
			continue
		case reached, able:
		}
		if x.component.outlook(&s, step) == able {
			s = x.component.apply(s, step.Action)
		}
		s.Done |= 1 << i
		return s, false
	}
	// A protector that somebody else has set since its step was done is seen when
	// all is verified, and the run stops.
	return s, s.Done == x.all && (x.attained(&s) || s.Fault != 0)
}

// attained reports whether the protectors are as they are to be.
func (x *explorer) attained(s *State) bool {
	for i := range x.component.Servers {
		at := Server(i)
		goal := x.options.Goal[i]
		rotated := goal.Managed() && s.Rotated && s.Protector[i] == x.component.Successor[goal]
		if s.Protector[i] != goal && !rotated {
			return false
		}
		if goal.Managed() && s.Auto.Has(at) != x.options.GoalAuto.Has(at) {
			return false
		}
	}
	return true
}
