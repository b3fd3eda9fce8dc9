package keyvault

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	subscriptionPath = "/subscriptions/{subscriptionId}"
	groupPath        = subscriptionPath + "/resourceGroups/{resourceGroupName}"
	providerPath     = "/providers/" + Namespace
	vaultPath        = groupPath + providerPath + "/vaults/{vaultName}"
	deletedVaultPath = subscriptionPath + providerPath + "/locations/{location}/deletedVaults/{vaultName}"
	purgeResultPath  = subscriptionPath + providerPath + "/locations/{location}/operationResults/{operationId}"
)

func (s *Service) routes() []arm.Route {
	get, put, post := http.MethodGet, http.MethodPut, http.MethodPost
	return []arm.Route{
		{Method: get, Pattern: vaultPath, Handle: s.getVault},
		{Method: put, Pattern: vaultPath, Handle: s.putVault},
		{Method: http.MethodPatch, Pattern: vaultPath, Handle: s.patchVault},
		{Method: http.MethodDelete, Pattern: vaultPath, Handle: s.deleteVault},
		{Method: put, Pattern: vaultPath + "/accessPolicies/{operationKind}", Handle: s.putAccessPolicies},
		{Method: get, Pattern: groupPath + providerPath + "/vaults", Handle: s.listVaultsOfGroup},
		{Method: get, Pattern: subscriptionPath + providerPath + "/vaults", Handle: s.listVaultsOfSubscription},
		{Method: get, Pattern: subscriptionPath + providerPath + "/deletedVaults", Handle: s.listDeletedVaults},
		{Method: get, Pattern: deletedVaultPath, Handle: s.getDeletedVault},
		{Method: post, Pattern: deletedVaultPath + "/purge", Handle: s.purgeVault},
		{Method: get, Pattern: purgeResultPath, Action: "-", Handle: s.pollPurge},
		{
			Method: post, Pattern: subscriptionPath + providerPath + "/checkNameAvailability",
			Action: Namespace + "/checkNameAvailability/read", Handle: s.checkNameAvailability,
		},
		// Managed HSMs are none of the lab's; clients ask for them all the same.
		{Method: get, Pattern: groupPath + providerPath + "/managedHSMs", Handle: listNothing},
		{Method: get, Pattern: subscriptionPath + providerPath + "/managedHSMs", Handle: listNothing},
	}
}

func listNothing(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.OK(listBody{Value: []any{}}), nil
}

// listBody is a list in ARM's answers.
type listBody struct {
	Value    []any  `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

func vaultNotFound(group, name string) *arm.Error {
	return arm.Refuse(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", vaultType, name, group)
}

// findVault reads the vault that the request's path names.
func (s *Service) findVault(tx *store.Tx, r *arm.Request) (vault, error) {
	name, group := r.Param("vaultName"), r.Param("resourceGroupName")
	v, found, err := s.vaults.Get(tx, strings.ToLower(name))
	if err != nil {
		return vault{}, err
	}
	if !found || v.Deleted != nil || !v.in(r.Param("subscriptionId"), group) {
		return vault{}, vaultNotFound(group, name)
	}
	return v, nil
}

func (s *Service) getVault(_ context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var v vault
	err := s.Store.View(func(tx *store.Tx) (err error) {
		v, err = s.findVault(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(bodyOf(v)), nil
}

func (s *Service) listVaultsOfGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.listVaults(r, r.Param("resourceGroupName"))
}

func (s *Service) listVaultsOfSubscription(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.listVaults(r, "")
}

func (s *Service) listVaults(r *arm.Request, group string) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var items []any
	err := s.Store.View(func(tx *store.Tx) error {
		vaults, err := s.liveVaults(tx, r.Param("subscriptionId"), group)
		for _, v := range vaults {
			items = append(items, bodyOf(v))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return page(r, items)
}

// page gives the part of items that $top and $skiptoken ask for.
func page(r *arm.Request, items []any) (*arm.Response, error) {
	query := r.HTTP.URL.Query()
	top, from := len(items), 0
	if text := query.Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, arm.Refuse(http.StatusBadRequest, "BadRequest", "The value '%s' of the query parameter $top is not a positive number.", text)
		}
		top = n
	}
	if token := query.Get("$skiptoken"); token != "" {
		n, err := readSkipToken(token)
		if err != nil {
			return nil, arm.Refuse(http.StatusBadRequest, "BadRequest", "The value of the query parameter $skiptoken is invalid.")
		}
		from = n
	}
	from = min(from, len(items))
	to := min(from+top, len(items))
	body := listBody{Value: append([]any{}, items[from:to]...)}
	if to < len(items) {
		body.NextLink = "https://" + r.HTTP.Host + r.HTTP.URL.EscapedPath() + "?api-version=" + url.QueryEscape(r.APIVersion) +
			"&$top=" + strconv.Itoa(top) + "&$skiptoken=" + skipToken(to)
	}
	return arm.OK(body), nil
}

// skipToken and readSkipToken carry the place where the next page begins; to
// clients the text is opaque.
func skipToken(place int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(place)))
}

func readSkipToken(token string) (int, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, err
	}
	place, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, err
	}
	return max(place, 0), nil
}
