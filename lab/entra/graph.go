package entra

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// graphError is a refusal of Microsoft Graph.
// Source: https://learn.microsoft.com/graph/errors
type graphError struct {
	Status        int
	Code, Message string
}

// Error is the message.
func (e *graphError) Error() string { return e.Message }

// graphPrincipal is a servicePrincipal of Graph.
// Source: https://learn.microsoft.com/graph/api/resources/serviceprincipal
type graphPrincipal struct {
	Context          string   `json:"@odata.context,omitempty"`
	ID               string   `json:"id"`
	AccountEnabled   bool     `json:"accountEnabled"`
	AlternativeNames []string `json:"alternativeNames"`
	AppID            string   `json:"appId"`
	AppDisplayName   string   `json:"appDisplayName"`
	AppOwner         string   `json:"appOwnerOrganizationId"`
	DisplayName      string   `json:"displayName"`
	Names            []string `json:"servicePrincipalNames"`
	Type             string   `json:"servicePrincipalType"`
	Tags             []string `json:"tags"`
}

func (p Principal) graph() graphPrincipal {
	shown := graphPrincipal{
		ID: p.ObjectID, AccountEnabled: true, AlternativeNames: []string{}, AppID: p.AppID, AppDisplayName: p.Name, AppOwner: p.TenantID,
		DisplayName: p.Name, Names: []string{p.AppID}, Type: "Application", Tags: []string{},
	}
	if p.ManagedIdentity != "" {
		shown.Type = "ManagedIdentity"
		explicit := strings.Contains(strings.ToLower(p.ManagedIdentity), "/providers/microsoft.managedidentity/userassignedidentities/")
		shown.AlternativeNames = []string{fmt.Sprintf("isExplicit=%t", explicit), p.ManagedIdentity}
	}
	return shown
}

// GraphHandler answers the calls to Microsoft Graph by which the Azure CLI and
// Terraform find service principals: by id, and by $filter on appId,
// servicePrincipalNames or displayName. Everything else is a Graph error.
func (s *Service) GraphHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := s.NewID()
		w.Header().Set("request-id", id)
		w.Header().Set("Cache-Control", "no-cache")
		answer, err := s.answerGraph(r)
		if err == nil {
			writeJSON(w, http.StatusOK, answer)
			return
		}
		refusal, ok := errors.AsType[*graphError](err)
		if !ok {
			s.Log.Error("graph.failed", "path", r.URL.Path, "error", err)
			refusal = &graphError{http.StatusInternalServerError, "InternalServerError", "The lab's Microsoft Graph failed."}
		}
		client := correlationOf(r)
		if client == "" {
			client = id
		}
		if refusal.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		}
		writeJSON(w, refusal.Status, map[string]any{"error": map[string]any{
			"code": refusal.Code, "message": refusal.Message,
			"innerError": map[string]string{"date": s.Clock.Now().Format("2006-01-02T15:04:05"), "request-id": id, "client-request-id": client},
		}})
	})
}

func (s *Service) answerGraph(r *http.Request) (any, error) {
	caller, err := s.authenticateGraph(r)
	if err != nil {
		return nil, err
	}
	segments := split(r.URL.Path)
	if len(segments) < 2 || segments[0] != "v1.0" {
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "Invalid version: the lab serves v1.0."}
	}
	resource := strings.ToLower(segments[1])
	switch {
	case r.Method != http.MethodGet:
		// Below: nothing can be changed by Graph.
	case resource == "me":
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow."}
	case resource == "serviceprincipals" && len(segments) == 2:
		return s.listPrincipals(r.Host, r.URL.Query().Get("$filter"))
	case resource == "serviceprincipals" && len(segments) == 3:
		return s.showPrincipal(r.Host, segments[2])
	}
	s.Log.Debug("graph.not_served", "method", r.Method, "path", r.URL.Path, "caller", caller.AppID)
	return nil, &graphError{http.StatusNotFound, "Request_ResourceNotFound", fmt.Sprintf(
		"The lab's Microsoft Graph does not serve %s %s: docs/parity.md lists what it does.", r.Method, r.URL.Path)}
}

func (s *Service) authenticateGraph(r *http.Request) (Claims, error) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || token == "" {
		return Claims{}, &graphError{http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty."}
	}
	caller, err := s.Verify(token, append(graphResources(), s.bases()...))
	failed, ok := errors.AsType[*TokenError](err)
	if !ok {
		return caller, err
	}
	message := "Access token validation failure."
	switch failed.Check {
	case CheckAudience:
		message += " Invalid audience."
	case CheckIssuer:
		message += " Invalid issuer."
	case CheckExpiry:
		message = "Lifetime validation failed, the token is expired."
	case CheckForm, CheckSignature, CheckPrincipal:
		message = "Invalid access token. " + failed.Message
	}
	return Claims{}, &graphError{http.StatusUnauthorized, "InvalidAuthenticationToken", message}
}

func (s *Service) listPrincipals(host, filter string) (any, error) {
	wanted, err := parseFilter(filter)
	if err != nil {
		return nil, err
	}
	found := []graphPrincipal{}
	err = s.Store.View(func(tx *store.Tx) error {
		all, err := s.principals.Scan(tx, "")
		for _, each := range all {
			if shown := each.Record.graph(); wanted.matches(shown) {
				found = append(found, shown)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the service principals: %w", err)
	}
	return map[string]any{"@odata.context": "https://" + host + "/v1.0/$metadata#servicePrincipals", "value": found}, nil
}

func (s *Service) showPrincipal(host, objectID string) (any, error) {
	var principal Principal
	var found bool
	err := s.Store.View(func(tx *store.Tx) (err error) {
		principal, found, err = s.FindPrincipal(tx, objectID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find the service principal: %w", err)
	}
	if !found {
		return nil, &graphError{http.StatusNotFound, "Request_ResourceNotFound", fmt.Sprintf(
			"Resource '%s' does not exist or one of its queried reference-property objects are not present.", objectID)}
	}
	shown := principal.graph()
	shown.Context = "https://" + host + "/v1.0/$metadata#servicePrincipals/$entity"
	return shown, nil
}
