package plan_test

import (
	"fmt"
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

// opens: the server has a key of the material, registered and usable; exact
// asks for the key itself.
func (s simulator) opens(server string, material tde.Thumbprint, exact tde.KeyID) bool {
	for _, k := range s.At(server).Keys {
		if k.Thumbprint == material && (exact.IsZero() || k.Key == exact) && s.usable(server, k.Key) {
			return true
		}
	}
	return false
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
	if !s.opens(server, s.material(p.Key), p.Key) {
		return fmt.Errorf("%s cannot use its own protector %s", server, p.Key.Short())
	}
	exact := tde.KeyID{}
	if p.AutoRotation {
		exact = p.Key
	}
	for _, partner := range s.Partners(server) {
		if !s.opens(partner, s.material(p.Key), exact) {
			return fmt.Errorf("SameKeyMaterialNotFoundOnRemoteServer: %s lacks %s of %s", partner, p.Key.Short(), server)
		}
	}
	return nil
}

// open is the rule Open for the databases whose primary is on the server: what
// wraps any replica can be opened by every server that holds one.
func (s simulator) open(server string) error {
	for _, d := range s.At(server).Databases {
		holders := []string{server}
		isPrimary := true
		for _, l := range s.Links {
			if l.Primary == server && l.Database == d.Name {
				holders = append(holders, l.Secondary)
			}
			if l.Secondary == server && l.PartnerDatabase == d.Name {
				isPrimary = false
			}
		}
		if !isPrimary {
			continue
		}
		for _, at := range holders {
			e := s.AtDatabase(at, d.Name).Encryption
			if e.EncryptorType == tde.EncryptorCertificate {
				continue
			}
			for _, holder := range holders {
				if !s.opens(holder, e.Thumbprint, tde.KeyID{}) {
					return fmt.Errorf("%s cannot open %s, which is wrapped by %s on %s", holder, d.Name, e.Thumbprint.Short(), at)
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
		s.Settle()
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
