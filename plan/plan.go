// Package plan derives the minimal ordered steps that bring the servers of a
// geo-linked component from the TDE protectors they have to those that are
// wanted, so that at every instant every server can use every key that wraps a
// DEK or that a failover would make wrap one. Registrations come first
// everywhere; then protectors change one at a time. The package is pure: no
// I/O, no clock; its functions are safe for concurrent use.
package plan

import (
	"time"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
)

// Desired names the wanted protector by server.
type Desired = check.Desired

// DesiredProtector is the protector that a server is to have.
type DesiredProtector = check.DesiredProtector

// SchemaVersion is the version of the plan file's form.
const SchemaVersion = 1

// Plan is what has to be done, in order, and what stands against it.
type Plan struct {
	SchemaVersion int       `json:"schemaVersion"`
	Group         string    `json:"group,omitempty"` // the failover group; empty for a lone server
	CreatedAt     time.Time `json:"createdAt"`
	// Fingerprint is that of the topology from which the plan was made; where
	// it differs, the world has changed since.
	Fingerprint string          `json:"fingerprint"`
	Targets     []Target        `json:"targets"` // by server
	Steps       []Step          `json:"steps"`
	Findings    []check.Finding `json:"findings"`
	// Effects say what the plan does beyond the group: a protector belongs to
	// the server, and so to everything else that the server holds.
	Effects []string `json:"effects"`
	// Proof is what exploring every state said when the plan was made; nil in
	// a plan that was not proved. Whoever carries the plan out proves it again
	// from what is there then.
	Proof *Proof `json:"proof,omitempty"`
}

// Blocked reports whether a finding forbids to carry the plan out.
func (p Plan) Blocked() bool { return check.Blocked(p.Findings) }

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Desired gives the plan's targets in the form that check.Verify takes.
func (p Plan) Desired() Desired {
	desired := Desired{}
	for _, t := range p.Targets {
		wanted := DesiredProtector{Key: t.Key}
		if !t.Key.IsZero() {
			auto := t.AutoRotation
			wanted.AutoRotation = &auto
		}
		desired[t.Server] = wanted
	}
	return desired
}

// Target is a server's protector before and after.
type Target struct {
	Server             string    `json:"server"`
	Key                tde.KeyID `json:"key"` // empty for service-managed
	AutoRotation       bool      `json:"autoRotation"`
	BeforeKey          tde.KeyID `json:"beforeKey"`
	BeforeAutoRotation bool      `json:"beforeAutoRotation"`
}

// Kind says what a step does.
type Kind string

// The kinds of steps.
const (
	// Grant gives a server's identity get, wrapKey and unwrapKey on all keys
	// of a vault. It takes effect after some ten minutes.
	Grant Kind = "Grant"
	// Register puts a key among a server's keys; no protector changes.
	Register Kind = "Register"
	// SetProtector makes Key the server's protector; no key: service-managed.
	SetProtector Kind = "SetProtector"
	// VerifyEncryption waits until every DEK is wrapped as the protectors
	// demand, on every side; it changes nothing.
	VerifyEncryption Kind = "VerifyEncryption"
	// PlannedFailover makes Server the primary of Group, without data loss.
	PlannedFailover Kind = "PlannedFailover"
)

// Step is one call, or one wait. Which fields are set depends on the kind.
type Step struct {
	Number        int       `json:"number"` // from 1, without gaps
	Kind          Kind      `json:"kind"`
	Server        string    `json:"server,omitempty"`
	ResourceGroup string    `json:"resourceGroup,omitempty"` // of the server
	Subscription  string    `json:"subscription,omitempty"`  // of the server
	Key           tde.KeyID `json:"key"`
	AutoRotation  bool      `json:"autoRotation"`
	VaultID       string    `json:"vaultId,omitempty"`
	VaultName     string    `json:"vaultName,omitempty"`
	PrincipalID   string    `json:"principalId,omitempty"`
	RBAC          bool      `json:"rbac"` // the grant is a role assignment, not an access policy
	Group         string    `json:"group,omitempty"`
	Reason        string    `json:"reason"`
	Before        string    `json:"before"` // the state before, in words
	PreState      PreState  `json:"preState"`
	After         string    `json:"after"` // what must be seen afterwards
	Undo          string    `json:"undo"`  // how it is undone, or why it cannot be
	WayBack       bool      `json:"wayBack"`
	Command       string    `json:"command,omitempty"` // the az command that does the same
	// DependsOn lists the steps that must be done before this one; steps that
	// do not depend on each other may run at the same time.
	DependsOn []int `json:"dependsOn,omitempty"`
}

// PreState is the state from which a step starts, for a program to compare.
// What counts depends on the step's kind.
type PreState struct {
	Protector    tde.KeyID `json:"protector"`         // SetProtector: the key before; empty for service-managed
	AutoRotation bool      `json:"autoRotation"`      // SetProtector: the setting before
	Primary      string    `json:"primary,omitempty"` // PlannedFailover: the group's primary before
}

// Options say what a plan may contain and when it is made.
type Options struct {
	Group    string // the failover group; empty takes the topology's
	Grant    bool   // plan missing grants instead of reporting them
	Drill    bool   // end with a planned failover, verified
	Failback bool   // end the drill with a failover back
	// Unverified leaves out that the databases are asked after each failover
	// which key wraps their DEKs, for who has no access to them.
	Unverified bool
	Now        time.Time
}

// DesireError says that the desired protectors, or the options, make no sense
// for the topology.
type DesireError struct {
	What string
	Hint string
}

// Error gives what is wrong; Hint is for the line below it.
func (e *DesireError) Error() string { return e.What }
