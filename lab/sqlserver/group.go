package sqlserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/georep"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	createGroup = "CreateFailoverGroup"
	updateGroup = "UpdateFailoverGroup"
	dropGroup   = "DropFailoverGroup"
)

func (s *Service) groupRoutes() []arm.Route {
	const path = serverPath + "/failoverGroups"
	const one = path + "/{failoverGroupName}"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: path, Handle: s.listGroups},
		{Method: http.MethodGet, Pattern: one, Handle: s.getGroup},
		{Method: http.MethodPut, Pattern: one, Handle: s.putGroup},
		{Method: http.MethodPatch, Pattern: one, Handle: s.putGroup},
		{Method: http.MethodDelete, Pattern: one, Handle: s.deleteGroup},
		{Method: http.MethodPost, Pattern: one + "/failover", Handle: s.failoverGroupHandler(failoverGroup)},
		{Method: http.MethodPost, Pattern: one + "/forceFailoverAllowDataLoss", Handle: s.failoverGroupHandler(forceFailoverGroup)},
		{Method: http.MethodPost, Pattern: one + "/tryPlannedBeforeForcedFailover", Handle: s.failoverGroupHandler(tryFailoverGroup)},
	}
}

func (s *Service) handleGroupOperations() {
	s.Operations.Handle(createGroup, s.executeUpsertGroup, s.groupResult)
	s.Operations.Handle(updateGroup, s.executeUpsertGroup, s.groupResult)
	s.Operations.Handle(dropGroup, s.executeDropGroup, nil)
	for _, kind := range []string{failoverGroup, forceFailoverGroup, tryFailoverGroup} {
		s.Operations.Handle(kind, s.executeFailoverGroup, s.groupResult)
	}
}

type groupBody struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties groupProperties   `json:"properties"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
}

type groupProperties struct {
	ReadWriteEndpoint readWriteEndpoint `json:"readWriteEndpoint"`
	ReadOnlyEndpoint  readOnlyEndpoint  `json:"readOnlyEndpoint"`
	ReplicationRole   string            `json:"replicationRole"`
	ReplicationState  string            `json:"replicationState"`
	PartnerServers    []partnerServer   `json:"partnerServers"`
	Databases         []string          `json:"databases"`
}

type readWriteEndpoint struct {
	FailoverPolicy string `json:"failoverPolicy"`
	Grace          *int   `json:"failoverWithDataLossGracePeriodMinutes,omitempty"`
}

type readOnlyEndpoint struct {
	FailoverPolicy string `json:"failoverPolicy"`
	TargetServer   string `json:"targetServer,omitempty"`
}

type partnerServer struct {
	ID              string `json:"id"`
	Location        string `json:"location,omitempty"`
	ReplicationRole string `json:"replicationRole,omitempty"`
}

func roleIn(group Group, server string) string {
	if group.Primary == server {
		return "Primary"
	}
	return "Secondary"
}

// groupView shows a group as one of its members sees it: its own role, the
// others as partners, the databases under its own id.
func (s *Service) groupView(tx *store.Tx, server Server, group Group) (groupBody, error) {
	body := groupBody{
		Location: regionDisplay(server.Location), Tags: group.Tags, ID: server.ID() + "/failoverGroups/" + group.Name, Name: group.Name, Type: "Microsoft.Sql/servers/failoverGroups",
		Properties: groupProperties{
			ReadWriteEndpoint: readWriteEndpoint{FailoverPolicy: group.Policy}, ReadOnlyEndpoint: readOnlyEndpoint{FailoverPolicy: group.ReadOnlyPolicy},
			ReplicationRole: roleIn(group, server.key()), PartnerServers: []partnerServer{}, Databases: []string{},
		},
	}
	if group.Policy == "Automatic" {
		grace := group.GraceMinutes
		body.Properties.ReadWriteEndpoint.Grace = &grace
	}
	for _, member := range group.Members {
		if member == server.key() {
			continue
		}
		partner, err := s.mustServer(tx, member)
		if err != nil {
			return groupBody{}, err
		}
		body.Properties.PartnerServers = append(body.Properties.PartnerServers,
			partnerServer{ID: partner.ID(), Location: regionDisplay(partner.Location), ReplicationRole: roleIn(group, member)})
		if group.ReadOnlyTarget == member || body.Properties.ReadOnlyEndpoint.TargetServer == "" {
			body.Properties.ReadOnlyEndpoint.TargetServer = partner.ID()
		}
	}
	for _, name := range group.Databases {
		db, found, err := s.databases.Get(tx, refOf(server.Name, name).String())
		if err != nil {
			return groupBody{}, err
		}
		if found {
			body.Properties.Databases = append(body.Properties.Databases, server.ID()+"/databases/"+db.Name)
		}
	}
	state, err := s.groupState(tx, group)
	body.Properties.ReplicationState = state
	return body, err
}

// groupState is the worst state of the group's links.
func (s *Service) groupState(tx *store.Tx, group Group) (string, error) {
	entries, err := s.links.Scan(tx, "")
	state := string(georep.CatchUp)
	for _, entry := range entries {
		if entry.Record.Group != group.Name {
			continue
		}
		if now, _ := s.linkState(entry.Record); now != string(georep.CatchUp) {
			state = now
		}
	}
	return state, err
}

// groupsOf lists the groups of which the server is a member.
func (s *Service) groupsOf(tx *store.Tx, server string) ([]Group, error) {
	entries, err := s.groups.Scan(tx, "")
	var groups []Group
	for _, entry := range entries {
		if slices.Contains(entry.Record.Members, strings.ToLower(server)) {
			groups = append(groups, entry.Record)
		}
	}
	return groups, err
}

func (s *Service) listGroups(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []groupBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		groups, err := s.groupsOf(tx, server.Name)
		for _, group := range groups {
			view, viewErr := s.groupView(tx, server, group)
			if viewErr != nil {
				return viewErr
			}
			views = append(views, view)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

// group finds the group that a request's path names; found is false when the
// server is no member of one of that name.
func (s *Service) group(tx *store.Tx, r *arm.Request) (server Server, group Group, found bool, err error) {
	if server, err = s.server(tx, r); err != nil {
		return server, group, false, err
	}
	group, found, err = s.groups.Get(tx, strings.ToLower(r.Param("failoverGroupName")))
	return server, group, found && slices.Contains(group.Members, server.key()), err
}

func (s *Service) getGroup(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view groupBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, group, found, err := s.group(tx, r)
		if err != nil || !found {
			return firstOf(err, notFound("Microsoft.Sql/servers/failoverGroups", r.Param("failoverGroupName")))
		}
		view, err = s.groupView(tx, server, group)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

// groupPayload is what group operations carry.
type groupPayload struct {
	Server string // the member that was called
	Group  Group
}

func (s *Service) groupResult(tx *store.Tx, op arm.Operation) (any, error) {
	var payload groupPayload
	if err := op.Decode(&payload); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, payload.Server)
	if err != nil {
		return nil, err
	}
	group, found, err := s.groups.Get(tx, strings.ToLower(payload.Group.Name))
	if err != nil || !found {
		return nil, err
	}
	return s.groupView(tx, server, group)
}

func (s *Service) putGroup(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var body groupRequest
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	var server Server
	var wanted Group
	kind := createGroup
	err := s.Store.View(func(tx *store.Tx) error {
		caller, group, found, err := s.group(tx, r)
		if err != nil {
			return err
		}
		server = caller
		if found {
			kind = updateGroup
		}
		wanted, err = s.wantGroup(tx, r, server, group, found, body)
		return err
	})
	if err != nil {
		return nil, err
	}
	op := s.groupOperation(r, server, kind, wanted)
	return s.acceptAlone(ctx, r, op, groupPayload{Server: server.Name, Group: wanted}, groupBusy(wanted, kind))
}

// groupOperation is an operation on a failover group: its URLs are at
// subscription scope.
func (s *Service) groupOperation(r *arm.Request, server Server, kind string, group Group) arm.Operation {
	op := s.operation(r, server, latency.Kind(kind), "failoverGroup")
	op.ResourceGroup, op.RetryAfter = "", 10*time.Second
	op.Resource, op.Holds = server.ID()+"/failoverGroups/"+group.Name, []string{"failover group " + group.Name}
	return op
}

func groupBusy(group Group, kind string) *arm.Error {
	return arm.Refuse(http.StatusConflict, "FailoverGroupBusy",
		"The Failover Group '%s' is busy with another operation and cannot perform the '%s' operation. Please try again later", group.Name, kind)
}

func (s *Service) deleteGroup(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	var group Group
	found := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		server, group, found, err = s.group(tx, r)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !found:
		return &arm.Response{Status: http.StatusNoContent}, nil
	case group.Primary != server.key():
		return nil, onSecondary()
	}
	op := s.groupOperation(r, server, dropGroup, group)
	return s.acceptAlone(ctx, r, op, groupPayload{Server: server.Name, Group: group}, groupBusy(group, dropGroup))
}

func onSecondary() *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "FailoverGroupUpdateOrDeleteRequestOnSecondary",
		"Modifications to the failover group are not allowed on a secondary server. Execute the request on the primary server.")
}

// executeDropGroup ends the group; its replicas and their links stay.
func (s *Service) executeDropGroup(_ context.Context, op arm.Operation) (arm.Commit, error) {
	var payload groupPayload
	if err := op.Decode(&payload); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error { return s.endGroup(tx, payload.Group.Name) }, nil
}

func (s *Service) endGroup(tx *store.Tx, name string) error {
	if err := s.releaseLinks(tx, Group{Name: name}); err != nil {
		return err
	}
	return s.groups.Delete(tx, strings.ToLower(name))
}

// releaseLinks takes the links of databases and members that the group does
// not have out of it; they go on as plain geo-replication.
func (s *Service) releaseLinks(tx *store.Tx, group Group) error {
	entries, err := s.links.Scan(tx, "")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		link := entry.Record
		held := slices.Contains(group.Databases, link.Primary.Database) && slices.Contains(group.Members, link.Secondary.Server)
		if link.Group != group.Name || held {
			continue
		}
		link.Group = ""
		if err := s.links.Put(tx, link.ID, link); err != nil {
			return err
		}
	}
	return nil
}

// leaveGroups has a server that is dropped leave its groups: a group whose
// primary it is, or that has no partner left, ends.
func (s *Service) leaveGroups(tx *store.Tx, server string) error {
	groups, err := s.groupsOf(tx, server)
	if err != nil {
		return err
	}
	for _, group := range groups {
		group.Members = slices.DeleteFunc(group.Members, func(name string) bool { return name == server })
		if group.Primary == server || len(group.Members) < 2 {
			err = s.endGroup(tx, group.Name)
		} else {
			err = s.groups.Put(tx, strings.ToLower(group.Name), group)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveGroup takes a database that is dropped out of its group.
func (s *Service) leaveGroup(tx *store.Tx, ref DBRef, links []Link) error {
	for _, link := range links {
		if link.Group == "" || link.Primary != ref {
			continue
		}
		group, found, err := s.groups.Get(tx, strings.ToLower(link.Group))
		if err != nil || !found {
			return err
		}
		group.Databases = slices.DeleteFunc(group.Databases, func(name string) bool { return name == ref.Database })
		if err := s.groups.Put(tx, strings.ToLower(group.Name), group); err != nil {
			return err
		}
	}
	return nil
}
