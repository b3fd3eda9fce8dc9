package tde

import "strings"

// Newest finds the newest enabled version of the key that id names, with or
// without a version. A protector can only be set to that one.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (t Topology) Newest(id KeyID) (VaultKey, bool) {
	for _, k := range t.Keys {
		if k.Latest && k.ID.WithoutVersion() == id.WithoutVersion() {
			return k, true
		}
	}
	return VaultKey{}, false
}

// Resolve finds the key version that id stands for: the version itself, or the
// newest one for a versionless id.
func (t Topology) Resolve(id KeyID) (VaultKey, bool) {
	if id.Versionless() {
		return t.Newest(id)
	}
	return t.Key(id)
}

// Canonical gives id as the vault or a server writes it. Key Vault takes names
// without regard to case, while ids are compared byte by byte everywhere else.
// An id that was not observed comes back as it is.
// Source: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
func (t Topology) Canonical(id KeyID) KeyID {
	for _, k := range t.Keys {
		if sameText(k.ID, id) {
			return k.ID
		}
	}
	for _, s := range t.Servers {
		for _, k := range s.Keys {
			if sameText(k.Key, id) {
				return k.Key
			}
		}
	}
	return id
}

func sameText(a, b KeyID) bool {
	return strings.EqualFold(a.Host, b.Host) && strings.EqualFold(a.Name, b.Name) && strings.EqualFold(a.Version, b.Version)
}

// ThumbprintOf is the thumbprint under which any server of the topology has
// the key registered; empty when none has or none says.
func (t Topology) ThumbprintOf(id KeyID) Thumbprint {
	if id.IsZero() {
		return ""
	}
	for _, s := range t.Servers {
		if k, ok := s.Registered(id); ok && k.Thumbprint != "" {
			return k.Thumbprint
		}
		if s.Protector.Key == id && s.Protector.Thumbprint != "" {
			return s.Protector.Thumbprint
		}
	}
	return ""
}

// SameMaterial reports whether two keys are known to hold the same material,
// as an imported or restored key does. It is what Azure asks of a geo-replication
// partner: the material, not the same vault. Unknown material is never the same.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (t Topology) SameMaterial(a, b KeyID) bool {
	if a.IsZero() || b.IsZero() {
		return false
	}
	if a == b {
		return true
	}
	ka, seenA := t.Resolve(a)
	kb, seenB := t.Resolve(b)
	if seenA && seenB && ka.Material != "" && kb.Material != "" {
		return ka.Material == kb.Material
	}
	ta, tb := t.ThumbprintOf(a), t.ThumbprintOf(b)
	return ta != "" && ta == tb
}
