package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

// logFile is the log of an open database: its virtual log files in their order, of which the last is written to.
type logFile struct {
	dir    string
	noSync bool
	mu     sync.Mutex
	segs   []*segment
}

// current is the virtual log file that is written to.
func (l *logFile) current() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs[len(l.segs)-1]
}

// begin begins a new virtual log file. What is in the one before is durable then.
func (l *logFile) begin(dek *WrappedDEK) error {
	old := l.current()
	if !l.noSync {
		if err := old.file.Sync(); err != nil {
			return fmt.Errorf("flushing the log: %w", err)
		}
	}
	t := vlfText{Sequence: old.Sequence + 1, CreateLSN: old.last(), BeginOffset: old.BeginOffset + old.size, Parity: 64 + 64*uint8(old.Sequence%2), DEK: dek}
	s, err := createSegment(l.dir, t, l.noSync)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = append(l.segs, s)
	return nil
}

// append writes a framed record, whose first frameSize bytes are left for the frame. It gives where the record's bytes
// begin. There is one caller at a time.
func (l *logFile) append(framed []byte, durable LSN) (*segment, int64, error) {
	s := l.current()
	putFrame(framed, durable)
	if _, err := s.file.WriteAt(framed, s.size); err != nil {
		err = fmt.Errorf("writing the log: %w", err)
		// What was written of it must not be taken for a record at the next start.
		return nil, 0, errors.Join(err, s.file.Truncate(s.size))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := s.size
	s.offsets = append(s.offsets, at)
	s.size += int64(len(framed))
	return s, at + frameSize, nil
}

func putFrame(framed []byte, durable LSN) {
	binary.LittleEndian.PutUint32(framed, uint32(len(framed)-frameSize))
	binary.LittleEndian.PutUint64(framed[8:], uint64(durable))
	binary.LittleEndian.PutUint32(framed[4:], frameSum(framed))
}

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[8:frameSize])
}

// parseFrame reads a frame; ok is false when it is none.
func parseFrame(frame []byte) (length int64, durable LSN, ok bool) {
	length = int64(binary.LittleEndian.Uint32(frame))
	ok = binary.LittleEndian.Uint32(frame[4:]) == frameSum(frame) && length >= recordHeader && length <= maxRecord
	return length, LSN(binary.LittleEndian.Uint64(frame[8:])), ok
}

// sync makes what was appended durable.
func (l *logFile) sync() error {
	if l.noSync {
		return nil
	}
	if err := l.current().file.Sync(); err != nil {
		return fmt.Errorf("flushing the log: %w", err)
	}
	return nil
}

// first is the LSN of the first record that the log has or will have.
func (l *logFile) first() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs[0].CreateLSN + 1
}

// read gives the record of an LSN, which must have been appended.
func (l *logFile) read(lsn LSN) (Record, error) {
	l.mu.Lock()
	var seg *segment
	for i := len(l.segs) - 1; i >= 0; i-- {
		if s := l.segs[i]; s.CreateLSN < lsn && lsn <= s.last() {
			seg = s
			break
		}
	}
	if seg == nil {
		l.mu.Unlock()
		return Record{}, fmt.Errorf("log record %d: %w", lsn, ErrLogTruncated)
	}
	off := seg.offsets[lsn-seg.CreateLSN-1]
	// The file is read under the lock, so that it is not taken away meanwhile.
	defer l.mu.Unlock()
	b, _, err := readFramed(seg.file, off)
	if err != nil {
		return Record{}, err
	}
	r, err := parseRecord(b)
	if err != nil {
		return Record{}, err
	}
	if r.LSN != lsn {
		return Record{}, fmt.Errorf("log record %d stands where %d should: %w", r.LSN, lsn, ErrCorrupt)
	}
	return r, nil
}

func readFramed(f *os.File, off int64) (b []byte, durable LSN, err error) {
	var frame [frameSize]byte
	if _, err := f.ReadAt(frame[:], off); err != nil {
		return nil, 0, fmt.Errorf("reading the log: %w", err)
	}
	length, durable, ok := parseFrame(frame[:])
	if !ok {
		return nil, 0, fmt.Errorf("log frame at %d: %w", off, ErrCorrupt)
	}
	b = make([]byte, length)
	if _, err := f.ReadAt(b, off+frameSize); err != nil {
		return nil, 0, fmt.Errorf("reading the log: %w", err)
	}
	return b, durable, nil
}

// trim removes virtual log files whose records are all at or before floor, the newest keep of them excepted unless they
// end at or before wipe; what is removed is overwritten first when it does.
func (l *logFile) trim(floor, wipe LSN, keep int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := activeFrom(l.segs, floor)
	n := 0
	for n < active && (n < active-keep || l.segs[n].last() <= wipe) {
		n++
	}
	for i := range n {
		s := l.segs[0]
		if s.last() <= wipe {
			if err := overwrite(s.file, s.size); err != nil {
				return err
			}
		}
		if err := errors.Join(s.file.Close(), os.Remove(s.name)); err != nil {
			return fmt.Errorf("removing log file: %w", err)
		}
		l.segs = l.segs[1:]
		if i == n-1 {
			return syncDir(filepath.Join(l.dir, logName), l.noSync)
		}
	}
	return nil
}

// overwrite clears a file, so that its blocks do not keep what was in it.
func overwrite(f *os.File, size int64) error {
	zero := make([]byte, 256<<10)
	for off := int64(0); off < size; off += int64(len(zero)) {
		if _, err := f.WriteAt(zero[:min(int64(len(zero)), size-off)], off); err != nil {
			return fmt.Errorf("overwriting log file: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("overwriting log file: %w", err)
	}
	return nil
}

// hasUpTo reports whether any virtual log file at or before lsn is still there.
func (l *logFile) hasUpTo(lsn LSN) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segs) > 1 && l.segs[0].last() <= lsn
}

func (l *logFile) list(floor LSN) []VLF {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := activeFrom(l.segs, floor)
	out := make([]VLF, len(l.segs))
	for i, s := range l.segs {
		out[i] = s.vlf(i >= active)
	}
	return out
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	closeSegments(l.segs)
}
