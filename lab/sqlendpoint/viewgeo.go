package sqlendpoint

import (
	"time"

	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// geoLinkColumns are the columns of sys.geo_replication_links, which is in
// master.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-geo-replication-links-azure-sql-database
func geoLinkColumns() []sqltype.Column {
	return []sqltype.Column{
		intColumn("database_id"), offsetColumn("start_date"), offsetColumn("modify_date"), guidColumn("link_guid"), textColumn("partner_server", sysnameLength),
		textColumn("partner_database", sysnameLength), tinyColumn("replication_state"), textColumn("replication_state_desc", 256), tinyColumn("role"),
		textColumn("role_desc", 256), tinyColumn("secondary_allow_connections"), textColumn("secondary_allow_connections_desc", 256), intColumn("percent_copied"),
	}
}

func (h *host) geoLinkRows(s tsql.SessionInfo) ([][]any, error) {
	if !h.inMaster() || !s.Principal.Admin {
		return nil, nil
	}
	links, err := h.endpoint.SQL.GeoLinks(h.server(), "")
	if err != nil {
		return nil, failed("replication links", err)
	}
	rows := make([][]any, 0, len(links))
	for _, link := range links {
		role, roleName := roleOf(link)
		rows = append(rows, []any{
			int64(link.DatabaseNumber), when(link.StartedAt), when(latest(link.StartedAt, link.ModifiedAt)), guid(link.ID), link.PartnerServer,
			link.PartnerDatabase, int64(link.State), link.StateName, role,
			roleName, allowAll, allowAllName, int64(link.Percent),
		})
	}
	return rows, nil
}

// A readable secondary takes all connections.
const (
	allowAll     = int64(2)
	allowAllName = "All"
)

func roleOf(link sqlserver.GeoLink) (number int64, name string) {
	if link.Primary {
		return 0, "PRIMARY"
	}
	return 1, "SECONDARY"
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// linkStatusColumns are the columns of sys.dm_geo_replication_link_status,
// which is in each replicated database, on both ends.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-geo-replication-link-status-azure-sql-database
func linkStatusColumns() []sqltype.Column {
	return []sqltype.Column{
		guidColumn("link_guid"), textColumn("partner_server", sysnameLength), textColumn("partner_database", sysnameLength), offsetColumn("last_replication"),
		intColumn("replication_lag_sec"), tinyColumn("replication_state"), textColumn("replication_state_desc", 256), tinyColumn("role"),
		textColumn("role_desc", 256), tinyColumn("secondary_allow_connections"), textColumn("secondary_allow_connections_desc", 256), offsetColumn("last_commit"),
	}
}

func (h *host) linkStatusRows(tsql.SessionInfo) ([][]any, error) {
	if h.inMaster() {
		return nil, nil
	}
	links, err := h.endpoint.SQL.GeoLinks(h.server(), h.lease.Ref().Database)
	if err != nil {
		return nil, failed("replication links", err)
	}
	rows := make([][]any, 0, len(links))
	for _, link := range links {
		role, roleName := roleOf(link)
		var lag any
		if link.Primary {
			lag = int64(link.Lag / time.Second)
		}
		rows = append(rows, []any{
			guid(link.ID), link.PartnerServer, link.PartnerDatabase, when(link.LastReplication),
			lag, int64(link.State), link.StateName, role,
			roleName, allowAll, allowAllName, when(link.LastCommit),
		})
	}
	return rows, nil
}

// operationColumns are the columns of sys.dm_operation_status, which is in
// master.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-operation-status-azure-sql-database
func operationColumns() []sqltype.Column {
	return []sqltype.Column{
		guidColumn("session_activity_id"), intColumn("resource_type"), textColumn("resource_type_desc", 2048), textColumn("major_resource_id", 2048),
		textColumn("minor_resource_id", 2048), textColumn("operation", 60), tinyColumn("state"), textColumn("state_desc", 120), intColumn("percent_complete"),
		intColumn("error_code"), textColumn("error_desc", 2048), intColumn("error_severity"), intColumn("error_state"), dateColumn("start_time"), dateColumn("last_modify_time"),
	}
}

func (h *host) operationRows(s tsql.SessionInfo) ([][]any, error) {
	if !h.inMaster() || !s.Principal.Admin {
		return nil, nil
	}
	operations, err := h.endpoint.SQL.OperationStatuses(h.server())
	if err != nil {
		return nil, failed("operations", err)
	}
	rows := make([][]any, 0, len(operations))
	for _, op := range operations {
		var code, severity, errorState any = int64(0), int64(0), int64(0)
		if number, ok := engineNumbers[op.ErrorCode]; ok {
			code, severity, errorState = int64(number), int64(16), int64(1)
		}
		rows = append(rows, []any{
			guid(op.ID), int64(0), "Database", op.Database, "", op.Operation, int64(op.State), op.StateName, int64(op.Percent),
			code, op.ErrorText, severity, errorState, moment(op.StartedAt), moment(op.LastModified),
		})
	}
	return rows, nil
}
