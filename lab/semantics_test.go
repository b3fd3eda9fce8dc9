package lab_test

import (
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/lab/latency"
)

// The famous failure, delivered in the poll.
// Source: https://github.com/hashicorp/terraform-provider-azurerm/issues/25906
func TestPrimaryFirstIsRefusedInThePollAndLeavesNothing(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if err := a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	refusedIn(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey), "SameKeyMaterialNotFoundOnRemoteServer", true)
	if got := a.protector(lab.ArticlePrimary); got != lab.ArticleSharedKey {
		t.Fatalf("the protector is %s after a refused change", got)
	}
	a.wrappedBy(lab.ArticleSharedKey)
}

// keyId registers and sets in one stroke, and fails whole.
// Source: https://github.com/Azure/azure-service-operator/issues/5377
func TestKeyIDOnBothServersFailsWhole(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	umi := a.userAssigned("crosskeys-umi")
	for server, key := range map[string]string{lab.ArticlePrimary: lab.ArticlePrimaryKey, lab.ArticleSecondary: lab.ArticleSecondaryKey} {
		if err := a.patchKeyID(server, umi, ""); err != nil {
			t.Fatal(err)
		}
		refusedIn(t, a.patchKeyID(server, umi, key), "SameKeyMaterialNotFoundOnRemoteServer", true)
		if keys := a.registered(server); keys[key] != "" {
			t.Fatalf("%s keeps %s after a refused keyId", server, key)
		}
		if got := a.protector(server); got != lab.ArticleSharedKey {
			t.Fatalf("%s has protector %s after a refused keyId", server, got)
		}
	}
}

func TestKeyIDWithThePartnersReadySucceeds(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	umi := a.userAssigned("crosskeys-umi")
	if err := a.patchKeyID(lab.ArticlePrimary, umi, ""); err != nil {
		t.Fatal(err)
	}
	if err := a.register(lab.ArticleSecondary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	if err := a.patchKeyID(lab.ArticlePrimary, umi, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
}

func TestSecondarysOwnFlipIsASwitch(t *testing.T) {
	t.Parallel()
	for _, free := range []bool{false, true} {
		a := article(t, lab.Options{FreeSecondaryFlip: free}, lab.SeedOptions{})
		if err := a.register(lab.ArticleSecondary, lab.ArticleSecondaryKey); err != nil {
			t.Fatal(err)
		}
		err := a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey)
		if free && err != nil {
			t.Fatal(err)
		}
		if !free {
			refusedIn(t, err, "SameKeyMaterialNotFoundOnRemoteServer", true)
		}
	}
}

func TestProtectorOfAnUnregisteredKeyIsNotFound(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	refusedIn(t, a.setProtector(lab.ArticlePrimary, lab.ArticleSecondaryKey), "ServerKeyNotFound", false)
}

func TestKeysInUseAreNotDeregistered(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	refused(t, a.deregisterSharedKey(lab.ArticlePrimary), "AzureKeyVaultKeyInUse")
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		for _, key := range []string{lab.ArticlePrimaryKey, lab.ArticleSecondaryKey} {
			if err := a.register(server, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.setProtector(lab.ArticleSecondary, lab.ArticleSecondaryKey); err != nil {
		t.Fatal(err)
	}
	refused(t, a.deregisterSharedKey(lab.ArticleSecondary), "AzureKeyVaultKeyUsedOnGeoPrimary")
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
		if err := a.deregisterSharedKey(server); err != nil {
			t.Fatalf("deregistering the unused shared key on %s: %v", server, err)
		}
	}
}

func TestAutoRotationNeedsTheSameKeyURIOnThePartner(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	copyURI := a.copyKey(lab.ArticlePrimaryKey, lab.ArticleSecondaryKey)
	if err := a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	if err := a.register(lab.ArticleSecondary, copyURI); err != nil {
		t.Fatal(err)
	}
	poller, err := a.beginProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey, true)
	_, err = done(t.Context(), poller, err)
	refusedIn(t, err, "SameKeyUriNotFoundOnRemoteServer", true)
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatalf("the same material in another vault is enough without auto-rotation: %v", err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
}

func TestOlderVersionIsRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if err := a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	if err := a.register(lab.ArticleSecondary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
	key := id(t, lab.ArticlePrimaryKey)
	if _, err := a.keys(key).RotateKey(t.Context(), key.Name, nil); err != nil {
		t.Fatal(err)
	}
	refusedIn(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey), "OldGenerationOfAKVKeyBeingUsedError", true)
}

// "The latest version" is the newest enabled one.
func TestAnOlderVersionIsTakenWhileTheNewestIsDisabled(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	key := id(t, lab.ArticlePrimaryKey)
	rotated, err := a.keys(key).RotateKey(t.Context(), key.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	newest := string(*rotated.Key.KID)
	for _, version := range []string{lab.ArticlePrimaryKey, newest} {
		for _, server := range []string{lab.ArticlePrimary, lab.ArticleSecondary} {
			if err := a.register(server, version); err != nil {
				t.Fatal(err)
			}
		}
	}
	refusedIn(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey), "OldGenerationOfAKVKeyBeingUsedError", true)
	a.enable(newest, false)
	if shown, err := a.keys(key).GetKey(t.Context(), key.Name, "", nil); err != nil || string(*shown.Key.KID) != newest || *shown.Attributes.Enabled {
		t.Fatalf("a vault shows %+v for the key without a version, %v", shown.Attributes, err)
	}
	refusedIn(t, a.setProtector(lab.ArticlePrimary, newest), "AzureKeyVaultKeyDisabled", true)
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatalf("the newest enabled version: %v", err)
	}
	if err := a.setProtector(lab.ArticleSecondary, lab.ArticlePrimaryKey); err != nil {
		t.Fatalf("the newest enabled version, at the secondary: %v", err)
	}
	a.wrappedBy(lab.ArticlePrimaryKey)
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	a.enable(newest, true)
	refusedIn(t, a.setProtector(lab.ArticlePrimary, lab.ArticlePrimaryKey), "OldGenerationOfAKVKeyBeingUsedError", true)
	if err := a.setProtector(lab.ArticlePrimary, newest); err != nil {
		t.Fatalf("the newest version, enabled again: %v", err)
	}
}

func TestKeyThatTheServerMayNotUseIsRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{WithoutGrants: true})
	refusedIn(t, a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey), "AzureKeyVaultMissingPermissions", true)
}

func TestDisabledAndExpiredKeysAreRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	key := id(t, lab.ArticlePrimaryKey)
	update := func(attributes azkeys.KeyAttributes) {
		t.Helper()
		if _, err := a.keys(key).UpdateKey(t.Context(), key.Name, key.Version, azkeys.UpdateKeyParameters{KeyAttributes: &attributes}, nil); err != nil {
			t.Fatal(err)
		}
	}
	update(azkeys.KeyAttributes{Enabled: to.Ptr(false)})
	refusedIn(t, a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey), "AzureKeyVaultKeyDisabled", true)
	update(azkeys.KeyAttributes{Enabled: to.Ptr(true), Expires: to.Ptr(a.lab.Now().Add(time.Hour))})
	if err := a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatalf("a key that expires in an hour is usable now: %v", err)
	}
	if err := a.lab.Advance(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	b := clients(t, a.lab, cloud.AzurePublic)
	refusedIn(t, b.register(lab.ArticleSecondary, lab.ArticlePrimaryKey), "AzureKeyVaultInvalidExpirationDate", true)
}

func TestVaultWithoutPurgeProtectionIsRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	key := a.looseVault("looseraft", "plain", false)
	refusedIn(t, a.register(lab.ArticlePrimary, key), "SecurityInvalidAzureKeyVaultRecoveryLevel", true)
}

func TestUnsupportedKeySizeIsRefused(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	key := id(t, lab.ArticlePrimaryKey)
	made, err := a.keys(key).CreateKey(t.Context(), "huge", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](4096)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	refusedIn(t, a.register(lab.ArticlePrimary, string(*made.Key.KID)), "AzureKeyVaultRsaKeyNotSupported", true)
}

func TestWrongSideCallsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	refusedIn(t, a.failover(lab.ArticlePrimary), "FailoverGroupFailoverRequestOnPrimary", false)
	poller, err := a.sql.NewFailoverGroupsClient().BeginDelete(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	_, err = done(t.Context(), poller, err)
	refusedIn(t, err, "FailoverGroupUpdateOrDeleteRequestOnSecondary", false)
}

func TestBusyGroupAndProtectorRefuseASecondChange(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{Latency: latency.Azure(1)}, lab.SeedOptions{})
	b := clients(t, a.lab, cloud.AzurePublic)
	if _, err := b.beginProtector(lab.ArticlePrimary, lab.ArticleSharedKey, false); err != nil {
		t.Fatal(err)
	}
	_, err := b.beginProtector(lab.ArticlePrimary, lab.ArticleSharedKey, false)
	refusedIn(t, err, "EncryptionProtectorChangeInProgress", false)
	if _, err := b.sql.NewFailoverGroupsClient().BeginFailover(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil); err != nil {
		t.Fatal(err)
	}
	_, err = b.sql.NewFailoverGroupsClient().BeginFailover(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	refusedIn(t, err, "FailoverGroupBusy", false)
}

func TestLostAccessForbidsEveryKeyChange(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.disableSharedKey()
	refusedIn(t, a.register(lab.ArticlePrimary, lab.ArticlePrimaryKey), "CMKOperationNotAllowed", true)
	refusedIn(t, a.setProtector(lab.ArticlePrimary, ""), "CMKOperationNotAllowed", true)
}

func TestPlannedFailoverRollsBackWhenTheReplicaDoesNotOpen(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	a.disableSharedKey()
	refusedIn(t, a.failover(lab.ArticleSecondary), "PlannedFailoverTimedOutForDatabase", true)
	if a.role(lab.ArticlePrimary) != "Primary" {
		t.Fatal("a rolled-back failover changed the roles")
	}
	poller, err := a.sql.NewFailoverGroupsClient().BeginForceFailoverAllowDataLoss(t.Context(), lab.ArticleGroup, lab.ArticleSecondary, lab.ArticleFailoverGroup, nil)
	if _, err = done(t.Context(), poller, err); err != nil {
		t.Fatalf("a forced failover asks nothing: %v", err)
	}
	if a.role(lab.ArticleSecondary) != "Primary" {
		t.Fatal("the forced failover did not change the roles")
	}
}

func TestServiceManagedBothWays(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{}, lab.SeedOptions{})
	if err := a.setProtector(lab.ArticlePrimary, ""); err != nil {
		t.Fatal(err)
	}
	a.eventually(func() bool {
		row, err := a.lab.EncryptionState(lab.ArticleSecondary, "orders")
		return err == nil && row.EncryptorType == "CERTIFICATE"
	}, "the geo-secondary follows to the service-managed key")
	if err := a.setProtector(lab.ArticlePrimary, lab.ArticleSharedKey); err != nil {
		t.Fatal(err)
	}
	a.wrappedBy(lab.ArticleSharedKey)
}

// A grant takes its time to reach the data plane.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func TestGrantTakesTenMinutesOnAzuresClock(t *testing.T) {
	t.Parallel()
	a := article(t, lab.Options{Latency: latency.Azure(1)}, lab.SeedOptions{WithoutGrants: true})
	b := clients(t, a.lab, cloud.AzurePublic)
	b.grant(lab.ArticlePrimary, lab.ArticlePrimaryVault)
	refused(t, b.registerHurried(lab.ArticlePrimary, lab.ArticlePrimaryKey), "AzureKeyVaultMissingPermissions")
	if err := a.lab.Advance(10 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := b.registerHurried(lab.ArticlePrimary, lab.ArticlePrimaryKey); err != nil {
		t.Fatal(err)
	}
}

func (a *azure) disableSharedKey() {
	a.t.Helper()
	a.enable(lab.ArticleSharedKey, false)
}

// enable enables a key version, or disables it.
func (a *azure) enable(uri string, enabled bool) {
	a.t.Helper()
	k := id(a.t, uri)
	if _, err := a.keys(k).UpdateKey(a.t.Context(), k.Name, k.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &enabled}}, nil); err != nil {
		a.t.Fatal(err)
	}
}

func (a *azure) eventually(holds func() bool, what string) {
	a.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (a *azure) patchKeyID(server, umi, key string) error {
	properties := &armsql.ServerProperties{PrimaryUserAssignedIdentityID: &umi}
	if key != "" {
		properties.KeyID = &key
	}
	poller, err := a.sql.NewServersClient().BeginUpdate(a.t.Context(), lab.ArticleGroup, server, armsql.ServerUpdate{
		Identity: &armsql.ResourceIdentity{
			Type:                   to.Ptr(armsql.IdentityTypeSystemAssignedUserAssigned),
			UserAssignedIdentities: map[string]*armsql.UserIdentity{umi: {}},
		},
		Properties: properties,
	}, nil)
	_, err = done(a.t.Context(), poller, err)
	return err
}

// grant adds a server's identity to a vault's access policies.
func (a *azure) grant(server, vault string) {
	a.t.Helper()
	s, err := a.sql.NewServersClient().Get(a.t.Context(), lab.ArticleGroup, server, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.grantPrincipal(*s.Identity.PrincipalID, vault)
}

func (a *azure) grantPrincipal(principal, vault string) {
	a.t.Helper()
	entry := &armkeyvault.AccessPolicyEntry{TenantID: to.Ptr(lab.TenantID), ObjectID: &principal, Permissions: &armkeyvault.Permissions{
		Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsGet), to.Ptr(armkeyvault.KeyPermissionsWrapKey), to.Ptr(armkeyvault.KeyPermissionsUnwrapKey)},
	}}
	_, err := a.vaults.UpdateAccessPolicy(a.t.Context(), lab.ArticleGroup, vault, armkeyvault.AccessPolicyUpdateKindAdd,
		armkeyvault.VaultAccessPolicyParameters{Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{entry}}}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
}

// registerHurried registers while the lab's clock is moved on.
func (a *azure) registerHurried(server, key string) error {
	k := id(a.t, key)
	poller, err := a.sql.NewServerKeysClient().BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, server, k.ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: &key},
	}, nil)
	if err != nil {
		return err
	}
	if err := a.lab.Advance(10 * time.Second); err != nil {
		a.t.Fatal(err)
	}
	_, err = done(a.t.Context(), poller, nil)
	return err
}

// copyKey brings the key's material into another vault by backup and restore,
// and gives its id there.
func (a *azure) copyKey(from, to string) string {
	a.t.Helper()
	source, target := id(a.t, from), id(a.t, to)
	backup, err := a.keys(source).BackupKey(a.t.Context(), source.Name, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	restored, err := a.keys(target).RestoreKey(a.t.Context(), azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(*restored.Key.KID)
}

// looseVault makes a vault that both servers may use, with one key.
func (a *azure) looseVault(name, key string, purgeProtected bool) string {
	a.t.Helper()
	properties := &armkeyvault.VaultProperties{
		TenantID: to.Ptr(lab.TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{},
	}
	if purgeProtected {
		properties.EnablePurgeProtection = to.Ptr(true)
	}
	existing, err := a.vaults.Get(a.t.Context(), lab.ArticleGroup, lab.ArticlePrimaryVault, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	properties.AccessPolicies = existing.Properties.AccessPolicies
	poller, err := a.vaults.BeginCreateOrUpdate(a.t.Context(), lab.ArticleGroup, name, armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("eastus"), Properties: properties}, nil)
	if _, err := done(a.t.Context(), poller, err); err != nil {
		a.t.Fatal(err)
	}
	made, err := a.keys(id(a.t, "https://"+name+".vault.azure.net/keys/"+key)).CreateKey(a.t.Context(), key, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(*made.Key.KID)
}
