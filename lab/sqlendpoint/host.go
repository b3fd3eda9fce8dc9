package sqlendpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// host answers one session's questions about its server.
type host struct {
	endpoint *Endpoint
	attempt  *attempt
	lease    *instance.Lease
	database sqlserver.DatabaseInfo // as it was at the login
}

func (h *host) server() string { return h.attempt.target.Server }

func (h *host) inMaster() bool { return h.lease.Ref().Database == instance.Master }

// visible are the databases that the session may see: all of them in master,
// else master and its own.
// Source: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-databases-transact-sql
func (h *host) visible() ([]sqlserver.DatabaseInfo, error) {
	all, err := h.endpoint.SQL.Databases(h.server())
	if err != nil {
		return nil, fmt.Errorf("list the databases of %s: %w", h.server(), err)
	}
	if h.inMaster() {
		return all, nil
	}
	own := all[:0]
	for _, each := range all {
		if strings.EqualFold(each.Name, instance.Master) || strings.EqualFold(each.Name, h.lease.Ref().Database) {
			own = append(own, each)
		}
	}
	return own, nil
}

// Databases lists the databases that DB_ID and DB_NAME know.
func (h *host) Databases(tsql.SessionInfo) []tsql.DatabaseName {
	list, err := h.visible()
	if err != nil {
		h.endpoint.Log.Error("sql.databases", "server", h.server(), "error", err)
		return nil
	}
	names := []tsql.DatabaseName{{ID: tempdbNumber, Name: "tempdb"}}
	for _, each := range list {
		names = append(names, tsql.DatabaseName{ID: int32(each.Number), Name: each.Name}) //nolint:gosec // a small number
	}
	return names
}

// ServerProperty answers what is this server's own.
func (h *host) ServerProperty(_ tsql.SessionInfo, name string) (any, bool) {
	switch strings.ToLower(name) {
	case "connection:client_net_address":
		return addressOf(h.attempt.Remote), true
	case "connection:local_tcp_port":
		return "1433", true
	case "connection:auth_scheme":
		if h.attempt.Token != "" {
			return "FEDAUTH", true
		}
		return "SQL", true
	case "processid":
		return nil, true
	}
	return nil, false
}

// DatabaseProperty answers what the control plane knows of a database.
// Source: https://learn.microsoft.com/sql/t-sql/functions/databasepropertyex-transact-sql
func (h *host) DatabaseProperty(_ tsql.SessionInfo, name, property string) (any, bool) {
	list, err := h.visible()
	if err != nil {
		h.endpoint.Log.Error("sql.databases", "server", h.server(), "error", err)
		return nil, false
	}
	for _, each := range list {
		if !strings.EqualFold(each.Name, name) {
			continue
		}
		switch strings.ToLower(property) {
		case "edition":
			return each.SKU.Tier, true
		case "serviceobjective":
			return each.Objective, true
		case "updateability":
			if each.Secondary {
				return "READ_ONLY", true
			}
			return "READ_WRITE", true
		case "status":
			return databaseState(each).description, true
		}
		return nil, false
	}
	return nil, false
}

// Kill ends another session of the server.
// Source: https://learn.microsoft.com/sql/t-sql/language-elements/kill-transact-sql
func (h *host) Kill(_ context.Context, s tsql.SessionInfo, spid int) error {
	if spid == s.SPID {
		return refusal(6104, 16, "Cannot use KILL to kill your own process.")
	}
	for _, each := range h.endpoint.SQL.Instances().Sessions(h.server()) {
		if each.SPID != spid {
			continue
		}
		if h.inMaster() || each.Ref == h.lease.Ref() {
			if h.endpoint.SQL.Instances().Kill(h.server(), spid) {
				return nil
			}
		}
	}
	return refusal(6106, 16, "Process ID %d is not an active process ID.", spid)
}

// Procedure runs the procedures that are about a server.
func (h *host) Procedure(ctx context.Context, s tsql.SessionInfo, call sqltype.Call, _ sqltype.Results) (bool, error) {
	name := strings.ToLower(strings.NewReplacer("[", "", "]", "").Replace(call.Procedure))
	name = name[strings.LastIndexByte(name, '.')+1:]
	if name != "sp_wait_for_database_copy_sync" {
		return false, nil
	}
	if !s.Owner {
		return true, refusal(262, 14, "Only the owner of the database may wait for its copy.")
	}
	return true, h.waitForCopy(ctx, call)
}

// waitForCopy is sp_wait_for_database_copy_sync.
// Source: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/active-geo-replication-sp-wait-for-database-copy-sync
func (h *host) waitForCopy(ctx context.Context, call sqltype.Call) error {
	var partner, partnerDatabase string
	for i, p := range call.Params {
		value, ok := p.Value.(string)
		if !ok {
			continue
		}
		switch name := strings.ToLower(p.Name); {
		case name == "@target_server", name == "" && i == 0:
			partner = value
		case name == "@target_database", name == "" && i == 1:
			partnerDatabase = value
		}
	}
	err := h.endpoint.SQL.AwaitSync(ctx, h.server(), h.lease.Ref().Database, firstLabel(partner), partnerDatabase)
	var refused *arm.Error
	if errors.As(err, &refused) {
		return refusal(40508, 16, "%s", refused.Message)
	}
	return err
}

// External finds a principal of Microsoft Entra ID by its display name, or by
// its application id.
func (h *host) External(_ context.Context, name string) (found tsql.External, ok bool, err error) {
	var p entra.Principal
	err = h.endpoint.Entra.Store.View(func(tx *store.Tx) (err error) {
		p, ok, err = h.endpoint.Entra.FindNamed(tx, name)
		return err
	})
	if err != nil || !ok {
		return found, false, err
	}
	id, err := parseGUID(p.AppID)
	return tsql.External{Name: p.Name, SID: id}, err == nil, err
}
