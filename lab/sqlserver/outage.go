package sqlserver

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Outage says what is out of order. Each function may be nil.
type Outage struct {
	// Down says whether a region is down, by its name such as westeurope.
	Down func(region string) bool
	// Delay is waited for before replication ships what was committed.
	Delay func(ctx context.Context) error
}

// DownError says that a server cannot be reached, since its region is down.
type DownError struct{ Server, Region string }

// Error names the server and its region.
func (e *DownError) Error() string {
	return "server " + e.Server + " cannot be reached: the region " + e.Region + " is down"
}

// RegionOf is the region of a server; empty when there is none of the name.
func (s *Service) RegionOf(server string) (region string, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		record, _, err := s.servers.Get(tx, strings.ToLower(server))
		region = record.Location
		return err
	})
	return region, err
}

// outOfReach gives a *DownError when the server of one of the databases is in
// a region that is down.
func (s *Service) outOfReach(refs ...DBRef) error {
	if s.Outage.Down == nil {
		return nil
	}
	for _, ref := range refs {
		region, err := s.RegionOf(ref.Server)
		if err != nil {
			return err
		}
		if s.Outage.Down(region) {
			return &DownError{Server: ref.Server, Region: region}
		}
	}
	return nil
}

// reach is the replication's: whether anything crosses between two replicas.
func (s *Service) reach(_ context.Context, from, to string) error {
	_, fromServer := splitName(from)
	_, toServer := splitName(to)
	return s.outOfReach(DBRef{Server: fromServer}, DBRef{Server: toServer})
}

// unreachablePartner says in Azure's words that a planned failover was rolled
// back since a member cannot be reached.
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors, error 45338
func unreachablePartner(err error) error {
	down, ok := errors.AsType[*DownError](err)
	if !ok {
		return err
	}
	return arm.Refuse(http.StatusBadRequest, "PlannedFailoverTimedOut",
		"The planned failover operation has rolled back because the remote server '%s' could not be reached. This may be due to a service outage. Consider using forced failover.", down.Server)
}

// FailOverGroup has a failover group failed over to a server by somebody else,
// as the POST on that server does. It returns when the operation has begun; one
// that takes no time has ended then, and its refusal is the error.
func (s *Service) FailOverGroup(ctx context.Context, name, to string, force bool, origin arm.Origin) error {
	kind := failoverGroup
	if force {
		kind = forceFailoverGroup
	}
	var op arm.Operation
	err := s.Store.Update(func(tx *store.Tx) error {
		server, group, err := s.groupToFailOver(tx, name, to)
		if err != nil {
			return err
		}
		op = arm.Operation{
			Kind: kind, Announced: failoverGroup, Provider: Namespace, Subscription: server.Subscription, Location: server.Location, Origin: &origin,
			Takes: s.Latency.Of(latency.Kind(kind)), Resource: server.ID() + "/failoverGroups/" + group.Name, Holds: []string{"failover group " + group.Name},
		}
		if _, held, err := s.Operations.Busy(tx, op.Holds[0]); err != nil || held {
			return firstOf(err, groupBusy(group, failoverGroup))
		}
		op, err = s.Operations.Begin(tx, op, groupPayload{Server: server.Name, Group: group})
		return err
	})
	if err != nil || op.Takes > 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.awaitOperation(ctx, op.ID)
}

func (s *Service) groupToFailOver(tx *store.Tx, name, to string) (Server, Group, error) {
	server, err := s.mustServer(tx, to)
	if err != nil {
		return server, Group{}, err
	}
	group, found, err := s.groups.Get(tx, strings.ToLower(name))
	switch {
	case err != nil:
	case !found:
		err = arm.Refuse(http.StatusBadRequest, "FailoverGroupDoesNotExist", "Failover group '%s' does not exist on server '%s'.", name, server.Name)
	case group.Primary == server.key():
		err = arm.Refuse(http.StatusBadRequest, "FailoverGroupFailoverRequestOnPrimary",
			"Failover cannot be initiated from the primary server in a failover group. Execute the request on a secondary server.")
	}
	return server, group, err
}
