package sqlserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/backup"
	"github.com/crosskeys/crosskeys/lab/store"
)

func (s *Service) backupRoutes() []arm.Route {
	const droppedPath = serverPath + "/restorableDroppedDatabases"
	routes := []arm.Route{
		{Method: http.MethodGet, Pattern: droppedPath, Handle: s.listDropped},
		{Method: http.MethodGet, Pattern: droppedPath + "/{restorableDroppedDatabaseId}", Handle: s.getDropped},
	}
	for _, scope := range []string{subscriptionPath, groupPath} {
		location := scope + "/providers/Microsoft.Sql/locations/{locationName}"
		server := location + "/longTermRetentionServers/{longTermRetentionServerName}"
		database := server + "/longTermRetentionDatabases/{longTermRetentionDatabaseName}"
		for _, path := range []string{location, server, database} {
			routes = append(routes, arm.Route{Method: http.MethodGet, Pattern: path + "/longTermRetentionBackups", Handle: s.listLongTerm(scope == groupPath, path != location, path == database)})
		}
		one := database + "/longTermRetentionBackups/{backupName}"
		routes = append(routes, arm.Route{Method: http.MethodGet, Pattern: one, Handle: s.getLongTerm(scope == groupPath)})
	}
	return routes
}

type droppedBody struct {
	Location   string            `json:"location"`
	SKU        SKU               `json:"sku"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties map[string]any    `json:"properties"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
}

func (s *Service) droppedView(server Server, each Dropped) droppedBody {
	sku, _ := skuOf(each.Database.Sku)
	name := each.Database.Name + "," + fileTime(each.DeletedAt)
	body := droppedBody{
		Location: server.Location, SKU: sku, Tags: each.Database.Tags, Name: name, ID: server.ID() + "/restorableDroppedDatabases/" + name,
		Type: "Microsoft.Sql/servers/restorableDroppedDatabases",
		Properties: map[string]any{
			"databaseName": each.Database.Name, "creationDate": arm.Timestamp(each.Database.CreatedAt), "deletionDate": arm.Timestamp(each.DeletedAt),
			"maxSizeBytes": int64(34359738368), "backupStorageRedundancy": "Geo",
		},
	}
	if kept, err := s.archive.store(each.Database); err == nil {
		if earliest, _, restorable := kept.Range(); restorable {
			body.Properties["earliestRestoreDate"] = arm.Timestamp(earliest)
		}
	}
	return body
}

// droppedOf lists the databases of a server that can be restored.
func (s *Service) droppedOf(r *arm.Request) (views []droppedBody, err error) {
	var server Server
	var gone []Dropped
	err = s.Store.View(func(tx *store.Tx) error {
		if server, err = s.server(tx, r); err != nil {
			return err
		}
		entries, err := s.dropped.Scan(tx, "")
		for _, entry := range entries {
			if entry.Record.PointInTime && strings.EqualFold(entry.Record.Database.Server, server.Name) {
				gone = append(gone, entry.Record)
			}
		}
		return err
	})
	for _, each := range gone {
		views = append(views, s.droppedView(server, each))
	}
	return views, err
}

func (s *Service) listDropped(_ context.Context, r *arm.Request) (*arm.Response, error) {
	views, err := s.droppedOf(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

func (s *Service) getDropped(_ context.Context, r *arm.Request) (*arm.Response, error) {
	views, err := s.droppedOf(r)
	if err != nil {
		return nil, err
	}
	name := unescaped(r.Param("restorableDroppedDatabaseId"))
	for _, view := range views {
		if strings.EqualFold(view.Name, name) {
			return arm.OK(view), nil
		}
	}
	return nil, notFound("Microsoft.Sql/servers/restorableDroppedDatabases", name)
}

func unescaped(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// longTerm is a long-term backup with the database that it is of.
type longTerm struct {
	backup.LongTerm
	database               Database
	location, group, subID string
	serverCreated          time.Time
	deleted                time.Time // of the database; zero: it lives
}

// name is a backup's name: the database's id and the time it was taken.
func (l longTerm) name() string { return l.database.ID + ";" + fileTime(l.Time) }

// longTermBackups are all long-term backups of living and dropped databases,
// oldest first.
func (s *Service) longTermBackups() []longTerm {
	var all []longTerm
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.databases.Scan(tx, "")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			server, err := s.mustServer(tx, entry.Record.Server)
			if err != nil {
				return err
			}
			all = append(all, longTerm{database: entry.Record, location: server.Location, group: server.ResourceGroup, subID: server.Subscription, serverCreated: server.CreatedAt})
		}
		gone, err := s.dropped.Scan(tx, "")
		for _, entry := range gone {
			each := entry.Record
			all = append(all, longTerm{database: each.Database, location: each.Location, group: each.ResourceGroup, subID: each.Subscription, serverCreated: each.ServerCreated, deleted: each.DeletedAt})
		}
		return err
	})
	if err != nil {
		s.Log.Error("backup.failed", "error", err)
	}
	var list []longTerm
	for _, each := range all {
		kept, err := s.archive.store(each.database)
		if err != nil {
			s.Log.Error("backup.failed", "server", each.database.Server, "database", each.database.Name, "error", err)
			continue
		}
		for _, taken := range kept.LongTerm() {
			each.LongTerm = taken
			list = append(list, each)
		}
	}
	slices.SortFunc(list, func(a, b longTerm) int { return a.Time.Compare(b.Time) })
	return list
}

type longTermBody struct {
	Properties map[string]any `json:"properties"`
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
}

func longTermView(each longTerm, inGroup bool) longTermBody {
	scope := "/subscriptions/" + each.subID
	if inGroup {
		scope += "/resourceGroups/" + each.group
	}
	body := longTermBody{
		ID: scope + "/providers/Microsoft.Sql/locations/" + each.location + "/longTermRetentionServers/" + each.database.Server +
			"/longTermRetentionDatabases/" + each.database.Name + "/longTermRetentionBackups/" + each.name(),
		Name: each.name(), Type: "Microsoft.Sql/locations/longTermRetentionServers/longTermRetentionDatabases/longTermRetentionBackups",
		Properties: map[string]any{
			"serverName": each.database.Server, "serverCreateTime": arm.Timestamp(each.serverCreated), "databaseName": each.database.Name,
			"backupTime": arm.Timestamp(each.Time), "backupExpirationTime": arm.Timestamp(each.Expires), "backupStorageRedundancy": "Geo", "requestedBackupStorageRedundancy": "Geo",
		},
	}
	if !each.deleted.IsZero() {
		body.Properties["databaseDeletionTime"] = arm.Timestamp(each.deleted)
	}
	return body
}

// longTermAt lists the backups that a request's path names.
func (s *Service) longTermAt(r *arm.Request, inGroup, ofServer, ofDatabase bool) ([]longTerm, error) {
	region, known := arm.FindRegion(r.Param("locationName"))
	if !known {
		return nil, arm.Refuse(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type 'Microsoft.Sql/locations'.", r.Param("locationName"))
	}
	return slices.DeleteFunc(s.longTermBackups(), func(each longTerm) bool {
		return each.location != region.Name || !strings.EqualFold(each.subID, r.Param("subscriptionId")) ||
			(inGroup && !strings.EqualFold(each.group, r.Param("resourceGroupName"))) ||
			(ofServer && !strings.EqualFold(each.database.Server, r.Param("longTermRetentionServerName"))) ||
			(ofDatabase && !strings.EqualFold(each.database.Name, r.Param("longTermRetentionDatabaseName")))
	}), nil
}

func (s *Service) listLongTerm(inGroup, ofServer, ofDatabase bool) arm.Handler {
	return func(_ context.Context, r *arm.Request) (*arm.Response, error) {
		list, err := s.longTermAt(r, inGroup, ofServer, ofDatabase)
		if err != nil {
			return nil, err
		}
		query := r.HTTP.URL.Query()
		latest := map[string]int{} // by database
		for n, each := range list {
			latest[each.database.ID] = n
		}
		var views []longTermBody
		for n, each := range list {
			state := query.Get("databaseState")
			if (strings.EqualFold(query.Get("onlyLatestPerDatabase"), "true") && latest[each.database.ID] != n) ||
				(strings.EqualFold(state, "Live") && !each.deleted.IsZero()) || (strings.EqualFold(state, "Deleted") && each.deleted.IsZero()) {
				continue
			}
			views = append(views, longTermView(each, inGroup))
		}
		return arm.OK(listOf(views)), nil
	}
}

func (s *Service) findLongTerm(r *arm.Request, inGroup bool) (longTerm, error) {
	list, err := s.longTermAt(r, inGroup, true, true)
	if err != nil {
		return longTerm{}, err
	}
	name := unescaped(r.Param("backupName"))
	for _, each := range list {
		if strings.EqualFold(each.name(), name) {
			return each, nil
		}
	}
	return longTerm{}, notFound("Microsoft.Sql/locations/longTermRetentionServers/longTermRetentionDatabases/longTermRetentionBackups", name)
}

func (s *Service) getLongTerm(inGroup bool) arm.Handler {
	return func(_ context.Context, r *arm.Request) (*arm.Response, error) {
		each, err := s.findLongTerm(r, inGroup)
		if err != nil {
			return nil, err
		}
		return arm.OK(longTermView(each, inGroup)), nil
	}
}
