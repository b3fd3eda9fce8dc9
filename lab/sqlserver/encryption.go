package sqlserver

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
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
		State string `json:"state"`
	} `json:"properties"`
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

func encryptionView(server Server, db Database) encryptionBody {
	body := encryptionBody{
		ID:   server.ID() + "/databases/" + db.Name + "/transparentDataEncryption/Current",
		Name: "Current", Type: "Microsoft.Sql/servers/databases/transparentDataEncryption",
	}
	body.Properties.State = "Disabled"
	if db.Encrypted {
		body.Properties.State = "Enabled"
	}
	return body
}

func (s *Service) listEncryption(_ context.Context, r *arm.Request) (*arm.Response, error) {
	server, db, err := s.readDatabase(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf([]encryptionBody{encryptionView(server, db)})), nil
}

func (s *Service) getEncryption(_ context.Context, r *arm.Request) (*arm.Response, error) {
	server, db, err := s.readDatabase(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(encryptionView(server, db)), nil
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
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Database.Server)
	return encryptionView(server, wanted.Database), err
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
	switch strings.ToLower(firstText(body.Properties.State, body.Properties.Status)) {
	case "enabled":
		db.Encrypted = true
	case "disabled":
		db.Encrypted = false
	default:
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidTransparentDataEncryptionState", "The transparent data encryption state is not valid.")
	}
	ref := refOf(server.Name, db.Name)
	if err := s.requirePrimary(ref); err != nil {
		return nil, err
	}
	op := s.operation(r, server, setEncryption, "transparentDataEncryption")
	op.Announced, op.Takes, op.RetryAfter = updateDatabase, s.Latency.Of(updateDatabase), 0
	op.Resource, op.Holds = server.ID()+"/databases/"+db.Name, []string{databaseHold(ref)}
	return s.acceptAlone(ctx, r, op, databasePayload{Database: db}, arm.Refuse(http.StatusConflict, "EncryptionInProgress",
		"Database '%s' is busy with another operation. Please try your operation later.", db.Name))
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

// executeSetEncryption gives the database a DEK of its own, or takes it away;
// replicas follow.
func (s *Service) executeSetEncryption(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.readServer(wanted.Database.Server)
	if err != nil {
		return nil, err
	}
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return nil, err
	}
	ref := refOf(server.Name, wanted.Database.Name)
	var dek DEK
	if wanted.Database.Encrypted {
		if dek, err = s.newDEK(ctx, server); err != nil {
			return nil, err
		}
	}
	return func(tx *store.Tx) error { return s.storeEncryption(tx, ref, wanted.Database.Encrypted, dek) }, nil
}

func (s *Service) storeEncryption(tx *store.Tx, ref DBRef, encrypted bool, dek DEK) error {
	db, found, err := s.databases.Get(tx, ref.key())
	if err != nil || !found || db.Encrypted == encrypted {
		return err
	}
	db.Encrypted, db.DEK = encrypted, dek
	if err := s.databases.Put(tx, ref.key(), db); err != nil {
		return err
	}
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return err
	}
	for _, link := range links {
		replica, found, err := s.databases.Get(tx, link.Secondary.key())
		if err != nil || !found {
			return err
		}
		replica.Encrypted, replica.DEK = encrypted, dek
		if err := s.databases.Put(tx, link.Secondary.key(), replica); err != nil {
			return err
		}
	}
	return nil
}

// EncryptionState is the row of sys.dm_database_encryption_keys of a database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
type EncryptionState struct {
	EncryptionState int    `json:"encryption_state"` // 1 not encrypted, 3 encrypted
	EncryptorType   string `json:"encryptor_type"`
	Thumbprint      string `json:"encryptor_thumbprint"` // 0x and 40 hexadecimal digits
	KeyAlgorithm    string `json:"key_algorithm"`
	KeyLength       int    `json:"key_length"` // bits
}

// EncryptionState reads a database's encryption state; found is false when
// there is no such database.
func (s *Service) EncryptionState(server, database string) (row EncryptionState, found bool, err error) {
	var db Database
	err = s.Store.View(func(tx *store.Tx) error {
		db, found, err = s.databases.Get(tx, refOf(server, database).key())
		return err
	})
	if err != nil || !found {
		return EncryptionState{}, found, err
	}
	if !db.Encrypted {
		return EncryptionState{EncryptionState: 1}, true, nil
	}
	row = EncryptionState{EncryptionState: 3, EncryptorType: "ASYMMETRIC KEY", Thumbprint: "0x" + db.DEK.Thumbprint, KeyAlgorithm: "AES", KeyLength: dekSize * 8}
	if db.DEK.KeyURI == "" {
		row.EncryptorType = "CERTIFICATE"
	}
	return row, true, nil
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return value
}

func text(value int) string { return strconv.Itoa(value) }
