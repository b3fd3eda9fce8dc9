// Package stream frames a sequence of messages on a byte stream that must not
// be trusted: a replication link between two regions, or a backup file that
// lay on disk for years.
//
// A stream opens with a preamble that names its purpose and its version. Each
// frame then carries its length, its kind, its place in the sequence, its
// payload, and a CRC-32C of all of these, so that a flipped bit, a lost, a
// doubled or a swapped frame, and a cut are errors and never data. Payloads
// are limited, so that a false length cannot make the reader ask for memory.
package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// Version is what this code writes, and the only version it reads.
	Version = 1
	// MaxPayload is the longest payload of one frame, in bytes. A longer
	// value, such as the pages of a large transaction, travels in several.
	MaxPayload = 1 << 20

	preambleSize = 12
	headerSize   = 4 + 1 + 8
	bufferSize   = 64 << 10
)

// Kind says what a frame's payload is. The user of a stream gives the kinds
// their meaning, which are 1 to 127.
type Kind uint8

// more is set in the kind of a frame whose message goes on in the next one.
const more Kind = 0x80

// ErrDamaged marks bytes that are not what a Writer wrote: a flipped bit, a
// frame out of its place, a false length, a foreign preamble or version. A
// stream that gave it is not read further.
var ErrDamaged = errors.New("stream is damaged")

// ErrCut marks a stream that ends within a frame or a message. It is ErrDamaged
// too; for a live connection it only says that the peer went.
var ErrCut = fmt.Errorf("stream ends within a message: %w", ErrDamaged)

// castagnoli has hardware support on amd64 and arm64.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frame is one message. Payload is valid until the next call of Read.
type Frame struct {
	Kind    Kind
	Payload []byte
}

// Writer writes frames. It buffers: what was written is on its way only after
// Flush. A Writer is for one goroutine.
type Writer struct {
	to       *bufio.Writer
	sequence uint64
	err      error
}

// NewWriter writes the preamble of a stream with the given purpose, at most 4
// letters, and gives the Writer of its frames.
func NewWriter(to io.Writer, purpose string) (*Writer, error) {
	if len(purpose) > 4 {
		return nil, fmt.Errorf("stream purpose %q is longer than 4 letters", purpose)
	}
	w := &Writer{to: bufio.NewWriterSize(to, bufferSize)}
	_, w.err = w.to.Write(preamble(purpose))
	return w, w.err
}

func preamble(purpose string) []byte {
	b := make([]byte, preambleSize)
	copy(b, "CKST")
	copy(b[4:8], purpose)
	binary.LittleEndian.PutUint32(b[8:], Version)
	return b
}

// Write appends one frame. After an error every later call gives that error.
func (w *Writer) Write(kind Kind, payload []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame of %d bytes, at most %d fit", len(payload), MaxPayload)
	}
	header := frameHeader(kind, w.sequence, len(payload))
	sum := crc32.Update(crc32.Checksum(header[:], castagnoli), castagnoli, payload)
	w.sequence++
	for _, part := range [][]byte{header[:], payload, binary.LittleEndian.AppendUint32(nil, sum)} {
		if _, w.err = w.to.Write(part); w.err != nil {
			return w.err
		}
	}
	return nil
}

func frameHeader(kind Kind, sequence uint64, length int) (h [headerSize]byte) {
	binary.LittleEndian.PutUint32(h[:], uint32(length))
	h[4] = byte(kind)
	binary.LittleEndian.PutUint64(h[5:], sequence)
	return h
}

// WriteMessage writes a value of any length, in as many frames as it takes.
func (w *Writer) WriteMessage(kind Kind, value []byte) error {
	for len(value) > MaxPayload {
		if err := w.Write(kind|more, value[:MaxPayload]); err != nil {
			return err
		}
		value = value[MaxPayload:]
	}
	return w.Write(kind, value)
}

// Flush sends what is buffered.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return w.err
}

// Reader reads what a Writer wrote. A Reader is for one goroutine.
type Reader struct {
	from     *bufio.Reader
	sequence uint64
	payload  []byte
}

// NewReader checks that the stream has the given purpose and this Version.
// The error wraps ErrDamaged when it has not, or is the stream's own.
func NewReader(from io.Reader, purpose string) (*Reader, error) {
	r := &Reader{from: bufio.NewReaderSize(from, bufferSize)}
	got := make([]byte, preambleSize)
	if _, err := io.ReadFull(r.from, got); err != nil {
		return nil, cut(err)
	}
	if want := preamble(purpose); string(got) != string(want) {
		return nil, fmt.Errorf("preamble %x, want %x: %w", got, want, ErrDamaged)
	}
	return r, nil
}

// Read gives the next frame. It gives io.EOF when the stream ends between two
// frames, and an error that wraps ErrDamaged when it ends within one.
func (r *Reader) Read() (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r.from, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Frame{}, io.EOF
		}
		return Frame{}, cut(err)
	}
	length := binary.LittleEndian.Uint32(header[:])
	if length > MaxPayload {
		return Frame{}, fmt.Errorf("frame %d claims %d bytes: %w", r.sequence, length, ErrDamaged)
	}
	if got := binary.LittleEndian.Uint64(header[5:]); got != r.sequence {
		return Frame{}, fmt.Errorf("frame %d where %d is due: %w", got, r.sequence, ErrDamaged)
	}
	body, err := r.body(int(length) + crc32.Size)
	if err != nil {
		return Frame{}, err
	}
	payload, sum := body[:length], binary.LittleEndian.Uint32(body[length:])
	if crc32.Update(crc32.Checksum(header[:], castagnoli), castagnoli, payload) != sum || header[4] == 0 {
		return Frame{}, fmt.Errorf("frame %d: checksum: %w", r.sequence, ErrDamaged)
	}
	r.sequence++
	return Frame{Kind: Kind(header[4]), Payload: payload}, nil
}

func (r *Reader) body(size int) ([]byte, error) {
	if cap(r.payload) < size {
		r.payload = make([]byte, size)
	}
	body := r.payload[:size]
	if _, err := io.ReadFull(r.from, body); err != nil {
		return nil, cut(err)
	}
	return body, nil
}

// ReadMessage gives the next message, joined of its frames; its payload is
// valid until the next call. A message longer than limit bytes is refused with
// an error that wraps ErrDamaged, before more than that is held in memory.
func (r *Reader) ReadMessage(limit int) (Frame, error) {
	frame, err := r.Read()
	if err != nil || frame.Kind&more == 0 {
		return frame, err
	}
	kind, joined := frame.Kind, append([]byte(nil), frame.Payload...)
	for frame.Kind&more != 0 {
		if frame, err = r.Read(); err != nil {
			return Frame{}, within(err)
		}
		if frame.Kind&^more != kind&^more || len(joined)+len(frame.Payload) > limit {
			return Frame{}, fmt.Errorf("message of kind %d at %d bytes: %w", kind&^more, len(joined), ErrDamaged)
		}
		joined = append(joined, frame.Payload...)
	}
	return Frame{Kind: kind &^ more, Payload: joined}, nil
}

// Buffered says that a Read can be answered, at least in part, without waiting
// for the transport.
func (r *Reader) Buffered() bool { return r.from.Buffered() > 0 }

func within(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrCut
	}
	return err
}

// cut tells a stream that ended too early from one whose transport failed.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}
