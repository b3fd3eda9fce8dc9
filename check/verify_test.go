package check_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/check"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

// copyOfShared is the shared key's material in another vault.
const copyOfShared = "https://testcopy.vault.azure.net/keys/shared/1"

// copyOfSubham likewise.
const copyOfSubham = "https://testcopy.vault.azure.net/keys/subham/1"

// moved is the article's end: one key per region, all keys everywhere.
func moved() *tdetest.World {
	w := tdetest.Article()
	for _, server := range []string{first, second} {
		w.Register(server, key(tdetest.Subham))
		w.Register(server, key(tdetest.Tey))
	}
	w.SetProtector(first, key(tdetest.Subham), false)
	w.SetProtector(second, key(tdetest.Tey), false)
	w.Settle()
	return w
}

func row(t *testing.T, v check.Verification, server, database string) check.DatabaseRow {
	t.Helper()
	for _, r := range v.Databases {
		if r.Server == server && r.Database == database {
			return r
		}
	}
	t.Fatalf("no row for %s on %s in %+v", database, server, v.Databases)
	return check.DatabaseRow{}
}

func TestVerifyTheArticlesEnd(t *testing.T) {
	w := moved()
	v := check.Verify(w.Topology, onePerRegion(), tdetest.Now())
	if !v.OK || len(v.Findings) > 0 {
		t.Fatalf("not ok: %+v", v.Findings)
	}
	want := check.DatabaseRow{
		Server: second, Role: "Secondary", Primary: first, Database: "orders", State: 3,
		EncryptorType: tde.EncryptorAsymmetricKey, ExpectedType: tde.EncryptorAsymmetricKey,
		Thumbprint: tdetest.Thumbprint(tdetest.Subham), ExpectedThumbprint: tdetest.Thumbprint(tdetest.Subham),
		Key: key(tdetest.Subham), Verdict: check.OK, Encryption: w.AtDatabase(second, "orders").Encryption,
	}
	if diff := cmp.Diff(want, row(t, v, second, "orders")); diff != "" {
		t.Errorf("the replica is wrapped by the primary's protector: %s", diff)
	}
	if len(v.Databases) != 6 || len(v.Servers) != 2 || len(v.Keys) != 4 {
		t.Errorf("%d databases, %d servers, %d keys", len(v.Databases), len(v.Servers), len(v.Keys))
	}
	if diff := cmp.Diff([]string{"Primary of " + tdetest.Group}, v.Servers[0].Roles); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyFollowsAFailover(t *testing.T) {
	w := moved()
	w.Failover(tdetest.Group, second)
	v := check.Verify(w.Topology, nil, tdetest.Now())
	if v.OK || len(byRule(v.Findings, check.RuleWrappedByOther)) != 6 {
		t.Fatalf("before the DEKs have followed: ok %v, %+v", v.OK, v.Findings)
	}
	w.Settle()
	v = check.Verify(w.Topology, onePerRegion(), tdetest.Now())
	if !v.OK {
		t.Fatalf("afterwards: %+v", v.Findings)
	}
	if got := row(t, v, first, "orders"); got.Role != "Secondary" || got.Key != key(tdetest.Tey) {
		t.Errorf("the old primary's replica: %+v", got)
	}
}

func TestVerifyFails(t *testing.T) {
	tests := []struct {
		name    string
		rule    string
		server  string
		change  func(w *tdetest.World)
		verdict check.Verdict // of orders on the second server; empty: ok
	}{
		{"a protector is not the desired one", check.RuleProtectorDiffers, second, func(w *tdetest.World) { w.SetProtector(second, key(tdetest.Shared), false) }, ""},
		{"auto-rotation is not as desired", check.RuleProtectorDiffers, second, func(w *tdetest.World) { w.SetProtector(second, key(tdetest.Tey), true) }, ""},
		{"a partner has not the key", check.RuleKeyNotRegistered, first, func(w *tdetest.World) { w.Deregister(first, key(tdetest.Tey)) }, ""},
		{"a partner may not use the key", check.RuleKeyNotUsable, first, func(w *tdetest.World) { w.Revoke(first, "testanu2") }, ""},
		{"a partner's identity is gone", check.RuleIdentityMissing, first, func(w *tdetest.World) { w.At(first).Identity = tde.Identity{}; w.Grants = nil }, ""},
		{"a key is disabled", check.RuleKeyDisabled, "", func(w *tdetest.World) { w.AtKey(key(tdetest.Tey)).Enabled = false }, ""},
		{"the replica is wrapped by its own server's protector", check.RuleWrappedByOther, second, func(w *tdetest.World) { w.Wrap(second, "orders", w.At(second).Protector) }, check.Wrong},
		{"the replica still has the old key", check.RuleWrappedByOther, second, func(w *tdetest.World) {
			w.AtDatabase(second, "orders").Encryption.Thumbprint = tdetest.Thumbprint(tdetest.Shared)
		}, check.Wrong},
		{"the replica is wrapped by a certificate", check.RuleEncryptorType, second, func(w *tdetest.World) { w.Wrap(second, "orders", tde.Protector{}) }, check.Wrong},
		{"a key change is in progress", check.RuleChangeInProgress, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Encryption.State = 6 }, check.InProgress},
		{"the replica is being encrypted", check.RuleChangeInProgress, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Encryption.State = 2 }, check.InProgress},
		{"the replica is not encrypted", check.RuleNotEncrypted, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Encryption.State = 1 }, check.Wrong},
		{"the replica is Inaccessible", check.RuleInaccessible, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Status = "Inaccessible" }, check.Wrong},
		{"the state was not read", check.RuleEncryptionUnread, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Encryption = nil }, check.NotRead},
		{"the replica's thumbprint was not read", check.RuleThumbprintUnknown, second, func(w *tdetest.World) { w.AtDatabase(second, "orders").Encryption.Thumbprint = "" }, check.NotRead},
		{"the protector's thumbprint was not read", check.RuleThumbprintUnknown, first, func(w *tdetest.World) {
			w.At(first).Protector.Thumbprint, w.At(first).Keys[1].Thumbprint = "", ""
		}, check.NotRead},
		{"the replica was not seen", check.RuleReplicaNotRead, second, func(w *tdetest.World) {
			s := w.At(second)
			s.Databases = slices.DeleteFunc(s.Databases, func(d tde.Database) bool { return d.Name == "orders" })
		}, check.NotRead},
		{"something was not read", check.RuleUnread, first, func(w *tdetest.World) { w.Unread = []tde.Unread{{What: "x", Server: first}} }, ""},
		{"a linked server was not seen", check.RuleServerNotObserved, "gone", func(w *tdetest.World) { w.AddLink(first, "gone", "orders", "") }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := moved()
			tt.change(w)
			desired := onePerRegion()
			desired[second] = check.DesiredProtector{Key: key(tdetest.Tey), AutoRotation: flag(false)}
			v := check.Verify(w.Topology, desired, tdetest.Now())
			found := byRule(v.Findings, tt.rule)
			if v.OK || len(found) == 0 {
				t.Fatalf("ok %v, findings %+v", v.OK, v.Findings)
			}
			if found[0].Server != tt.server || found[0].Cure == "" || found[0].Command == "" {
				t.Errorf("the finding: %+v", found[0])
			}
			want := tt.verdict
			if want == "" {
				want = check.OK
			}
			if got := row(t, v, second, "orders").Verdict; got != want {
				t.Errorf("orders on the second server is judged %q, want %q", got, want)
			}
		})
	}
}

func TestVerifyPasses(t *testing.T) {
	tests := []struct {
		name    string
		desired check.Desired
		change  func(w *tdetest.World)
	}{
		{"the material of another vault in the partner's place", onePerRegion(), func(w *tdetest.World) {
			copied := key("https://testcopy.vault.azure.net/keys/tey/1")
			w.AddKey(copied, tdetest.Tey)
			w.Grant(first, "testcopy")
			w.Register(first, copied)
			w.Deregister(first, key(tdetest.Tey))
		}},
		{"auto-rotation has moved on from the desired version", check.Desired{first: {Key: key(tdetest.Shared), AutoRotation: flag(true)}}, func(w *tdetest.World) {
			w.AddKey(key(later), "later")
			w.AtKey(key(tdetest.Shared)).Latest = false
			for _, server := range []string{first, second} {
				w.Register(server, key(later))
			}
			w.SetProtector(first, key(later), true)
			w.Settle()
		}},
		{"whatever the protectors are, where nothing is desired", nil, func(w *tdetest.World) { w.SetProtector(second, key(tdetest.Shared), false) }},
		{"TDE off on purpose", onePerRegion(), func(w *tdetest.World) {
			for _, server := range []string{first, second} {
				d := w.AtDatabase(server, "orders")
				d.TDEState, d.Encryption = "Disabled", nil
			}
		}},
		{"a key of the database's own", onePerRegion(), func(w *tdetest.World) {
			for _, server := range []string{first, second} {
				d := w.AtDatabase(server, "orders")
				d.OwnKey, d.Encryption.Thumbprint = key("https://own.vault.azure.net/keys/own/1"), "FF"
			}
		}},
		{"a database that is not replicated, under its own server's protector", onePerRegion(), func(w *tdetest.World) {
			w.AddDatabase(second, "local")
			w.Settle()
		}},
		{"a group whose links were not listed", onePerRegion(), func(w *tdetest.World) { w.Links = nil }},
		{"service-managed on both sides, wrapped by the primary's certificate", check.Desired{first: {}, second: {}}, func(w *tdetest.World) {
			w.SetProtector(first, tde.KeyID{}, false)
			w.SetProtector(second, tde.KeyID{}, false)
			w.Settle()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := moved()
			tt.change(w)
			if v := check.Verify(w.Topology, tt.desired, tdetest.Now()); !v.OK {
				t.Fatalf("findings %+v", v.Findings)
			}
		})
	}
}

func TestVerifyTellsCertificatesApart(t *testing.T) {
	w := moved()
	w.SetProtector(first, tde.KeyID{}, false)
	w.SetProtector(second, tde.KeyID{}, false)
	w.Settle()
	w.AtDatabase(second, "orders").Encryption.Thumbprint = tdetest.Thumbprint("certificate of " + second)
	v := check.Verify(w.Topology, nil, tdetest.Now())
	if got := row(t, v, second, "orders").Verdict; v.OK || got != check.Wrong {
		t.Errorf("the secondary's own certificate is judged %q", got)
	}
	w.AtDatabase(first, "orders").Encryption = nil
	v = check.Verify(w.Topology, nil, tdetest.Now())
	if got := row(t, v, second, "orders").Verdict; v.OK || got != check.NotRead {
		t.Errorf("where the primary was not read the secondary is judged %q", got)
	}
}

func TestVerifyRowsOfWhatIsNotJudged(t *testing.T) {
	w := moved()
	own := key("https://own.vault.azure.net/keys/own/1")
	w.AtDatabase(second, "orders").OwnKey = own
	w.AddDatabase(second, "local")
	w.Settle()
	v := check.Verify(w.Topology, nil, tdetest.Now())
	if got := row(t, v, second, "orders"); got.Verdict != check.NotJudged || got.Key != own || got.ExpectedThumbprint != "" {
		t.Errorf("a database with its own key: %+v", got)
	}
	if got := row(t, v, second, "local"); got.Role != check.Standalone || got.Key != key(tdetest.Tey) || got.Verdict != check.OK {
		t.Errorf("a standalone database: %+v", got)
	}
}

func TestVerifyJudgesLoneLinks(t *testing.T) {
	w := moved()
	w.AddServer("standby", "North Europe")
	w.AddDatabase(first, "lone")
	w.AddDatabase("standby", "lone")
	w.AddLink(first, "standby", "lone", "")
	w.Settle()
	v := check.Verify(w.Topology, nil, tdetest.Now())
	if found := byRule(v.Findings, check.RuleKeyNotRegistered); v.OK || len(found) != 1 || found[0].Server != "standby" || found[0].Key != key(tdetest.Subham) {
		t.Fatalf("the link's secondary lacks the key: %+v", found)
	}
	w.Register("standby", key(tdetest.Subham))
	w.Grant("standby", "testprimarysubham")
	v = check.Verify(w.Topology, nil, tdetest.Now())
	if !v.OK {
		t.Fatalf("%+v", v.Findings)
	}
	if diff := cmp.Diff([]string{"Secondary of the link from " + first}, v.Servers[2].Roles); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyTellsWhichKeysTheLogsStillNeed(t *testing.T) {
	old := tdetest.Thumbprint(tdetest.Shared)
	still := func(w *tdetest.World, thumbprint tde.Thumbprint, active int) {
		d := w.AtDatabase(second, "orders")
		d.LogKeys = append(d.LogKeys, tde.LogKey{Thumbprint: thumbprint, Active: active, Files: active + 1})
	}
	tests := []struct {
		name     string
		change   func(w *tdetest.World)
		rule     string
		severity check.Severity
		says     string
		rows     int
	}{
		{"an old key that is registered", func(w *tdetest.World) { still(w, old, 2) }, check.RuleLogNeedsKey, check.Note, "Keep key testshared/shared/0c0ffee0… registered, enabled and permitted", 1},
		{"an old key that the server has not registered", func(w *tdetest.World) { still(w, old, 1); w.Deregister(second, key(tdetest.Shared)) }, check.RuleLogNeedsKey, check.Warning, "Register the key on the server again", 1},
		{"an old key that the server may not use any more", func(w *tdetest.World) { still(w, old, 1); w.Revoke(second, "testshared") }, check.RuleLogNeedsKey, check.Warning, "let the server's identity use it", 1},
		{"an old key that the server may not use, while it has a copy", func(w *tdetest.World) {
			still(w, old, 1)
			w.Revoke(second, "testshared")
			w.AddKey(key(copyOfShared), tdetest.Shared)
			w.Grant(second, "testcopy")
			w.Register(second, key(copyOfShared))
		}, check.RuleLogNeedsKey, check.Note, "Keep key", 1},
		{"a key that nobody knows", func(w *tdetest.World) { still(w, "AA", 1) }, check.RuleLogNeedsKey, check.Note, "register it again", 1},
		{"an old key that no active file needs", func(w *tdetest.World) { still(w, old, 0) }, "", "", "", 0},
		{"files that are not encrypted", func(w *tdetest.World) { still(w, "", 3) }, "", "", "", 0},
		{"a log that was not read", func(w *tdetest.World) { w.AtDatabase(second, "orders").LogKeys = nil }, check.RuleLogUnread, check.Note, "until the log has been read", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := moved()
			tt.change(w)
			v := check.Verify(w.Topology, onePerRegion(), tdetest.Now())
			if !v.OK {
				t.Errorf("it is no fault: %+v", v.Findings)
			}
			if diff := cmp.Diff(check.LogNeeds(w.Topology), v.Logs); diff != "" || len(v.Logs) != tt.rows {
				t.Errorf("%d rows %s", len(v.Logs), diff)
			}
			found := byRule(v.Findings, tt.rule)
			if tt.rule == "" {
				if len(v.Findings) > 0 {
					t.Errorf("%+v", v.Findings)
				}
				return
			}
			if len(found) == 0 || found[0].Severity != tt.severity || !strings.Contains(found[0].What, "orders") || !strings.Contains(found[0].Cure, tt.says) {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
}

func TestEachKeyOfTheLogsIsToldOnce(t *testing.T) {
	w := moved()
	for _, server := range []string{first, second} {
		for _, name := range []string{"billing", "orders"} {
			d := w.AtDatabase(server, name)
			d.LogKeys = append(d.LogKeys, tde.LogKey{Thumbprint: tdetest.Thumbprint(tdetest.Shared), Active: 1, Files: 1})
		}
	}
	v := check.Verify(w.Topology, nil, tdetest.Now())
	found := byRule(v.Findings, check.RuleLogNeedsKey)
	if len(found) != 1 || strings.Count(found[0].What, "database ") != 4 || len(v.Logs) != 4 {
		t.Errorf("%+v", found)
	}
}

func TestAChangeSaysHowFarItHasCome(t *testing.T) {
	w := moved()
	e := w.AtDatabase(second, "orders").Encryption
	e.State, e.Description, e.Percent = 6, "PROTECTION_CHANGE_IN_PROGRESS", 41.6
	found := byRule(check.Verify(w.Topology, nil, tdetest.Now()).Findings, check.RuleChangeInProgress)
	if len(found) != 1 || !strings.Contains(found[0].What, "state 6 (PROTECTION_CHANGE_IN_PROGRESS), 42 % done") {
		t.Errorf("%+v", found)
	}
}

func TestWhyADatabaseWasNotAsked(t *testing.T) {
	w := moved()
	d := w.AtDatabase(second, "orders")
	d.Encryption, d.SQLUnread = nil, &tde.Unread{Reason: "error 18456", Hint: "CREATE USER"}
	found := byRule(check.Verify(w.Topology, nil, tdetest.Now()).Findings, check.RuleEncryptionUnread)
	if len(found) != 1 || !strings.Contains(found[0].What, "error 18456") || found[0].Cure != "CREATE USER" {
		t.Errorf("%+v", found)
	}
	d.SQLUnread.Passing = true
	if v := check.Verify(w.Topology, nil, tdetest.Now()); v.OK || len(byRule(v.Findings, check.RuleNotAnswering)) != 1 {
		t.Errorf("%+v", v.Findings)
	}
	d.SQLUnread, d.Status = nil, "Paused"
	found = byRule(check.Verify(w.Topology, nil, tdetest.Now()).Findings, check.RuleEncryptionUnread)
	if len(found) != 1 || !strings.Contains(found[0].What, "since it is Paused") {
		t.Errorf("%+v", found)
	}
}

// A partner that has registered the key itself and lost its right to it is not
// helped by a copy; one that has only the copy is.
func TestVerifyTakesNoCopyOfAKeyThatIsRegistered(t *testing.T) {
	w := moved()
	w.AddKey(key(copyOfSubham), tdetest.Subham)
	w.Grant(second, "testcopy")
	w.Register(second, key(copyOfSubham))
	w.Revoke(second, "testprimarysubham")
	v := check.Verify(w.Topology, nil, tdetest.Now())
	found := byRule(v.Findings, check.RuleMissingGrant)
	if v.OK || len(found) != 1 || found[0].Server != second || found[0].Key != key(tdetest.Subham) || !strings.Contains(found[0].What, "its copy testcopy/subham") {
		t.Errorf("%+v", v.Findings)
	}
	for _, r := range v.Keys {
		if r.Server == second && r.Key == key(tdetest.Subham) && (r.Via != r.Key || r.Usable || r.Verdict != check.Wrong) {
			t.Errorf("%+v", r)
		}
	}
	w.Deregister(second, key(tdetest.Subham))
	if v := check.Verify(w.Topology, nil, tdetest.Now()); !v.OK {
		t.Errorf("with the copy alone: %+v", v.Findings)
	}
}
