package check_test

import (
	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func rotationCases() []preflightCase {
	return []preflightCase{
		{
			name: "wanted on one side of a shared key", rule: check.RuleAutoRotationOneSide, severity: check.Blocker, server: second, key: tdetest.Subham,
			command: "az sql server tde-key set --server-key-type AzureKeyVault --kid " + tdetest.Subham + " --auto-rotation-enabled true --resource-group harshitha_lab --server " + second,
			change: func(s *situation) {
				s.desired = check.Desired{
					first:  {Key: key(tdetest.Subham), AutoRotation: flag(true)},
					second: {Key: key(tdetest.Subham), AutoRotation: flag(false)},
				}
			},
		},
		{
			name: "there already, and nothing is wanted", rule: check.RuleAutoRotationOneSide, severity: check.Warning, server: second, key: tdetest.Shared, command: "tde-key set",
			change: func(s *situation) { s.SetProtector(first, key(tdetest.Shared), true); s.desired = nil },
		},
		{
			name: "there already, and on the way out", rule: check.RuleAutoRotationOneSide, severity: check.Warning, server: first, key: tdetest.Shared, command: "--server " + first,
			change: func(s *situation) { s.SetProtector(second, key(tdetest.Shared), true) },
		},
		{
			name: "on both sides", rule: check.RuleAutoRotationOneSide,
			change: func(s *situation) {
				s.desired = check.Desired{
					first:  {Key: key(tdetest.Subham), AutoRotation: flag(true)},
					second: {Key: key(tdetest.Subham), AutoRotation: flag(true)},
				}
			},
		},
		{
			name: "on one side of different keys", rule: check.RuleAutoRotationOneSide,
			change: func(s *situation) {
				s.desired[first] = check.DesiredProtector{Key: key(tdetest.Subham), AutoRotation: flag(true)}
			},
		},
		{
			name: "the partner has only the material", rule: check.RuleAutoRotationURI, severity: check.Warning, server: first, key: tdetest.Tey,
			command: "az sql server key create --kid " + tdetest.Tey + " --resource-group harshitha_lab --server " + first,
			change:  func(s *situation) { copyOnFirst(s, true) },
		},
		{name: "without auto-rotation the material is enough", rule: check.RuleAutoRotationURI, change: func(s *situation) { copyOnFirst(s, false) }},
		{
			name: "the partner has the key itself too", rule: check.RuleAutoRotationURI,
			change: func(s *situation) { copyOnFirst(s, true); s.Register(first, key(tdetest.Tey)) },
		},
	}
}

// copyOnFirst registers an imported copy of the second server's key.
func copyOnFirst(s *situation, auto bool) {
	copied := key("https://testcopy.vault.azure.net/keys/tey/1")
	s.AddKey(copied, tdetest.Tey)
	s.Grant(first, "testcopy")
	s.Register(first, copied)
	s.desired[second] = check.DesiredProtector{Key: key(tdetest.Tey), AutoRotation: flag(auto)}
}

func databaseCases() []preflightCase {
	orders := func(change func(d *tde.Database)) func(s *situation) {
		return func(s *situation) { change(s.AtDatabase(second, "orders")) }
	}
	return []preflightCase{
		{
			name: "a key change", rule: check.RuleChangeInProgress, severity: check.Blocker, server: second, database: "orders", command: "az sql db tde show --database orders",
			change: orders(func(d *tde.Database) { d.Encryption.State = 4 }),
		},
		{
			name: "a protection change", rule: check.RuleChangeInProgress, severity: check.Blocker, server: second, database: "orders", command: "tde show",
			change: orders(func(d *tde.Database) { d.Encryption.State = 6 }),
		},
		{name: "none", rule: check.RuleChangeInProgress, change: func(*situation) {}},
		{
			name: "a replica lost its key", rule: check.RuleInaccessible, severity: check.Blocker, server: second, database: "orders", key: tdetest.Shared,
			command: "az rest --method post --url '/subscriptions/" + tdetest.Subscription + "/resourceGroups/harshitha_lab/providers/Microsoft.Sql/servers/" + second + "/encryptionProtector/current/revalidate?api-version=",
			change:  orders(func(d *tde.Database) { d.Status = "Inaccessible" }),
		},
		{name: "online", rule: check.RuleInaccessible, change: func(*situation) {}},
		{
			name: "paused", rule: check.RuleNotOnline, severity: check.Warning, server: second, database: "orders", command: "az sql db show --name orders",
			change: orders(func(d *tde.Database) { d.Status = "Paused" }),
		},
		{name: "online", rule: check.RuleNotOnline, change: orders(func(d *tde.Database) { d.Status = "online" })},
		{
			name: "on a primary", rule: check.RuleTDEDisabled, severity: check.Warning, server: first, database: "orders", command: "az sql db tde set --database orders --status Enabled",
			change: func(s *situation) { s.AtDatabase(first, "orders").TDEState = "Disabled" },
		},
		{name: "the replica's own setting says nothing", rule: check.RuleTDEDisabled, change: orders(func(d *tde.Database) { d.TDEState = "Disabled" })},
		{
			name: "a database with a key of its own", rule: check.RuleDatabaseLevelKey, severity: check.Note, server: second, database: "orders", key: tdetest.Tey,
			change: orders(func(d *tde.Database) { d.OwnKey = key(tdetest.Tey) }),
		},
		{name: "none", rule: check.RuleDatabaseLevelKey, change: func(*situation) {}},
		{
			name: "not read", rule: check.RuleEncryptionUnread, severity: check.Warning, server: second, database: "orders", command: "tde show",
			change: orders(func(d *tde.Database) { d.Encryption = nil }),
		},
		{
			name: "not there, since TDE is off", rule: check.RuleEncryptionUnread,
			change: orders(func(d *tde.Database) { d.Encryption, d.TDEState = nil, "Disabled" }),
		},
		{
			name: "a thumbprint that no server knows", rule: check.RuleWrappingKeyUnknown, severity: check.Blocker, server: second, database: "orders", command: "az sql server key list --resource-group harshitha_lab --server " + second,
			change: orders(func(d *tde.Database) { d.Encryption.Thumbprint = tdetest.Thumbprint("lost") }),
		},
		{
			name: "a key that is registered on the partner alone is planned for", rule: check.RuleWrappingKeyUnknown,
			change: func(s *situation) {
				s.Register(first, key(tdetest.Subham))
				s.AtDatabase(second, "orders").Encryption.Thumbprint = tdetest.Thumbprint(tdetest.Subham)
			},
		},
		{
			name: "thumbprints of registered keys that were not read", rule: check.RuleWrappingKeyUnknown,
			change: func(s *situation) {
				s.AtDatabase(second, "orders").Encryption.Thumbprint = tdetest.Thumbprint("lost")
				s.At(second).Keys[0].Thumbprint = ""
			},
		},
		{
			name: "a certificate has no registered key", rule: check.RuleWrappingKeyUnknown,
			change: func(s *situation) { s.Wrap(second, "orders", tde.Protector{}) },
		},
	}
}
