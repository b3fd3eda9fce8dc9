package load

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// LedgerError says where a ledger's file is broken.
type LedgerError struct {
	Line int // from 1
	What string
}

// Error names the line.
func (e *LedgerError) Error() string {
	return fmt.Sprintf("the ledger is broken in line %d: %s", e.Line, e.What)
}

// ReadLedger reads a ledger's file. A last line without its end is what a crash
// leaves, and is left out; anything else that is wrong is a *LedgerError.
func ReadLedger(path string) (Writes, error) {
	file, err := os.Open(path)
	if err != nil {
		return Writes{}, fmt.Errorf("read the ledger: %w", err)
	}
	defer func() { _ = file.Close() }()
	return ParseLedger(file)
}

// lineLimit bounds a line, in bytes; the header is the longest.
const lineLimit = 1 << 16

// ParseLedger reads a ledger.
func ParseLedger(from io.Reader) (Writes, error) {
	reader := bufio.NewReaderSize(from, lineLimit)
	var w Writes
	for line := 1; ; line++ {
		text, err := reader.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			w.TornBytes = len(text)
			if line == 1 {
				return w, &LedgerError{Line: 1, What: "it has no header"}
			}
			return w, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return w, &LedgerError{Line: line, What: "the line is too long"}
		case err != nil:
			return w, fmt.Errorf("read the ledger: %w", err)
		}
		what := strings.TrimSuffix(string(text), "\n")
		if line == 1 {
			err = w.readHeader(what)
		} else {
			err = w.readLine(what)
		}
		if err != nil {
			return w, &LedgerError{Line: line, What: err.Error()}
		}
	}
}

func (w *Writes) readHeader(line string) error {
	if err := json.Unmarshal([]byte(line), &w.Header); err != nil {
		return fmt.Errorf("the header is no JSON: %w", err)
	}
	if w.Header.Format != Format {
		return fmt.Errorf("the format is %q, not %q", w.Header.Format, Format)
	}
	return nil
}

func (w *Writes) readLine(line string) error {
	fields := strings.Split(line, "\t")
	intended := fields[0] == "I" && len(fields) == 5
	if !intended && (fields[0] != "A" || len(fields) != 4) {
		return errors.New("it is neither I with four fields nor A with three")
	}
	writer, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil {
		return fmt.Errorf("the writer %q is no number", fields[1])
	}
	sequence, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fmt.Errorf("the sequence %q is no number", fields[2])
	}
	if _, err := time.Parse(time.RFC3339Nano, fields[len(fields)-1]); err != nil {
		return fmt.Errorf("the time %q is none", fields[len(fields)-1])
	}
	id := ID{Writer: int(writer), Sequence: sequence}
	if !intended {
		return w.acknowledge(id)
	}
	if sum, err := hex.DecodeString(fields[3]); err != nil || len(sum) != 16 {
		return fmt.Errorf("the checksum %q is none", fields[3])
	}
	return w.intend(id, fields[3])
}
