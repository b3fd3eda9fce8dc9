package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/outage"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

// probing is the flags of how a drill measures.
type probing struct {
	database string
	write    string
	off      bool
}

// ownTable is --probe-write without a table's name.
const ownTable = "own"

func (p *probing) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&p.database, "probe-database", "", "measure on the database of this `name` (default the group's first)")
	flags.StringVar(&p.write, "probe-write", "", "write too: to this `table`, which stays; own is one that is made and dropped")
	flags.Lookup("probe-write").NoOptDefVal = ownTable
	flags.BoolVar(&p.off, "no-probe", false, "do not measure how long clients are without an answer")
}

func (p *probing) usage() error {
	switch {
	case p.off && (p.write != "" || p.database != ""):
		return usageError("--no-probe measures nothing: leave --probe-write and --probe-database out")
	case p.write != "" && p.write != ownTable:
		if err := load.CheckTableName(p.write); err != nil {
			return usageError("--probe-write: %w", err)
		}
	}
	return nil
}

// prober makes what measures the plan's failovers; nil where there is nothing
// to measure, or no way to the databases.
func (p *probing) prober(ctx context.Context, a *app, t target, topology tde.Topology, made plan.Plan) (*measuring, error) {
	group, found := topology.FailoverGroup(made.Group)
	member, known := topology.Server(group.Primary())
	if p.off || !found || !known || len(group.Databases) == 0 {
		return nil, nil
	}
	c, err := a.connect(ctx, t.settings)
	if err != nil {
		return nil, err
	}
	reader := c.sql()
	if reader == nil {
		return nil, nil
	}
	database := group.Databases[0]
	if p.database != "" {
		at := slices.IndexFunc(group.Databases, func(name string) bool { return strings.EqualFold(name, p.database) })
		if at < 0 {
			return nil, usageError("--probe-database %s: it is no database of failover group %s", p.database, group.Name)
		}
		database = group.Databases[at]
	}
	name := make([]byte, 16)
	if _, err := rand.Read(name); err != nil {
		return nil, fmt.Errorf("name the probe: %w", err)
	}
	m := &measuring{plan: made, run: hex.EncodeToString(name)}
	table := load.Table{Options: reader.Options, Listener: azure.Listener(group.Name, member), Database: database, Name: p.write}
	if p.write == ownTable {
		table.Name = "dbo.crosskeys_drill_" + m.run[:8]
	}
	m.prober = &outage.Prober{
		Table: table, Listener: table.Listener, Database: database, Write: p.write != "", Temporary: p.write == ownTable,
		Geo: geoOf(reader, topology, group), Now: a.now, Wait: a.wait, Random: rand.Reader,
	}
	return m, nil
}

// geoOf reads how the group's databases are replicated, as one server says.
func geoOf(reader *azure.SQLReader, t tde.Topology, group tde.FailoverGroup) func(context.Context, string) ([]outage.Link, error) {
	return func(ctx context.Context, name string) ([]outage.Link, error) {
		server, known := t.Server(name)
		if !known {
			return nil, fmt.Errorf("server %s was not observed", name)
		}
		var links []outage.Link
		for _, database := range group.Databases {
			reading, err := reader.ReadDatabase(ctx, server, database)
			if err != nil {
				return nil, err
			}
			for _, status := range reading.Geo {
				links = append(links, outage.Link{Server: server.Name, Database: database, Status: status})
			}
		}
		return links, nil
	}
}

// measuring measures the failovers of one run. It stands before the journal:
// the intent that is written before a call begins a measurement, the result
// that closes the step ends it, and what was seen is noted after that. The
// methods that a job without one calls may be called on nil.
type measuring struct {
	plan   plan.Plan
	run    string
	prober *outage.Prober

	ctx     context.Context //nolint:containedctx // of the one run; a journal's Append has none
	journal run.Journal

	mu    sync.Mutex
	watch *outage.Watch
	list  []outage.Measurement
}

// into has measurements of a run that begins now noted in its journal.
func (m *measuring) into(ctx context.Context, j run.Journal) {
	m.ctx, m.journal = ctx, j
}

// Append writes a record, and measures around a failover's.
func (m *measuring) Append(record journal.Record) error {
	step, found := m.failover(record.Step)
	if found && record.Kind == journal.Intent {
		m.mu.Lock()
		m.watch = m.prober.Begin(m.ctx, step.PreState.Primary, step.Server, fmt.Sprintf("%s%04d", m.run[:28], step.Number))
		m.mu.Unlock()
	}
	if err := m.journal.Append(record); err != nil {
		return err
	}
	if !found || record.Kind != journal.Result {
		return nil
	}
	return m.end(step)
}

func (m *measuring) failover(number int) (plan.Step, bool) {
	at := slices.IndexFunc(m.plan.Steps, func(s plan.Step) bool { return s.Number == number && s.Kind == plan.PlannedFailover })
	if at < 0 {
		return plan.Step{}, false
	}
	return m.plan.Steps[at], true
}

// end ends the measurement of a step and notes it.
func (m *measuring) end(step plan.Step) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watch == nil {
		return nil // it was done before
	}
	// A pause that was asked for does not wait for the measurement's end either.
	measurement := m.watch.End(m.ctx)
	measurement.Step, m.watch = step.Number, nil
	m.list = append(m.list, measurement)
	for _, sentence := range measurement.Sentences() {
		if err := m.journal.Append(journal.Record{Kind: journal.Note, Step: step.Number, Note: sentence}); err != nil {
			return err
		}
	}
	return nil
}

// all are the measurements made.
func (m *measuring) all() []outage.Measurement {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// verdict is the refusal that a failover which lost something ends in.
func (m *measuring) verdict() error {
	var lost []error
	for _, measurement := range m.all() {
		for _, sentence := range measurement.Lost {
			lost = append(lost, errors.New(sentence))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return &verbError{code: exitOperator, err: fmt.Errorf("a planned failover must lose nothing: %w", errors.Join(lost...)), hint: "keep the journal and what the databases hold, and open a case with Microsoft"}
}

// measurements prints what was measured.
func (p *printer) measurements(list []outage.Measurement) {
	for _, m := range list {
		p.say("\nfailover to %s, as a client saw it\n", m.To)
		for _, sentence := range m.Sentences() {
			p.hanging("  - ", sentence)
		}
		if m.Hint != "" {
			p.hanging("  - hint: ", m.Hint)
		}
	}
}
