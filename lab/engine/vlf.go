package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A virtual log file is a header of 8192 bytes (magic, CRC-32C of the rest, length of the text, the text as JSON), then
// records, each after a frame of 16 bytes: length, CRC-32C of the frame's other parts, the LSN that was durable when the
// record was written.
const (
	vlfMagic  = "CKVLF001"
	vlfHeader = 8192
	vlfSuffix = ".vlf"
	frameSize = 16
)

// vlfText is what the header says. It is never changed, whatever becomes of the wrapping that it has a copy of.
type vlfText struct {
	Sequence    uint64      `json:"sequence"`
	CreateLSN   LSN         `json:"createLsn"`
	BeginOffset int64       `json:"beginOffset"`
	Parity      uint8       `json:"parity"`
	DEK         *WrappedDEK `json:"dek,omitempty"`
}

// segment is an open virtual log file.
type segment struct {
	vlfText
	name string
	file *os.File
	// size is where the next record goes; offsets are of the records' frames. Both are the log's, under its lock.
	size    int64
	offsets []int64
}

// last is the LSN of the last record, CreateLSN when there is none.
func (s *segment) last() LSN { return s.CreateLSN + LSN(len(s.offsets)) }

func (s *segment) thumbprint() string {
	if s.DEK == nil {
		return ""
	}
	return s.DEK.Thumbprint
}

func vlfName(dir string, sequence uint64) string {
	return filepath.Join(dir, logName, fmt.Sprintf("%010d%s", sequence, vlfSuffix))
}

// createSegment begins a virtual log file.
func createSegment(dir string, t vlfText, noSync bool) (*segment, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding log header: %w", err)
	}
	head := make([]byte, vlfHeader)
	if len(text) > vlfHeader-16 {
		return nil, fmt.Errorf("log header of %d bytes does not fit", len(text))
	}
	copy(head, vlfMagic)
	binary.LittleEndian.PutUint32(head[12:], uint32(len(text)))
	copy(head[16:], text)
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(head[12:], castagnoli))
	name := vlfName(dir, t.Sequence)
	// A file of that name can be there only when the process ended before anything was in it.
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("beginning log file: %w", err)
	}
	_, err = f.WriteAt(head, 0)
	if err == nil && !noSync {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(filepath.Dir(name), noSync)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("beginning log file: %w", err), f.Close())
	}
	return &segment{vlfText: t, name: name, file: f, size: vlfHeader}, nil
}

// readVLFHeader reads a header; short says that the file ends in it.
func readVLFHeader(f *os.File) (t vlfText, short bool, err error) {
	head := make([]byte, vlfHeader)
	if n, err := f.ReadAt(head, 0); err != nil {
		return t, n < vlfHeader, fmt.Errorf("%s: reading log header: %w", filepath.Base(f.Name()), err)
	}
	length := binary.LittleEndian.Uint32(head[12:])
	if string(head[:8]) != vlfMagic || length > vlfHeader-16 ||
		binary.LittleEndian.Uint32(head[8:]) != crc32.Checksum(head[12:], castagnoli) {
		return t, allZero(head), fmt.Errorf("%s: log header: %w", filepath.Base(f.Name()), ErrCorrupt)
	}
	if err := json.Unmarshal(head[16:16+length], &t); err != nil {
		return t, false, fmt.Errorf("%s: log header: %w: %w", filepath.Base(f.Name()), err, ErrCorrupt)
	}
	return t, false, nil
}

// listSegments opens the virtual log files of a folder, in their order, and reads their headers alone. A last one whose
// header was not written out is not one, since nothing can be in it; and a first one that is overwritten was about to be
// removed. Were it still needed, recovery would miss its records.
func listSegments(dir string, flag int) ([]*segment, error) {
	entries, err := os.ReadDir(filepath.Join(dir, logName))
	if err != nil {
		return nil, fmt.Errorf("listing log files: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), vlfSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	var segs []*segment
	for i, name := range names {
		s, short, err := openSegment(filepath.Join(dir, logName, name), flag)
		if short && len(segs) == 0 && i < len(names)-1 {
			if flag == os.O_RDWR {
				if err := os.Remove(filepath.Join(dir, logName, name)); err != nil {
					return nil, fmt.Errorf("removing log file: %w", err)
				}
			}
			continue
		}
		if short && i == len(names)-1 && i > 0 {
			break
		}
		if err == nil && len(segs) > 0 && s.Sequence != segs[len(segs)-1].Sequence+1 {
			err = errors.Join(fmt.Errorf("log file %d follows %d: %w", s.Sequence, segs[len(segs)-1].Sequence, ErrCorrupt), s.file.Close())
		}
		if err != nil {
			closeSegments(segs)
			return nil, err
		}
		segs = append(segs, s)
	}
	return segs, nil
}

func openSegment(name string, flag int) (s *segment, short bool, err error) {
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, false, fmt.Errorf("opening log file: %w", err)
	}
	t, short, err := readVLFHeader(f)
	if err != nil {
		return nil, short, errors.Join(err, f.Close())
	}
	return &segment{vlfText: t, name: name, file: f, size: vlfHeader}, false, nil
}

func closeSegments(segs []*segment) {
	for _, s := range segs {
		_ = s.file.Close()
	}
}

// activeFrom is the index of the first active one of segs: the log after floor is still needed.
func activeFrom(segs []*segment, floor LSN) int {
	for i := range segs {
		if i == len(segs)-1 || segs[i+1].CreateLSN > floor {
			return i
		}
	}
	return 0
}

// floor is the LSN after which the log is still needed, for recovery or by a hold.
func (b *bootRecord) floor() LSN {
	floor := b.Checkpoint.LSN
	for _, after := range b.Holds {
		floor = min(floor, after)
	}
	return floor
}

// ReadVLFs reads the virtual log files' headers of a database that is not open. FirstLSN is not read.
func ReadVLFs(dir string) ([]VLF, error) {
	b, err := readBoot(dir)
	if err != nil {
		return nil, err
	}
	segs, err := listSegments(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer closeSegments(segs)
	out := make([]VLF, len(segs))
	first := activeFrom(segs, b.floor())
	for i, s := range segs {
		info, err := s.file.Stat()
		if err != nil {
			return nil, fmt.Errorf("reading log file: %w", err)
		}
		s.size = info.Size()
		out[i] = s.vlf(i >= first)
	}
	return out, nil
}

func (s *segment) vlf(active bool) VLF {
	v := VLF{
		Sequence: s.Sequence, Size: s.size, BeginOffset: s.BeginOffset, Active: active, Parity: s.Parity,
		CreateLSN: s.CreateLSN, Thumbprint: s.thumbprint(),
	}
	if len(s.offsets) > 0 {
		v.FirstLSN = s.CreateLSN + 1
	}
	switch {
	case active && s.size > vlfHeader:
		v.Status = 2
	case active:
		v.Status = 1
	}
	return v
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
