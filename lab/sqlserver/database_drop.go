package sqlserver

import (
	"context"
	"net/http"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

func (s *Service) deleteDatabase(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	var db Database
	found := false
	err := s.Store.View(func(tx *store.Tx) (err error) {
		if server, err = s.server(tx, r); err != nil {
			return err
		}
		db, found, err = s.databases.Get(tx, refOf(server.Name, r.Param("databaseName")).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	ref := refOf(server.Name, db.Name)
	op := s.operation(r, server, dropDatabase, "database")
	op.Resource, op.RetryAfter, op.Holds = server.ID()+"/databases/"+db.Name, 15*time.Second, []string{databaseHold(ref)}
	return s.acceptAlone(ctx, r, op, databasePayload{Database: db}, databaseBusy(db.Name))
}

func (s *Service) executeDropDatabase(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted databasePayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	ref := refOf(wanted.Database.Server, wanted.Database.Name)
	if err := s.archive.last(ctx, wanted.Database); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		server, err := s.mustServer(tx, ref.Server)
		if err != nil {
			return err
		}
		db, found, err := s.databases.Get(tx, ref.String())
		if err != nil || !found {
			return err
		}
		if err := s.keepDropped(tx, server, db, true); err != nil {
			return err
		}
		links, err := s.linksOfDatabase(tx, ref)
		if err != nil {
			return err
		}
		for _, link := range links {
			if err := s.endLink(tx, link); err != nil {
				return err
			}
		}
		if err := s.leaveGroup(tx, ref, links); err != nil {
			return err
		}
		return s.removeDatabase(tx, ref)
	}, nil
}
