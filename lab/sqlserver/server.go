package sqlserver

import (
	"context"
	"crypto/sha1" //nolint:gosec // a thumbprint names a key, it protects nothing
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	upsertServer = "UpsertLogicalServer"
	dropServer   = "DropLogicalServer"
)

func (s *Service) serverRoutes() []arm.Route {
	return []arm.Route{
		{Method: http.MethodGet, Pattern: subscriptionPath + "/providers/Microsoft.Sql/servers", Handle: s.listServers},
		{Method: http.MethodGet, Pattern: serversPath, Handle: s.listServers},
		{Method: http.MethodGet, Pattern: serverPath, Handle: s.getServer},
		{Method: http.MethodPut, Pattern: serverPath, Handle: s.putServer},
		{Method: http.MethodPatch, Pattern: serverPath, Handle: s.putServer},
		{Method: http.MethodDelete, Pattern: serverPath, Handle: s.deleteServer},
		{Method: http.MethodPost, Pattern: subscriptionPath + "/providers/Microsoft.Sql/checkNameAvailability", Handle: s.checkServerName},
	}
}

func (s *Service) handleServerOperations() {
	s.Operations.Handle(upsertServer, s.executeUpsertServer, s.serverResult)
	s.Operations.Handle(dropServer, s.executeDropServer, nil)
}

func (s *Service) listServers(_ context.Context, r *arm.Request) (*arm.Response, error) {
	group := ""
	if strings.Contains(strings.ToLower(r.Path), "/resourcegroups/") {
		group = r.Param("resourceGroupName")
	}
	var views []serverBody
	err := s.Store.View(func(tx *store.Tx) error {
		servers, err := s.serversIn(tx, r.Param("subscriptionId"), group)
		for _, server := range servers {
			view, viewErr := s.serverView(tx, server)
			if viewErr != nil {
				return viewErr
			}
			views = append(views, view)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

func (s *Service) getServer(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view serverBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, found, err := s.findServer(tx, r)
		if err != nil {
			return err
		}
		if !found {
			return notFound("Microsoft.Sql/servers", r.Param("serverName"))
		}
		view, err = s.serverView(tx, server)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

var serverNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (s *Service) checkServerName(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct{ Name, Type string }
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	answer := map[string]any{"name": body.Name, "available": true}
	err := s.Store.View(func(tx *store.Tx) error {
		_, taken, err := s.servers.Get(tx, strings.ToLower(body.Name))
		switch {
		case !serverNamePattern.MatchString(body.Name):
			answer["available"], answer["reason"], answer["message"] = false, "Invalid", fmt.Sprintf("Specified server name '%s' is invalid.", body.Name)
		case taken:
			answer["available"], answer["reason"], answer["message"] = false, "AlreadyExists", fmt.Sprintf("Specified server name '%s' is already used.", body.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(answer), nil
}

// serverRequest is the body of a server's PUT or PATCH. A pointer that is nil
// was not sent.
type serverRequest struct {
	Location string             `json:"location"`
	Tags     *map[string]string `json:"tags"`
	Identity *struct {
		Type         string                     `json:"type"`
		UserAssigned map[string]json.RawMessage `json:"userAssignedIdentities"`
	} `json:"identity"`
	Properties struct {
		AdministratorLogin            *string         `json:"administratorLogin"`
		AdministratorLoginPassword    *string         `json:"administratorLoginPassword"`
		MinimalTLSVersion             *string         `json:"minimalTlsVersion"`
		PublicNetworkAccess           *string         `json:"publicNetworkAccess"`
		RestrictOutboundNetworkAccess *string         `json:"restrictOutboundNetworkAccess"`
		PrimaryUserAssignedIdentityID *string         `json:"primaryUserAssignedIdentityId"`
		FederatedClientID             *string         `json:"federatedClientId"`
		KeyID                         *string         `json:"keyId"`
		Administrators                json.RawMessage `json:"administrators"`
	} `json:"properties"`
}

// serverPayload is what an upsert carries: the server as it shall be, and
// the key that its keyId asks for.
type serverPayload struct {
	Server       Server
	Key          Protector // URI empty: keyId asks for no change
	WantIdentity bool      // a system-assigned identity is to be made
}

func (s *Service) putServer(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var body serverRequest
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	server, exists, err := s.serverToChange(r, body)
	if err != nil {
		return nil, err
	}
	payload := serverPayload{Server: server}
	if err := s.applyServer(&payload, body, exists); err != nil {
		return nil, err
	}
	if err := s.wantKeyID(&payload, body); err != nil {
		return nil, err
	}
	op := s.operation(r, server, upsertServer, "server")
	if exists {
		op.Takes = s.Latency.Of("UpdateLogicalServer")
	}
	op.Resource, op.Holds = server.ID(), []string{"server " + server.key()}
	if payload.Key.URI != "" {
		op.Holds = append(op.Holds, protectorHold(server))
	}
	return s.acceptAlone(ctx, r, op, payload, arm.Refuse(http.StatusConflict, "UpsertLogicalServerRequestAlreadyInProgress",
		"An upsert request is already in progress on server '%s'.", server.Name))
}

// serverToChange finds the server, or begins a new one.
func (s *Service) serverToChange(r *arm.Request, body serverRequest) (server Server, exists bool, err error) {
	name := r.Param("serverName")
	here := false
	err = s.Store.View(func(tx *store.Tx) error {
		server, exists, err = s.servers.Get(tx, strings.ToLower(name))
		if err == nil && exists {
			_, here, err = s.findServer(tx, r)
		}
		return err
	})
	switch {
	case err != nil:
		return server, exists, err
	case exists && !here:
		return server, exists, arm.Refuse(http.StatusConflict, "NameAlreadyExists", "The name '%s%s' already exists. Choose a different name.", strings.ToLower(name), domain)
	case exists:
		return server, exists, nil
	case r.HTTP.Method == http.MethodPatch:
		return server, exists, notFound("Microsoft.Sql/servers", name)
	case !serverNamePattern.MatchString(name):
		return server, exists, arm.Refuse(http.StatusBadRequest, "InvalidServerName",
			"Invalid server name '%s'. It can only be made up of lowercase letters 'a'-'z', the numbers 0-9 and the hyphen. The hyphen may not lead or trail in the name.", name)
	}
	region, known := arm.FindRegion(body.Location)
	if !known {
		return server, exists, arm.Refuse(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type 'Microsoft.Sql/servers'.", body.Location)
	}
	return Server{
		Name: name, Subscription: r.Param("subscriptionId"), ResourceGroup: r.Param("resourceGroupName"), Location: region.Name,
		MinimalTLS: "None", PublicAccess: "Enabled", Outbound: "Disabled",
	}, false, nil
}

func (s *Service) applyServer(payload *serverPayload, body serverRequest, exists bool) error {
	server, props := &payload.Server, body.Properties
	if !exists && props.AdministratorLogin == nil && props.Administrators == nil {
		return arm.Refuse(http.StatusBadRequest, "InvalidServerAdministratorLogin", "The server administrator login is not specified.")
	}
	if body.Tags != nil {
		server.Tags = *body.Tags
	}
	set(&server.AdminLogin, props.AdministratorLogin)
	set(&server.MinimalTLS, props.MinimalTLSVersion)
	set(&server.PublicAccess, props.PublicNetworkAccess)
	set(&server.Outbound, props.RestrictOutboundNetworkAccess)
	set(&server.FederatedID, props.FederatedClientID)
	if props.AdministratorLoginPassword != nil {
		server.AdminSecret = s.Sealer.Seal([]byte(*props.AdministratorLoginPassword), adminSecretOwner(*server))
	}
	if len(props.Administrators) > 2 { // more than {}
		server.Administrator = props.Administrators
	}
	return s.applyIdentity(payload, body)
}

func adminSecretOwner(server Server) string { return "administrator password of " + server.key() }

func set(to *string, from *string) {
	if from != nil {
		*to = *from
	}
}

func (s *Service) applyIdentity(payload *serverPayload, body serverRequest) error {
	identity := &payload.Server.Identity
	if body.Identity != nil {
		types := strings.ReplaceAll(body.Identity.Type, " ", "")
		system := strings.Contains(types, "SystemAssigned")
		payload.WantIdentity = system && identity.PrincipalID == ""
		if !system {
			identity.PrincipalID = ""
		}
		identity.Type, identity.UserAssigned = types, nil
		for id := range body.Identity.UserAssigned {
			identity.UserAssigned = append(identity.UserAssigned, id)
		}
		slices.Sort(identity.UserAssigned)
		if types == "None" {
			*identity = Identity{}
		}
	}
	set(&identity.Primary, body.Properties.PrimaryUserAssignedIdentityID)
	for _, id := range identity.UserAssigned {
		if err := s.requireIdentity(id); err != nil {
			return err
		}
	}
	holds := slices.ContainsFunc(identity.UserAssigned, func(id string) bool { return strings.EqualFold(id, identity.Primary) })
	if identity.Primary != "" && !holds {
		return arm.Refuse(http.StatusBadRequest, "InvalidPrimaryIdentityId",
			"The primary user assigned identity '%s' is not one of the identities assigned to server '%s'.", identity.Primary, payload.Server.Name)
	}
	return nil
}

func (s *Service) requireIdentity(id string) error {
	return s.Store.View(func(tx *store.Tx) error {
		_, found, err := s.Identities.FindIdentity(tx, id)
		if err == nil && !found {
			err = arm.Refuse(http.StatusBadRequest, "MissingIdentityId", "The user assigned identity '%s' was not found.", id)
		}
		return err
	})
}

// wantKeyID reads properties.keyId: registering and setting the protector in
// one stroke. The id that is protector already asks for nothing: clients send
// back what they read.
func (s *Service) wantKeyID(payload *serverPayload, body serverRequest) error {
	uri := body.Properties.KeyID
	if uri == nil || *uri == "" || strings.EqualFold(*uri, payload.Server.Protector.URI) {
		return nil
	}
	if payload.Server.Identity.Primary == "" {
		return arm.Refuse(http.StatusBadRequest, "MissingPrimaryIdentity",
			"A primary user assigned identity must be specified on server '%s' when a key id is given.", payload.Server.Name)
	}
	key, err := parseKeyURI(*uri)
	if err != nil {
		return err
	}
	payload.Key = Protector{URI: key.String(), KeyName: key.ServerKeyName()}
	return nil
}

func (s *Service) executeUpsertServer(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted serverPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	thumbprint := ""
	if wanted.Key.URI != "" {
		var err error
		if thumbprint, err = s.checkProtector(ctx, wanted.Server, wanted.Key); err != nil {
			return nil, err
		}
	}
	return func(tx *store.Tx) error { return s.commitServer(tx, wanted, thumbprint) }, nil
}

// commitServer writes the server and, where keyId asked for it, the key's
// registration and the protector, all or nothing.
func (s *Service) commitServer(tx *store.Tx, wanted serverPayload, thumbprint string) error {
	server := wanted.Server
	now, exists, err := s.servers.Get(tx, server.key())
	if err != nil {
		return err
	}
	if exists {
		server.Protector, server.ServiceKey, server.ServiceThumbprint = now.Protector, now.ServiceKey, now.ServiceThumbprint
		server.CreatedAt, server.Settings = now.CreatedAt, now.Settings
	} else {
		server.CreatedAt = s.Clock.Now()
		if err := s.makeServiceKey(&server); err != nil {
			return err
		}
	}
	if wanted.WantIdentity {
		principal, err := s.Principals.CreateManagedIdentity(tx, server.Name, server.ID())
		if err != nil {
			return err
		}
		server.Identity.PrincipalID, server.Identity.TenantID = principal.ObjectID, principal.TenantID
	}
	if now.Identity.PrincipalID != "" && server.Identity.PrincipalID != now.Identity.PrincipalID {
		if err := s.Principals.DeletePrincipal(tx, now.Identity.PrincipalID); err != nil {
			return err
		}
	}
	if err := s.servers.Put(tx, server.key(), server); err != nil || wanted.Key.URI == "" {
		return err
	}
	key := keyPayload{Server: server.Name, Name: wanted.Key.KeyName, URI: wanted.Key.URI}
	if err := s.register(tx, key, thumbprint, s.Clock.Now()); err != nil {
		return err
	}
	return s.setProtector(tx, protectorPayload{Server: server.Name, Protector: wanted.Key})
}

// makeServiceKey gives a new server its built-in certificate: an AES-256 key
// that is unique to it.
func (s *Service) makeServiceKey(server *Server) error {
	key := make([]byte, dekSize)
	defer clear(key)
	if _, err := io.ReadFull(s.Random, key); err != nil {
		return fmt.Errorf("make built-in certificate of %s: %w", server.Name, err)
	}
	sum := sha1.Sum(key) //nolint:gosec // see the import
	server.ServiceThumbprint = strings.ToUpper(hex.EncodeToString(sum[:]))
	server.ServiceKey = s.Sealer.Seal(key, serviceKeyOwner(*server))
	return nil
}
