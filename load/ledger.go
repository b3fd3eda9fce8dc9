package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Format is the first word of a ledger's header. docs/load.md describes the
// file.
const Format = "crosskeys-load-ledger/1"

// Header is a ledger's first line, in JSON.
type Header struct {
	Format    string    `json:"format"`
	Run       string    `json:"run"` // 32 hexadecimal digits; names the run's rows in the table
	Listener  string    `json:"listener"`
	Database  string    `json:"database"`
	Table     string    `json:"table"`
	StartedAt time.Time `json:"startedAt"`
}

// Ledger is the account of a run's writes: in memory and, where it has a file,
// appended to that before a write is sent and after it is acknowledged. It is
// safe for concurrent use.
type Ledger struct {
	header Header
	sync   bool

	mu     sync.Mutex
	file   *os.File // nil: in memory alone
	writes Writes
}

// Writes is what a ledger says, by writer and sequence.
type Writes struct {
	Header  Header
	Writers [][]Write
	// TornBytes is how much of an unfinished line the file ended in.
	TornBytes int
}

// Write is one write as the ledger has it.
type Write struct {
	Checksum     string
	Acknowledged bool
}

// NewLedger keeps a ledger in memory.
func NewLedger(h Header) *Ledger {
	h.Format = Format
	return &Ledger{header: h, writes: Writes{Header: h}}
}

// CreateLedger begins a ledger in a new file; one that is there already is left
// alone and an error. With fsync each line is on disk before the work goes on,
// so that it outlives a crash of the machine and not only of the process. The
// caller closes it.
func CreateLedger(path string, h Header, fsync bool) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin the ledger: %w", err)
	}
	l := NewLedger(h)
	l.file, l.sync = file, fsync
	text, err := json.Marshal(l.header)
	if err == nil {
		err = l.append(string(text))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// Header is what the ledger is of.
func (l *Ledger) Header() Header { return l.header }

// Close closes the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}

// append writes a line in one call, so that a crash tears the last one at most.
func (l *Ledger) append(line string) error {
	if l.file == nil {
		return nil
	}
	if _, err := l.file.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if l.sync {
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
	}
	return nil
}

// Intend notes a write before it is sent. A writer's writes come in the order
// of their sequence.
func (l *Ledger) Intend(row Row, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writes.intend(row.ID, row.Checksum); err != nil {
		return err
	}
	return l.append(fmt.Sprintf("I\t%d\t%d\t%s\t%s", row.Writer, row.Sequence, row.Checksum, at.UTC().Format(time.RFC3339Nano)))
}

// Acknowledge notes that the server has acknowledged a write.
func (l *Ledger) Acknowledge(id ID, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writes.acknowledge(id); err != nil {
		return err
	}
	return l.append(fmt.Sprintf("A\t%d\t%d\t%s", id.Writer, id.Sequence, at.UTC().Format(time.RFC3339Nano)))
}

// Writes copies what the ledger says now.
func (l *Ledger) Writes() Writes {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := Writes{Header: l.header, Writers: make([][]Write, len(l.writes.Writers))}
	for i, list := range l.writes.Writers {
		w.Writers[i] = slices.Clone(list)
	}
	return w
}

// pick chooses an acknowledged write by two numbers from [0, 1); false when it
// hits none.
func (l *Ledger) pick(writer, sequence float64) (ID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.writes.Writers) == 0 {
		return ID{}, false
	}
	id := ID{Writer: int(writer * float64(len(l.writes.Writers)))}
	list := l.writes.Writers[id.Writer]
	if len(list) == 0 {
		return ID{}, false
	}
	id.Sequence = int64(sequence * float64(len(list)))
	return id, list[id.Sequence].Acknowledged
}

// writersLimit bounds the writers of a ledger, so that a broken file does not
// ask for memory without end.
const writersLimit = 1 << 16

func (w *Writes) intend(id ID, checksum string) error {
	if id.Writer < 0 || id.Writer >= writersLimit {
		return fmt.Errorf("ledger: there is no writer %d", id.Writer)
	}
	for len(w.Writers) <= id.Writer {
		w.Writers = append(w.Writers, nil)
	}
	if id.Sequence != int64(len(w.Writers[id.Writer])) {
		return fmt.Errorf("ledger: write %d of writer %d comes out of order", id.Sequence, id.Writer)
	}
	w.Writers[id.Writer] = append(w.Writers[id.Writer], Write{Checksum: checksum})
	return nil
}

func (w *Writes) acknowledge(id ID) error {
	if id.Writer < 0 || id.Writer >= len(w.Writers) || id.Sequence < 0 || id.Sequence >= int64(len(w.Writers[id.Writer])) {
		return fmt.Errorf("ledger: write %d of writer %d is acknowledged and was never intended", id.Sequence, id.Writer)
	}
	w.Writers[id.Writer][id.Sequence].Acknowledged = true
	return nil
}
