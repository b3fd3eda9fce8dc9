package authorization

import (
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/store"
)

// AuthorizeDataAt is AuthorizeData at another moment of the lab's time, by the
// assignments that are on record now.
func (s *Service) AuthorizeDataAt(tx *store.Tx, caller entra.Claims, action, scope string, at time.Time) (bool, error) {
	return s.allowed(tx, caller, action, scope, func(a assignment) bool { return a.countsAt(at) }, true)
}

// Turns are the moments after one and up to another at which an assignment
// comes into force, or the deletion of one does.
func (s *Service) Turns(tx *store.Tx, after, until time.Time) (turns []time.Time, err error) {
	entries, err := s.assignments.Scan(tx, "")
	for _, entry := range entries {
		moments := []time.Time{entry.Record.InForce}
		if entry.Record.Deleted {
			moments = append(moments, entry.Record.EndsAt)
		}
		for _, at := range moments {
			if at.After(after) && !at.After(until) {
				turns = append(turns, at)
			}
		}
	}
	return turns, err
}

func (a assignment) countsAt(at time.Time) bool {
	return !a.InForce.After(at) && (!a.Deleted || a.EndsAt.After(at))
}
