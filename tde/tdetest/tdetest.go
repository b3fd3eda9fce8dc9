// Package tdetest makes topologies for tests: small whole worlds that are in
// order, and the few changes that tests make to them. Nothing here is safe for
// concurrent use.
package tdetest

import (
	"crypto/sha1" //nolint:gosec // stands for the service's 20-byte thumbprint, guards nothing
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// The keys of the article's starting point and of its end.
const (
	Shared = "https://testshared.vault.azure.net/keys/shared/0c0ffee0c0ffee0c0ffee0c0ffee0c0f"
	Subham = "https://testprimarysubham.vault.azure.net/keys/subham/e0637ed7e3734f989b928101c79ca565"
	Tey    = "https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5"
)

// The servers and the failover group of the article.
const (
	PrimaryServer   = "tdeprimarytest"
	SecondaryServer = "tdesecondarytest"
	Group           = "fog-harshitha"
)

// Subscription and ResourceGroup hold every resource that this package makes.
const (
	Subscription  = "11111111-2222-3333-4444-555555555555"
	ResourceGroup = "harshitha_lab"
)

// Now is the time at which the worlds are observed.
func Now() time.Time { return time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC) }

// Key reads a key id that is known to be one.
func Key(text string) tde.KeyID {
	id, err := tde.ParseKeyID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// Thumbprint derives a thumbprint from key material, as the service does in a
// way that is not published.
func Thumbprint(material string) tde.Thumbprint {
	sum := sha1.Sum([]byte(material)) //nolint:gosec // see the import
	return tde.Thumbprint(strings.ToUpper(hex.EncodeToString(sum[:])))
}

// World is a topology under construction.
type World struct{ tde.Topology }

// Article is the starting point of Microsoft's article: two servers in two
// regions, one shared key on both, a failover group with three databases, and
// all grants that the move will need.
// Source: https://techcommunity.microsoft.com/blog/azuredbsupport/using-different-azure-key-vault-keys-for-azure-sql-servers-in-a-failover-group/4500775
func Article() *World {
	w := &World{}
	w.ReadAt, w.Group = Now(), Group
	for _, id := range []string{Shared, Subham, Tey} {
		w.AddKey(Key(id), id)
	}
	w.AddServer(PrimaryServer, "East US")
	w.AddServer(SecondaryServer, "West US")
	w.AddGroup(Group, PrimaryServer, []string{SecondaryServer}, "billing", "customers", "orders")
	for _, server := range []string{PrimaryServer, SecondaryServer} {
		for _, id := range []string{Shared, Subham, Tey} {
			w.Grant(server, Key(id).Vault())
		}
		w.Register(server, Key(Shared))
		w.SetProtector(server, Key(Shared), false)
	}
	w.Settle()
	return w
}

// Clone copies the world, so that a change to one is none to the other.
func (w *World) Clone() *World {
	text, err := json.Marshal(w.Topology)
	if err != nil {
		panic(err)
	}
	c := &World{}
	if err := json.Unmarshal(text, &c.Topology); err != nil {
		panic(err)
	}
	return c
}

// AddKey adds a usable key, the newest version of its name, and its vault if
// that is new. Keys of the same material have the same thumbprint.
func (w *World) AddKey(id tde.KeyID, material string) {
	if _, known := w.Vault(id.Host); !known {
		w.Vaults = append(w.Vaults, tde.Vault{
			ID:   "/subscriptions/" + Subscription + "/resourceGroups/" + ResourceGroup + "/providers/Microsoft.KeyVault/vaults/" + id.Vault(),
			Name: id.Vault(), Host: id.Host, Location: "eastus",
			SoftDelete: true, PurgeProtection: true, RetentionDays: 90, TrustedServices: true,
		})
	}
	w.Keys = append(w.Keys, tde.VaultKey{
		ID: id, Type: "RSA", Bits: 3072, Enabled: true, Latest: true, Material: material,
		Operations: []string{"encrypt", "decrypt", "wrapKey", "unwrapKey"}, RecoveryLevel: "Recoverable",
	})
}

// AddServer adds a server with a system-assigned identity, service-managed and
// without databases.
func (w *World) AddServer(name, location string) {
	w.Servers = append(w.Servers, tde.Server{
		ID:   "/subscriptions/" + Subscription + "/resourceGroups/" + ResourceGroup + "/providers/Microsoft.Sql/servers/" + name,
		Name: name, Subscription: Subscription, ResourceGroup: ResourceGroup, Location: location,
		FQDN:     name + ".database.windows.net",
		Identity: tde.Identity{Type: "SystemAssigned", PrincipalID: "principal-of-" + name, TenantID: "tenant"},
	})
}

// At gives the server for change.
func (w *World) At(server string) *tde.Server {
	for i := range w.Servers {
		if strings.EqualFold(w.Servers[i].Name, server) {
			return &w.Servers[i]
		}
	}
	panic("no server " + server)
}

// AtKey gives the key for change.
func (w *World) AtKey(id tde.KeyID) *tde.VaultKey {
	for i := range w.Keys {
		if w.Keys[i].ID == id {
			return &w.Keys[i]
		}
	}
	panic("no key " + id.String())
}

// AtVault gives the vault for change.
func (w *World) AtVault(name string) *tde.Vault {
	for i := range w.Vaults {
		if w.Vaults[i].Name == name {
			return &w.Vaults[i]
		}
	}
	panic("no vault " + name)
}

// AtDatabase gives the database for change.
func (w *World) AtDatabase(server, name string) *tde.Database {
	s := w.At(server)
	for i := range s.Databases {
		if s.Databases[i].Name == name {
			return &s.Databases[i]
		}
	}
	panic("no database " + name + " on " + server)
}

// AddDatabase adds an encrypted database; Settle gives it its encryption state.
func (w *World) AddDatabase(server, name string) {
	s := w.At(server)
	s.Databases = append(s.Databases, tde.Database{
		Name: name, ID: s.ID + "/databases/" + name, Status: "Online", TDEState: "Enabled",
	})
}

// AddGroup adds a failover group with databases on all its members and the
// replication links between them.
func (w *World) AddGroup(name, primary string, secondaries []string, databases ...string) {
	g := tde.FailoverGroup{
		Name: name, Databases: databases, FailoverPolicy: "Manual", ReadOnlyPolicy: "Disabled",
		ReplicationState: tde.StateCatchUp, Members: []tde.Member{{Server: primary, Role: tde.Primary}},
	}
	for _, s := range secondaries {
		g.Members = append(g.Members, tde.Member{Server: s, Role: tde.Secondary})
	}
	w.Groups = append(w.Groups, g)
	for _, d := range databases {
		w.AddDatabase(primary, d)
		for _, s := range secondaries {
			w.AddDatabase(s, d)
			w.AddLink(primary, s, d, name)
		}
	}
}

// AddLink adds a replication link between databases that exist; group is empty
// for a link outside any.
func (w *World) AddLink(primary, secondary, database, group string) {
	w.Links = append(w.Links, tde.ReplicationLink{
		ID: primary + "-" + secondary + "-" + database, Database: database, PartnerDatabase: database,
		Primary: primary, Secondary: secondary, State: tde.StateCatchUp, Percent: 100, Group: group,
	})
}

// Grant gives the server's identity, and every server that shares it, all
// that TDE needs on the vault.
func (w *World) Grant(server, vault string) {
	principal := w.At(server).Identity.PrincipalID
	for _, s := range w.Servers {
		if s.Identity.PrincipalID == principal {
			w.Grants = append(w.Grants, tde.Grant{
				Server: s.Name, PrincipalID: principal, Vault: vault, Via: "access policy", Get: true, Wrap: true, Unwrap: true,
			})
		}
	}
}

// Revoke takes every grant on the vault from the server.
func (w *World) Revoke(server, vault string) {
	w.Grants = slices.DeleteFunc(w.Grants, func(g tde.Grant) bool { return g.Server == server && g.Vault == vault })
}

// Register puts a key among the server's keys.
func (w *World) Register(server string, id tde.KeyID) {
	s := w.At(server)
	if _, listed := s.Registered(id); listed {
		return
	}
	k, _ := w.Key(id)
	s.Keys = append(s.Keys, tde.ServerKey{Name: id.ServerKeyName(), Key: id, Thumbprint: Thumbprint(k.Material), CreatedAt: Now()})
}

// Deregister takes a key off the server.
func (w *World) Deregister(server string, id tde.KeyID) {
	s := w.At(server)
	s.Keys = slices.DeleteFunc(s.Keys, func(k tde.ServerKey) bool { return k.Key == id })
}

// SetProtector changes the server's protector; the DEKs follow on Settle.
func (w *World) SetProtector(server string, id tde.KeyID, autoRotation bool) {
	s := w.At(server)
	s.Protector = tde.Protector{Key: id, AutoRotation: autoRotation}
	if k, listed := s.Registered(id); listed {
		s.Protector.Thumbprint = k.Thumbprint
	}
}

// Settle lets every protector reach every DEK: each replica is wrapped by the
// protector of the server that is primary for it.
func (w *World) Settle() {
	for i := range w.Servers {
		for j := range w.Servers[i].Databases {
			s, d := &w.Servers[i], &w.Servers[i].Databases[j]
			w.Wrap(s.Name, d.Name, w.primaryOf(s.Name, d.Name).Protector)
		}
	}
}

func (w *World) primaryOf(server, database string) *tde.Server {
	for _, l := range w.Links {
		if strings.EqualFold(l.Secondary, server) && strings.EqualFold(l.PartnerDatabase, database) {
			server = l.Primary
			break
		}
	}
	return w.At(server)
}

// Wrap sets what wraps the DEK of one replica; its log has moved on to that key
// too. A service-managed protector is
// the certificate of the server that is primary for the database.
func (w *World) Wrap(server, database string, by tde.Protector) {
	e := &tde.EncryptionState{State: 3, EncryptorType: tde.EncryptorAsymmetricKey, Thumbprint: by.Thumbprint, KeyAlgorithm: "AES", KeyLength: 256}
	if by.ServiceManaged() {
		e.EncryptorType = tde.EncryptorCertificate
		e.Thumbprint = Thumbprint("certificate of " + w.primaryOf(server, database).Name)
	}
	d := w.AtDatabase(server, database)
	d.Encryption, d.LogKeys = e, []tde.LogKey{{Thumbprint: e.Thumbprint, Active: 1, Files: 1}}
}

// Failover makes the server the primary of the group and turns its links.
func (w *World) Failover(group, to string) {
	for i := range w.Groups {
		if w.Groups[i].Name != group {
			continue
		}
		members := w.Groups[i].Members
		for m := range members {
			members[m].Role = tde.Secondary
			if members[m].Server == to {
				members[m].Role = tde.Primary
			}
		}
		slices.SortFunc(members, func(a, b tde.Member) int { return strings.Compare(string(a.Role)+a.Server, string(b.Role)+b.Server) })
	}
	for i, l := range w.Links {
		if l.Group != group {
			continue
		}
		old := l.Primary
		if l.Secondary == to {
			w.Links[i].Secondary = old
		}
		w.Links[i].Primary = to
	}
}
