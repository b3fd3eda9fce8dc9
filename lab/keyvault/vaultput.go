package keyvault

import (
	"context"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// vaultRequest is the body of a vault's PUT and PATCH.
type vaultRequest struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties vaultProperties   `json:"properties"`
}

// putVault creates a vault, recovers a soft-deleted one, or replaces the
// settings of one that is there.
// Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults/create-or-update
func (s *Service) putVault(_ context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var request vaultRequest
	if err := r.Decode(&request); err != nil {
		return nil, err
	}
	if !validVaultName(r.Param("vaultName")) {
		return nil, vaultNameNotValid(r.Param("vaultName"))
	}
	if err := request.Properties.check(); err != nil {
		return nil, err
	}
	var v vault
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		v, err = s.createOrUpdate(tx, r, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(bodyOf(v)), nil
}

func (s *Service) createOrUpdate(tx *store.Tx, r *arm.Request, request vaultRequest) (vault, error) {
	name, subscription, group := r.Param("vaultName"), r.Param("subscriptionId"), r.Param("resourceGroupName")
	existing, found, err := s.vaults.Get(tx, strings.ToLower(name))
	if err != nil {
		return vault{}, err
	}
	recovers := strings.EqualFold(request.Properties.CreateMode, "recover")
	switch {
	case found && existing.Deleted != nil && !strings.EqualFold(existing.Subscription, subscription):
		return vault{}, vaultAlreadyExists(name)
	case found && existing.Deleted != nil && recovers:
		return s.recoverVault(tx, existing, r)
	case found && existing.Deleted != nil:
		return vault{}, vaultIsDeleted()
	case found && !existing.in(subscription, group):
		return vault{}, vaultAlreadyExists(name)
	case found:
		return s.replaceVault(tx, r, existing, request)
	case recovers:
		return vault{}, deletedVaultNotFound(name)
	}
	return s.createVault(tx, r, request)
}

func (s *Service) createVault(tx *store.Tx, r *arm.Request, request vaultRequest) (vault, error) {
	region, known := arm.FindRegion(request.Location)
	if !known {
		return vault{}, arm.Refuse(http.StatusBadRequest, "LocationNotAvailableForResourceType",
			"The provided location '%s' is not available for resource type '%s'.", request.Location, vaultType)
	}
	p := request.Properties
	if err := p.checkComplete(); err != nil {
		return vault{}, err
	}
	if p.EnableRBACAuthorization == nil && rbacByDefault(r.APIVersion) {
		p.EnableRBACAuthorization = new(true)
	}
	if p.AccessPolicies == nil && !isTrue(p.EnableRBACAuthorization) {
		return vault{}, accessPoliciesMissing()
	}
	if p.SoftDeleteRetentionInDays == nil {
		p.SoftDeleteRetentionInDays = new(defaultRetention)
	}
	now := s.Clock.Now()
	by := stamp{By: r.Caller.AppID, At: now}
	v := vault{
		Name: r.Param("vaultName"), Subscription: r.Param("subscriptionId"), ResourceGroup: r.Param("resourceGroupName"),
		Location: region.Name, Tags: request.Tags, Created: by, Modified: by,
	}
	v.Properties = p.completed(v.Name)
	// The policies that a vault is created with are there from its first
	// moment; only later changes have to travel.
	v.setAccess(now, 0)
	return v, s.saveVault(tx, v)
}

// rbacByDefault reports whether a vault that is created without saying so
// gets RBAC mode: from API version 2026-02-01 on.
// Source: https://learn.microsoft.com/azure/key-vault/general/access-control-default
func rbacByDefault(version string) bool { return version >= "2026-02-01" }

// replaceVault puts new settings in the place of all old ones, except those
// that cannot be taken back.
func (s *Service) replaceVault(tx *store.Tx, r *arm.Request, v vault, request vaultRequest) (vault, error) {
	region, known := arm.FindRegion(request.Location)
	if request.Location != "" && (!known || region.Name != v.Location) {
		return vault{}, arm.Refuse(http.StatusConflict, "InvalidResourceLocation",
			"The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.",
			v.Name, v.Location, v.ResourceGroup, request.Location)
	}
	p := request.Properties
	if err := p.checkComplete(); err != nil {
		return vault{}, err
	}
	if err := p.checkIrreversible(v); err != nil {
		return vault{}, err
	}
	old := v.Properties
	p.EnablePurgeProtection = first(p.EnablePurgeProtection, old.EnablePurgeProtection)
	p.EnableRBACAuthorization = first(p.EnableRBACAuthorization, old.EnableRBACAuthorization)
	p.SoftDeleteRetentionInDays = old.SoftDeleteRetentionInDays
	if p.AccessPolicies == nil {
		if !isTrue(p.EnableRBACAuthorization) {
			return vault{}, accessPoliciesMissing()
		}
		p.AccessPolicies = old.AccessPolicies
	}
	v.Properties, v.Tags = p.completed(v.Name), request.Tags
	return s.saveChange(tx, r, v)
}

// saveChange writes a vault whose ARM view has just changed.
func (s *Service) saveChange(tx *store.Tx, r *arm.Request, v vault) (vault, error) {
	now := s.Clock.Now()
	v.Modified = stamp{By: r.Caller.AppID, At: now}
	v.setAccess(now, s.Latency.Of(latency.Permission))
	return v, s.saveVault(tx, v)
}

// patchVault changes the settings that the body names and no others.
func (s *Service) patchVault(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var request vaultRequest
	if err := r.Decode(&request); err != nil {
		return nil, err
	}
	if err := request.Properties.check(); err != nil {
		return nil, err
	}
	var v vault
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		if v, err = s.findVault(tx, r); err != nil {
			return err
		}
		if err := request.Properties.checkIrreversible(v); err != nil {
			return err
		}
		v.Properties = request.Properties.over(v.Properties).completed(v.Name)
		if request.Tags != nil {
			v.Tags = request.Tags
		}
		v, err = s.saveChange(tx, r, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(bodyOf(v)), nil
}

// first is the first of the two that is set.
func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func vaultAlreadyExists(name string) *arm.Error {
	return arm.Refuse(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken."+
		" If you are sure that the vault name was not taken then it is possible that a vault with the same name was recently deleted but not purged after being placed in a recoverable state."+
		" If the vault is in a recoverable state then the vault will need to be purged before reusing the name."+
		" For more information about VaultAlreadyExists, soft delete and purging a vault follow this link https://go.microsoft.com/fwlink/?linkid=2147740.", name)
}

func vaultIsDeleted() *arm.Error {
	return arm.Refuse(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault."+
		" Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
}

func accessPoliciesMissing() *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "BadRequest", "The parameter accessPolicies is not specified.")
}
