package tde

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Fingerprint is the SHA-256, in hexadecimal, of everything in the topology
// that a plan rests on. The time of reading, replication progress and what the
// databases say of themselves are left out, since they change in a world at rest. The
// order of lists, the zone in which a time is written, and whether an empty
// list is nil do not count, so that equal worlds have equal fingerprints
// whoever observed them.
func (t Topology) Fingerprint() (string, error) {
	text, err := json.Marshal(t.atRest())
	if err != nil {
		return "", fmt.Errorf("fingerprint of topology: %w", err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return "", fmt.Errorf("fingerprint of topology: %w", err)
	}
	if text, err = canonical(value); err != nil {
		return "", fmt.Errorf("fingerprint of topology: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// atRest copies what it changes, so that the caller's topology stays as it is.
func (t Topology) atRest() Topology {
	t.ReadAt = time.Time{}
	t.Servers = slices.Clone(t.Servers)
	for i := range t.Servers {
		s := &t.Servers[i]
		s.Databases = slices.Clone(s.Databases)
		for j := range s.Databases {
			d := &s.Databases[j]
			d.Encryption, d.LogKeys, d.Geo, d.SQLUnread = nil, nil, nil, nil
		}
		s.Keys = slices.Clone(s.Keys)
		for j := range s.Keys {
			s.Keys[j].CreatedAt = s.Keys[j].CreatedAt.UTC()
		}
	}
	t.Links = slices.Clone(t.Links)
	for i := range t.Links {
		t.Links[i].Percent = 0
	}
	t.Keys = slices.Clone(t.Keys)
	for i := range t.Keys {
		t.Keys[i].NotBefore = inUTC(t.Keys[i].NotBefore)
		t.Keys[i].Expires = inUTC(t.Keys[i].Expires)
	}
	return t
}

func inUTC(at *time.Time) *time.Time {
	if at == nil {
		return nil
	}
	utc := at.UTC()
	return &utc
}

// canonical writes a JSON value in one way only: object members sorted and
// without empty ones, lists sorted by what their elements are written as. All
// lists of a topology are sets.
func canonical(value any) ([]byte, error) {
	switch v := value.(type) {
	case map[string]any:
		members := map[string]json.RawMessage{}
		for name, member := range v {
			text, err := canonical(member)
			if err != nil {
				return nil, err
			}
			if s := string(text); s != "null" && s != "[]" {
				members[name] = text
			}
		}
		return json.Marshal(members)
	case []any:
		list := make([]string, len(v))
		for i, element := range v {
			text, err := canonical(element)
			if err != nil {
				return nil, err
			}
			list[i] = string(text)
		}
		slices.Sort(list)
		raw := make([]json.RawMessage, len(list))
		for i, text := range list {
			raw[i] = json.RawMessage(text)
		}
		return json.Marshal(raw)
	}
	return json.Marshal(value)
}
