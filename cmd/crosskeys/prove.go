package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// prove puts a proof into the plan and says how long it took. A plan without
// steps needs none.
func (a *app) prove(topology tde.Topology, made *plan.Plan) (time.Duration, error) {
	if made.Empty() {
		return 0, nil
	}
	began := a.now()
	proof, err := plan.Prove(topology, *made, began)
	if errors.Is(err, plan.ErrTooLarge) {
		return 0, &verbError{code: exitRefused, err: err, hint: "plan for fewer servers at a time, or take keys that nothing needs off the servers"}
	}
	if err != nil {
		return 0, err
	}
	if proof.Tolerances, err = plan.Tolerate(topology, *made, proof, began); err != nil {
		return 0, err
	}
	made.Proof = &proof
	return a.now().Sub(began), nil
}

// unproved refuses a plan that the proof speaks against.
func unproved(proof plan.Proof) error {
	return refusal("nothing was changed; the way to the accident is above. Report it at "+reportAt+", with the output of --json",
		"the plan is not safe: the rule %s would not hold", proof.Broken)
}

// proof prints what was proved, or the way to the accident.
func (p *printer) proof(made plan.Plan, took time.Duration) {
	proof := made.Proof
	if proof == nil {
		return
	}
	p.say("\n%s\n", p.colour(bold, "Proof"))
	if proof.Proved {
		p.paragraph("  ", fmt.Sprintf("%s: %s. It took %s.", p.colour(green, "proved"), proof.Summary(), took.Round(time.Millisecond/10)))
	} else {
		p.story(*proof)
	}
	p.tolerances(proof.Tolerances)
	if len(proof.Inherited) > 0 {
		p.say("\n  %s\n", "wrong already, without any step of this plan:")
		for _, line := range proof.Inherited {
			p.hanging("  - ", line)
		}
	}
}

// tolerances says what becomes of the plan when something is taken away.
func (p *printer) tolerances(list []plan.Tolerance) {
	worse := 0
	for _, t := range list {
		if t.Safe {
			continue
		}
		worse++
		p.hanging("  - ", "made worse by the plan: "+t.Fault)
		for i, line := range t.Story {
			p.hanging(fmt.Sprintf("    %2d. ", i+1), line)
		}
	}
	if len(list) > 0 && worse == 0 {
		p.paragraph("  ", fmt.Sprintf("%d faults were explored too (a key disabled, a right revoked, a key deregistered or a protector set by somebody else, at any point): none is made worse by the plan.", len(list)))
	}
}

func (p *printer) story(proof plan.Proof) {
	p.paragraph("  ", fmt.Sprintf("%s: the rule %s does not hold. The shortest way there:", p.colour(red, "not safe"), proof.Broken))
	for i, line := range proof.Story {
		p.hanging(fmt.Sprintf("  %2d. ", i+1), line)
	}
}

// explain says what would go wrong in any other order.
func (a *app) explain(topology tde.Topology, made plan.Plan, number int) error {
	alternatives, err := plan.Explain(topology, made, number, a.now())
	if errors.Is(err, plan.ErrNoStep) {
		return usageError("--explain %d: the plan has %d steps", number, len(made.Steps))
	}
	if err != nil {
		return err
	}
	out := a.printer()
	if a.json {
		text, err := json.MarshalIndent(struct {
			Step         plan.Step          `json:"step"`
			Alternatives []plan.Alternative `json:"alternatives"`
		}{made.Steps[number-1], alternatives}, "", "  ")
		if err != nil {
			return fmt.Errorf("explain step %d: %w", number, err)
		}
		out.say("%s\n", text)
		return out.err
	}
	step := made.Steps[number-1]
	out.say("%s\n", out.colour(bold, fmt.Sprintf("Step %d: %s", number, title(step))))
	out.labelled(2, "why", step.Reason)
	out.say("\n%s\n", out.colour(bold, "Anywhere else"))
	for _, group := range sameOutcome(alternatives) {
		out.alternative(group)
	}
	return out.err
}

// sameOutcome puts neighbouring places with the same outcome together.
func sameOutcome(alternatives []plan.Alternative) []plan.Alternative {
	var list []plan.Alternative
	for _, a := range alternatives {
		if n := len(list); n > 0 && list[n-1].Safe == a.Safe && strings.Join(list[n-1].Story, "\n") == strings.Join(a.Story, "\n") {
			list[n-1].Place += ", " + a.Place
			continue
		}
		list = append(list, a)
	}
	return list
}

func (p *printer) alternative(a plan.Alternative) {
	if a.Safe {
		p.hanging("  ", fmt.Sprintf("%s: %s, by the rules", a.Place, p.colour(green, "safe too")))
		return
	}
	p.hanging("  ", fmt.Sprintf("%s: %s (%s)", a.Place, p.colour(red, "goes wrong"), a.Rule))
	for i, line := range a.Story {
		p.hanging(fmt.Sprintf("    %2d. ", i+1), line)
	}
}
