package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// The names of the published procedure, and of what it leaves unnamed: the
// failover group, its databases, and the shared key that both servers begin
// with.
// Source: https://techcommunity.microsoft.com/blog/azuredbsupport/using-different-azure-key-vault-keys-for-azure-sql-servers-in-a-failover-group/4500775
const (
	ArticleGroup         = "harshitha_lab"
	ArticlePrimary       = "tdeprimarytest"
	ArticleSecondary     = "tdesecondarytest"
	ArticlePrimaryVault  = "testprimarysubham"
	ArticlePrimaryKey    = "https://testprimarysubham.vault.azure.net/keys/subham/e0637ed7e3734f989b928101c79ca565"
	ArticleSecondaryKey  = "https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5"
	ArticleSharedKey     = "https://tdesharedtest.vault.azure.net/keys/shared/5a1c0d9e6b7f48c2a3d4e5f60718293a"
	ArticleFailoverGroup = "tdefailovertest"
)

// ArticleDatabases are the databases of the article's failover group.
func ArticleDatabases() []string { return []string{"ledger", "orders", "payments"} }

// SeedOptions say what a seeded starting point holds.
type SeedOptions struct {
	// WithoutGrants leaves out the servers' permissions on the two vaults of
	// their own, which the article takes for granted.
	WithoutGrants bool
	// Progress is told of each thing that is made; may be nil.
	Progress func(what string)
}

// SeedArticle makes the published procedure's starting point: two servers in
// two regions in a failover group of three databases, one shared key on both.
// All of it goes through the lab's own front door. Operations that take time
// are hurried by moving the lab's clock. Where it stands already, it is left
// as it is.
func (l *Lab) SeedArticle(ctx context.Context, o SeedOptions) error {
	s, err := l.newSeeder(o)
	if err != nil {
		return err
	}
	there, err := s.there(ctx)
	if err != nil || there {
		return err
	}
	for _, step := range []func(context.Context) error{s.group, s.servers, s.vaults, s.sharedKey, s.databases, s.failoverGroup} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("seed the article's starting point: %w", err)
		}
	}
	return nil
}

type seeder struct {
	lab        *Lab
	options    SeedOptions
	sql        *armsql.ClientFactory
	vault      *armkeyvault.VaultsClient
	groups     *armresources.ResourceGroupsClient
	principals map[string]string // of the servers
}

func (l *Lab) newSeeder(o SeedOptions) (*seeder, error) {
	credential, err := l.Credential(cloud.AzurePublic)
	if err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	s := &seeder{lab: l, options: o, principals: map[string]string{}}
	clientOptions := l.ClientOptions(cloud.AzurePublic)
	clientOptions.Transport = ownCalls{l.HTTPClient(), l.control}
	var failures [3]error
	s.sql, failures[0] = armsql.NewClientFactory(SubscriptionID, credential, clientOptions)
	s.vault, failures[1] = armkeyvault.NewVaultsClient(SubscriptionID, credential, clientOptions)
	s.groups, failures[2] = armresources.NewResourceGroupsClient(SubscriptionID, credential, clientOptions)
	return s, errors.Join(failures[:]...)
}

func (s *seeder) there(ctx context.Context) (bool, error) {
	_, err := s.sql.NewFailoverGroupsClient().Get(ctx, ArticleGroup, ArticlePrimary, ArticleFailoverGroup, nil)
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok && answer.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// finish polls an operation to its end, moving the clock on where it waits.
func finish[T any](ctx context.Context, s *seeder, poller *runtime.Poller[T], err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	for {
		if _, err := poller.Poll(ctx); err != nil { //nolint:bodyclose // the SDK has read and closed it
			return none, err
		}
		if poller.Done() {
			return poller.Result(ctx)
		}
		if err := s.hurry(); err != nil {
			return none, err
		}
	}
}

// hurry moves the clock to when the next operation is due; where all are due
// it gives them the machine's time that they need.
func (s *seeder) hurry() error {
	now := s.lab.clock.Now()
	var next time.Duration
	err := s.lab.store.View(func(tx *store.Tx) error {
		running, err := s.lab.operations.Running(tx)
		for _, op := range running {
			if left := op.DueAt.Sub(now); left > 0 && (next == 0 || left < next) {
				next = left
			}
		}
		return err
	})
	if err != nil || next > 0 {
		return errors.Join(err, s.lab.Advance(next))
	}
	time.Sleep(5 * time.Millisecond)
	return nil
}

func (s *seeder) group(ctx context.Context) error {
	s.options.Progress("resource group " + ArticleGroup)
	_, err := s.groups.CreateOrUpdate(ctx, ArticleGroup, armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil)
	return err
}

func (s *seeder) servers(ctx context.Context) error {
	password, err := s.lab.SQLPassword()
	if err != nil {
		return err
	}
	for name, location := range map[string]string{ArticlePrimary: "eastus", ArticleSecondary: "westus"} {
		s.options.Progress("server " + name + " in " + location)
		poller, err := s.sql.NewServersClient().BeginCreateOrUpdate(ctx, ArticleGroup, name, armsql.Server{
			Location: to.Ptr(location), Identity: &armsql.ResourceIdentity{Type: to.Ptr(armsql.IdentityTypeSystemAssigned)},
			Properties: &armsql.ServerProperties{
				AdministratorLogin: to.Ptr(SQLLogin), AdministratorLoginPassword: to.Ptr(password),
				Administrators: &armsql.ServerExternalAdministrator{
					AdministratorType: to.Ptr(armsql.AdministratorTypeActiveDirectory), PrincipalType: to.Ptr(armsql.PrincipalTypeApplication),
					Login: to.Ptr(operatorName), Sid: to.Ptr(operatorObject), TenantID: to.Ptr(TenantID), AzureADOnlyAuthentication: to.Ptr(false),
				},
			},
		}, nil)
		server, err := finish(ctx, s, poller, err)
		if err != nil {
			return err
		}
		s.principals[name] = *server.Identity.PrincipalID
		if err := s.firewall(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// firewall lets clients in that connect from this machine: from nowhere else
// can they.
func (s *seeder) firewall(ctx context.Context, server string) error {
	_, err := s.sql.NewFirewallRulesClient().CreateOrUpdate(ctx, ArticleGroup, server, "loopback", armsql.FirewallRule{
		Properties: &armsql.ServerFirewallRuleProperties{StartIPAddress: to.Ptr("127.0.0.1"), EndIPAddress: to.Ptr("127.0.0.1")},
	}, nil)
	return err
}

// SQLLogin is the administrator login of the seeded servers.
const SQLLogin = "sqladmin"

// SQLPassword is that login's password, made on first use.
func (l *Lab) SQLPassword() (password string, err error) {
	err = l.store.Update(func(tx *store.Tx) error {
		secret, err := l.keptSecret(tx, settingSQL)
		password = "Aa1!" + secret // of all four kinds of characters, which Azure asks for
		return err
	})
	return password, err
}

// vaults makes the three vaults with their keys. The keys get the versions
// that the article prints, which no client can choose, so they are planted.
func (s *seeder) vaults(ctx context.Context) error {
	for _, each := range []struct {
		key, location string
		granted       bool
	}{{ArticleSharedKey, "eastus", true}, {ArticlePrimaryKey, "eastus", !s.options.WithoutGrants}, {ArticleSecondaryKey, "westus", !s.options.WithoutGrants}} {
		key, err := tde.ParseKeyID(each.key)
		if err != nil {
			return err
		}
		s.options.Progress("vault " + key.Vault() + " with key " + key.Name)
		policies := []*armkeyvault.AccessPolicyEntry{operatorPolicy()}
		if each.granted {
			for _, server := range []string{ArticlePrimary, ArticleSecondary} {
				policies = append(policies, keyPolicy(s.principals[server], "get", "wrapKey", "unwrapKey"))
			}
		}
		poller, err := s.vault.BeginCreateOrUpdate(ctx, ArticleGroup, key.Vault(), armkeyvault.VaultCreateOrUpdateParameters{
			Location: to.Ptr(each.location), Properties: &armkeyvault.VaultProperties{
				TenantID: to.Ptr(TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
				EnableSoftDelete: to.Ptr(true), EnablePurgeProtection: to.Ptr(true), SoftDeleteRetentionInDays: to.Ptr[int32](90), AccessPolicies: policies,
			},
		}, nil)
		if _, err := finish(ctx, s, poller, err); err != nil {
			return err
		}
		if err := s.lab.keyvault.PlantKey(key.Vault(), key.Name, key.Version); err != nil {
			return err
		}
	}
	return nil
}

func operatorPolicy() *armkeyvault.AccessPolicyEntry { return keyPolicy(operatorObject, "all") }

func keyPolicy(principal string, permissions ...string) *armkeyvault.AccessPolicyEntry {
	entry := &armkeyvault.AccessPolicyEntry{TenantID: to.Ptr(TenantID), ObjectID: to.Ptr(principal), Permissions: &armkeyvault.Permissions{}}
	for _, permission := range permissions {
		entry.Permissions.Keys = append(entry.Permissions.Keys, to.Ptr(armkeyvault.KeyPermissions(permission)))
	}
	return entry
}

// sharedKey registers the shared key on both servers and makes it the
// protector of both: while nothing is linked yet, in any order.
func (s *seeder) sharedKey(ctx context.Context) error {
	key, err := tde.ParseKeyID(ArticleSharedKey)
	if err != nil {
		return err
	}
	for _, server := range []string{ArticlePrimary, ArticleSecondary} {
		s.options.Progress("shared key as protector of " + server)
		registration, err := s.sql.NewServerKeysClient().BeginCreateOrUpdate(ctx, ArticleGroup, server, key.ServerKeyName(), armsql.ServerKey{
			Properties: &armsql.ServerKeyProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), URI: to.Ptr(ArticleSharedKey)},
		}, nil)
		if _, err := finish(ctx, s, registration, err); err != nil {
			return err
		}
		flip, err := s.sql.NewEncryptionProtectorsClient().BeginCreateOrUpdate(ctx, ArticleGroup, server, armsql.EncryptionProtectorNameCurrent, armsql.EncryptionProtector{
			Properties: &armsql.EncryptionProtectorProperties{ServerKeyType: to.Ptr(armsql.ServerKeyTypeAzureKeyVault), ServerKeyName: to.Ptr(key.ServerKeyName())},
		}, nil)
		if _, err := finish(ctx, s, flip, err); err != nil {
			return err
		}
	}
	return nil
}

func (s *seeder) databases(ctx context.Context) error {
	for _, name := range ArticleDatabases() {
		s.options.Progress("database " + name)
		poller, err := s.sql.NewDatabasesClient().BeginCreateOrUpdate(ctx, ArticleGroup, ArticlePrimary, name,
			armsql.Database{Location: to.Ptr("eastus"), SKU: &armsql.SKU{Name: to.Ptr("GP_Gen5_2")}}, nil)
		if _, err := finish(ctx, s, poller, err); err != nil {
			return err
		}
	}
	return nil
}

func (s *seeder) failoverGroup(ctx context.Context) error {
	s.options.Progress("failover group " + ArticleFailoverGroup)
	server := "/subscriptions/" + SubscriptionID + "/resourceGroups/" + ArticleGroup + "/providers/Microsoft.Sql/servers/"
	group := armsql.FailoverGroup{Properties: &armsql.FailoverGroupProperties{
		ReadWriteEndpoint: &armsql.FailoverGroupReadWriteEndpoint{FailoverPolicy: to.Ptr(armsql.ReadWriteEndpointFailoverPolicyManual)},
		ReadOnlyEndpoint:  &armsql.FailoverGroupReadOnlyEndpoint{FailoverPolicy: to.Ptr(armsql.ReadOnlyEndpointFailoverPolicyDisabled)},
		PartnerServers:    []*armsql.PartnerInfo{{ID: to.Ptr(server + ArticleSecondary)}},
	}}
	for _, name := range ArticleDatabases() {
		group.Properties.Databases = append(group.Properties.Databases, to.Ptr(server+ArticlePrimary+"/databases/"+name))
	}
	poller, err := s.sql.NewFailoverGroupsClient().BeginCreateOrUpdate(ctx, ArticleGroup, ArticlePrimary, ArticleFailoverGroup, group, nil)
	_, err = finish(ctx, s, poller, err)
	return err
}
