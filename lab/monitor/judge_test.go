package monitor_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/monitor"
)

const (
	shared, first, second = "https://shared.vault.azure.net/keys/k/1", "https://first.vault.azure.net/keys/k/1", "https://second.vault.azure.net/keys/k/1"
)

func key(uri string, usable bool) monitor.Key {
	return monitor.Key{URI: uri, Thumbprint: "of " + uri, Usable: usable}
}

func wrapped(server, uri string) monitor.Copy {
	return monitor.Copy{Server: server, URI: uri, Thumbprint: "of " + uri}
}

// pair is two linked servers that hold both of their keys, and a database
// whose log needs the key before.
func pair() monitor.Snapshot {
	keys := func() []monitor.Key { return []monitor.Key{key(shared, true), key(first, true), key(second, true)} }
	return monitor.Snapshot{
		Servers: []monitor.Server{
			{Name: "a", Protector: first, Keys: keys(), Partners: []string{"b"}},
			{Name: "b", Protector: second, Keys: keys(), Partners: []string{"a"}},
		},
		Databases: []monitor.Database{{Name: "orders", Copies: []monitor.Copy{wrapped("a", first), wrapped("b", shared)}, Old: []string{"of " + shared}}},
	}
}

func without(server *monitor.Server, uri string) {
	var kept []monitor.Key
	for _, key := range server.Keys {
		if key.URI != uri {
			kept = append(kept, key)
		}
	}
	server.Keys = kept
}

func TestJudgement(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		change func(*monitor.Snapshot)
		want   []monitor.Breach
	}{
		"all is well": {change: func(*monitor.Snapshot) {}},
		"the partner lacks the primary's protector": {
			change: func(s *monitor.Snapshot) { without(&s.Servers[1], first) },
			want:   []monitor.Breach{{Rule: "Next", Server: "b", Owner: "a", Key: first}, {Rule: "Open", Server: "b", Owner: "a", Key: first, Database: "orders"}},
		},
		"the primary cannot use the partner's protector": {
			change: func(s *monitor.Snapshot) { s.Servers[0].Keys[2].Usable = false },
			want:   []monitor.Breach{{Rule: "Next", Server: "a", Owner: "b", Key: second}},
		},
		"a server cannot use its own protector": {
			change: func(s *monitor.Snapshot) { s.Servers[1].Keys[2].Usable = false },
			want:   []monitor.Breach{{Rule: "Next", Server: "b", Owner: "b", Key: second}},
		},
		"the same material in another vault will do": {
			change: func(s *monitor.Snapshot) {
				s.Servers[1].Keys[1] = monitor.Key{URI: "https://copy.vault.azure.net/keys/k/1", Thumbprint: "of " + first, Usable: true}
			},
		},
		"but not where the protector rotates by itself": {
			change: func(s *monitor.Snapshot) {
				s.Servers[0].Auto = true
				s.Servers[1].Keys[1] = monitor.Key{URI: "https://copy.vault.azure.net/keys/k/1", Thumbprint: "of " + first, Usable: true}
			},
			want: []monitor.Breach{{Rule: "Next", Server: "b", Owner: "a", Key: first}},
		},
		"nor where the key itself is registered and cannot be used": {
			change: func(s *monitor.Snapshot) {
				s.Servers[1].Keys[1].Usable = false
				s.Servers[1].Keys = append(s.Servers[1].Keys, monitor.Key{URI: "https://copy.vault.azure.net/keys/k/1", Thumbprint: "of " + first, Usable: true})
			},
			want: []monitor.Breach{{Rule: "Next", Server: "b", Owner: "a", Key: first}, {Rule: "Open", Server: "b", Owner: "a", Key: first, Database: "orders"}},
		},
		"what has not reached the replica yet is needed everywhere": {
			change: func(s *monitor.Snapshot) { without(&s.Servers[0], shared) },
			want:   []monitor.Breach{{Rule: "Open", Server: "a", Owner: "b", Key: shared, Database: "orders"}},
		},
		"the log still needs the old key": {
			change: func(s *monitor.Snapshot) {
				s.Databases[0].Copies[1] = wrapped("b", first)
				without(&s.Servers[1], shared)
			},
			want: []monitor.Breach{{Rule: "Past", Server: "b", Owner: "a", Key: "of " + shared, Database: "orders"}},
		},
		"service-managed needs nothing": {
			change: func(s *monitor.Snapshot) {
				s.Servers[0].Protector, s.Servers[0].Keys, s.Servers[1].Protector, s.Servers[1].Keys = "", nil, "", nil
				s.Databases[0] = monitor.Database{Name: "orders", Copies: []monitor.Copy{{Server: "a"}, {Server: "b"}}}
			},
		},
		"two protectors change at once": {
			change: func(s *monitor.Snapshot) { s.Changing = []monitor.Changing{{Server: "a"}, {Server: "b"}} },
			want:   []monitor.Breach{{Rule: "One", Server: "b", Owner: "a"}},
		},
		"two protectors of servers that are not linked may": {
			change: func(s *monitor.Snapshot) {
				s.Servers = append(s.Servers, monitor.Server{Name: "c"})
				s.Changing = []monitor.Changing{{Server: "a"}, {Server: "c"}}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := pair()
			each.change(&s)
			if diff := cmp.Diff(each.want, monitor.Judge(s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A server with more partners, and a database with more old keys, than the
// model holds at once are judged whole.
func TestLargeLabsAreJudgedWhole(t *testing.T) {
	t.Parallel()
	const many = 40
	s := monitor.Snapshot{Servers: []monitor.Server{{Name: "hub", Protector: shared, Keys: []monitor.Key{key(shared, true)}}}}
	database := monitor.Database{Name: "orders", Copies: []monitor.Copy{wrapped("hub", shared)}}
	var want []monitor.Breach
	for n := range many {
		name := fmt.Sprintf("spoke%02d", n)
		s.Servers[0].Partners = append(s.Servers[0].Partners, name)
		s.Servers = append(s.Servers, monitor.Server{Name: name, Keys: []monitor.Key{key(shared, n != many-1)}, Partners: []string{"hub"}})
	}
	want = append(want, monitor.Breach{Rule: "Next", Server: "spoke39", Owner: "hub", Key: shared})
	for n := range many {
		thumbprint := fmt.Sprintf("old%02d", n)
		database.Old = append(database.Old, thumbprint)
		want = append(want, monitor.Breach{Rule: "Past", Server: "hub", Owner: "hub", Key: thumbprint, Database: "orders"})
	}
	s.Databases = []monitor.Database{database}
	if diff := cmp.Diff(want, monitor.Judge(s)); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkJudge(b *testing.B) {
	s := pair()
	for n := range 200 {
		database := s.Databases[0]
		database.Name = fmt.Sprint(n)
		s.Databases = append(s.Databases, database)
	}
	for b.Loop() {
		if monitor.Judge(s) != nil {
			b.Fatal("it is sound")
		}
	}
}
