package sqlserver

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/georep"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	failoverLink      = "FailoverContinuousCopy"
	forceFailoverLink = "ForceFailoverContinuousCopy"
	stopLink          = "ForceStopDatabaseCopy"
)

func (s *Service) linkRoutes() []arm.Route {
	const path = databasePath + "/replicationLinks"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: serverPath + "/replicationLinks", Handle: s.listServerLinks},
		{Method: http.MethodGet, Pattern: path, Handle: s.listLinks},
		{Method: http.MethodGet, Pattern: path + "/{linkId}", Handle: s.getLink},
		{Method: http.MethodDelete, Pattern: path + "/{linkId}", Handle: s.deleteLink},
		{Method: http.MethodPost, Pattern: path + "/{linkId}/failover", Handle: s.failoverHandler(failoverLink)},
		{Method: http.MethodPost, Pattern: path + "/{linkId}/forceFailoverAllowDataLoss", Handle: s.failoverHandler(forceFailoverLink)},
	}
}

func (s *Service) handleLinkOperations() {
	s.Operations.Handle(failoverLink, s.executeFailoverLink, s.linkResult)
	s.Operations.Handle(forceFailoverLink, s.executeFailoverLink, s.linkResult)
	s.Operations.Handle(stopLink, s.executeStopLink, nil)
}

type linkBody struct {
	Properties linkProperties `json:"properties"`
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type,omitempty"`
}

type linkProperties struct {
	PartnerServer        string `json:"partnerServer"`
	PartnerDatabase      string `json:"partnerDatabase"`
	PartnerDatabaseID    string `json:"partnerDatabaseId"`
	PartnerLocation      string `json:"partnerLocation"`
	Role                 string `json:"role"`
	PartnerRole          string `json:"partnerRole"`
	ReplicationMode      string `json:"replicationMode"`
	StartTime            string `json:"startTime"`
	PercentComplete      int    `json:"percentComplete"`
	ReplicationState     string `json:"replicationState"`
	IsTerminationAllowed bool   `json:"isTerminationAllowed"`
	LinkType             string `json:"linkType"`
}

// linkView shows a link as one of its ends sees it.
func (s *Service) linkView(tx *store.Tx, server Server, link Link) (linkBody, error) {
	role, partnerRole, mine, other := "Primary", "Secondary", link.Primary, link.Secondary
	if link.Secondary.Server == server.key() {
		role, partnerRole, mine, other = partnerRole, role, link.Secondary, link.Primary
	}
	partner, err := s.mustServer(tx, other.Server)
	if err != nil {
		return linkBody{}, err
	}
	partnerDB, _, err := s.databases.Get(tx, other.String())
	if err != nil {
		return linkBody{}, err
	}
	myDB, _, err := s.databases.Get(tx, mine.String())
	state, percent := s.linkState(link)
	return linkBody{
		ID: server.ID() + "/databases/" + myDB.Name + "/replicationLinks/" + link.ID, Name: link.ID,
		Properties: linkProperties{
			PartnerServer: partner.Name, PartnerDatabase: partnerDB.Name, PartnerDatabaseID: partner.ID() + "/databases/" + partnerDB.Name,
			PartnerLocation: regionDisplay(partner.Location), Role: role, PartnerRole: partnerRole, ReplicationMode: "ASYNC",
			StartTime: arm.Timestamp(link.StartedAt), PercentComplete: percent, ReplicationState: state,
			IsTerminationAllowed: link.Group == "", LinkType: "GEO",
		},
	}, err
}

// linkState is a link's replicationState and percentComplete. One that has
// not begun is PENDING.
func (s *Service) linkState(link Link) (string, int) {
	status, known := s.instances.LinkStatus(link.ID)
	if !known {
		return string(georep.Pending), 0
	}
	return string(status.State), status.PercentComplete
}

func (s *Service) listServerLinks(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.listOfLinks(r, func(tx *store.Tx) (Server, []Link, error) {
		server, err := s.server(tx, r)
		if err != nil {
			return Server{}, nil, err
		}
		links, err := s.linksOf(tx, server.Name)
		return server, links, err
	})
}

func (s *Service) listLinks(_ context.Context, r *arm.Request) (*arm.Response, error) {
	return s.listOfLinks(r, func(tx *store.Tx) (Server, []Link, error) {
		server, db, err := s.database(tx, r)
		if err != nil {
			return Server{}, nil, err
		}
		links, err := s.linksOfDatabase(tx, refOf(server.Name, db.Name))
		return server, links, err
	})
}

func (s *Service) listOfLinks(_ *arm.Request, read func(tx *store.Tx) (Server, []Link, error)) (*arm.Response, error) {
	var views []linkBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, links, err := read(tx)
		if err != nil {
			return err
		}
		for _, link := range links {
			view, err := s.linkView(tx, server, link)
			if err != nil {
				return err
			}
			views = append(views, view)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

var guidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// link finds the link that a request's path names.
func (s *Service) link(tx *store.Tx, r *arm.Request) (Server, Link, error) {
	id := r.Param("linkId")
	if !guidPattern.MatchString(id) {
		return Server{}, Link{}, arm.Refuse(http.StatusBadRequest, "ReplicationLinksReplicationLinkNameIsInvalid", "The replication link name '%s' is invalid: it must be a GUID.", id)
	}
	server, db, err := s.database(tx, r)
	if err != nil {
		return Server{}, Link{}, err
	}
	link, found, err := s.links.Get(tx, strings.ToLower(id))
	ref := refOf(server.Name, db.Name)
	if err == nil && (!found || (link.Primary != ref && link.Secondary != ref)) {
		err = notFound("Microsoft.Sql/servers/databases/replicationLinks", id)
	}
	return server, link, err
}

func (s *Service) getLink(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view linkBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, link, err := s.link(tx, r)
		if err == nil {
			view, err = s.linkView(tx, server, link)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

// linkPayload is what link operations carry: To is the end that was called.
type linkPayload struct {
	ID string
	To DBRef
}

// linkToChange finds the link; one that a failover group owns is refused.
func (s *Service) linkToChange(r *arm.Request) (server Server, link Link, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		if server, link, err = s.link(tx, r); err != nil {
			return err
		}
		if link.Group != "" {
			return arm.Refuse(http.StatusConflict, "FailoverGroupAlreadySetup",
				"The link is part of a Failover Group. You must remove the database from the group in order to individually terminate or failover.")
		}
		return nil
	})
	return server, link, err
}

func (s *Service) failoverHandler(kind string) arm.Handler {
	return func(ctx context.Context, r *arm.Request) (*arm.Response, error) {
		server, link, err := s.linkToChange(r)
		if err != nil {
			return nil, err
		}
		here := refOf(server.Name, r.Param("databaseName"))
		if link.Secondary != here {
			return nil, arm.Refuse(http.StatusBadRequest, "GeoReplicationDatabaseNotSecondary",
				"Database '%s' on server '%s' is not a geo-secondary: a failover is asked of the secondary.", here.Database, server.Name)
		}
		return s.acceptLink(ctx, r, server, link, kind)
	}
}

func (s *Service) acceptLink(ctx context.Context, r *arm.Request, server Server, link Link, kind string) (*arm.Response, error) {
	op := s.operation(r, server, "", "replicationLinks")
	op.Kind, op.Takes, op.RetryAfter = kind, s.Latency.Of(latency.Kind(kind)), 10*time.Second
	op.Resource = server.ID() + "/databases/" + r.Param("databaseName") + "/replicationLinks/" + link.ID
	op.Holds = []string{databaseHold(link.Primary), databaseHold(link.Secondary)}
	payload := linkPayload{ID: link.ID, To: refOf(server.Name, r.Param("databaseName"))}
	return s.acceptAlone(ctx, r, op, payload, databaseBusy(r.Param("databaseName")))
}

func (s *Service) readLink(op arm.Operation) (link Link, payload linkPayload, err error) {
	if err := op.Decode(&payload); err != nil {
		return Link{}, payload, err
	}
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if link, found, err = s.links.Get(tx, payload.ID); err == nil && !found {
			err = notFound("Microsoft.Sql/servers/databases/replicationLinks", payload.ID)
		}
		return err
	})
	return link, payload, err
}

func (s *Service) executeFailoverLink(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	link, payload, err := s.readLink(op)
	if err != nil {
		return nil, err
	}
	if link.Secondary != payload.To {
		return nil, linkHasChanged(link)
	}
	mode := forcedFailover
	if op.Kind == failoverLink {
		mode = plannedFailover
	}
	return s.failOver(ctx, []Link{link}, mode, func(tx *store.Tx) error {
		now, found, err := s.links.Get(tx, link.ID)
		if err != nil || !found || now.Secondary != payload.To {
			return firstOf(err, linkHasChanged(link))
		}
		return s.turn(tx, now.Primary, now.Secondary)
	})
}

func linkHasChanged(link Link) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "IncorrectReplicationLinkState", "The replication link '%s' has changed.", link.ID)
}

func (s *Service) linkResult(tx *store.Tx, op arm.Operation) (any, error) {
	var payload linkPayload
	if err := op.Decode(&payload); err != nil {
		return nil, err
	}
	link, found, err := s.links.Get(tx, payload.ID)
	if err != nil || !found {
		return nil, err
	}
	server, err := s.mustServer(tx, payload.To.Server)
	if err != nil {
		return nil, err
	}
	return s.linkView(tx, server, link)
}

func (s *Service) deleteLink(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, link, err := s.linkToChange(r)
	if refusal, ok := errors.AsType[*arm.Error](err); ok && refusal.Code == "ResourceNotFound" {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	if err != nil {
		return nil, err
	}
	return s.acceptLink(ctx, r, server, link, stopLink)
}

func (s *Service) executeStopLink(_ context.Context, op arm.Operation) (arm.Commit, error) {
	link, _, err := s.readLink(op)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error { return s.endLink(tx, link) }, nil
}
