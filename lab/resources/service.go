// Package resources is Resource Manager's own part of the lab: tenants,
// subscriptions, resource groups, providers, and the lists of all resources.
package resources

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Resource is one entry of the resource lists.
type Resource struct {
	ID, Name, Type, Location, Kind string
	Tags                           map[string]string
}

// Source lists a provider's resources; group is empty for all of the
// subscription.
type Source interface {
	Resources(tx *store.Tx, subscription, group string) ([]Resource, error)
}

// Options are what the service needs.
type Options struct {
	Store    *store.Store
	Clock    *clock.Clock
	TenantID string
	NewID    func() string
	Log      *slog.Logger
}

// Service answers for them. Sources and hooks are added before it serves;
// after that it is safe for concurrent use.
type Service struct {
	Options
	subscriptions store.Table[subscription]
	groups        store.Table[group]
	operations    store.Table[operation]
	sources       []Source
	onDelete      []func(tx *store.Tx, subscription, group string) error
	front         *arm.Front
}

type subscription struct{ ID, Name string }

// New makes the service.
func New(o Options) *Service {
	return &Service{
		Options: o, subscriptions: store.NewTable[subscription]("arm/subscriptions"), groups: store.NewTable[group]("arm/groups"),
		operations: store.NewTable[operation]("arm/operations"),
	}
}

// AddSource shows a provider's resources in the lists.
func (s *Service) AddSource(source Source) { s.sources = append(s.sources, source) }

// OnDeleteGroup has fn remove a provider's resources of a group that is
// deleted, in the transaction that deletes it.
func (s *Service) OnDeleteGroup(fn func(tx *store.Tx, subscription, group string) error) {
	s.onDelete = append(s.onDelete, fn)
}

// PutSubscription makes a subscription.
func (s *Service) PutSubscription(tx *store.Tx, id, name string) error {
	return s.subscriptions.Put(tx, strings.ToLower(id), subscription{ID: id, Name: name})
}

// CheckScope refuses a subscription or resource group that is not there.
func (s *Service) CheckScope(tx *store.Tx, id, groupName string) error {
	if _, found, err := s.subscriptions.Get(tx, strings.ToLower(id)); err != nil || !found {
		return orRefuse(err, arm.Refuse(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id))
	}
	if groupName == "" {
		return nil
	}
	_, found, err := s.groups.Get(tx, groupKey(id, groupName))
	if err != nil || !found {
		return orRefuse(err, groupNotFound(groupName))
	}
	return nil
}

func orRefuse(err error, refusal *arm.Error) error {
	if err != nil {
		return err
	}
	return refusal
}

func versions() []string {
	return []string{
		"2014-04-01", "2014-04-01-preview", "2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-07-01", "2016-09-01", "2017-05-10", "2018-02-01",
		"2018-05-01", "2019-03-01", "2019-05-01", "2019-05-10", "2019-06-01", "2019-07-01", "2019-08-01", "2019-10-01", "2019-11-01", "2020-01-01", "2020-05-01",
		"2020-06-01", "2020-08-01", "2020-09-01", "2020-10-01", "2021-01-01", "2021-04-01", "2021-10-01", "2022-01-01", "2022-09-01", "2022-12-01",
		"2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
	}
}

const (
	subscriptionPath = "/subscriptions/{subscriptionId}"
	groupPath        = subscriptionPath + "/resourceGroups/{resourceGroupName}"
)

// Providers lists the routes: they belong to no namespace.
func (s *Service) Providers(front *arm.Front) []arm.Provider {
	s.front = front
	return []arm.Provider{{Versions: versions(), Routes: []arm.Route{
		{Method: http.MethodGet, Pattern: "/tenants", Action: "-", Handle: s.listTenants},
		{Method: http.MethodGet, Pattern: "/subscriptions", Action: "-", Handle: s.listSubscriptions},
		{Method: http.MethodGet, Pattern: subscriptionPath, Action: "Microsoft.Resources/subscriptions/read", Handle: s.getSubscription},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/locations", Action: "Microsoft.Resources/subscriptions/locations/read", Handle: s.listLocations},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/resourceGroups", Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Handle: s.listGroups},
		{Method: http.MethodGet, Pattern: groupPath, Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Handle: s.getGroup},
		{Method: http.MethodHead, Pattern: groupPath, Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Handle: s.headGroup},
		{Method: http.MethodPut, Pattern: groupPath, Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Handle: s.putGroup},
		{Method: http.MethodPatch, Pattern: groupPath, Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Handle: s.patchGroup},
		{Method: http.MethodDelete, Pattern: groupPath, Action: "Microsoft.Resources/subscriptions/resourceGroups/delete", Handle: s.deleteGroup},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/operationresults/{operationId}", Action: "-", Handle: s.operationResult},
		{Method: http.MethodGet, Pattern: groupPath + "/resources", Action: "Microsoft.Resources/subscriptions/resourceGroups/resources/read", Handle: s.listResources},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/resources", Action: "Microsoft.Resources/subscriptions/resources/read", Handle: s.listResources},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/providers", Action: "Microsoft.Resources/subscriptions/providers/read", Handle: s.listProviders},
		{Method: http.MethodGet, Pattern: subscriptionPath + "/providers/{namespace}", Action: "Microsoft.Resources/subscriptions/providers/read", Handle: s.getProvider},
		{Method: http.MethodPost, Pattern: subscriptionPath + "/providers/{namespace}/register", Action: "Microsoft.Resources/subscriptions/providers/register/action", Handle: s.getProvider},
	}}}
}

func (s *Service) listTenants(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.OK(list([]any{map[string]any{"id": "/tenants/" + s.TenantID, "tenantId": s.TenantID, "tenantCategory": "Home", "displayName": "Crosskeys Lab", "countryCode": "US"}})), nil
}

func list(items []any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{"value": items}
}

func (s *Service) subscriptionView(each subscription) map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + each.ID, "subscriptionId": each.ID, "tenantId": s.TenantID, "displayName": each.Name, "state": "Enabled",
		"authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]string{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
	}
}

func (s *Service) listSubscriptions(context.Context, *arm.Request) (*arm.Response, error) {
	var views []any
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.subscriptions.Scan(tx, "")
		for _, entry := range entries {
			views = append(views, s.subscriptionView(entry.Record))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(list(views)), nil
}

func (s *Service) getSubscription(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var found subscription
	err := s.Store.View(func(tx *store.Tx) (err error) {
		found, _, err = s.subscriptions.Get(tx, strings.ToLower(r.Param("subscriptionId"))) // the front has made sure that it is there
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(s.subscriptionView(found)), nil
}

func (s *Service) listLocations(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []any
	for _, region := range arm.Regions() {
		views = append(views, map[string]string{
			"id": "/subscriptions/" + r.Param("subscriptionId") + "/locations/" + region.Name, "name": region.Name, "displayName": region.Display, "regionalDisplayName": region.Display, "type": "Region",
		})
	}
	return arm.OK(list(views)), nil
}
