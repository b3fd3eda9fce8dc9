package azure

import (
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/tde"
)

// findIn looks for a server or failover group of that name in a subscription,
// and in one resource group of it where that is given.
func (c *Cloud) findIn(ctx context.Context, subscription, resourceGroup, name string) (server, group string, err error) {
	factory, err := c.sql(subscription)
	if err != nil {
		return "", "", err
	}
	servers, err := all(ctx, factory.NewServersClient().NewListPager(nil), func(p armsql.ServersClientListResponse) []*armsql.Server { return p.Value })
	if err != nil {
		return "", "", serviceError("list servers", "", tde.KeyID{}, err)
	}
	servers = slices.DeleteFunc(servers, func(s *armsql.Server) bool {
		return resourceGroup != "" && !strings.Contains(strings.ToLower(text(s.ID)), "/resourcegroups/"+strings.ToLower(resourceGroup)+"/")
	})
	for _, s := range servers {
		if strings.EqualFold(text(s.Name), name) {
			return text(s.ID), "", nil
		}
	}
	for _, s := range servers {
		ref, err := refOf(text(s.ID))
		if err != nil {
			return "", "", err
		}
		groups, err := all(ctx, factory.NewFailoverGroupsClient().NewListByServerPager(ref.group, ref.name, nil),
			func(p armsql.FailoverGroupsClientListByServerResponse) []*armsql.FailoverGroup { return p.Value })
		if err != nil {
			return "", "", serviceError("list failover groups", ref.name, tde.KeyID{}, err)
		}
		for _, g := range groups {
			if strings.EqualFold(text(g.Name), name) {
				return text(s.ID), text(g.Name), nil
			}
		}
	}
	return "", "", nil
}
