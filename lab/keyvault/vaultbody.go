package keyvault

import (
	"time"
)

// vaultBody is a vault in ARM's answers.
type vaultBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData systemData        `json:"systemData"`
	Properties vaultProperties   `json:"properties"`
}

type systemData struct {
	CreatedBy          string `json:"createdBy"`
	CreatedByType      string `json:"createdByType"`
	CreatedAt          string `json:"createdAt"`
	LastModifiedBy     string `json:"lastModifiedBy"`
	LastModifiedByType string `json:"lastModifiedByType"`
	LastModifiedAt     string `json:"lastModifiedAt"`
}

func bodyOf(v vault) vaultBody {
	tags := v.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	properties := v.Properties
	properties.CreateMode = ""
	if properties.AccessPolicies == nil {
		properties.AccessPolicies = []accessPolicy{}
	}
	return vaultBody{
		ID: v.id(), Name: v.Name, Type: vaultType, Location: v.Location, Tags: tags, Properties: properties,
		SystemData: systemData{
			CreatedBy: v.Created.By, CreatedByType: "Application", CreatedAt: milliseconds(v.Created.At),
			LastModifiedBy: v.Modified.By, LastModifiedByType: "Application", LastModifiedAt: milliseconds(v.Modified.At),
		},
	}
}

// milliseconds prints a time as systemData does, trailing zeros left out.
func milliseconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z") }

// seconds prints a time as deleted vaults show it.
func seconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// deletedVaultBody is a soft-deleted vault in ARM's answers.
type deletedVaultBody struct {
	ID         string                 `json:"id"`
	Name       string                 `json:"name"`
	Type       string                 `json:"type"`
	Properties deletedVaultProperties `json:"properties"`
}

type deletedVaultProperties struct {
	VaultID                string            `json:"vaultId"`
	Location               string            `json:"location"`
	Tags                   map[string]string `json:"tags"`
	DeletionDate           string            `json:"deletionDate"`
	ScheduledPurgeDate     string            `json:"scheduledPurgeDate"`
	PurgeProtectionEnabled *bool             `json:"purgeProtectionEnabled,omitempty"`
}

func deletedBodyOf(v vault) deletedVaultBody {
	tags := v.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return deletedVaultBody{
		ID:   "/subscriptions/" + v.Subscription + "/providers/" + Namespace + "/locations/" + v.Location + "/deletedVaults/" + v.Name,
		Name: v.Name, Type: Namespace + "/deletedVaults",
		Properties: deletedVaultProperties{
			VaultID: v.id(), Location: v.Location, Tags: tags,
			DeletionDate: seconds(v.Deleted.At), ScheduledPurgeDate: seconds(v.Deleted.PurgeAt),
			PurgeProtectionEnabled: v.Properties.EnablePurgeProtection,
		},
	}
}
