// Package journal keeps the record of a run: an append-only file of one JSON
// record per line, each with the SHA-256 of the line before it, each on disk
// before Append returns. What a run is about to do is written before it is
// done, so that after a crash the file says what may have happened. A record
// changed or removed later breaks the chain and is named by Read; a chain that
// ends early cannot be told from one that was cut there, so a report prints
// the head, which somebody may keep elsewhere.
//
// A Journal is safe for concurrent use. Nothing that looks like a bearer token
// is ever written.
package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Suffix ends the names of journal files.
const Suffix = ".jsonl"

// ErrHeld says that another process has the journal, or a server's lock, open.
var ErrHeld = errors.New("another run of crosskeys holds it")

// Journal is a journal that is being written.
type Journal struct {
	now  func() time.Time
	path string
	run  string

	mu     sync.Mutex
	file   *os.File
	seq    int
	head   string
	failed error
}

// Create begins a new journal in the folder, which is made where it is
// missing, and writes its first record.
func Create(folder string, begin BeginEntry, now func() time.Time) (*Journal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	begin.SchemaVersion = SchemaVersion
	base := runID(begin, now())
	for n := 1; ; n++ {
		begin.Run = base
		if n > 1 {
			begin.Run = fmt.Sprintf("%s-%d", base, n)
		}
		path := filepath.Join(folder, begin.Run+Suffix)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if errors.Is(err, os.ErrExist) && n < 100 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create journal: %w", err)
		}
		return start(file, path, begin, now)
	}
}

func start(file *os.File, path string, begin BeginEntry, now func() time.Time) (*Journal, error) {
	j := &Journal{now: now, path: path, run: begin.Run, file: file, head: zeroHash}
	err := hold(file)
	if err == nil {
		err = j.Append(Record{Kind: Begin, Begin: &begin})
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create journal %s: %w", path, err), file.Close())
	}
	return j, nil
}

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

// Open takes a journal up again: it checks the whole chain, drops a torn last
// line, writes a Resume record, and returns what was there before it.
func Open(path string, who Who, now func() time.Time) (*Journal, Log, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, Log{}, fmt.Errorf("open journal: %w", err)
	}
	j, log, err := reopen(file, path, who, now)
	if err != nil {
		return nil, Log{}, errors.Join(fmt.Errorf("open journal %s: %w", path, err), file.Close())
	}
	return j, log, nil
}

func reopen(file *os.File, path string, who Who, now func() time.Time) (*Journal, Log, error) {
	if err := hold(file); err != nil {
		return nil, Log{}, err
	}
	log, err := Parse(file)
	if err != nil {
		return nil, Log{}, err
	}
	if log.TornBytes > 0 {
		if err := file.Truncate(log.size); err != nil {
			return nil, Log{}, err
		}
	}
	j := &Journal{now: now, path: path, run: log.Begin().Run, file: file, seq: len(log.Records), head: log.Head}
	err = j.Append(Record{Kind: Resume, Resume: &ResumeEntry{Who: who, TornBytes: log.TornBytes}})
	return j, log, err
}

// Path is where the journal is.
func (j *Journal) Path() string { return j.path }

// Run is the run's id, which is the file's name without its suffix.
func (j *Journal) Run() string { return j.run }

// Head is the SHA-256 of the last line.
func (j *Journal) Head() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head
}

// Append numbers, chains and writes a record and returns once it is on disk.
// After a failure the file's end is not known, so every further call fails.
func (j *Journal) Append(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return fmt.Errorf("journal %s cannot be written any more: %w", j.path, j.failed)
	}
	r.Seq, r.Prev, r.At = j.seq+1, j.head, j.now().UTC().Round(0)
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	line = scrub(line)
	if len(line) > maxLine {
		return fmt.Errorf("write journal: a record of %d bytes is longer than %d", len(line), maxLine)
	}
	if err := j.write(append(line, '\n')); err != nil {
		j.failed = err
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	j.seq, j.head = r.Seq, hashOf(line)
	return nil
}

func (j *Journal) write(line []byte) error {
	if _, err := j.file.Write(line); err != nil {
		return err
	}
	return j.file.Sync()
}

// Close lets go of the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		j.failed = os.ErrClosed
	}
	return j.file.Close()
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

// syncFolder makes a new file's name durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
