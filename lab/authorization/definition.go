package authorization

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// filter is what a list is narrowed to.
type filter struct {
	atScope                   bool
	principal, roleName, kind string
}

var filterTerm = regexp.MustCompile(`(?i)^\s*(?:(atScope)\(\)|assignedTo\('([^']*)'\)|(principalId|roleName|type)\s+eq\s+'([^']*)')\s*$`)

// parseFilter reads the $filter of role lists: terms joined by "and".
// Source: https://learn.microsoft.com/azure/role-based-access-control/role-assignments-list-rest
func parseFilter(text string) (filter, error) {
	var f filter
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, term := range regexp.MustCompile(`(?i)\s+and\s+`).Split(text, -1) {
		m := filterTerm.FindStringSubmatch(term)
		if m == nil {
			return filter{}, arm.Refuse(http.StatusBadRequest, "UnsupportedQuery", "The filter '%s' is not supported.", text)
		}
		switch {
		case m[1] != "":
			f.atScope = true
		case m[3] == "":
			f.principal = m[2]
		case strings.EqualFold(m[3], "principalId"):
			f.principal = m[4]
		case strings.EqualFold(m[3], "roleName"):
			f.roleName = m[4]
		default:
			f.kind = m[4]
		}
	}
	return f, nil
}

type definitionBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties definitionProperties `json:"properties"`
}

type definitionProperties struct {
	RoleName         string       `json:"roleName"`
	Description      string       `json:"description"`
	Type             string       `json:"type"`
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []permission `json:"permissions"`
}

type permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

func definitionView(scope string, r role) definitionBody {
	kind, where := "BuiltInRole", []string{"/"}
	if r.Custom {
		kind, where = "CustomRole", r.Scopes
	}
	list := func(actions []string) []string { return append([]string{}, actions...) }
	if parts := strings.Split(scope, "/"); len(parts) > 2 {
		scope = "/subscriptions/" + parts[2]
	}
	return definitionBody{
		ID: scope + "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID, Name: r.ID, Type: "Microsoft.Authorization/roleDefinitions",
		Properties: definitionProperties{RoleName: r.Name, Description: r.Description, Type: kind, AssignableScopes: where, Permissions: []permission{
			{list(r.Actions), list(r.NotActions), list(r.DataActions), list(r.NotDataActions)},
		}},
	}
}

func (s *Service) listDefinitions(_ context.Context, r *arm.Request) (*arm.Response, error) {
	wanted, err := parseFilter(r.HTTP.URL.Query().Get("$filter"))
	if err != nil {
		return nil, err
	}
	views := []definitionBody{}
	err = s.Store.View(func(tx *store.Tx) error {
		roles, err := s.allRoles(tx)
		for _, each := range roles {
			view := definitionView(scopeOf(r), each)
			named := wanted.roleName == "" || strings.EqualFold(wanted.roleName, each.Name)
			if named && (wanted.kind == "" || strings.EqualFold(wanted.kind, view.Properties.Type)) {
				views = append(views, view)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(map[string]any{"value": views}), nil
}

func (s *Service) getDefinition(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var found role
	err := s.Store.View(func(tx *store.Tx) error {
		each, known, err := s.role(tx, r.Param("name"))
		found = each
		if err == nil && !known {
			err = arm.Refuse(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", r.Param("name"))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(definitionView(scopeOf(r), found)), nil
}

func (s *Service) putDefinition(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body struct {
		Properties definitionProperties `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	p := body.Properties
	if p.RoleName == "" || len(p.Permissions) != 1 || len(p.AssignableScopes) == 0 {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidRoleDefinition", "A role definition needs a roleName, assignableScopes and one set of permissions.")
	}
	id := strings.ToLower(r.Param("name"))
	if _, reserved := s.roles[id]; reserved {
		return nil, arm.Refuse(http.StatusForbidden, "BuiltInRoleCannotBeModified", "The built-in role '%s' cannot be modified.", id)
	}
	made := role{
		ID: id, Name: p.RoleName, Description: p.Description, Custom: true, Scopes: p.AssignableScopes, Actions: p.Permissions[0].Actions,
		NotActions: p.Permissions[0].NotActions, DataActions: p.Permissions[0].DataActions, NotDataActions: p.Permissions[0].NotDataActions,
	}
	if err := s.Store.Update(func(tx *store.Tx) error { return s.custom.Put(tx, id, made) }); err != nil {
		return nil, err
	}
	return &arm.Response{Status: http.StatusCreated, Body: definitionView(scopeOf(r), made)}, nil
}

func (s *Service) deleteDefinition(_ context.Context, r *arm.Request) (*arm.Response, error) {
	id := strings.ToLower(r.Param("name"))
	var found role
	there := false
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		if found, there, err = s.custom.Get(tx, id); err != nil || !there {
			return err
		}
		return s.custom.Delete(tx, id)
	})
	if err != nil {
		return nil, err
	}
	if !there {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	return arm.OK(definitionView(scopeOf(r), found)), nil
}
