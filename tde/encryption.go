package tde

import "time"

// EncryptionState is what sys.dm_database_encryption_keys says of a database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
type EncryptionState struct {
	State          int        `json:"encryptionState"`               // see the State constants
	Description    string     `json:"encryptionStateDesc,omitempty"` // such as ENCRYPTED
	EncryptorType  string     `json:"encryptorType"`                 // "ASYMMETRIC KEY" for a vault key, "CERTIFICATE" for service-managed
	Thumbprint     Thumbprint `json:"encryptorThumbprint"`           // of the key that now wraps the DEK
	KeyAlgorithm   string     `json:"keyAlgorithm"`                  // of the DEK
	KeyLength      int        `json:"keyLength"`                     // bits
	Percent        float64    `json:"percentComplete,omitempty"`     // of the change of state; 0 when there is none
	ScanState      int        `json:"encryptionScanState,omitempty"` // 0 none, 1 running, 2 suspended, 3 aborted, 4 complete
	ScanDesc       string     `json:"encryptionScanStateDesc,omitempty"`
	ScanModifiedAt *time.Time `json:"encryptionScanModifyDate,omitempty"`
	CreatedAt      *time.Time `json:"createDate,omitempty"`
	RegeneratedAt  *time.Time `json:"regenerateDate,omitempty"`
	ModifiedAt     *time.Time `json:"modifyDate,omitempty"`
	SetAt          *time.Time `json:"setDate,omitempty"` // when the DEK was last wrapped
	OpenedAt       *time.Time `json:"openedDate,omitempty"`
}

// The values of EncryptionState.State.
const (
	StateNone             = 0 // no DEK
	StateUnencrypted      = 1
	StateEncrypting       = 2
	StateEncrypted        = 3
	StateKeyChange        = 4
	StateDecrypting       = 5
	StateProtectionChange = 6 // the DEK is being wrapped by another key
)

// Changing reports whether a change of the encryption is under way.
func (e EncryptionState) Changing() bool {
	switch e.State {
	case StateEncrypting, StateKeyChange, StateDecrypting, StateProtectionChange:
		return true
	}
	return false
}

// LogKey is what sys.dm_db_log_info says of the virtual log files (VLFs) that
// were written while one key wrapped the DEK. As long as any of them is active,
// that key is still needed to open the database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-info-transact-sql
type LogKey struct {
	Thumbprint Thumbprint `json:"encryptorThumbprint"` // empty: VLFs that are not encrypted
	Active     int        `json:"activeFiles"`
	Files      int        `json:"files"`
	Newest     int64      `json:"newestSequence"` // sequence number of the newest of them
}

// GeoStatus is how a database's geo-replication stands, as
// sys.dm_geo_replication_link_status shows it on one side.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-geo-replication-link-status-azure-sql-database
type GeoStatus struct {
	LinkID          string     `json:"linkGuid"`
	PartnerServer   string     `json:"partnerServer"`
	PartnerDatabase string     `json:"partnerDatabase"`
	Role            Role       `json:"role"` // of the side that was asked
	State           string     `json:"replicationState"`
	LagSeconds      *int       `json:"replicationLagSeconds,omitempty"` // nil on a secondary, or when not known
	LastReplication *time.Time `json:"lastReplication,omitempty"`
	LastCommit      *time.Time `json:"lastCommit,omitempty"` // the newest commit that the side that was asked has
}

// The values of EncryptionState.EncryptorType.
const (
	EncryptorAsymmetricKey = "ASYMMETRIC KEY"
	EncryptorCertificate   = "CERTIFICATE"
)
