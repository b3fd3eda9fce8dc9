package azure

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
	"golang.org/x/sync/errgroup"

	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/tde"
)

// serverRef is a server's place.
type serverRef struct{ id, subscription, group, name string }

func refOf(id string) (serverRef, error) {
	parsed, err := arm.ParseResourceID(id)
	if err != nil {
		return serverRef{}, fmt.Errorf("server id %q: %w", id, err)
	}
	return serverRef{id: id, subscription: parsed.SubscriptionID, group: parsed.ResourceGroupName, name: parsed.Name}, nil
}

// readServer reads a server with all that is on it, and gives the ids of the
// servers that it is linked to.
func (o *observation) readServer(ctx context.Context, id string) ([]string, error) {
	ref, err := refOf(id)
	if err != nil {
		return nil, err
	}
	factory, err := o.cloud.sql(ref.subscription)
	if err != nil {
		return nil, err
	}
	answer, err := factory.NewServersClient().Get(ctx, ref.group, ref.name, nil)
	if err != nil {
		return nil, serviceError("read server", ref.name, tde.KeyID{}, err)
	}
	server := tde.Server{
		ID: text(answer.ID), Name: text(answer.Name), Subscription: ref.subscription, ResourceGroup: ref.group, Location: text(answer.Location),
		Identity: identityOf(answer.Server),
	}
	if p := answer.Properties; p != nil {
		server.FQDN = text(p.FullyQualifiedDomainName)
	}
	if server.Keys, err = o.cloud.ReadKeys(ctx, server); err != nil {
		return nil, err
	}
	if server.Protector, err = o.cloud.ReadProtector(ctx, server); err != nil {
		return nil, err
	}
	if key, found := server.Registered(server.Protector.Key); found {
		server.Protector.Thumbprint = key.Thumbprint
	}
	links, partners, err := o.readLinks(ctx, factory, ref)
	if err != nil {
		return nil, err
	}
	if server.Databases, err = o.readDatabases(ctx, factory, ref, server); err != nil {
		return nil, err
	}
	o.topology.Servers = append(o.topology.Servers, server)
	o.addLinks(links)
	linked, err := o.readGroups(ctx, factory, ref)
	return append(linked, partners...), err
}

func identityOf(s armsql.Server) tde.Identity {
	if s.Identity == nil || s.Identity.Type == nil {
		return tde.Identity{Type: string(armsql.IdentityTypeNone)}
	}
	identity := tde.Identity{Type: string(*s.Identity.Type), PrincipalID: text(s.Identity.PrincipalID), TenantID: text(s.Identity.TenantID)}
	primary := ""
	if s.Properties != nil {
		primary = text(s.Properties.PrimaryUserAssignedIdentityID)
	}
	for id, user := range s.Identity.UserAssignedIdentities {
		if strings.EqualFold(id, primary) && user != nil {
			identity.ResourceID, identity.PrincipalID = id, text(user.PrincipalID)
		}
	}
	return identity
}

func (o *observation) readDatabases(ctx context.Context, factory *armsql.ClientFactory, ref serverRef, server tde.Server) ([]tde.Database, error) {
	items, err := all(ctx, factory.NewDatabasesClient().NewListByServerPager(ref.group, ref.name, nil),
		func(p armsql.DatabasesClientListByServerResponse) []*armsql.Database { return p.Value })
	if err != nil {
		return nil, serviceError("list databases", ref.name, tde.KeyID{}, err)
	}
	var databases []tde.Database
	for _, item := range items {
		if strings.EqualFold(text(item.Name), "master") || item.Properties == nil {
			continue
		}
		db := tde.Database{Name: text(item.Name), ID: text(item.Properties.DatabaseID), Status: text(item.Properties.Status), OwnKeyAuto: truth(item.Properties.EncryptionProtectorAutoRotation)}
		if own := text(item.Properties.EncryptionProtector); own != "" {
			if db.OwnKey, err = tde.ParseKeyID(own); err != nil {
				return nil, fmt.Errorf("database %s on %s: %w", db.Name, ref.name, err)
			}
		}
		databases = append(databases, db)
	}
	sort.Slice(databases, func(i, j int) bool { return databases[i].Name < databases[j].Name })
	client := factory.NewTransparentDataEncryptionsClient()
	var readers errgroup.Group
	readers.SetLimit(atOnce)
	for i := range databases {
		readers.Go(func() error {
			o.readState(ctx, client, ref, &databases[i])
			o.readInside(ctx, server, &databases[i])
			return nil
		})
	}
	return databases, errors.Join(readers.Wait(), ctx.Err())
}

// atOnce bounds the reading calls that are under way at one time, so that a
// server of many databases does not use up the subscription's allowance.
const atOnce = 8

func (o *observation) readState(ctx context.Context, client *armsql.TransparentDataEncryptionsClient, ref serverRef, db *tde.Database) {
	answer, err := client.Get(ctx, ref.group, ref.name, db.Name, armsql.TransparentDataEncryptionNameCurrent, nil)
	switch {
	case err != nil:
		o.unread("transparent data encryption of "+db.Name+" on "+ref.name, ref.name, serviceError("read transparent data encryption", ref.name, tde.KeyID{}, err))
	case answer.Properties != nil:
		db.TDEState = text(answer.Properties.State)
	}
}

// readInside asks the database itself. That it could not be asked is kept with
// the database: what stands in Resource Manager has been read all the same.
func (o *observation) readInside(ctx context.Context, server tde.Server, db *tde.Database) {
	if o.cloud.config.Databases == nil || !asked(db.Status) {
		return
	}
	reading, err := o.cloud.config.Databases.ReadDatabase(ctx, server, db.Name)
	db.Encryption, db.LogKeys, db.Geo = reading.Encryption, reading.LogKeys, reading.Geo
	if err == nil {
		return
	}
	db.SQLUnread = &tde.Unread{What: "database " + db.Name + " on " + server.Name, Server: server.Name, Reason: err.Error()}
	if failure, ok := errors.AsType[*sqlconn.Error](err); ok {
		db.SQLUnread.Hint, db.SQLUnread.Passing = failure.Hint, failure.Transient
	}
}

// ReadKeys reads a server's registered keys, ServiceManaged left out.
func (c *Cloud) ReadKeys(ctx context.Context, server tde.Server) ([]tde.ServerKey, error) {
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return nil, err
	}
	items, err := all(ctx, factory.NewServerKeysClient().NewListByServerPager(server.ResourceGroup, server.Name, nil),
		func(p armsql.ServerKeysClientListByServerResponse) []*armsql.ServerKey { return p.Value })
	if err != nil {
		return nil, serviceError("list server keys", server.Name, tde.KeyID{}, err)
	}
	var keys []tde.ServerKey
	for _, item := range items {
		if item.Properties == nil || text(item.Properties.URI) == "" {
			continue
		}
		id, err := tde.ParseKeyID(text(item.Properties.URI))
		if err != nil {
			return nil, fmt.Errorf("server key %s of %s: %w", text(item.Name), server.Name, err)
		}
		key := tde.ServerKey{Name: text(item.Name), Key: id, Thumbprint: tde.NormalizeThumbprint(text(item.Properties.Thumbprint))}
		if item.Properties.CreationDate != nil {
			key.CreatedAt = item.Properties.CreationDate.UTC()
		}
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].Name < keys[j].Name })
	return keys, nil
}

// ReadProtector reads a server's active protector.
func (c *Cloud) ReadProtector(ctx context.Context, server tde.Server) (tde.Protector, error) {
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return tde.Protector{}, err
	}
	answer, err := factory.NewEncryptionProtectorsClient().Get(ctx, server.ResourceGroup, server.Name, armsql.EncryptionProtectorNameCurrent, nil)
	if err != nil {
		return tde.Protector{}, serviceError("read TDE protector", server.Name, tde.KeyID{}, err)
	}
	p := answer.Properties
	if p == nil || text(p.ServerKeyType) != string(armsql.ServerKeyTypeAzureKeyVault) {
		return tde.Protector{}, nil
	}
	id, err := tde.ParseKeyID(text(p.URI))
	if err != nil {
		return tde.Protector{}, fmt.Errorf("TDE protector of %s: %w", server.Name, err)
	}
	return tde.Protector{Key: id, AutoRotation: truth(p.AutoRotationEnabled)}, nil
}
