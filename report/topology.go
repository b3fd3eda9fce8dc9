// Package report draws what people look at: the picture of a geo-linked
// component in a terminal of 80 columns. It only reads its input.
package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/crosskeys/crosskeys/tde"
)

// drawing writes lines and keeps the first failure.
type drawing struct {
	to  io.Writer
	err error
}

func (d *drawing) line(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.to, format+"\n", args...)
	}
}

// Topology draws a component: each failover group with its servers, from the
// primary down to its secondaries, then servers outside any group, databases
// with the key that wraps their DEK, and the vaults with who may use them.
func Topology(w io.Writer, t tde.Topology) error {
	d := &drawing{to: w}
	drawn := map[string]bool{}
	for _, group := range t.Groups {
		d.group(t, group, drawn)
	}
	for _, server := range t.Servers {
		if !drawn[server.Name] {
			d.line("server outside any failover group")
			d.server(server, "")
			d.line("")
		}
	}
	d.databases(t)
	d.vaults(t)
	d.unread(t)
	return d.err
}

func (d *drawing) group(t tde.Topology, group tde.FailoverGroup, drawn map[string]bool) {
	policy := group.FailoverPolicy
	if group.GraceMinutes > 0 {
		policy += fmt.Sprintf(", grace %d min", group.GraceMinutes)
	}
	d.line("failover group %s   failover %s   replication %s", group.Name, policy, group.ReplicationState)
	if group.DisagreementOnMember != "" {
		d.line("  members disagree: %s", group.DisagreementOnMember)
	}
	d.line("")
	for _, member := range group.Members {
		server, known := t.Server(member.Server)
		if !known {
			d.line("  %s  %s   not read", member.Server, strings.ToUpper(string(member.Role)))
			continue
		}
		if member.Role != tde.Primary {
			d.arrow(t, group, member.Server)
		}
		drawn[server.Name] = true
		d.server(server, string(member.Role))
	}
	d.line("")
}

// arrow draws the replication from the primary down to a secondary.
func (d *drawing) arrow(t tde.Topology, group tde.FailoverGroup, to string) {
	var states []string
	count := 0
	for _, link := range t.Links {
		if strings.EqualFold(link.Secondary, to) && link.Group == group.Name {
			count++
			if !slices.Contains(states, link.State) {
				states = append(states, link.State)
			}
		}
	}
	d.line("      │")
	d.line("      │ %d databases, %s", count, strings.Join(states, ", "))
	d.line("      ▼")
}

func (d *drawing) server(s tde.Server, role string) {
	d.line("  %s", strings.TrimSpace(s.Name+"   "+strings.ToUpper(role)+"   "+s.Location+"   resource group "+s.ResourceGroup))
	protector := s.Protector.Key.Short()
	if s.Protector.Thumbprint != "" {
		protector += "   thumbprint " + s.Protector.Thumbprint.Short()
	}
	if s.Protector.AutoRotation {
		protector += "   auto-rotation"
	}
	d.line("    TDE protector   %s", protector)
	for i, key := range s.Keys {
		label := "server keys"
		if i > 0 {
			label = ""
		}
		d.line("    %-15s %s   thumbprint %s", label, key.Key.Short(), key.Thumbprint.Short())
	}
	identity := s.Identity.Type
	if s.Identity.PrincipalID != "" {
		identity += "   " + s.Identity.PrincipalID
	}
	d.line("    identity        %s", identity)
}

// table writes rows in columns.
func (d *drawing) table(rows [][]string) {
	if d.err != nil {
		return
	}
	table := tabwriter.NewWriter(d.to, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		if _, d.err = fmt.Fprintln(table, "  "+strings.Join(row, "\t")); d.err != nil {
			return
		}
	}
	d.err = table.Flush()
}

func (d *drawing) databases(t tde.Topology) {
	rows := [][]string{{"DATABASE", "SERVER", "STATUS", "TDE", "STATE", "DEK WRAPPED BY"}}
	for _, server := range t.Servers {
		for _, db := range server.Databases {
			rows = append(rows, []string{db.Name, server.Name, db.Status, db.TDEState, stateOf(db), wrappedBy(t, db)})
		}
	}
	if len(rows) == 1 {
		d.line("no databases")
		return
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	d.line("databases")
	d.table(rows)
	d.line("")
}

// stateOf is what sys.dm_database_encryption_keys says, by its number.
func stateOf(db tde.Database) string {
	e := db.Encryption
	switch {
	case e == nil:
		return "-"
	case e.Changing():
		return fmt.Sprintf("%d, %.0f %%", e.State, e.Percent)
	}
	return fmt.Sprint(e.State)
}

// wrappedBy names the key whose thumbprint the DEK's encryptor has.
func wrappedBy(t tde.Topology, db tde.Database) string {
	switch {
	case !db.OwnKey.IsZero():
		return "its own key " + db.OwnKey.Short()
	case db.Encryption == nil:
		return "not read"
	case db.Encryption.EncryptorType == tde.EncryptorCertificate:
		return "service-managed"
	case db.Encryption.Thumbprint == "":
		return "-"
	}
	for _, server := range t.Servers {
		for _, key := range server.Keys {
			if key.Thumbprint == db.Encryption.Thumbprint {
				return key.Key.Short()
			}
		}
	}
	return "a key that is registered nowhere, " + db.Encryption.Thumbprint.Short()
}

func (d *drawing) vaults(t tde.Topology) {
	if len(t.Vaults) == 0 {
		return
	}
	d.line("vaults and keys")
	for _, v := range t.Vaults {
		mode := "access policies"
		if v.RBAC {
			mode = "RBAC"
		}
		d.line("  %s   %s   %s%s%s", v.Name, v.Location, mode, without(v.PurgeProtection, "purge protection"), without(!v.FirewallOn || v.TrustedServices, "way through its firewall"))
		for _, key := range t.Keys {
			if key.ID.Host == v.Host {
				d.line("    %s   %s %d   %s", key.ID.Short(), key.Type, key.Bits, keyState(key))
			}
		}
		d.line("    usable by: %s", usableBy(t, v))
	}
	d.line("")
}

func without(has bool, what string) string {
	if has {
		return ""
	}
	return "   NO " + what
}

func keyState(key tde.VaultKey) string {
	states := []string{"enabled"}
	if !key.Enabled {
		states[0] = "DISABLED"
	}
	if !key.Latest {
		states = append(states, "not the newest enabled version")
	}
	if key.Expires != nil {
		states = append(states, "expires "+key.Expires.UTC().Format("2006-01-02"))
	}
	return strings.Join(states, ", ")
}

// usableBy lists the servers whose identities hold complete grants on the
// whole vault.
func usableBy(t tde.Topology, v tde.Vault) string {
	var names []string
	for _, server := range t.Servers {
		if t.MayUse(server.Name, tde.KeyID{Host: v.Host}) {
			names = append(names, server.Name)
		}
	}
	if len(names) == 0 {
		return "none of the servers"
	}
	return strings.Join(names, ", ")
}

func (d *drawing) unread(t tde.Topology) {
	list := slices.Clone(t.Unread)
	for _, server := range t.Servers {
		for _, db := range server.Databases {
			if db.SQLUnread != nil {
				list = append(list, *db.SQLUnread)
			}
		}
	}
	for _, u := range list {
		d.line("not read: %s: %s", u.What, u.Reason)
		if u.Hint != "" {
			d.line("  hint: %s", u.Hint)
		}
	}
}
