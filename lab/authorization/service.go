package authorization

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// PrincipalFinder finds service principals of the tenant.
type PrincipalFinder interface {
	FindPrincipal(tx *store.Tx, objectID string) (entra.Principal, bool, error)
}

// Options are what the service needs.
type Options struct {
	Store      *store.Store
	Clock      *clock.Clock
	Latency    latency.Profile
	NewID      func() string
	Principals PrincipalFinder
	Log        *slog.Logger
}

// Service is the provider. It is safe for concurrent use.
type Service struct {
	Options
	roles       map[string]role // built-in ones, by GUID
	custom      store.Table[role]
	assignments store.Table[assignment]
}

// assignment gives a role to a principal at a scope. A deleted one is kept
// while it still has its effect on data planes.
type assignment struct {
	Name      string    `json:"name"` // GUID
	Scope     string    `json:"scope"`
	Principal string    `json:"principal"`
	Type      string    `json:"type"`
	Role      string    `json:"role"` // GUID
	Created   time.Time `json:"created"`
	// InForce is when it reaches data planes; EndsAt when a deleted one leaves
	// them, zero for one that stands.
	InForce time.Time `json:"inForce"`
	EndsAt  time.Time `json:"endsAt"`
	Deleted bool      `json:"deleted,omitempty"`
}

// New makes the service.
func New(o Options) *Service {
	s := &Service{
		Options: o, roles: map[string]role{}, custom: store.NewTable[role]("authorization/roles"),
		assignments: store.NewTable[assignment]("authorization/assignments"),
	}
	for _, r := range builtIn() {
		s.roles[r.ID] = r
	}
	return s
}

// assignmentKey orders assignments by principal, since every call asks for
// those of its caller.
func assignmentKey(principal, name string) string {
	return strings.ToLower(principal) + "/" + strings.ToLower(name)
}

// Authorize reports whether the caller holds a control-plane action at a
// scope. Assignments count at once.
func (s *Service) Authorize(tx *store.Tx, caller entra.Claims, action, scope string) (bool, error) {
	return s.allowed(tx, caller, action, scope, func(a assignment) bool { return !a.Deleted }, false)
}

// AuthorizeData reports whether the caller holds a data action at a scope.
// Assignments and their deletion take some ten minutes to count.
// Source: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected
func (s *Service) AuthorizeData(tx *store.Tx, caller entra.Claims, action, scope string) (bool, error) {
	now := s.Clock.Now()
	inForce := func(a assignment) bool { return !a.InForce.After(now) && (!a.Deleted || a.EndsAt.After(now)) }
	return s.allowed(tx, caller, action, scope, inForce, true)
}

func (s *Service) allowed(tx *store.Tx, caller entra.Claims, action, scope string, counts func(assignment) bool, data bool) (bool, error) {
	entries, err := s.assignments.Scan(tx, strings.ToLower(caller.ObjectID)+"/")
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		if !counts(entry.Record) || !within(scope, entry.Record.Scope) {
			continue
		}
		r, known, err := s.role(tx, entry.Record.Role)
		if err != nil {
			return false, err
		}
		if known && r.allows(action, data) {
			return true, nil
		}
	}
	return false, nil
}

// role finds a role by its GUID.
func (s *Service) role(tx *store.Tx, id string) (role, bool, error) {
	if r, known := s.roles[strings.ToLower(id)]; known {
		return r, true, nil
	}
	return s.custom.Get(tx, strings.ToLower(id))
}

// allRoles lists built-in and custom roles.
func (s *Service) allRoles(tx *store.Tx) ([]role, error) {
	roles := builtIn()
	entries, err := s.custom.Scan(tx, "")
	for _, entry := range entries {
		roles = append(roles, entry.Record)
	}
	return roles, err
}

// Assign gives a role, by its name, to a principal at a scope, in force at
// once: the starting point of a lab.
func (s *Service) Assign(tx *store.Tx, principal, roleName, scope string) error {
	roles, err := s.allRoles(tx)
	if err != nil {
		return err
	}
	for _, r := range roles {
		if strings.EqualFold(r.Name, roleName) {
			now := s.Clock.Now()
			a := assignment{Name: s.NewID(), Scope: scope, Principal: principal, Type: "ServicePrincipal", Role: r.ID, Created: now, InForce: now}
			return s.assignments.Put(tx, assignmentKey(principal, a.Name), a)
		}
	}
	return fmt.Errorf("assign role %q: there is no such role", roleName)
}
