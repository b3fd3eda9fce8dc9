package keyvault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

func deletedVaultNotFound(name string) *arm.Error {
	return arm.Refuse(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", name)
}

func (s *Service) deleteVault(_ context.Context, r *arm.Request) (*arm.Response, error) {
	status := http.StatusOK
	err := s.Store.Update(func(tx *store.Tx) error {
		v, err := s.findVault(tx, r)
		if refusal, ok := errors.AsType[*arm.Error](err); ok && refusal.Status == http.StatusNotFound {
			status = http.StatusNoContent
			return nil
		}
		if err != nil {
			return err
		}
		return s.softDelete(tx, v)
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status}, nil
}

func (s *Service) softDelete(tx *store.Tx, v vault) error {
	v.Deleted = v.deletedAt(s.Clock.Now())
	if err := s.saveVault(tx, v); err != nil {
		return err
	}
	return s.plan(tx, dueTask{At: v.Deleted.PurgeAt, Kind: purgesVault, Vault: v.Name})
}

// recoverVault brings a soft-deleted vault back as it was, in its own group.
func (s *Service) recoverVault(tx *store.Tx, v vault, r *arm.Request) (vault, error) {
	if v.Purging {
		return vault{}, arm.Refuse(http.StatusConflict, "ConflictError", "The vault '%s' is currently being deleted.", v.Name)
	}
	if !v.in(r.Param("subscriptionId"), r.Param("resourceGroupName")) {
		return vault{}, badRequest("The deleted vault '%s' can be recovered only in its resource group '%s'.", v.Name, v.ResourceGroup)
	}
	v.Deleted = nil
	v.Modified = stamp{By: r.Caller.AppID, At: s.Clock.Now()}
	if err := s.saveVault(tx, v); err != nil {
		return vault{}, err
	}
	return v, s.planRotations(tx, v)
}

func (s *Service) findDeletedVault(tx *store.Tx, r *arm.Request) (vault, error) {
	name := r.Param("vaultName")
	v, found, err := s.vaults.Get(tx, strings.ToLower(name))
	if err != nil {
		return vault{}, err
	}
	region, _ := arm.FindRegion(r.Param("location"))
	if !found || v.Deleted == nil || v.Location != region.Name || !strings.EqualFold(v.Subscription, r.Param("subscriptionId")) {
		return vault{}, deletedVaultNotFound(name)
	}
	return v, nil
}

func (s *Service) getDeletedVault(_ context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var v vault
	err := s.Store.View(func(tx *store.Tx) (err error) {
		v, err = s.findDeletedVault(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(deletedBodyOf(v)), nil
}

func (s *Service) listDeletedVaults(_ context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var items []any
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.vaults.Scan(tx, "")
		for _, entry := range entries {
			if v := entry.Record; v.Deleted != nil && strings.EqualFold(v.Subscription, r.Param("subscriptionId")) {
				items = append(items, deletedBodyOf(v))
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return page(r, items)
}

// purgeOperation is the kind of the operation that purges a vault.
const purgeOperation = "PurgeDeletedVault"

// purgePause is how long clients were seen to wait between two polls.
const purgePause = 5 * time.Second

func (s *Service) purgeVault(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	var op arm.Operation
	err := s.Store.Update(func(tx *store.Tx) error {
		v, err := s.findDeletedVault(tx, r)
		if err != nil {
			return err
		}
		if v.purgeProtected() {
			return arm.Refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed.")
		}
		if v.Purging {
			return arm.Refuse(http.StatusConflict, "ConflictError", "The vault '%s' is currently being deleted.", v.Name)
		}
		v.Purging = true
		if err := s.saveVault(tx, v); err != nil {
			return err
		}
		op, err = s.Operations.Begin(tx, arm.Operation{
			Kind: purgeOperation, Provider: Namespace, Subscription: v.Subscription, Location: v.Location, APIVersion: r.APIVersion,
			Resource: deletedBodyOf(v).ID, Takes: s.Latency.Of(purgeOperation), RetryAfter: purgePause,
		}, v.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	if op.Takes == 0 {
		s.Operations.Settle(ctx, op.ID, purgePause)
	}
	return &arm.Response{Status: http.StatusAccepted, Header: s.purgeHeader(r, op)}, nil
}

func (s *Service) executePurge(_ context.Context, op arm.Operation) (arm.Commit, error) {
	var name string
	if err := op.Decode(&name); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		v, found, err := s.vaults.Get(tx, strings.ToLower(name))
		if err != nil || !found || v.Deleted == nil {
			return err // its retention ended meanwhile
		}
		return s.removeVault(tx, v)
	}, nil
}

// removeVault deletes a vault for good, with all its keys.
func (s *Service) removeVault(tx *store.Tx, v vault) error {
	keys, err := s.keys.Scan(tx, keyID(v.Name, ""))
	if err != nil {
		return err
	}
	for _, entry := range keys {
		if err := s.removeKey(tx, v.Name, entry.Record.Name); err != nil {
			return err
		}
	}
	tx.OnCommit(s.changed)
	return s.vaults.Delete(tx, strings.ToLower(v.Name))
}

// pollPurge answers the Location of a purge, in the shape of Key Vault's own
// resource provider, which is not that of Azure SQL.
func (s *Service) pollPurge(_ context.Context, r *arm.Request) (*arm.Response, error) {
	id := r.Param("operationId")
	var op arm.Operation
	err := s.Store.View(func(tx *store.Tx) error {
		found := false
		var err error
		op, found, err = s.Operations.Find(tx, id)
		if err == nil && (!found || op.Kind != purgeOperation || !strings.EqualFold(op.Subscription, r.Param("subscriptionId"))) {
			return arm.Refuse(http.StatusNotFound, "OperationNotFound", "The operation '%s' was not found.", id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	body := purgeStatus{Created: spaced(op.StartedAt), Status: "NotStarted"}
	if op.Status == arm.InProgress {
		return &arm.Response{Status: http.StatusAccepted, Header: s.purgeHeader(r, op), Body: body}, nil
	}
	body.LastAction, body.Status = spaced(op.EndedAt), op.Status
	return arm.OK(body), nil
}

type purgeStatus struct {
	Created    string `json:"createdDateTime"`
	LastAction string `json:"lastActionDateTime,omitempty"`
	Status     string `json:"status"`
}

func spaced(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func (s *Service) purgeHeader(r *arm.Request, op arm.Operation) http.Header {
	header := http.Header{}
	header.Set("Location", fmt.Sprintf("https://%s/subscriptions/%s/providers/%s/locations/%s/operationResults/%s?api-version=%s",
		r.HTTP.Host, op.Subscription, Namespace, op.Location, op.ID, op.APIVersion))
	pause := s.Latency.RetryAfter(op.RetryAfter)
	header.Set("Retry-After", fmt.Sprint(max(int64((pause+time.Second-1)/time.Second), 1)))
	if s.Latency.Faster() {
		header.Set("retry-after-ms", fmt.Sprint(pause.Milliseconds()))
	}
	return header
}
