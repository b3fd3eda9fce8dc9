package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
)

// Call is one line of the lab's log: an ARM call that was answered.
type Call struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Query  string    `json:"query,omitempty"`
	Caller string    `json:"caller,omitempty"` // application id
	Status int       `json:"status"`
	Code   string    `json:"code,omitempty"` // of a refusal
}

// callLog writes the log to a file in the state folder. The log is for
// people: it is not synced, and a killed lab may lose its last lines.
type callLog struct {
	clock *clock.Clock
	mu    sync.Mutex
	file  *os.File
}

func openCallLog(path string, c *clock.Clock) (*callLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lab's log: %w", err)
	}
	return &callLog{clock: c, file: file}, nil
}

func (l *callLog) record(r arm.CallRecord) {
	line, err := json.Marshal(Call{Time: l.clock.Now(), Method: r.Method, Path: r.Path, Query: r.Query, Caller: r.Caller, Status: r.Status, Code: r.Code})
	if err != nil {
		return // plain strings and numbers always marshal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(line, '\n')) // a full disk must not fail the call that is logged
}

// Close closes the file.
func (l *callLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// ReadCalls reads a lab's log file. A last line that was cut off is left out.
func ReadCalls(path string) ([]Call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the lab's log: %w", err)
	}
	var calls []Call
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var call Call
		if json.Unmarshal(lines.Bytes(), &call) == nil {
			calls = append(calls, call)
		}
	}
	return calls, errors.Join(lines.Err(), file.Close())
}
