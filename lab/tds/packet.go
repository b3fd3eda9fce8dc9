package tds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// packetType is what a message is.
// Source: MS-TDS 2.2.3.1.1
type packetType byte

const (
	packetBatch       packetType = 1
	packetRPC         packetType = 3
	packetReply       packetType = 4
	packetAttention   packetType = 6
	packetBulk        packetType = 7
	packetFedAuth     packetType = 8
	packetTransaction packetType = 14
	packetLogin       packetType = 16
	packetSSPI        packetType = 17
	packetPrelogin    packetType = 18
)

// The bits of a packet's status.
// Source: MS-TDS 2.2.3.1.2
const (
	statusEnd           byte = 0x01
	statusIgnore        byte = 0x02
	statusReset         byte = 0x08
	statusResetKeepTran byte = 0x10
)

const (
	headerSize        = 8
	minPacketSize     = 512
	defaultPacketSize = 4096
	maxPacketSize     = 16383 // what SQL Server allows on an encrypted connection
)

// ProtocolError says that a client's bytes are not TDS.
type ProtocolError struct{ Reason string }

// Error is the reason.
func (e *ProtocolError) Error() string { return "TDS protocol: " + e.Reason }

func malformed(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// message is one request of a client, its packets put together.
type message struct {
	kind    packetType
	status  byte // of the first packet: the reset bits are there
	ignored bool // cancelled by the client before it was whole
	body    []byte
}

// packetReader puts messages together. It is used by one goroutine at a time.
type packetReader struct {
	r     io.Reader
	limit int // of a message, in bytes
}

// packet reads one packet and appends its data to body.
func (p *packetReader) packet(body []byte) (kind packetType, status byte, _ []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(p.r, header[:]); err != nil {
		return 0, 0, body, err
	}
	length := int(binary.BigEndian.Uint16(header[2:]))
	if length < headerSize {
		return 0, 0, body, malformed("a packet of %d bytes", length)
	}
	length -= headerSize
	if len(body)+length > p.limit {
		return 0, 0, body, malformed("a message of more than %d bytes", p.limit)
	}
	from := len(body)
	body = append(body, make([]byte, length)...)
	if _, err := io.ReadFull(p.r, body[from:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, body, err
	}
	return packetType(header[0]), header[1], body, nil
}

// next reads a whole message. io.EOF means that the client has gone between
// two messages.
func (p *packetReader) next() (message, error) {
	var m message
	for first := true; ; first = false {
		kind, status, body, err := p.packet(m.body)
		switch {
		case err != nil:
			if !first && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return message{}, err
		case first:
			m.kind, m.status = kind, status
		case kind != m.kind:
			return message{}, malformed("a packet of type %d in a message of type %d", kind, m.kind)
		}
		m.body = body
		if status&statusEnd != 0 {
			m.ignored = status&statusIgnore != 0
			return m, nil
		}
	}
}

// packetWriter cuts what is appended to it into packets. Data up to one
// packet is held back until finish. Its first error stays.
type packetWriter struct {
	w    io.Writer
	kind packetType
	size int // of a packet, with its header
	spid uint16
	id   byte
	buf  []byte // the room for a header, then what is not sent yet
	err  error
}

func newPacketWriter(w io.Writer, kind packetType, size int) *packetWriter {
	return &packetWriter{w: w, kind: kind, size: size, buf: make([]byte, headerSize, 2*size)}
}

// spill sends the full packets that have gathered.
func (p *packetWriter) spill() error {
	sent := 0
	// More than a packet, not just one: the last has to carry the end bit.
	for len(p.buf)-sent > p.size {
		p.send(p.buf[sent:sent+p.size], 0)
		sent += p.size - headerSize // the next header overwrites bytes that are sent
	}
	if sent > 0 {
		p.buf = append(p.buf[:headerSize], p.buf[sent+headerSize:]...)
	}
	return p.err
}

// finish sends what is left as the message's last packet.
func (p *packetWriter) finish() error {
	if err := p.spill(); err != nil {
		return err
	}
	p.send(p.buf, statusEnd)
	p.buf, p.id = p.buf[:headerSize], 0
	if cap(p.buf) > 16*p.size {
		p.buf = make([]byte, headerSize, 2*p.size) // a large value was in it
	}
	return p.err
}

func (p *packetWriter) send(packet []byte, status byte) {
	p.id++
	packet[0], packet[1] = byte(p.kind), status
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet))) //nolint:gosec // at most size
	binary.BigEndian.PutUint16(packet[4:], p.spid)
	packet[6], packet[7] = p.id, 0
	if p.err == nil {
		_, p.err = p.w.Write(packet)
	}
}
