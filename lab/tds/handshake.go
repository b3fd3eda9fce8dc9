package tds

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
)

// alpn is TDS 8.0's name in a TLS handshake.
// Source: MS-TDS 3.3.5.1
const alpn = "tds/8.0"

// tlsRecordHandshake is the first byte of a connection that begins with TLS;
// that of a PRELOGIN packet is 0x12.
const tlsRecordHandshake = 0x16

// peeked is a connection whose first bytes lie in a reader already.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

// Read reads on from where the reader is.
func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// wrapped carries a TLS handshake in PRELOGIN packets, until it is told that
// the handshake is over; then it carries TLS as it is.
// Source: MS-TDS 2.2.6.5
type wrapped struct {
	net.Conn
	over   bool
	reader packetReader
	rest   []byte // of the packet that is being read
	pend   []byte // written, and not sent yet
}

// Read reads what the client's packets hold, sending first what is pending.
func (w *wrapped) Read(b []byte) (int, error) {
	if w.over {
		return w.Conn.Read(b)
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	for len(w.rest) == 0 {
		kind, _, body, err := w.reader.packet(nil)
		if err != nil {
			return 0, err
		}
		if kind != packetPrelogin {
			return 0, malformed("a packet of type %d in a TLS handshake", kind)
		}
		w.rest = body
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Write gathers a flight of the handshake, so that it goes as one message.
func (w *wrapped) Write(b []byte) (int, error) {
	if w.over {
		return w.Conn.Write(b)
	}
	w.pend = append(w.pend, b...)
	return len(b), nil
}

func (w *wrapped) flush() error {
	if len(w.pend) == 0 {
		return nil
	}
	out := newPacketWriter(w.Conn, packetPrelogin, defaultPacketSize)
	out.buf = append(out.buf, w.pend...)
	w.pend = nil
	return out.finish()
}

// end sends the last flight and turns the wrapping off.
func (w *wrapped) end() error {
	err := w.flush()
	w.over = true
	return err
}

// tlsFirst is TDS 8.0: the whole connection is TLS.
func (s *Server) tlsFirst(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	secure := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{alpn}, GetCertificate: s.options.Certificate,
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol != alpn {
		return nil, malformed("TLS without the protocol %s", alpn)
	}
	return secure, nil
}

// tlsInside is TDS 7: the handshake goes in PRELOGIN packets. TLS 1.3 would
// send its session tickets after the handshake, when the client has left the
// packets already, so that 1.2 is the limit, as it is SQL Server's.
func (s *Server) tlsInside(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	inner := &wrapped{Conn: conn, reader: packetReader{r: conn, limit: 1 << 16}}
	secure := tls.Server(inner, &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		GetCertificate: s.options.Certificate, SessionTicketsDisabled: true,
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = inner.flush() // the alert
		return nil, err
	}
	if err := inner.end(); err != nil {
		return nil, err
	}
	return secure, nil
}
