package sqlserver

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// The background tasks by which a protector change reaches the databases.
const (
	taskRewrap = "RewrapDatabaseEncryptionKey"
	taskFollow = "FollowDatabaseEncryptionKey"
)

// FollowTask is the kind of the task that carries a re-wrapped DEK to a
// replica.
const FollowTask = taskFollow

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
		if replica || s.dekOf(ref) == nil {
			continue
		}
		if err := s.task(tx, taskRewrap, latency.Rewrap, ref); err != nil {
			return err
		}
	}
	return nil
}

// dekOf is the database's wrapped DEK, from its boot record; nil when it has
// none, or no files yet.
func (s *Service) dekOf(ref DBRef) *engine.WrappedDEK {
	boot, _ := s.instances.Boot(ref)
	return boot.DEK
}

// executeRewrap unwraps a primary or standalone database's DEK with the key
// that holds it and wraps it by its server's present protector. What is
// wrapped by it already stays as it is, so a repeat changes nothing.
func (s *Service) executeRewrap(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var ref DBRef
	if err := op.Decode(&ref); err != nil {
		return nil, err
	}
	server, dek, err := s.rewrapWanted(ref)
	if err != nil || dek == nil {
		return nil, err
	}
	if err := s.outOfReach(ref, ref); err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	if wrappedByProtector(server, *dek) {
		return func(tx *store.Tx) error { return s.followAll(tx, ref) }, nil
	}
	plain, err := s.openDEK(ctx, server, *dek)
	if err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	defer clear(plain)
	wrapped, err := s.wrapDEK(ctx, server, plain, *dek)
	if err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	if err := errors.Join(s.instances.AwaitOpen(ctx, ref), s.storeRewrapped(ctx, ref, server, wrapped)); err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	return func(tx *store.Tx) error { return s.followAll(tx, ref) }, nil
}

func wrappedByProtector(server Server, dek engine.WrappedDEK) bool {
	return dek.KeyURI == server.Protector.URI && (dek.KeyURI != "" || dek.ServiceOf == server.key())
}

// rewrapWanted reads the database's server and wrapped DEK; nil when it is
// not (or no longer) one whose DEK its own server wraps.
func (s *Service) rewrapWanted(ref DBRef) (server Server, dek *engine.WrappedDEK, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		if _, found, err := s.databases.Get(tx, ref.String()); err != nil || !found {
			return err
		}
		if server, err = s.mustServer(tx, ref.Server); err != nil {
			return err
		}
		replica, err := s.isReplica(tx, ref)
		if !replica {
			dek = s.dekOf(ref)
		}
		return err
	})
	return server, dek, err
}

// storeRewrapped writes a new wrapping into the boot record, unless the
// protector or the role has changed meanwhile: then the task for the newer
// state does the work.
func (s *Service) storeRewrapped(ctx context.Context, ref DBRef, before Server, wrapped engine.WrappedDEK) error {
	lock, err := s.instances.Lock(ref)
	if err != nil {
		return nil // the database is gone, and its DEK with it
	}
	defer lock.Unlock()
	server, dek, err := s.rewrapWanted(ref)
	if err != nil || dek == nil || dek.ID != wrapped.ID || server.Protector.URI != before.Protector.URI {
		return err
	}
	return lock.Rewrap(ctx, wrapped)
}

// rewrapAndFollow begins the tasks that bring a database's wrapping up to
// date, in whichever role it is.
func (s *Service) rewrapAndFollow(tx *store.Tx, ref DBRef) error {
	links, err := s.linksOfDatabase(tx, ref)
	if err != nil {
		return err
	}
	for _, link := range links {
		if link.Secondary == ref {
			return s.task(tx, taskFollow, latency.Replica, link.ID)
		}
	}
	return s.task(tx, taskRewrap, latency.Rewrap, ref)
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
	link, server, dek, err := s.followWanted(id)
	if err != nil || dek == nil {
		return nil, err
	}
	if err := s.outOfReach(link.Primary, link.Secondary); err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	plain, err := s.openDEK(ctx, server, *dek)
	if err != nil {
		s.instances.Suspend(link.ID, err)
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	clear(plain)
	if err := errors.Join(s.instances.AwaitOpen(ctx, link.Secondary), s.storeFollowed(ctx, link, *dek)); err != nil {
		return nil, &arm.AgainError{After: retryPause, Err: err}
	}
	s.instances.Continue(link.ID)
	return nil, nil
}

// followWanted reads a link with its secondary's server and the wrapping that
// the secondary should hold; nil when there is none to carry.
func (s *Service) followWanted(id string) (link Link, server Server, dek *engine.WrappedDEK, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		found := false
		if link, found, err = s.links.Get(tx, id); err != nil || !found {
			return err
		}
		if server, err = s.mustServer(tx, link.Secondary.Server); err != nil {
			return err
		}
		replica, seeded := s.instances.Boot(link.Secondary)
		if dek = s.dekOf(link.Primary); !seeded || replica.DEK == nil {
			dek = nil // seeding, or the log, brings it
		}
		return nil
	})
	return link, server, dek, err
}

// storeFollowed writes the wrapping into the replica's boot record if the
// link still points the same way and the primary still holds it; else a newer
// task follows.
func (s *Service) storeFollowed(ctx context.Context, link Link, dek engine.WrappedDEK) error {
	lock, err := s.instances.Lock(link.Secondary)
	if err != nil {
		return nil // the replica is gone
	}
	defer lock.Unlock()
	now, _, wanted, err := s.followWanted(link.ID)
	if err != nil || wanted == nil || now.Primary != link.Primary || now.Secondary != link.Secondary || !bytes.Equal(wanted.Wrapped, dek.Wrapped) {
		return err
	}
	if held := s.dekOf(link.Secondary); held != nil && bytes.Equal(held.Wrapped, dek.Wrapped) {
		return nil
	}
	return lock.Rewrap(ctx, dek)
}
