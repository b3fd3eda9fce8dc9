// Package latency says how long the lab's operations take: not at all, or as
// long as they were seen to take on Azure, divided by a speed factor.
package latency

import (
	"fmt"
	"time"
)

// Kind names something that takes time. The names of long-running operations
// are those that Azure SQL gives in its 202 answers.
type Kind string

// What takes time beside the named operations.
const (
	// Permission is the time until a grant or revocation reaches the data
	// plane, about ten minutes.
	// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview
	Permission Kind = "permission"
	// Rewrap is the time from a protector change until a database of the
	// server has its DEK wrapped by the new key.
	Rewrap Kind = "rewrap"
	// Replica is the time from there until the geo-secondary follows.
	Replica Kind = "replica"
)

// Profile is a table of durations. The zero value is Instant.
type Profile struct {
	name  string
	speed float64
	takes map[Kind]time.Duration
	other time.Duration
}

// Instant lets everything happen at once.
func Instant() Profile { return Profile{name: "instant", speed: 1} }

// Azure takes the durations observed in recordings of the real service,
// divided by speed. An unknown speed (zero or less) is 1.
func Azure(speed float64) Profile {
	if speed <= 0 {
		speed = 1
	}
	return Profile{name: "azure", speed: speed, other: 2 * time.Second, takes: map[Kind]time.Duration{
		Permission:                                   10 * time.Minute,
		Rewrap:                                       30 * time.Second,
		Replica:                                      30 * time.Second,
		"UpsertLogicalServer":                        55 * time.Second,
		"DropLogicalServer":                          15 * time.Second,
		"CreateLogicalDatabase":                      45 * time.Second,
		"UpdateLogicalDatabase":                      30 * time.Second,
		"DropLogicalDatabase":                        10 * time.Second,
		"UpsertLogicalServerEncryptionKeys":          8500 * time.Millisecond,
		"DeleteLogicalServerEncryptionKeys":          2 * time.Second,
		"UpsertLogicalServerEncryptionprotector":     8500 * time.Millisecond,
		"RevalidateLogicalServerEncryptionProtector": 200 * time.Second,
		"CreateFailoverGroup":                        80 * time.Second,
		"UpdateFailoverGroup":                        11 * time.Second,
		"DropFailoverGroup":                          11 * time.Second,
		"FailoverFailoverGroup":                      45 * time.Second,
		"ForceFailoverFailoverGroup":                 11 * time.Second,
		"FailoverContinuousCopy":                     45 * time.Second,
		"ForceFailoverContinuousCopy":                11 * time.Second,
	}}
}

// Parse reads the name of a profile, "instant" or "azure"; empty is instant.
func Parse(name string, speed float64) (Profile, error) {
	switch name {
	case "", "instant":
		return Instant(), nil
	case "azure":
		return Azure(speed), nil
	}
	return Profile{}, fmt.Errorf("latency profile %q: want instant or azure", name)
}

// Name is the profile's name.
func (p Profile) Name() string {
	if p.name == "" {
		return "instant"
	}
	return p.name
}

// Of is how long kind takes.
func (p Profile) Of(kind Kind) time.Duration {
	if p.takes == nil {
		return 0
	}
	d, known := p.takes[kind]
	if !known {
		d = p.other
	}
	return time.Duration(float64(d) / p.speed)
}

// RetryAfter scales the pause that Azure asks for between two polls. In a
// profile faster than Azure it shrinks alike, but never below 20 ms.
func (p Profile) RetryAfter(azure time.Duration) time.Duration {
	if p.takes == nil {
		return 20 * time.Millisecond
	}
	return max(time.Duration(float64(azure)/p.speed), 20*time.Millisecond)
}

// Faster reports whether the lab runs ahead of Azure's own pace, so that
// clients may be told to poll more often than whole seconds allow.
func (p Profile) Faster() bool { return p.takes == nil || p.speed > 1 }
