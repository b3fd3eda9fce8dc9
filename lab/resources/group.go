package resources

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// group is a resource group.
type group struct {
	Subscription, Name, Location, ManagedBy string
	Tags                                    map[string]string
}

// operation is a group's deletion that has been carried out.
type operation struct{ Subscription string }

func groupKey(subscription, name string) string {
	return strings.ToLower(subscription) + "/" + strings.ToLower(name)
}

func groupNotFound(name string) *arm.Error {
	return arm.Refuse(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
}

func groupView(g group) map[string]any {
	view := map[string]any{
		"id": "/subscriptions/" + g.Subscription + "/resourceGroups/" + g.Name, "name": g.Name, "type": "Microsoft.Resources/resourceGroups",
		"location": g.Location, "properties": map[string]string{"provisioningState": "Succeeded"},
	}
	if g.Tags != nil {
		view["tags"] = g.Tags
	}
	if g.ManagedBy != "" {
		view["managedBy"] = g.ManagedBy
	}
	return view
}

func (s *Service) group(tx *store.Tx, r *arm.Request) (group, error) {
	found, there, err := s.groups.Get(tx, groupKey(r.Param("subscriptionId"), r.Param("resourceGroupName")))
	if err == nil && !there {
		err = groupNotFound(r.Param("resourceGroupName"))
	}
	return found, err
}

func (s *Service) getGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var found group
	err := s.Store.View(func(tx *store.Tx) (err error) {
		found, err = s.group(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(groupView(found)), nil
}

func (s *Service) headGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	err := s.Store.View(func(tx *store.Tx) error {
		_, err := s.group(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: http.StatusNoContent}, nil
}

type groupBody struct {
	Location  string             `json:"location"`
	ManagedBy string             `json:"managedBy"`
	Tags      *map[string]string `json:"tags"`
}

func (s *Service) putGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body groupBody
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	region, known := arm.FindRegion(body.Location)
	if !known {
		return nil, arm.Refuse(http.StatusBadRequest, "LocationNotAvailableForResourceGroup", "The provided location '%s' is not available for resource group.", body.Location)
	}
	status := http.StatusCreated
	put := group{Subscription: r.Param("subscriptionId"), Name: r.Param("resourceGroupName"), Location: region.Name, ManagedBy: body.ManagedBy}
	if body.Tags != nil {
		put.Tags = *body.Tags
	}
	err := s.Store.Update(func(tx *store.Tx) error {
		key := groupKey(put.Subscription, put.Name)
		now, there, err := s.groups.Get(tx, key)
		if err != nil {
			return err
		}
		if there {
			status, put.Name = http.StatusOK, now.Name
			if now.Location != put.Location {
				return arm.Refuse(http.StatusConflict, "InvalidResourceGroupLocation",
					"Invalid resource group location '%s'. The Resource group already exists in location '%s'.", put.Location, now.Location)
			}
		}
		return s.groups.Put(tx, key, put)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status, Body: groupView(put)}, nil
}

func (s *Service) patchGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var body groupBody
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	var changed group
	err := s.Store.Update(func(tx *store.Tx) error {
		found, err := s.group(tx, r)
		if err != nil {
			return err
		}
		if body.Tags != nil {
			found.Tags = *body.Tags
		}
		changed = found
		return s.groups.Put(tx, groupKey(found.Subscription, found.Name), found)
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(groupView(changed)), nil
}

func (s *Service) listGroups(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []any
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.groups.Scan(tx, strings.ToLower(r.Param("subscriptionId"))+"/")
		for _, entry := range entries {
			views = append(views, groupView(entry.Record))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(list(top(r, views))), nil
}

// top keeps the first $top items.
func top(r *arm.Request, items []any) []any {
	limit, err := strconv.Atoi(r.HTTP.URL.Query().Get("$top"))
	if err != nil || limit < 0 || limit >= len(items) {
		return items
	}
	return items[:limit]
}

// deleteGroup removes a group with all that is in it, in one transaction.
func (s *Service) deleteGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	id := s.NewID()
	subscription := r.Param("subscriptionId")
	err := s.Store.Update(func(tx *store.Tx) error {
		found, err := s.group(tx, r)
		if err != nil {
			return err
		}
		for _, remove := range s.onDelete {
			if err := remove(tx, found.Subscription, found.Name); err != nil {
				return err
			}
		}
		if err := s.groups.Delete(tx, groupKey(found.Subscription, found.Name)); err != nil {
			return err
		}
		return s.operations.Put(tx, id, operation{Subscription: subscription})
	})
	if err != nil {
		return nil, err
	}
	header := http.Header{"Retry-After": {"1"}}
	header.Set("Location", fmt.Sprintf("https://%s/subscriptions/%s/operationresults/%s?api-version=%s", r.HTTP.Host, subscription, id, r.APIVersion))
	return &arm.Response{Status: http.StatusAccepted, Header: header}, nil
}

func (s *Service) operationResult(_ context.Context, r *arm.Request) (*arm.Response, error) {
	err := s.Store.View(func(tx *store.Tx) error {
		found, there, err := s.operations.Get(tx, r.Param("operationId"))
		if err == nil && (!there || !strings.EqualFold(found.Subscription, r.Param("subscriptionId"))) {
			err = arm.Refuse(http.StatusNotFound, "OperationNotFound", "The operation '%s' was not found.", r.Param("operationId"))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: http.StatusOK}, nil
}
