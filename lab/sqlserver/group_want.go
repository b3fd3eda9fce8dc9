package sqlserver

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// groupRequest is the body of a group's PUT or PATCH. Nil was not sent.
type groupRequest struct {
	Tags       map[string]string `json:"tags"`
	Properties *struct {
		ReadWriteEndpoint *struct {
			FailoverPolicy string `json:"failoverPolicy"`
			Grace          *int   `json:"failoverWithDataLossGracePeriodMinutes"`
		} `json:"readWriteEndpoint"`
		ReadOnlyEndpoint *struct {
			FailoverPolicy string `json:"failoverPolicy"`
			TargetServer   string `json:"targetServer"`
		} `json:"readOnlyEndpoint"`
		PartnerServers *[]struct {
			ID string `json:"id"`
		} `json:"partnerServers"`
		Databases *[]string `json:"databases"`
	} `json:"properties"`
}

func invalidGroup(suffix, format string, args ...any) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "FailoverGroupCreateOrUpdateRequest"+suffix, format, args...)
}

var groupNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// minGraceMinutes is the least grace period of the Automatic policy.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
const minGraceMinutes = 60

// wantGroup checks a PUT or PATCH and gives the group as it shall be. A PUT
// replaces; a PATCH keeps what it does not name.
func (s *Service) wantGroup(tx *store.Tx, r *arm.Request, server Server, now Group, exists bool, body groupRequest) (Group, error) {
	if body.Properties == nil {
		return Group{}, invalidGroup("Invalid", "The create or update failover group request body is empty or invalid.")
	}
	patch := r.HTTP.Method == http.MethodPatch
	wanted := Group{Name: now.Name, Members: now.Members, Primary: server.key(), ReadOnlyPolicy: "Disabled", Tags: body.Tags}
	switch {
	case patch && !exists:
		return Group{}, notFound("Microsoft.Sql/servers/failoverGroups", r.Param("failoverGroupName"))
	case exists && now.Primary != server.key():
		return Group{}, onSecondary()
	case patch:
		wanted = now
	case !exists:
		wanted.Name, wanted.Members = r.Param("failoverGroupName"), nil
		if err := s.checkGroupName(tx, wanted.Name); err != nil {
			return Group{}, err
		}
	}
	if err := wantEndpoints(&wanted, body, patch); err != nil {
		return Group{}, err
	}
	if err := s.wantPartners(tx, server, &wanted, body, patch); err != nil {
		return Group{}, err
	}
	if err := s.wantTarget(&wanted, body); err != nil {
		return Group{}, err
	}
	return wanted, s.wantDatabases(tx, server, &wanted, body, patch)
}

func (s *Service) checkGroupName(tx *store.Tx, name string) error {
	if !groupNamePattern.MatchString(name) {
		return arm.Refuse(http.StatusConflict, "InvalidFailoverGroupName", "The failover group name '%s' is invalid. It can only be made up of lowercase letters 'a'-'z', the numbers 0-9 and the hyphen.", name)
	}
	if _, taken, err := s.groups.Get(tx, name); err != nil || taken {
		return firstOf(err, arm.Refuse(http.StatusConflict, "FailoverGroupAlreadyExists", "The failover group '%s' already exists.", name))
	}
	if _, taken, err := s.servers.Get(tx, name); err != nil || taken {
		return firstOf(err, arm.Refuse(http.StatusConflict, "FailoverGroupDnsRecordInUse", "The DNS record '%s%s' is in use.", name, domain))
	}
	return nil
}

func wantEndpoints(wanted *Group, body groupRequest, patch bool) error {
	if readOnly := body.Properties.ReadOnlyEndpoint; readOnly != nil && readOnly.FailoverPolicy != "" {
		wanted.ReadOnlyPolicy = readOnly.FailoverPolicy
	}
	endpoint := body.Properties.ReadWriteEndpoint
	if endpoint == nil {
		if patch {
			return nil
		}
		return invalidGroup("InvalidReadWriteEndpoint", "The read-write endpoint of the failover group is required.")
	}
	wanted.Policy, wanted.GraceMinutes = endpoint.FailoverPolicy, 0
	switch endpoint.FailoverPolicy {
	case "Manual":
		if endpoint.Grace != nil && *endpoint.Grace != 0 {
			return invalidGroup("InvalidReadWriteEndpointFieldsForManualPolicy", "Grace period value should not be provided when failover policy Manual is selected for the read-write endpoint.")
		}
	case "Automatic":
		switch {
		case endpoint.Grace == nil:
			return invalidGroup("InvalidReadWriteEndpointFields", "A grace period is required when failover policy Automatic is selected for the read-write endpoint.")
		case *endpoint.Grace < 0:
			return invalidGroup("NegativeGracePeriodValues", "The grace period must not be negative.")
		case *endpoint.Grace < minGraceMinutes:
			return invalidGroup("LessThanMinimumGracePeriodValues", "The grace period must be at least '%d' minutes.", minGraceMinutes)
		}
		wanted.GraceMinutes = *endpoint.Grace
	default:
		return invalidGroup("InvalidReadWriteFailoverPolicy", "The failover policy '%s' of the read-write endpoint is invalid.", endpoint.FailoverPolicy)
	}
	return nil
}

// wantPartners reads the partner servers. They are named with their ids; each
// must be another server of the subscription, in another region.
func (s *Service) wantPartners(tx *store.Tx, server Server, wanted *Group, body groupRequest, patch bool) error {
	if body.Properties.PartnerServers == nil || len(*body.Properties.PartnerServers) == 0 {
		if patch && body.Properties.PartnerServers == nil {
			return nil
		}
		return invalidGroup("InvalidPartner", "The partner servers of the failover group are empty or invalid.")
	}
	members := []string{server.key()}
	for _, named := range *body.Properties.PartnerServers {
		partner, err := s.partnerByID(tx, server, named.ID)
		if err != nil {
			return err
		}
		if slices.Contains(members, partner.key()) {
			return invalidGroup("DuplicatePartner", "The partner server '%s' is named twice.", partner.Name)
		}
		members = append(members, partner.key())
	}
	wanted.Members = members
	return nil
}

func (s *Service) partnerByID(tx *store.Tx, server Server, id string) (Server, error) {
	segments := strings.FieldsFunc(strings.ToLower(id), func(c rune) bool { return c == '/' })
	if len(segments) != 8 || segments[6] != "servers" || segments[5] != "microsoft.sql" {
		return Server{}, invalidGroup("InvalidPartner", "The partner server id '%s' is invalid.", id)
	}
	if !strings.EqualFold(segments[1], server.Subscription) {
		return Server{}, arm.Refuse(http.StatusBadRequest, "FailoverGroupPartnerServerFromDifferentSubscription", "The partner server '%s' belongs to a different subscription.", segments[7])
	}
	partner, found, err := s.servers.Get(tx, segments[7])
	if err != nil || !found || !strings.EqualFold(partner.ID(), "/"+strings.Join(segments, "/")) {
		return Server{}, firstOf(err, arm.Refuse(http.StatusNotFound, "SubscriptionDoesNotHaveServer", "Subscription '%s' does not have the server '%s'.", server.Subscription, segments[7]))
	}
	if partner.Location == server.Location {
		return Server{}, arm.Refuse(http.StatusBadRequest, "InvalidFailoverGroupRegion", "Servers specified in a Failover Group must reside in different regions.")
	}
	return partner, nil
}

func (s *Service) wantTarget(wanted *Group, body groupRequest) error {
	readOnly := body.Properties.ReadOnlyEndpoint
	if readOnly == nil || readOnly.TargetServer == "" {
		return nil
	}
	name := strings.ToLower(readOnly.TargetServer[strings.LastIndex(readOnly.TargetServer, "/")+1:])
	if name == wanted.Primary || !slices.Contains(wanted.Members, name) {
		// A group that failed over is sent back as it was read, its target
		// being the primary of now.
		if name == wanted.Primary {
			return nil
		}
		return invalidGroup("InvalidReadOnlyEndpointTargetServer", "The read-only endpoint's target server '%s' is not a partner server.", readOnly.TargetServer)
	}
	wanted.ReadOnlyTarget = name
	return nil
}

func (s *Service) wantDatabases(tx *store.Tx, server Server, wanted *Group, body groupRequest, patch bool) error {
	if body.Properties.Databases == nil {
		if !patch {
			wanted.Databases = nil
		}
		return nil
	}
	wanted.Databases = nil
	for _, id := range *body.Properties.Databases {
		ref, err := s.sourceOf(id)
		if err != nil {
			return invalidGroup("InvalidDatabases", "The database id '%s' is not a properly constructed resource id.", id)
		}
		_, found, err := s.databases.Get(tx, ref.String())
		if err != nil {
			return err
		}
		if ref.Server != server.key() || !found {
			return invalidGroup("InvalidDatabaseServer", "One or more of the provided databases do not exist on the primary server of the failover group: '%s'.", id)
		}
		if err := s.checkDatabaseFree(tx, ref, *wanted); err != nil {
			return err
		}
		if !slices.Contains(wanted.Databases, ref.Database) {
			wanted.Databases = append(wanted.Databases, ref.Database)
		}
	}
	return nil
}

// checkDatabaseFree refuses a database that another group has, or that is a
// geo-secondary itself.
func (s *Service) checkDatabaseFree(tx *store.Tx, ref DBRef, group Group) error {
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return err
	}
	for _, link := range links {
		switch {
		case link.Group != "" && !strings.EqualFold(link.Group, group.Name):
			return arm.Refuse(http.StatusConflict, "DatabaseBelongsToOtherFailoverGroup", "Database '%s' belongs to another failover group.", ref.Database)
		case link.Secondary == ref:
			return arm.Refuse(http.StatusBadRequest, "DatabaseInFailoverGroupNotPrimary", "Database '%s' is not the primary of its replication relation.", ref.Database)
		}
	}
	return nil
}
