package keyvault

import (
	"context"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

type nameAvailability struct {
	NameAvailable bool   `json:"nameAvailable"`
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"message,omitempty"`
}

// checkNameAvailability says whether a vault's name is well-formed and free;
// the names of soft-deleted vaults are not.
// Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults/check-name-availability
func (s *Service) checkNameAvailability(_ context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var request struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := r.Decode(&request); err != nil {
		return nil, err
	}
	if !strings.EqualFold(request.Type, vaultType) {
		return nil, badRequest("The type '%s' is invalid: it must be %s.", request.Type, vaultType)
	}
	if !validVaultName(request.Name) {
		return arm.OK(nameAvailability{Reason: "AccountNameInvalid", Message: invalidVaultName(request.Name)}), nil
	}
	taken := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		_, taken, err = s.vaults.Get(tx, strings.ToLower(request.Name))
		return err
	})
	if err != nil {
		return nil, err
	}
	if taken {
		return arm.OK(nameAvailability{Reason: "AlreadyExists", Message: "The vault name '" + request.Name + "' is already in use."}), nil
	}
	return arm.OK(nameAvailability{NameAvailable: true}), nil
}

// geographyOf is the geography of a region. A key's backup can be restored
// only in the geography that it was made in.
// Source: https://learn.microsoft.com/azure/key-vault/general/backup#overview
func geographyOf(region string) string {
	geographies := map[string][]string{
		"United States": {"centralus", "eastus", "eastus2", "northcentralus", "southcentralus", "westcentralus", "westus", "westus2", "westus3"},
		"Europe":        {"northeurope", "westeurope"},
		"Asia Pacific":  {"eastasia", "southeastasia"},
		"Australia":     {"australiaeast", "australiasoutheast"},
		"Canada":        {"canadacentral", "canadaeast"},
		"India":         {"centralindia", "southindia"},
		"Japan":         {"japaneast", "japanwest"},
		"United Kingdom": {
			"uksouth", "ukwest",
		},
	}
	for geography, regions := range geographies {
		for _, name := range regions {
			if name == region {
				return geography
			}
		}
	}
	return region // the other geographies of the lab have one region each
}
