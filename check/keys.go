package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/tde"
)

// keys judges every key that is in use or is to be used.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) keys() {
	for _, r := range j.needed() {
		if r.Use.Versionless() {
			j.versionless(r)
		}
		k, seen := j.topology.Resolve(r.Use)
		if !seen {
			j.notObserved(r.Use)
			continue
		}
		j.keyState(k, strings.Join(r.Owners, " and "))
		if r.Change {
			j.keyShape(r.Use, k)
		}
	}
}

// versionless ids are not planned with: what they stand for changes by itself,
// so neither a plan nor a proof could rest on them.
func (j *judge) versionless(r Requirement) {
	f := Finding{
		Rule: RuleKeyVersionless, Severity: Warning, Server: r.Server, Key: r.Use,
		What: fmt.Sprintf("key id %s names no version; the service takes whatever version is newest, so a plan cannot say what it will be", r.Use),
		Cure: "Name a version.",
		Command: az("keyvault", "key", "show", "--vault-name", r.Use.Vault(), "--name", r.Use.Name,
			"--query", "key.kid", "--output", "tsv"),
	}
	if newest, ok := j.topology.Newest(r.Use); ok {
		f.Cure = fmt.Sprintf("Name a version; the newest is %s.", newest.ID)
	}
	if r.Change {
		f.Severity = Blocker
	}
	j.add(f)
}

func (j *judge) notObserved(id tde.KeyID) {
	if _, known := j.topology.Vault(id.Host); !known {
		return // the vault's finding says it for all its keys
	}
	j.add(Finding{
		Rule: RuleKeyNotObserved, Severity: Blocker, Key: id,
		What:    fmt.Sprintf("key %s was not seen in its vault: it does not exist, is deleted, or could not be read", id),
		Cure:    "Check the id; recover the key if it is deleted; else give the reading identity the right to get keys.",
		Command: az("keyvault", "key", "show", "--id", id.String()),
	})
}

// keyState judges what decides whether a key can be used at all.
func (j *judge) keyState(k tde.VaultKey, owners string) {
	block := func(rule, what, cure, command string) {
		j.add(Finding{Rule: rule, Severity: Blocker, Key: k.ID, What: what, Cure: cure, Command: command})
	}
	name := k.ID.Short()
	if !k.Enabled {
		block(RuleKeyDisabled, fmt.Sprintf("key %s of %s is disabled; databases that need it become Inaccessible", name, owners),
			"Enable the key.", azKey(k.ID, "--enabled", "true"))
	}
	switch {
	case expired(k, j.now):
		block(RuleKeyExpired, fmt.Sprintf("key %s of %s expired on %s; Azure SQL refuses an expired key", name, owners, utc(*k.Expires)),
			"Set a later expiry date.", azKey(k.ID, "--expires", utc(j.now.AddDate(2, 0, 0))))
	case k.Expires != nil && k.Expires.Sub(j.now) < ExpiresSoon:
		j.add(Finding{
			Rule: RuleKeyExpiresSoon, Severity: Warning, Key: k.ID,
			What:    fmt.Sprintf("key %s of %s expires on %s, in less than 30 days; its databases become Inaccessible then", name, owners, utc(*k.Expires)),
			Cure:    "Set a later expiry date, or rotate the key and plan with its new version.",
			Command: azKey(k.ID, "--expires", utc(j.now.AddDate(2, 0, 0))),
		})
	}
	if notYetActive(k, j.now) {
		block(RuleKeyNotYetActive, fmt.Sprintf("key %s of %s is active only from %s; Azure SQL refuses it before", name, owners, utc(*k.NotBefore)),
			"Wait until then or set an earlier activation date.", azKey(k.ID, "--not-before", utc(j.now)))
	}
	if lacking := lackingOperations(k); len(lacking) > 0 {
		ops := append(slices.Clone(k.Operations), lacking...)
		block(RuleKeyOperations, fmt.Sprintf("key %s of %s does not permit %s, with which the DEK is wrapped and unwrapped", name, owners, strings.Join(lacking, " and ")),
			"Permit the operations on the key.", azKey(k.ID, slices.Concat([]string{"--ops"}, ops)...))
	}
}

// keyShape judges what Azure asks of a key only when it is registered or made
// protector (AzureKeyVaultRsaKeyNotSupported, and the limit on names).
func (j *judge) keyShape(id tde.KeyID, k tde.VaultKey) {
	rsa := k.Type == "RSA" || k.Type == "RSA-HSM"
	if !rsa || (k.Bits != 2048 && k.Bits != 3072) {
		kind := "RSA"
		if strings.HasSuffix(k.Type, "-HSM") {
			kind = "RSA-HSM"
		}
		j.add(Finding{
			Rule: RuleKeyUnsupported, Severity: Blocker, Key: id,
			What:    fmt.Sprintf("key %s is %s of %d bits; a TDE protector is RSA or RSA-HSM of 2048 or 3072 bits", id.Short(), k.Type, k.Bits),
			Cure:    "Make a version of a supported type and size and plan with that.",
			Command: az("keyvault", "key", "create", "--vault-name", id.Vault(), "--name", id.Name, "--kty", kind, "--size", "3072"),
		})
	}
	if length := len(id.Vault()) + len(id.Name); length > tde.MaxServerKeyNameLength {
		j.add(Finding{
			Rule: RuleKeyNameTooLong, Severity: Blocker, Key: id,
			What: fmt.Sprintf("vault name and key name of %s have %d characters together; a server key's may have %d",
				id, length, tde.MaxServerKeyNameLength),
			Cure:    "Make a key of a shorter name and plan with that.",
			Command: az("keyvault", "key", "create", "--vault-name", id.Vault(), "--name", id.Name[:tde.MaxServerKeyNameLength-len(id.Vault())], "--kty", "RSA", "--size", strconv.Itoa(3072)),
		})
	}
}

// targets: a protector can only be set to the newest enabled version of its key
// (OldGenerationOfAKVKeyBeingUsedError).
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) targets() {
	for _, s := range j.topology.Servers {
		target := j.target[s.Name]
		k, seen := j.topology.Resolve(target.Key)
		if !seen || k.Latest || !k.Enabled { // a disabled key has a finding of its own
			continue
		}
		f := Finding{
			Rule: RuleKeyNotNewest, Severity: Warning, Server: s.Name, Key: k.ID,
			What:    fmt.Sprintf("the protector of %s is %s, and its vault holds a newer enabled version of that key; there is no way back to the old version once it is left", s.Name, k.ID.Short()),
			Cure:    "Plan a move to the newest version when it suits.",
			Command: az("keyvault", "key", "list-versions", "--vault-name", k.ID.Vault(), "--name", k.ID.Name),
		}
		if newest, ok := j.topology.Newest(k.ID); ok {
			f.Cure = fmt.Sprintf("Plan with the newest version, %s.", newest.ID)
		}
		switch {
		case j.moving[s.Name]:
			f.Severity = Blocker
			f.What = fmt.Sprintf("key %s, wanted as protector of %s, is not the newest enabled version of its key; Azure refuses it with OldGenerationOfAKVKeyBeingUsedError", k.ID, s.Name)
		case target.AutoRotation:
			f.Severity = Note
			f.Cure = "Nothing to do: auto-rotation moves the protector within 24 hours."
			f.Command = ""
		}
		j.add(f)
	}
}
