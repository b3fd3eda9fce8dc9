package sqlserver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/store"
)

// setEncryption turns TDE of a database on or off; Azure announces it as an
// update of the database.
const setEncryption = "SetTransparentDataEncryption"

func (s *Service) encryptionRoutes() []arm.Route {
	const path = databasePath + "/transparentDataEncryption"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: path, Handle: s.listEncryption},
		{Method: http.MethodGet, Pattern: path + "/{tdeName}", Handle: s.getEncryption},
		{Method: http.MethodPut, Pattern: path + "/{tdeName}", Handle: s.putEncryption},
	}
}

type encryptionBody struct {
	Properties struct {
		State     string `json:"state"`
		ScanState string `json:"scanState,omitempty"`
	} `json:"properties"`
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// encryptionView shows what the boot record says. The state is the one that
// was asked for; how far the scan is, scanState tells.
func (s *Service) encryptionView(server Server, db Database) encryptionBody {
	body := encryptionBody{
		ID:   server.ID() + "/databases/" + db.Name + "/transparentDataEncryption/Current",
		Name: "Current", Type: "Microsoft.Sql/servers/databases/transparentDataEncryption",
	}
	boot, found := s.instances.Boot(refOf(server.Name, db.Name))
	body.Properties.State, body.Properties.ScanState = "Disabled", "None"
	if found && encrypts(boot) {
		body.Properties.State = "Enabled"
	}
	switch {
	case boot.ScanSuspended:
		body.Properties.ScanState = "Suspend"
	case boot.State == engine.StateEncrypting || boot.State == engine.StateDecrypting:
		body.Properties.ScanState = "Running"
	case !boot.ScanModifyDate.IsZero():
		body.Properties.ScanState = "Completed"
	}
	return body
}

// encrypts reports whether TDE is on, or on its way to be.
func encrypts(boot engine.Boot) bool {
	switch boot.State {
	case engine.StateEncrypting, engine.StateEncrypted, engine.StateProtectionChange:
		return true
	case engine.StateUnencrypted, engine.StateDecrypting:
	}
	return false
}

func (s *Service) listEncryption(_ context.Context, r *arm.Request) (*arm.Response, error) {
	server, db, err := s.readDatabase(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf([]encryptionBody{s.encryptionView(server, db)})), nil
}

func (s *Service) getEncryption(_ context.Context, r *arm.Request) (*arm.Response, error) {
	server, db, err := s.readDatabase(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(s.encryptionView(server, db)), nil
}

func (s *Service) readDatabase(r *arm.Request) (server Server, db Database, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		if server, db, err = s.database(tx, r); err != nil && strings.EqualFold(r.Param("databaseName"), master) {
			server, err = s.server(tx, r)
			db = masterOf(server)
		}
		return err
	})
	return server, db, err
}

func (s *Service) encryptionResult(tx *store.Tx, op arm.Operation) (any, error) {
	var wanted encryptionPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Ref.Server)
	if err != nil {
		return nil, err
	}
	db, found, err := s.databases.Get(tx, wanted.Ref.String())
	if err != nil || !found {
		return nil, err
	}
	return s.encryptionView(server, db), nil
}

func (s *Service) putEncryption(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, db, err := s.readDatabase(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Properties struct{ State, Status string } `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if db.Name == master {
		return nil, arm.Refuse(http.StatusBadRequest, "AttemptedEncryptionOnSystemDatabase", "System databases cannot be encrypted.")
	}
	wanted := encryptionPayload{Ref: refOf(server.Name, db.Name)}
	switch strings.ToLower(firstText(body.Properties.State, body.Properties.Status)) {
	case "enabled":
		wanted.On = true
	case "disabled":
	default:
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidTransparentDataEncryptionState", "The transparent data encryption state is not valid.")
	}
	if err := s.requireChangeable(wanted); err != nil {
		return nil, err
	}
	op := s.operation(r, server, setEncryption, "transparentDataEncryption")
	op.Announced, op.Takes, op.RetryAfter = updateDatabase, s.Latency.Of(updateDatabase), 0
	op.Resource, op.Holds = server.ID()+"/databases/"+db.Name, []string{databaseHold(wanted.Ref)}
	return s.acceptAlone(ctx, r, op, wanted, encryptionInProgress(db.Name))
}

// encryptionPayload is what a change of TDE carries.
type encryptionPayload struct {
	Ref DBRef
	On  bool
}

func encryptionInProgress(database string) *arm.Error {
	return arm.Refuse(http.StatusConflict, "EncryptionInProgress", "Database '%s' is busy with another operation. Please try your operation later.", database)
}

// requireChangeable refuses a change of TDE at a replica, and while a scan in
// the other direction runs.
func (s *Service) requireChangeable(wanted encryptionPayload) error {
	if err := s.requirePrimary(wanted.Ref); err != nil {
		return err
	}
	boot, _ := s.instances.Boot(wanted.Ref)
	if scanning := boot.State == engine.StateEncrypting || boot.State == engine.StateDecrypting; scanning && encrypts(boot) != wanted.On {
		return encryptionInProgress(wanted.Ref.Database)
	}
	return nil
}

func (s *Service) requirePrimary(ref DBRef) error {
	return s.Store.View(func(tx *store.Tx) error {
		replica, err := s.isReplica(tx, ref)
		if err == nil && replica {
			err = arm.Refuse(http.StatusBadRequest, "CanNotDropAlterOnMirror", "Please modify Transparent Data Encryption on the primary databases.")
		}
		return err
	})
}

// executeSetEncryption gives the database a DEK of its own, or begins to take
// it away. It ends when the scan has begun: that goes on in the background,
// and the replicas follow the log.
func (s *Service) executeSetEncryption(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted encryptionPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	if err := s.requireOnline(wanted.Ref); err != nil {
		return nil, err
	}
	return nil, s.setEncryption(ctx, wanted)
}

func (s *Service) setEncryption(ctx context.Context, wanted encryptionPayload) error {
	server, err := s.readServer(wanted.Ref.Server)
	if err != nil {
		return err
	}
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return err
	}
	if err := s.instances.AwaitOpen(ctx, wanted.Ref); err != nil {
		return err
	}
	if boot, found := s.instances.Boot(wanted.Ref); found && encrypts(boot) == wanted.On {
		return nil
	}
	var dek *engine.PlainDEK
	if wanted.On {
		if dek, err = s.newDEK(ctx, server); err != nil {
			return err
		}
		defer clear(dek.Key)
	}
	err = s.instances.SetEncryption(ctx, wanted.Ref, dek)
	if errors.Is(err, engine.ErrScanInProgress) {
		return encryptionInProgress(wanted.Ref.Database)
	}
	return err
}

// SetDatabaseEncryption turns a database's TDE on or off, as ALTER DATABASE …
// SET ENCRYPTION does: it returns when the scan has begun, which then goes on
// in the background. Its refusals are *arm.Error, with the codes of the ARM
// route.
func (s *Service) SetDatabaseEncryption(ctx context.Context, server, database string, on bool) error {
	wanted := encryptionPayload{Ref: refOf(server, database), On: on}
	if wanted.Ref.Database == master {
		return arm.Refuse(http.StatusBadRequest, "AttemptedEncryptionOnSystemDatabase", "System databases cannot be encrypted.")
	}
	if err := s.requireChangeable(wanted); err != nil {
		return err
	}
	if err := s.requireOnline(wanted.Ref); err != nil {
		return err
	}
	return s.setEncryption(ctx, wanted)
}

// EncryptionState is the row of sys.dm_database_encryption_keys of a database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
type EncryptionState struct {
	EncryptionState int     `json:"encryption_state"` // 1 not encrypted, 2 encrypting, 3 encrypted, 5 decrypting, 6 protection change
	EncryptorType   string  `json:"encryptor_type"`
	Thumbprint      string  `json:"encryptor_thumbprint"` // 0x and 40 hexadecimal digits
	KeyAlgorithm    string  `json:"key_algorithm"`
	KeyLength       int     `json:"key_length"` // bits
	PercentComplete float32 `json:"percent_complete"`
}

// EncryptionState reads a database's encryption state; found is false when
// there is no such database.
func (s *Service) EncryptionState(server, database string) (row EncryptionState, found bool, err error) {
	ref := refOf(server, database)
	err = s.Store.View(func(tx *store.Tx) error {
		_, found, err = s.databases.Get(tx, ref.String())
		return err
	})
	if err != nil || !found {
		return EncryptionState{}, found, err
	}
	boot, _ := s.instances.Boot(ref)
	row = EncryptionState{EncryptionState: int(boot.State), PercentComplete: boot.PercentComplete}
	if boot.DEK == nil {
		row.EncryptionState = int(engine.StateUnencrypted)
		return row, true, nil
	}
	row.EncryptorType, row.Thumbprint, row.KeyAlgorithm, row.KeyLength = encryptorType(*boot.DEK), "0x"+boot.DEK.Thumbprint, "AES", dekSize*8
	return row, true, nil
}

func encryptorType(dek engine.WrappedDEK) string {
	if dek.KeyURI == "" {
		return "CERTIFICATE"
	}
	return "ASYMMETRIC KEY"
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return value
}

func text(value int) string { return strconv.Itoa(value) }
