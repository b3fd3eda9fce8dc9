// Package journal keeps the records of runs: each an append-only chain of JSON
// records, one a line, each with the SHA-256 of the line before it, each on
// disk before Append returns. What a run is about to do is written before it is
// done, so that after a crash the journal says what may have happened. A record
// that is changed or removed later breaks the chain and is named by Parse; a
// chain that ends early cannot be told from one that was cut there, so a report
// prints the head, which somebody may keep elsewhere.
//
// A Store holds the journals, and who may change which server: runs that share
// a store keep off each other's servers by leases, and what a run appends is
// written only while it has its servers. Nothing that looks like a bearer token
// is ever written.
package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"time"
)

// Suffix ends the names of files that hold a journal's lines.
const Suffix = ".jsonl"

// ErrHeld says that another run has a server.
var ErrHeld = errors.New("another run of crosskeys holds it")

var unsafeInName = regexp.MustCompile(`[^0-9A-Za-z-]+`)

// runID names a run by when it began, what it is on and which plan it is of.
func runID(begin BeginEntry, at time.Time) string {
	id := strings.Replace(at.UTC().Format("20060102-150405.000"), ".", "-", 1)
	if target := unsafeInName.ReplaceAllString(begin.Target, "-"); target != "" {
		id += "-" + strings.ToLower(target[:min(len(target), 63)])
	}
	if len(begin.PlanHash) >= 8 {
		id += "-" + begin.PlanHash[:8]
	}
	return id
}

var secretPattern = regexp.MustCompile(`eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*|(?i:bearer) +[0-9A-Za-z._~+/=-]{8,}`)

// scrub takes out what looks like a bearer token. The tool writes none; this
// is for a service that would echo one.
func scrub(line []byte) []byte { return secretPattern.ReplaceAll(line, []byte("(removed)")) }

const zeroHash = "0000000000000000000000000000000000000000000000000000000000000000"

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
