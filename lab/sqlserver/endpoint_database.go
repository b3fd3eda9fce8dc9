package sqlserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// CreateDatabase makes a database as CREATE DATABASE does, and returns when
// it is there or refused. objective is its SERVICE_OBJECTIVE, empty for the
// default; copyServer and copyOf name the source of AS COPY OF, copyOf empty
// for a new database. Its refusals are *arm.Error with the codes of the
// ARM route. It is an operation like those of ARM, and goes on when ctx ends.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-database-transact-sql
func (s *Service) CreateDatabase(ctx context.Context, server, name, objective, copyServer, copyOf string) error {
	if !databaseNamePattern.MatchString(name) || strings.EqualFold(name, master) {
		return arm.Refuse(http.StatusBadRequest, "InvalidDatabaseName", "The database name '%s' is invalid.", name)
	}
	record, err := s.readServer(server)
	if err != nil {
		return err
	}
	if err := s.requireNoRotation(record); err != nil {
		return err
	}
	payload := databasePayload{Database: Database{
		Server: record.Name, Name: name, ID: s.NewID(), Status: statusOnline, CreatedAt: s.Clock.Now(), Sku: SKU{Name: firstText(objective, defaultObjective)},
	}}
	if err := s.requireFree(payload.Database); err != nil {
		return err
	}
	if copyOf != "" {
		source, err := s.liveSource(refOf(firstText(copyServer, server), copyOf))
		if err != nil {
			return err
		}
		payload.Restore = &restorePayload{From: source, Copy: true}
	}
	return s.carryOut(ctx, record, createDatabase, payload, refOf(server, name))
}

// defaultObjective is the service objective of a database that is given none.
const defaultObjective = "GP_Gen5_2"

// DropDatabase drops a database as DROP DATABASE does; see CreateDatabase.
func (s *Service) DropDatabase(ctx context.Context, server, name string) error {
	ref := refOf(server, name)
	record, err := s.readServer(server)
	if err != nil {
		return err
	}
	db, err := s.liveDatabase(ref)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, record, dropDatabase, databasePayload{Database: db}, ref)
}

func (s *Service) liveDatabase(ref DBRef) (db Database, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if db, found, err = s.databases.Get(tx, ref.String()); err == nil && !found {
			err = notFound("Microsoft.Sql/servers/databases", ref.Database)
		}
		return err
	})
	return db, err
}

// AddSecondary makes a geo-secondary of a database on the partner server, as
// ALTER DATABASE … ADD SECONDARY ON SERVER does; see CreateDatabase.
func (s *Service) AddSecondary(ctx context.Context, server, database, partner string) error {
	source := refOf(server, database)
	db, err := s.liveDatabase(source)
	if err != nil {
		return err
	}
	record, err := s.readServer(partner)
	if err != nil {
		return err
	}
	payload := databasePayload{Source: &source, Database: Database{
		Server: record.Name, Name: db.Name, ID: s.NewID(), Status: statusOnline, CreatedAt: s.Clock.Now(), Sku: db.Sku, Secondary: "Geo",
	}}
	return s.carryOut(ctx, record, createDatabase, payload, refOf(partner, database))
}

// RemoveSecondary ends the replication of a database to the partner server,
// as ALTER DATABASE … REMOVE SECONDARY ON SERVER does; see CreateDatabase.
func (s *Service) RemoveSecondary(ctx context.Context, server, database, partner string) error {
	primary, secondary := refOf(server, database), refOf(partner, database)
	var link Link
	err := s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOfDatabase(tx, primary)
		for _, each := range links {
			if each.Primary == primary && each.Secondary == secondary {
				link = each
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case link.ID == "":
		return arm.Refuse(http.StatusConflict, "InvalidOperationForDatabaseNotInReplicationRelationship", "Database '%s' has no geo-secondary on server '%s'.", database, partner)
	case link.Group != "":
		return arm.Refuse(http.StatusConflict, "FailoverGroupAlreadySetup",
			"The link is part of a Failover Group. You must remove the database from the group in order to individually terminate or failover.")
	}
	record, err := s.readServer(server)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, record, stopLink, linkPayload{ID: link.ID, To: primary}, primary, secondary)
}

// SuspendDatabaseEncryption makes a TDE scan pause, or go on, as ALTER
// DATABASE … SET ENCRYPTION SUSPEND and RESUME do.
// Source: https://learn.microsoft.com/sql/t-sql/statements/alter-database-transact-sql-set-options
func (s *Service) SuspendDatabaseEncryption(ctx context.Context, server, database string, suspend bool) error {
	ref := refOf(server, database)
	if err := s.requirePrimary(ref); err != nil {
		return err
	}
	if err := s.requireOnline(ref); err != nil {
		return err
	}
	boot, _ := s.instances.Boot(ref)
	scanning := boot.State == engine.StateEncrypting || boot.State == engine.StateDecrypting
	switch {
	case suspend && boot.ScanSuspended:
		return arm.Refuse(http.StatusBadRequest, "TransparentDataEncryptionScanCannotBeSuspendedAgain", "The encryption scan of database '%s' is suspended already.", database)
	case suspend && !scanning:
		return arm.Refuse(http.StatusBadRequest, "TransparentDataEncryptionCannotSuspend", "Database '%s' has no encryption scan that could be suspended.", database)
	case !suspend && !boot.ScanSuspended:
		return arm.Refuse(http.StatusBadRequest, "TransparentDataEncryptionCannotResume", "Database '%s' has no suspended encryption scan.", database)
	}
	return s.instances.SuspendScan(ctx, ref, suspend)
}

// carryOut begins an operation that no client polls and waits for its end.
func (s *Service) carryOut(ctx context.Context, server Server, kind string, payload any, busy ...DBRef) error {
	op := arm.Operation{
		Kind: kind, Provider: Namespace, Subscription: server.Subscription, ResourceGroup: server.ResourceGroup, Location: server.Location,
		Takes: s.Latency.Of(latency.Kind(kind)), Resource: server.ID() + "/databases/" + busy[0].Database,
	}
	for _, ref := range busy {
		op.Holds = append(op.Holds, databaseHold(ref))
	}
	err := s.Store.Update(func(tx *store.Tx) error {
		for _, hold := range op.Holds {
			if _, held, err := s.Operations.Busy(tx, hold); err != nil || held {
				return firstOf(err, databaseBusy(busy[0].Database))
			}
		}
		var err error
		op, err = s.Operations.Begin(tx, op, payload)
		return err
	})
	if err != nil {
		return err
	}
	return s.awaitOperation(ctx, op.ID)
}
