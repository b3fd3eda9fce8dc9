package keyvault

import (
	"math"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/store"
)

// dueTask is something that the service does by itself when its time has
// come: the end of a retention, the rotation of a key. Tasks are carried out
// before the first answer after that time, with that time's stamps, so that
// nobody can tell it from their being done at once. A task that no longer
// fits the record is nothing to do.
type dueTask struct {
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	Vault string    `json:"vault"`
	Key   string    `json:"key,omitempty"`
}

// The kinds of due tasks.
const (
	purgesVault = "purgeVault"
	purgesKey   = "purgeKey"
	rotates     = "rotate"
)

// id orders tasks by time.
func (t dueTask) id() string {
	return t.At.UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + t.Kind + " " + keyID(t.Vault, t.Key)
}

// plan puts a task on the list; one that is there already is the same.
func (s *Service) plan(tx *store.Tx, task dueTask) error {
	tx.OnCommit(s.changed)
	return s.due.Put(tx, task.id(), task)
}

// settle carries out the tasks whose time has come. Where there are none,
// which is nearly always, it costs a look at the clock.
func (s *Service) settle() error {
	now := s.Clock.Now()
	next, err := s.nextDue()
	if err != nil || next.After(now) {
		return err
	}
	s.settling.Lock()
	defer s.settling.Unlock()
	for {
		var ready []store.Entry[dueTask]
		err := s.Store.View(func(tx *store.Tx) (err error) {
			ready, err = s.due.Scan(tx, "")
			return err
		})
		if err != nil || len(ready) == 0 || ready[0].Record.At.After(now) {
			return err
		}
		if err := s.carryOut(ready[0].Record, now); err != nil {
			return err
		}
	}
}

// nextDue is when the first task is due; in the far future when there is
// none.
func (s *Service) nextDue() (time.Time, error) {
	generation := s.generation.Load()
	if next := s.views.nextDue(generation); next != nil {
		return *next, nil
	}
	next := time.Unix(math.MaxInt32*100, 0)
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.due.Scan(tx, "")
		if len(entries) > 0 {
			next = entries[0].Record.At
		}
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	s.views.setNextDue(generation, next)
	return next, nil
}

func (c *viewCache) nextDue(generation uint64) *time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at(generation) {
		return nil
	}
	return c.next
}

func (c *viewCache) setNextDue(generation uint64, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at(generation) {
		c.next = &next
	}
}

func (s *Service) carryOut(task dueTask, now time.Time) error {
	if task.Kind == rotates {
		return s.carryOutRotation(task, now)
	}
	return s.Store.Update(func(tx *store.Tx) error {
		if err := s.forget(tx, task); err != nil {
			return err
		}
		v, found, err := s.vaults.Get(tx, strings.ToLower(task.Vault))
		if err != nil || !found {
			return err
		}
		if task.Kind == purgesVault {
			if v.Deleted == nil || v.Deleted.PurgeAt.After(now) {
				return nil
			}
			return s.removeVault(tx, v)
		}
		key, found, err := s.keys.Get(tx, keyID(task.Vault, task.Key))
		if err != nil || !found || key.Deleted == nil || key.Deleted.PurgeAt.After(now) {
			return err
		}
		return s.removeKey(tx, task.Vault, key.Name)
	})
}

// forget takes a task off the list.
func (s *Service) forget(tx *store.Tx, task dueTask) error {
	tx.OnCommit(s.changed)
	return s.due.Delete(tx, task.id())
}
