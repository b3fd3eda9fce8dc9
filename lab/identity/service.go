// Package identity is the lab's Microsoft.ManagedIdentity: user-assigned
// managed identities.
package identity

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/resources"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Principals makes and removes the service principals of identities.
type Principals interface {
	CreateManagedIdentity(tx *store.Tx, name, resourceID string) (entra.Principal, error)
	DeletePrincipal(tx *store.Tx, objectID string) error
}

// Options are what the service needs.
type Options struct {
	Store      *store.Store
	Clock      *clock.Clock
	NewID      func() string
	Principals Principals
	Log        *slog.Logger
}

// Service is the provider. It is safe for concurrent use.
type Service struct {
	Options
	identities store.Table[Identity]
}

// Identity is a user-assigned identity.
type Identity struct {
	ID            string            `json:"id"` // ARM id
	Name          string            `json:"name"`
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resourceGroup"`
	PrincipalID   string            `json:"principalId"`
	ClientID      string            `json:"clientId"`
	TenantID      string            `json:"tenantId"`
	Location      string            `json:"location"`
	Tags          map[string]string `json:"tags,omitempty"`
}

const kind = "Microsoft.ManagedIdentity/userAssignedIdentities"

// New makes the service.
func New(o Options) *Service {
	return &Service{Options: o, identities: store.NewTable[Identity]("identity/userAssigned")}
}

// Provider lists the routes.
func (s *Service) Provider() arm.Provider {
	const group = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/" + kind
	const one = group + "/{identityName}"
	return arm.Provider{
		Namespace: "Microsoft.ManagedIdentity",
		Versions: []string{
			"2015-08-31-preview", "2018-11-30", "2021-09-30-preview", "2022-01-31-preview", "2023-01-31", "2023-07-31-preview", "2024-11-30", "2025-01-31-preview",
		},
		Routes: []arm.Route{
			{Method: http.MethodGet, Pattern: "/subscriptions/{subscriptionId}/providers/" + kind, Handle: s.listAll},
			{Method: http.MethodGet, Pattern: group, Handle: s.listGroup},
			{Method: http.MethodGet, Pattern: one, Handle: s.get},
			{Method: http.MethodPut, Pattern: one, Handle: s.put},
			{Method: http.MethodPatch, Pattern: one, Handle: s.patch},
			{Method: http.MethodDelete, Pattern: one, Handle: s.delete},
		},
	}
}

// Find finds an identity by its ARM id, without regard to case.
func (s *Service) Find(tx *store.Tx, id string) (Identity, bool, error) {
	return s.identities.Get(tx, strings.ToLower(id))
}

func view(i Identity) map[string]any {
	return map[string]any{
		"id": i.ID, "name": i.Name, "type": kind, "location": i.Location, "tags": i.Tags,
		"properties": map[string]string{"tenantId": i.TenantID, "principalId": i.PrincipalID, "clientId": i.ClientID},
	}
}

// in lists the identities of a subscription, or of one resource group.
func (s *Service) in(tx *store.Tx, subscription, group string) ([]Identity, error) {
	entries, err := s.identities.Scan(tx, "")
	var list []Identity
	for _, entry := range entries {
		i := entry.Record
		if strings.EqualFold(i.Subscription, subscription) && (group == "" || strings.EqualFold(i.ResourceGroup, group)) {
			list = append(list, i)
		}
	}
	return list, err
}

func (s *Service) listAll(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.list(r.Param("subscriptionId"), "")
}

func (s *Service) listGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.list(r.Param("subscriptionId"), r.Param("resourceGroupName"))
}

func (s *Service) list(subscription, group string) (*arm.Response, error) {
	views := []any{}
	err := s.Store.View(func(tx *store.Tx) error {
		list, err := s.in(tx, subscription, group)
		for _, i := range list {
			views = append(views, view(i))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(map[string]any{"value": views}), nil
}

func idOf(r *arm.Request) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", r.Param("subscriptionId"), r.Param("resourceGroupName"), kind, r.Param("identityName"))
}

func (s *Service) get(_ context.Context, r *arm.Request) (*arm.Response, error) {
	found, there, err := s.read(r)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, notFound(r)
	}
	return arm.OK(view(found)), nil
}

func notFound(r *arm.Request) *arm.Error {
	return arm.Refuse(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", kind, r.Param("identityName"), r.Param("resourceGroupName"))
}

func (s *Service) read(r *arm.Request) (found Identity, there bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found, there, err = s.Find(tx, idOf(r))
		return err
	})
	return found, there, err
}

type body struct {
	Location string             `json:"location"`
	Tags     *map[string]string `json:"tags"`
}

// put makes an identity with its service principal, or changes its tags.
func (s *Service) put(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var wanted body
	if err := r.Decode(&wanted); err != nil {
		return nil, err
	}
	status, id := http.StatusOK, idOf(r)
	var made Identity
	err := s.Store.Update(func(tx *store.Tx) error {
		found, there, err := s.Find(tx, id)
		if err != nil {
			return err
		}
		made = found
		if !there {
			status = http.StatusCreated
			if made, err = s.make(tx, r, wanted.Location); err != nil {
				return err
			}
		}
		if wanted.Tags != nil {
			made.Tags = *wanted.Tags
		}
		return s.identities.Put(tx, strings.ToLower(id), made)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status, Body: view(made)}, nil
}

func (s *Service) make(tx *store.Tx, r *arm.Request, location string) (Identity, error) {
	region, known := arm.FindRegion(location)
	if !known {
		return Identity{}, arm.Refuse(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'.", location, kind)
	}
	id := idOf(r)
	principal, err := s.Principals.CreateManagedIdentity(tx, r.Param("identityName"), id)
	return Identity{
		ID: id, Name: r.Param("identityName"), Subscription: r.Param("subscriptionId"), ResourceGroup: r.Param("resourceGroupName"),
		PrincipalID: principal.ObjectID, ClientID: principal.AppID, TenantID: principal.TenantID, Location: region.Name,
	}, err
}

func (s *Service) patch(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var wanted body
	if err := r.Decode(&wanted); err != nil {
		return nil, err
	}
	var changed Identity
	err := s.Store.Update(func(tx *store.Tx) error {
		found, there, err := s.Find(tx, idOf(r))
		if err != nil {
			return err
		}
		if !there {
			return notFound(r)
		}
		if wanted.Tags != nil {
			found.Tags = *wanted.Tags
		}
		changed = found
		return s.identities.Put(tx, strings.ToLower(found.ID), found)
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view(changed)), nil
}

func (s *Service) delete(_ context.Context, r *arm.Request) (*arm.Response, error) {
	status := http.StatusOK
	err := s.Store.Update(func(tx *store.Tx) error {
		found, there, err := s.Find(tx, idOf(r))
		if err != nil {
			return err
		}
		if !there {
			status = http.StatusNoContent
			return nil
		}
		return s.remove(tx, found)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status}, nil
}

func (s *Service) remove(tx *store.Tx, i Identity) error {
	if err := s.Principals.DeletePrincipal(tx, i.PrincipalID); err != nil {
		return err
	}
	return s.identities.Delete(tx, strings.ToLower(i.ID))
}

// Resources shows the identities in ARM's lists.
func (s *Service) Resources(tx *store.Tx, subscription, group string) ([]resources.Resource, error) {
	list, err := s.in(tx, subscription, group)
	var found []resources.Resource
	for _, i := range list {
		found = append(found, resources.Resource{ID: i.ID, Name: i.Name, Type: kind, Location: i.Location, Tags: i.Tags})
	}
	return found, err
}

// DeleteGroup removes the identities of a resource group that is deleted.
func (s *Service) DeleteGroup(tx *store.Tx, subscription, group string) error {
	list, err := s.in(tx, subscription, group)
	if err != nil {
		return err
	}
	for _, i := range list {
		if err := s.remove(tx, i); err != nil {
			return err
		}
	}
	return nil
}
