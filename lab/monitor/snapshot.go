// Package monitor judges the lab's own true state by the rules of the safety
// model after every change, and keeps each interval in which one did not hold,
// with the call or the event that opened it. The rules are those by which plans
// are proved, of package model, so that what is proved and what is watched are
// one.
package monitor

import "time"

// Snapshot is what the rules ask of the lab at one moment.
type Snapshot struct {
	Servers   []Server
	Databases []Database
	// Changing are the protector changes that are under way.
	Changing []Changing
}

// Server is a logical server.
type Server struct {
	Name      string
	Protector string // URI; empty for service-managed
	Auto      bool   // it rotates by itself
	Keys      []Key  // that are registered
	Partners  []string
}

// Key is a key that is registered on a server.
type Key struct {
	URI        string
	Thumbprint string
	// Usable: the server's identity can read it, wrap and unwrap with it now.
	Usable bool
}

// Database is a database with its copies.
type Database struct {
	Name   string
	Copies []Copy   // the primary first
	Old    []string // thumbprints of what active log files and backups may need
}

// Copy is a copy of a database on a server. Both are empty where the DEK is
// wrapped by a built-in certificate, or there is none.
type Copy struct {
	Server     string
	URI        string // of the key that wraps the DEK
	Thumbprint string
}

// Changing is a protector change that is under way.
type Changing struct {
	Server string
	Began  time.Time
}

// Breach is a rule that does not hold: Server cannot use Key, which is Owner's
// protector, or wraps the DEK of Owner's copy of Database, or did. Of the rule
// One, Server and Owner both change their protectors.
type Breach struct {
	Rule     string `json:"rule"`
	Server   string `json:"server"`
	Owner    string `json:"owner,omitempty"`
	Key      string `json:"key,omitempty"`      // URI, or a thumbprint where only that is known
	Database string `json:"database,omitempty"` // on its primary
}

// key finds a registered key by its URI.
func (s Server) key(uri string) (Key, bool) {
	for _, key := range s.Keys {
		if key.URI == uri {
			return key, true
		}
	}
	return Key{}, false
}

// material says whether a key of a material is registered, and whether one can
// be used. A key that is registered by its own URI is the one that the service
// takes, whatever others of its material there are.
func (s Server) material(uri, thumbprint string) (registered, usable bool) {
	if key, exact := s.key(uri); exact {
		return true, key.Usable
	}
	for _, key := range s.Keys {
		if key.Thumbprint == thumbprint {
			registered, usable = true, usable || key.Usable
		}
	}
	return registered, usable
}
