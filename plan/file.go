package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// FileError says that a plan file, or a file of desired protectors, cannot be
// used.
type FileError struct {
	What string
	Hint string
	Err  error // the cause, where there is one
}

// Error gives what is wrong; Hint is for the line below it.
func (e *FileError) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return e.What
}

// Unwrap gives the cause.
func (e *FileError) Unwrap() error { return e.Err }

const planAgain = "make the plan again with crosskeys plan"

// file is a plan as it is written: with the hash of its own content.
type file struct {
	Plan
	PlanHash string `json:"planHash"`
}

// Encode writes the plan as indented JSON, with a hash that Decode checks. The
// same plan always gives the same bytes.
func Encode(p Plan) ([]byte, error) {
	p, err := asRead(p)
	if err != nil {
		return nil, err
	}
	sum, err := hash(p)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(file{Plan: p, PlanHash: sum}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write plan: %w", err)
	}
	return append(text, '\n'), nil
}

// asRead gives the plan as a reader will have it. JSON cannot hold every Go
// string (bytes that are not UTF-8 are replaced), and the hash must be that of
// what arrives.
func asRead(p Plan) (Plan, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return Plan{}, fmt.Errorf("write plan: %w", err)
	}
	var read Plan
	if err := json.Unmarshal(text, &read); err != nil {
		return Plan{}, fmt.Errorf("write plan: %w", err)
	}
	return read, nil
}

// hash is the SHA-256, in hexadecimal, of the plan's compact JSON. It guards
// against a change by hand or by accident, not against somebody who means to
// forge a plan.
func hash(p Plan) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("hash plan: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Decode reads what Encode wrote. Unknown fields, another schema version, a
// content that does not fit its hash, and steps that make no sense are a
// *FileError.
func Decode(text []byte) (Plan, error) {
	var version struct {
		SchemaVersion *int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return Plan{}, &FileError{What: "the plan file is not JSON", Hint: planAgain, Err: err}
	}
	if version.SchemaVersion == nil {
		return Plan{}, &FileError{What: "the file is no plan: it has no schemaVersion", Hint: planAgain}
	}
	if *version.SchemaVersion != SchemaVersion {
		return Plan{}, &FileError{
			What: fmt.Sprintf("the plan file has schema version %d; this program reads version %d", *version.SchemaVersion, SchemaVersion),
			Hint: planAgain,
		}
	}
	var f file
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return Plan{}, &FileError{What: "the plan file cannot be read", Hint: planAgain, Err: err}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Plan{}, &FileError{What: "the plan file goes on after the plan", Hint: planAgain}
	}
	sum, err := hash(f.Plan)
	if err != nil {
		return Plan{}, &FileError{What: "the plan file cannot be read", Hint: planAgain, Err: err}
	}
	if sum != f.PlanHash {
		return Plan{}, &FileError{
			What: "the plan file has been changed since it was written: its content does not fit its planHash",
			Hint: "a plan is not for editing; change what is desired and " + planAgain,
		}
	}
	if err := checkSteps(f.Steps); err != nil {
		return Plan{}, &FileError{What: "the plan's steps make no sense", Hint: planAgain, Err: err}
	}
	return f.Plan, nil
}

// checkSteps holds the steps to what an executor relies on: numbers from 1
// without gaps, known kinds, and dependencies on earlier steps only.
func checkSteps(steps []Step) error {
	kinds := []Kind{Grant, Register, SetProtector, VerifyEncryption, PlannedFailover}
	for i, s := range steps {
		if s.Number != i+1 {
			return fmt.Errorf("step %d has the number %d", i+1, s.Number)
		}
		if !slices.Contains(kinds, s.Kind) {
			return fmt.Errorf("step %d is of the unknown kind %q", s.Number, s.Kind)
		}
		for _, n := range s.DependsOn {
			if n < 1 || n >= s.Number {
				return fmt.Errorf("step %d depends on step %d, which is not before it", s.Number, n)
			}
		}
	}
	return nil
}

// Hash is the planHash that Encode writes.
func Hash(p Plan) (string, error) {
	p, err := asRead(p)
	if err != nil {
		return "", err
	}
	return hash(p)
}
