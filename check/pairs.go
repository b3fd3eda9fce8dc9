package check

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// pairs judges the target protectors of each two linked servers together.
func (j *judge) pairs() {
	for i, a := range j.topology.Servers {
		for _, name := range j.topology.Partners(a.Name) {
			b, _ := j.topology.Server(name)
			j.sameURI(a, b)
			if !after(j.topology.Servers[:i], b.Name) {
				continue // seen from the other side already
			}
			j.oneSided(a, b)
			j.regions(a, b)
		}
	}
}

// after reports that the name is not among the servers already looked at.
func after(seen []tde.Server, name string) bool {
	for _, s := range seen {
		if s.Name == name {
			return false
		}
	}
	return true
}

// oneSided: the same key as protector on both servers with auto-rotation on
// one only sends the rotation into an error state that blocks later ones.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (j *judge) oneSided(a, b tde.Server) {
	ta, tb := j.target[a.Name], j.target[b.Name]
	f := Finding{Rule: RuleAutoRotationOneSide, Severity: Warning}
	switch {
	case split(ta, tb):
		if j.move(a.Name, b.Name) {
			f.Severity = Blocker
		}
	case split(a.Protector, b.Protector):
		ta, tb = a.Protector, b.Protector
	default:
		return
	}
	off, p := a, ta
	on := b
	if ta.AutoRotation {
		off, p, on = b, tb, a
	}
	p.AutoRotation = true
	f.Server, f.Key = off.Name, p.Key
	f.What = fmt.Sprintf("%s and %s have the same key as protector, but auto-rotation is on only on %s; Azure's rotation then fails and blocks later ones, by hand too", a.Name, b.Name, on.Name)
	f.Cure = "Turn auto-rotation on on both servers or off on both, or give each its own key."
	f.Command = ProtectorCommand(off, p)
	j.add(f)
}

func split(a, b tde.Protector) bool {
	return !a.ServiceManaged() && a.Key.WithoutVersion() == b.Key.WithoutVersion() && a.AutoRotation != b.AutoRotation
}

// sameURI: with auto-rotation the partner needs the key of the same vault, not
// only its material (SameKeyUriNotFoundOnRemoteServer). A plan registers it,
// so this does not stop one.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) sameURI(s, partner tde.Server) {
	p := j.target[s.Name]
	if p.ServiceManaged() || !p.AutoRotation || holds(partner, p.Key) {
		return
	}
	for _, id := range registeredIDs(partner) {
		if !j.topology.SameMaterial(id, p.Key) {
			continue
		}
		j.add(Finding{
			Rule: RuleAutoRotationURI, Severity: Warning, Server: partner.Name, Key: p.Key,
			What: fmt.Sprintf("%s has the material of %s only as %s; with auto-rotation on %s it must have the key of the same vault",
				partner.Name, p.Key.Short(), id.Short(), s.Name),
			Cure:    "Register the key itself on the partner; a plan does so.",
			Command: RegisterCommand(partner, p.Key),
		})
		return
	}
}

// regions: one key for two regions is legal, and what most people want to get
// away from.
func (j *judge) regions(a, b tde.Server) {
	ka, kb := j.target[a.Name].Key, j.target[b.Name].Key
	if ka.IsZero() || kb.IsZero() {
		return
	}
	switch {
	case j.topology.SameMaterial(ka, kb) && region(a) != region(b):
		j.add(Finding{
			Rule: RuleKeySameInRegions, Severity: Warning, Server: b.Name, Key: kb,
			What:    fmt.Sprintf("%s (%s) and %s (%s) are protected by the same key material: losing that key loses both regions", a.Name, a.Location, b.Name, b.Location),
			Cure:    "Make a key in a vault of each region and plan with one key per server.",
			Command: az("keyvault", "key", "create", "--vault-name", kb.Vault(), "--name", kb.Name+"-"+region(b), "--kty", "RSA", "--size", "3072"),
		})
	case strings.EqualFold(ka.Host, kb.Host) && ka != kb:
		j.add(Finding{
			Rule: RuleVaultShared, Severity: Note, Server: b.Name, Key: kb,
			What: fmt.Sprintf("the keys of %s and %s lie in the same vault %s: Azure allows it, but one deletion, firewall rule or throttling hits both", a.Name, b.Name, kb.Vault()),
			Cure: "Nothing has to be done; a vault per region keeps them apart.",
		})
	}
}

// region is a server's location as ARM writes it in ids.
func region(s tde.Server) string {
	return strings.ToLower(strings.ReplaceAll(s.Location, " ", ""))
}
