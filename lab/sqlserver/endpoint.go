package sqlserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Target is where a name that a client connects to leads.
type Target struct {
	Server string // in lower case
	// Group is the failover group whose listener the name is; empty for a
	// server's own name. ReadOnly tells its read-only listener.
	Group    string
	ReadOnly bool
}

// Resolve finds the server that a host name leads to: a server's own, a
// failover group's read-write listener (its present primary) or its read-only
// one (<group>.secondary). The domain is any, or none. found is false when
// nothing has the name.
// Source: https://learn.microsoft.com/azure/azure-sql/database/failover-group-sql-db
func (s *Service) Resolve(host string) (target Target, found bool, err error) {
	labels := strings.Split(strings.ToLower(host), ".")
	readOnly := len(labels) > 1 && labels[1] == "secondary"
	err = s.Store.View(func(tx *store.Tx) error {
		if server, there, err := s.servers.Get(tx, labels[0]); err != nil || there {
			target, found = Target{Server: server.key()}, there && !readOnly
			return err
		}
		group, there, err := s.groups.Get(tx, labels[0])
		if err != nil || !there {
			return err
		}
		target, found = Target{Server: group.Primary, Group: group.Name, ReadOnly: readOnly}, true
		if readOnly {
			target.Server = readOnlyServer(group)
		}
		return nil
	})
	return target, found, err
}

// readOnlyServer is where a group's read-only listener leads: its target
// server while that is a secondary, else the first secondary there is.
func readOnlyServer(group Group) string {
	if group.ReadOnlyTarget != "" && group.ReadOnlyTarget != group.Primary {
		return group.ReadOnlyTarget
	}
	for _, member := range group.Members {
		if member != group.Primary {
			return member
		}
	}
	return group.Primary
}

// ServerInfo is what the SQL endpoint shows of a server.
type ServerInfo struct {
	Name       string
	Location   string
	AdminLogin string
	MinimalTLS string // None, 1.0, 1.1, 1.2 or 1.3
	CreatedAt  time.Time
}

// ServerInfo reads a server; found is false when there is none.
func (s *Service) ServerInfo(server string) (info ServerInfo, found bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		record, there, err := s.servers.Get(tx, strings.ToLower(server))
		found = there
		info = ServerInfo{Name: record.Name, Location: record.Location, AdminLogin: record.AdminLogin, MinimalTLS: record.MinimalTLS, CreatedAt: record.CreatedAt}
		return err
	})
	return info, found, err
}

// DatabaseInfo is what the SQL endpoint shows of a database.
type DatabaseInfo struct {
	Name      string
	ID        string // GUID
	Number    int    // database_id
	Status    instance.Status
	CreatedAt time.Time
	SKU       SKU
	Objective string // such as GP_Gen5_2
	Secondary bool   // it is a geo-secondary: read-only
	Group     string // failover group, empty for none
	Boot      engine.Boot
}

// firstDatabaseNumber is the first database_id of a user database: the four
// below it are the system's.
const firstDatabaseNumber = 5

// Databases lists a server's databases by name, master first.
func (s *Service) Databases(server string) (list []DatabaseInfo, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		record, found, err := s.servers.Get(tx, strings.ToLower(server))
		if err != nil || !found {
			return err
		}
		list = append(list, DatabaseInfo{Name: master, Number: 1, Status: instance.Online, CreatedAt: record.CreatedAt, Objective: "System", SKU: SKU{Name: "System", Tier: "System"}})
		databases, err := s.databasesOf(tx, server)
		if err != nil {
			return err
		}
		for _, db := range databases {
			info, err := s.databaseInfo(tx, db)
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return nil
	})
	return list, err
}

// Database finds one of a server's databases; found is false when there is
// none of the name.
func (s *Service) Database(server, name string) (info DatabaseInfo, found bool, err error) {
	list, err := s.Databases(server)
	for _, each := range list {
		if strings.EqualFold(each.Name, name) {
			return each, true, err
		}
	}
	return DatabaseInfo{}, false, err
}

func (s *Service) databaseInfo(tx *store.Tx, db Database) (DatabaseInfo, error) {
	ref := refOf(db.Server, db.Name)
	sku, objective := skuOf(db.Sku)
	info := DatabaseInfo{
		Name: db.Name, ID: db.ID, Number: db.Number, Status: instance.Status(s.statusOf(db)), CreatedAt: db.CreatedAt, SKU: sku, Objective: objective,
	}
	info.Boot, _ = s.instances.Boot(ref)
	links, err := s.linksOfDatabase(tx, ref)
	for _, link := range links {
		info.Secondary = info.Secondary || link.Secondary == ref
		info.Group = firstText(info.Group, link.Group)
	}
	return info, err
}

// numbered gives a new database its database_id: one more than the greatest
// of its server.
func (s *Service) numbered(tx *store.Tx, db Database) (Database, error) {
	databases, err := s.databasesOf(tx, db.Server)
	db.Number = firstDatabaseNumber
	for _, each := range databases {
		db.Number = max(db.Number, each.Number+1)
	}
	return db, err
}

// GeoLink is a row of sys.geo_replication_links and of
// sys.dm_geo_replication_link_status, as one end sees it.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-geo-replication-links-azure-sql-database
type GeoLink struct {
	ID              string // link_guid
	Database        string
	DatabaseNumber  int
	PartnerServer   string
	PartnerDatabase string
	Primary         bool // this end is the primary
	State           int  // replication_state: 0, 1, 2 or 4
	StateName       string
	Percent         int
	StartedAt       time.Time
	ModifiedAt      time.Time
	LastReplication time.Time     // zero: none yet
	LastCommit      time.Time     // zero: none yet
	Lag             time.Duration // known on the primary alone
}

// GeoLinks lists the replication links of a server's databases; of one of
// them where database is not empty.
func (s *Service) GeoLinks(server, database string) (rows []GeoLink, err error) {
	server = strings.ToLower(server)
	err = s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOf(tx, server)
		if err != nil {
			return err
		}
		for _, link := range links {
			mine, other := link.Primary, link.Secondary
			if link.Secondary.Server == server {
				mine, other = other, mine
			}
			if database != "" && !strings.EqualFold(database, mine.Database) {
				continue
			}
			row, err := s.geoLink(tx, link, mine, other)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

func (s *Service) geoLink(tx *store.Tx, link Link, mine, other DBRef) (GeoLink, error) {
	db, _, err := s.databases.Get(tx, mine.String())
	if err != nil {
		return GeoLink{}, err
	}
	partner, _, err := s.databases.Get(tx, other.String())
	status, _ := s.instances.LinkStatus(link.ID)
	state, percent := s.linkState(link)
	return GeoLink{
		ID: link.ID, Database: db.Name, DatabaseNumber: db.Number, PartnerServer: other.Server, PartnerDatabase: partner.Name,
		Primary: mine == link.Primary, State: status.State.Number(), StateName: state, Percent: percent,
		StartedAt: link.StartedAt, ModifiedAt: status.ModifiedAt, LastReplication: status.LastReplication, LastCommit: status.LastCommit, Lag: status.Lag,
	}, err
}

// AwaitSync waits until a database's secondary on the partner has what is
// committed by now, as sp_wait_for_database_copy_sync does.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/active-geo-replication-sp-wait-for-database-copy-sync
func (s *Service) AwaitSync(ctx context.Context, server, database, partner, partnerDatabase string) error {
	ref := refOf(server, database)
	var id string
	err := s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOfDatabase(tx, ref)
		for _, link := range links {
			if link.Primary == ref && link.Secondary == refOf(partner, partnerDatabase) {
				id = link.ID
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if id == "" {
		return arm.Refuse(http.StatusBadRequest, "IncorrectReplicationLinkState", "Database '%s' has no geo-secondary '%s' on server '%s'.", database, partnerDatabase, partner)
	}
	return s.instances.AwaitSync(ctx, id)
}

// FailoverDatabase makes a geo-secondary the primary, as ALTER DATABASE …
// FAILOVER (or, with force, FORCE_FAILOVER_ALLOW_DATA_LOSS) on its server
// does, and returns when that is done or refused. Its refusals are *arm.Error
// with the codes of the ARM route. It is an operation like those of ARM, and
// goes on when ctx ends.
// Source: https://learn.microsoft.com/sql/t-sql/statements/alter-database-transact-sql
func (s *Service) FailoverDatabase(ctx context.Context, server, database string, force bool) error {
	here := refOf(server, database)
	kind := failoverLink
	if force {
		kind = forceFailoverLink
	}
	var link Link
	err := s.Store.View(func(tx *store.Tx) (err error) {
		link, err = s.linkToFailOver(tx, here)
		return err
	})
	if err != nil {
		return err
	}
	record, err := s.readServer(here.Server)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, record, kind, linkPayload{ID: link.ID, To: here}, link.Secondary, link.Primary)
}

func (s *Service) linkToFailOver(tx *store.Tx, here DBRef) (Link, error) {
	links, err := s.linksOfDatabase(tx, here)
	if err != nil {
		return Link{}, err
	}
	for _, link := range links {
		switch {
		case link.Secondary != here:
		case link.Group != "":
			return Link{}, arm.Refuse(http.StatusConflict, "FailoverGroupAlreadySetup",
				"The link is part of a Failover Group. You must remove the database from the group in order to individually terminate or failover.")
		default:
			return link, nil
		}
	}
	return Link{}, arm.Refuse(http.StatusBadRequest, "GeoReplicationDatabaseNotSecondary",
		"Database '%s' on server '%s' is not a geo-secondary: a failover is asked of the secondary.", here.Database, here.Server)
}

// awaitOperation waits for an operation's end and gives its refusal.
func (s *Service) awaitOperation(ctx context.Context, id string) error {
	for {
		s.Operations.Settle(ctx, id, time.Second)
		var op arm.Operation
		err := s.Store.View(func(tx *store.Tx) (err error) {
			op, _, err = s.Operations.Find(tx, id)
			return err
		})
		switch {
		case err != nil:
			return err
		case op.Status == arm.Succeeded:
			return nil
		case op.Status == arm.Failed:
			return op.Refusal()
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// OperationStatus is a row of sys.dm_operation_status.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-operation-status-azure-sql-database
type OperationStatus struct {
	ID           string // session_activity_id
	Database     string // major_resource_id
	Operation    string // such as CREATE DATABASE
	State        int    // 1 in progress, 2 completed, 3 failed
	StateName    string
	Percent      int
	ErrorCode    string
	ErrorText    string
	StartedAt    time.Time
	LastModified time.Time
}

// operationKept is how long sys.dm_operation_status shows an operation that
// has ended.
const operationKept = time.Hour

// OperationStatuses lists the operations on a server's databases, newest
// first: those that run and those of the last hour.
func (s *Service) OperationStatuses(server string) (rows []OperationStatus, err error) {
	marker := "/servers/" + strings.ToLower(server) + "/databases/"
	err = s.Store.View(func(tx *store.Tx) error {
		operations, err := s.Operations.Since(tx, s.Clock.Now().Add(-operationKept))
		for _, op := range operations {
			_, database, ours := strings.Cut(strings.ToLower(op.Resource), marker)
			name, named := operationNames()[op.Kind]
			if !ours || !named {
				continue
			}
			database, _, _ = strings.Cut(database, "/")
			rows = append(rows, operationRow(op, database, name))
		}
		return err
	})
	slices.SortFunc(rows, func(a, b OperationStatus) int { return b.StartedAt.Compare(a.StartedAt) })
	return rows, err
}

func operationRow(op arm.Operation, database, name string) OperationStatus {
	row := OperationStatus{ID: op.ID, Database: database, Operation: name, State: 1, StateName: "IN_PROGRESS", StartedAt: op.StartedAt, LastModified: op.StartedAt}
	switch op.Status {
	case arm.Succeeded:
		row.State, row.StateName, row.Percent, row.LastModified = 2, "COMPLETED", 100, op.EndedAt
	case arm.Failed:
		row.State, row.StateName, row.LastModified = 3, "FAILED", op.EndedAt
		if refusal := op.Refusal(); refusal != nil {
			row.ErrorCode, row.ErrorText = refusal.Code, fmt.Sprint(refusal.Message)
		}
	}
	return row
}

func operationNames() map[string]string {
	return map[string]string{
		createDatabase: "CREATE DATABASE", updateDatabase: "ALTER DATABASE", dropDatabase: "DROP DATABASE", setEncryption: "ALTER DATABASE",
		failoverLink: "ALTER DATABASE", forceFailoverLink: "ALTER DATABASE", stopLink: "TERMINATE CONTINUOUS DATABASE COPY",
	}
}
