package plan

// Back gives the desires that lead from a plan's end to its start: for every
// server that the plan names, the protector that it had. What the plan
// registered stays registered, which is safe; what it granted stays granted.
func (p Plan) Back() Desired {
	desired := Desired{}
	for _, t := range p.Targets {
		wanted := DesiredProtector{Key: t.BeforeKey}
		if !t.BeforeKey.IsZero() {
			auto := t.BeforeAutoRotation
			wanted.AutoRotation = &auto
		}
		desired[t.Server] = wanted
	}
	return desired
}

// OneWay lists the steps after which there is no way back, as they stand.
func (p Plan) OneWay() []Step {
	var list []Step
	for _, s := range p.Steps {
		if !s.WayBack {
			list = append(list, s)
		}
	}
	return list
}
