package plan_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// simulator carries out a plan's steps on a world, with Azure's guards written
// down once more, apart from the planner's own reasoning.
type simulator struct {
	*tdetest.World
	now time.Time
	// wraps is the key that wraps the DEK of each replica; a world shows no more
	// than its thumbprint.
	wraps map[replica]tde.KeyID
}

type replica struct{ server, database string }

// simulate begins in a world, and takes what wraps each DEK from it.
func simulate(w *tdetest.World) simulator {
	s := simulator{World: w, now: tdetest.Now(), wraps: map[replica]tde.KeyID{}}
	for _, server := range w.Servers {
		for _, d := range server.Databases {
			holders := s.holders(server.Name, d.Name)
			for _, at := range holders {
				if e := s.AtDatabase(at, d.Name).Encryption; e.EncryptorType != tde.EncryptorCertificate {
					s.wraps[replica{at, d.Name}] = s.wrapping(holders, at, e.Thumbprint)
				}
			}
		}
	}
	return s
}

// holders are the servers with a replica of the database whose primary is on
// the server, that one first; none where it is a secondary.
func (s simulator) holders(server, database string) []string {
	holders := []string{server}
	for _, l := range s.Links {
		if l.Primary == server && l.Database == database {
			holders = append(holders, l.Secondary)
		}
		if l.Secondary == server && l.PartnerDatabase == database {
			return nil
		}
	}
	return holders
}

// settle lets every protector reach every DEK.
func (s simulator) settle() {
	s.Settle()
	for _, server := range s.Servers {
		for _, d := range server.Databases {
			for _, at := range s.holders(server.Name, d.Name) {
				s.wraps[replica{at, d.Name}] = server.Protector.Key
			}
		}
	}
}

// usable: the identity has the rights and the key can be used at all.
func (s simulator) usable(server string, id tde.KeyID) bool {
	k, seen := s.Key(id)
	v, known := s.Vault(id.Host)
	if !seen || !known || !k.Enabled || (v.FirewallOn && !v.TrustedServices) {
		return false
	}
	for _, g := range s.Grants {
		if g.Server == server && g.Vault == v.Name && (g.Key == "" || g.Key == id.Name) && g.Complete() {
			return true
		}
	}
	return false
}

// opens: the server has registered the key and can use it; or, unless exact
// asks for the key itself, has not registered it and can use a registered copy.
func (s simulator) opens(server string, id tde.KeyID, exact bool) bool {
	copied := false
	for _, k := range s.At(server).Keys {
		if k.Key == id {
			return s.usable(server, id)
		}
		copied = copied || k.Thumbprint == s.material(id) && s.usable(server, k.Key)
	}
	return copied && !exact
}

// wrapping reads which key wraps a replica's DEK. Of copies, which have one
// thumbprint, it is the primary's protector; else the first that all holders can
// open, beginning with those on the replica's own server.
func (s simulator) wrapping(holders []string, at string, by tde.Thumbprint) tde.KeyID {
	if p := s.At(holders[0]).Protector; !p.ServiceManaged() && s.material(p.Key) == by {
		return p.Key
	}
	var all []tde.KeyID
	for _, server := range slices.Concat([]tde.Server{*s.At(at)}, s.Servers) {
		if p := server.Protector; !p.ServiceManaged() && s.material(p.Key) == by {
			all = append(all, p.Key)
		}
		for _, k := range server.Keys {
			if k.Thumbprint == by {
				all = append(all, k.Key)
			}
		}
	}
	for _, id := range all {
		if !slices.ContainsFunc(holders, func(h string) bool { return !s.opens(h, id, false) }) {
			return id
		}
	}
	if len(all) > 0 {
		return all[0]
	}
	return tde.KeyID{}
}

func (s simulator) material(id tde.KeyID) tde.Thumbprint {
	k, _ := s.Key(id)
	return tdetest.Thumbprint(k.Material)
}

// next is the rule Next for one server's protector.
func (s simulator) next(server string, p tde.Protector) error {
	if p.ServiceManaged() {
		return nil
	}
	if !s.opens(server, p.Key, true) {
		return fmt.Errorf("%s cannot use its own protector %s", server, p.Key.Short())
	}
	for _, partner := range s.Partners(server) {
		if !s.opens(partner, p.Key, p.AutoRotation) {
			return fmt.Errorf("SameKeyMaterialNotFoundOnRemoteServer: %s lacks %s of %s", partner, p.Key.Short(), server)
		}
	}
	return nil
}

// open is the rule Open for the databases whose primary is on the server: what
// wraps any replica can be opened by every server that holds one.
func (s simulator) open(server string) error {
	for _, d := range s.At(server).Databases {
		holders := s.holders(server, d.Name)
		for _, at := range holders {
			by := s.wraps[replica{at, d.Name}]
			if by.IsZero() {
				continue
			}
			for _, holder := range holders {
				if !s.opens(holder, by, false) {
					return fmt.Errorf("%s cannot open %s, which is wrapped by %s on %s", holder, d.Name, by.Short(), at)
				}
			}
		}
	}
	return nil
}

// rules are Open and Next for the whole component.
func (s simulator) rules() error {
	for _, server := range s.Servers {
		if err := s.next(server.Name, server.Protector); err != nil {
			return err
		}
		if err := s.open(server.Name); err != nil {
			return err
		}
	}
	return nil
}

// do carries out one step or refuses it as Azure would. A protector change
// reaches the DEKs only when they are verified.
func (s simulator) do(step plan.Step) error {
	if err := step.CheckBefore(s.Topology); err != nil {
		return err
	}
	switch step.Kind {
	case plan.Grant:
		s.Grant(step.Server, step.VaultName)
	case plan.Register:
		if !s.usable(step.Server, step.Key) {
			return fmt.Errorf("AzureKeyVaultMissingPermissions: %s on %s", step.Server, step.Key.Short())
		}
		s.Register(step.Server, step.Key)
	case plan.SetProtector:
		return s.flip(step)
	case plan.VerifyEncryption:
		// What is on its way arrives only where the old key can still be used.
		for _, server := range s.Servers {
			if err := s.open(server.Name); err != nil {
				return err
			}
		}
		s.settle()
	case plan.PlannedFailover:
		if err := s.rules(); err != nil {
			return err
		}
		s.Failover(step.Group, step.Server)
	}
	if !step.Reached(s.Topology) {
		return fmt.Errorf("step %d is done and not reached: %+v", step.Number, step)
	}
	return nil
}

func (s simulator) flip(step plan.Step) error {
	// What the server gives up must be in order first: the change unwraps with
	// it, and a failover in the middle of the change needs it everywhere.
	if err := s.next(step.Server, s.At(step.Server).Protector); err != nil {
		return fmt.Errorf("the old protector: %w", err)
	}
	if err := s.open(step.Server); err != nil {
		return err
	}
	if !step.Key.IsZero() {
		if k, seen := s.Key(step.Key); !seen || !k.Latest {
			return fmt.Errorf("OldGenerationOfAKVKeyBeingUsedError: %s", step.Key.Short())
		}
		if err := s.next(step.Server, tde.Protector{Key: step.Key, AutoRotation: step.AutoRotation}); err != nil {
			return err
		}
	}
	s.SetProtector(step.Server, step.Key, step.AutoRotation)
	if !step.Reached(s.Topology) {
		return fmt.Errorf("step %d is done and not reached: %+v", step.Number, step)
	}
	return nil
}
