package sqlserver

import (
	"encoding/json"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

type serverBody struct {
	Identity   *identityBody     `json:"identity,omitempty"`
	Kind       string            `json:"kind"`
	Properties serverProperties  `json:"properties"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
}

type identityBody struct {
	PrincipalID  string                      `json:"principalId,omitempty"`
	Type         string                      `json:"type"`
	TenantID     string                      `json:"tenantId,omitempty"`
	UserAssigned map[string]userAssignedBody `json:"userAssignedIdentities,omitempty"`
}

type userAssignedBody struct {
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

type serverProperties struct {
	AdministratorLogin            string          `json:"administratorLogin,omitempty"`
	Version                       string          `json:"version"`
	State                         string          `json:"state"`
	FullyQualifiedDomainName      string          `json:"fullyQualifiedDomainName"`
	PrivateEndpointConnections    []string        `json:"privateEndpointConnections"`
	MinimalTLSVersion             string          `json:"minimalTlsVersion"`
	PublicNetworkAccess           string          `json:"publicNetworkAccess"`
	PrimaryUserAssignedIdentityID string          `json:"primaryUserAssignedIdentityId,omitempty"`
	FederatedClientID             string          `json:"federatedClientId,omitempty"`
	KeyID                         string          `json:"keyId,omitempty"`
	Administrators                json.RawMessage `json:"administrators,omitempty"`
	RestrictOutboundNetworkAccess string          `json:"restrictOutboundNetworkAccess"`
	ExternalGovernanceStatus      string          `json:"externalGovernanceStatus"`
}

// domain is where the lab's servers are named.
const domain = ".database.windows.net"

func (s *Service) serverView(tx *store.Tx, server Server) (serverBody, error) {
	identity, err := s.identityView(tx, server.Identity)
	return serverBody{
		Identity: identity, Kind: "v12.0", Location: server.Location, Tags: server.Tags,
		ID: server.ID(), Name: server.Name, Type: "Microsoft.Sql/servers",
		Properties: serverProperties{
			AdministratorLogin: server.AdminLogin, Version: "12.0", State: "Ready",
			FullyQualifiedDomainName: server.key() + domain, PrivateEndpointConnections: []string{},
			MinimalTLSVersion: server.MinimalTLS, PublicNetworkAccess: server.PublicAccess,
			PrimaryUserAssignedIdentityID: server.Identity.Primary, FederatedClientID: server.FederatedID,
			KeyID: server.Protector.URI, Administrators: server.Administrator,
			RestrictOutboundNetworkAccess: server.Outbound, ExternalGovernanceStatus: "Disabled",
		},
	}, err
}

func (s *Service) identityView(tx *store.Tx, identity Identity) (*identityBody, error) {
	if identity.Type == "" {
		return nil, nil
	}
	body := &identityBody{PrincipalID: identity.PrincipalID, Type: identity.Type, TenantID: identity.TenantID}
	for _, id := range identity.UserAssigned {
		found, known, err := s.Identities.FindIdentity(tx, id)
		if err != nil {
			return nil, err
		}
		if body.UserAssigned == nil {
			body.UserAssigned = map[string]userAssignedBody{}
		}
		if known {
			body.UserAssigned[id] = userAssignedBody{PrincipalID: found.PrincipalID, ClientID: found.ClientID}
		}
	}
	return body, nil
}

// Resource is one entry of ARM's resource lists.
type Resource struct {
	ID, Name, Type, Kind, Location string
	Tags                           map[string]string
}

// Resources lists servers and databases of a subscription, or of one of its
// resource groups where group is not empty.
func (s *Service) Resources(tx *store.Tx, subscription, group string) ([]Resource, error) {
	servers, err := s.serversIn(tx, subscription, group)
	if err != nil {
		return nil, err
	}
	var resources []Resource
	for _, server := range servers {
		resources = append(resources, Resource{ID: server.ID(), Name: server.Name, Type: "Microsoft.Sql/servers", Kind: "v12.0", Location: server.Location, Tags: server.Tags})
		databases, err := s.databasesOf(tx, server.Name)
		if err != nil {
			return nil, err
		}
		for _, db := range databases {
			resources = append(resources, Resource{
				ID: server.ID() + "/databases/" + db.Name, Name: server.Name + "/" + db.Name, Type: "Microsoft.Sql/servers/databases",
				Kind: "v12.0,user", Location: server.Location, Tags: db.Tags,
			})
		}
	}
	return resources, nil
}

func (s *Service) serversIn(tx *store.Tx, subscription, group string) ([]Server, error) {
	entries, err := s.servers.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	var servers []Server
	for _, entry := range entries {
		server := entry.Record
		if strings.EqualFold(server.Subscription, subscription) && (group == "" || strings.EqualFold(server.ResourceGroup, group)) {
			servers = append(servers, server)
		}
	}
	return servers, nil
}

// DeleteGroup drops the servers of a resource group that is deleted.
func (s *Service) DeleteGroup(tx *store.Tx, subscription, group string) error {
	servers, err := s.serversIn(tx, subscription, group)
	if err != nil {
		return err
	}
	for _, server := range servers {
		if err := s.dropServer(tx, server); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) serverResult(tx *store.Tx, op arm.Operation) (any, error) {
	var wanted serverPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Server.Name)
	if err != nil {
		return nil, err
	}
	return s.serverView(tx, server)
}
