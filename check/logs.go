package check

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// LogRow is a key other than the one that wraps the DEK which active virtual
// log files (VLFs) of a replica still need.
type LogRow struct {
	Server     string         `json:"server"`
	Database   string         `json:"database"`
	Thumbprint tde.Thumbprint `json:"thumbprint"`
	Key        tde.KeyID      `json:"key"` // the registered key that has the thumbprint; empty when none has
	// OnServer says that the key is registered on this very server.
	OnServer bool `json:"registeredOnServer"`
	Active   int  `json:"activeFiles"`
}

// LogNeeds lists, for every replica whose log was read, the keys that its active
// virtual log files need beside the one that wraps its DEK. Such a key must stay
// registered on every server that holds a replica, enabled in its vault and
// permitted to the servers until the log has moved on.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func LogNeeds(t tde.Topology) []LogRow {
	list := []LogRow{}
	for _, set := range replicaSets(t) {
		for _, r := range set.all() {
			s, _ := t.Server(r.Server)
			if d, held := s.Database(r.Database); held {
				list = append(list, logNeeds(t, s, d)...)
			}
		}
	}
	return list
}

func logNeeds(t tde.Topology, s tde.Server, d tde.Database) []LogRow {
	if d.Encryption == nil {
		return nil
	}
	var list []LogRow
	for _, k := range d.LogKeys {
		if k.Active == 0 || k.Thumbprint == "" || k.Thumbprint == d.Encryption.Thumbprint {
			continue
		}
		row := LogRow{Server: s.Name, Database: d.Name, Thumbprint: k.Thumbprint, Active: k.Active}
		row.Key, _ = keyWithThumbprint(t, s.Name, k.Thumbprint)
		_, row.OnServer = heldKey(s, k.Thumbprint)
		list = append(list, row)
	}
	return list
}

// logs tells which keys a replica's log still needs. That is no fault: it is why
// old keys stay after a move.
func (v *verifier) logs(s tde.Server, d tde.Database) {
	if d.Encryption != nil && d.LogKeys == nil {
		f := Finding{Rule: RuleLogUnread, Severity: Note, Server: s.Name, Database: d.Name, Cure: "Keep every key that was a protector before until the log has been read."}
		why := ""
		if d.SQLUnread != nil {
			why = " (" + d.SQLUnread.Reason + ")"
		}
		f.What = fmt.Sprintf("which keys the log of database %s on %s still needs was not read%s", d.Name, s.Name, why)
		v.fail(f)
	}
	v.result.Logs = append(v.result.Logs, logNeeds(v.topology, s, d)...)
}

// outOfUse reports whether the server can use none of its keys that have the
// thumbprint, which is all that a log file says of its key. Where a key's vault
// was not observed, nobody knows.
func (v *verifier) outOfUse(s tde.Server, thumbprint tde.Thumbprint) bool {
	for _, k := range s.Keys {
		if k.Thumbprint != thumbprint {
			continue
		}
		_, known := v.topology.Vault(k.Key.Host)
		if !known || v.topology.MayUse(s.Name, k.Key) && !Unfit(v.topology, k.Key, v.now) {
			return false
		}
	}
	return true
}

// logFindings tells of each key once, with all the replicas whose logs need it.
func (v *verifier) logFindings() {
	needed := map[tde.Thumbprint][]string{}
	for _, row := range v.result.Logs {
		where := fmt.Sprintf("database %s on %s (%d)", row.Database, row.Server, row.Active)
		needed[row.Thumbprint] = append(needed[row.Thumbprint], where)
		s, _ := v.topology.Server(row.Server)
		f := Finding{Rule: RuleLogNeedsKey, Severity: Warning, Server: s.Name, Database: row.Database, Key: row.Key}
		switch {
		case !row.OnServer && !row.Key.IsZero():
			f.What = fmt.Sprintf("key %s is needed by active VLFs of %s, which has not registered it", row.Key.Short(), where)
			f.Cure = "Register the key on the server again and keep it until the log has moved on."
			f.Command = RegisterCommand(s, row.Key)
			v.fail(f)
		case row.OnServer && v.outOfUse(s, row.Thumbprint):
			f.What = fmt.Sprintf("key %s is needed by active VLFs of %s, which has it registered and cannot use it", row.Key.Short(), where)
			f.Cure = "Enable the key and let the server's identity use it until the log has moved on."
			f.Command = az("keyvault", "key", "show", "--id", row.Key.String())
			v.fail(f)
		}
	}
	for _, row := range v.result.Logs {
		where := strings.Join(needed[row.Thumbprint], ", ")
		if where == "" {
			continue
		}
		delete(needed, row.Thumbprint)
		f := Finding{
			Rule: RuleLogNeedsKey, Severity: Note, Key: row.Key,
			What: fmt.Sprintf("key %s is needed by active VLFs of %s", row.Key.Short(), where),
			Cure: "Keep key " + row.Key.Short() + " registered, enabled and permitted until these logs have moved on.",
		}
		if row.Key.IsZero() {
			f.What = fmt.Sprintf("active VLFs of %s were written under a protector with thumbprint %s, which no registered key has: it is a key that was taken off too early, or the service-managed certificate", where, row.Thumbprint)
			f.Cure = "If it is a key, register it again and keep it until these logs have moved on."
		}
		v.fail(f)
	}
}
