package azure

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/tde"
)

// readLinks reads a server's replication links, and gives the ids of the
// servers at their other ends.
func (o *observation) readLinks(ctx context.Context, factory *armsql.ClientFactory, ref serverRef) (links []tde.ReplicationLink, partners []string, err error) {
	items, err := all(ctx, factory.NewReplicationLinksClient().NewListByServerPager(ref.group, ref.name, nil),
		func(p armsql.ReplicationLinksClientListByServerResponse) []*armsql.ReplicationLink { return p.Value })
	if err != nil {
		return nil, nil, serviceError("list replication links", ref.name, tde.KeyID{}, err)
	}
	for _, item := range items {
		p := item.Properties
		if p == nil || p.LinkType != nil && *p.LinkType == armsql.ReplicationLinkTypeNAMED {
			continue
		}
		database := databaseOf(text(item.ID))
		link := tde.ReplicationLink{
			ID: strings.ToLower(text(item.Name)), Database: database, PartnerDatabase: text(p.PartnerDatabase),
			Primary: ref.name, Secondary: text(p.PartnerServer), State: text(p.ReplicationState),
		}
		if p.PercentComplete != nil {
			link.Percent = float64(*p.PercentComplete)
		}
		if text(p.Role) != string(armsql.ReplicationRolePrimary) {
			link.Primary, link.Secondary, link.Database, link.PartnerDatabase = link.Secondary, link.Primary, link.PartnerDatabase, link.Database
		}
		links = append(links, link)
		partners = append(partners, o.partnerID(ctx, ref, text(p.PartnerServer), text(p.PartnerDatabaseID)))
	}
	return links, partners, nil
}

func databaseOf(id string) string {
	parts := strings.Split(id, "/")
	for i, part := range parts {
		if strings.EqualFold(part, "databases") && i+1 < len(parts) {
			return parts[i+1]
		}
	}
	return ""
}

// partnerID is the ARM id of the server at a link's other end: from the
// partner database's id, or found by name where the service gives none.
func (o *observation) partnerID(ctx context.Context, ref serverRef, name, databaseID string) string {
	if before, _, found := strings.Cut(databaseID, "/databases/"); found {
		return before
	}
	for seen := range o.seen {
		if strings.HasSuffix(seen, "/servers/"+strings.ToLower(name)) {
			return seen
		}
	}
	if id, _, err := o.cloud.findIn(ctx, ref.subscription, "", name); err == nil && id != "" {
		return id
	}
	return ref.id[:strings.LastIndex(ref.id, "/")+1] + name
}

// addLinks adds links that the other end has not shown yet.
func (o *observation) addLinks(links []tde.ReplicationLink) {
	for _, link := range links {
		known := slices.ContainsFunc(o.topology.Links, func(l tde.ReplicationLink) bool { return l.ID == link.ID })
		if !known {
			o.topology.Links = append(o.topology.Links, link)
		}
	}
}

// groupView is a failover group as one member shows it.
type groupView struct {
	member, role string
	partners     map[string]string // role by server name
	group        tde.FailoverGroup
}

// readGroups reads a server's failover groups, and gives the ids of the
// partners.
func (o *observation) readGroups(ctx context.Context, factory *armsql.ClientFactory, ref serverRef) ([]string, error) {
	items, err := all(ctx, factory.NewFailoverGroupsClient().NewListByServerPager(ref.group, ref.name, nil),
		func(p armsql.FailoverGroupsClientListByServerResponse) []*armsql.FailoverGroup { return p.Value })
	if err != nil {
		return nil, serviceError("list failover groups", ref.name, tde.KeyID{}, err)
	}
	var linked []string
	for _, item := range items {
		if item.Properties == nil {
			continue
		}
		view := viewOf(ref.name, *item)
		o.views = append(o.views, view)
		for _, partner := range item.Properties.PartnerServers {
			linked = append(linked, text(partner.ID))
		}
	}
	return linked, nil
}

func viewOf(member string, g armsql.FailoverGroup) groupView {
	p := g.Properties
	view := groupView{member: member, role: text(p.ReplicationRole), partners: map[string]string{}, group: tde.FailoverGroup{Name: text(g.Name), ReplicationState: text(p.ReplicationState)}}
	if e := p.ReadWriteEndpoint; e != nil {
		view.group.FailoverPolicy = text(e.FailoverPolicy)
		if e.FailoverWithDataLossGracePeriodMinutes != nil {
			view.group.GraceMinutes = int(*e.FailoverWithDataLossGracePeriodMinutes)
		}
	}
	if e := p.ReadOnlyEndpoint; e != nil {
		view.group.ReadOnlyPolicy = text(e.FailoverPolicy)
	}
	for _, partner := range p.PartnerServers {
		id := text(partner.ID)
		view.partners[id[strings.LastIndex(id, "/")+1:]] = text(partner.ReplicationRole)
	}
	for _, id := range p.Databases {
		view.group.Databases = append(view.group.Databases, databaseOf(text(id)))
	}
	sort.Strings(view.group.Databases)
	return view
}

// mergeGroups makes one group of its members' views and gives links to the
// groups that own them.
func (o *observation) mergeGroups() {
	byName := map[string][]groupView{}
	for _, view := range o.views {
		byName[view.group.Name] = append(byName[view.group.Name], view)
	}
	for _, views := range byName {
		o.topology.Groups = append(o.topology.Groups, merge(views))
	}
	for i, link := range o.topology.Links {
		for _, g := range o.topology.Groups {
			inGroup := slices.ContainsFunc(g.Databases, func(name string) bool { return strings.EqualFold(name, link.Database) })
			if inGroup && isMember(g, link.Primary) && isMember(g, link.Secondary) {
				o.topology.Links[i].Group = g.Name
			}
		}
	}
}

func isMember(g tde.FailoverGroup, server string) bool {
	return slices.ContainsFunc(g.Members, func(m tde.Member) bool { return strings.EqualFold(m.Server, server) })
}

// merge takes the primary's view; what another member says otherwise is
// kept as a disagreement.
func merge(views []groupView) tde.FailoverGroup {
	lead := views[0]
	for _, view := range views {
		if view.role == string(tde.Primary) {
			lead = view
		}
	}
	group := lead.group
	roles := map[string]string{lead.member: lead.role}
	for name, role := range lead.partners {
		roles[name] = role
	}
	for _, view := range views {
		if roles[view.member] != view.role {
			group.DisagreementOnMember = fmt.Sprintf("%s says that it is %s, %s says that it is %s", view.member, view.role, lead.member, roles[view.member])
		}
	}
	for name, role := range roles {
		group.Members = append(group.Members, tde.Member{Server: name, Role: tde.Role(role)})
	}
	slices.SortFunc(group.Members, func(a, b tde.Member) int {
		if a.Role != b.Role && (a.Role == tde.Primary || b.Role == tde.Primary) {
			if a.Role == tde.Primary {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Server, b.Server)
	})
	return group
}
