package azure

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions/v2"

	"github.com/crosskeys/crosskeys/tde"
)

// Target names what to observe.
type Target struct {
	// Name is a failover group, a server, or an ARM id of either.
	Name string
	// ResourceGroup, where it is given, is the one that the named server lies in.
	ResourceGroup string
	// Subscription, where it is given, is the only one to look in.
	Subscription string
	// Keys are read beside those that are registered, such as wanted ones.
	Keys []tde.KeyID
}

// TargetError says that the name does not lead to one component.
type TargetError struct{ What, Hint string }

// Error gives what is wrong.
func (e *TargetError) Error() string { return e.What }

// Observe finds the target and reads the whole geo-linked component around
// it: it follows every failover group and replication link until it closes.
func (c *Cloud) Observe(ctx context.Context, target Target) (tde.Topology, error) {
	start, group, err := c.find(ctx, target)
	if err != nil {
		return tde.Topology{}, err
	}
	o := &observation{cloud: c, topology: tde.Topology{ReadAt: c.config.Now(), Group: group}, seen: map[string]bool{}}
	for queue := []string{start}; len(queue) > 0; {
		var next []string
		for _, id := range queue {
			if o.seen[strings.ToLower(id)] {
				continue
			}
			o.seen[strings.ToLower(id)] = true
			linked, err := o.readServer(ctx, id)
			if err != nil {
				if len(o.seen) == 1 {
					return tde.Topology{}, err
				}
				o.unread("server "+id, "", err)
			}
			next = append(next, linked...)
		}
		queue = next
	}
	o.mergeGroups()
	if err := o.readKeysAndGrants(ctx, target.Keys); err != nil {
		return tde.Topology{}, err
	}
	o.sort()
	return o.topology, nil
}

// find gives the ARM id of one server of the target, and the failover group's
// name where the target is one.
func (c *Cloud) find(ctx context.Context, target Target) (server, group string, err error) {
	name := target.Name
	if strings.HasPrefix(name, "/") {
		id, err := arm.ParseResourceID(name)
		if err != nil {
			return "", "", &TargetError{What: fmt.Sprintf("%q is not a resource id", name), Hint: "name a failover group, a server, or the id of either"}
		}
		switch strings.ToLower(id.ResourceType.String()) {
		case "microsoft.sql/servers":
			return name, "", nil
		case "microsoft.sql/servers/failovergroups":
			return id.Parent.String(), id.Name, nil
		}
		return "", "", &TargetError{What: fmt.Sprintf("%q is neither a server nor a failover group", name), Hint: "name a failover group, a server, or the id of either"}
	}
	subscriptions, err := c.subscriptions(ctx, target.Subscription)
	if err != nil {
		return "", "", err
	}
	for _, subscription := range subscriptions {
		server, group, err := c.findIn(ctx, subscription, target.ResourceGroup, name)
		if err != nil || server != "" {
			return server, group, err
		}
	}
	return "", "", &TargetError{
		What: fmt.Sprintf("there is no failover group or server %q in %d subscriptions", name, len(subscriptions)),
		Hint: "check the name and --subscription; az sql server list shows what the signed-in identity can see",
	}
}

func (c *Cloud) subscriptions(ctx context.Context, only string) ([]string, error) {
	if only == "" {
		only = c.config.SubscriptionID
	}
	if only != "" {
		return []string{only}, nil
	}
	client, err := armsubscriptions.NewClient(c.cred, c.arm)
	if err != nil {
		return nil, err
	}
	items, err := all(ctx, client.NewListPager(nil), func(p armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return p.Value })
	if err != nil {
		return nil, serviceError("list subscriptions", "", tde.KeyID{}, err)
	}
	var ids []string
	for _, item := range items {
		ids = append(ids, text(item.SubscriptionID))
	}
	return ids, nil
}

// all reads every page.
func all[P, T any](ctx context.Context, pager *runtime.Pager[P], items func(P) []T) ([]T, error) {
	var list []T
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, items(page)...)
	}
	return list, nil
}

// text is what a pointer of the SDK points to; empty for nil.
func text[T ~string](p *T) string {
	if p == nil {
		return ""
	}
	return string(*p)
}

func truth(p *bool) bool { return p != nil && *p }

// observation gathers one topology.
type observation struct {
	cloud    *Cloud
	mu       sync.Mutex // guards topology.Unread while databases are read
	topology tde.Topology
	views    []groupView
	seen     map[string]bool // servers by ARM id in lower case
}

func (o *observation) unread(what, server string, err error) {
	u := tde.Unread{What: what, Server: server, Reason: err.Error()}
	if refused, ok := asServiceError(err); ok {
		u.Hint, u.Passing = refused.Hint, refused.Retryable || refused.Status == 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.topology.Unread = append(o.topology.Unread, u)
}

// sort puts everything in a stable order.
func (o *observation) sort() {
	t := &o.topology
	sort.Slice(t.Servers, func(i, j int) bool { return t.Servers[i].Name < t.Servers[j].Name })
	sort.Slice(t.Groups, func(i, j int) bool { return t.Groups[i].Name < t.Groups[j].Name })
	slices.SortFunc(t.Links, func(a, b tde.ReplicationLink) int {
		return strings.Compare(a.Database+a.Secondary, b.Database+b.Secondary)
	})
	sort.Slice(t.Vaults, func(i, j int) bool { return t.Vaults[i].Name < t.Vaults[j].Name })
	sort.Slice(t.Keys, func(i, j int) bool { return t.Keys[i].ID.String() < t.Keys[j].ID.String() })
	slices.SortFunc(t.Grants, func(a, b tde.Grant) int {
		return strings.Compare(a.Server+a.Vault+a.Key+a.Via, b.Server+b.Vault+b.Key+b.Via)
	})
}
