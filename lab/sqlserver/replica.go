package sqlserver

import (
	"context"
	"errors"
	"net/http"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// maxReplicas is how many geo-secondaries a database may have.
// Source: https://learn.microsoft.com/azure/azure-sql/database/active-geo-replication-overview
const maxReplicas = 4

// seedReplicas makes each of the wanted geo-secondaries, all at once, and
// returns when they follow their primaries, as Azure's operations do. A
// replica's DEK is its primary's, as that one's server wrapped it, so its own
// server must hold that key and be able to use it. What exists of them, after
// a crash, goes on; when one fails, all are taken away again.
func (s *Service) seedReplicas(ctx context.Context, wanted []newReplica) (arm.Commit, error) {
	for _, each := range wanted {
		if err := s.checkReplica(ctx, each); err != nil {
			return nil, err
		}
	}
	links := make([]Link, len(wanted))
	err := s.Store.Update(func(tx *store.Tx) (err error) {
		for n, each := range wanted {
			if links[n], err = s.putReplica(tx, each); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for n, each := range wanted {
		s.instances.Prepare(links[n].Secondary, each.Database.ID)
		if err := s.instances.SetLink(linkSpec(links[n])); err != nil {
			return nil, errors.Join(err, s.unmakeReplicas(links))
		}
	}
	for _, link := range links {
		if err := s.instances.AwaitSeeded(ctx, link.ID); err != nil {
			if ctx.Err() != nil {
				return nil, err // stopped: the next lab goes on
			}
			s.Log.Info("replica.seeding_failed", "link", link.ID, "database", link.Secondary.String(), "error", err)
			return nil, errors.Join(s.seedingRefusal(err, link), s.unmakeReplicas(links))
		}
	}
	return func(tx *store.Tx) error { return s.putSeeded(tx, links) }, nil
}

// newReplica is a geo-secondary to be made.
type newReplica struct {
	Source   DBRef
	Database Database
	Group    string // failover group that asks for it; empty: none
}

func linkSpec(link Link) instance.LinkSpec {
	return instance.LinkSpec{ID: link.ID, Primary: link.Primary, Secondary: link.Secondary, StartedAt: link.StartedAt}
}

func (s *Service) seedingRefusal(err error, link Link) error {
	if _, lost := errors.AsType[*engine.KeyError](err); lost {
		return arm.Refuse(http.StatusBadRequest, "KeyMaterialNotFoundOnRemoteServer", "Remote server does not have access to key material used as a TDE protector.")
	}
	return arm.Refuse(http.StatusInternalServerError, "OperationTimedOut", "The operation timed out and automatically rolled back: database '%s' could not be seeded. Please retry the operation.", link.Secondary.Database)
}

// unmakeReplicas takes away geo-secondaries whose seeding failed.
func (s *Service) unmakeReplicas(links []Link) error {
	return s.Store.Update(func(tx *store.Tx) error {
		for _, link := range links {
			if err := s.links.Delete(tx, link.ID); err != nil {
				return err
			}
			if err := s.removeDatabase(tx, link.Secondary); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkReplica refuses a replica that Azure would not make. One that is being
// made already was checked.
func (s *Service) checkReplica(ctx context.Context, wanted newReplica) error {
	if _, begun, err := s.findReplica(wanted); err != nil || begun {
		return err
	}
	if err := s.checkReplicaSource(wanted.Source); err != nil {
		return err
	}
	if err := s.requireOnline(wanted.Source); err != nil {
		return err
	}
	target, err := s.readServer(wanted.Database.Server)
	if err != nil {
		return err
	}
	if dek := s.dekOf(wanted.Source); dek != nil {
		return s.requireOpensOn(ctx, target, *dek)
	}
	return nil
}

// findReplica finds the link of a replica that an earlier attempt began.
func (s *Service) findReplica(wanted newReplica) (link Link, found bool, err error) {
	ref := refOf(wanted.Database.Server, wanted.Database.Name)
	err = s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOfDatabase(tx, ref)
		for _, each := range links {
			if each.Secondary == ref && each.Primary == wanted.Source {
				link, found = each, true
			}
		}
		return err
	})
	return link, found, err
}

func (s *Service) checkReplicaSource(source DBRef) error {
	return s.Store.View(func(tx *store.Tx) error {
		if _, found, err := s.databases.Get(tx, source.String()); err != nil || !found {
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
			if dek := s.dekOf(source); dek != nil && dek.KeyURI != "" {
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
}

// requireOpensOn refuses a replica whose server lacks the key that wraps the
// primary's DEK, or cannot use it.
func (s *Service) requireOpensOn(ctx context.Context, target Server, dek engine.WrappedDEK) error {
	if dek.KeyURI != "" {
		keys, err := s.keysThatOpen(target, dek.KeyURI, dek.Thumbprint)
		if err != nil || len(keys) == 0 {
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

// putReplica writes the records of a replica that is to be seeded; those of
// an earlier attempt stay.
func (s *Service) putReplica(tx *store.Tx, wanted newReplica) (Link, error) {
	db := wanted.Database
	ref := refOf(db.Server, db.Name)
	if now, there, err := s.databases.Get(tx, ref.String()); err != nil {
		return Link{}, err
	} else if there {
		links, err := s.linksOfDatabase(tx, ref)
		for _, link := range links {
			if link.Primary == wanted.Source && link.Secondary == ref && now.ID == db.ID {
				return link, err
			}
		}
		return Link{}, firstOf(err, arm.Refuse(http.StatusConflict, "RemoteDatabaseExists", "The destination database name '%s' already exists on the server '%s'.", db.Name, db.Server))
	}
	primary, found, err := s.databases.Get(tx, wanted.Source.String())
	if err != nil || !found {
		return Link{}, firstOf(err, notFound("Microsoft.Sql/servers/databases", wanted.Source.Database))
	}
	db.Given, db.Sku, db.Status = primary.Given, primary.Sku, statusCreating
	if db, err = s.numbered(tx, db); err != nil {
		return Link{}, err
	}
	if err := s.databases.Put(tx, ref.String(), db); err != nil {
		return Link{}, err
	}
	link := Link{ID: s.NewID(), Primary: wanted.Source, Secondary: ref, StartedAt: s.Clock.Now(), Group: wanted.Group}
	return link, s.links.Put(tx, link.ID, link)
}

// putSeeded writes that replicas follow their primaries.
func (s *Service) putSeeded(tx *store.Tx, links []Link) error {
	for _, link := range links {
		db, found, err := s.databases.Get(tx, link.Secondary.String())
		if err != nil || !found {
			return firstOf(err, notFound("Microsoft.Sql/servers/databases", link.Secondary.Database))
		}
		db.Status = statusOnline
		if err := s.databases.Put(tx, link.Secondary.String(), db); err != nil {
			return err
		}
		// The protector may have changed since the check: the replica follows.
		if err := s.task(tx, taskFollow, latency.Replica, link.ID); err != nil {
			return err
		}
	}
	return nil
}

// endLink ends a replication relation. The former replica is a database of
// its own from then on, and its server's protector takes over its DEK.
//
//nolint:contextcheck // what is committed is carried out, whoever has gone meanwhile
func (s *Service) endLink(tx *store.Tx, link Link) error {
	if err := s.links.Delete(tx, link.ID); err != nil {
		return err
	}
	tx.OnCommit(func() {
		if err := s.instances.EndLink(context.Background(), link.ID); err != nil {
			s.Log.Error("link.end_failed", "link", link.ID, "error", err)
		}
	})
	db, found, err := s.databases.Get(tx, link.Secondary.String())
	if err != nil || !found {
		return err
	}
	db.Secondary = ""
	if err := s.databases.Put(tx, link.Secondary.String(), db); err != nil {
		return err
	}
	return s.task(tx, taskRewrap, latency.Rewrap, link.Secondary)
}

// removeDatabase deletes a database's record, and its files once that is on
// disk.
func (s *Service) removeDatabase(tx *store.Tx, ref DBRef) error {
	db, found, err := s.databases.Get(tx, ref.String())
	if err != nil || !found {
		return err
	}
	tx.OnCommit(func() {
		if err := s.instances.Drop(ref, db.ID); err != nil {
			s.Log.Error("database.drop_failed", "server", ref.Server, "database", ref.Database, "error", err)
		}
	})
	return s.databases.Delete(tx, ref.String())
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
		tx.OnCommit(func() { s.startLink(link) })
	}
	for _, ref := range []DBRef{from, to} {
		db, found, err := s.databases.Get(tx, ref.String())
		if err != nil || !found {
			return err
		}
		db.Secondary = ""
		if ref == from {
			db.Secondary = "Geo"
		}
		if err := s.databases.Put(tx, ref.String(), db); err != nil {
			return err
		}
	}
	// The new primary wraps by its own protector; its replicas then follow.
	return s.task(tx, taskRewrap, latency.Rewrap, to)
}

// startLink has the instances replicate as the record says.
func (s *Service) startLink(link Link) {
	if err := s.instances.SetLink(linkSpec(link)); err != nil {
		s.Log.Error("link.start_failed", "link", link.ID, "error", err)
	}
}
