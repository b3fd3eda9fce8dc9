package sqlserver

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// setting is a sub-resource that always exists and keeps what is put: clients
// read it on every refresh. Of what it says, the retention of backups alone
// has an effect in the lab.
type setting struct {
	ofDatabase bool
	segment    string // of the path, and of the type
	name       string // as answered
	kind       string // resource type
	initial    string // properties of one that was never put
}

func settings() []setting {
	return []setting{
		{false, "connectionPolicies", "default", "Microsoft.Sql/servers/connectionPolicies", `{"connectionType":"Default"}`},
		{false, "sqlVulnerabilityAssessments", "default", "Microsoft.Sql/servers/sqlVulnerabilityAssessments", `{"state":"Disabled"}`},
		{false, "securityAlertPolicies", "Default", "Microsoft.Sql/servers/securityAlertPolicies", `{"state":"Disabled","disabledAlerts":[],"emailAddresses":[],"emailAccountAdmins":false,"retentionDays":0}`},
		{true, "securityAlertPolicies", "Default", "Microsoft.Sql/servers/databases/securityAlertPolicies", `{"state":"Disabled","disabledAlerts":[],"emailAddresses":[],"emailAccountAdmins":false,"retentionDays":0}`},
		{true, "backupShortTermRetentionPolicies", "default", "Microsoft.Sql/servers/databases/backupShortTermRetentionPolicies", `{"retentionDays":7,"diffBackupIntervalInHours":24}`},
		{true, "backupLongTermRetentionPolicies", "default", "Microsoft.Sql/servers/databases/backupLongTermRetentionPolicies", `{"weeklyRetention":"PT0S","monthlyRetention":"PT0S","yearlyRetention":"PT0S","weekOfYear":0}`},
		{true, "geoBackupPolicies", "Default", "Microsoft.Sql/servers/databases/geoBackupPolicies", `{"state":"Enabled","storageType":"Premium"}`},
	}
}

func (s *Service) policyRoutes() []arm.Route {
	var routes []arm.Route
	for _, each := range settings() {
		path := serverPath
		if each.ofDatabase {
			path = databasePath
		}
		path += "/" + each.segment
		routes = append(routes,
			arm.Route{Method: http.MethodGet, Pattern: path, Handle: s.settingHandler(each, true)},
			arm.Route{Method: http.MethodGet, Pattern: path + "/{settingName}", Handle: s.settingHandler(each, false)},
			arm.Route{Method: http.MethodPut, Pattern: path + "/{settingName}", Handle: s.putSetting(each)},
		)
	}
	return routes
}

type settingBody struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Properties json.RawMessage `json:"properties"`
}

func (each setting) view(id string, kept map[string]json.RawMessage) settingBody {
	properties := kept[each.segment]
	if properties == nil {
		properties = json.RawMessage(each.initial)
	}
	return settingBody{ID: id + "/" + each.segment + "/" + each.name, Name: each.name, Type: each.kind, Properties: properties}
}

func (s *Service) settingHandler(each setting, all bool) arm.Handler {
	return func(_ context.Context, r *arm.Request) (*arm.Response, error) {
		var view settingBody
		err := s.Store.View(func(tx *store.Tx) error {
			if !all && !strings.EqualFold(r.Param("settingName"), each.name) {
				return notFound(each.kind, r.Param("settingName"))
			}
			id, kept, err := s.settingsOf(tx, r, each)
			view = each.view(id, kept)
			return err
		})
		if err != nil {
			return nil, err
		}
		if all {
			return arm.OK(listOf([]settingBody{view})), nil
		}
		return arm.OK(view), nil
	}
}

func (s *Service) settingsOf(tx *store.Tx, r *arm.Request, each setting) (string, map[string]json.RawMessage, error) {
	if each.ofDatabase {
		server, db, err := s.database(tx, r)
		return server.ID() + "/databases/" + db.Name, db.Settings, err
	}
	server, err := s.server(tx, r)
	return server.ID(), server.Settings, err
}

func (s *Service) putSetting(each setting) arm.Handler {
	return func(_ context.Context, r *arm.Request) (*arm.Response, error) {
		var body struct {
			Properties map[string]json.RawMessage `json:"properties"`
		}
		if err := r.Decode(&body); err != nil {
			return nil, err
		}
		var view settingBody
		err := s.Store.Update(func(tx *store.Tx) error {
			if !strings.EqualFold(r.Param("settingName"), each.name) {
				return notFound(each.kind, r.Param("settingName"))
			}
			id, kept, err := s.settingsOf(tx, r, each)
			if err != nil {
				return err
			}
			merged, err := merge(each.view(id, kept).Properties, body.Properties)
			if err != nil {
				return err
			}
			if err := checkRetention(each.segment, merged); err != nil {
				return err
			}
			view = each.view(id, map[string]json.RawMessage{each.segment: merged})
			return s.keepSetting(tx, r, each, merged)
		})
		if err != nil {
			return nil, err
		}
		return arm.OK(view), nil
	}
}

func merge(now json.RawMessage, put map[string]json.RawMessage) (json.RawMessage, error) {
	properties := map[string]json.RawMessage{}
	if err := json.Unmarshal(now, &properties); err != nil {
		return nil, err
	}
	for name, value := range put {
		properties[name] = value
	}
	return json.Marshal(properties)
}

func (s *Service) keepSetting(tx *store.Tx, r *arm.Request, each setting, properties json.RawMessage) error {
	if !each.ofDatabase {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		if server.Settings == nil {
			server.Settings = map[string]json.RawMessage{}
		}
		server.Settings[each.segment] = properties
		return s.servers.Put(tx, server.key(), server)
	}
	server, db, err := s.database(tx, r)
	if err != nil {
		return err
	}
	if db.Settings == nil {
		db.Settings = map[string]json.RawMessage{}
	}
	db.Settings[each.segment] = properties
	return s.databases.Put(tx, refOf(server.Name, db.Name).String(), db)
}
