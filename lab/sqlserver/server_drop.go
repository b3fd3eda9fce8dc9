package sqlserver

import (
	"context"
	"net/http"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

func (s *Service) deleteServer(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	found := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		server, found, err = s.findServer(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	op := s.operation(r, server, dropServer, "server")
	op.Resource, op.RetryAfter = server.ID(), 15*time.Second
	op.Holds = []string{"server " + server.key()}
	return s.acceptAlone(ctx, r, op, serverPayload{Server: server}, arm.Refuse(http.StatusConflict, "ConflictingServerOperation",
		"An operation is already in progress on server '%s'.", server.Name))
}

func (s *Service) executeDropServer(_ context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted serverPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		server, found, err := s.servers.Get(tx, wanted.Server.key())
		if err != nil || !found {
			return err
		}
		if err := s.requireLastBackups(tx, server); err != nil {
			return err
		}
		return s.dropServer(tx, server)
	}, nil
}

// dropServer removes a server with all that is on it. Links end; their other
// ends become databases of their own; failover groups lose the member, and
// end with their primary.
func (s *Service) dropServer(tx *store.Tx, server Server) error {
	if err := s.leaveGroups(tx, server.key()); err != nil {
		return err
	}
	links, err := s.linksOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, link := range links {
		if err := s.endLink(tx, link); err != nil {
			return err
		}
	}
	// Former replicas are still wrapped by this server's certificate until
	// they are wrapped by their own.
	if err := s.retired.Put(tx, server.key(), server); err != nil {
		return err
	}
	databases, err := s.databasesOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, db := range databases {
		if err := s.keepDropped(tx, server, db, false); err != nil {
			return err
		}
		if err := s.removeDatabase(tx, refOf(server.Name, db.Name)); err != nil {
			return err
		}
	}
	if err := s.endDropped(tx, server); err != nil {
		return err
	}
	if err := s.removeRules(tx, server); err != nil {
		return err
	}
	tx.OnCommit(func() {
		if err := s.instances.DropServer(server.key()); err != nil {
			s.Log.Error("server.drop_failed", "server", server.Name, "error", err)
		}
	})
	keys, err := s.keysOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.keys.Delete(tx, keyKey(server.Name, key.Name)); err != nil {
			return err
		}
	}
	if server.Identity.PrincipalID != "" {
		if err := s.Principals.DeletePrincipal(tx, server.Identity.PrincipalID); err != nil {
			return err
		}
	}
	return s.servers.Delete(tx, server.key())
}
