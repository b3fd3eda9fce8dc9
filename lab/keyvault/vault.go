package keyvault

import (
	"reflect"
	"strings"
	"time"
)

// vault is a vault's record. A soft-deleted vault stays in the table: its
// name is taken until it is purged.
type vault struct {
	Name          string            `json:"name"`
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resourceGroup"`
	Location      string            `json:"location"`
	Tags          map[string]string `json:"tags"`
	Properties    vaultProperties   `json:"properties"`
	Access        []accessState     `json:"access"`
	Created       stamp             `json:"created"`
	Modified      stamp             `json:"modified"`
	Deleted       *deletion         `json:"deleted,omitempty"`
	Purging       bool              `json:"purging,omitempty"`
}

// stamp says who did something, and when.
type stamp struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// deletion is the state of being soft-deleted.
type deletion struct {
	At      time.Time `json:"at"`
	PurgeAt time.Time `json:"purgeAt"`
}

// accessState is who may do what on the data plane, from a moment on. ARM
// shows a change at once, the data plane follows after a while.
type accessState struct {
	From     time.Time      `json:"from"`
	RBAC     bool           `json:"rbac"`
	Policies []accessPolicy `json:"policies"`
}

// vaultProperties are the "properties" of a vault's ARM body, of requests and
// answers alike; the order of fields is the service's.
type vaultProperties struct {
	SKU                          *sku           `json:"sku,omitempty"`
	TenantID                     string         `json:"tenantId,omitempty"`
	NetworkACLs                  *networkACLs   `json:"networkAcls,omitempty"`
	AccessPolicies               []accessPolicy `json:"accessPolicies,omitzero"`
	EnabledForDeployment         *bool          `json:"enabledForDeployment,omitempty"`
	EnabledForDiskEncryption     *bool          `json:"enabledForDiskEncryption,omitempty"`
	EnabledForTemplateDeployment *bool          `json:"enabledForTemplateDeployment,omitempty"`
	EnableSoftDelete             *bool          `json:"enableSoftDelete,omitempty"`
	SoftDeleteRetentionInDays    *int           `json:"softDeleteRetentionInDays,omitempty"`
	EnableRBACAuthorization      *bool          `json:"enableRbacAuthorization,omitempty"`
	EnablePurgeProtection        *bool          `json:"enablePurgeProtection,omitempty"`
	CreateMode                   string         `json:"createMode,omitempty"`
	VaultURI                     string         `json:"vaultUri,omitempty"`
	ProvisioningState            string         `json:"provisioningState,omitempty"`
	PublicNetworkAccess          string         `json:"publicNetworkAccess,omitempty"`
}

type sku struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

// accessPolicy is one entry of a vault's access policies.
type accessPolicy struct {
	TenantID      string      `json:"tenantId"`
	ObjectID      string      `json:"objectId"`
	ApplicationID string      `json:"applicationId,omitempty"`
	Permissions   permissions `json:"permissions"`
}

// permissions come back in the order and case in which they were sent; a list
// that was not sent is left out, an empty one is not.
type permissions struct {
	Keys         []string `json:"keys,omitzero"`
	Secrets      []string `json:"secrets,omitzero"`
	Certificates []string `json:"certificates,omitzero"`
	Storage      []string `json:"storage,omitzero"`
}

type networkACLs struct {
	Bypass              string       `json:"bypass"`
	DefaultAction       string       `json:"defaultAction"`
	IPRules             []ipRule     `json:"ipRules"`
	VirtualNetworkRules []subnetRule `json:"virtualNetworkRules"`
}

type ipRule struct {
	Value string `json:"value"`
}

type subnetRule struct {
	ID            string `json:"id"`
	IgnoreMissing *bool  `json:"ignoreMissingVnetServiceEndpoint,omitempty"`
}

func (v vault) id() string {
	return "/subscriptions/" + v.Subscription + "/resourceGroups/" + v.ResourceGroup + "/providers/" + vaultType + "/" + v.Name
}

// in reports whether the vault lives in the subscription and group.
func (v vault) in(subscription, group string) bool {
	return strings.EqualFold(v.Subscription, subscription) && strings.EqualFold(v.ResourceGroup, group)
}

func (v vault) premium() bool { return v.Properties.SKU != nil && v.Properties.SKU.Name == "premium" }

func (v vault) purgeProtected() bool { return isTrue(v.Properties.EnablePurgeProtection) }

const (
	minRetention     = 7 // days
	maxRetention     = 90
	defaultRetention = 90
)

func (v vault) retentionDays() int {
	if v.Properties.SoftDeleteRetentionInDays == nil {
		return defaultRetention
	}
	return *v.Properties.SoftDeleteRetentionInDays
}

// deletedAt is the state of something that is deleted now: the vault itself
// or one of its keys.
func (v vault) deletedAt(now time.Time) *deletion {
	return &deletion{At: now, PurgeAt: now.AddDate(0, 0, v.retentionDays())}
}

// recoveryLevel is what may happen to a deleted key of the vault.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/get-key/get-key#deletionrecoverylevel
func (v vault) recoveryLevel() string {
	level := "Recoverable"
	if v.retentionDays() < maxRetention {
		level = "CustomizedRecoverable"
	}
	if !v.purgeProtected() {
		level += "+Purgeable"
	}
	return level
}

// accessAt is the access state that the data plane obeys at a moment.
func (v vault) accessAt(now time.Time) accessState {
	var in accessState
	for _, state := range v.Access {
		if !state.From.After(now) {
			in = state
		}
	}
	return in
}

// setAccess records that the ARM view changed at now and reaches the data
// plane after delay. States that can no longer come into force are dropped.
func (v *vault) setAccess(now time.Time, delay time.Duration) {
	next := accessState{From: now.Add(delay), RBAC: isTrue(v.Properties.EnableRBACAuthorization), Policies: v.Properties.AccessPolicies}
	if n := len(v.Access); n > 0 && next.equal(v.Access[n-1]) {
		return
	}
	first := 0
	for i, state := range v.Access {
		if !state.From.After(now) {
			first = i
		}
	}
	v.Access = append(append([]accessState{}, v.Access[first:]...), next)
}

func (a accessState) equal(b accessState) bool {
	return a.RBAC == b.RBAC && (len(a.Policies) == 0 && len(b.Policies) == 0 || reflect.DeepEqual(a.Policies, b.Policies))
}

func isTrue(flag *bool) bool { return flag != nil && *flag }
