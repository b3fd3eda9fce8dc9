package azure

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/crosskeys/crosskeys/tde"
)

// querier is a connection that answers queries.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// encryptionKeysQuery leaves tempdb out, which is 2 everywhere; the numbers of
// the others differ between views in Azure SQL Database.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-database-encryption-keys-transact-sql
const encryptionKeysQuery = `SELECT database_id, DB_ID(), encryption_state, encryption_state_desc, encryptor_type, encryptor_thumbprint,
    key_algorithm, key_length, percent_complete, encryption_scan_state, encryption_scan_state_desc, encryption_scan_modify_date,
    create_date, regenerate_date, modify_date, set_date, opened_date
FROM sys.dm_database_encryption_keys
WHERE database_id <> 2`

// readEncryptionKeys reads the database's own row. Without one there is no DEK:
// TDE is off.
func readEncryptionKeys(ctx context.Context, conn querier) (*tde.EncryptionState, error) {
	states := map[bool][]tde.EncryptionState{}
	err := eachRow(ctx, conn, encryptionKeysQuery, func(rows *sql.Rows) error {
		own, state, err := scanEncryptionKey(rows)
		states[own] = append(states[own], state)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("sys.dm_database_encryption_keys: %w", err)
	case len(states[true]) == 1:
		return &states[true][0], nil
	case len(states[true])+len(states[false]) == 0:
		return &tde.EncryptionState{State: tde.StateNone}, nil
	case len(states[true]) == 0 && len(states[false]) == 1:
		return &states[false][0], nil
	}
	return nil, fmt.Errorf("sys.dm_database_encryption_keys: %d rows, of which it cannot be told which is the database's own", len(states[true])+len(states[false]))
}

func scanEncryptionKey(rows *sql.Rows) (own bool, state tde.EncryptionState, err error) {
	var (
		id, self                                      int64
		length, scan                                  sql.NullInt64
		percent                                       sql.NullFloat64
		description, encryptor, algorithm, scanState  sql.NullString
		thumbprint                                    []byte
		scanned, created, renewed, changed, set, open sql.NullTime
	)
	err = rows.Scan(&id, &self, &state.State, &description, &encryptor, &thumbprint, &algorithm, &length, &percent, &scan, &scanState, &scanned,
		&created, &renewed, &changed, &set, &open)
	state.Description, state.EncryptorType, state.KeyAlgorithm, state.ScanDesc = description.String, encryptor.String, algorithm.String, scanState.String
	state.KeyLength, state.ScanState, state.Percent, state.Thumbprint = int(length.Int64), int(scan.Int64), percent.Float64, thumbprintOf(thumbprint)
	state.ScanModifiedAt, state.CreatedAt, state.RegeneratedAt = timeOf(scanned), timeOf(created), timeOf(renewed)
	state.ModifiedAt, state.SetAt, state.OpenedAt = timeOf(changed), timeOf(set), timeOf(open)
	return id == self, state, err
}

// logInfoQuery asks for the current database's virtual log files.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-info-transact-sql
const logInfoQuery = `SELECT vlf_sequence_number, vlf_active, vlf_encryptor_thumbprint FROM sys.dm_db_log_info(DB_ID())`

// readLogKeys sums the virtual log files up by the key that was current when
// they were written, the newest first.
func readLogKeys(ctx context.Context, conn querier) ([]tde.LogKey, error) {
	keys := []tde.LogKey{}
	err := eachRow(ctx, conn, logInfoQuery, func(rows *sql.Rows) error {
		var (
			sequence   int64
			active     bool
			thumbprint []byte
		)
		if err := rows.Scan(&sequence, &active, &thumbprint); err != nil {
			return err
		}
		name := thumbprintOf(thumbprint)
		at := slices.IndexFunc(keys, func(k tde.LogKey) bool { return k.Thumbprint == name })
		if at < 0 {
			at, keys = len(keys), append(keys, tde.LogKey{Thumbprint: name})
		}
		keys[at].Files++
		if active {
			keys[at].Active++
		}
		keys[at].Newest = max(keys[at].Newest, sequence)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sys.dm_db_log_info: %w", err)
	}
	slices.SortFunc(keys, func(a, b tde.LogKey) int { return cmp.Compare(b.Newest, a.Newest) })
	return keys, nil
}

// geoStatusQuery asks for the database's links; there are none in a database
// that is not geo-replicated.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-geo-replication-link-status-azure-sql-database
const geoStatusQuery = `SELECT link_guid, partner_server, partner_database, role, replication_state, replication_lag_sec, last_replication, last_commit
FROM sys.dm_geo_replication_link_status`

func readGeoStatus(ctx context.Context, conn querier) ([]tde.GeoStatus, error) {
	var list []tde.GeoStatus
	err := eachRow(ctx, conn, geoStatusQuery, func(rows *sql.Rows) error {
		var (
			link                mssql.UniqueIdentifier
			server, database    sql.NullString
			role, state         int64
			lag                 sql.NullInt64
			replicated, commits sql.NullTime
		)
		if err := rows.Scan(&link, &server, &database, &role, &state, &lag, &replicated, &commits); err != nil {
			return err
		}
		status := tde.GeoStatus{
			LinkID: link.String(), PartnerServer: server.String, PartnerDatabase: database.String, Role: tde.Primary, State: stateName(state),
			LastReplication: timeOf(replicated), LastCommit: timeOf(commits),
		}
		if role != 0 {
			status.Role = tde.Secondary
		}
		if lag.Valid {
			seconds := int(lag.Int64)
			status.LagSeconds = &seconds
		}
		list = append(list, status)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sys.dm_geo_replication_link_status: %w", err)
	}
	slices.SortFunc(list, func(a, b tde.GeoStatus) int {
		return strings.Compare(a.PartnerServer+a.LinkID, b.PartnerServer+b.LinkID)
	})
	return list, nil
}

// stateName gives ARM's word for a replication state.
func stateName(state int64) string {
	switch state {
	case 0:
		return "PENDING"
	case 1:
		return "SEEDING"
	case 2:
		return tde.StateCatchUp
	case 4:
		return "SUSPENDED"
	}
	return fmt.Sprintf("state %d", state)
}

// eachRow runs a query and hands over its rows.
func eachRow(ctx context.Context, conn querier, query string, row func(*sql.Rows) error) (err error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// thumbprintOf writes a varbinary(20) as ARM writes it.
func thumbprintOf(bytes []byte) tde.Thumbprint {
	return tde.NormalizeThumbprint(hex.EncodeToString(bytes))
}

func timeOf(t sql.NullTime) *time.Time {
	if !t.Valid {
		return nil
	}
	at := t.Time.UTC()
	return &at
}
