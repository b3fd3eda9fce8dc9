package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// ExpiresSoon is how long before its expiry a key is warned about.
const ExpiresSoon = 30 * 24 * time.Hour

// Preflight judges what stands between the topology and the desired
// protectors, at the given time. Blockers mean that Azure would refuse a step,
// that a safety rule would be broken, or that too little was read to know.
// Desires for servers outside the topology are not judged. The findings are
// sorted, heaviest first; nil when there is nothing to say.
func Preflight(t tde.Topology, desired Desired, now time.Time) []Finding {
	j := newJudge(t, desired, now)
	j.unread()
	j.members()
	j.groups()
	j.links()
	j.chains()
	j.identities()
	j.grants()
	j.vaults()
	j.keys()
	j.targets()
	j.pairs()
	j.databases()
	return sorted(j.findings)
}

// judge carries what the rules share.
type judge struct {
	topology     tde.Topology
	now          time.Time
	requirements []Requirement
	target       map[string]tde.Protector // by server
	moving       map[string]bool          // servers whose protector has to be set
	findings     []Finding
}

func newJudge(t tde.Topology, desired Desired, now time.Time) *judge {
	j := &judge{topology: t, now: now, target: map[string]tde.Protector{}, moving: map[string]bool{}}
	j.requirements = Requirements(t, desired, now)
	for _, s := range t.Servers {
		j.target[s.Name] = Target(t, s, desired)
		j.moving[s.Name] = Changes(s, j.target[s.Name])
	}
	return j
}

func (j *judge) add(f Finding) { j.findings = append(j.findings, f) }

// move reports whether any of the named servers is to get another protector.
func (j *judge) move(servers ...string) bool {
	return slices.ContainsFunc(servers, func(name string) bool {
		s, _ := j.topology.Server(name)
		return j.moving[s.Name]
	})
}

// unread: a judgement that rests on a gap is worth nothing, and the topology
// holds nothing but the one component.
func (j *judge) unread() {
	for _, u := range j.topology.Unread {
		f := Finding{
			Rule: RuleUnread, Severity: Blocker, Server: u.Server,
			What:    fmt.Sprintf("%s could not be read: %s; what was not seen cannot be judged", u.What, u.Reason),
			Cure:    "Give the reading identity access to it and inspect again.",
			Command: az("account", "show"),
		}
		if u.Hint != "" {
			f.Cure = u.Hint
		}
		if s, ok := j.topology.Server(u.Server); ok {
			f.Command = az("sql", "server", "show", "--resource-group", s.ResourceGroup, "--name", s.Name, "--subscription", s.Subscription)
		} else if u.Server != "" {
			f.Command = findServer(u.Server)
		}
		j.add(f)
	}
}

// findServer lists where a server is that only its name is known of.
func findServer(name string) string {
	return az("sql", "server", "list", "--query", "[?name=='"+name+"'].id", "--output", "tsv")
}

// members: the component must be closed, or a partner would be forgotten.
func (j *judge) members() {
	named := map[string]string{}
	for _, g := range j.topology.Groups {
		for _, m := range g.Members {
			named[m.Server] = "failover group " + g.Name
		}
	}
	for _, l := range j.topology.Links {
		for _, server := range []string{l.Primary, l.Secondary} {
			if _, ok := named[server]; !ok {
				named[server] = "a replication link of database " + l.Database
			}
		}
	}
	for server, by := range named {
		if _, ok := j.topology.Server(server); ok {
			continue
		}
		j.add(Finding{
			Rule: RuleServerNotObserved, Severity: Blocker, Server: server,
			What:    fmt.Sprintf("server %s is linked by %s but was not observed; its keys and rights decide whether a change is safe", server, by),
			Cure:    "Give the reading identity access to the server and inspect again.",
			Command: findServer(server),
		})
	}
}

func (j *judge) groups() {
	for _, g := range j.topology.Groups {
		primary, _ := j.topology.Server(g.Primary())
		if primary.Name == "" && len(g.Members) > 0 {
			primary, _ = j.topology.Server(g.Members[0].Server)
		}
		show := az("sql", "failover-group", "show", "--name", g.Name, "--resource-group", primary.ResourceGroup,
			"--server", primary.Name, "--subscription", primary.Subscription)
		switch {
		case g.DisagreementOnMember != "":
			j.add(Finding{
				Rule: RuleRolesDisagree, Severity: Blocker, Server: g.Primary(),
				What:    fmt.Sprintf("the members of failover group %s disagree: %s; a failover may be under way, and steps are ordered by role", g.Name, g.DisagreementOnMember),
				Cure:    "Wait until every member reports the same roles, then plan again.",
				Command: show,
			})
		case g.Primary() == "":
			j.add(Finding{
				Rule: RuleRolesDisagree, Severity: Blocker,
				What:    fmt.Sprintf("no member of failover group %s says that it is primary; steps are ordered by role", g.Name),
				Cure:    "Wait until one member is primary, then plan again.",
				Command: show,
			})
		}
		// ARM has no field for "busy"; every state but CATCH_UP is one in
		// which group operations collide.
		if g.ReplicationState != "" && !strings.EqualFold(g.ReplicationState, tde.StateCatchUp) {
			j.add(Finding{
				Rule: RuleGroupBusy, Severity: j.weight(g.Name, memberNames(g)...), Server: g.Primary(),
				What:    fmt.Sprintf("failover group %s is in state %s, not %s: it is busy with another operation or out of step", g.Name, g.ReplicationState, tde.StateCatchUp),
				Cure:    "Wait until the group is in " + tde.StateCatchUp + ", then plan again.",
				Command: show,
			})
		}
	}
}

// weight makes a replication matter a blocker where it concerns the group that
// was asked for or a server that is to change, and a warning elsewhere in the
// component.
func (j *judge) weight(group string, servers ...string) Severity {
	asked := group != "" && strings.EqualFold(group, j.topology.Group)
	if asked || j.move(servers...) {
		return Blocker
	}
	return Warning
}

func memberNames(g tde.FailoverGroup) []string {
	names := make([]string, len(g.Members))
	for i, m := range g.Members {
		names[i] = m.Server
	}
	return names
}

// links: while a replica is seeding, a protector change and the seeding refuse
// each other, and a planned failover is impossible.
// Source: https://learn.microsoft.com/rest/api/sql/encryption-protectors/create-or-update (CreateDatabaseAttemptedWithRotationInProgress)
func (j *judge) links() {
	for _, l := range j.topology.Links {
		if strings.EqualFold(l.State, tde.StateCatchUp) {
			continue
		}
		primary, _ := j.topology.Server(l.Primary)
		j.add(Finding{
			Rule: RuleReplication, Severity: j.weight(l.Group, l.Primary, l.Secondary), Server: l.Secondary, Database: l.PartnerDatabase,
			What: fmt.Sprintf("replication of %s from %s to %s is in state %s, not %s: a new protector might not reach the replica",
				l.Database, l.Primary, l.Secondary, l.State, tde.StateCatchUp),
			Cure:    "Wait until the link is in " + tde.StateCatchUp + "; a link that stays behind has to be dropped and seeded again.",
			Command: azServer(primary, "sql", "db", "replica", "list-links", "--name", l.Database),
		})
	}
}

// chains: a geo-secondary of a geo-secondary is refused with customer-managed
// keys (SecurityAzureKeyVaultGeoChainError).
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
func (j *judge) chains() {
	for _, in := range j.topology.Links {
		for _, out := range j.topology.Links {
			if !strings.EqualFold(in.Secondary, out.Primary) || !strings.EqualFold(in.PartnerDatabase, out.Database) {
				continue
			}
			if !j.customerManaged(in.Primary, in.Secondary, out.Secondary) {
				continue
			}
			s, _ := j.topology.Server(out.Primary)
			j.add(Finding{
				Rule: RuleGeoChain, Severity: Blocker, Server: s.Name, Database: out.Database,
				What: fmt.Sprintf("%s on %s is a geo-secondary of %s and itself primary of %s; Azure refuses such a chain with customer-managed keys",
					out.Database, s.Name, in.Primary, out.Secondary),
				Cure:    fmt.Sprintf("Drop the link to %s and replicate to it from %s.", out.Secondary, in.Primary),
				Command: azServer(s, "sql", "db", "replica", "delete-link", "--name", out.Database, "--partner-server", out.Secondary, "--yes"),
			})
		}
	}
}

// customerManaged reports whether any of the servers has or is to have a
// customer-managed protector.
func (j *judge) customerManaged(servers ...string) bool {
	return slices.ContainsFunc(servers, func(name string) bool {
		s, ok := j.topology.Server(name)
		return ok && (!s.Protector.ServiceManaged() || !j.target[s.Name].ServiceManaged())
	})
}
