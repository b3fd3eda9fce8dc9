// Package lab is a local Azure, faithful on the wire and real underneath:
// tokens that are checked, vault keys that really wrap and unwrap, servers
// and failover groups that refuse what Azure refuses. Start hands any Go test
// a running one; the command "crosskeys lab" runs one beside other programs.
// It listens on loopback only.
package lab

import (
	"context"
	"crypto/rsa"
	"log/slog"
	"net"
	"time"

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
	// SQLAddr is the loopback address that SQL clients connect to, whichever
	// server they mean; empty: a free port.
	SQLAddr string
	// Network is where the lab listens, and dials its own front door; nil: the
	// machine's loopback. With lab/memnet it needs no socket.
	Network Network
	// NewRSA makes the RSA keys of the vaults and of the tenant, of a size in
	// bits, each time another; nil generates them, which takes a while.
	NewRSA func(bits int) (*rsa.PrivateKey, error)
	// Latency is how long operations take.
	Latency latency.Profile
	// FreeSecondaryFlip lets a geo-secondary change its own protector to a key
	// that its primary does not have; see docs/parity.md.
	FreeSecondaryFlip bool
	// RotationEvery is how often, on the lab's clock, newer versions of keys are
	// looked for that protectors with automatic rotation are moved to; zero: 24
	// hours. See docs/parity.md.
	RotationEvery time.Duration
	// Faults is a text of faults that are in force from the start; see package
	// lab/fault and docs/faults.md. Empty: those that an earlier lab on Dir left.
	Faults string

	unwatched bool // no monitor: to measure what it costs
	// Log receives the lab's own events; nil drops them.
	Log *slog.Logger
}

// Network opens loopback addresses and connects to them, by TCP or in memory.
type Network interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// listen is nil where sockets are to be opened.
func (o Options) listen() func(ctx context.Context, address string) (net.Listener, error) {
	if o.Network == nil {
		return nil
	}
	return o.Network.Listen
}

// dialer gives what dials address, whatever it is asked for; empty: what it is
// asked for. It is nil where a transport's own dialer will do.
func (o Options) dialer(address string) func(ctx context.Context, network, asked string) (net.Conn, error) {
	socket := &net.Dialer{Timeout: 5 * time.Second}
	if o.Network == nil && address == "" {
		return nil
	}
	return func(ctx context.Context, network, asked string) (net.Conn, error) {
		if address != "" {
			asked = address
		}
		if o.Network == nil {
			return socket.DialContext(ctx, network, asked)
		}
		return o.Network.Dial(ctx, asked)
	}
}

// The lab's fixed names: one tenant, one subscription.
const (
	TenantID       = "11111111-1111-4111-8111-111111111111"
	TenantDomain   = "crosskeyslab.onmicrosoft.com"
	SubscriptionID = "22222222-2222-4222-8222-222222222222"
	ClientID       = "33333333-3333-4333-8333-333333333333"
)
