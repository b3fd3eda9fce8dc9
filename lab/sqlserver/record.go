package sqlserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Server is the record of a logical server, kept under its name in lower
// case: server names are unique in all of Azure.
type Server struct {
	Name          string            `json:"name"`
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resourceGroup"`
	Location      string            `json:"location"` // region name
	Tags          map[string]string `json:"tags,omitempty"`
	CreatedAt     time.Time         `json:"createdAt"`
	AdminLogin    string            `json:"adminLogin"`
	AdminSecret   []byte            `json:"adminSecret,omitempty"` // sealed
	Administrator json.RawMessage   `json:"administrators,omitempty"`
	MinimalTLS    string            `json:"minimalTls,omitempty"`
	PublicAccess  string            `json:"publicAccess"`
	Outbound      string            `json:"outbound"`
	Identity      Identity          `json:"identity"`
	FederatedID   string            `json:"federatedClientId,omitempty"`
	Protector     Protector         `json:"protector"`
	// LookedAt is when a newer version of a protector that rotates by itself
	// was last looked for.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	// ServiceKey is the sealed AES key that stands for the server's built-in
	// certificate, ServiceThumbprint its thumbprint.
	ServiceKey        []byte                     `json:"serviceKey"`
	ServiceThumbprint string                     `json:"serviceThumbprint"`
	Settings          map[string]json.RawMessage `json:"settings,omitempty"` // properties of sub-resources that only keep what is put
}

// Identity is a server's managed identity.
type Identity struct {
	Type         string   `json:"type"` // empty for none
	PrincipalID  string   `json:"principalId,omitempty"`
	TenantID     string   `json:"tenantId,omitempty"`
	UserAssigned []string `json:"userAssigned,omitempty"` // ARM ids
	Primary      string   `json:"primary,omitempty"`      // ARM id of the primary user-assigned one
}

// Protector is a server's TDE protector. An empty URI is service-managed.
type Protector struct {
	URI          string `json:"uri,omitempty"`
	KeyName      string `json:"keyName,omitempty"`
	AutoRotation bool   `json:"autoRotation,omitempty"`
}

// ServiceManagedKey is the name of the pseudo key for the built-in certificate.
const ServiceManagedKey = "ServiceManaged"

// ServerKey is a customer-managed key registered on a server.
type ServerKey struct {
	Server       string    `json:"server"`
	Name         string    `json:"name"`
	URI          string    `json:"uri"`
	Thumbprint   string    `json:"thumbprint"`
	CreatedAt    time.Time `json:"createdAt"`
	AutoRotation bool      `json:"autoRotation,omitempty"`
}

// Database is the record of a user database on one server.
type Database struct {
	Server    string                     `json:"server"` // name as its server has it
	Name      string                     `json:"name"`
	ID        string                     `json:"id"`     // databaseId, a GUID
	Number    int                        `json:"number"` // database_id on its server
	Status    string                     `json:"status"`
	CreatedAt time.Time                  `json:"createdAt"`
	Tags      map[string]string          `json:"tags,omitempty"`
	Sku       SKU                        `json:"sku"`
	Given     map[string]json.RawMessage `json:"given,omitempty"` // properties that are kept as put
	Secondary string                     `json:"secondaryType,omitempty"`
	Settings  map[string]json.RawMessage `json:"settings,omitempty"`
	// Loss is what the loss of its key has done to the database; nil while it
	// has its key.
	Loss *Loss `json:"loss,omitempty"`
	// OrphanedAt is when its primary's key loss made a geo-secondary a
	// database of its own; zero: it never did.
	OrphanedAt time.Time `json:"orphanedAt,omitzero"`
}

// SKU is a database's service objective.
type SKU struct {
	Name     string `json:"name"`
	Tier     string `json:"tier,omitempty"`
	Family   string `json:"family,omitempty"`
	Capacity int    `json:"capacity,omitempty"`
}

// Link is a geo-replication relation of two databases. How far it is, the
// instances tell.
type Link struct {
	ID        string    `json:"id"`
	Primary   DBRef     `json:"primary"`
	Secondary DBRef     `json:"secondary"`
	StartedAt time.Time `json:"startedAt"`
	Group     string    `json:"group,omitempty"` // failover group that owns it
}

// DBRef names a database on a server, both in lower case.
type DBRef = instance.Ref

func refOf(server, database string) DBRef { return instance.NewRef(server, database) }

// Group is a failover group, kept once for all its members.
type Group struct {
	Name           string            `json:"name"`
	Members        []string          `json:"members"` // server names in lower case, in the order given
	Primary        string            `json:"primary"`
	Databases      []string          `json:"databases"` // in lower case
	Policy         string            `json:"policy"`
	GraceMinutes   int               `json:"graceMinutes,omitempty"`
	ReadOnlyPolicy string            `json:"readOnlyPolicy"`
	ReadOnlyTarget string            `json:"readOnlyTarget,omitempty"` // server name in lower case
	Tags           map[string]string `json:"tags,omitempty"`
}

// ID is the server's ARM id.
func (s Server) ID() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Sql/servers/%s", s.Subscription, s.ResourceGroup, s.Name)
}

func (s Server) key() string { return strings.ToLower(s.Name) }

// regionDisplay prints a region as Azure SQL's geo resources do.
func regionDisplay(name string) string {
	if region, known := arm.FindRegion(name); known {
		return region.Display
	}
	return name
}

// server finds the server that a request's path names. child says that a
// resource below it is asked for, which changes Azure's answer.
func (s *Service) server(tx *store.Tx, r *arm.Request) (Server, error) {
	server, found, err := s.findServer(tx, r)
	if err != nil || found {
		return server, err
	}
	name := r.Param("serverName")
	return Server{}, arm.Refuse(http.StatusNotFound, "ParentResourceNotFound",
		"Failed to perform '%s' on resource(s) of type 'servers', because the parent resource '/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Sql/servers/%s' could not be found.",
		verb(r), r.Param("subscriptionId"), r.Param("resourceGroupName"), name)
}

func verb(r *arm.Request) string {
	if r.HTTP.Method == http.MethodGet {
		return "read"
	}
	return "write"
}

func (s *Service) findServer(tx *store.Tx, r *arm.Request) (Server, bool, error) {
	server, found, err := s.servers.Get(tx, strings.ToLower(r.Param("serverName")))
	if err != nil || !found {
		return Server{}, false, err
	}
	here := strings.EqualFold(server.Subscription, r.Param("subscriptionId")) && strings.EqualFold(server.ResourceGroup, r.Param("resourceGroupName"))
	return server, here, nil
}

// database finds the server and database that a request's path names.
func (s *Service) database(tx *store.Tx, r *arm.Request) (Server, Database, error) {
	server, err := s.server(tx, r)
	if err != nil {
		return Server{}, Database{}, err
	}
	db, found, err := s.databases.Get(tx, refOf(server.Name, r.Param("databaseName")).String())
	if err != nil {
		return Server{}, Database{}, err
	}
	if !found {
		return Server{}, Database{}, notFound("Microsoft.Sql/servers/databases", r.Param("databaseName"))
	}
	return server, db, nil
}

// mustServer reads a server that another record names.
func (s *Service) mustServer(tx *store.Tx, name string) (Server, error) {
	server, found, err := s.servers.Get(tx, strings.ToLower(name))
	if err == nil && !found {
		err = arm.Refuse(http.StatusNotFound, "SubscriptionDoesNotHaveServer", "Subscription does not have the server '%s'.", name)
	}
	return server, err
}

// linksOf lists the links in which the server takes part, in either role.
func (s *Service) linksOf(tx *store.Tx, server string) ([]Link, error) {
	entries, err := s.links.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	server = strings.ToLower(server)
	var links []Link
	for _, entry := range entries {
		if entry.Record.Primary.Server == server || entry.Record.Secondary.Server == server {
			links = append(links, entry.Record)
		}
	}
	return links, nil
}

// linksOfDatabase lists the links of one database, in either role.
func (s *Service) linksOfDatabase(tx *store.Tx, ref DBRef) ([]Link, error) {
	all, err := s.linksOf(tx, ref.Server)
	if err != nil {
		return nil, err
	}
	var links []Link
	for _, link := range all {
		if link.Primary == ref || link.Secondary == ref {
			links = append(links, link)
		}
	}
	return links, nil
}

// isReplica reports whether the database is the secondary of a link.
func (s *Service) isReplica(tx *store.Tx, ref DBRef) (bool, error) {
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return false, err
	}
	for _, link := range links {
		if link.Secondary == ref {
			return true, nil
		}
	}
	return false, nil
}

// databasesOf lists a server's databases by name.
func (s *Service) databasesOf(tx *store.Tx, server string) ([]Database, error) {
	entries, err := s.databases.Scan(tx, strings.ToLower(server)+"/")
	if err != nil {
		return nil, err
	}
	list := make([]Database, 0, len(entries))
	for _, entry := range entries {
		list = append(list, entry.Record)
	}
	return list, nil
}

// keysOf lists the keys registered on a server.
func (s *Service) keysOf(tx *store.Tx, server string) ([]ServerKey, error) {
	entries, err := s.keys.Scan(tx, strings.ToLower(server)+"/")
	if err != nil {
		return nil, err
	}
	list := make([]ServerKey, 0, len(entries))
	for _, entry := range entries {
		list = append(list, entry.Record)
	}
	return list, nil
}

func keyKey(server, name string) string { return strings.ToLower(server) + "/" + strings.ToLower(name) }
