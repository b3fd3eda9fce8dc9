package monitor

import (
	"slices"
	"strings"
	"time"
)

// record opens intervals for what has come, and ends those of what has gone.
func (m *Monitor) record(at time.Time, found []Breach, causes []Cause, turn *Turn, until uint64) {
	m.mu.Lock()
	changed := m.close(at, found)
	for _, breach := range found {
		if m.open(breach) {
			continue
		}
		m.intervals = append(m.intervals, Interval{Breach: breach, From: at, By: m.blame(breach, at, causes, turn)})
		changed = true
	}
	m.bound()
	kept := slices.Clone(m.intervals)
	m.last, m.failed = at, nil
	m.mu.Unlock()
	if changed {
		if err := m.o.Keep(kept); err != nil {
			m.o.Log.Error("monitor.not_kept", "error", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if turn == nil {
		m.judged = max(m.judged, until)
	}
	m.tell()
}

// close ends the intervals whose breach is not there any more.
func (m *Monitor) close(at time.Time, found []Breach) (changed bool) {
	for i, interval := range m.intervals {
		if interval.Still() && !slices.Contains(found, interval.Breach) {
			m.intervals[i].To, changed = at, true
		}
	}
	return changed
}

// open reports whether a breach has an interval that is open.
func (m *Monitor) open(breach Breach) bool {
	return slices.ContainsFunc(m.intervals, func(i Interval) bool { return i.Still() && i.Breach == breach })
}

// bound lets the oldest intervals go that are over.
func (m *Monitor) bound() {
	for over := len(m.intervals) - maxIntervals; over > 0; over-- {
		i := slices.IndexFunc(m.intervals, func(i Interval) bool { return !i.Still() })
		if i < 0 {
			return
		}
		m.intervals = slices.Delete(m.intervals, i, i+1)
	}
}

// blame finds what opened a breach: of the calls whose effect is judged, the
// one that is most about the servers and the key in question, the later of two
// alike. An effect that comes with time is that of an earlier such call.
func (m *Monitor) blame(breach Breach, at time.Time, causes []Cause, turn *Turn) Cause {
	if turn != nil && turn.What != "" {
		return Cause{Time: at, Event: turn.What}
	}
	earlier := m.recent
	if turn != nil {
		causes, earlier = nil, slices.DeleteFunc(slices.Clone(m.recent), func(by Cause) bool { return !aboutAccess(by) })
	}
	if by, found := closest(breach, causes, 1); found {
		return by
	}
	if by, found := closest(breach, earlier, 1); found {
		by.Event = "took effect later"
		return by
	}
	if by, found := closest(breach, causes, 0); found {
		return by
	}
	return Cause{Time: at, Event: "as time went by"}
}

// aboutAccess reports whether a call is to a vault or about a permission: only
// the effects of those come with time.
func aboutAccess(by Cause) bool {
	path := strings.ToLower(by.Path)
	return strings.HasPrefix(path, "https://") || strings.Contains(path, "/microsoft.keyvault/") || aboutRoles(path)
}

func aboutRoles(path string) bool {
	return strings.Contains(path, "/microsoft.authorization/") || strings.Contains(path, "/microsoft.managedidentity/")
}

// closest finds the cause that is most about a breach; at least so much.
func closest(breach Breach, causes []Cause, least int) (Cause, bool) {
	best, score := Cause{}, least-1
	for _, by := range causes {
		if s := relation(breach, by); s >= score {
			best, score = by, s
		}
	}
	return best, score >= least
}

// relation says how much a cause is about a breach.
func relation(breach Breach, by Cause) int {
	path, score := strings.ToLower(by.Path), 0
	vault, key := keyParts(breach.Key)
	for _, part := range []struct {
		text   string
		weight int
	}{{"/servers/" + breach.Server + "/", 2}, {"/servers/" + breach.Owner + "/", 2}, {vault, 2}, {key, 2}} {
		if part.text != "" && strings.Contains(path+"/", part.text) {
			score += part.weight
		}
	}
	if aboutRoles(path) {
		score++
	}
	return score
}

// keyParts are the vault and the name of a key's URI.
func keyParts(uri string) (vault, key string) {
	rest, is := strings.CutPrefix(strings.ToLower(uri), "https://")
	if !is {
		return "", ""
	}
	host, path, _ := strings.Cut(rest, "/keys/")
	vault, _, _ = strings.Cut(host, ".")
	name, _, _ := strings.Cut(path, "/")
	return vault, "/keys/" + name
}
