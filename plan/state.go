package plan

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// Reached reports whether the topology shows what the step is to bring about,
// so that it need not be done (again). It may be asked once the steps are done
// on which the step depends: before a drill, a failback looks reached. A
// verification is reached when every DEK was read and is as it must be.
func (s Step) Reached(t tde.Topology) bool {
	switch s.Kind {
	case Grant:
		return reachedGrant(s, t)
	case Register:
		server, ok := t.Server(s.Server)
		_, listed := server.Registered(s.Key)
		return ok && listed
	case SetProtector:
		server, ok := t.Server(s.Server)
		return ok && server.Protector.Key == s.Key && (s.Key.IsZero() || server.Protector.AutoRotation == s.AutoRotation)
	case VerifyEncryption:
		return check.Verify(t, nil, t.ReadAt).OK
	case PlannedFailover:
		g, ok := t.FailoverGroup(s.Group)
		return ok && g.DisagreementOnMember == "" && strings.EqualFold(g.Primary(), s.Server)
	}
	return false
}

// reachedGrant looks for what the grant gives, however it is given: the rights
// on every key of the vault.
func reachedGrant(s Step, t tde.Topology) bool {
	var get, wrap, unwrap bool
	for _, g := range t.Grants {
		if strings.EqualFold(g.Server, s.Server) && strings.EqualFold(g.Vault, s.VaultName) && g.Key == "" {
			get, wrap, unwrap = get || g.Get, wrap || g.Wrap, unwrap || g.Unwrap
		}
	}
	return get && wrap && unwrap
}

// CheckBefore compares the topology with the state from which the step starts
// and returns an error that says what has changed. A step whose outcome is
// already there passes.
func (s Step) CheckBefore(t tde.Topology) error {
	if s.Reached(t) || s.Kind == VerifyEncryption {
		return nil
	}
	server, ok := t.Server(s.Server)
	if !ok {
		return fmt.Errorf("step %d: server %s is no longer there", s.Number, s.Server)
	}
	switch s.Kind {
	case Grant:
		if server.Identity.PrincipalID != s.PrincipalID {
			return fmt.Errorf("step %d: the identity of %s is now %s, not %s", s.Number, s.Server, server.Identity.PrincipalID, s.PrincipalID)
		}
	case SetProtector:
		was := tde.Protector{Key: s.PreState.Protector, AutoRotation: s.PreState.AutoRotation}
		is := tde.Protector{Key: server.Protector.Key, AutoRotation: server.Protector.AutoRotation}
		if is != was {
			return fmt.Errorf("step %d: the protector of %s is now %s, not %s", s.Number, s.Server, describe(is), describe(was))
		}
		if _, registered := server.Registered(s.Key); !s.Key.IsZero() && !registered {
			return fmt.Errorf("step %d: key %s is not registered on %s", s.Number, s.Key.Short(), s.Server)
		}
	case PlannedFailover:
		g, _ := t.FailoverGroup(s.Group)
		if !strings.EqualFold(g.Primary(), s.PreState.Primary) {
			return fmt.Errorf("step %d: the primary of %s is now %s, not %s", s.Number, s.Group, g.Primary(), s.PreState.Primary)
		}
	case Register, VerifyEncryption:
	}
	return nil
}
