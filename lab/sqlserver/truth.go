package sqlserver

import (
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Truth is what the databases' safety rests on, as it really is: what is on
// record of servers and links, and what the boot records, logs and backups of
// the databases hold.
type Truth struct {
	Servers   []TruthOfServer
	Databases []TruthOfDatabase
}

// TruthOfServer is a server with what is registered on it.
type TruthOfServer struct {
	Name      string // in lower case
	Principal string // with which it reaches its vaults; empty for none
	Protector Protector
	Keys      []ServerKey
	// Partners are the servers that hold copies of its databases: those that a
	// failover may link it with, though they may be secondaries like itself.
	Partners []string
}

// TruthOfDatabase is a database with all its copies.
type TruthOfDatabase struct {
	Name   string // on its primary
	Copies []TruthOfCopy
	// Old are the thumbprints of customer-managed keys that active log files
	// and backups of any copy may still need.
	Old []string
}

// TruthOfCopy is one copy of a database; the first of a list is the primary.
type TruthOfCopy struct {
	Ref DBRef
	// DEK is its wrapped key; nil when TDE is off, or it has none yet.
	DEK *engine.WrappedDEK
}

// Truth reads the truth. Records are of the transaction; what the databases
// hold is of a moment later.
func (s *Service) Truth(tx *store.Tx) (Truth, error) {
	servers, err := s.servers.Scan(tx, "")
	if err != nil {
		return Truth{}, err
	}
	linkEntries, err := s.links.Scan(tx, "")
	if err != nil {
		return Truth{}, err
	}
	links := make([]Link, 0, len(linkEntries))
	for _, entry := range linkEntries {
		links = append(links, entry.Record)
	}
	var truth Truth
	for _, entry := range servers {
		server, err := s.truthOfServer(tx, entry.Record, links)
		if err != nil {
			return Truth{}, err
		}
		truth.Servers = append(truth.Servers, server)
	}
	truth.Databases, err = s.truthOfDatabases(tx, links)
	return truth, err
}

func (s *Service) truthOfServer(tx *store.Tx, server Server, links []Link) (TruthOfServer, error) {
	truth := TruthOfServer{Name: server.key(), Protector: server.Protector, Principal: server.Identity.PrincipalID}
	if server.Identity.Primary != "" {
		identity, found, err := s.Identities.FindIdentity(tx, server.Identity.Primary)
		if err != nil {
			return truth, err
		}
		if found {
			truth.Principal = identity.PrincipalID
		}
	}
	truth.Partners = partnersOf(server.key(), links)
	var err error
	truth.Keys, err = s.keysOf(tx, server.Name)
	return truth, err
}

// partnersOf lists the servers that share a database with one.
func partnersOf(server string, links []Link) []string {
	here := map[DBRef]bool{} // primaries whose database the server holds
	for _, link := range links {
		if link.Primary.Server == server || link.Secondary.Server == server {
			here[link.Primary] = true
		}
	}
	var partners []string
	for _, link := range links {
		if !here[link.Primary] {
			continue
		}
		for _, each := range []string{link.Primary.Server, link.Secondary.Server} {
			if each != server && !slices.Contains(partners, each) {
				partners = append(partners, each)
			}
		}
	}
	return partners
}

func (s *Service) truthOfDatabases(tx *store.Tx, links []Link) ([]TruthOfDatabase, error) {
	entries, err := s.databases.Scan(tx, "")
	if err != nil {
		return nil, err
	}
	built, err := s.builtInThumbprints(tx)
	if err != nil {
		return nil, err
	}
	secondaries, replica := map[DBRef][]DBRef{}, map[DBRef]bool{}
	for _, link := range links {
		secondaries[link.Primary] = append(secondaries[link.Primary], link.Secondary)
		replica[link.Secondary] = true
	}
	ids := map[DBRef]string{}
	for _, entry := range entries {
		ids[refOf(entry.Record.Server, entry.Record.Name)] = entry.Record.ID
	}
	var list []TruthOfDatabase
	for _, entry := range entries {
		ref := refOf(entry.Record.Server, entry.Record.Name)
		if replica[ref] {
			continue
		}
		database := TruthOfDatabase{Name: strings.ToLower(entry.Record.Name)}
		old := map[string]bool{}
		for _, each := range append([]DBRef{ref}, secondaries[ref]...) {
			database.Copies = append(database.Copies, TruthOfCopy{Ref: each, DEK: s.dekOf(each)})
			s.noteOld(each, ids[each], old)
		}
		for thumbprint := range old {
			if !built[thumbprint] {
				database.Old = append(database.Old, thumbprint)
			}
		}
		list = append(list, database)
	}
	return list, nil
}

// noteOld adds the thumbprints that active log files and backups carry.
func (s *Service) noteOld(ref DBRef, id string, old map[string]bool) {
	if s.dekOf(ref) == nil {
		return
	}
	vlfs, err := s.instances.VLFs(ref)
	if err != nil {
		s.Log.Debug("truth.no_log", "database", ref.String(), "error", err) // it is being seeded
	}
	for _, vlf := range vlfs {
		if vlf.Active && vlf.Thumbprint != "" {
			old[vlf.Thumbprint] = true
		}
	}
	kept := s.archive.opened(id)
	if kept == nil {
		return
	}
	for _, dek := range kept.Keys() {
		if dek.KeyURI != "" {
			old[dek.Thumbprint] = true
		}
	}
}

// builtInThumbprints are those of all servers' built-in certificates, of
// dropped servers too.
func (s *Service) builtInThumbprints(tx *store.Tx) (map[string]bool, error) {
	built := map[string]bool{}
	for _, table := range []store.Table[Server]{s.servers, s.retired} {
		entries, err := table.Scan(tx, "")
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			built[entry.Record.ServiceThumbprint] = true
		}
	}
	return built, nil
}

// ChangesProtector gives the server whose protector an operation changes for a
// caller; what the service does by itself overlaps with no other change of one.
func ChangesProtector(kind string, holds []string) (server string, changes bool) {
	if kind == revalidateProtector || kind == rotateProtector {
		return "", false
	}
	for _, hold := range holds {
		if name, found := strings.CutPrefix(hold, "protector of "); found {
			return name, true
		}
	}
	return "", false
}
