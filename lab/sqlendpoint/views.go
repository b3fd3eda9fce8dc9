package sqlendpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// tempdbNumber is tempdb's database_id.
const tempdbNumber = 2

// Columns of the kinds that the views have.

func intColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.Int}, Nullable: true}
}

func bitColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.Bit}, Nullable: true}
}

func tinyColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.TinyInt}, Nullable: true}
}

func smallColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.SmallInt}, Nullable: true}
}

func bigColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.BigInt}, Nullable: true}
}

func realColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.Real, Precision: 24}, Nullable: true}
}

func floatColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.Float, Precision: 53}, Nullable: true}
}

func textColumn(name string, length int) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.NVarChar, Length: length}, Nullable: true}
}

func bytesColumn(name string, length int) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.VarBinary, Length: length}, Nullable: true}
}

func dateColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.DateTime}, Nullable: true}
}

func offsetColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: 7}, Nullable: true}
}

func guidColumn(name string) sqltype.Column {
	return sqltype.Column{Name: name, Type: sqltype.Type{Kind: sqltype.UniqueIdentifier}, Nullable: true}
}

// sysnameLength is the length of sysname, in characters.
const sysnameLength = 128

// Views are the catalog and dynamic management views that are about the
// server and the database as a whole.
func (h *host) Views() []tsql.View {
	return []tsql.View{
		h.view("databases", databaseColumns(), h.databaseRows),
		h.stateView("dm_database_encryption_keys", encryptionColumns(), h.encryptionRows),
		h.logInfo(),
		h.view("geo_replication_links", geoLinkColumns(), h.geoLinkRows),
		h.stateView("dm_geo_replication_link_status", linkStatusColumns(), h.linkStatusRows),
		h.view("dm_operation_status", operationColumns(), h.operationRows),
		h.view("dm_exec_sessions", sessionColumns(), h.sessionRows),
		h.view("dm_exec_connections", connectionColumns(), h.connectionRows),
		h.view("dm_exec_requests", requestColumns(), h.requestRows),
		h.view("database_service_objectives", objectiveColumns(), h.objectiveRows),
	}
}

type rowsFunc func(s tsql.SessionInfo) ([][]any, error)

func (h *host) view(name string, columns []sqltype.Column, rows rowsFunc) tsql.View {
	return tsql.View{
		System: catalog.System{Schema: "sys", Name: name, Columns: columns},
		Rows:   func(_ context.Context, s tsql.SessionInfo, _ []any) ([][]any, error) { return rows(s) },
	}
}

// stateView is a view that needs VIEW DATABASE STATE.
func (h *host) stateView(name string, columns []sqltype.Column, rows rowsFunc) tsql.View {
	return h.view(name, columns, func(s tsql.SessionInfo) ([][]any, error) {
		if !s.ViewDatabaseState {
			return nil, tsql.PermissionDenied("VIEW DATABASE STATE", s.Database)
		}
		return rows(s)
	})
}

// when is a date, or NULL when there is none.
func when(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC()
}

// moment is a datetime: to the millisecond, in 300ths of a second.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	const perSecond = 300
	ticks := (int64(t.Nanosecond())*perSecond + int64(time.Second)/2) / int64(time.Second)
	return t.UTC().Truncate(time.Second).Add(time.Duration((ticks*10+1)/3) * time.Millisecond)
}

// guid is a uniqueidentifier, or NULL for what is none.
func guid(text string) any {
	id, err := parseGUID(text)
	if err != nil {
		return nil
	}
	return id
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func failed(what string, err error) error { return fmt.Errorf("read %s: %w", what, err) }
