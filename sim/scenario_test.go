package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/fault"
)

// scenario is one world, what is wanted of it, and what goes wrong. Its text
// says all of it, so that it can be run again.
type scenario struct {
	seed    uint64
	servers []serverIn
	groups  []groupIn
	links   []linkIn
	// missing are the wanted keys' vaults that a server may not use at first.
	missing []held
	// registered are wanted keys that a half-done move has registered already.
	registered []held
	sql        bool // the databases are asked by SQL, and not in the lab's process
	roles      bool // grants by role assignments, not access policies
	grant      bool
	drill      bool
	failback   bool
	replan     bool
	// moved: what is wanted is there already, brought about by the tool before
	// the scenario begins; what goes wrong does so on the way back.
	moved bool
	// back: after the run, done or stopped, the way back is taken instead of a
	// new plan.
	back    bool
	faults  []string // lines of lab/fault
	crashes []crash  // of the first process, the second, …
	other   []other  // what somebody else does
	second  []second // at most one
}

// serverIn is a server and its protector, at first and as it is wanted: shared,
// own, or service; keep wants what is there. With +auto after it, it rotates by
// itself.
type serverIn struct{ region, starts, wants string }

type groupIn struct {
	primary     int
	secondaries []int
	databases   int
}

// linkIn are databases with a geo-secondary that are in no failover group.
type linkIn struct{ primary, secondary, databases int }

// held is a server and a key's name, such as own1.
type held struct {
	server int
	key    string
}

// crash ends a process at its nth journal write or call.
type crash struct {
	what  string // write or call
	n     int
	after bool // the write is on disk, or the call has taken effect
}

// other is what somebody else does right before the nth call, or write, of all
// processes together.
type other struct {
	what string // write or call
	n    int
	// planned or forced failover of group to server; revoke, or down: the
	// server's region; flip of the server to a key of names, or to
	// service-managed where group is -1; version, disable or expire: of a key of
	// names, the first two for ten minutes.
	does  string
	group int
	to    int
}

// second is a second process with the same plan, which begins right before the
// nth call, or write, of all processes together. The first is stopped then for
// so long, as by SIGSTOP, and woken.
type second struct {
	what  string // write or call
	n     int
	pause time.Duration
}

func serverName(i int) string { return fmt.Sprintf("srv%d", i) }
func groupName(i int) string  { return fmt.Sprintf("fog%d", i) }

// keyName is what a protector's word means on a server; empty: service-managed.
func keyName(word string, server int) string {
	switch strings.TrimSuffix(word, auto) {
	case "own":
		return fmt.Sprintf("own%d", server)
	case "shared":
		return "shared"
	}
	return ""
}

// auto ends the word of a protector that rotates by itself.
const auto = "+auto"

// names are the keys that there are, for who has to choose one by a number.
func (s *scenario) names() []string { return append(s.protectors(), s.wanted()...) }

// start is what the scenario begins with: what it has in common with others that
// begin in the same world.
func (s scenario) start() scenario {
	begins := scenario{servers: s.servers, groups: s.groups, links: s.links, missing: s.missing, registered: s.registered, roles: s.roles}
	if s.moved {
		begins.moved, begins.grant = true, s.grant
	}
	return begins
}

// String writes the scenario as parseScenario reads it.
func (s scenario) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("seed %d", s.seed)
	for _, server := range s.servers {
		line("server %s starts %s wants %s", server.region, server.starts, server.wants)
	}
	for _, g := range s.groups {
		to := make([]string, len(g.secondaries))
		for i, n := range g.secondaries {
			to[i] = strconv.Itoa(n)
		}
		line("group primary %d secondaries %s databases %d", g.primary, strings.Join(to, ","), g.databases)
	}
	for _, l := range s.links {
		line("link primary %d secondary %d databases %d", l.primary, l.secondary, l.databases)
	}
	for _, h := range s.missing {
		line("missing %d %s", h.server, h.key)
	}
	for _, h := range s.registered {
		line("registered %d %s", h.server, h.key)
	}
	options := s.options()
	for _, word := range slices.Sorted(maps.Keys(options)) {
		if *options[word] {
			line("option %s", word)
		}
	}
	for _, f := range s.faults {
		line("fault %s", f)
	}
	for _, c := range s.crashes {
		line("crash %s %d %s", c.what, c.n, map[bool]string{true: "after", false: "before"}[c.after])
	}
	for _, o := range s.other {
		line("other %s %d %s %d %d", o.what, o.n, o.does, o.group, o.to)
	}
	for _, p := range s.second {
		line("second %s %d %s", p.what, p.n, p.pause)
	}
	return b.String()
}

// startsOneSided reports whether a key is the protector of two servers at first
// and rotates on one of them alone.
func (s *scenario) startsOneSided() bool {
	rotating := map[string]bool{}
	for i, server := range s.servers {
		key, rotates := keyName(server.starts, i), strings.HasSuffix(server.starts, auto)
		if before, seen := rotating[key]; seen && key != "" && before != rotates {
			return true
		}
		rotating[key] = rotates
	}
	return false
}

// about says what is rare in the scenario, for counting.
func (s *scenario) about() (list []string) {
	rotates := func(word func(serverIn) string) bool {
		return slices.ContainsFunc(s.servers, func(server serverIn) bool { return strings.HasSuffix(word(server), auto) })
	}
	for what, is := range map[string]bool{
		"automatic rotation at first":           rotates(func(server serverIn) string { return server.starts }),
		"automatic rotation wanted":             rotates(func(server serverIn) string { return server.wants }),
		"a geo-link outside of failover groups": len(s.links) > 0,
		"a rollback from the move's end on":     s.moved,
		"Resource Manager's token buckets":      slices.Contains(s.faults, "arm: throttle"),
		"encryption read by SQL":                s.sql,
	} {
		if is {
			list = append(list, what)
		}
	}
	return list
}

func (s *scenario) options() map[string]*bool {
	return map[string]*bool{
		"roles": &s.roles, "grant": &s.grant, "drill": &s.drill, "failback": &s.failback, "replan": &s.replan, "sql": &s.sql,
		"moved": &s.moved, "rollback": &s.back,
	}
}

// parseScenario reads a scenario's text.
func parseScenario(text string) (scenario, error) {
	var s scenario
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.readLine(line); err != nil {
			return s, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	if len(s.servers) == 0 || len(s.groups) == 0 {
		return s, fmt.Errorf("a scenario has servers and groups")
	}
	return s, nil
}

func (s *scenario) readLine(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	scan := func(format string, into ...any) error { _, err := fmt.Sscanf(rest, format, into...); return err }
	switch word {
	case "seed":
		err = scan("%d", &s.seed)
	case "server":
		var server serverIn
		err = scan("%s starts %s wants %s", &server.region, &server.starts, &server.wants)
		s.servers = append(s.servers, server)
	case "group":
		var g groupIn
		var to string
		err = scan("primary %d secondaries %s databases %d", &g.primary, &to, &g.databases)
		for _, n := range strings.Split(to, ",") {
			i, bad := strconv.Atoi(n)
			if bad != nil {
				return bad
			}
			g.secondaries = append(g.secondaries, i)
		}
		s.groups = append(s.groups, g)
	case "link":
		var l linkIn
		err = scan("primary %d secondary %d databases %d", &l.primary, &l.secondary, &l.databases)
		s.links = append(s.links, l)
	case "missing", "registered":
		var h held
		err = scan("%d %s", &h.server, &h.key)
		if word == "missing" {
			s.missing = append(s.missing, h)
		} else {
			s.registered = append(s.registered, h)
		}
	case "option":
		option := s.options()[rest]
		if option == nil {
			return fmt.Errorf("no such option")
		}
		*option = true
	case "fault":
		_, err = fault.Parse(rest)
		s.faults = append(s.faults, rest)
	case "crash":
		var c crash
		var when string
		err = scan("%s %d %s", &c.what, &c.n, &when)
		c.after = when == "after"
		s.crashes = append(s.crashes, c)
	case "other":
		var o other
		err = scan("%s %d %s %d %d", &o.what, &o.n, &o.does, &o.group, &o.to)
		s.other = append(s.other, o)
	case "second":
		var p second
		var pause string
		if err = scan("%s %d %s", &p.what, &p.n, &pause); err == nil {
			p.pause, err = time.ParseDuration(pause)
		}
		s.second = append(s.second, p)
	default:
		err = fmt.Errorf("no such word")
	}
	return err
}

var regions = []string{"eastus", "westus", "northeurope", "westeurope"}

// randomScenario makes the scenario of a seed.
func randomScenario(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, seed))
	chance := func(percent int) bool { return r.IntN(100) < percent }
	s := scenario{seed: seed, roles: chance(25), grant: chance(60), drill: chance(35), replan: chance(50), sql: seed%4 == 0}
	s.failback = s.drill && chance(50)
	partners := 1
	if chance(30) {
		partners = 2 + r.IntN(2)
	}
	start := []string{"shared", "shared", "own", "service"}[r.IntN(4)]
	for i := range 1 + partners {
		server := serverIn{region: regions[i], starts: start, wants: []string{"own", "own", "own", "shared", "service", "keep"}[r.IntN(6)]}
		if chance(25) {
			server.starts = []string{"shared", "own", "service"}[r.IntN(3)]
		}
		s.servers = append(s.servers, server)
	}
	s.randomGroups(r, partners)
	s.randomStart(r, chance)
	s.randomTrouble(r, chance)
	s.randomMore(seed)
	return s
}

// randomGroups: one group over all servers, or one from the first server to
// each, or two on the same pair.
func (s *scenario) randomGroups(r *rand.Rand, partners int) {
	databases := func(most int) int { return 1 + r.IntN(most) }
	all := make([]int, partners)
	for i := range all {
		all[i] = i + 1
	}
	switch {
	case partners == 1 && r.IntN(4) == 0:
		s.groups = []groupIn{{0, []int{1}, databases(2)}, {r.IntN(2), nil, databases(2)}}
		s.groups[1].secondaries = []int{1 - s.groups[1].primary}
	case partners > 1 && r.IntN(2) == 0:
		s.groups = []groupIn{{0, []int{1}, databases(2)}, {0, []int{2}, databases(2)}}
		if partners == 3 {
			s.groups[1].secondaries = append(s.groups[1].secondaries, 3)
		}
	default:
		s.groups = []groupIn{{0, all, databases(4)}}
	}
}

// wanted are the keys that the desired protectors are, without those that are
// protectors already.
func (s *scenario) wanted() []string {
	var list []string
	for i, server := range s.servers {
		key := keyName(server.wants, i)
		if key != "" && !slices.Contains(s.protectors(), key) && !slices.Contains(list, key) {
			list = append(list, key)
		}
	}
	return list
}

// protectors are the keys that are protectors at first.
func (s *scenario) protectors() []string {
	var list []string
	for i, server := range s.servers {
		if key := keyName(server.starts, i); key != "" && !slices.Contains(list, key) {
			list = append(list, key)
		}
	}
	return list
}

func (s *scenario) randomStart(r *rand.Rand, chance func(int) bool) {
	lacking, halfway := chance(40) && s.grant || chance(5), chance(30)
	for _, key := range s.wanted() {
		for i := range s.servers {
			switch {
			case lacking && r.IntN(2) == 0:
				s.missing = append(s.missing, held{i, key})
			case halfway && r.IntN(2) == 0:
				s.registered = append(s.registered, held{i, key})
			}
		}
	}
}

// randomTrouble: a third of the scenarios has crashes alone, a third one fault
// or failover, a third several of each.
func (s *scenario) randomTrouble(r *rand.Rand, chance func(int) bool) {
	mode := r.IntN(3)
	if mode != 1 {
		for range 1 + r.IntN(3) {
			c := crash{what: []string{"write", "call"}[r.IntN(2)], after: chance(50)}
			c.n = 1 + r.IntN(map[string]int{"write": 60, "call": 250}[c.what])
			s.crashes = append(s.crashes, c)
		}
	}
	if mode == 0 {
		return
	}
	for range 1 + r.IntN(mode) {
		s.randomFault(r, chance)
	}
}

func (s *scenario) randomFault(r *rand.Rand, chance func(int) bool) {
	at := func() string { return fmt.Sprintf("at call %d: ", 1+r.IntN(150)) }
	resource := []string{"put encryptionProtector", "put servers/srv0/keys", "put servers/srv1/keys", "post failover", "get encryptionProtector", "get failoverGroups", "any servers"}[r.IntN(7)]
	nth := fmt.Sprintf(" nth %d: ", 1+r.IntN(4))
	duration := []string{"30s", "90s", "5m", "12m"}[r.IntN(4)]
	switch r.IntN(15) {
	case 0, 1:
		s.faults = append(s.faults, "on "+resource+nth+"lose-reply")
	case 2:
		s.faults = append(s.faults, at()+[]string{"cut", "lose-reply", "503", "429 retry-after 20s", "500"}[r.IntN(5)])
	case 3:
		s.faults = append(s.faults, fmt.Sprintf("on %s chance %d%%: %s", resource, 10+r.IntN(40), []string{"503", "429", "500", "cut", "lose-reply"}[r.IntN(5)]))
	case 4:
		s.faults = append(s.faults, fmt.Sprintf("arm: 429 rate %d/s", 2+r.IntN(10)))
	case 5:
		op := []string{"UpsertLogicalServerEncryptionprotector", "UpsertLogicalServerEncryptionKeys", "FailoverFailoverGroup"}[r.IntN(3)]
		s.faults = append(s.faults, "operation "+op+": slow "+duration)
	case 6:
		s.faults = append(s.faults, "replica: delay "+duration)
	case 7:
		s.faults = append(s.faults, fmt.Sprintf("region %s down after %ds for %s", s.servers[r.IntN(len(s.servers))].region, 1+r.IntN(120), duration))
	case 8:
		s.faults = append(s.faults, fmt.Sprintf("vault ck-%s: 403 after %ds for %s", []string{"shared", "own0", "own1"}[r.IntN(3)], 1+r.IntN(120), duration))
	case 9:
		s.other = append(s.other, other{what: "call", n: 1 + r.IntN(200), does: "revoke", to: r.IntN(len(s.servers))})
	default:
		g := r.IntN(len(s.groups))
		to := s.groups[g].secondaries[r.IntN(len(s.groups[g].secondaries))]
		does := "planned"
		if chance(50) {
			does = "forced"
		}
		s.other = append(s.other, other{what: []string{"call", "write"}[r.IntN(2)], n: 1 + r.IntN(150), does: does, group: g, to: to})
	}
}

// randomMore adds what makes worlds and troubles rarer than those above, from
// numbers of its own, so that the rest of a seed's scenario stays what it is.
func (s *scenario) randomMore(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	chance := func(percent int) bool { return r.IntN(100) < percent }
	if chance(20) {
		s.randomRotation(chance)
	}
	if chance(15) {
		s.randomLink(r)
	}
	if chance(35) {
		s.randomMeddling(r)
	}
	if len(s.faults) > 0 && chance(15) {
		s.faults = append(s.faults, "arm: throttle")
	}
	switch {
	case chance(10):
		s.moved, s.missing, s.registered = true, nil, nil
	case chance(20):
		s.back = true
	}
	if len(s.crashes) == 0 && chance(40) {
		p := second{what: []string{"write", "call"}[r.IntN(2)]}
		p.n = 1 + r.IntN(map[string]int{"write": 40, "call": 200}[p.what])
		if chance(60) {
			p.pause = []time.Duration{45 * time.Second, 2 * time.Minute, 5 * time.Minute}[r.IntN(3)]
		}
		s.second = []second{p}
	}
}

// randomRotation has protectors rotate by themselves, at first, as they are
// wanted, or both.
func (s *scenario) randomRotation(chance func(int) bool) {
	first, wanted := chance(60), chance(70)
	for i := range s.servers {
		server := &s.servers[i]
		if first && server.starts != "service" && chance(85) {
			server.starts += auto
		}
		if wanted && server.wants != "service" && server.wants != "keep" && chance(85) {
			server.wants += auto
		}
	}
}

// randomLink adds a database with a geo-secondary outside of the failover
// groups, on one more server where there is a region for it.
func (s *scenario) randomLink(r *rand.Rand) {
	from, to := r.IntN(len(s.servers)), len(s.servers)
	if to == len(regions) {
		to = (from + 1 + r.IntN(to-1)) % to
	} else {
		first := s.servers[0]
		s.servers = append(s.servers, serverIn{region: regions[to], starts: first.starts, wants: []string{"own", "shared", "keep"}[r.IntN(3)]})
	}
	s.links = append(s.links, linkIn{from, to, 1 + r.IntN(2)})
}

// randomMeddling has somebody else change protectors and keys during the run.
func (s *scenario) randomMeddling(r *rand.Rand) {
	o := other{what: []string{"call", "write"}[r.IntN(2)], does: []string{"flip", "flip", "version", "disable", "expire"}[r.IntN(5)]}
	o.n = 1 + r.IntN(map[string]int{"write": 40, "call": 200}[o.what])
	names := len(s.names())
	if o.does == "flip" {
		o.to = r.IntN(len(s.servers))
		names++
	}
	if names == 0 {
		return
	}
	o.group = r.IntN(names)
	if o.group == len(s.names()) {
		o.group = -1
	}
	s.other = append(s.other, o)
}
