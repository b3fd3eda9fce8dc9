// Package check judges one observation of a geo-linked component. Preflight
// says what stands between a topology and the protectors that a plan wants;
// Verify says whether the encryption is as the protectors demand. Both return
// findings that name the cure and the command for it. The package does no I/O
// and reads no clock; its functions are safe for concurrent use.
package check

import (
	"cmp"
	"slices"

	"github.com/crosskeys/crosskeys/tde"
)

// Severity says how much a finding weighs.
type Severity string

// The severities, heaviest first.
const (
	// Blocker stops a plan: Azure would refuse a step, a safety rule would
	// not hold, or the judgement rests on something that was not read.
	Blocker Severity = "blocker"
	// Warning does not stop a plan, but somebody should act on it.
	Warning Severity = "warning"
	// Note tells what a reader would else have to find out.
	Note Severity = "note"
)

// rank orders severities, heaviest first.
func (s Severity) rank() int {
	return slices.Index([]Severity{Blocker, Warning, Note}, s)
}

// Finding is one thing that was judged and is not as it should be.
type Finding struct {
	Rule     string    `json:"rule"` // one of the Rule constants; stable
	Severity Severity  `json:"severity"`
	Server   string    `json:"server,omitempty"`
	Key      tde.KeyID `json:"key,omitzero"`
	Database string    `json:"database,omitempty"`
	What     string    `json:"what"` // what is wrong and why it matters
	Cure     string    `json:"cure"` // one sentence
	// Command is the az command that cures it or, where no command can, the
	// one that shows it. It is complete; notes have none.
	Command string `json:"command,omitempty"`
}

// The rules of Preflight. The texts are part of the tool's output and stable.
const (
	RuleUnread              = "not-read"
	RuleServerNotObserved   = "linked-server-not-observed"
	RuleRolesDisagree       = "failover-group-roles-disagree"
	RuleGroupBusy           = "failover-group-busy"
	RuleReplication         = "replication-not-in-catch-up"
	RuleGeoChain            = "geo-replication-chain"
	RuleIdentityMissing     = "server-identity-missing"
	RuleMissingGrant        = "missing-grant"
	RuleVaultNotObserved    = "vault-not-observed"
	RulePurgeProtection     = "vault-purge-protection-off"
	RuleSoftDelete          = "vault-soft-delete-off"
	RuleVaultFirewall       = "vault-firewall-without-trusted-services"
	RuleVaultShared         = "vault-shared"
	RuleKeyNotObserved      = "key-not-observed"
	RuleKeyDisabled         = "key-disabled"
	RuleKeyExpired          = "key-expired"
	RuleKeyNotYetActive     = "key-not-yet-active"
	RuleKeyExpiresSoon      = "key-expires-soon"
	RuleKeyNotNewest        = "key-not-newest-version"
	RuleKeyUnsupported      = "key-type-or-size-unsupported"
	RuleKeyOperations       = "key-operations-lacking"
	RuleKeyNameTooLong      = "server-key-name-too-long"
	RuleKeyVersionless      = "key-id-versionless"
	RuleKeySameInRegions    = "same-key-in-both-regions"
	RuleAutoRotationOneSide = "auto-rotation-one-sided"
	RuleAutoRotationURI     = "auto-rotation-needs-same-key-uri"
	RuleChangeInProgress    = "change-in-progress"
	RuleInaccessible        = "database-inaccessible"
	RuleNotOnline           = "database-not-online"
	RuleTDEDisabled         = "database-tde-disabled"
	RuleDatabaseLevelKey    = "database-level-key"
	RuleEncryptionUnread    = "encryption-state-not-read"
	RuleWrappingKeyUnknown  = "wrapping-key-not-registered"
)

// The rules that only Verify has; it shares some of the others.
const (
	RuleProtectorDiffers  = "protector-differs"
	RuleKeyNotRegistered  = "key-not-registered"
	RuleKeyNotUsable      = "key-not-usable"
	RuleWrappedByOther    = "wrapped-by-other-key"
	RuleEncryptorType     = "encryptor-type-differs"
	RuleNotEncrypted      = "database-not-encrypted"
	RuleReplicaNotRead    = "replica-not-read"
	RuleThumbprintUnknown = "thumbprint-not-read"
	RuleLogNeedsKey       = "log-needs-key"
	RuleLogUnread         = "log-not-read"
	RuleNotAnswering      = "database-not-answering"
)

// Blocked reports whether any finding stops a plan.
func Blocked(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Blocker })
}

// sorted puts findings into a stable order, heaviest first, and drops repeats.
func sorted(findings []Finding) []Finding {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Server, b.Server),
			cmp.Compare(a.Key.String(), b.Key.String()),
			cmp.Compare(a.Database, b.Database),
			cmp.Compare(a.What, b.What),
		)
	})
	return slices.Compact(findings)
}
