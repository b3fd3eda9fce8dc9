package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/tde"
)

// Verdict is what Verify says of one row.
type Verdict string

// The verdicts.
const (
	OK         Verdict = "ok"
	Wrong      Verdict = "wrong"
	InProgress Verdict = "in progress" // a key change is under way
	NotRead    Verdict = "not read"    // what decides it was not observed; never counted as ok
	NotJudged  Verdict = "not judged"  // outside what a server's protector governs
)

// Verification is the judgement of a topology after a change, or at any time.
type Verification struct {
	// OK is true when every row was read and is as it must be.
	OK        bool          `json:"ok"`
	ReadAt    time.Time     `json:"readAt"` // when the topology was observed
	Group     string        `json:"group,omitempty"`
	Servers   []ServerRow   `json:"servers"`
	Keys      []KeyRow      `json:"keys"`
	Databases []DatabaseRow `json:"databases"`
	// Logs are the keys that the databases' logs still need beside the one
	// that wraps the DEK now.
	Logs     []LogRow  `json:"logs"`
	Findings []Finding `json:"findings"`
}

// ServerRow is a server's protector beside the one that is expected.
type ServerRow struct {
	Server       string         `json:"server"`
	Location     string         `json:"location"`
	Roles        []string       `json:"roles"` // such as "Primary of fog-a"
	Key          tde.KeyID      `json:"key"`   // empty for service-managed
	Thumbprint   tde.Thumbprint `json:"thumbprint,omitempty"`
	AutoRotation bool           `json:"autoRotation"`
	ExpectedKey  tde.KeyID      `json:"expectedKey"`
	Verdict      Verdict        `json:"verdict"`
}

// KeyRow is a key that a server has to have, and by which registered key it
// meets that.
type KeyRow struct {
	Server     string         `json:"server"`
	Key        tde.KeyID      `json:"key"`
	Owners     []string       `json:"owners"` // the servers whose protector it is or whose DEKs it wraps
	Via        tde.KeyID      `json:"via"`    // the registered key of the same material; the key itself as a rule
	Thumbprint tde.Thumbprint `json:"thumbprint,omitempty"`
	Registered bool           `json:"registered"`
	Usable     bool           `json:"usable"`
	Verdict    Verdict        `json:"verdict"`
}

// DatabaseRow is one replica and the key that wraps its DEK.
type DatabaseRow struct {
	Server             string         `json:"server"`
	Role               string         `json:"role"`    // Primary, Secondary or Standalone
	Primary            string         `json:"primary"` // the server whose protector must wrap the DEK
	Database           string         `json:"database"`
	State              int            `json:"encryptionState"` // 0 when not read
	EncryptorType      string         `json:"encryptorType,omitempty"`
	ExpectedType       string         `json:"expectedEncryptorType,omitempty"`
	Thumbprint         tde.Thumbprint `json:"thumbprint,omitempty"`
	ExpectedThumbprint tde.Thumbprint `json:"expectedThumbprint,omitempty"`
	Key                tde.KeyID      `json:"key"` // the registered key that has the thumbprint
	Verdict            Verdict        `json:"verdict"`
	// Encryption is the whole row of sys.dm_database_encryption_keys, Geo those
	// of sys.dm_geo_replication_link_status; nil when they were not read.
	Encryption *tde.EncryptionState `json:"encryption,omitempty"`
	Geo        []tde.GeoStatus      `json:"geoReplicationStatus,omitempty"`
}

// Standalone is the role of a database that is not geo-replicated.
const Standalone = "Standalone"

// Verify judges a topology as it should be when no change is under way: each
// protector is the desired one (nil desires: whatever it is), is registered on
// and usable by every partner, and wraps every DEK whose primary is on its
// server. A geo-secondary's DEK is wrapped by its primary's protector, never by
// its own server's. What was not read is reported so and makes OK false.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func Verify(t tde.Topology, desired Desired, now time.Time) Verification {
	v := verifier{topology: t, now: now, result: Verification{
		ReadAt: t.ReadAt, Group: t.Group,
		Servers: []ServerRow{}, Keys: []KeyRow{}, Databases: []DatabaseRow{}, Logs: []LogRow{}, Findings: []Finding{},
	}}
	gaps := judge{topology: t, now: now}
	gaps.unread()
	gaps.members()
	v.result.Findings = append(v.result.Findings, gaps.findings...)
	for _, s := range t.Servers {
		v.server(s, desired)
	}
	for _, r := range Requirements(t, nil, now) {
		v.key(r)
	}
	for _, set := range replicaSets(t) {
		v.set(set)
	}
	v.logFindings()
	v.result.Findings = sorted(v.result.Findings)
	v.result.OK = !Blocked(v.result.Findings)
	return v.result
}

type verifier struct {
	topology tde.Topology
	now      time.Time
	result   Verification
}

func (v *verifier) fail(f Finding) {
	if f.Severity == "" {
		f.Severity = Blocker
	}
	v.result.Findings = append(v.result.Findings, f)
}

func (v *verifier) server(s tde.Server, desired Desired) {
	target := Target(v.topology, s, desired)
	row := ServerRow{
		Server: s.Name, Location: s.Location, Roles: roles(v.topology, s.Name),
		Key: s.Protector.Key, Thumbprint: protectorThumbprint(s), AutoRotation: s.Protector.AutoRotation,
		ExpectedKey: target.Key, Verdict: OK,
	}
	if Changes(s, target) {
		row.Verdict = Wrong
		v.fail(Finding{
			Rule: RuleProtectorDiffers, Server: s.Name, Key: target.Key,
			What:    fmt.Sprintf("the protector of %s is %s, wanted is %s", s.Name, describe(s.Protector), describe(target)),
			Cure:    "Plan and apply the move; a single flip may be refused or leave a partner without the key.",
			Command: ProtectorCommand(s, target),
		})
	}
	v.result.Servers = append(v.result.Servers, row)
}

func describe(p tde.Protector) string {
	switch {
	case p.ServiceManaged():
		return "service-managed"
	case p.AutoRotation:
		return p.Key.Short() + " with auto-rotation"
	}
	return p.Key.Short()
}

// roles lists the server's parts in failover groups and in links outside them.
func roles(t tde.Topology, server string) []string {
	list := []string{}
	for _, g := range t.Groups {
		for _, m := range g.Members {
			if strings.EqualFold(m.Server, server) {
				list = append(list, string(m.Role)+" of "+g.Name)
			}
		}
	}
	for _, l := range t.Links {
		if l.Group != "" {
			continue
		}
		switch {
		case strings.EqualFold(l.Primary, server):
			list = append(list, "Primary of the link to "+l.Secondary)
		case strings.EqualFold(l.Secondary, server):
			list = append(list, "Secondary of the link from "+l.Primary)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// key judges the rules Open and Next for one server and key.
func (v *verifier) key(r Requirement) {
	s, _ := v.topology.Server(r.Server)
	row := KeyRow{
		Server: s.Name, Key: r.Key, Owners: r.Owners, Via: r.Use, Thumbprint: v.topology.ThumbprintOf(r.Use),
		Registered: r.Registered, Usable: r.Granted && !Unfit(v.topology, r.Use, v.now), Verdict: OK,
	}
	owners := strings.Join(r.Owners, " and ")
	if !row.Registered {
		row.Verdict = Wrong
		v.fail(Finding{
			Rule: RuleKeyNotRegistered, Server: s.Name, Key: r.Use,
			What:    fmt.Sprintf("key %s of %s is not registered on %s, which could not open the databases after a failover", r.Use.Short(), owners, s.Name),
			Cure:    "Register the key on the server.",
			Command: RegisterCommand(s, r.Use),
		})
	}
	if !row.Usable {
		row.Verdict = Wrong
		v.unusable(s, r, owners)
	}
	v.result.Keys = append(v.result.Keys, row)
}

// unusable says of a key that a server cannot use what is in the way.
func (v *verifier) unusable(s tde.Server, r Requirement, owners string) {
	j := &judge{topology: v.topology, now: v.now, requirements: []Requirement{r}}
	j.identities()
	j.grants()
	j.vaults()
	j.keys()
	for _, f := range j.findings {
		if f.Severity == Blocker {
			v.fail(f)
		}
	}
	v.fail(Finding{
		Rule: RuleKeyNotUsable, Server: s.Name, Key: r.Use,
		What:    fmt.Sprintf("%s cannot use key %s of %s, so it could not open the databases after a failover", s.Name, r.Use.Short(), owners),
		Cure:    "See the findings on the key, its vault and the server's grants.",
		Command: az("keyvault", "key", "show", "--id", r.Use.String()),
	})
}
