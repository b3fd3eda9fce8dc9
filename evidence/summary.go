package evidence

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// summarise sorts what the lines say by what it is. The same journal always
// gives the same summary.
func summarise(log journal.Log) (Summary, error) {
	begin, last := log.Begin(), log.Records[len(log.Records)-1]
	s := Summary{
		Verb: begin.Verb, Target: begin.Target, Cloud: begin.Cloud, Status: log.Status(), BeganAt: log.Records[0].At, EndedAt: last.At,
		By: []journal.Who{}, Seen: []Seen{}, Steps: []Step{}, Judged: []Judged{}, Notes: []string{}, State: []string{}, Findings: []check.Finding{}, Servers: []ServerEvidence{},
	}
	for _, r := range log.Records {
		if err := s.add(r); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *Summary) add(r journal.Record) error {
	switch r.Kind {
	case journal.Begin:
		s.By = append(s.By, r.Begin.Who)
		s.Plans = append(s.Plans, Plan{At: r.At, Hash: r.Begin.PlanHash, Plan: r.Begin.Plan, Proved: r.Begin.Plan.Proof != nil && r.Begin.Plan.Proof.Proved})
	case journal.Resume:
		s.By = append(s.By, r.Resume.Who)
	case journal.Replan:
		s.Plans = append(s.Plans, Plan{
			At: r.At, Hash: r.Replan.PlanHash, Why: r.Replan.Why, By: r.Replan.By, Plan: r.Replan.Plan, Proved: r.Replan.Plan.Proof != nil && r.Replan.Plan.Proof.Proved,
		})
	case journal.Seen:
		s.Seen = append(s.Seen, Seen{At: r.At, Fingerprint: r.Seen.Fingerprint, DoneBefore: r.Seen.DoneBefore, Proof: r.Seen.Proof})
		s.Findings = append(s.Findings, r.Seen.Findings...)
		s.servers(r.Seen.Topology)
	case journal.Note:
		s.Notes = append(s.Notes, r.Note)
	case journal.End:
		s.State = r.End.State
	case journal.Intent, journal.Call, journal.Answer, journal.ReadBack, journal.Result:
	}
	if r.Kind == journal.ReadBack && r.ReadBack.Verification != nil {
		s.Judged = append(s.Judged, Judged{At: r.At, Step: r.Step, OK: r.ReadBack.Verification.OK, Saw: r.ReadBack.Saw})
		s.judged(*r.ReadBack.Verification)
	}
	if r.Step == 0 {
		return nil
	}
	return s.step(r)
}

// step puts a record to its step.
func (s *Summary) step(r journal.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record %d: %w", r.Seq, err)
	}
	current := len(s.Plans) - 1
	at := slices.IndexFunc(s.Steps, func(step Step) bool { return step.Plan == current && step.Number == r.Step })
	if at < 0 {
		at = len(s.Steps)
		s.Steps = append(s.Steps, Step{Plan: current, Number: r.Step, What: whatOf(s.Plans[current].Plan, r.Step)})
	}
	s.Steps[at].Events = append(s.Steps[at].Events, text)
	return nil
}

func whatOf(made plan.Plan, number int) string {
	for _, step := range made.Steps {
		if step.Number == number {
			return string(step.Kind) + ": " + step.After
		}
	}
	return ""
}

// servers notes the protectors of an observation.
func (s *Summary) servers(t tde.Topology) {
	for _, server := range t.Servers {
		s.protector(server.Name, server.Protector)
	}
}

// judged notes the protectors of a judgement, which comes after the changes.
func (s *Summary) judged(v check.Verification) {
	for _, row := range v.Servers {
		s.protector(row.Server, tde.Protector{Key: row.Key, AutoRotation: row.AutoRotation, Thumbprint: row.Thumbprint})
	}
}

func (s *Summary) protector(server string, is tde.Protector) {
	for i := range s.Servers {
		if s.Servers[i].Server == server {
			s.Servers[i].After = is
			return
		}
	}
	s.Servers = append(s.Servers, ServerEvidence{Server: server, Before: is, After: is})
}
