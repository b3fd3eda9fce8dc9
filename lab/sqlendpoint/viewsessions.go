package sqlendpoint

import (
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// sessions are those that a session may see: its own, with VIEW DATABASE
// STATE those of its database, in master all of the server.
func (h *host) sessions(s tsql.SessionInfo) []instance.SessionInfo {
	var seen []instance.SessionInfo
	for _, each := range h.endpoint.SQL.Instances().Sessions(h.server()) {
		own := each.SPID == s.SPID
		if own || s.ViewDatabaseState && (h.inMaster() || each.Ref == h.lease.Ref()) {
			seen = append(seen, each)
		}
	}
	return seen
}

func (h *host) numberOf(ref instance.Ref) int64 {
	if ref == h.lease.Ref() {
		return int64(h.database.Number)
	}
	info, found, err := h.endpoint.SQL.Database(ref.Server, ref.Database)
	if err != nil || !found {
		return 0
	}
	return int64(info.Number)
}

// sessionColumns are those columns of sys.dm_exec_sessions that the lab has.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-sessions-transact-sql
func sessionColumns() []sqltype.Column {
	return []sqltype.Column{
		smallColumn("session_id"), dateColumn("login_time"), textColumn("host_name", sysnameLength), textColumn("program_name", sysnameLength),
		intColumn("host_process_id"), intColumn("client_version"), textColumn("client_interface_name", 32), textColumn("login_name", sysnameLength),
		textColumn("original_login_name", sysnameLength), textColumn("status", 30), intColumn("cpu_time"), intColumn("memory_usage"), intColumn("total_elapsed_time"),
		dateColumn("last_request_start_time"), dateColumn("last_request_end_time"), bigColumn("reads"), bigColumn("writes"), bigColumn("logical_reads"),
		bitColumn("is_user_process"), textColumn("language", 128), smallColumn("transaction_isolation_level"), intColumn("lock_timeout"), bigColumn("row_count"),
		smallColumn("database_id"), intColumn("open_transaction_count"),
	}
}

func (h *host) sessionRows(s tsql.SessionInfo) ([][]any, error) {
	var rows [][]any
	for _, each := range h.sessions(s) {
		status := "sleeping"
		if each.Running != nil {
			status = "running"
		}
		elapsed := int64(0)
		if each.LastRequestEnd.After(each.LastRequestStart) {
			elapsed = each.LastRequestEnd.Sub(each.LastRequestStart).Milliseconds()
		}
		rows = append(rows, []any{
			int64(each.SPID), moment(each.ConnectedAt), nullable(each.Client.Host), nullable(each.Client.Program),
			int64(each.Client.ProcessID), int64(7), nullable(cutText(each.Client.Library, 32)), each.Client.Login,
			each.Client.Login, status, int64(0), int64(2), elapsed,
			moment(each.LastRequestStart), moment(each.LastRequestEnd), signed(each.Reads), signed(each.Writes), signed(each.Reads),
			true, "us_english", int64(2), int64(-1), signed(each.Rows),
			h.numberOf(each.Ref), int64(each.Transactions),
		})
	}
	return rows, nil
}

// signed brings a counter into a bigint.
func signed(n uint64) int64 { return int64(n & (1<<63 - 1)) } //nolint:gosec // its top bit is cleared

func cutText(text string, n int) string {
	runes := []rune(text)
	return string(runes[:min(n, len(runes))])
}

// connectionColumns are those columns of sys.dm_exec_connections that the lab
// has.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-connections-transact-sql
func connectionColumns() []sqltype.Column {
	return []sqltype.Column{
		intColumn("session_id"), dateColumn("connect_time"), textColumn("net_transport", 40), textColumn("protocol_type", 40), textColumn("encrypt_option", 40),
		textColumn("auth_scheme", 40), intColumn("net_packet_size"), textColumn("client_net_address", 48), intColumn("client_tcp_port"),
		textColumn("local_net_address", 48), intColumn("local_tcp_port"),
	}
}

func (h *host) connectionRows(s tsql.SessionInfo) ([][]any, error) {
	var rows [][]any
	for _, each := range h.sessions(s) {
		encrypted, scheme := "FALSE", "SQL"
		if each.Client.Encrypted {
			encrypted = "TRUE"
		}
		if each.Client.Entra {
			scheme = "FEDAUTH"
		}
		rows = append(rows, []any{
			int64(each.SPID), moment(each.ConnectedAt), "TCP", "TSQL", encrypted,
			scheme, nil, each.Client.Address, int64(each.Client.Port), nil, int64(1433),
		})
	}
	return rows, nil
}

// requestColumns are those columns of sys.dm_exec_requests that the lab has.
// Source: https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-requests-transact-sql
func requestColumns() []sqltype.Column {
	return []sqltype.Column{
		smallColumn("session_id"), intColumn("request_id"), dateColumn("start_time"), textColumn("status", 30), textColumn("command", 32), smallColumn("database_id"),
		smallColumn("blocking_session_id"), intColumn("open_transaction_count"), realColumn("percent_complete"), intColumn("total_elapsed_time"),
		bigColumn("reads"), bigColumn("writes"), bigColumn("logical_reads"), bigColumn("row_count"),
	}
}

func (h *host) requestRows(s tsql.SessionInfo) ([][]any, error) {
	var rows [][]any
	for _, each := range h.sessions(s) {
		r := each.Running
		if r == nil {
			continue
		}
		rows = append(rows, []any{
			int64(each.SPID), int64(r.ID), moment(r.StartedAt), "running", cutText(r.Command, 32), h.numberOf(each.Ref),
			int64(0), int64(each.Transactions), 0.0, h.endpoint.Now().Sub(r.StartedAt).Milliseconds(),
			signed(r.Reads), signed(r.Writes), signed(r.Reads), signed(each.Rows),
		})
	}
	return rows, nil
}
