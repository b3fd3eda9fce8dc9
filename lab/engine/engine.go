// Package engine is the storage engine of the lab's databases: SQLite (github.com/ncruces/go-sqlite3) over a page store of
// its own, which has the shape of SQL Server's: a data file of pages, and a log of virtual log files (VLFs).
//
// One database is one folder:
//
//	boot        boot record: role, encryption state, the wrapped database encryption key (DEK), checkpoint
//	data.mdf    page file: one slot of 8192 + 48 bytes a page
//	log/*.vlf   virtual log files: a header with a copy of the wrapping of its time, then one record a transaction
//
// With transparent data encryption (TDE) on, each page is sealed once, by AES-256-GCM, when its transaction commits; it
// lies in that form in the log, is copied in that form into the page file by a checkpoint, and travels in that form to
// replicas and backups. The additional data of a seal binds page number, log sequence number (LSN) and DEK, so that a
// swapped, stale or foreign page is an error and never data. With TDE off, slots and records are the same, with a CRC-32C
// in the seal's place. SQLite's journal and temporary tables stay in memory; no other file is written.
//
// A commit is durable when its record is fsync'd; commits that wait together share one fsync. Readers see the last
// durable state as of their first read. There is one writer at a time, and writers wait in order of arrival.
package engine

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// PageSize is the size of an SQLite page, in bytes.
const PageSize = 8192

// LSN is a log sequence number: the position of a record in its database's log, counted in records from 1.
type LSN uint64

// WrappedDEK is a database encryption key as wrapped by a TDE protector, with what
// sys.dm_database_encryption_keys tells of it.
type WrappedDEK struct {
	// ID names the key itself; it stays when the key is wrapped anew.
	ID string `json:"id"`
	// Wrapped is the key as the protector wrapped it.
	Wrapped []byte `json:"wrapped"`
	// KeyURI is the key identifier of a customer-managed protector with its version; empty for a service-managed one.
	KeyURI string `json:"keyUri,omitempty"`
	// ServiceOf names the server whose service-managed key wrapped; empty for a customer-managed one.
	ServiceOf string `json:"serviceOf,omitempty"`
	// Thumbprint is the protector's: 40 upper-case hexadecimal digits.
	Thumbprint string `json:"thumbprint"`
	// CreatedAt is when the DEK was made, SetAt when this wrapping was.
	CreatedAt time.Time `json:"createdAt"`
	SetAt     time.Time `json:"setAt"`
	// Check is a known text sealed under the DEK: it tells a wrong key before a page is read. The engine fills it in where
	// it is empty.
	Check []byte `json:"check,omitempty"`
}

// Opener unwraps a DEK: through the vault, as the server's identity. The engine keeps the result, and clears it when it
// is done with it.
type Opener func(ctx context.Context, dek WrappedDEK) ([]byte, error)

// PlainDEK is a new DEK, 32 bytes, with its wrapping. The engine copies the key.
type PlainDEK struct {
	Wrapped WrappedDEK
	Key     []byte
}

// Role says whether a database takes writes.
type Role int

// The roles. Their numbers are those of sys.geo_replication_links.
const (
	// Primary is read-write.
	Primary Role = 0
	// Secondary is read-only: it changes only by Apply.
	Secondary Role = 1
)

// State is encryption_state of sys.dm_database_encryption_keys.
// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
type State int

// The encryption states that the engine has.
const (
	StateUnencrypted      State = 1
	StateEncrypting       State = 2
	StateEncrypted        State = 3
	StateDecrypting       State = 5
	StateProtectionChange State = 6
)

// Boot is what the boot record of a database tells.
type Boot struct {
	DatabaseID string `json:"databaseId"`
	Role       Role   `json:"role"`
	// Epoch counts the changes of the primary role; a record of an older one is refused.
	Epoch uint64 `json:"epoch"`
	State State  `json:"state"`
	// DEK is nil when the database is not encrypted.
	DEK *WrappedDEK `json:"dek,omitempty"`
	// PercentComplete is the progress of a scan, 0 to 100; 0 when there is none.
	PercentComplete float32 `json:"percentComplete"`
	// ScanSuspended is set between SuspendScan and ResumeScan.
	ScanSuspended bool `json:"scanSuspended,omitempty"`
	// CreateDate is when the DEK was made, RegenerateDate when it was last made anew, ModifyDate when encryption was last
	// changed, OpenedDate when the DEK was last unwrapped, ScanModifyDate when the scan last changed its state.
	CreateDate     time.Time `json:"createDate"`
	RegenerateDate time.Time `json:"regenerateDate"`
	ModifyDate     time.Time `json:"modifyDate"`
	OpenedDate     time.Time `json:"openedDate"`
	ScanModifyDate time.Time `json:"scanModifyDate"`
}

// Options are what a database is made or opened with.
type Options struct {
	// Dir is the database's folder. Create and CreateFrom make it.
	Dir string
	// Now tells the time; nil is an error.
	Now func() time.Time
	// Random must never repeat: the seals' nonces come from it.
	Random io.Reader
	// Log may be nil.
	Log *slog.Logger
	// Open unwraps DEKs; may be nil for a database that is never encrypted.
	Open Opener
	// NoSync leaves out every fsync: for tests that crash no machine.
	NoSync bool
	// CachePages bounds the cache of decrypted pages; 0 means 4096 (32 MiB).
	CachePages int
	// VLFSize is the size, in bytes, at which the log moves on to a new VLF; 0 means 4 MiB.
	VLFSize int64
}

// VLF is a row of sys.dm_db_log_info.
// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-info-transact-sql
type VLF struct {
	// Sequence numbers the VLFs of a database, from 1 (vlf_sequence_number).
	Sequence uint64
	// Size is in bytes; BeginOffset is where the VLF would begin if the log were one file.
	Size, BeginOffset int64
	// Active says that the VLF may still be needed: by recovery, a replica or a log backup.
	Active bool
	// Status is 0 inactive, 1 begun but unused, 2 active.
	Status int
	Parity uint8
	// FirstLSN is the first record's, 0 when there is none; CreateLSN is the database's last one when the VLF was begun.
	FirstLSN, CreateLSN LSN
	// Thumbprint is of the protector that wrapped the DEK when the VLF was begun; empty when there was none.
	Thumbprint string
}

// RecordKind says what a log record does.
type RecordKind uint8

// The kinds of log records.
const (
	// RecordTransaction is one committed transaction's pages.
	RecordTransaction RecordKind = 1
	// RecordScan is a batch of pages that the encryption scan sealed or unsealed; their contents are the same.
	RecordScan RecordKind = 2
	// RecordEncryption begins a scan; its body is the new DEK's wrapping, as JSON, or empty for decryption.
	RecordEncryption RecordKind = 3
	// RecordScanEnd says that the scan is done.
	RecordScanEnd RecordKind = 4
)

// Record is a log record, sealed as it lies in the log. AppendBinary and ParseRecord are its form in a stream or a file.
type Record struct {
	LSN   LSN
	Epoch uint64
	Kind  RecordKind
	Time  time.Time
	// DEKID names the DEK under which the record is sealed; empty: plain.
	DEKID string
	// Before and After are the database's checksums before and after the record.
	Before, After uint64
	// Pages is the database's size after the record.
	Pages uint32
	// Scan is the page up to which a scan has come; 0 in other records.
	Scan uint32
	// Body is the page set, or the wrapping of a new DEK.
	Body []byte
	// Seal authenticates all of the above.
	Seal []byte
}

// SnapshotInfo says what a snapshot is of.
type SnapshotInfo struct {
	Boot         Boot   `json:"boot"`
	LSN          LSN    `json:"lsn"`
	Checksum     uint64 `json:"checksum"`
	Pages        uint32 `json:"pages"`
	Transactions uint64 `json:"transactions"`
	// ScanNext is where a scan that was going on goes on.
	ScanNext uint32    `json:"scanNext,omitempty"`
	Time     time.Time `json:"time"`
}

// Page is a page as it lies in the page file: sealed, or plain with its checksum.
type Page struct {
	Number uint32
	Slot   []byte
}

// PageSource gives the pages of a database as of one LSN: a Snapshot, or a backup file that was made of one.
type PageSource interface {
	// Info tells what the pages are of.
	Info() SnapshotInfo
	// Next gives the next page in order of numbers, io.EOF after the last. Slot is valid until the next call.
	Next(ctx context.Context) (Page, error)
}
