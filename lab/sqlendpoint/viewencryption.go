package sqlendpoint

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

const (
	dekAlgorithm  = "AES"
	dekBits       = 256
	asymmetricKey = "ASYMMETRIC KEY" // a customer-managed protector
	certificate   = "CERTIFICATE"    // a service-managed one
)

// encryptionColumns are the columns of sys.dm_database_encryption_keys.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
func encryptionColumns() []sqltype.Column {
	return []sqltype.Column{
		intColumn("database_id"), intColumn("encryption_state"), dateColumn("create_date"), dateColumn("regenerate_date"), dateColumn("modify_date"),
		dateColumn("set_date"), dateColumn("opened_date"), textColumn("key_algorithm", 32), intColumn("key_length"), bytesColumn("encryptor_thumbprint", 20),
		textColumn("encryptor_type", 32), realColumn("percent_complete"), textColumn("encryption_state_desc", 32),
		intColumn("encryption_scan_state"), textColumn("encryption_scan_state_desc", 32), dateColumn("encryption_scan_modify_date"),
	}
}

// encryptionRows are the rows of the session's database, and of tempdb, which
// is encrypted where any database of the server is. A database that never had
// a key has no row.
func (h *host) encryptionRows(tsql.SessionInfo) ([][]any, error) {
	list, err := h.endpoint.SQL.Databases(h.server())
	if err != nil {
		return nil, failed("encryption states", err)
	}
	var rows [][]any
	any1 := false
	for _, db := range list {
		any1 = any1 || isEncrypted(db.Boot)
		if !strings.EqualFold(db.Name, h.lease.Ref().Database) || db.Name == instance.Master {
			continue
		}
		boot := h.lease.DB().Boot()
		if boot.DEK != nil || !boot.CreateDate.IsZero() {
			row, err := encryptionRow(db.Number, boot)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	if any1 {
		started := moment(h.attempt.server.CreatedAt)
		rows = append([][]any{{
			int64(tempdbNumber), int64(engine.StateEncrypted), started, started, started, nil, started, dekAlgorithm, int64(dekBits), []byte{},
			asymmetricKey, 0.0, "ENCRYPTED", int64(0), "NONE", nil,
		}}, rows...)
	}
	return rows, nil
}

// encryptionRow is a database's row, from its boot record.
func encryptionRow(number int, boot engine.Boot) ([]any, error) {
	row := []any{
		int64(number), int64(boot.State), moment(boot.CreateDate), moment(boot.RegenerateDate), moment(boot.ModifyDate), nil, moment(boot.OpenedDate),
		nil, nil, nil, nil, float64(boot.PercentComplete), stateName(boot.State), int64(0), "NONE", moment(boot.ScanModifyDate),
	}
	if boot.DEK == nil {
		row[1], row[12] = int64(engine.StateUnencrypted), stateName(engine.StateUnencrypted)
	} else {
		thumbprint, err := hex.DecodeString(boot.DEK.Thumbprint)
		if err != nil {
			return nil, fmt.Errorf("the thumbprint of a protector: %w", err)
		}
		row[5], row[7], row[8], row[9], row[10] = moment(boot.DEK.SetAt), dekAlgorithm, int64(dekBits), thumbprint, encryptorType(*boot.DEK)
	}
	row[13], row[14] = scanState(boot)
	return row, nil
}

func encryptorType(dek engine.WrappedDEK) string {
	if dek.KeyURI == "" {
		return certificate
	}
	return asymmetricKey
}

func stateName(s engine.State) string {
	switch s {
	case engine.StateUnencrypted:
		return "UNENCRYPTED"
	case engine.StateEncrypting:
		return "ENCRYPTION_IN_PROGRESS"
	case engine.StateEncrypted:
		return "ENCRYPTED"
	case engine.StateDecrypting:
		return "DECRYPTION_IN_PROGRESS"
	case engine.StateProtectionChange:
		return "PROTECTION_CHANGE_IN_PROGRESS"
	}
	return ""
}

// scanState is encryption_scan_state and its description.
func scanState(boot engine.Boot) (number int64, description string) {
	switch {
	case boot.ScanSuspended:
		return 2, "SUSPENDED"
	case boot.State == engine.StateEncrypting || boot.State == engine.StateDecrypting:
		return 1, "RUNNING"
	case !boot.ScanModifyDate.IsZero():
		return 4, "COMPLETE"
	}
	return 0, "NONE"
}

// logInfo is sys.dm_db_log_info(database_id): the virtual log files of the
// session's database, NULL and its own id both meaning that.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-info-transact-sql
func (h *host) logInfo() tsql.View {
	return tsql.View{
		System: catalog.System{
			Schema: "sys", Name: "dm_db_log_info", Args: []sqltype.Column{intColumn("database_id")},
			Columns: []sqltype.Column{
				intColumn("database_id"), smallColumn("file_id"), bigColumn("vlf_begin_offset"), floatColumn("vlf_size_mb"), bigColumn("vlf_sequence_number"),
				bitColumn("vlf_active"), intColumn("vlf_status"), tinyColumn("vlf_parity"), textColumn("vlf_first_lsn", 48), textColumn("vlf_create_lsn", 48),
				bytesColumn("vlf_encryptor_thumbprint", 20),
			},
		},
		Rows: func(_ context.Context, s tsql.SessionInfo, args []any) ([][]any, error) {
			if !s.ViewDatabaseState {
				return nil, tsql.PermissionDenied("VIEW DATABASE STATE", s.Database)
			}
			return h.logRows(args)
		},
	}
}

func (h *host) logRows(args []any) ([][]any, error) {
	own := int64(h.database.Number)
	if id, given := args[0].(int64); given && id != own {
		return nil, nil
	}
	const logFile, mebibyte = 2, 1 << 20
	var rows [][]any
	for _, vlf := range h.lease.DB().VLFs() {
		var thumbprint any
		if vlf.Thumbprint != "" {
			raw, err := hex.DecodeString(vlf.Thumbprint)
			if err != nil {
				return nil, fmt.Errorf("the thumbprint of a virtual log file: %w", err)
			}
			thumbprint = raw
		}
		rows = append(rows, []any{
			own, int64(logFile), vlf.BeginOffset, float64(vlf.Size) / mebibyte, int64(vlf.Sequence), vlf.Active, int64(vlf.Status), int64(vlf.Parity), //nolint:gosec // counts from one
			lsnText(vlf.Sequence, vlf.FirstLSN), lsnText(vlf.Sequence, vlf.CreateLSN), thumbprint,
		})
	}
	return rows, nil
}

// lsnText is a log sequence number as SQL Server writes it: the virtual log
// file, the block and the slot, in hexadecimal.
func lsnText(sequence uint64, lsn engine.LSN) string {
	if lsn == 0 {
		return "00000000:00000000:0000"
	}
	return fmt.Sprintf("%08x:%08x:0001", sequence, uint64(lsn))
}
