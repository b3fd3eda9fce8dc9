// Package tde holds the field's words as plain values: servers, server keys,
// TDE protectors, databases, failover groups, replication links, vaults and
// grants, and Topology, the one value in which an observation of a whole
// geo-linked component arrives. It does no I/O and reads no clock.
package tde

import (
	"strings"
	"time"
)

// Topology is one observation of a geo-linked component: every server that
// can be reached from the one asked for over failover groups and replication
// links, with all that decides whether a protector change is safe. Slices are
// sorted by name, so that equal worlds give equal values.
type Topology struct {
	ReadAt  time.Time         `json:"readAt"`
	Group   string            `json:"group"` // the failover group that was asked for; empty when a lone server was
	Servers []Server          `json:"servers"`
	Groups  []FailoverGroup   `json:"failoverGroups"`
	Links   []ReplicationLink `json:"replicationLinks"`
	Vaults  []Vault           `json:"vaults"`
	Keys    []VaultKey        `json:"keys"`
	Grants  []Grant           `json:"grants"`
	// Unread lists what could not be read and why; a plan needs it empty of
	// everything that concerns it.
	Unread []Unread `json:"unread,omitempty"`
}

// Server is a logical server and what it holds.
type Server struct {
	ID            string      `json:"id"` // ARM resource id
	Name          string      `json:"name"`
	Subscription  string      `json:"subscription"`
	ResourceGroup string      `json:"resourceGroup"`
	Location      string      `json:"location"`
	FQDN          string      `json:"fullyQualifiedDomainName"`
	Identity      Identity    `json:"identity"`
	Protector     Protector   `json:"protector"`
	Keys          []ServerKey `json:"serverKeys"` // registered keys, ServiceManaged left out
	Databases     []Database  `json:"databases"`  // user databases; master is left out
}

// Identity is the managed identity with which a server reaches its vaults.
type Identity struct {
	Type        string `json:"type"`        // None, SystemAssigned, UserAssigned or "SystemAssigned,UserAssigned"
	PrincipalID string `json:"principalId"` // object id of the identity that is used for keys: the primary user-assigned one if set, else the system-assigned one
	TenantID    string `json:"tenantId"`
	ResourceID  string `json:"resourceId,omitempty"` // of the primary user-assigned identity
}

// Protector is a server's active TDE protector. The zero Key means
// service-managed.
type Protector struct {
	Key          KeyID      `json:"key"`
	AutoRotation bool       `json:"autoRotationEnabled"`
	Thumbprint   Thumbprint `json:"thumbprint,omitempty"` // of the registered key; empty when service-managed
}

// ServiceManaged reports whether the protector is the built-in certificate.
func (p Protector) ServiceManaged() bool { return p.Key.IsZero() }

// ServerKey is a customer-managed key registered on a server.
type ServerKey struct {
	Name       string     `json:"name"`
	Key        KeyID      `json:"key"`
	Thumbprint Thumbprint `json:"thumbprint"`
	CreatedAt  time.Time  `json:"creationDate"`
}

// Database is a user database on one server.
type Database struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Status     string `json:"status"`   // Online, Inaccessible, …
	TDEState   string `json:"tdeState"` // Enabled or Disabled
	OwnKey     KeyID  `json:"databaseLevelKey"`
	OwnKeyAuto bool   `json:"databaseLevelAutoRotation,omitempty"`
	// Encryption is the row of sys.dm_database_encryption_keys; nil when it
	// was not read.
	Encryption *EncryptionState `json:"encryption,omitempty"`
	// LogKeys sums the rows of sys.dm_db_log_info up by key; nil when they were
	// not read.
	LogKeys []LogKey `json:"logKeys,omitempty"`
	// Geo are the rows of sys.dm_geo_replication_link_status.
	Geo []GeoStatus `json:"geoReplicationStatus,omitempty"`
	// SQLUnread says why the database could not be asked, or not for all; nil
	// when it was, or when nobody tried.
	SQLUnread *Unread `json:"sqlUnread,omitempty"`
}

// Role is a server's part in a failover group or replication link.
type Role string

// The roles, as ARM writes them.
const (
	Primary   Role = "Primary"
	Secondary Role = "Secondary"
)

// FailoverGroup is a failover group as agreed between what its members say.
type FailoverGroup struct {
	Name                 string   `json:"name"`
	Members              []Member `json:"members"`   // primary first, then by name
	Databases            []string `json:"databases"` // names, sorted
	FailoverPolicy       string   `json:"failoverPolicy"`
	GraceMinutes         int      `json:"gracePeriodMinutes,omitempty"`
	ReadOnlyPolicy       string   `json:"readOnlyPolicy"`
	ReplicationState     string   `json:"replicationState"` // as the primary says
	DisagreementOnMember string   `json:"disagreement,omitempty"`
}

// Member is one server of a failover group.
type Member struct {
	Server string `json:"server"` // name
	Role   Role   `json:"role"`
}

// Primary is the name of the member that is primary; empty when none says so.
func (g FailoverGroup) Primary() string {
	for _, m := range g.Members {
		if m.Role == Primary {
			return m.Server
		}
	}
	return ""
}

// Secondaries are the names of the members that are not primary.
func (g FailoverGroup) Secondaries() []string {
	var names []string
	for _, m := range g.Members {
		if m.Role != Primary {
			names = append(names, m.Server)
		}
	}
	return names
}

// StateCatchUp is the replication state of a link that is in step.
const StateCatchUp = "CATCH_UP"

// ReplicationLink is one geo-replication relation, from primary to secondary.
type ReplicationLink struct {
	ID              string  `json:"id"`       // GUID, the same on both ends
	Database        string  `json:"database"` // on the primary
	PartnerDatabase string  `json:"partnerDatabase"`
	Primary         string  `json:"primary"`   // server name
	Secondary       string  `json:"secondary"` // server name
	State           string  `json:"replicationState"`
	Percent         float64 `json:"percentComplete"`
	Group           string  `json:"failoverGroup,omitempty"` // the failover group that owns it, if one does
}

// Vault is a key vault with the settings on which TDE depends.
type Vault struct {
	ID              string `json:"id"`
	Name            string `json:"name"`
	Host            string `json:"host"`
	Location        string `json:"location"`
	RBAC            bool   `json:"rbacAuthorization"`
	SoftDelete      bool   `json:"softDelete"`
	PurgeProtection bool   `json:"purgeProtection"`
	RetentionDays   int    `json:"retentionDays"`
	FirewallOn      bool   `json:"firewallOn"`      // default action Deny, or public access disabled
	TrustedServices bool   `json:"trustedServices"` // the firewall lets trusted Microsoft services through
}

// VaultKey is one version of a key as its vault shows it.
type VaultKey struct {
	ID            KeyID      `json:"id"`
	Type          string     `json:"kty"`  // RSA or RSA-HSM are supported
	Bits          int        `json:"bits"` // 2048 or 3072 are supported
	Enabled       bool       `json:"enabled"`
	NotBefore     *time.Time `json:"notBefore,omitempty"`
	Expires       *time.Time `json:"expires,omitempty"`
	Operations    []string   `json:"keyOps"`
	RecoveryLevel string     `json:"recoveryLevel"`
	Latest        bool       `json:"latest"` // the newest enabled version of its key
	// Material is the SHA-256 of the public key, in hexadecimal: equal for
	// equal material, whatever the vault. It is not the service's thumbprint.
	Material string `json:"material"`
}

// Grant is a server identity's permission on a vault or on one of its keys.
type Grant struct {
	Server      string `json:"server"`
	PrincipalID string `json:"principalId"`
	Vault       string `json:"vault"`         // name
	Key         string `json:"key,omitempty"` // name of the key where the grant is on one key only
	Via         string `json:"via"`           // "access policy", or "role" and the role's name
	Get         bool   `json:"get"`
	Wrap        bool   `json:"wrapKey"`
	Unwrap      bool   `json:"unwrapKey"`
}

// Complete reports whether the grant holds all that TDE needs.
func (g Grant) Complete() bool { return g.Get && g.Wrap && g.Unwrap }

// Unread names something that an observation could not read.
type Unread struct {
	What   string `json:"what"`   // such as "vault testanu2" or "encryption state of orders on srv-b"
	Server string `json:"server"` // the server it concerns, where it concerns one
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
	// Passing says that it may be read later without anybody doing anything.
	Passing bool `json:"passing,omitempty"`
}

// Server finds a server by name, without regard to case.
func (t Topology) Server(name string) (Server, bool) {
	for _, s := range t.Servers {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return Server{}, false
}

// FailoverGroup finds a failover group by name, without regard to case.
func (t Topology) FailoverGroup(name string) (FailoverGroup, bool) {
	for _, g := range t.Groups {
		if strings.EqualFold(g.Name, name) {
			return g, true
		}
	}
	return FailoverGroup{}, false
}

// Key finds a key version as its vault showed it.
func (t Topology) Key(id KeyID) (VaultKey, bool) {
	for _, k := range t.Keys {
		if k.ID == id {
			return k, true
		}
	}
	return VaultKey{}, false
}

// Vault finds a vault by its host.
func (t Topology) Vault(host string) (Vault, bool) {
	for _, v := range t.Vaults {
		if strings.EqualFold(v.Host, host) {
			return v, true
		}
	}
	return Vault{}, false
}

// MayUse reports whether the observed grants let the server's identity get,
// wrap and unwrap with the key. It says nothing of the key's own state.
func (t Topology) MayUse(server string, key KeyID) bool {
	var get, wrap, unwrap bool
	for _, g := range t.Grants {
		if !strings.EqualFold(g.Server, server) || !strings.EqualFold(g.Vault, key.Vault()) {
			continue
		}
		if g.Key != "" && !strings.EqualFold(g.Key, key.Name) {
			continue
		}
		get, wrap, unwrap = get || g.Get, wrap || g.Wrap, unwrap || g.Unwrap
	}
	return get && wrap && unwrap
}

// Registered finds a registered key of the server by key id.
func (s Server) Registered(key KeyID) (ServerKey, bool) {
	for _, k := range s.Keys {
		if k.Key == key {
			return k, true
		}
	}
	return ServerKey{}, false
}

// Database finds a database of the server by name, without regard to case.
func (s Server) Database(name string) (Database, bool) {
	for _, d := range s.Databases {
		if strings.EqualFold(d.Name, name) {
			return d, true
		}
	}
	return Database{}, false
}

// Partners are the names of all servers that share a replication link with
// the server, in either direction, sorted as the servers are.
func (t Topology) Partners(server string) []string {
	linked := map[string]bool{}
	for _, l := range t.Links {
		switch {
		case strings.EqualFold(l.Primary, server):
			linked[strings.ToLower(l.Secondary)] = true
		case strings.EqualFold(l.Secondary, server):
			linked[strings.ToLower(l.Primary)] = true
		}
	}
	for _, g := range t.Groups {
		member := false
		for _, m := range g.Members {
			member = member || strings.EqualFold(m.Server, server)
		}
		for _, m := range g.Members {
			if member && !strings.EqualFold(m.Server, server) {
				linked[strings.ToLower(m.Server)] = true
			}
		}
	}
	var names []string
	for _, s := range t.Servers {
		if linked[strings.ToLower(s.Name)] {
			names = append(names, s.Name)
		}
	}
	return names
}
