package keyvault

import (
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// planRotation puts the next automatic rotation of a key on the list of due
// tasks.
func (s *Service) planRotation(tx *store.Tx, vaultName string, key keyRecord) error {
	at, rotating := key.nextRotation()
	if !rotating {
		return nil
	}
	return s.plan(tx, dueTask{At: at, Kind: rotates, Vault: vaultName, Key: key.Name})
}

// planRotations does so for all keys of a vault that has been recovered.
func (s *Service) planRotations(tx *store.Tx, v vault) error {
	keys, err := s.keys.Scan(tx, keyID(v.Name, ""))
	if err != nil {
		return err
	}
	for _, entry := range keys {
		if err := s.planRotation(tx, v.Name, entry.Record); err != nil {
			return err
		}
	}
	return nil
}

// nextRotation is when the key's latest version is to be rotated.
func (k keyRecord) nextRotation() (time.Time, bool) {
	if k.Deleted != nil || len(k.Versions) == 0 {
		return time.Time{}, false
	}
	latest, expires := k.latest(), int64(0)
	if latest.Expires != nil {
		expires = *latest.Expires
	}
	return k.Policy.rotationAfter(latest.Created, expires)
}

// maxMissed bounds the versions that are made up for when the clock has
// jumped over many rotations: the newest are made, the earlier left out.
const maxMissed = 12

// missedRotations are the moments up to now at which the key was to be
// rotated, each following from the one before, the newest maxMissed of them.
func (k keyRecord) missedRotations(now time.Time) []time.Time {
	var missed []time.Time
	at, rotating := k.nextRotation()
	for rotating && !at.After(now) {
		missed = append(missed, at)
		if len(missed) > maxMissed {
			missed = missed[1:]
		}
		next, again := k.Policy.rotationAfter(at.Unix(), k.Policy.expiryOf(at))
		at, rotating = next, again && next.After(at)
	}
	return missed
}

// carryOutRotation makes the versions that the policy asked for up to now.
func (s *Service) carryOutRotation(task dueTask, now time.Time) error {
	view, err := s.view(task.Vault, task.Key)
	if err != nil {
		return err
	}
	missed := view.key.missedRotations(now)
	if !view.vaultFound || !view.keyFound {
		missed = nil
	}
	versions := make([]keyVersion, 0, len(missed))
	latest := keyVersion{}
	if len(missed) > 0 {
		latest = view.key.latest()
	}
	for _, at := range missed {
		next := s.successor(latest, view.key.Policy, at)
		private, err := s.generateLike(latest)
		if err != nil {
			return err
		}
		next.Public = publicOf(private)
		if next.Sealed, err = s.seal(private, view.vault.Name, view.key.Name, next.ID); err != nil {
			return err
		}
		versions = append(versions, next)
		latest = next
	}
	return s.Store.Update(func(tx *store.Tx) error {
		if err := s.forget(tx, task); err != nil || len(versions) == 0 {
			return err
		}
		return s.appendRotated(tx, task, view, versions)
	})
}

// appendRotated adds automatically made versions, unless the key has changed
// since they were made: then its rotation is planned anew.
func (s *Service) appendRotated(tx *store.Tx, task dueTask, view *keyView, versions []keyVersion) error {
	v, found, err := s.vaults.Get(tx, strings.ToLower(task.Vault))
	if err != nil || !found || v.Deleted != nil {
		return err
	}
	key, found, err := s.keys.Get(tx, keyID(task.Vault, task.Key))
	if err != nil || !found || key.Deleted != nil {
		return err
	}
	if len(key.Versions) != len(view.key.Versions) || key.latest().ID != view.key.latest().ID {
		return s.planRotation(tx, task.Vault, key)
	}
	key.Versions = append(key.Versions, versions...)
	s.Log.Info("key.rotated", "vault", task.Vault, "key", key.Name, "version", key.latest().ID)
	if err := s.saveKey(tx, task.Vault, key); err != nil {
		return err
	}
	if at, rotating := key.nextRotation(); !rotating || at.Unix() <= key.latest().Created {
		return nil // a policy that would rotate without end
	}
	return s.planRotation(tx, task.Vault, key)
}
