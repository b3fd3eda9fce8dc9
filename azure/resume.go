package azure

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/tde"
)

// Operation names what a resume token belongs to.
type Operation string

// The operations that can be taken up again.
const (
	RegisteringKey   Operation = "register key"
	SettingProtector Operation = "set TDE protector"
	FailingOver      Operation = "planned failover"
)

// Resume follows an operation that an earlier process began to its end.
func (c *Cloud) Resume(ctx context.Context, server tde.Server, operation Operation, token string) error {
	ctx = InHand(ctx)
	factory, err := c.sql(server.Subscription)
	if err != nil {
		return err
	}
	switch operation {
	case RegisteringKey:
		poller, beginErr := factory.NewServerKeysClient().BeginCreateOrUpdate(ctx, "", "", "", armsql.ServerKey{}, &armsql.ServerKeysClientBeginCreateOrUpdateOptions{ResumeToken: token})
		err = finish(ctx, poller, beginErr, nil)
	case SettingProtector:
		poller, beginErr := factory.NewEncryptionProtectorsClient().BeginCreateOrUpdate(ctx, "", "", "", armsql.EncryptionProtector{}, &armsql.EncryptionProtectorsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		err = finish(ctx, poller, beginErr, nil)
	case FailingOver:
		poller, beginErr := factory.NewFailoverGroupsClient().BeginFailover(ctx, "", "", "", &armsql.FailoverGroupsClientBeginFailoverOptions{ResumeToken: token})
		err = finish(ctx, poller, beginErr, nil)
	default:
		return fmt.Errorf("resume: %q is no operation that can be followed", operation)
	}
	return serviceError(string(operation), server.Name, tde.KeyID{}, err)
}

// ReadFailoverGroup reads a failover group from all its members and the links
// that it owns.
func (c *Cloud) ReadFailoverGroup(ctx context.Context, group tde.FailoverGroup, servers []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error) {
	o := &observation{cloud: c, seen: map[string]bool{}}
	for _, server := range servers {
		if !isMember(group, server.Name) {
			continue
		}
		o.seen[server.ID] = true
		factory, err := c.sql(server.Subscription)
		if err != nil {
			return tde.FailoverGroup{}, nil, err
		}
		answer, err := factory.NewFailoverGroupsClient().Get(ctx, server.ResourceGroup, server.Name, group.Name, nil)
		if err != nil {
			return tde.FailoverGroup{}, nil, serviceError("read failover group "+group.Name, server.Name, tde.KeyID{}, err)
		}
		o.views = append(o.views, viewOf(server.Name, answer.FailoverGroup))
		links, _, err := o.readLinks(ctx, factory, serverRef{id: server.ID, subscription: server.Subscription, group: server.ResourceGroup, name: server.Name})
		if err != nil {
			return tde.FailoverGroup{}, nil, err
		}
		o.addLinks(links)
	}
	if len(o.views) == 0 {
		return tde.FailoverGroup{}, nil, fmt.Errorf("read failover group %s: none of its members is known", group.Name)
	}
	o.mergeGroups()
	o.sort()
	var owned []tde.ReplicationLink
	for _, link := range o.topology.Links {
		if link.Group == group.Name {
			owned = append(owned, link)
		}
	}
	return o.topology.Groups[0], owned, nil
}
