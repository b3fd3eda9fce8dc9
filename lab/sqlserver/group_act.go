package sqlserver

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// The three ways to fail a group over. Azure announces all of them as
// FailoverFailoverGroup.
const (
	failoverGroup      = "FailoverFailoverGroup"
	forceFailoverGroup = "ForceFailoverFailoverGroup"
	tryFailoverGroup   = "TryPlannedBeforeForcedFailoverGroup"
)

// executeUpsertGroup writes the group, with a replica on every partner for
// each of its databases that has none there.
func (s *Service) executeUpsertGroup(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var payload groupPayload
	if err := op.Decode(&payload); err != nil {
		return nil, err
	}
	wanted := payload.Group
	if err := s.requirePartnersHold(ctx, wanted); err != nil {
		return nil, err
	}
	// The ids are of the operation, so that a repeat finds what it began.
	missing, err := s.missingReplicas(wanted, func(member, database string) string {
		return uuid.NewSHA1(uuid.NameSpaceURL, []byte(op.ID+"/"+member+"/"+database)).String()
	})
	if err != nil {
		return nil, err
	}
	seeded, err := s.seedReplicas(ctx, missing)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		if err := seeded(tx); err != nil {
			return err
		}
		if err := s.adoptLinks(tx, wanted); err != nil {
			return err
		}
		return s.groups.Put(tx, strings.ToLower(wanted.Name), wanted)
	}, nil
}

// requirePartnersHold refuses a group with databases whose partner lacks the
// material of the primary's protector.
func (s *Service) requirePartnersHold(ctx context.Context, group Group) error {
	if len(group.Databases) == 0 {
		return nil
	}
	primary, err := s.readServer(group.Primary)
	if err != nil || primary.Protector.URI == "" {
		return err
	}
	key, err := s.registeredKey(primary, primary.Protector.KeyName)
	if err != nil {
		return err
	}
	for _, member := range group.Members {
		if member == group.Primary {
			continue
		}
		partner, err := s.readServer(member)
		if err != nil {
			return err
		}
		held, err := s.partnerKeys(partner, primary.Protector, key.Thumbprint)
		if err != nil {
			return err
		}
		if err := s.probeAny(ctx, partner, held); err != nil {
			s.Log.Info("group.partner_cannot_use_key", "partner", partner.Name, "key", held[0].URI, "error", err)
			return arm.Refuse(http.StatusBadRequest, "KeyMaterialNotFoundOnRemoteServer", "Remote server does not have access to key material used as a TDE protector.")
		}
	}
	return nil
}

// adoptLinks gives the group the links that its databases have already, and
// lets go of those of databases that it no longer has.
func (s *Service) adoptLinks(tx *store.Tx, group Group) error {
	if err := s.releaseLinks(tx, group); err != nil {
		return err
	}
	for _, name := range group.Databases {
		links, err := s.linksOfDatabase(tx, DBRef{Server: group.Primary, Database: name})
		if err != nil {
			return err
		}
		for _, link := range links {
			if !slices.Contains(group.Members, link.Secondary.Server) {
				continue
			}
			link.Group = group.Name
			if err := s.links.Put(tx, link.ID, link); err != nil {
				return err
			}
		}
	}
	return nil
}

// missingReplicas lists the replicas that the members lack.
func (s *Service) missingReplicas(group Group, id func(member, database string) string) (missing []newReplica, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		for _, name := range group.Databases {
			source := DBRef{Server: group.Primary, Database: name}
			primary, found, err := s.databases.Get(tx, source.String())
			if err != nil || !found {
				return firstOf(err, notFound("Microsoft.Sql/servers/databases", name))
			}
			links, err := s.linksOfDatabase(tx, source)
			if err != nil {
				return err
			}
			for _, member := range group.Members {
				if member == group.Primary || s.seededOn(tx, links, member) {
					continue
				}
				missing = append(missing, newReplica{Source: source, Group: group.Name, Database: Database{
					Server: member, Name: primary.Name, ID: id(member, name), CreatedAt: s.Clock.Now(), Secondary: "Geo", Tags: primary.Tags,
				}})
			}
		}
		return nil
	})
	return missing, err
}

// seededOn reports whether one of the links leads to the member, and its
// replica is more than begun.
func (s *Service) seededOn(tx *store.Tx, links []Link, member string) bool {
	for _, link := range links {
		if link.Secondary.Server != member {
			continue
		}
		db, found, err := s.databases.Get(tx, link.Secondary.String())
		return err == nil && found && db.Status != statusCreating
	}
	return false
}

func (s *Service) failoverGroupHandler(kind string) arm.Handler {
	return func(ctx context.Context, r *arm.Request) (*arm.Response, error) {
		var server Server
		var group Group
		err := s.Store.View(func(tx *store.Tx) error {
			found := false
			var err error
			server, group, found, err = s.group(tx, r)
			if err == nil && !found {
				err = arm.Refuse(http.StatusBadRequest, "FailoverGroupDoesNotExist", "Failover group '%s' does not exist on server '%s'.", r.Param("failoverGroupName"), server.Name)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if group.Primary == server.key() {
			return nil, arm.Refuse(http.StatusBadRequest, "FailoverGroupFailoverRequestOnPrimary",
				"Failover cannot be initiated from the primary server in a failover group. Execute the request on a secondary server.")
		}
		op := s.groupOperation(r, server, kind, group)
		op.Announced = failoverGroup
		return s.acceptAlone(ctx, r, op, groupPayload{Server: server.Name, Group: group}, groupBusy(group, failoverGroup))
	}
}

// executeFailoverGroup makes the called member the primary. A planned
// failover needs every replica in step and openable there; a forced one takes
// the replicas as they are.
func (s *Service) executeFailoverGroup(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var payload groupPayload
	if err := op.Decode(&payload); err != nil {
		return nil, err
	}
	links, err := s.linksToTurn(payload)
	if err != nil {
		return nil, err
	}
	mode := plannedFailover
	switch op.Kind {
	case forceFailoverGroup:
		mode = forcedFailover
	case tryFailoverGroup:
		mode = triedFailover
	}
	return s.failOver(ctx, links, mode, func(tx *store.Tx) error { return s.swapRoles(tx, payload) })
}

// linksToTurn are the group's links that lead to the called member.
func (s *Service) linksToTurn(payload groupPayload) (turning []Link, err error) {
	to := strings.ToLower(payload.Server)
	err = s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOf(tx, to)
		for _, link := range links {
			if link.Group == payload.Group.Name && link.Secondary.Server == to {
				turning = append(turning, link)
			}
		}
		return err
	})
	return turning, err
}

func (s *Service) swapRoles(tx *store.Tx, payload groupPayload) error {
	group, found, err := s.groups.Get(tx, strings.ToLower(payload.Group.Name))
	if err != nil || !found {
		return firstOf(err, arm.Refuse(http.StatusBadRequest, "FailoverGroupDoesNotExist", "Failover group '%s' does not exist.", payload.Group.Name))
	}
	to := strings.ToLower(payload.Server)
	from := group.Primary
	if from == to || !slices.Contains(group.Members, to) {
		return arm.Refuse(http.StatusBadRequest, "FailoverGroupNotSecondary", "Server '%s' is not a secondary of failover group '%s'.", payload.Server, group.Name)
	}
	for _, name := range group.Databases {
		if err := s.turn(tx, DBRef{Server: from, Database: name}, DBRef{Server: to, Database: name}); err != nil {
			return err
		}
	}
	group.Primary = to
	if group.ReadOnlyTarget == to {
		group.ReadOnlyTarget = from
	}
	return s.groups.Put(tx, strings.ToLower(group.Name), group)
}
