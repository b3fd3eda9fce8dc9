package entra

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// ErrNoPrincipal is returned when a token is asked for in the name of a
// principal that is not in the tenant.
var ErrNoPrincipal = errors.New("no such service principal in the tenant")

// principalRecord is a principal as it is kept. The secret is there only as a
// salted hash, itself sealed.
type principalRecord struct {
	Principal
	Salt   []byte `json:",omitempty"`
	Secret []byte `json:",omitempty"` // empty: the principal cannot sign in by a secret
}

// setting is a value of the service's own.
type setting struct {
	ObjectID string `json:",omitempty"`
	Sealed   []byte `json:",omitempty"`
}

const (
	settingDefaultIdentity = "default identity"
	settingIdentitySecret  = "identity secret"
)

// PutApplication makes or replaces an application's service principal and its
// one client secret; an empty secret leaves it without. The tenant is the
// service's own whatever p says.
func (s *Service) PutApplication(tx *store.Tx, p Principal, secret string) error {
	if p.ObjectID == "" || p.AppID == "" {
		return errors.New("put application: object id and application id are needed")
	}
	p.TenantID, p.ManagedIdentity = s.TenantID, ""
	record := principalRecord{Principal: p}
	if secret != "" {
		record.Salt = []byte(rand.Text())
		record.Secret = s.Sealer.Seal(hashSecret(record.Salt, secret), secretOwner(p.ObjectID))
	}
	if _, found, err := s.settings.Get(tx, settingDefaultIdentity); err != nil {
		return err
	} else if !found {
		if err := s.settings.Put(tx, settingDefaultIdentity, setting{ObjectID: p.ObjectID}); err != nil {
			return err
		}
	}
	return s.put(tx, record)
}

// CreateManagedIdentity makes the service principal of a resource's system-
// assigned identity, or of a user-assigned one; name is shown in Graph,
// resourceID is the ARM id that tokens carry as xms_mirid.
func (s *Service) CreateManagedIdentity(tx *store.Tx, name, resourceID string) (Principal, error) {
	p := Principal{ObjectID: s.NewID(), AppID: s.NewID(), TenantID: s.TenantID, Name: name, ManagedIdentity: resourceID}
	return p, s.put(tx, principalRecord{Principal: p})
}

func (s *Service) put(tx *store.Tx, record principalRecord) error {
	before, found, err := s.principals.Get(tx, strings.ToLower(record.ObjectID))
	if err != nil {
		return err
	}
	if found {
		if err := s.applications.Delete(tx, strings.ToLower(before.AppID)); err != nil {
			return err
		}
	}
	if err := s.applications.Put(tx, strings.ToLower(record.AppID), record.ObjectID); err != nil {
		return err
	}
	return s.principals.Put(tx, strings.ToLower(record.ObjectID), record)
}

// DeletePrincipal removes a principal; from the moment at which tx is on disk
// its tokens are refused. None there is no error.
func (s *Service) DeletePrincipal(tx *store.Tx, objectID string) error {
	record, found, err := s.principals.Get(tx, strings.ToLower(objectID))
	if err != nil || !found {
		return err
	}
	if err := s.applications.Delete(tx, strings.ToLower(record.AppID)); err != nil {
		return err
	}
	if err := s.principals.Delete(tx, strings.ToLower(objectID)); err != nil {
		return err
	}
	tx.OnCommit(func() { s.trust.forget(record.ObjectID) })
	return nil
}

// FindPrincipal finds a principal by object id.
func (s *Service) FindPrincipal(tx *store.Tx, objectID string) (Principal, bool, error) {
	record, found, err := s.principals.Get(tx, strings.ToLower(objectID))
	return record.Principal, found, err
}

// FindApplication finds a principal by its application (client) id.
func (s *Service) FindApplication(tx *store.Tx, appID string) (Principal, bool, error) {
	record, found, err := s.findApplication(tx, appID)
	return record.Principal, found, err
}

func (s *Service) findApplication(tx *store.Tx, appID string) (principalRecord, bool, error) {
	objectID, found, err := s.applications.Get(tx, strings.ToLower(appID))
	if err != nil || !found {
		return principalRecord{}, false, err
	}
	return s.principals.Get(tx, strings.ToLower(objectID))
}

// FindNamed finds a principal by its display name, or by its application id.
func (s *Service) FindNamed(tx *store.Tx, name string) (Principal, bool, error) {
	if p, found, err := s.FindApplication(tx, name); err != nil || found {
		return p, found, err
	}
	all, err := s.principals.Scan(tx, "")
	if err != nil {
		return Principal{}, false, err
	}
	for _, each := range all {
		if name != "" && strings.EqualFold(each.Record.Name, name) {
			return each.Record.Principal, true, nil
		}
	}
	return Principal{}, false, nil
}

// findManagedIdentity finds a principal by the ARM id of its resource.
func (s *Service) findManagedIdentity(tx *store.Tx, resourceID string) (Principal, bool, error) {
	all, err := s.principals.Scan(tx, "")
	if err != nil {
		return Principal{}, false, err
	}
	for _, each := range all {
		if resourceID != "" && strings.EqualFold(each.Record.ManagedIdentity, resourceID) {
			return each.Record.Principal, true, nil
		}
	}
	return Principal{}, false, nil
}

// hasSecret compares a secret with the kept hash, in constant time.
func (s *Service) hasSecret(record principalRecord, secret string) (bool, error) {
	if len(record.Secret) == 0 {
		return false, nil
	}
	want, err := s.Sealer.Open(record.Secret, secretOwner(record.ObjectID))
	if err != nil {
		return false, fmt.Errorf("check a client secret: %w", err)
	}
	return subtle.ConstantTimeCompare(want, hashSecret(record.Salt, secret)) == 1, nil
}

func hashSecret(salt []byte, secret string) []byte {
	hash := sha256.New()
	hash.Write(salt)
	hash.Write([]byte(secret))
	return hash.Sum(nil)
}

func secretOwner(objectID string) string { return "secret of " + strings.ToLower(objectID) }
