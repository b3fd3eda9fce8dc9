package check

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// expectation is what must wrap the DEK of every replica of a set: the
// protector of the server that is primary for it.
type expectation struct {
	primary    string
	holders    []string // the servers with a replica, the primary's first
	encryptor  string
	thumbprint tde.Thumbprint // empty when not known
}

// set judges a database on every server that holds a replica of it.
func (v *verifier) set(set replicaSet) {
	want := v.expected(set)
	for _, r := range set.all() {
		role := string(tde.Secondary)
		switch {
		case r == set.Primary && len(set.Secondaries) == 0:
			role = Standalone
		case r == set.Primary:
			role = string(tde.Primary)
		}
		v.replica(r, role, want)
	}
}

// expected derives the expectation from the primary's server. A certificate's
// thumbprint is not to be had from ARM, so the primary's own DEK gives it: the
// service wraps both sides by the primary server's certificate.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-tde-overview
func (v *verifier) expected(set replicaSet) expectation {
	s, _ := v.topology.Server(set.Primary.Server)
	want := expectation{primary: set.Primary.Server, holders: set.servers(), encryptor: tde.EncryptorAsymmetricKey, thumbprint: protectorThumbprint(s)}
	if !s.Protector.ServiceManaged() {
		return want
	}
	want.encryptor, want.thumbprint = tde.EncryptorCertificate, ""
	d, held := s.Database(set.Primary.Database)
	if held && d.Encryption != nil && d.Encryption.EncryptorType == tde.EncryptorCertificate {
		want.thumbprint = d.Encryption.Thumbprint
	}
	return want
}

func (v *verifier) replica(r replica, role string, want expectation) {
	row := DatabaseRow{
		Server: r.Server, Role: role, Primary: want.primary, Database: r.Database,
		ExpectedType: want.encryptor, ExpectedThumbprint: want.thumbprint,
	}
	s, known := v.topology.Server(r.Server)
	d, held := s.Database(r.Database)
	switch {
	case !known || !held:
		row.Verdict = NotRead
		v.fail(Finding{
			Rule: RuleReplicaNotRead, Server: r.Server, Database: r.Database,
			What:    fmt.Sprintf("the replica of %s on %s was not observed, though a link names it", r.Database, r.Server),
			Cure:    "Give the reading identity access to the server and inspect again.",
			Command: findServer(r.Server),
		})
	case !d.OwnKey.IsZero():
		row.Verdict, row.Key = NotJudged, d.OwnKey
		row.ExpectedType, row.ExpectedThumbprint = "", ""
		fillState(&row, d)
		v.fail(Finding{
			Rule: RuleDatabaseLevelKey, Severity: Note, Server: s.Name, Database: d.Name, Key: d.OwnKey,
			What: fmt.Sprintf("database %s on %s has a customer-managed key of its own; it is not judged by the server's protector", d.Name, s.Name),
			Cure: "Nothing to do.",
		})
	default:
		fillState(&row, d)
		row.Verdict = v.judge(s, d, &row, want)
	}
	v.result.Databases = append(v.result.Databases, row)
	v.logs(s, d)
}

func fillState(row *DatabaseRow, d tde.Database) {
	row.Geo = d.Geo
	if d.Encryption == nil {
		return
	}
	row.State, row.EncryptorType, row.Thumbprint, row.Encryption = d.Encryption.State, d.Encryption.EncryptorType, d.Encryption.Thumbprint, d.Encryption
}

// judge compares what wraps a replica's DEK with what must.
func (v *verifier) judge(s tde.Server, d tde.Database, row *DatabaseRow, want expectation) Verdict {
	f := Finding{Server: s.Name, Database: d.Name, Command: azServer(s, "sql", "db", "tde", "show", "--database", d.Name)}
	where := fmt.Sprintf("database %s on %s", d.Name, s.Name)
	e := d.Encryption
	switch {
	case strings.EqualFold(d.Status, "Inaccessible"):
		j := judge{topology: v.topology}
		j.status(s, d)
		v.fail(j.findings[0])
		return Wrong
	case e == nil && strings.EqualFold(d.TDEState, "Disabled"), e != nil && e.State <= tde.StateUnencrypted:
		return v.unencrypted(f, where, d)
	case e == nil:
		why, cure := whyUnread(d)
		f.Rule, f.What, f.Cure = RuleEncryptionUnread, "the encryption state of "+where+" was not read"+why, cure
		if d.SQLUnread != nil && d.SQLUnread.Passing {
			f.Rule = RuleNotAnswering
		}
		v.fail(f)
		return NotRead
	}
	if e.EncryptorType != tde.EncryptorCertificate {
		row.Key, _ = WrappingKey(v.topology, want.holders, s.Name, e.Thumbprint, v.now)
	}
	f.Key = row.Key
	return v.compare(f, where, *row, want)
}

// compare judges an encryption state that was read.
func (v *verifier) compare(f Finding, where string, row DatabaseRow, want expectation) Verdict {
	const wait = "Wait a few minutes for the protector to reach every replica and verify again."
	verdict := Wrong
	switch {
	case row.State != tde.StateEncrypted:
		f.Rule, f.Cure = RuleChangeInProgress, wait
		f.What = fmt.Sprintf("%s is in %s, not %d: a change is in progress", where, stateText(*row.Encryption), tde.StateEncrypted)
		verdict = InProgress
	case row.EncryptorType != want.encryptor:
		f.Rule, f.Cure = RuleEncryptorType, wait
		f.What = fmt.Sprintf("the DEK of %s is wrapped by a %s, though the protector of %s asks for a %s", where, row.EncryptorType, want.primary, want.encryptor)
	case want.thumbprint == "" || row.Thumbprint == "":
		f.Rule = RuleThumbprintUnknown
		f.What = fmt.Sprintf("the thumbprint of what wraps %s, or of what %s wraps with, was not read", where, want.primary)
		f.Cure = "Inspect again; the thumbprint is shown with the server's keys and in the primary database."
		verdict = NotRead
	case row.Thumbprint != want.thumbprint:
		f.Rule = RuleWrappedByOther
		f.What = fmt.Sprintf("the DEK of %s is wrapped by %s, though the protector of %s (%s) must wrap it; until it does the other key is still needed",
			where, wrapper(row), want.primary, want.thumbprint.Short())
		f.Cure = wait + " Keep the other key registered and enabled."
	default:
		return OK
	}
	v.fail(f)
	return verdict
}

// wrapper names what wraps a replica's DEK.
func wrapper(row DatabaseRow) string {
	if row.Key.IsZero() {
		return "a key with thumbprint " + string(row.Thumbprint)
	}
	return row.Key.Short() + " (" + row.Thumbprint.Short() + ")"
}

// unencrypted: without TDE there is no DEK to judge; that is worth a warning
// and nothing that a protector change could mend.
func (v *verifier) unencrypted(f Finding, where string, d tde.Database) Verdict {
	f.Rule, f.Severity = RuleTDEDisabled, Warning
	f.What, f.Cure = where+" is not encrypted: TDE is disabled", "Enable TDE on the primary database."
	verdict := NotJudged
	if !strings.EqualFold(d.TDEState, "Disabled") {
		f.Rule, f.Severity = RuleNotEncrypted, Blocker
		f.What = where + " is not encrypted, though TDE is enabled"
		f.Cure = "Wait for the encryption scan to end, or turn TDE off and on again."
		verdict = Wrong
	}
	v.fail(f)
	return verdict
}
