package check

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// Values of encryption_state in sys.dm_database_encryption_keys.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
const (
	stateUnencrypted            = 1
	stateEncrypted              = 3
	stateKeyChange              = 4
	stateProtectionChangeInDEKs = 6
)

func changing(state int) bool {
	return state == stateKeyChange || state == stateProtectionChangeInDEKs
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
		j.add(Finding{
			Rule: RuleEncryptionUnread, Severity: Warning, Server: s.Name, Database: d.Name,
			What:    fmt.Sprintf("the encryption state of %s on %s was not read, so nobody knows which key wraps its DEK or whether a change is under way", d.Name, s.Name),
			Cure:    "Give the reading identity VIEW DATABASE STATE on the database and inspect again.",
			Command: show,
		})
	case e == nil:
	case changing(e.State):
		j.add(Finding{
			Rule: RuleChangeInProgress, Severity: Blocker, Server: s.Name, Database: d.Name,
			What:    fmt.Sprintf("database %s on %s is in encryption state %d: a key change is in progress, and Azure refuses a second one (EncryptionProtectorChangeInProgress)", d.Name, s.Name, e.State),
			Cure:    "Wait until the state is 3 again, then plan again.",
			Command: show,
		})
	case e.EncryptorType == tde.EncryptorAsymmetricKey:
		j.wrappingKey(s, d)
	}
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
