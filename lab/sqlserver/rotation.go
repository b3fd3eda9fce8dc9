package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// rotateProtector is the operation that moves a protector to a newer version of
// its key; nobody's call begins it.
const rotateProtector = "RotateLogicalServerEncryptionProtector"

// rotationEvery is the usual Options.RotationEvery.
const rotationEvery = 24 * time.Hour

// rotationRetry is the time until a look that came to nothing, since the vault
// did not answer or the protector was busy, is repeated.
const rotationRetry = 10 * time.Minute

// rotator moves protectors with automatic rotation to newer versions of their
// keys. It wakes when a look is due and when a protector begins to rotate.
type rotator struct {
	s    *Service
	wake chan struct{}
	work sync.WaitGroup
}

func newRotator(s *Service) *rotator { return &rotator{s: s, wake: make(chan struct{}, 1)} }

func (r *rotator) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (r *rotator) run(ctx context.Context) {
	r.work.Go(func() {
		for ctx.Err() == nil {
			waitFor(ctx, r.s.Clock, r.round(ctx), r.wake)
		}
	})
}

// round looks for newer versions where that is due, and says when it next is.
func (r *rotator) round(ctx context.Context) time.Time {
	now := r.s.Clock.Now()
	next := now.Add(r.s.RotationEvery)
	servers, err := r.rotating()
	if err != nil {
		r.s.Log.Error("rotation.failed", "error", err)
		return now.Add(rotationRetry)
	}
	for _, server := range servers {
		due := server.LookedAt.Add(r.s.RotationEvery)
		if !due.After(now) {
			due = now.Add(r.s.RotationEvery)
			if err := r.look(ctx, server); err != nil {
				r.s.Log.Warn("rotation.put_off", "server", server.Name, "error", err)
				due = now.Add(rotationRetry)
			}
		}
		if due.Before(next) {
			next = due
		}
	}
	return next
}

// rotating are the servers whose protector rotates by itself.
func (r *rotator) rotating() (servers []Server, err error) {
	err = r.s.Store.View(func(tx *store.Tx) error {
		entries, err := r.s.servers.Scan(tx, "")
		for _, entry := range entries {
			if entry.Record.Protector.AutoRotation {
				servers = append(servers, entry.Record)
			}
		}
		return err
	})
	return servers, err
}

// rotation is what the operation carries.
type rotation struct{ Server, From, To string }

// look begins the move to a newer version, where there is one.
func (r *rotator) look(ctx context.Context, server Server) error {
	s := r.s
	newer, err := s.newerVersion(ctx, server)
	if err != nil {
		return err
	}
	return s.Store.Update(func(tx *store.Tx) error {
		now, err := s.mustServer(tx, server.Name)
		if err != nil || now.Protector != server.Protector {
			return err // dropped, or changed: looked at another time
		}
		now.LookedAt = s.Clock.Now()
		if err := s.servers.Put(tx, now.key(), now); err != nil || newer == "" {
			return err
		}
		if _, busy, err := s.Operations.Busy(tx, protectorHold(now)); err != nil || busy {
			return errors.Join(err, fmt.Errorf("the protector of %s is busy", now.Name))
		}
		_, err = s.Operations.Begin(tx, arm.Operation{
			Kind: rotateProtector, Provider: Namespace, Resource: now.ID() + "/encryptionProtector/current",
			Holds: []string{protectorHold(now)}, Takes: s.Latency.Of(upsertProtector),
		}, rotation{Server: now.Name, From: now.Protector.URI, To: newer})
		return err
	})
}

// newerVersion is the newest enabled version of the server's protector; empty
// where that is the protector itself or older.
func (s *Service) newerVersion(ctx context.Context, server Server) (string, error) {
	latest, err := s.latestVersion(ctx, server, server.Protector.URI)
	if err != nil || latest == "" || strings.EqualFold(latest, server.Protector.URI) {
		return "", err
	}
	principal, err := s.principalOf(server)
	if err != nil {
		return "", err
	}
	is, err := s.Vault.Get(ctx, principal, server.Protector.URI)
	if err != nil {
		return "", s.keyRefusal(server, server.Protector.URI, err)
	}
	other, err := s.Vault.Get(ctx, principal, latest)
	if err != nil {
		return "", s.keyRefusal(server, latest, err)
	}
	if other.Created.Before(is.Created) {
		return "", nil // the protector is disabled, and what is not is older
	}
	return latest, nil
}

// executeRotate registers the newer version on the server and on those that it
// is linked with, and makes it the protector. Where one of them cannot take
// part nothing changes, and the next look tries again.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (s *Service) executeRotate(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var move rotation
	if err := op.Decode(&move); err != nil {
		return nil, err
	}
	server, err := s.readServer(move.Server)
	if err != nil {
		return nil, err
	}
	partners, thumbprint, err := s.checkRotation(ctx, server, move.To)
	if refusal, refused := errors.AsType[*arm.Error](err); refused {
		return func(tx *store.Tx) error {
			return s.record(tx, Event{Operation: eventRotation, Status: "Failed", Server: server.Name, Detail: fmt.Sprintf("to %s: %s: %s", move.To, refusal.Code, refusal.Message)})
		}, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := tde.ParseKeyID(move.To)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		for _, each := range append(partners, server) {
			if err := s.register(tx, keyPayload{Server: each.Name, Name: key.ServerKeyName(), URI: move.To}, thumbprint, s.Clock.Now()); err != nil {
				return err
			}
		}
		wanted := Protector{URI: move.To, KeyName: key.ServerKeyName(), AutoRotation: true}
		if err := s.setProtector(tx, protectorPayload{Server: server.Name, Protector: wanted}); err != nil {
			return err
		}
		return s.record(tx, Event{Operation: eventRotation, Status: "Succeeded", Server: server.Name, Detail: fmt.Sprintf("from %s to %s", move.From, move.To)})
	}, nil
}

// checkRotation checks that the server and all that hold copies of its
// databases can take the newer version; it gives those, and the version's
// thumbprint.
func (s *Service) checkRotation(ctx context.Context, server Server, to string) ([]Server, string, error) {
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return nil, "", err
	}
	info, err := s.examineKey(ctx, server, to)
	if err != nil {
		return nil, "", err
	}
	now, err := s.registeredKey(server, server.Protector.KeyName)
	if err != nil {
		return nil, "", err
	}
	partners, err := s.partnersInRotation(server)
	if err != nil {
		return nil, "", err
	}
	for _, partner := range partners {
		if p := partner.Protector; !p.AutoRotation && strings.EqualFold(p.URI, server.Protector.URI) {
			return nil, "", arm.Refuse(http.StatusConflict, "AutoRotationOnOneSide",
				"The server '%s' has the same key as protector without automatic rotation.", partner.Name)
		}
		keys, err := s.partnerKeys(partner, server.Protector, now.Thumbprint)
		if err != nil {
			return nil, "", err
		}
		if err := errors.Join(s.probeAny(ctx, partner, keys), s.probeKey(ctx, partner, to)); err != nil {
			return nil, "", err
		}
	}
	return partners, info.Thumbprint, nil
}

// partnersInRotation are the servers that hold copies of the server's
// databases, in whichever roles: any of them may come to open what the newer
// version wraps.
func (s *Service) partnersInRotation(server Server) (partners []Server, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		entries, err := s.links.Scan(tx, "")
		if err != nil {
			return err
		}
		var links []Link
		for _, entry := range entries {
			links = append(links, entry.Record)
		}
		for _, name := range partnersOf(server.key(), links) {
			partner, err := s.mustServer(tx, name)
			if err != nil {
				return err
			}
			partners = append(partners, partner)
		}
		return nil
	})
	return partners, err
}
