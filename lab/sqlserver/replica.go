package sqlserver

import (
	"context"
	"net/http"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// maxReplicas is how many geo-secondaries a database may have.
// Source: https://learn.microsoft.com/azure/azure-sql/database/active-geo-replication-overview
const maxReplicas = 4

// createReplica makes db a geo-secondary of source. Its DEK is the source's,
// as the source's server wrapped it, so the new server must hold that key and
// be able to use it.
func (s *Service) createReplica(ctx context.Context, source DBRef, db Database, group string) (arm.Commit, error) {
	primary, err := s.readReplicaSource(source)
	if err != nil {
		return nil, err
	}
	target, err := s.readServer(db.Server)
	if err != nil {
		return nil, err
	}
	if primary.Encrypted {
		if err := s.requireOpensOn(ctx, target, primary.DEK); err != nil {
			return nil, err
		}
	}
	return func(tx *store.Tx) error { return s.putReplica(tx, source, db, group) }, nil
}

func (s *Service) readReplicaSource(source DBRef) (db Database, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if db, found, err = s.databases.Get(tx, source.key()); err != nil || !found {
			return firstOf(err, arm.Refuse(http.StatusNotFound, "DatabaseDoesNotExist", "Database '%s' does not exist on server '%s'.", source.Database, source.Server))
		}
		links, err := s.linksOfDatabase(tx, source)
		if err != nil {
			return err
		}
		for _, link := range links {
			if link.Secondary != source {
				continue
			}
			if db.DEK.KeyURI != "" {
				return arm.Refuse(http.StatusBadRequest, "SecurityAzureKeyVaultGeoChainError",
					"Creating secondary of secondary (a process known as chaining) is not supported when enabling Transparent Data Encryption using Azure Key Vault (BYOK).")
			}
			return arm.Refuse(http.StatusMethodNotAllowed, "UnsupportedReplicationOperation", "The lab does not replicate a geo-secondary further.")
		}
		if len(links) >= maxReplicas {
			return arm.Refuse(http.StatusBadRequest, "GeoReplicaLimitReached", "Database '%s' has reached the limit of %d geo-secondaries.", source.Database, maxReplicas)
		}
		return nil
	})
	return db, err
}

// requireOpensOn refuses a replica whose server lacks the key that wraps the
// primary's DEK, or cannot use it.
func (s *Service) requireOpensOn(ctx context.Context, target Server, dek DEK) error {
	if dek.KeyURI != "" {
		_, found, err := s.keyOfMaterial(target, dek.KeyURI, dek.Thumbprint)
		if err != nil || !found {
			return firstOf(err, sameMaterialMissing(dek.KeyURI, target))
		}
	}
	plain, err := s.openDEK(ctx, target, dek)
	if err != nil {
		s.Log.Info("replica.key_unusable", "server", target.Name, "key", dek.KeyURI, "error", err)
		return arm.Refuse(http.StatusBadRequest, "KeyMaterialNotFoundOnRemoteServer", "Remote server does not have access to key material used as a TDE protector.")
	}
	clear(plain)
	return nil
}

func (s *Service) putReplica(tx *store.Tx, source DBRef, db Database, group string) error {
	ref := refOf(db.Server, db.Name)
	if _, there, err := s.databases.Get(tx, ref.key()); err != nil || there {
		return firstOf(err, arm.Refuse(http.StatusConflict, "RemoteDatabaseExists", "The destination database name '%s' already exists on the server '%s'.", db.Name, db.Server))
	}
	primary, found, err := s.databases.Get(tx, source.key())
	if err != nil || !found {
		return firstOf(err, notFound("Microsoft.Sql/servers/databases", source.Database))
	}
	db.DEK, db.Encrypted, db.Given, db.Sku = primary.DEK, primary.Encrypted, primary.Given, primary.Sku
	if err := s.databases.Put(tx, ref.key(), db); err != nil {
		return err
	}
	link := Link{ID: s.NewID(), Primary: source, Secondary: ref, State: stateCatchUp, Percent: 100, StartedAt: s.Clock.Now(), Group: group}
	if err := s.links.Put(tx, link.ID, link); err != nil {
		return err
	}
	// The protector may have changed since the check: the replica follows.
	return s.task(tx, taskFollow, latency.Replica, link.ID)
}

// endLink ends a replication relation. The former replica is a database of
// its own from then on, and its server's protector takes over its DEK.
func (s *Service) endLink(tx *store.Tx, link Link) error {
	if err := s.links.Delete(tx, link.ID); err != nil {
		return err
	}
	db, found, err := s.databases.Get(tx, link.Secondary.key())
	if err != nil || !found {
		return err
	}
	db.Secondary = ""
	if err := s.databases.Put(tx, link.Secondary.key(), db); err != nil {
		return err
	}
	return s.task(tx, taskRewrap, latency.Rewrap, link.Secondary)
}

// turn makes the database on the named server primary of all its relations:
// its own link is turned round, its siblings now replicate from it.
func (s *Service) turn(tx *store.Tx, from, to DBRef) error {
	links, err := s.linksOfDatabase(tx, from)
	if err != nil {
		return err
	}
	for _, link := range links {
		if link.Primary != from {
			continue
		}
		link.Primary = to
		if link.Secondary == to {
			link.Secondary = from
		}
		if err := s.links.Put(tx, link.ID, link); err != nil {
			return err
		}
	}
	for _, ref := range []DBRef{from, to} {
		db, found, err := s.databases.Get(tx, ref.key())
		if err != nil || !found {
			return err
		}
		db.Secondary = ""
		if ref == from {
			db.Secondary = "Geo"
		}
		if err := s.databases.Put(tx, ref.key(), db); err != nil {
			return err
		}
	}
	// The new primary wraps by its own protector; its replicas then follow.
	return s.task(tx, taskRewrap, latency.Rewrap, to)
}

// requireInStep refuses a planned failover of a database whose replica on
// the new primary is not in step, or cannot be opened there.
func (s *Service) requireInStep(ctx context.Context, link Link) error {
	if link.State != stateCatchUp {
		return arm.Refuse(http.StatusBadRequest, "PlannedFailoverTimedOutForDatabase",
			"The planned failover operation has rolled back because database '%s' could not be synchronized with its remote partner. This may be due to a service outage, or to a high volume of write traffic. Consider using forced failover.", link.Secondary.Database)
	}
	server, err := s.readServer(link.Secondary.Server)
	if err != nil {
		return err
	}
	var replica Database
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if replica, found, err = s.databases.Get(tx, link.Secondary.key()); err == nil && !found {
			err = notFound("Microsoft.Sql/servers/databases", link.Secondary.Database)
		}
		return err
	})
	if err != nil || !replica.Encrypted {
		return err
	}
	plain, err := s.openDEK(ctx, server, replica.DEK)
	if err != nil {
		s.Log.Info("failover.replica_does_not_open", "server", server.Name, "database", replica.Name, "error", err)
		return arm.Refuse(http.StatusBadRequest, "PlannedFailoverTimedOutForDatabase",
			"The planned failover operation has rolled back because database '%s' could not be synchronized with its remote partner. This may be due to a service outage, or to a high volume of write traffic. Consider using forced failover.", replica.Name)
	}
	clear(plain)
	return nil
}
