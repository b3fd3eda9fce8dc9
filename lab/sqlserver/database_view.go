package sqlserver

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// master is the system database that every logical server has.
const master = "master"

func masterOf(server Server) Database {
	return Database{Server: server.Name, Name: master, Status: statusOnline, CreatedAt: server.CreatedAt, Sku: SKU{Name: "System", Tier: "System"}}
}

type databaseBody struct {
	SKU        SKU               `json:"sku"`
	Kind       string            `json:"kind"`
	Properties map[string]any    `json:"properties"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
}

func (s *Service) databaseView(tx *store.Tx, server Server, db Database) (databaseBody, error) {
	sku, objective := skuOf(db.Sku)
	properties := map[string]any{
		"collation": "SQL_Latin1_General_CP1_CI_AS", "catalogCollation": "SQL_Latin1_General_CP1_CI_AS", "maxSizeBytes": int64(34359738368),
		"status": s.statusOf(db), "databaseId": db.ID, "creationDate": arm.Timestamp(db.CreatedAt),
		"currentServiceObjectiveName": objective, "requestedServiceObjectiveName": objective, "currentSku": sku,
		"zoneRedundant": false, "readScale": "Disabled", "currentBackupStorageRedundancy": "Geo", "requestedBackupStorageRedundancy": "Geo",
		"maintenanceConfigurationId": "/subscriptions/" + server.Subscription + "/providers/Microsoft.Maintenance/publicMaintenanceConfigurations/SQL_Default",
		"isLedgerOn":                 false, "isInfraEncryptionEnabled": false, "availabilityZone": "NoPreference",
	}
	kind := "v12.0,user"
	if sku.Family != "" {
		kind += ",vcore"
		properties["licenseType"] = "LicenseIncluded"
	}
	if db.Name == master {
		kind = "v12.0,system"
	}
	for name, raw := range db.Given {
		properties[name] = raw
	}
	if kept := s.archive.opened(db.ID); kept != nil {
		if earliest, _, restorable := kept.Range(); restorable {
			properties["earliestRestoreDate"] = arm.Timestamp(earliest)
		}
	}
	if db.Secondary != "" {
		properties["secondaryType"] = db.Secondary
	}
	body := databaseBody{
		SKU: sku, Kind: kind, Properties: properties, Location: server.Location, Tags: db.Tags,
		ID: server.ID() + "/databases/" + db.Name, Name: db.Name, Type: "Microsoft.Sql/servers/databases",
	}
	return body, s.addGeo(tx, server, db, properties)
}

// addGeo adds what a database shows of its replication.
func (s *Service) addGeo(tx *store.Tx, server Server, db Database, properties map[string]any) error {
	ref := refOf(server.Name, db.Name)
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return err
	}
	for _, link := range links {
		other := link.Secondary
		if link.Secondary == ref {
			other = link.Primary
		}
		partner, err := s.mustServer(tx, other.Server)
		if err != nil {
			return err
		}
		properties["defaultSecondaryLocation"] = partner.Location
		if link.Group != "" {
			properties["failoverGroupId"] = server.ID() + "/failoverGroups/" + link.Group
		}
	}
	return nil
}

// skuOf completes a service objective as Azure prints it, and gives the
// objective's name: GP_Gen5_2 is GP_Gen5 with capacity 2.
func skuOf(given SKU) (SKU, string) {
	parts := strings.Split(given.Name, "_")
	tiers := map[string]string{"GP": "GeneralPurpose", "BC": "BusinessCritical", "HS": "Hyperscale"}
	tier, vcore := tiers[parts[0]]
	if !vcore {
		return SKU{Name: given.Name, Tier: firstText(given.Tier, standardTier(given.Name)), Capacity: given.Capacity}, given.Name
	}
	sku := SKU{Name: given.Name, Tier: firstText(given.Tier, tier), Family: given.Family, Capacity: given.Capacity}
	last := parts[len(parts)-1]
	if count := number(last); count > 0 {
		sku.Name, sku.Capacity = strings.Join(parts[:len(parts)-1], "_"), count
		parts = parts[:len(parts)-1]
	}
	if sku.Capacity == 0 {
		sku.Capacity = 2
	}
	if sku.Family == "" && len(parts) > 1 {
		sku.Family = parts[len(parts)-1]
	}
	return sku, sku.Name + "_" + text(sku.Capacity)
}

func standardTier(name string) string {
	switch {
	case strings.EqualFold(name, "Basic"):
		return "Basic"
	case strings.HasPrefix(name, "P"):
		return "Premium"
	case name == "System":
		return "System"
	}
	return "Standard"
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// statusOf is what a database shows as its status: the record's, or that of
// its files when the record knows nothing against it.
func (s *Service) statusOf(db Database) string {
	if db.Status != statusOnline || db.Name == master {
		return db.Status
	}
	if status, _ := s.instances.Status(refOf(db.Server, db.Name)); status == instance.Inaccessible || status == instance.Offline {
		return string(status)
	}
	return statusOnline
}
