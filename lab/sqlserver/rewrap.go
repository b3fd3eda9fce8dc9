package sqlserver

import (
	"context"
	"errors"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// The background tasks by which a protector change reaches the databases.
const (
	taskRewrap = "RewrapDatabaseEncryptionKey"
	taskFollow = "FollowDatabaseEncryptionKey"
)

// retryPause is how long a task waits before it tries a vault again, in the
// lab's time.
const retryPause = 5 * time.Second

// rewrapAll begins a task for each database of the server whose DEK its
// protector should wrap: those that are no replica.
func (s *Service) rewrapAll(tx *store.Tx, server Server) error {
	databases, err := s.databasesOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, db := range databases {
		ref := refOf(server.Name, db.Name)
		replica, err := s.isReplica(tx, ref)
		if err != nil {
			return err
		}
		if replica || !db.Encrypted {
			continue
		}
		if err := s.task(tx, taskRewrap, latency.Rewrap, ref); err != nil {
			return err
		}
	}
	return nil
}

// executeRewrap unwraps a primary or standalone database's DEK with the key
// that holds it and wraps it by its server's present protector. What is
// wrapped by it already stays as it is, so a repeat changes nothing.
func (s *Service) executeRewrap(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var ref DBRef
	if err := op.Decode(&ref); err != nil {
		return nil, err
	}
	server, db, primary, err := s.rewrapWanted(ref)
	if err != nil || !primary {
		return nil, err
	}
	if wrappedByProtector(server, db.DEK) {
		return func(tx *store.Tx) error { return s.followAll(tx, ref) }, nil
	}
	plain, err := s.openDEK(ctx, server, db.DEK)
	if err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	defer clear(plain)
	dek, err := s.wrapDEK(ctx, server, plain, db.DEK.Check)
	if err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	return func(tx *store.Tx) error { return s.storeRewrapped(tx, ref, server, dek) }, nil
}

func wrappedByProtector(server Server, dek DEK) bool {
	return dek.KeyURI == server.Protector.URI && (dek.KeyURI != "" || dek.ServiceOf == server.key())
}

// rewrapWanted reads the database, and whether it is (still) one whose DEK
// its own server wraps.
func (s *Service) rewrapWanted(ref DBRef) (server Server, db Database, primary bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if db, found, err = s.databases.Get(tx, ref.key()); err != nil || !found || !db.Encrypted {
			return err
		}
		if server, err = s.mustServer(tx, ref.Server); err != nil {
			return err
		}
		replica, err := s.isReplica(tx, ref)
		primary = !replica
		return err
	})
	return server, db, primary, err
}

// storeRewrapped writes a new wrapping, unless the protector or the role has
// changed under it: then the task for the newer state does the work.
func (s *Service) storeRewrapped(tx *store.Tx, ref DBRef, before Server, dek DEK) error {
	server, found, err := s.servers.Get(tx, ref.Server)
	if err != nil || !found || server.Protector.URI != before.Protector.URI {
		return err
	}
	replica, err := s.isReplica(tx, ref)
	if err != nil || replica {
		return err
	}
	db, found, err := s.databases.Get(tx, ref.key())
	if err != nil || !found {
		return err
	}
	db.DEK = dek
	if err := s.databases.Put(tx, ref.key(), db); err != nil {
		return err
	}
	return s.followAll(tx, ref)
}

// followAll begins a task for each replica of the database that does not yet
// hold the primary's wrapping.
func (s *Service) followAll(tx *store.Tx, primary DBRef) error {
	links, err := s.linksOfDatabase(tx, primary)
	if err != nil {
		return err
	}
	for _, link := range links {
		if link.Primary != primary {
			continue
		}
		if err := s.task(tx, taskFollow, latency.Replica, link.ID); err != nil {
			return err
		}
	}
	return nil
}

// executeFollow carries the primary's wrapped DEK to a replica. A replica
// whose server cannot open it has its link suspended until it can.
func (s *Service) executeFollow(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var id string
	if err := op.Decode(&id); err != nil {
		return nil, err
	}
	link, server, dek, found, err := s.followWanted(id)
	if err != nil || !found {
		return nil, err
	}
	plain, err := s.openDEK(ctx, server, dek)
	if err != nil {
		suspendErr := s.Store.Update(func(tx *store.Tx) error { return s.setLinkState(tx, link, stateSuspended) })
		return nil, &arm.AgainError{After: retryPause, Err: errors.Join(err, suspendErr)}
	}
	clear(plain)
	return func(tx *store.Tx) error { return s.storeFollowed(tx, link, dek) }, nil
}

// followWanted reads a link with its secondary's server and the wrapping that
// the secondary should hold.
func (s *Service) followWanted(id string) (link Link, server Server, dek DEK, found bool, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		if link, found, err = s.links.Get(tx, id); err != nil || !found {
			return err
		}
		if server, err = s.mustServer(tx, link.Secondary.Server); err != nil {
			return err
		}
		primary, there, err := s.databases.Get(tx, link.Primary.key())
		found, dek = there, primary.DEK
		return err
	})
	return link, server, dek, found, err
}

// storeFollowed writes the wrapping to the replica if the link still points
// the same way and the primary still holds it; else a newer task follows.
func (s *Service) storeFollowed(tx *store.Tx, link Link, dek DEK) error {
	now, found, err := s.links.Get(tx, link.ID)
	if err != nil || !found || now.Primary != link.Primary || now.Secondary != link.Secondary {
		return err
	}
	primary, found, err := s.databases.Get(tx, link.Primary.key())
	if err != nil || !found || string(primary.DEK.Wrapped) != string(dek.Wrapped) {
		return err
	}
	replica, found, err := s.databases.Get(tx, link.Secondary.key())
	if err != nil || !found {
		return err
	}
	replica.DEK, replica.Encrypted = dek, primary.Encrypted
	if err := s.databases.Put(tx, link.Secondary.key(), replica); err != nil {
		return err
	}
	return s.setLinkState(tx, now, stateCatchUp)
}

// setLinkState changes a link's state where the link still is the one read.
func (s *Service) setLinkState(tx *store.Tx, link Link, state string) error {
	now, found, err := s.links.Get(tx, link.ID)
	if err != nil || !found || now.Primary != link.Primary || now.State == state {
		return err
	}
	now.State = state
	return s.links.Put(tx, link.ID, now)
}

// heal gives the effect of a revalidation: databases that open again are
// Online again.
func (s *Service) heal(ctx context.Context, server Server) (arm.Commit, error) {
	var databases []Database
	err := s.Store.View(func(tx *store.Tx) (err error) {
		databases, err = s.databasesOf(tx, server.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	var healed []DBRef
	for _, db := range databases {
		if db.Status == statusOnline || !db.Encrypted {
			continue
		}
		plain, err := s.openDEK(ctx, server, db.DEK)
		if err != nil {
			return nil, err
		}
		clear(plain)
		healed = append(healed, refOf(server.Name, db.Name))
	}
	return func(tx *store.Tx) error {
		for _, ref := range healed {
			db, found, err := s.databases.Get(tx, ref.key())
			if err != nil || !found {
				return err
			}
			db.Status = statusOnline
			if err := s.databases.Put(tx, ref.key(), db); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
