package sqlserver

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	createDatabase = "CreateLogicalDatabase"
	updateDatabase = "UpdateLogicalDatabase"
	dropDatabase   = "DropLogicalDatabase"

	statusOnline       = string(instance.Online)
	statusCreating     = string(instance.Creating)
	statusInaccessible = string(instance.Inaccessible)
)

func (s *Service) databaseRoutes() []arm.Route {
	return []arm.Route{
		{Method: http.MethodGet, Pattern: databasesPath, Handle: s.listDatabases},
		{Method: http.MethodGet, Pattern: databasePath, Handle: s.getDatabase},
		{Method: http.MethodPut, Pattern: databasePath, Handle: s.putDatabase},
		{Method: http.MethodPatch, Pattern: databasePath, Handle: s.putDatabase},
		{Method: http.MethodDelete, Pattern: databasePath, Handle: s.deleteDatabase},
	}
}

func (s *Service) handleDatabaseOperations() {
	s.Operations.Handle(createDatabase, s.executeCreateDatabase, s.databaseResult)
	s.Operations.Handle(updateDatabase, s.executeUpdateDatabase, s.databaseResult)
	s.Operations.Handle(dropDatabase, s.executeDropDatabase, nil)
	s.Operations.Handle(setEncryption, s.executeSetEncryption, s.encryptionResult)
}

func (s *Service) listDatabases(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []databaseBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		databases, err := s.databasesOf(tx, server.Name)
		if err != nil {
			return err
		}
		for _, db := range append([]Database{masterOf(server)}, databases...) {
			view, err := s.databaseView(tx, server, db)
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

func (s *Service) getDatabase(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view databaseBody
	err := s.Store.View(func(tx *store.Tx) error {
		if strings.EqualFold(r.Param("databaseName"), master) {
			server, err := s.server(tx, r)
			if err == nil {
				view, err = s.databaseView(tx, server, masterOf(server))
			}
			return err
		}
		server, db, err := s.database(tx, r)
		if err == nil {
			view, err = s.databaseView(tx, server, db)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

// databaseRequest is the body of a database's PUT or PATCH.
type databaseRequest struct {
	Location   string                     `json:"location"`
	Tags       *map[string]string         `json:"tags"`
	SKU        *SKU                       `json:"sku"`
	Identity   json.RawMessage            `json:"identity"`
	Properties map[string]json.RawMessage `json:"properties"`
}

func (b databaseRequest) text(name string) string {
	var value string
	for key, raw := range b.Properties {
		if strings.EqualFold(key, name) && json.Unmarshal(raw, &value) == nil {
			return value
		}
	}
	return ""
}

// databasePayload is what database operations carry.
type databasePayload struct {
	Database Database
	Source   *DBRef // the primary that a new geo-secondary replicates
	Restore  *restorePayload
}

// The characters that Azure SQL refuses in a database's name.
// Source: https://learn.microsoft.com/rest/api/sql/databases/create-or-update
var databaseNamePattern = regexp.MustCompile(`^[^<>*%&:\\/?\x00-\x1f]{0,127}[^<>*%&:\\/?\x00-\x1f. ]$`)

func (s *Service) putDatabase(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var body databaseRequest
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	var server Server
	var db Database
	exists := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		if server, err = s.server(tx, r); err != nil {
			return err
		}
		db, exists, err = s.databases.Get(tx, refOf(server.Name, r.Param("databaseName")).String())
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case exists:
		return s.changeDatabase(ctx, r, server, db, body)
	case r.HTTP.Method == http.MethodPatch:
		return nil, notFound("Microsoft.Sql/servers/databases", r.Param("databaseName"))
	}
	return s.makeDatabase(ctx, r, server, body)
}

func (s *Service) makeDatabase(ctx context.Context, r *arm.Request, server Server, body databaseRequest) (*arm.Response, error) {
	name := r.Param("databaseName")
	if !databaseNamePattern.MatchString(name) || strings.EqualFold(name, master) {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidDatabaseName", "The database name '%s' is invalid.", name)
	}
	if body.Location != "" {
		if region, known := arm.FindRegion(body.Location); !known || region.Name != server.Location {
			return nil, arm.Refuse(http.StatusBadRequest, "MismatchingLocation", "The database location '%s' does not match the location of server '%s'.", body.Location, server.Name)
		}
	}
	if err := unsupportedDatabase(body); err != nil {
		return nil, err
	}
	payload := databasePayload{Database: Database{
		Server: server.Name, Name: name, ID: s.NewID(), Status: statusOnline, CreatedAt: s.Clock.Now(),
		Sku: SKU{Name: "GP_Gen5_2"}, Given: kept(body.Properties), Secondary: body.text("secondaryType"),
	}}
	applyDatabase(&payload.Database, body)
	var err error
	if payload.Restore, err = s.wantRestore(body); err != nil {
		return nil, err
	}
	if mode := body.text("createMode"); strings.EqualFold(mode, "Secondary") || strings.EqualFold(mode, "OnlineSecondary") {
		source, err := s.sourceOf(body.text("sourceDatabaseId"))
		if err != nil {
			return nil, err
		}
		payload.Source = &source
		if payload.Database.Secondary == "" {
			payload.Database.Secondary = "Geo"
		}
	}
	op := s.operation(r, server, createDatabase, "database")
	op.Resource, op.RetryAfter = server.ID()+"/databases/"+name, 15*time.Second
	op.Holds = []string{databaseHold(refOf(server.Name, name))}
	if err := s.requireNoRotation(server); err != nil {
		return nil, err
	}
	return s.acceptAlone(ctx, r, op, payload, databaseBusy(name))
}

func databaseHold(ref DBRef) string { return "database " + ref.String() }

func databaseBusy(name string) *arm.Error {
	return arm.Refuse(http.StatusConflict, "ManagementServiceDatabaseBusy", "Database '%s' is busy with another operation. Please try your operation later.", name)
}

// requireNoRotation refuses to create a database while the server's protector
// changes.
func (s *Service) requireNoRotation(server Server) error {
	return s.Store.View(func(tx *store.Tx) error {
		_, busy, err := s.Operations.Busy(tx, protectorHold(server))
		if err == nil && busy {
			err = arm.Refuse(http.StatusBadRequest, "CreateDatabaseAttemptedWithRotationInProgress",
				"The create database operation can not be performed at this time due to ongoing Transparent Data Encryption (TDE) key rotation on the server. Please try the operation again later.")
		}
		return err
	})
}

// unsupportedDatabase refuses what the lab does not do, rather than keep it
// without effect.
func unsupportedDatabase(body databaseRequest) error {
	switch mode := strings.ToLower(body.text("createMode")); mode {
	case "", "default", "secondary", "onlinesecondary", modePointInTime, modeRestore, modeLongTerm, modeCopy:
	default:
		return notInLab("createMode " + body.text("createMode"))
	}
	if body.text("encryptionProtector") != "" || len(body.Properties["keys"]) > len("null") {
		return notInLab("database-level customer-managed keys")
	}
	return nil
}

// notInLab is the refusal of what Azure does and the lab does not.
func notInLab(what string) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "NotSupportedByLab", "The lab does not serve %s: docs/parity.md lists what it does.", what)
}

// kept are the properties that a database keeps as put. Empty strings, zeros
// and null mean unset.
func kept(properties map[string]json.RawMessage) map[string]json.RawMessage {
	result := map[string]json.RawMessage{}
	for _, name := range []string{
		"collation", "maxSizeBytes", "zoneRedundant", "licenseType", "readScale", "requestedBackupStorageRedundancy", "elasticPoolId",
		"maintenanceConfigurationId", "minCapacity", "autoPauseDelay", "highAvailabilityReplicaCount", "isLedgerOn", "catalogCollation", "availabilityZone",
	} {
		switch raw := string(properties[name]); raw {
		case "", `""`, "0", "null":
		default:
			result[name] = properties[name]
		}
	}
	return result
}

func applyDatabase(db *Database, body databaseRequest) {
	if body.Tags != nil {
		db.Tags = *body.Tags
	}
	if body.SKU != nil && body.SKU.Name != "" {
		db.Sku = *body.SKU
	}
}

// sourceOf reads the ARM id of a primary database.
func (s *Service) sourceOf(id string) (DBRef, error) {
	segments := strings.FieldsFunc(strings.ToLower(id), func(c rune) bool { return c == '/' })
	if len(segments) != 10 || segments[0] != "subscriptions" || segments[5] != "microsoft.sql" || segments[6] != "servers" || segments[8] != "databases" {
		return DBRef{}, arm.Refuse(http.StatusBadRequest, "InvalidSourceDatabaseId", "The source database id '%s' is not a valid resource id.", id)
	}
	return DBRef{Server: segments[7], Database: segments[9]}, nil
}

func (s *Service) changeDatabase(ctx context.Context, r *arm.Request, server Server, db Database, body databaseRequest) (*arm.Response, error) {
	if err := unsupportedDatabase(databaseRequest{Properties: map[string]json.RawMessage{
		"encryptionProtector": body.Properties["encryptionProtector"], "keys": body.Properties["keys"],
	}}); err != nil {
		return nil, err
	}
	if err := s.requireOnline(refOf(server.Name, db.Name)); err != nil {
		return nil, err
	}
	applyDatabase(&db, body)
	if db.Given == nil {
		db.Given = map[string]json.RawMessage{}
	}
	for name, raw := range kept(body.Properties) {
		db.Given[name] = raw
	}
	ref := refOf(server.Name, db.Name)
	op := s.operation(r, server, updateDatabase, "database")
	op.Resource, op.RetryAfter, op.Holds = server.ID()+"/databases/"+db.Name, 15*time.Second, []string{databaseHold(ref)}
	return s.acceptAlone(ctx, r, op, databasePayload{Database: db}, databaseBusy(db.Name))
}

func (s *Service) executeUpdateDatabase(_ context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		ref := refOf(wanted.Database.Server, wanted.Database.Name)
		db, found, err := s.databases.Get(tx, ref.String())
		if err != nil || !found {
			return firstOf(err, notFound("Microsoft.Sql/servers/databases", wanted.Database.Name))
		}
		db.Tags, db.Sku, db.Given = wanted.Database.Tags, wanted.Database.Sku, wanted.Database.Given
		return s.databases.Put(tx, ref.String(), db)
	}, nil
}

func (s *Service) executeCreateDatabase(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	if wanted.Source != nil {
		return s.seedReplicas(ctx, []newReplica{{Source: *wanted.Source, Database: wanted.Database}})
	}
	if wanted.Restore != nil {
		return s.executeRestore(ctx, wanted)
	}
	server, err := s.readServer(wanted.Database.Server)
	if err != nil {
		return nil, err
	}
	if err := s.makeFiles(ctx, server, wanted.Database); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error { return s.putNewDatabase(tx, wanted.Database) }, nil
}

// makeFiles makes an empty database's files, with a DEK of its own. What an
// earlier attempt made stays.
func (s *Service) makeFiles(ctx context.Context, server Server, db Database) error {
	if err := s.requireFree(db); err != nil {
		return err
	}
	dek, err := s.newDEK(ctx, server)
	if err != nil {
		return err
	}
	defer clear(dek.Key)
	return s.instances.Create(ctx, refOf(db.Server, db.Name), db.ID, dek)
}

// requireFree refuses a new database whose name another one has.
func (s *Service) requireFree(db Database) error {
	return s.Store.View(func(tx *store.Tx) error {
		_, there, err := s.databases.Get(tx, refOf(db.Server, db.Name).String())
		if err == nil && there {
			err = databaseExists(db)
		}
		return err
	})
}

func databaseExists(db Database) *arm.Error {
	return arm.Refuse(http.StatusConflict, "RemoteDatabaseExists", "The database '%s' already exists on server '%s'.", db.Name, db.Server)
}

// requireOnline refuses what a database that has lost its key, or is being
// made, does not take.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#inaccessible-tde-protector
func (s *Service) requireOnline(ref DBRef) error {
	return s.Store.View(func(tx *store.Tx) error {
		db, found, err := s.databases.Get(tx, ref.String())
		if err != nil || !found {
			return firstOf(err, notFound("Microsoft.Sql/servers/databases", ref.Database))
		}
		if db.Status != statusOnline {
			return arm.Refuse(http.StatusConflict, "InvalidDatabaseStateForOperation",
				"The operation cannot be performed since the database '%s' is not in a valid state: it is %s.", db.Name, db.Status)
		}
		return nil
	})
}

func (s *Service) putNewDatabase(tx *store.Tx, db Database) error {
	ref := refOf(db.Server, db.Name)
	if _, there, err := s.databases.Get(tx, ref.String()); err != nil || there {
		return firstOf(err, databaseExists(db))
	}
	db, err := s.numbered(tx, db)
	if err != nil {
		return err
	}
	if err := s.databases.Put(tx, ref.String(), db); err != nil {
		return err
	}
	tx.OnCommit(s.archive.nudge) // its first backup
	// The protector may have changed while the DEK was being wrapped.
	return s.task(tx, taskRewrap, latency.Rewrap, ref)
}

func (s *Service) databaseResult(tx *store.Tx, op arm.Operation) (any, error) {
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Database.Server)
	if err != nil {
		return nil, err
	}
	db, found, err := s.databases.Get(tx, refOf(server.Name, wanted.Database.Name).String())
	if err != nil || !found {
		return nil, err
	}
	return s.databaseView(tx, server, db)
}
