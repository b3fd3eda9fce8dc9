package run

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// recognise finds out which steps have been done already and refuses a world
// in which anything else has changed since the plan was made. It takes the
// effects of the plan's steps away from what was observed; what is left must
// have the plan's fingerprint. Nothing but the plan is needed for it, so a plan
// that was half carried out by hand, or whose journal is lost, is resumed too.
func recognise(p plan.Plan, t tde.Topology, h history) (map[int]bool, error) {
	if undone := undoneSince(p, t, h); undone != nil {
		return nil, undone
	}
	match, err := fitsPlan(p, t)
	if err != nil {
		return nil, &StopError{Reason: Broken, What: "compare the world with the plan", Err: err}
	}
	if !match && h.begun() {
		if moved := failedOver(p, t); moved != "" {
			return nil, &StopError{Reason: RoleChange, What: moved + "; the order of the steps rests on the roles", Hint: hintRoleChange}
		}
	}
	if !match {
		return nil, &StopError{Reason: Changed, What: "the world has changed since the plan was made" + changes(p, t, h), Hint: hintPlanAgain}
	}
	return doneSteps(p, t, h), nil
}

// undoneSince: what the journal says was done, and is no longer so, was undone
// by somebody who had a reason.
func undoneSince(p plan.Plan, t tde.Topology, h history) error {
	for _, s := range p.Steps {
		switch s.Kind {
		case plan.Grant, plan.Register, plan.SetProtector:
			if h.done[s.Number] && !s.Reached(t) {
				return &StopError{
					Reason: Changed, Step: s.Number, Hint: hintPlanAgain,
					What: fmt.Sprintf("it was done, and somebody has undone it since: %s", s.After),
				}
			}
		case plan.VerifyEncryption, plan.PlannedFailover:
		}
	}
	return nil
}

// doneSteps are the steps that need not be done again. A failover counts only
// once all before it is done, since before a drill the failback looks done.
func doneSteps(p plan.Plan, t tde.Topology, h history) map[int]bool {
	done := map[int]bool{}
	for _, s := range p.Steps {
		ready := !slices.ContainsFunc(s.DependsOn, func(n int) bool { return !done[n] })
		switch s.Kind {
		case plan.Grant, plan.Register, plan.SetProtector:
			done[s.Number] = s.Reached(t)
		case plan.VerifyEncryption:
			done[s.Number] = ready && h.done[s.Number]
		case plan.PlannedFailover:
			done[s.Number] = ready && (h.done[s.Number] || s.Reached(t))
		}
	}
	return done
}

// fitsPlan reports whether the topology, without the plan's effects, is the
// one that the plan was made for.
func fitsPlan(p plan.Plan, t tde.Topology) (bool, error) {
	base, grants, err := withoutEffects(p, t)
	if err != nil {
		return false, err
	}
	return fitsWithGrants(p.Fingerprint, base, grants)
}

// withoutEffects takes the effects of the plan's steps away from a copy of the
// topology, except those of the grants, which it returns.
func withoutEffects(p plan.Plan, t tde.Topology) (tde.Topology, []plan.Step, error) {
	base, err := clone(t)
	if err != nil {
		return base, nil, err
	}
	undoFailover(p, &base)
	var grants []plan.Step
	for _, s := range slices.Backward(p.Steps) {
		if !s.Reached(t) {
			continue
		}
		switch s.Kind {
		case plan.SetProtector:
			undoProtector(s, &base)
		case plan.Register:
			undoRegister(s, &base)
		case plan.Grant:
			grants = append(grants, s)
		case plan.VerifyEncryption, plan.PlannedFailover:
		}
	}
	return base, grants, nil
}

// maxGrantSearch bounds the states that fitsWithGrants tries: 7 for each grant.
const maxGrantSearch = 4

// fitsWithGrants takes the granted rights away in every way in which they may
// have been lacking before: none at all, or some of the three. A grant adds to
// an access policy that is there, so what was there cannot be told from it.
func fitsWithGrants(fingerprint string, t tde.Topology, grants []plan.Step) (bool, error) {
	if len(grants) == 0 {
		is, err := t.Fingerprint()
		return is == fingerprint, err
	}
	variants := grantVariants()
	if len(grants) > maxGrantSearch {
		variants = variants[:1]
	}
	for _, before := range variants {
		less := t
		less.Grants = takeAway(grants[0], t, before)
		if fits, err := fitsWithGrants(fingerprint, less, grants[1:]); fits || err != nil {
			return fits, err
		}
	}
	return false, nil
}

// rights are get, wrapKey and unwrapKey.
type rights struct{ get, wrap, unwrap bool }

// grantVariants are all incomplete rights, none first.
func grantVariants() []rights {
	var list []rights
	for bits := range 7 {
		list = append(list, rights{bits&1 != 0, bits&2 != 0, bits&4 != 0})
	}
	return list
}

// takeAway leaves of the complete grants that the step's identity has on the
// vault only the given rights.
func takeAway(s plan.Step, t tde.Topology, before rights) []tde.Grant {
	var list []tde.Grant
	for _, g := range t.Grants {
		if strings.EqualFold(g.Vault, s.VaultName) && g.PrincipalID == s.PrincipalID && g.Key == "" && g.Complete() {
			if before == (rights{}) {
				continue
			}
			g.Get, g.Wrap, g.Unwrap = before.get, before.wrap, before.unwrap
		}
		list = append(list, g)
	}
	return list
}

func undoRegister(s plan.Step, t *tde.Topology) {
	if server := at(t, s.Server); server != nil {
		server.Keys = slices.DeleteFunc(server.Keys, func(k tde.ServerKey) bool { return k.Key == s.Key })
	}
}

func undoProtector(s plan.Step, t *tde.Topology) {
	server := at(t, s.Server)
	if server == nil {
		return
	}
	before := tde.Protector{Key: s.PreState.Protector, AutoRotation: s.PreState.AutoRotation}
	if k, listed := server.Registered(before.Key); listed {
		before.Thumbprint = k.Thumbprint
	}
	server.Protector = before
}

// undoFailover turns the plan's failover group back to the primary that it had.
func undoFailover(p plan.Plan, t *tde.Topology) {
	first := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.PlannedFailover })
	if first < 0 {
		return
	}
	s := p.Steps[first]
	g, _ := t.FailoverGroup(s.Group)
	if s.Reached(*t) && !strings.EqualFold(g.Primary(), s.PreState.Primary) {
		turn(t, g.Name, s.PreState.Primary)
	}
}

// turn makes the server the primary of the group in t, as a failover does.
func turn(t *tde.Topology, group, to string) {
	was := ""
	for i := range t.Groups {
		if !strings.EqualFold(t.Groups[i].Name, group) {
			continue
		}
		was = t.Groups[i].Primary()
		for m := range t.Groups[i].Members {
			member := &t.Groups[i].Members[m]
			member.Role = tde.Secondary
			if strings.EqualFold(member.Server, to) {
				member.Role = tde.Primary
			}
		}
	}
	for i := range t.Links {
		l := &t.Links[i]
		if !strings.EqualFold(l.Group, group) || !strings.EqualFold(l.Primary, was) {
			continue
		}
		if strings.EqualFold(l.Secondary, to) {
			l.Secondary = was
			l.Database, l.PartnerDatabase = l.PartnerDatabase, l.Database
		}
		l.Primary = to
	}
}

func at(t *tde.Topology, server string) *tde.Server {
	for i := range t.Servers {
		if strings.EqualFold(t.Servers[i].Name, server) {
			return &t.Servers[i]
		}
	}
	return nil
}

// clone copies a topology so deeply that a change to one is none to the other.
func clone(t tde.Topology) (tde.Topology, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return tde.Topology{}, fmt.Errorf("copy topology: %w", err)
	}
	var c tde.Topology
	if err := json.Unmarshal(text, &c); err != nil {
		return tde.Topology{}, fmt.Errorf("copy topology: %w", err)
	}
	return c, nil
}
