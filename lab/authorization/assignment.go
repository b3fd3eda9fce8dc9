package authorization

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Namespace is the provider's namespace.
const Namespace = "Microsoft.Authorization"

// scopes are the shapes of path at which roles are defined and assigned.
func scopes() []string {
	const group = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
	const resource = group + "/providers/{resourceNamespace}/{resourceType}/{resourceName}"
	return []string{"", "/subscriptions/{subscriptionId}", group, resource, resource + "/{childType}/{childName}"}
}

// Provider lists the routes.
func (s *Service) Provider() arm.Provider {
	var routes []arm.Route
	add := func(method, path, action string, handle arm.Handler) {
		routes = append(routes, arm.Route{Method: method, Pattern: path, Action: Namespace + "/" + action, Handle: handle})
	}
	for _, scope := range scopes() {
		assignments, definitions := scope+"/providers/Microsoft.Authorization/roleAssignments", scope+"/providers/Microsoft.Authorization/roleDefinitions"
		add(http.MethodGet, assignments, "roleAssignments/read", s.listAssignments)
		add(http.MethodGet, assignments+"/{name}", "roleAssignments/read", s.getAssignment)
		add(http.MethodPut, assignments+"/{name}", "roleAssignments/write", s.putAssignment)
		add(http.MethodDelete, assignments+"/{name}", "roleAssignments/delete", s.deleteAssignment)
		add(http.MethodGet, definitions, "roleDefinitions/read", s.listDefinitions)
		add(http.MethodGet, definitions+"/{name}", "roleDefinitions/read", s.getDefinition)
		add(http.MethodPut, definitions+"/{name}", "roleDefinitions/write", s.putDefinition)
		add(http.MethodDelete, definitions+"/{name}", "roleDefinitions/delete", s.deleteDefinition)
	}
	return arm.Provider{Namespace: Namespace, Routes: routes, Versions: []string{
		"2015-07-01", "2017-10-01-preview", "2018-01-01-preview", "2018-07-01", "2018-09-01-preview", "2020-03-01-preview", "2020-04-01-preview",
		"2020-08-01-preview", "2020-10-01-preview", "2022-04-01", "2022-05-01-preview", "2023-11-01",
	}}
}

// scopeOf is the part of the path before the provider's own.
func scopeOf(r *arm.Request) string {
	at := strings.LastIndex(strings.ToLower(r.Path), "/providers/microsoft.authorization/")
	return r.Path[:at]
}

type assignmentBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties assignmentProperties `json:"properties"`
}

type assignmentProperties struct {
	RoleDefinitionID string `json:"roleDefinitionId"`
	PrincipalID      string `json:"principalId"`
	PrincipalType    string `json:"principalType"`
	Scope            string `json:"scope"`
	CreatedOn        string `json:"createdOn"`
	UpdatedOn        string `json:"updatedOn"`
}

func assignmentView(a assignment) assignmentBody {
	subscription := ""
	if parts := strings.Split(a.Scope, "/"); len(parts) > 2 {
		subscription = "/subscriptions/" + parts[2]
	}
	at := arm.Timestamp(a.Created)
	return assignmentBody{
		ID: a.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name, Name: a.Name, Type: "Microsoft.Authorization/roleAssignments",
		Properties: assignmentProperties{
			RoleDefinitionID: subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role,
			PrincipalID:      a.Principal, PrincipalType: a.Type, Scope: firstText(a.Scope, "/"), CreatedOn: at, UpdatedOn: at,
		},
	}
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// standing lists the assignments that are not deleted.
func (s *Service) standing(tx *store.Tx) ([]assignment, error) {
	entries, err := s.assignments.Scan(tx, "")
	var list []assignment
	for _, entry := range entries {
		if !entry.Record.Deleted {
			list = append(list, entry.Record)
		}
	}
	return list, err
}

// find gives the standing assignment of a name at a scope.
func (s *Service) find(tx *store.Tx, scope, name string) (assignment, bool, error) {
	list, err := s.standing(tx)
	for _, a := range list {
		if strings.EqualFold(a.Name, name) && strings.EqualFold(a.Scope, scope) {
			return a, true, err
		}
	}
	return assignment{}, false, err
}

func (s *Service) listAssignments(_ context.Context, r *arm.Request) (*arm.Response, error) {
	wanted, err := parseFilter(r.HTTP.URL.Query().Get("$filter"))
	if err != nil {
		return nil, err
	}
	scope := scopeOf(r)
	views := []assignmentBody{}
	err = s.Store.View(func(tx *store.Tx) error {
		list, err := s.standing(tx)
		for _, a := range list {
			above, below := within(scope, a.Scope), within(a.Scope, scope)
			if (above || below && !wanted.atScope) && (wanted.principal == "" || strings.EqualFold(wanted.principal, a.Principal)) {
				views = append(views, assignmentView(a))
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(map[string]any{"value": views}), nil
}

func (s *Service) getAssignment(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var found assignment
	err := s.Store.View(func(tx *store.Tx) error {
		a, there, err := s.find(tx, scopeOf(r), r.Param("name"))
		if err == nil && !there {
			err = arm.Refuse(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", r.Param("name"))
		}
		found = a
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(assignmentView(found)), nil
}

func (s *Service) putAssignment(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct {
		Properties struct {
			RoleDefinitionID string `json:"roleDefinitionId"`
			PrincipalID      string `json:"principalId"`
			PrincipalType    string `json:"principalType"`
		} `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	p := body.Properties
	wanted := assignment{
		Name: r.Param("name"), Scope: scopeOf(r), Principal: p.PrincipalID, Type: firstText(p.PrincipalType, "ServicePrincipal"),
		Role: strings.ToLower(p.RoleDefinitionID[strings.LastIndex(p.RoleDefinitionID, "/")+1:]), Created: now, InForce: now.Add(s.Latency.Of(latency.Permission)),
	}
	err := s.Store.Update(func(tx *store.Tx) error {
		if err := s.checkAssignment(tx, wanted, p.RoleDefinitionID); err != nil {
			return err
		}
		return s.assignments.Put(tx, assignmentKey(wanted.Principal, wanted.Name), wanted)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: http.StatusCreated, Body: assignmentView(wanted)}, nil
}

// checkAssignment refuses an unknown role or principal, and the same
// assignment again.
func (s *Service) checkAssignment(tx *store.Tx, wanted assignment, roleID string) error {
	if _, known, err := s.role(tx, wanted.Role); err != nil || !known {
		return orRefuse(err, arm.Refuse(http.StatusBadRequest, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", roleID))
	}
	if _, known, err := s.Principals.FindPrincipal(tx, wanted.Principal); err != nil || !known {
		return orRefuse(err, arm.Refuse(http.StatusBadRequest, "PrincipalNotFound", "Principal %s does not exist in the directory.", wanted.Principal))
	}
	list, err := s.standing(tx)
	if err != nil {
		return err
	}
	exists := slices.ContainsFunc(list, func(a assignment) bool {
		return strings.EqualFold(a.Principal, wanted.Principal) && a.Role == wanted.Role && strings.EqualFold(a.Scope, wanted.Scope)
	})
	if exists {
		return arm.Refuse(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
	}
	return nil
}

func orRefuse(err error, refusal *arm.Error) error {
	if err != nil {
		return err
	}
	return refusal
}

func (s *Service) deleteAssignment(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var found assignment
	there := false
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		if found, there, err = s.find(tx, scopeOf(r), r.Param("name")); err != nil || !there {
			return err
		}
		found.Deleted, found.EndsAt = true, s.Clock.Now().Add(s.Latency.Of(latency.Permission))
		return s.assignments.Put(tx, assignmentKey(found.Principal, found.Name), found)
	})
	if err != nil {
		return nil, err
	}
	if !there {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	return arm.OK(assignmentView(found)), nil
}
