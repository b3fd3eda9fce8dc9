package check

import (
	"slices"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// Desired names, by server, the protectors that are wanted. A server that is
// not named keeps the protector it has.
type Desired map[string]DesiredProtector

// DesiredProtector is the protector that a server is to have.
type DesiredProtector struct {
	Key tde.KeyID `json:"key"` // zero for service-managed
	// AutoRotation nil keeps the server's present setting; a service-managed
	// protector has none.
	AutoRotation *bool `json:"autoRotation,omitempty"`
}

// For finds the desire for a server, without regard to case.
func (d Desired) For(server string) (DesiredProtector, bool) {
	for _, name := range d.Servers() {
		if strings.EqualFold(name, server) {
			return d[name], true
		}
	}
	return DesiredProtector{}, false
}

// Servers are the names of the servers with a desire, sorted.
func (d Desired) Servers() []string {
	names := make([]string, 0, len(d))
	for name := range d {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Target is the protector that a server of the topology has when the desires
// are met. Where auto-rotation has carried the server on to a newer version of
// the desired key, that version is the target: the service would undo anything
// else. The thumbprint is set only where the key is already the protector.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func Target(t tde.Topology, s tde.Server, desired Desired) tde.Protector {
	want, named := desired.For(s.Name)
	if !named {
		return s.Protector
	}
	target := tde.Protector{Key: t.Canonical(want.Key)}
	if target.ServiceManaged() {
		return target
	}
	target.AutoRotation = s.Protector.AutoRotation && !s.Protector.ServiceManaged()
	if want.AutoRotation != nil {
		target.AutoRotation = *want.AutoRotation
	}
	if target.AutoRotation && rotatedOn(t, s.Protector, target.Key) {
		target.Key = s.Protector.Key
	}
	if target.Key == s.Protector.Key {
		target.Thumbprint = s.Protector.Thumbprint
	}
	return target
}

// rotatedOn reports whether auto-rotation has made a newer version of the
// wanted key the protector.
func rotatedOn(t tde.Topology, now tde.Protector, wanted tde.KeyID) bool {
	newest, seen := t.Newest(wanted)
	return now.AutoRotation && seen && newest.ID == now.Key
}

// Changes reports whether a server's protector has to be set to reach target.
func Changes(s tde.Server, target tde.Protector) bool {
	if target.ServiceManaged() {
		return !s.Protector.ServiceManaged()
	}
	return s.Protector.Key != target.Key || s.Protector.AutoRotation != target.AutoRotation
}
