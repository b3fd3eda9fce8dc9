package check

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// stateText is an encryption state as a person reads it, with how far a change
// has come.
func stateText(e tde.EncryptionState) string {
	text := fmt.Sprintf("encryption state %d", e.State)
	if e.Description != "" {
		text += " (" + e.Description + ")"
	}
	if e.Percent > 0 {
		text += fmt.Sprintf(", %.0f %% done", e.Percent)
	}
	return text
}

// whyUnread says why a database's encryption state was not read, and the cure.
func whyUnread(d tde.Database) (why, cure string) {
	cure = "Make the reading identity a user of the database and grant it VIEW DATABASE STATE; then look again."
	switch {
	case d.SQLUnread != nil:
		if d.SQLUnread.Hint != "" {
			cure = d.SQLUnread.Hint
		}
		return " (" + d.SQLUnread.Reason + ")", cure
	case d.Status != "" && !strings.EqualFold(d.Status, "Online"):
		return ", since it is " + d.Status, "Look again when the database is Online."
	}
	return "", cure
}

func (j *judge) databases() {
	for _, set := range replicaSets(j.topology) {
		for _, r := range set.all() {
			s, _ := j.topology.Server(r.Server)
			d, held := s.Database(r.Database)
			if !held {
				continue
			}
			j.status(s, d)
			j.encryption(s, d, r == set.Primary)
		}
	}
}

// status: an Inaccessible database has lost its key. Nothing can be changed
// before access is back (CMKOperationNotAllowed), and after half an hour Azure
// breaks its geo-replication.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) status(s tde.Server, d tde.Database) {
	switch {
	case strings.EqualFold(d.Status, "Inaccessible"):
		j.add(Finding{
			Rule: RuleInaccessible, Severity: Blocker, Server: s.Name, Database: d.Name, Key: s.Protector.Key,
			What:    fmt.Sprintf("database %s on %s is Inaccessible: the server cannot use the key that wraps its DEK, and Azure refuses every change until it can", d.Name, s.Name),
			Cure:    "Give the server's identity back its access to the key, then revalidate; a geo-secondary may have to be dropped and seeded again.",
			Command: revalidateCommand(s),
		})
	case d.Status != "" && !strings.EqualFold(d.Status, "Online"):
		j.add(Finding{
			Rule: RuleNotOnline, Severity: Warning, Server: s.Name, Database: d.Name,
			What:    fmt.Sprintf("database %s on %s is %s: a new protector reaches it only when it is Online, and until then the old key must stay", d.Name, s.Name, d.Status),
			Cure:    "Bring the database online, or verify it again when it is.",
			Command: azServer(s, "sql", "db", "show", "--name", d.Name),
		})
	}
}

func (j *judge) encryption(s tde.Server, d tde.Database, primary bool) {
	show := azServer(s, "sql", "db", "tde", "show", "--database", d.Name)
	if !d.OwnKey.IsZero() {
		j.add(Finding{
			Rule: RuleDatabaseLevelKey, Severity: Note, Server: s.Name, Database: d.Name, Key: d.OwnKey,
			What: fmt.Sprintf("database %s on %s has a customer-managed key of its own (%s); a change of the server's protector does not touch it", d.Name, s.Name, d.OwnKey.Short()),
			Cure: "Nothing to do.",
		})
		return
	}
	disabled := strings.EqualFold(d.TDEState, "Disabled")
	if disabled && primary {
		j.add(Finding{
			Rule: RuleTDEDisabled, Severity: Warning, Server: s.Name, Database: d.Name,
			What:    fmt.Sprintf("TDE is disabled on database %s of %s: its files are not encrypted by any key", d.Name, s.Name),
			Cure:    "Enable TDE on the database.",
			Command: azServer(s, "sql", "db", "tde", "set", "--database", d.Name, "--status", "Enabled"),
		})
	}
	e := d.Encryption
	switch {
	case e == nil && !disabled:
		why, cure := whyUnread(d)
		j.add(Finding{
			Rule: RuleEncryptionUnread, Severity: Warning, Server: s.Name, Database: d.Name,
			What:    fmt.Sprintf("the encryption state of %s on %s was not read%s, so nobody knows which key wraps its DEK or whether a change is under way", d.Name, s.Name, why),
			Cure:    cure,
			Command: show,
		})
	case e == nil:
	case e.Changing():
		j.changing(s, d)
	case e.EncryptorType == tde.EncryptorAsymmetricKey:
		j.wrappingKey(s, d)
	}
}

// changing: while a DEK is wrapped anew or changed, Azure refuses another
// protector. A scan that encrypts or decrypts the pages is another thing.
func (j *judge) changing(s tde.Server, d tde.Database) {
	e := *d.Encryption
	f := Finding{
		Rule: RuleChangeInProgress, Severity: Blocker, Server: s.Name, Database: d.Name,
		What: fmt.Sprintf("database %s on %s is in %s: a key change is in progress, and Azure refuses a second one (EncryptionProtectorChangeInProgress)", d.Name, s.Name, stateText(e)),
		Cure: fmt.Sprintf("Wait until the state is %d again, then plan again.", tde.StateEncrypted), Command: azServer(s, "sql", "db", "tde", "show", "--database", d.Name),
	}
	if e.State == tde.StateEncrypting || e.State == tde.StateDecrypting {
		f.Severity = Warning
		f.What = fmt.Sprintf("database %s on %s is in %s: a scan of its pages is under way", d.Name, s.Name, stateText(e))
		f.Cure = "Let the scan end first, so that what is verified afterwards is at rest."
	}
	j.add(f)
}

// wrappingKey: a DEK that is wrapped by a key no server has registered cannot
// be opened after a restart or failover.
func (j *judge) wrappingKey(s tde.Server, d tde.Database) {
	if _, found := keyWithThumbprint(j.topology, s.Name, d.Encryption.Thumbprint); found || !thumbprintsRead(s) {
		return
	}
	j.add(Finding{
		Rule: RuleWrappingKeyUnknown, Severity: Blocker, Server: s.Name, Database: d.Name,
		What:    fmt.Sprintf("the DEK of %s on %s is wrapped by a key with thumbprint %s that is registered on no server of the component: nobody could open it after a restart", d.Name, s.Name, d.Encryption.Thumbprint),
		Cure:    "Find the key with that thumbprint among the keys used before and register it on every server that holds a replica.",
		Command: azServer(s, "sql", "server", "key", "list"),
	})
}

func thumbprintsRead(s tde.Server) bool {
	for _, k := range s.Keys {
		if k.Thumbprint == "" {
			return false
		}
	}
	return s.Protector.ServiceManaged() || protectorThumbprint(s) != ""
}
