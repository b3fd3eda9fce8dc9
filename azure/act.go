package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/tde"
)

// Accepted is told that the service has taken a call: the token with which the
// operation can be followed by another process, and the request's id.
type Accepted func(resumeToken, requestID string) error

// RegisterKey puts a key among a server's keys. A key that is registered
// already is no error, so it is safe to repeat.
func (c *Cloud) RegisterKey(ctx context.Context, server tde.Server, key tde.KeyID, accepted Accepted) error {
	ctx = InHand(ctx)
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return err
	}
	poller, err := factory.NewServerKeysClient().BeginCreateOrUpdate(ctx, server.ResourceGroup, server.Name, key.ServerKeyName(), armsql.ServerKey{
		Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: to.Ptr(key.String())},
	}, nil)
	return serviceError("register key", server.Name, key, finish(ctx, poller, err, accepted))
}

// SetProtector makes a registered key the server's TDE protector, or the
// service-managed key. The protector that is set already is no error.
func (c *Cloud) SetProtector(ctx context.Context, server tde.Server, protector tde.Protector, accepted Accepted) error {
	ctx = InHand(ctx)
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return err
	}
	properties := &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeServiceManaged), ServerKeyName: to.Ptr(tde.ServiceManagedKeyName)}
	if !protector.ServiceManaged() {
		properties = &armsql.EncryptionProtectorProperties{
			ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(protector.Key.ServerKeyName()), AutoRotationEnabled: to.Ptr(protector.AutoRotation),
		}
	}
	poller, err := factory.NewEncryptionProtectorsClient().BeginCreateOrUpdate(once(ctx), server.ResourceGroup, server.Name, armsql.EncryptionProtectorNameCurrent,
		armsql.EncryptionProtector{Properties: properties}, nil)
	return serviceError("set TDE protector", server.Name, protector.Key, finish(ctx, poller, err, accepted))
}

// PlannedFailover makes the server, which is a secondary of the group, its
// primary, without data loss.
func (c *Cloud) PlannedFailover(ctx context.Context, server tde.Server, group string, accepted Accepted) error {
	ctx = InHand(ctx)
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return err
	}
	poller, err := factory.NewFailoverGroupsClient().BeginFailover(once(ctx), server.ResourceGroup, server.Name, group, nil)
	return serviceError("planned failover of "+group, server.Name, tde.KeyID{}, finish(ctx, poller, err, accepted))
}

// GrantAccessPolicy adds get, wrapKey and unwrapKey on the vault's keys to
// what the principal has already; it takes nothing away.
func (c *Cloud) GrantAccessPolicy(ctx context.Context, vaultID, principal string) error {
	ctx = InHand(ctx)
	id, err := arm.ParseResourceID(vaultID)
	if err != nil {
		return fmt.Errorf("vault id %q: %w", vaultID, err)
	}
	client, err := armkeyvault.NewVaultsClient(id.SubscriptionID, c.cred, c.arm)
	if err != nil {
		return err
	}
	vault, err := client.Get(ctx, id.ResourceGroupName, id.Name, nil)
	if err != nil {
		return serviceError("read vault "+id.Name, "", tde.KeyID{}, err)
	}
	tenant := ""
	if vault.Properties != nil {
		tenant = text(vault.Properties.TenantID)
	}
	entry := &armkeyvault.AccessPolicyEntry{TenantID: &tenant, ObjectID: &principal, Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{
		to.Ptr(armkeyvault.KeyPermissionsGet), to.Ptr(armkeyvault.KeyPermissionsWrapKey), to.Ptr(armkeyvault.KeyPermissionsUnwrapKey),
	}}}
	_, err = client.UpdateAccessPolicy(ctx, id.ResourceGroupName, id.Name, armkeyvault.AccessPolicyUpdateKindAdd,
		armkeyvault.VaultAccessPolicyParameters{Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{entry}}}, nil)
	return serviceError("grant "+principal+" access to vault "+id.Name, "", tde.KeyID{}, err)
}

// cryptoServiceEncryptionUser is the role that Microsoft made for this use.
// Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security#key-vault-crypto-service-encryption-user
const cryptoServiceEncryptionUser = "e147488a-f6f5-4113-8e2d-b22465e65bf6"

// AssignCryptoRole gives the principal the role Key Vault Crypto Service
// Encryption User on the vault. The assignment's name follows from both, so a
// repeat is the same assignment.
func (c *Cloud) AssignCryptoRole(ctx context.Context, vaultID, principal string) error {
	ctx = InHand(ctx)
	id, err := arm.ParseResourceID(vaultID)
	if err != nil {
		return fmt.Errorf("vault id %q: %w", vaultID, err)
	}
	client, err := armauthorization.NewRoleAssignmentsClient(id.SubscriptionID, c.cred, c.arm)
	if err != nil {
		return err
	}
	role := "/subscriptions/" + id.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + cryptoServiceEncryptionUser
	name := uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(vaultID+" "+principal+" "+role))).String()
	_, err = client.Create(ctx, vaultID, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: &principal, RoleDefinitionID: &role, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
	}}, nil)
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok && answer.ErrorCode == "RoleAssignmentExists" {
		return nil
	}
	return serviceError("assign the crypto role to "+principal+" on vault "+id.Name, "", tde.KeyID{}, err)
}

// once keeps the SDK from repeating a call by itself. A call whose answer is
// lost may have taken effect, and so may one that is answered with a 5xx: who
// asked for it looks before it is made again.
func once(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// finish follows an operation to its end. accepted is told as soon as the
// service has taken the call; it may be nil.
func finish[T any](ctx context.Context, poller *runtime.Poller[T], err error, accepted Accepted) error {
	if err != nil {
		return err
	}
	if accepted != nil && !poller.Done() {
		token, err := poller.ResumeToken()
		if err != nil {
			return fmt.Errorf("resume token: %w", err)
		}
		if err := accepted(token, ""); err != nil {
			return err
		}
	}
	return poll(ctx, poller)
}

// The pauses between two polls: the service's word counts, within these.
const (
	firstPause = 100 * time.Millisecond
	usualPause = 5 * time.Second // where the service names none
)

// poll polls until the operation has ended. The first poll comes soon, since
// short operations have ended by then; after it the service's Retry-After is
// kept.
func poll[T any](ctx context.Context, poller *runtime.Poller[T]) error {
	pause := firstPause
	for !poller.Done() {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		answer, err := poller.Poll(ctx) //nolint:bodyclose // the SDK has read and closed it
		if err != nil {
			return err
		}
		pause = pauseOf(answer)
	}
	_, err := poller.Result(ctx)
	return err
}

func pauseOf(answer *http.Response) time.Duration {
	if answer == nil {
		return usualPause
	}
	if pause := retryAfter(answer.Header); pause > 0 {
		return pause
	}
	return usualPause
}

// retryAfter is how long an answer asks to wait; 0 where it does not say.
func retryAfter(header http.Header) time.Duration {
	for name, unit := range map[string]time.Duration{"retry-after-ms": time.Millisecond, "x-ms-retry-after-ms": time.Millisecond} {
		if pause := number(header.Get(name)); pause > 0 {
			return time.Duration(pause) * unit
		}
	}
	return time.Duration(number(header.Get("Retry-After"))) * time.Second
}

func number(text string) int {
	value := 0
	for _, digit := range text {
		if digit < '0' || digit > '9' || value > 1e6 {
			return 0
		}
		value = value*10 + int(digit-'0')
	}
	return value
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
