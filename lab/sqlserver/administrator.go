package sqlserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Administrator is a server's Microsoft Entra administrator.
// Source: https://learn.microsoft.com/rest/api/sql/server-azure-ad-administrators/get
type Administrator struct {
	Type          string `json:"administratorType,omitempty"` // ActiveDirectory
	Login         string `json:"login,omitempty"`
	SID           string `json:"sid,omitempty"` // object id, of an application its client id
	TenantID      string `json:"tenantId,omitempty"`
	PrincipalType string `json:"principalType,omitempty"`
	EntraOnly     bool   `json:"azureADOnlyAuthentication"`
}

const (
	upsertAdministrator = "CreateActiveDirectoryAdministrator"
	dropAdministrator   = "DeleteActiveDirectoryAdministrator"
	setEntraOnly        = "UpsertServerAzureADOnlyAuth"
	dropEntraOnly       = "DeleteServerAzureADOnlyAuth"
	administratorName   = "ActiveDirectory"
	entraOnlyName       = "Default"
)

func (s *Service) administratorRoutes() []arm.Route {
	const admins = serverPath + "/administrators"
	const only = serverPath + "/azureADOnlyAuthentications"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: admins, Handle: s.administratorHandler(s.viewAdministrators)},
		{Method: http.MethodGet, Pattern: admins + "/{administratorName}", Handle: s.administratorHandler(s.viewAdministrator)},
		{Method: http.MethodPut, Pattern: admins + "/{administratorName}", Handle: s.putAdministrator},
		{Method: http.MethodDelete, Pattern: admins + "/{administratorName}", Handle: s.deleteAdministrator},
		{Method: http.MethodGet, Pattern: only, Handle: s.administratorHandler(s.viewEntraOnlyList)},
		{Method: http.MethodGet, Pattern: only + "/{authenticationName}", Handle: s.administratorHandler(s.viewEntraOnly)},
		{Method: http.MethodPut, Pattern: only + "/{authenticationName}", Handle: s.putEntraOnly},
		{Method: http.MethodDelete, Pattern: only + "/{authenticationName}", Handle: s.deleteEntraOnly},
	}
}

func (s *Service) handleAdministratorOperations() {
	result := func(view func(Server) any) arm.Result {
		return func(tx *store.Tx, op arm.Operation) (any, error) {
			var wanted administratorPayload
			if err := op.Decode(&wanted); err != nil {
				return nil, err
			}
			server, err := s.mustServer(tx, wanted.Server)
			return view(server), err
		}
	}
	admin := result(func(server Server) any { return administratorView(server) })
	only := result(func(server Server) any { return entraOnlyView(server) })
	s.Operations.Handle(upsertAdministrator, s.executeAdministrator, admin)
	s.Operations.Handle(dropAdministrator, s.executeAdministrator, nil)
	s.Operations.Handle(setEntraOnly, s.executeAdministrator, only)
	s.Operations.Handle(dropEntraOnly, s.executeAdministrator, nil)
}

// administrator reads the server's Entra administrator; found is false when
// it has none.
func (s Server) administrator() (admin Administrator, found bool) {
	if len(s.Administrator) == 0 || json.Unmarshal(s.Administrator, &admin) != nil {
		return Administrator{}, false
	}
	return admin, admin.SID != ""
}

type administratorBody struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties map[string]any `json:"properties"`
}

func administratorView(server Server) administratorBody {
	admin, _ := server.administrator()
	return administratorBody{
		ID: server.ID() + "/administrators/" + administratorName, Name: administratorName, Type: "Microsoft.Sql/servers/administrators",
		Properties: map[string]any{
			"administratorType": administratorName, "login": admin.Login, "sid": admin.SID, "tenantId": admin.TenantID,
			"azureADOnlyAuthentication": admin.EntraOnly,
		},
	}
}

func entraOnlyView(server Server) administratorBody {
	admin, _ := server.administrator()
	return administratorBody{
		ID: server.ID() + "/azureADOnlyAuthentications/" + entraOnlyName, Name: entraOnlyName, Type: "Microsoft.Sql/servers/azureADOnlyAuthentications",
		Properties: map[string]any{"azureADOnlyAuthentication": admin.EntraOnly},
	}
}

func (s *Service) administratorHandler(view func(r *arm.Request, server Server) (any, error)) arm.Handler {
	return func(_ context.Context, r *arm.Request) (*arm.Response, error) {
		server, err := s.serverOf(r)
		if err != nil {
			return nil, err
		}
		body, err := view(r, server)
		if err != nil {
			return nil, err
		}
		return arm.OK(body), nil
	}
}

// serverOf reads the server that a request's path names.
func (s *Service) serverOf(r *arm.Request) (server Server, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		server, err = s.server(tx, r)
		return err
	})
	return server, err
}

func (s *Service) viewAdministrators(_ *arm.Request, server Server) (any, error) {
	if _, found := server.administrator(); !found {
		return listOf([]administratorBody{}), nil
	}
	return listOf([]administratorBody{administratorView(server)}), nil
}

func (s *Service) viewAdministrator(r *arm.Request, server Server) (any, error) {
	if _, found := server.administrator(); !found || !strings.EqualFold(r.Param("administratorName"), administratorName) {
		return nil, notFound("Microsoft.Sql/servers/administrators", r.Param("administratorName"))
	}
	return administratorView(server), nil
}

func (s *Service) viewEntraOnlyList(_ *arm.Request, server Server) (any, error) {
	return listOf([]administratorBody{entraOnlyView(server)}), nil
}

func (s *Service) viewEntraOnly(r *arm.Request, server Server) (any, error) {
	if !strings.EqualFold(r.Param("authenticationName"), entraOnlyName) {
		return nil, notFound("Microsoft.Sql/servers/azureADOnlyAuthentications", r.Param("authenticationName"))
	}
	return entraOnlyView(server), nil
}

// administratorPayload is what operations on the administrator carry: Admin
// replaces it, nil removes it; EntraOnly, where set, changes that alone.
type administratorPayload struct {
	Server    string
	Admin     *Administrator
	EntraOnly *bool
}

func (s *Service) putAdministrator(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct {
		Properties *struct {
			AdministratorType, Login, SID, TenantID string
		} `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	server, err := s.serverOf(r)
	if err != nil {
		return nil, err
	}
	p := body.Properties
	if p == nil || p.Login == "" || !guidPattern.MatchString(p.SID) || !strings.EqualFold(r.Param("administratorName"), administratorName) ||
		(p.AdministratorType != "" && !strings.EqualFold(p.AdministratorType, administratorName)) {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidServerAzureADAdministratorRequest", "The server administrator request needs the name ActiveDirectory, a login and a sid that is a GUID.")
	}
	now, _ := server.administrator()
	admin := Administrator{Type: administratorName, Login: p.Login, SID: strings.ToLower(p.SID), TenantID: firstText(p.TenantID, s.TenantID), PrincipalType: now.PrincipalType, EntraOnly: now.EntraOnly}
	return s.acceptAdministrator(ctx, r, server, upsertAdministrator, administratorPayload{Server: server.Name, Admin: &admin})
}

func (s *Service) acceptAdministrator(ctx context.Context, r *arm.Request, server Server, kind string, payload administratorPayload) (*arm.Response, error) {
	segment := "administrator"
	if kind == setEntraOnly || kind == dropEntraOnly {
		segment = "azureADOnlyAuthentication"
	}
	op := s.operation(r, server, latency.Kind(kind), segment)
	op.Resource = server.ID() + "/administrators/" + administratorName
	return s.accept(ctx, r, op, payload)
}

func (s *Service) deleteAdministrator(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, err := s.serverOf(r)
	if err != nil {
		return nil, err
	}
	admin, found := server.administrator()
	switch {
	case !found:
		return &arm.Response{Status: http.StatusNoContent}, nil
	case admin.EntraOnly:
		return nil, arm.Refuse(http.StatusBadRequest, "AadOnlyAuthenticationIsEnabled", "Azure Active Directory Only Authentication is enabled on server '%s': disable it before the administrator is removed.", server.Name)
	}
	return s.acceptAdministrator(ctx, r, server, dropAdministrator, administratorPayload{Server: server.Name})
}

func (s *Service) putEntraOnly(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct {
		Properties struct {
			EntraOnly *bool `json:"azureADOnlyAuthentication"`
		} `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	server, err := s.serverOf(r)
	if err != nil {
		return nil, err
	}
	if body.Properties.EntraOnly == nil || !strings.EqualFold(r.Param("authenticationName"), entraOnlyName) {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidServerAADOnlyAuthRequest", "The request needs the name Default and the property azureADOnlyAuthentication.")
	}
	if _, found := server.administrator(); !found {
		return nil, arm.Refuse(http.StatusBadRequest, "AadOnlyAuthenticationNoAadAdminConfigured", "Server '%s' has no Azure Active Directory administrator: set one first.", server.Name)
	}
	return s.acceptAdministrator(ctx, r, server, setEntraOnly, administratorPayload{Server: server.Name, EntraOnly: body.Properties.EntraOnly})
}

func (s *Service) deleteEntraOnly(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, err := s.serverOf(r)
	if err != nil {
		return nil, err
	}
	admin, _ := server.administrator()
	if !admin.EntraOnly {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	off := false
	return s.acceptAdministrator(ctx, r, server, dropEntraOnly, administratorPayload{Server: server.Name, EntraOnly: &off})
}

func (s *Service) executeAdministrator(_ context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted administratorPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		server, err := s.mustServer(tx, wanted.Server)
		if err != nil {
			return err
		}
		admin, _ := server.administrator()
		switch {
		case wanted.EntraOnly != nil:
			admin.EntraOnly = *wanted.EntraOnly
		case wanted.Admin != nil:
			admin = *wanted.Admin
		default:
			server.Administrator = nil
			return s.servers.Put(tx, server.key(), server)
		}
		if server.Administrator, err = json.Marshal(admin); err != nil {
			return err
		}
		return s.servers.Put(tx, server.key(), server)
	}, nil
}

// EntraAdministrator reads a server's Entra administrator; found is false
// when it has none.
func (s *Service) EntraAdministrator(server string) (admin Administrator, found bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		record, there, err := s.servers.Get(tx, strings.ToLower(server))
		if there {
			admin, found = record.administrator()
		}
		return err
	})
	return admin, found, err
}

// CheckLogin reports whether login and password are those of the server's
// administrator, in a time that does not depend on where they differ. A
// server that takes Entra tokens only has no such login.
func (s *Service) CheckLogin(server, login, password string) (bool, error) {
	var record Server
	found := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		record, found, err = s.servers.Get(tx, strings.ToLower(server))
		return err
	})
	if err != nil || !found {
		return false, err
	}
	if admin, _ := record.administrator(); admin.EntraOnly || len(record.AdminSecret) == 0 {
		return false, nil
	}
	secret, err := s.Sealer.Open(record.AdminSecret, adminSecretOwner(record))
	if err != nil {
		return false, err
	}
	defer clear(secret)
	given, kept := sha256.Sum256([]byte(password)), sha256.Sum256(secret)
	same := subtle.ConstantTimeCompare(given[:], kept[:])
	return same == 1 && strings.EqualFold(login, record.AdminLogin), nil
}
