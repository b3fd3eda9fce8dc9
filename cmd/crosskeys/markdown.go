package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/journal"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
)

// page writes Markdown; writing to memory does not fail.
type page struct{ to io.Writer }

func (p page) say(format string, args ...any) { _, _ = fmt.Fprintf(p.to, format+"\n", args...) }

// row writes a table row. Pipes and line ends would break it.
func (p page) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(cell)
	}
	p.say("| %s |", strings.Join(cells, " | "))
}

func (p page) table(headings ...string) {
	p.row(headings...)
	p.say("|%s", strings.Repeat(" --- |", len(headings)))
}

// markdown writes the evidence of one run.
func markdown(to io.Writer, path string, log journal.Log) {
	p := page{to}
	begin := log.Begin()
	p.say("# crosskeys %s of %s\n", begin.Verb, begin.Target)
	p.summary(path, log)
	p.say("\n## The plan\n")
	p.plan(begin.Plan)
	p.say("\n## What happened\n")
	p.story(log)
	p.verification(log)
	p.say("\n## The evidence\n")
	p.say("%d records, each with the SHA-256 of the one before it; every one fits. The last record's SHA-256 is", len(log.Records))
	p.say("\n    %s\n", log.Head)
	p.say("Keep it apart from the journal: with it, nobody can shorten or replace the journal unseen.")
	if log.TornBytes > 0 {
		p.say("\nThe file ends in %d bytes of a record that a crash interrupted; nothing rests on them.", log.TornBytes)
	}
}

func (p page) summary(path string, log journal.Log) {
	begin, last := log.Begin(), log.Records[len(log.Records)-1]
	p.table("", "")
	p.row("run", "`"+begin.Run+"`")
	p.row("journal", "`"+path+"`")
	p.row("cloud", begin.Cloud)
	p.row("begun", stamp(log.Records[0].At))
	p.row("last record", stamp(last.At))
	p.row("by", whoText(begin.Who))
	p.row("plan", "`"+begin.PlanHash+"`")
	p.row("the world it was made for", "`"+begin.Plan.Fingerprint+"`")
	status := "interrupted: the journal has no end"
	if last.Kind == journal.End {
		status = last.End.Status
		if last.End.Why != "" {
			status += ": " + last.End.Why
		}
	}
	p.row("ended", status)
	if last.Kind == journal.End && len(last.End.State) > 0 {
		p.say("")
		for _, sentence := range last.End.State {
			p.say("- %s", sentence)
		}
	}
}

func whoText(who journal.Who) string {
	text := who.User
	if who.Host != "" {
		text += " on " + who.Host
	}
	if who.Principal != "" {
		text += ", signed in as " + who.Principal
	}
	return text + ", with crosskeys " + who.Version
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000 UTC") }

func (p page) plan(made plan.Plan) {
	p.table("Server", "Protector before", "Protector wanted")
	for _, target := range made.Targets {
		p.row(target.Server, protector(target.BeforeKey, target.BeforeAutoRotation), protector(target.Key, target.AutoRotation))
	}
	p.say("")
	p.table("Step", "What", "Why", "Way back")
	for _, s := range made.Steps {
		p.row(fmt.Sprint(s.Number), title(s), s.Reason, s.Undo)
	}
	for _, effect := range made.Effects {
		p.say("\n- %s", effect)
	}
}

func protector(key tde.KeyID, rotates bool) string {
	if key.IsZero() {
		return "service-managed"
	}
	if rotates {
		return "`" + key.String() + "`, with auto-rotation"
	}
	return "`" + key.String() + "`"
}

// story tells every record in its order.
func (p page) story(log journal.Log) {
	p.table("#", "When", "Step", "Record", "What")
	for _, r := range log.Records {
		step := ""
		if r.Step > 0 {
			step = fmt.Sprint(r.Step)
		}
		p.row(fmt.Sprint(r.Seq), r.At.UTC().Format("15:04:05.000"), step, string(r.Kind), recordText(r))
	}
}

func recordText(r journal.Record) string {
	switch r.Kind {
	case journal.Begin:
		return fmt.Sprintf("%s %s, %d steps, by %s", r.Begin.Verb, r.Begin.Target, len(r.Begin.Plan.Steps), whoText(r.Begin.Who))
	case journal.Resume:
		return "gone on with by " + whoText(r.Resume.Who)
	case journal.Seen:
		return seenText(*r.Seen)
	case journal.Intent:
		return fmt.Sprintf("about to %s; before: %s", r.Intent.What, r.Intent.Saw)
	case journal.Call:
		return join("call taken", "operation "+r.Call.Operation, r.Call.Operation, "request "+r.Call.RequestID, r.Call.RequestID)
	case journal.Answer:
		return answerText(*r.Answer)
	case journal.ReadBack:
		seen := "not seen"
		if r.ReadBack.Reached {
			seen = "seen"
		}
		return fmt.Sprintf("%s after %d reads: %s", seen, r.ReadBack.Reads, r.ReadBack.Saw)
	case journal.Result:
		text := fmt.Sprintf("**%s** after %.1f s", r.Result.Outcome, r.Result.Seconds)
		if r.Result.Why != "" {
			text += ": " + r.Result.Why
		}
		return text
	case journal.Replan:
		return fmt.Sprintf("a new plan of %d steps, `%s`, agreed to by %s: %s", len(r.Replan.Plan.Steps), r.Replan.PlanHash, r.Replan.By, r.Replan.Why)
	case journal.Note:
		return r.Note
	case journal.End:
		return fmt.Sprintf("%s after %.1f s", r.End.Status, r.End.Seconds)
	}
	return ""
}

// join appends each text whose value is not empty.
func join(head string, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			head += ", " + pairs[i]
		}
	}
	return head
}

func seenText(seen journal.SeenEntry) string {
	text := fmt.Sprintf("%d servers, %d failover groups, %d links; fingerprint `%s`", len(seen.Topology.Servers), len(seen.Topology.Groups), len(seen.Topology.Links), seen.Fingerprint)
	for _, g := range seen.Topology.Groups {
		text += fmt.Sprintf("; %s is the primary of %s", g.Primary(), g.Name)
	}
	for _, s := range seen.Topology.Servers {
		text += fmt.Sprintf("; the protector of %s is %s", s.Name, s.Protector.Key.Short())
	}
	if len(seen.DoneBefore) > 0 {
		text += fmt.Sprintf("; done already: steps %v", seen.DoneBefore)
	}
	for _, f := range seen.Findings {
		text += fmt.Sprintf("; %s %s: %s", f.Severity, f.Rule, f.What)
	}
	return text
}

func answerText(a journal.AnswerEntry) string {
	switch {
	case a.OK:
		return join("Azure reports success", "request "+a.RequestID, a.RequestID)
	case a.Lost:
		return "no answer came: " + a.Message
	}
	where := "the call"
	if a.InPoll {
		where = "the operation, while it was followed"
	}
	return join(fmt.Sprintf("Azure refused %s: %s: %s", where, a.Code, a.Message), "request "+a.RequestID, a.RequestID)
}

// verification shows what the databases said of themselves after each change,
// on every side, and the last judgement of the rest.
func (p page) verification(log journal.Log) {
	var last *check.Verification
	for _, r := range log.Records {
		if r.Kind != journal.ReadBack || r.ReadBack.Verification == nil {
			continue
		}
		last = r.ReadBack.Verification
		p.say("\n## sys.dm_database_encryption_keys, as read in step %d until %s\n", r.Step, stamp(r.At))
		p.rows(last.Databases)
	}
	if last == nil {
		return
	}
	p.say("\n## The keys, as last verified\n")
	p.table("Server", "Key it needs", "Whose", "Registered", "Usable", "Verdict")
	for _, k := range last.Keys {
		p.row(k.Server, "`"+k.Key.String()+"`", strings.Join(k.Owners, ", "), yes(k.Registered), yes(k.Usable), string(k.Verdict))
	}
	if len(last.Logs) == 0 {
		return
	}
	p.say("\nThe logs still need these keys beside the ones that wrap the DEKs now:\n")
	p.table("Database", "Server", "Key", "Thumbprint", "Active VLFs", "Registered there")
	for _, l := range last.Logs {
		p.row(l.Database, l.Server, "`"+l.Key.String()+"`", string(l.Thumbprint), fmt.Sprint(l.Active), yes(l.OnServer))
	}
}

// rows are the databases' own words, and what was made of them.
func (p page) rows(list []check.DatabaseRow) {
	p.table("Database", "Server", "Role", "encryption_state", "encryption_state_desc", "percent_complete", "key_algorithm", "key_length", "encryptor_type", "encryptor_thumbprint", "set_date", "Key", "Verdict")
	for _, d := range list {
		e := tde.EncryptionState{}
		if d.Encryption != nil {
			e = *d.Encryption
		}
		key, set := "", ""
		if !d.Key.IsZero() {
			key = "`" + d.Key.String() + "`"
		}
		if e.SetAt != nil {
			set = stamp(*e.SetAt)
		}
		p.row(d.Database, d.Server, d.Role, fmt.Sprint(d.State), e.Description, fmt.Sprintf("%.1f", e.Percent), e.KeyAlgorithm, fmt.Sprint(e.KeyLength),
			d.EncryptorType, string(d.Thumbprint), set, key, string(d.Verdict))
	}
}
