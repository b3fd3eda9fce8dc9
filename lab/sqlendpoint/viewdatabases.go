package sqlendpoint

import (
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// state is a database's state as sys.databases numbers it.
type state struct {
	number      int64
	description string
}

// databaseState gives the states that sys.databases knows. A database that
// lost its key is RECOVERY_PENDING: Azure's own value is not published.
func databaseState(db sqlserver.DatabaseInfo) state {
	switch db.Status {
	case instance.Online, instance.RoleChange:
		return state{0, "ONLINE"}
	case instance.Restoring:
		return state{1, "RESTORING"}
	case instance.Recovering:
		return state{2, "RECOVERING"}
	case instance.Inaccessible:
		return state{3, "RECOVERY_PENDING"}
	case instance.Creating:
		return state{7, "COPYING"}
	case instance.Offline, instance.Missing:
	}
	return state{6, "OFFLINE"}
}

// databaseColumns are the columns of sys.databases.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-databases-transact-sql
func databaseColumns() []sqltype.Column {
	return []sqltype.Column{
		textColumn("name", sysnameLength), intColumn("database_id"), intColumn("source_database_id"), bytesColumn("owner_sid", 85),
		dateColumn("create_date"), tinyColumn("compatibility_level"), textColumn("collation_name", sysnameLength),
		tinyColumn("user_access"), textColumn("user_access_desc", 60), bitColumn("is_read_only"), bitColumn("is_auto_close_on"), bitColumn("is_auto_shrink_on"),
		tinyColumn("state"), textColumn("state_desc", 60), bitColumn("is_in_standby"), bitColumn("is_cleanly_shutdown"), bitColumn("is_supplemental_logging_enabled"),
		tinyColumn("snapshot_isolation_state"), textColumn("snapshot_isolation_state_desc", 60), bitColumn("is_read_committed_snapshot_on"),
		tinyColumn("recovery_model"), textColumn("recovery_model_desc", 60), tinyColumn("page_verify_option"), textColumn("page_verify_option_desc", 60),
		bitColumn("is_auto_create_stats_on"), bitColumn("is_auto_update_stats_on"), bitColumn("is_trustworthy_on"), bitColumn("is_db_chaining_on"),
		bitColumn("is_published"), bitColumn("is_subscribed"), guidColumn("service_broker_guid"), bitColumn("is_broker_enabled"),
		tinyColumn("log_reuse_wait"), textColumn("log_reuse_wait_desc", 60), bitColumn("is_cdc_enabled"), bitColumn("is_encrypted"),
		bitColumn("is_query_store_on"), guidColumn("group_database_id"), tinyColumn("containment"), textColumn("containment_desc", 60),
		textColumn("physical_database_name", sysnameLength),
	}
}

func (h *host) databaseRows(tsql.SessionInfo) ([][]any, error) {
	list, err := h.visible()
	if err != nil {
		return nil, err
	}
	rows := make([][]any, 0, len(list))
	for _, db := range list {
		rows = append(rows, databaseRow(db))
	}
	return rows, nil
}

func databaseRow(db sqlserver.DatabaseInfo) []any {
	now := databaseState(db)
	physical := db.ID
	if physical == "" {
		physical = db.Name
	}
	return []any{
		db.Name, int64(db.Number), nil, []byte{0x01, 0x06},
		moment(db.CreatedAt), int64(160), "SQL_Latin1_General_CP1_CI_AS",
		int64(0), "MULTI_USER", db.Secondary, false, false,
		now.number, now.description, false, false, false,
		int64(1), "ON", true,
		int64(1), "FULL", int64(2), "CHECKSUM",
		true, true, false, false,
		false, false, guid(db.ID), false,
		int64(0), "NOTHING", false, isEncrypted(db.Boot),
		true, nil, int64(0), "NONE",
		physical,
	}
}

// isEncrypted is is_encrypted: on as soon as TDE was turned on, whether or
// not its scan has ended.
func isEncrypted(boot engine.Boot) bool {
	return boot.State == engine.StateEncrypting || boot.State == engine.StateEncrypted || boot.State == engine.StateProtectionChange
}

// objectiveColumns are the columns of sys.database_service_objectives.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-service-objectives-azure-sql-database
func objectiveColumns() []sqltype.Column {
	return []sqltype.Column{
		intColumn("database_id"), textColumn("edition", sysnameLength), textColumn("service_objective", sysnameLength), textColumn("elastic_pool_name", sysnameLength),
	}
}

func (h *host) objectiveRows(tsql.SessionInfo) ([][]any, error) {
	list, err := h.visible()
	if err != nil {
		return nil, err
	}
	rows := make([][]any, 0, len(list))
	for _, db := range list {
		if h.inMaster() || db.Name != instance.Master {
			rows = append(rows, []any{int64(db.Number), db.SKU.Tier, db.Objective, nil})
		}
	}
	return rows, nil
}
