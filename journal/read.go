package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/crosskeys/crosskeys/plan"
)

// maxLine is in bytes; an observation of a hundred servers has some 500,000.
const maxLine = 16 << 20

// Log is a journal that was read.
type Log struct {
	Records []Record
	// Head is the SHA-256 of the last whole line.
	Head string
	// TornBytes is the length of an incomplete last line; 0 as a rule. A crash
	// leaves one when it interrupts a write; nothing was done on its strength.
	TornBytes int
}

// Begin is the first record's entry.
func (l Log) Begin() BeginEntry { return *l.Records[0].Begin }

// Plan is the plan that the run is carrying out: the newest.
func (l Log) Plan() plan.Plan {
	for _, r := range slices.Backward(l.Records) {
		if r.Kind == Replan {
			return r.Replan.Plan
		}
	}
	return l.Begin().Plan
}

// Status is how the newest part of the run ended; StatusRunning where it has
// no end.
func (l Log) Status() string {
	if last := l.Records[len(l.Records)-1]; last.Kind == End {
		return last.End.Status
	}
	return StatusRunning
}

// Complete reports whether the run has reached the end of its plan.
func (l Log) Complete() bool { return l.Status() == StatusDone }

// Statuses of a run that mean something to the store.
const (
	StatusRunning = "running" // its newest part has no end
	StatusDone    = "done"    // all of its plan is done
	StatusAborted = "aborted" // for good
)

// ErrNeverBegan says that a journal has no whole record: a crash came before
// its first one was on disk, so nothing was done under it.
var ErrNeverBegan = errors.New("the journal holds no whole record")

// ChainError names the record at which a journal is not what was written.
type ChainError struct {
	Record int // from 1
	What   string
	Err    error // the cause, where there is one
}

// Error says which record is broken and how.
func (e *ChainError) Error() string {
	text := fmt.Sprintf("the journal is broken at record %d: %s", e.Record, e.What)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *ChainError) Unwrap() error { return e.Err }

// Read reads and verifies the journal at path.
func Read(path string) (Log, error) {
	file, err := os.Open(path)
	if err != nil {
		return Log{}, fmt.Errorf("read journal: %w", err)
	}
	log, err := Parse(file)
	if err != nil {
		err = fmt.Errorf("read journal %s: %w", path, err)
	}
	return log, errors.Join(err, file.Close())
}

// Parse reads a journal and verifies its chain. A last line without its line
// feed is torn and left out; every other fault is a *ChainError.
func Parse(from io.Reader) (Log, error) {
	log := Log{Head: zeroHash}
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := readLine(reader)
		switch {
		case errors.Is(err, io.EOF):
			log.TornBytes = len(line)
			if len(log.Records) == 0 {
				return Log{}, ErrNeverBegan
			}
			return log, nil
		case err != nil:
			return Log{}, &ChainError{Record: len(log.Records) + 1, What: "it cannot be read", Err: err}
		}
		if err := log.take(line); err != nil {
			return Log{}, err
		}
	}
}

var errLongLine = fmt.Errorf("it is longer than %d bytes", maxLine)

// readLine gives a line without its line feed; with io.EOF, what stands after
// the last one.
func readLine(reader *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := reader.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine+1 {
			return nil, errLongLine
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(line, []byte{'\n'}), err
	}
}

func (l *Log) take(line []byte) error {
	number := len(l.Records) + 1
	var r Record
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return &ChainError{Record: number, What: "it is no journal record", Err: err}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return &ChainError{Record: number, What: "it goes on after the record"}
	}
	switch {
	case r.Seq != number:
		return &ChainError{Record: number, What: fmt.Sprintf("it has the number %d: a record was taken out or put in", r.Seq)}
	case r.Prev != l.Head:
		return &ChainError{Record: number, What: "its hash does not fit the record before it, which has been changed"}
	}
	if err := r.check(number); err != nil {
		return &ChainError{Record: number, What: err.Error()}
	}
	l.Records = append(l.Records, r)
	l.Head = hashOf(line)
	return nil
}

// check holds a record to its kind: exactly the entry of its name is set.
func (r Record) check(number int) error {
	entries := map[Kind]bool{
		Begin: r.Begin != nil, Resume: r.Resume != nil, Seen: r.Seen != nil, Intent: r.Intent != nil, Call: r.Call != nil,
		Answer: r.Answer != nil, ReadBack: r.ReadBack != nil, Result: r.Result != nil, Replan: r.Replan != nil, Note: r.Note != "", End: r.End != nil,
	}
	set, known := entries[r.Kind]
	if !known {
		return fmt.Errorf("it is of the unknown kind %q", r.Kind)
	}
	count := 0
	for _, is := range entries {
		if is {
			count++
		}
	}
	if !set || count != 1 {
		return fmt.Errorf("its content does not fit its kind %q", r.Kind)
	}
	if (r.Kind == Begin) != (number == 1) {
		return fmt.Errorf("a journal has one record of kind %q, its first", Begin)
	}
	if r.Begin != nil && r.Begin.SchemaVersion != SchemaVersion {
		return fmt.Errorf("the journal has schema version %d; this program reads version %d", r.Begin.SchemaVersion, SchemaVersion)
	}
	return nil
}
