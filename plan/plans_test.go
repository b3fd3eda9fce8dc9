package plan_test

import (
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/tde"
	"github.com/crosskeys/crosskeys/tde/tdetest"
)

func TestPlans(t *testing.T) {
	tests := []struct {
		name    string
		desired plan.Desired
		options plan.Options
		change  func(w *tdetest.World)
		want    []string
	}{
		{
			name:    "from service-managed on both sides",
			desired: onePerRegion(),
			change: func(w *tdetest.World) {
				for _, server := range []string{first, second} {
					w.SetProtector(server, tde.KeyID{}, false)
					w.Deregister(server, key(tdetest.Shared))
				}
				w.Settle()
			},
			want: article(),
		},
		{
			name:    "to service-managed on both sides",
			desired: plan.Desired{first: {}, second: {}},
			want: []string{
				"1 SetProtector tdesecondarytest service-managed",
				"2 SetProtector tdeprimarytest service-managed after 1",
				"3 VerifyEncryption after 2",
			},
		},
		{
			name:    "one side to service-managed, the other to a key",
			desired: plan.Desired{first: to(tdetest.Subham), second: {}},
			want: []string{
				"1 Register tdesecondarytest subham",
				"2 Register tdeprimarytest subham",
				"3 SetProtector tdesecondarytest service-managed",
				"4 SetProtector tdeprimarytest subham after 1 2 3",
				"5 VerifyEncryption after 4",
			},
		},
		{
			name:    "only one server is named",
			desired: plan.Desired{strings.ToUpper(second): to(tdetest.Tey)},
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 Register tdeprimarytest tey",
				"3 SetProtector tdesecondarytest tey after 1 2",
				"4 VerifyEncryption after 3",
			},
		},
		{
			name:    "the secondary's present key is not on the primary",
			desired: plan.Desired{first: to(tdetest.Subham)},
			change: func(w *tdetest.World) {
				w.Register(second, key(tdetest.Tey))
				w.SetProtector(second, key(tdetest.Tey), false)
			},
			want: []string{
				"1 Register tdesecondarytest subham",
				"2 Register tdeprimarytest tey",
				"3 Register tdeprimarytest subham",
				"4 SetProtector tdeprimarytest subham after 1 3",
				"5 VerifyEncryption after 2 4",
			},
		},
		{
			name:    "the key that the secondary leaves is not on the primary",
			desired: plan.Desired{second: to(tdetest.Shared)},
			change: func(w *tdetest.World) {
				w.Register(second, key(tdetest.Tey))
				w.SetProtector(second, key(tdetest.Tey), false)
			},
			want: []string{
				"1 Register tdeprimarytest tey",
				"2 SetProtector tdesecondarytest shared after 1",
				"3 VerifyEncryption after 2",
			},
		},
		{
			name:    "a leftover key still wraps a replica and its holder lacks it",
			desired: onePerRegion(),
			change: func(w *tdetest.World) {
				*w = *moved()
				w.AtDatabase(first, "orders").Encryption.Thumbprint = tdetest.Thumbprint(tdetest.Shared)
				w.Deregister(second, key(tdetest.Shared))
			},
			want: []string{"1 Register tdesecondarytest shared", "2 VerifyEncryption after 1"},
		},
		{
			name:    "auto-rotation alone is switched on",
			desired: plan.Desired{first: {Key: key(tdetest.Shared), AutoRotation: flag(true)}, second: {Key: key(tdetest.Shared), AutoRotation: flag(true)}},
			want: []string{
				"1 SetProtector tdesecondarytest shared auto",
				"2 SetProtector tdeprimarytest shared auto after 1",
				"3 VerifyEncryption after 2",
			},
		},
		{
			name:    "auto-rotation has moved on from the desired version",
			desired: plan.Desired{first: to(tdetest.Shared), second: to(tdetest.Shared)},
			change: func(w *tdetest.World) {
				rotate(w)
				for _, server := range []string{first, second} {
					w.Register(server, key(later))
					w.SetProtector(server, key(later), true)
				}
				w.Settle()
			},
		},
		{
			name:    "the partner's copy of the material is enough",
			desired: plan.Desired{second: to(tdetest.Tey)},
			change:  copyOnFirst,
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 SetProtector tdesecondarytest tey after 1",
				"3 VerifyEncryption after 2",
			},
		},
		{
			name:    "a partner that has registered the key itself needs its grant, whatever its copy",
			desired: plan.Desired{second: to(tdetest.Tey)},
			options: plan.Options{Grant: true},
			change:  copyBesideTheKey,
			want: []string{
				"1 Grant tdeprimarytest testanu2",
				"2 Register tdesecondarytest tey",
				"3 SetProtector tdesecondarytest tey after 1 2",
				"4 VerifyEncryption after 3",
			},
		},
		{
			name:    "the key itself comes to a partner that had a copy of what wraps its replicas: with its grant",
			desired: plan.Desired{first: {Key: key(tdetest.Subham), AutoRotation: flag(true)}},
			options: plan.Options{Grant: true},
			change: func(w *tdetest.World) {
				*w = *moved()
				w.Deregister(second, key(tdetest.Subham))
				w.Revoke(second, "testprimarysubham")
				copied := key("https://testcopy.vault.azure.net/keys/subham/1")
				w.AddKey(copied, tdetest.Subham)
				w.Grant(second, "testcopy")
				w.Register(second, copied)
			},
			want: []string{
				"1 Grant tdesecondarytest testprimarysubham",
				"2 Register tdesecondarytest subham after 1",
				"3 SetProtector tdeprimarytest subham auto after 2",
				"4 VerifyEncryption after 3",
			},
		},
		{
			name:    "with auto-rotation the partner needs the key itself",
			desired: plan.Desired{second: {Key: key(tdetest.Tey), AutoRotation: flag(true)}},
			change:  copyOnFirst,
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 Register tdeprimarytest tey",
				"3 SetProtector tdesecondarytest tey auto after 1 2",
				"4 VerifyEncryption after 3",
			},
		},
		{
			name:    "missing grants, when they are allowed, one for each vault",
			desired: onePerRegion(),
			options: plan.Options{Grant: true},
			change: func(w *tdetest.World) {
				w.Revoke(first, "testanu2")
				w.Revoke(second, "testprimarysubham")
				w.Revoke(second, "testanu2")
			},
			want: []string{
				"1 Grant tdesecondarytest testanu2",
				"2 Grant tdesecondarytest testprimarysubham",
				"3 Grant tdeprimarytest testanu2",
				"4 Register tdesecondarytest tey after 1",
				"5 Register tdesecondarytest subham after 2",
				"6 Register tdeprimarytest tey after 3",
				"7 Register tdeprimarytest subham",
				"8 SetProtector tdesecondarytest tey after 4 6",
				"9 SetProtector tdeprimarytest subham after 5 7 8",
				"10 VerifyEncryption after 9",
			},
		},
		{
			name:    "a registered key that cannot be used only needs its grant",
			desired: plan.Desired{second: to(tdetest.Tey)},
			options: plan.Options{Grant: true},
			change: func(w *tdetest.World) {
				w.Register(first, key(tdetest.Tey))
				w.Register(second, key(tdetest.Tey))
				w.Revoke(first, "testanu2")
			},
			want: []string{
				"1 Grant tdeprimarytest testanu2",
				"2 SetProtector tdesecondarytest tey after 1",
				"3 VerifyEncryption after 2",
			},
		},
		{
			name:    "servers that share an identity share a grant",
			desired: plan.Desired{second: to(tdetest.Tey)},
			options: plan.Options{Grant: true},
			change: func(w *tdetest.World) {
				w.At(first).Identity = w.At(second).Identity
				w.Revoke(first, "testanu2")
				w.Revoke(second, "testanu2")
			},
			want: []string{
				"1 Grant tdesecondarytest testanu2",
				"2 Register tdesecondarytest tey after 1",
				"3 Register tdeprimarytest tey after 1",
				"4 SetProtector tdesecondarytest tey after 2 3",
				"5 VerifyEncryption after 4",
			},
		},
		{
			name:    "a drill and back",
			desired: plan.Desired{second: to(tdetest.Tey)},
			options: plan.Options{Drill: true, Failback: true},
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 Register tdeprimarytest tey",
				"3 SetProtector tdesecondarytest tey after 1 2",
				"4 VerifyEncryption after 3",
				"5 PlannedFailover tdesecondarytest fog-harshitha after 4",
				"6 VerifyEncryption after 5",
				"7 PlannedFailover tdeprimarytest fog-harshitha after 6",
				"8 VerifyEncryption after 7",
			},
		},
		{
			name:    "a drill of a reached target",
			desired: nil,
			options: plan.Options{Drill: true},
			want:    []string{"1 PlannedFailover tdesecondarytest fog-harshitha", "2 VerifyEncryption after 1"},
		},
		{
			name:    "two partners of one group",
			desired: plan.Desired{first: to(tdetest.Subham), second: to(tdetest.Tey), "third": to(tdetest.Tey)},
			change: func(w *tdetest.World) {
				w.AddServer("third", "North Europe")
				joinGroup(w, "third")
			},
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 Register tdesecondarytest subham",
				"3 Register third tey",
				"4 Register third subham",
				"5 Register tdeprimarytest tey",
				"6 Register tdeprimarytest subham",
				"7 SetProtector tdesecondarytest tey after 1 3 5",
				"8 SetProtector third tey after 1 3 5 7",
				"9 SetProtector tdeprimarytest subham after 2 4 6 8",
				"10 VerifyEncryption after 9",
			},
		},
		{
			name:    "a server in two groups: its other partner needs its keys, and it the other's",
			desired: onePerRegion(),
			change: func(w *tdetest.World) {
				w.AddServer("other", "North Europe")
				w.AddGroup("fog-other", "other", []string{first}, "ledger")
				for _, id := range []string{tdetest.Shared, tdetest.Subham, tdetest.Tey} {
					w.Grant("other", key(id).Vault())
				}
				w.Register("other", key(tdetest.Shared))
				w.SetProtector("other", key(tdetest.Shared), false)
				w.Settle()
			},
			want: []string{
				"1 Register tdesecondarytest tey",
				"2 Register tdesecondarytest subham",
				"3 Register other subham",
				"4 Register tdeprimarytest tey",
				"5 Register tdeprimarytest subham",
				"6 SetProtector tdesecondarytest tey after 1 4",
				"7 SetProtector tdeprimarytest subham after 2 3 5 6",
				"8 VerifyEncryption after 7",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tdetest.Article()
			if tt.change != nil {
				tt.change(w)
			}
			p := mustMake(t, w, tt.desired, tt.options)
			wantSteps(t, p, tt.want...)
			if p.Blocked() {
				t.Errorf("blocked: %+v", p.Findings)
			}
		})
	}
}

const later = "https://testshared.vault.azure.net/keys/shared/ffffffffffffffffffffffffffffffff"

// rotate adds a newer version of the shared key.
func rotate(w *tdetest.World) {
	w.AddKey(key(later), "later")
	w.AtKey(key(tdetest.Shared)).Latest = false
}

// copyOnFirst registers an imported copy of tey on the first server.
func copyOnFirst(w *tdetest.World) {
	copied := key("https://testcopy.vault.azure.net/keys/tey/1")
	w.AddKey(copied, tdetest.Tey)
	w.Grant(first, "testcopy")
	w.Register(first, copied)
}

// copyBesideTheKey registers both tey and an imported copy of it on the first
// server, which may use the copy only.
func copyBesideTheKey(w *tdetest.World) {
	copyOnFirst(w)
	w.Register(first, key(tdetest.Tey))
	w.Revoke(first, "testanu2")
}

// joinGroup makes a server the second partner of the article's group.
func joinGroup(w *tdetest.World, server string) {
	w.Groups[0].Members = append(w.Groups[0].Members, tde.Member{Server: server, Role: tde.Secondary})
	for _, d := range w.Groups[0].Databases {
		w.AddDatabase(server, d)
		w.AddLink(first, server, d, tdetest.Group)
	}
	for _, id := range []string{tdetest.Shared, tdetest.Subham, tdetest.Tey} {
		w.Grant(server, key(id).Vault())
	}
	w.Register(server, key(tdetest.Shared))
	w.SetProtector(server, key(tdetest.Shared), false)
	w.Settle()
}
