package resources

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

func (s *Service) listResources(_ context.Context, r *arm.Request) (*arm.Response, error) {
	wanted, err := parseFilter(r.HTTP.URL.Query().Get("$filter"))
	if err != nil {
		return nil, err
	}
	group := ""
	if strings.Contains(strings.ToLower(r.Path), "/resourcegroups/") {
		group = r.Param("resourceGroupName")
	}
	var views []any
	err = s.Store.View(func(tx *store.Tx) error {
		for _, source := range s.sources {
			found, err := source.Resources(tx, r.Param("subscriptionId"), group)
			if err != nil {
				return err
			}
			for _, each := range found {
				if wanted(each) {
					views = append(views, resourceView(each))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(list(top(r, views))), nil
}

func resourceView(r Resource) map[string]any {
	view := map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "location": r.Location, "provisioningState": "Succeeded"}
	if r.Kind != "" {
		view["kind"] = r.Kind
	}
	if r.Tags != nil {
		view["tags"] = r.Tags
	}
	return view
}

func (s *Service) providerView(subscription string, p arm.Provider) map[string]any {
	var types []any
	for _, name := range typesOf(p) {
		types = append(types, map[string]any{"resourceType": name, "apiVersions": p.Versions, "locations": []string{}})
	}
	return map[string]any{
		"id": "/subscriptions/" + subscription + "/providers/" + p.Namespace, "namespace": p.Namespace,
		"registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": types,
	}
}

// typesOf reads the resource types out of a provider's routes.
func typesOf(p arm.Provider) []string {
	var types []string
	for _, route := range p.Routes {
		_, after, found := strings.Cut(route.Pattern, "/providers/"+p.Namespace+"/")
		if !found {
			continue
		}
		var names []string
		for _, segment := range strings.Split(after, "/") {
			if !strings.HasPrefix(segment, "{") {
				names = append(names, segment)
			}
		}
		if name := strings.Join(names, "/"); route.Method == http.MethodGet && !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	return types
}

func (s *Service) listProviders(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []any
	for _, p := range s.front.Providers() {
		views = append(views, s.providerView(r.Param("subscriptionId"), p))
	}
	return arm.OK(list(views)), nil
}

func (s *Service) getProvider(_ context.Context, r *arm.Request) (*arm.Response, error) {
	for _, p := range s.front.Providers() {
		if strings.EqualFold(p.Namespace, r.Param("namespace")) {
			return arm.OK(s.providerView(r.Param("subscriptionId"), p)), nil
		}
	}
	return nil, arm.Refuse(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", r.Param("namespace"))
}
