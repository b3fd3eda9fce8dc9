package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/load"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// loading is the lab load verb's flags.
type loading struct {
	dir      *string
	listener string
	database string
	table    string
	ledger   string
	check    string
	fsync    bool
	asJSON   bool
	writers  int
	readers  int
	payload  int
	rate     float64
	duration time.Duration
	giveUp   time.Duration
	backoff  load.Backoff
}

func newLabLoad(dir *string) *cobra.Command {
	l := &loading{dir: dir}
	command := &cobra.Command{
		Use: "load", Short: "Write and read over the listener, and prove afterwards what is there", Args: cobra.NoArgs,
		Long: `Runs writers and readers against a database of the lab over its failover
group's listener, as an application does: they connect with an access token,
reconnect, and try again after the errors that Microsoft documents as transient.
Every write is in a ledger, as intended before it is sent and as acknowledged
after the server's answer. After each failover and at the end the table is
compared with the ledger: every acknowledged write must be there exactly once
and unchanged.

The exit code is 3 when an acknowledged write is lost, doubled or changed. After
a forced failover that is to be expected: what is lost is listed. Ctrl-C ends
the work, and what was done is still compared. docs/load.md describes the
ledger.`,
		Example: `  crosskeys lab load --duration 30s --writers 8 --readers 8
  crosskeys lab load --rate 200 --ledger orders.ledger --json
  crosskeys lab load --check orders.ledger`,
		RunE: func(command *cobra.Command, _ []string) error { return l.run(command) },
	}
	flags := command.Flags()
	flags.StringVar(&l.listener, "listener", lab.ArticleFailoverGroup, "failover group, or host `name` of a listener or server")
	flags.StringVar(&l.database, "database", lab.ArticleDatabases()[0], "`name` of the database")
	flags.StringVar(&l.table, "table", load.DefaultTable, "`name` of the table, made where it is missing")
	flags.DurationVar(&l.duration, "duration", 30*time.Second, "how long; 0 until Ctrl-C")
	flags.IntVar(&l.writers, "writers", 4, "how many writers")
	flags.IntVar(&l.readers, "readers", 4, "how many readers")
	flags.Float64Var(&l.rate, "rate", 0, "writes a second of all writers, and reads of all readers; 0 as fast as they are answered")
	flags.IntVar(&l.payload, "payload", 64, "bytes of payload in each row")
	flags.StringVar(&l.ledger, "ledger", "", "write the ledger to this `file` (default a new one in the lab's folder)")
	flags.BoolVar(&l.fsync, "fsync", false, "have each line of the ledger on disk before going on")
	flags.DurationVar(&l.backoff.First, "backoff", 20*time.Millisecond, "first pause before trying again; doubles each time (Microsoft advises applications 5s)")
	flags.DurationVar(&l.backoff.Max, "max-backoff", 500*time.Millisecond, "longest pause before trying again (Microsoft advises 60s)")
	flags.DurationVar(&l.giveUp, "give-up", 2*time.Minute, "end when one operation fails for this long")
	flags.StringVar(&l.check, "check", "", "only compare this ledger's `file` with its table")
	flags.BoolVar(&l.asJSON, "json", false, "print the result as JSON")
	return command
}

// usage finds what makes no sense before anything is begun.
func (l *loading) usage(command *cobra.Command) error {
	switch {
	case l.check != "" && (l.ledger != "" || command.Flags().Changed("duration") || command.Flags().Changed("writers") || command.Flags().Changed("readers")):
		return usageError("--check compares and does no work: leave --ledger, --duration, --writers and --readers out")
	case l.writers < 0 || l.readers < 0 || l.writers+l.readers == 0:
		return usageError("give at least one writer or reader")
	case l.writers > 10000 || l.readers > 10000:
		return usageError("that many workers would have no connections: at most 10000 of each kind")
	case l.rate < 0 || l.duration < 0:
		return usageError("--rate and --duration cannot be negative")
	case l.payload < 1 || l.payload > 4000:
		return usageError("--payload %d is not from 1 to 4000", l.payload)
	case l.backoff.First <= 0 || l.backoff.Max < l.backoff.First || l.giveUp <= 0:
		return usageError("want 0 < --backoff <= --max-backoff, and a --give-up above 0")
	}
	if err := load.CheckTableName(l.table); err != nil {
		return usageError("--table: %w", err)
	}
	return nil
}

func (l *loading) run(command *cobra.Command) error {
	if err := l.usage(command); err != nil {
		return err
	}
	var checked load.Writes
	if l.check != "" {
		var err error
		if checked, err = load.ReadLedger(l.check); err != nil {
			return &verbError{code: exitUsage, err: err, hint: "name a ledger that crosskeys lab load has written"}
		}
		l.listener, l.database, l.table = checked.Header.Listener, checked.Header.Database, checked.Header.Table
	}
	dir, err := labDir(*l.dir)
	if err != nil {
		return err
	}
	options, err := (&labSQL{dir: dir}).connect(command.Context())
	if errors.Is(err, lab.ErrNotRunning) {
		return hinted(err, "start one with: crosskeys lab up, then: crosskeys lab seed")
	}
	if err != nil {
		return err
	}
	table := load.Table{Options: options, Listener: hostOf(l.listener), Database: l.database, Name: l.table}
	if l.check != "" {
		return l.compare(command, table, checked)
	}
	return l.work(command, table, dir)
}

// hostOf is a listener's host name: a failover group's own name, or a host as
// it is.
func hostOf(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return name + ".database.windows.net"
}

func (l *loading) options(table load.Table) load.Options {
	return load.Options{
		Open: table.Open, Writers: l.writers, Readers: l.readers, Rate: l.rate, PayloadBytes: l.payload, Duration: l.duration, GiveUp: l.giveUp, Backoff: l.backoff,
		Now: time.Now, Wait: wait, Random: rand.Reader,
	}
}

func (l *loading) work(command *cobra.Command, table load.Table, dir string) error {
	name := make([]byte, 16)
	if _, err := rand.Read(name); err != nil {
		return fmt.Errorf("name the run: %w", err)
	}
	header := load.Header{Run: hex.EncodeToString(name), Listener: table.Listener, Database: table.Database, Table: table.Name, StartedAt: time.Now().UTC()}
	options := l.options(table)
	if l.writers > 0 {
		if err := l.prepare(command.Context(), table); err != nil {
			return err
		}
		if l.ledger == "" {
			l.ledger = filepath.Join(dir, "load-"+header.Run+".ledger")
		}
		ledger, err := load.CreateLedger(l.ledger, header, l.fsync)
		if err != nil {
			return &verbError{code: exitUsage, err: err, hint: "name a new file; an old ledger is compared with --check"}
		}
		defer func() { _ = ledger.Close() }() // each line was written when it was due
		options.Ledger = ledger
	}
	talk := command.ErrOrStderr()
	options.Progress = func(p load.Progress) { _, _ = fmt.Fprintln(talk, progressLine(p)) }
	result, err := load.Run(command.Context(), options)
	if err != nil {
		err = sqlconn.Explain("load", placeOf(table), err)
	}
	return errors.Join(l.show(command, result), err, verdictOf(result.Verification))
}

// prepare makes the table, waiting while the database comes up.
func (l *loading) prepare(ctx context.Context, table load.Table) error {
	ctx, cancel := context.WithTimeout(ctx, l.giveUp)
	defer cancel()
	for {
		err := table.Create(ctx)
		if err == nil || !sqlconn.Reconnectable(err) || wait(ctx, l.backoff.Max) != nil {
			return sqlconn.Explain("load", placeOf(table), err)
		}
	}
}

func placeOf(table load.Table) sqlconn.Place {
	name, _, _ := strings.Cut(table.Listener, ".")
	return sqlconn.Place{Server: name, Host: table.Listener, Database: table.Database, ResourceGroup: lab.ArticleGroup, Subscription: lab.SubscriptionID}
}

func (l *loading) compare(command *cobra.Command, table load.Table, writes load.Writes) error {
	v, err := load.Verify(command.Context(), l.options(table), writes)
	if err != nil {
		return sqlconn.Explain("compare the ledger", placeOf(table), err)
	}
	if l.asJSON {
		err = printJSON(command, v)
	} else {
		out := &printer{to: command.OutOrStdout()}
		if writes.TornBytes > 0 {
			out.say("the ledger ends in %d bytes of a line that was interrupted; they are left out\n", writes.TornBytes)
		}
		out.comparison(v)
		err = out.err
	}
	return errors.Join(err, verdictOf(&v))
}

// verdictOf is the refusal that a comparison which found something ends in.
func verdictOf(v *load.Verification) error {
	if v == nil || v.OK {
		return nil
	}
	return refusal("after a forced failover, compare the count with what the lab reported; after a planned one this must not be",
		"of %d acknowledged writes %d are lost, %d are there more than once and %d are changed", v.Acknowledged, v.Lost, len(v.Duplicates), len(v.Corrupted))
}

// progressLine is one line of how it goes.
func progressLine(p load.Progress) string {
	primary := p.Primary
	if primary == "" {
		primary = "-"
	}
	return fmt.Sprintf("%5s  writes %.0f/s p99 %s  reads %.0f/s p99 %s  primary %s  failed %d",
		p.Elapsed.Round(time.Second), p.WriteRate, short(p.WriteLatency.P99), p.ReadRate, short(p.ReadLatency.P99), primary, p.Failures)
}

// short writes a duration in three digits or so.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

func (l *loading) show(command *cobra.Command, result load.Result) error {
	if l.asJSON {
		return printJSON(command, struct {
			load.Result
			Ledger string `json:"ledger,omitempty"`
		}{result, l.ledger})
	}
	out := &printer{to: command.OutOrStdout()}
	out.workload(result)
	if v := result.Verification; v != nil {
		out.say("\n")
		out.comparison(*v)
		out.say("ledger          %s\n", l.ledger)
	}
	return out.err
}

// workload prints what the workers did and saw.
func (p *printer) workload(r load.Result) {
	rows := [][]string{seriesRow("writes", r.Writes, r), seriesRow("reads", r.Reads, r)}
	p.table([]string{"", "DONE", "A SECOND", "P50", "P99", "SLOWEST", "FAILED", "LONGEST OUTAGE"}, rows)
	for _, s := range r.Switches {
		p.say("%s  %s became the primary, after %s\n", s.At.UTC().Format("15:04:05.000"), s.To, s.From)
	}
	if list := errorList(r.Writes.Errors, r.Reads.Errors); list != "" {
		p.say("failed attempts, tried again: %s\n", list)
	}
	if r.MissedReads+r.CorruptReads > 0 {
		p.say("reads that missed an acknowledged write: %d; that found a changed row: %d\n", r.MissedReads, r.CorruptReads)
	}
}

func seriesRow(name string, s load.Series, r load.Result) []string {
	outage := "none"
	if s.Outage.Duration > 0 {
		outage = fmt.Sprintf("%s at %s", short(s.Outage.Duration), s.Outage.From.UTC().Format("15:04:05"))
	}
	rate := "-"
	if seconds := r.EndedAt.Sub(r.StartedAt).Seconds(); seconds > 0 {
		rate = fmt.Sprintf("%.0f", float64(s.Done)/seconds)
	}
	return []string{name, fmt.Sprint(s.Done), rate, short(s.Latency.P50), short(s.Latency.P99), short(s.Latency.Max), fmt.Sprint(s.Failures), outage}
}

// errorList sums failed attempts up by the server's error number.
func errorList(maps ...map[string]int64) string {
	sum := map[string]int64{}
	for _, one := range maps {
		for number, count := range one {
			sum[number] += count
		}
	}
	var list []string
	for number, count := range sum {
		list = append(list, fmt.Sprintf("%s (%d)", number, count))
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// listedLost bounds how many lost ranges a person is shown.
const listedLost = 20

// comparison prints what a ledger's comparison with its table found.
func (p *printer) comparison(v load.Verification) {
	p.say("acknowledged    %d of %d writes\npresent         %d, of which %d were never acknowledged\n", v.Acknowledged, v.Intended, v.Present, v.Unacknowledged)
	p.say("lost            %d\n", v.Lost)
	for i, lost := range v.LostWrites {
		if i == listedLost {
			p.say("                … and %d ranges more: see --json\n", len(v.LostWrites)-listedLost)
			break
		}
		p.say("                writer %d, sequence %d to %d\n", lost.Writer, lost.From, lost.To)
	}
	p.say("more than once  %d\nchanged         %d\n", len(v.Duplicates), len(v.Corrupted))
	p.say("hash of ledger  %s\nhash of table   %s\nread from       %s\n", v.LedgerHash, v.TableHash, v.Server)
}
