package sqlserver

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/georep"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// failoverMode is one of the three ways to fail over.
type failoverMode int

const (
	plannedFailover failoverMode = iota
	forcedFailover
	triedFailover // planned, and forced when that is refused
)

// plannedLimit bounds a planned failover's synchronization, in the machine's
// time: then it is rolled back.
const plannedLimit = 30 * time.Second

// failOver makes the secondaries of links primaries, all or none, and gives
// the effect on the records. Sessions wait from the change of the databases'
// roles until the records say the same.
//
//nolint:contextcheck // the keys are probed after the operation has ended
func (s *Service) failOver(ctx context.Context, links []Link, mode failoverMode, commit arm.Commit) (arm.Commit, error) {
	specs := make([]instance.LinkSpec, 0, len(links))
	for _, link := range links {
		specs = append(specs, linkSpec(link))
	}
	for _, link := range links {
		if err := s.instances.AwaitOpen(ctx, link.Primary, link.Secondary); err != nil {
			return nil, err
		}
	}
	if mode != forcedFailover {
		err := s.requireAllInStep(ctx, links)
		if _, refused := errors.AsType[*arm.Error](err); err != nil && (mode == plannedFailover || !refused) {
			return nil, err
		}
		if err != nil {
			mode = forcedFailover
		}
	}
	turn, losses, err := s.turnDatabases(ctx, specs, mode)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		if err := s.recordLosses(tx, losses); err != nil {
			return err
		}
		if err := commit(tx); err != nil {
			turn.End()
			return err
		}
		tx.OnCommit(func() {
			turn.End()
			s.monitor.failedOver(links)
		})
		return nil
	}, nil
}

func (s *Service) turnDatabases(ctx context.Context, links []instance.LinkSpec, mode failoverMode) (*instance.Turn, []instance.Loss, error) {
	if mode != forcedFailover {
		limited, cancel := context.WithTimeout(ctx, plannedLimit)
		defer cancel()
		turn, err := s.instances.PlannedFailover(limited, links)
		if err == nil || ctx.Err() != nil {
			return turn, nil, err
		}
		s.Log.Info("failover.rolled_back", "error", err)
		if mode == plannedFailover {
			return nil, nil, plannedRefusal(err)
		}
	}
	turn, losses, err := s.instances.ForcedFailover(ctx, links)
	return turn, losses, forcedRefusal(err)
}

// forcedRefusal says why not even a forced failover was possible: a copy that
// is not open, or that is itself being brought back, cannot lead.
func forcedRefusal(err error) error {
	switch {
	case errors.Is(err, georep.ErrNotOpen):
		return arm.Refuse(http.StatusConflict, "InvalidDatabaseStateForOperation", "The operation cannot be performed since a database is not in a valid state: %v.", err)
	case errors.Is(err, georep.ErrUndoing):
		return duringUndo()
	}
	return err
}

func duringUndo() *arm.Error {
	return arm.Refuse(http.StatusConflict, "GeoReplicationCannotBecomePrimaryDuringUndo",
		"The database is recovering from a geo-replication role change and cannot become primary. Wait until the relationship leaves the 'SUSPENDED' replication state and try again.")
}

// plannedRefusal says in Azure's words why a planned failover was rolled back.
func plannedRefusal(err error) error {
	rolledBack, ok := errors.AsType[*georep.RolledBackError](err)
	if !ok {
		return err
	}
	database, server := splitName(rolledBack.Partner)
	if _, unreachable := errors.AsType[*georep.UnreachableError](err); unreachable {
		return arm.Refuse(http.StatusBadRequest, "PlannedFailoverTimedOut",
			"The planned failover operation has rolled back because the remote server '%s' could not be reached. This may be due to a service outage. Consider using forced failover.", server)
	}
	return rolledBackFor(database)
}

func rolledBackFor(database string) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "PlannedFailoverTimedOutForDatabase",
		"The planned failover operation has rolled back because database '%s' could not be synchronized with its remote partner. This may be due to a service outage, or to a high volume of write traffic. Consider using forced failover.", database)
}

func (s *Service) requireAllInStep(ctx context.Context, links []Link) error {
	for _, link := range links {
		if err := s.requireInStep(ctx, link); err != nil {
			return err
		}
	}
	return nil
}

// requireInStep refuses a planned failover of a database whose replica is
// suspended or being seeded, or cannot be opened by its own server.
func (s *Service) requireInStep(ctx context.Context, link Link) error {
	if status, known := s.instances.LinkStatus(link.ID); known && status.Undoing {
		return duringUndo()
	}
	if err := s.outOfReach(link.Primary, link.Secondary); err != nil {
		return unreachablePartner(err)
	}
	if err := s.requireOnline(link.Primary); err != nil {
		return rolledBackFor(link.Primary.Database)
	}
	server, err := s.readServer(link.Secondary.Server)
	if err != nil {
		return err
	}
	boot, seeded := s.instances.Boot(link.Secondary)
	if !seeded {
		return rolledBackFor(link.Secondary.Database)
	}
	if boot.DEK == nil {
		return nil
	}
	plain, err := s.openDEK(ctx, server, *boot.DEK)
	if err != nil {
		s.Log.Info("failover.replica_does_not_open", "server", server.Name, "database", link.Secondary.Database, "error", err)
		return rolledBackFor(link.Secondary.Database)
	}
	clear(plain)
	return nil
}

// splitName takes a replica's name, server/database, apart.
func splitName(name string) (database, server string) {
	server, database, _ = strings.Cut(name, "/")
	return database, server
}
