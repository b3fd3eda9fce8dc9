// Package lab is a local Azure, faithful on the wire and real underneath:
// tokens that are checked, vault keys that really wrap and unwrap, servers
// and failover groups that refuse what Azure refuses. Start hands any Go test
// a running one; the command "crosskeys lab" runs one beside other programs.
// It listens on loopback only.
package lab

import (
	"log/slog"

	"github.com/crosskeys/crosskeys/lab/latency"
)

// Options say how a lab is started. The zero value is a lab of its own in a
// temporary folder, on free ports, in which everything happens at once.
type Options struct {
	// Dir is the state folder, made where it is not there. Empty: a temporary
	// one, removed by Close.
	Dir string
	// HTTPSAddr and ProxyAddr are the loopback addresses to listen on; empty:
	// free ports.
	HTTPSAddr, ProxyAddr string
	// Latency is how long operations take.
	Latency latency.Profile
	// FreeSecondaryFlip lets a geo-secondary change its own protector to a key
	// that its primary does not have; see docs/parity.md.
	FreeSecondaryFlip bool
	// Log receives the lab's own events; nil drops them.
	Log *slog.Logger
}

// The lab's fixed names: one tenant, one subscription.
const (
	TenantID       = "11111111-1111-4111-8111-111111111111"
	TenantDomain   = "crosskeyslab.onmicrosoft.com"
	SubscriptionID = "22222222-2222-4222-8222-222222222222"
	ClientID       = "33333333-3333-4333-8333-333333333333"
)
