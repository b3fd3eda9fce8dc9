package tds

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// lingering is how long a client may take to read the last words.
const lingering = time.Second

// connection is one client's, from its first byte to its last.
type connection struct {
	server *Server
	log    *slog.Logger
	socket net.Conn // as accepted
	stream net.Conn // what messages go over: the socket, or TLS on it
	reader packetReader
	writer *packetWriter

	login   login7
	session Session
	info    LoginInfo
	inbox   *inbox
}

// serve talks to one client until it leaves, is thrown out or ctx ends.
func (s *Server) serve(ctx context.Context, socket net.Conn, full bool) {
	c := &connection{server: s, socket: socket, log: s.options.Log.With("client", socket.RemoteAddr().String())}
	defer func() {
		if fault := recover(); fault != nil { // one session's fault must not end all others
			c.log.Error("tds.panic", "fault", fault, "stack", string(debug.Stack()))
		}
	}()
	timer := time.AfterFunc(s.options.LoginTimeout, func() { _ = socket.Close() })
	err := c.open(ctx, full)
	timer.Stop()
	if err != nil || c.session == nil {
		c.log.Debug("tds.login", "error", err)
		c.linger()
		return
	}
	defer c.closeSession()
	if err := c.run(ctx); err != nil {
		c.log.Debug("tds.connection", "error", err)
	}
}

func (c *connection) closeSession() {
	if err := c.session.Close(); err != nil {
		c.log.Warn("tds.session.close", "error", err)
	}
}

// use makes messages go over a stream from here on.
func (c *connection) use(stream net.Conn) {
	c.stream = stream
	c.reader = packetReader{r: stream, limit: c.server.options.MaxRequest}
	c.writer = newPacketWriter(stream, packetReply, defaultPacketSize)
}

// open is everything up to the login's answer. Without an error and without
// a session the client has been sent elsewhere.
func (c *connection) open(ctx context.Context, full bool) error {
	buffered := bufio.NewReaderSize(c.socket, 2*defaultPacketSize)
	first, err := buffered.Peek(1)
	if err != nil {
		return err
	}
	plain := &peeked{Conn: c.socket, r: buffered}
	c.use(plain)
	strict := first[0] == tlsRecordHandshake
	if strict {
		secure, err := c.server.tlsFirst(ctx, plain)
		if err != nil {
			return err
		}
		c.use(secure)
	}
	encrypted, err := c.prelogin(ctx, plain, strict)
	if err != nil {
		return err
	}
	if err := c.readLogin(encrypted, strict); err != nil {
		return errors.Join(err, c.refuse(badLogin()))
	}
	if !encrypted {
		c.use(plain)
	}
	return c.letIn(ctx, full)
}

// prelogin answers PRELOGIN and, in TDS 7, makes the connection TLS. It tells
// whether the connection stays encrypted after the login.
func (c *connection) prelogin(ctx context.Context, plain net.Conn, strict bool) (encrypted bool, err error) {
	m, err := c.reader.next()
	if err != nil {
		return false, err
	}
	if m.kind != packetPrelogin {
		return false, malformed("a message of type %d instead of PRELOGIN", m.kind)
	}
	asked, err := parsePrelogin(m.body)
	if err != nil {
		return false, err
	}
	copy(c.login.ConnectionID[:], asked.connectionID)
	answer := byte(encryptRequired)
	switch {
	case strict, asked.encryption == encryptOn, asked.encryption == encryptRequired:
		answer = encryptOn
	case asked.encryption == encryptOff && c.server.options.LoginOnly:
		answer = encryptOff
	}
	c.writer.buf = append(c.writer.buf, preloginReply(asked, AzureVersion(), answer)...)
	if err := c.writer.finish(); err != nil || strict {
		return true, err
	}
	secure, err := c.server.tlsInside(ctx, plain)
	if err != nil {
		return false, err
	}
	c.use(secure)
	return answer != encryptOff, nil
}

// readLogin reads LOGIN7, and the token of a client that fetches it only now.
func (c *connection) readLogin(encrypted, strict bool) error {
	m, err := c.reader.next()
	if err != nil {
		return err
	}
	if m.kind != packetLogin {
		return malformed("a message of type %d instead of LOGIN7", m.kind)
	}
	connectionID := c.login.ConnectionID
	if c.login, err = parseLogin(m.body); err != nil {
		return err
	}
	version := c.login.TDSVersion
	// Some clients say 7.4 though they began with TLS.
	if older := version >= minTDSVersion && version <= tdsVersion74; !older && (!strict || version != tdsVersion80) {
		return malformed("TDS version 0x%08X, TLS first: %v", version, strict)
	}
	c.login.ConnectionID, c.login.Encrypted, c.login.Remote = connectionID, encrypted, c.socket.RemoteAddr()
	c.login.PacketSize = c.login.packetSize()
	if secure, ok := c.stream.(*tls.Conn); ok {
		c.login.SNI = secure.ConnectionState().ServerName
	}
	if c.login.fedAuth.library == fedAuthADAL && c.login.fedAuth.present {
		return c.askToken()
	}
	return nil
}

// askToken tells an ADAL client where tokens are made, and reads the one that
// it comes back with.
func (c *connection) askToken() error {
	c.writer.buf = appendFedAuthInfo(c.writer.buf, c.server.options.FedAuth)
	if err := c.writer.finish(); err != nil {
		return err
	}
	m, err := c.reader.next()
	if err != nil {
		return err
	}
	if m.kind != packetFedAuth {
		return malformed("a message of type %d instead of a token", m.kind)
	}
	c.login.Token, err = parseFedAuthToken(m.body)
	return err
}

// letIn asks the backend and answers the client.
func (c *connection) letIn(ctx context.Context, full bool) error {
	switch {
	case full:
		return c.refuse(sessionLimit(c.server.options.MaxConnections))
	case c.login.integrated:
		return c.refuse(windowsLogin())
	case c.login.changePassword:
		return c.refuse(unsupported("password change at login"))
	}
	ctx, cancel := context.WithTimeout(ctx, c.server.options.LoginTimeout)
	defer cancel()
	session, info, err := c.server.options.Backend.Login(ctx, c.login.Login)
	if err != nil {
		return errors.Join(err, c.refuse(c.messages(err)...))
	}
	if info.Version == (Version{}) {
		info.Version = AzureVersion()
	}
	c.session, c.info = session, info
	c.writer.spid, c.writer.size = info.SPID, min(defaultPacketSize, c.login.PacketSize)
	b := c.writer.buf
	if info.RouteHost != "" {
		b = appendRouting(b, info.RouteHost, info.RoutePort)
	}
	c.writer.buf = appendDone(c.welcome(b), tokenDone, doneFinal, 0, 0)
	if err := c.writer.finish(); err != nil {
		if session != nil {
			c.closeSession()
			c.session = nil
		}
		return err
	}
	c.writer = newPacketWriter(c.stream, packetReply, c.login.PacketSize)
	c.writer.spid = info.SPID
	return nil
}

// welcome appends what a client reads when it is let in.
func (c *connection) welcome(b []byte) []byte {
	collation := serverCollation()
	b = appendEnvText(b, envDatabase, c.info.Database, "master")
	b = appendMessage(b, sqltype.Message{Number: numberDatabaseContext, State: 2, Server: c.info.ServerName, Line: 1, Text: "Changed database context to '" + c.info.Database + "'."})
	b = appendEnvBytes(b, envCollation, collation[:], nil)
	b = appendEnvText(b, envLanguage, "us_english", "")
	b = appendMessage(b, sqltype.Message{Number: numberLanguageContext, State: 1, Server: c.info.ServerName, Line: 1, Text: "Changed language setting to us_english."})
	b = appendLoginAck(b, c.login.TDSVersion, c.info.Version)
	b = appendEnvText(b, envPacketSize, itoa(c.login.PacketSize), itoa(defaultPacketSize))
	return appendFeatureAck(b, &c.login)
}

// messages are what a client reads of an error.
func (c *connection) messages(err error) []sqltype.Message {
	var many ServerErrors
	var one sqltype.Message
	switch {
	case errors.As(err, &many) && len(many) > 0:
		return many
	case errors.As(err, &one):
		return []sqltype.Message{one}
	}
	var protocol *ProtocolError
	if errors.As(err, &protocol) {
		return []sqltype.Message{badStream()}
	}
	c.log.Error("tds.failed", "error", err)
	return []sqltype.Message{serviceError()}
}

// refuse sends errors as the whole answer.
func (c *connection) refuse(messages ...sqltype.Message) error {
	for _, m := range messages {
		if m.Server == "" {
			m.Server = c.login.ServerName
		}
		m.Class = max(m.Class, firstErrorClass)
		c.writer.buf = appendMessage(c.writer.buf, m)
	}
	c.writer.buf = appendDone(c.writer.buf, tokenDone, doneError, 0, 0)
	return c.writer.finish()
}

// linger ends the connection so that the client can read what was sent to it
// last: a socket that is closed with unread data loses it.
func (c *connection) linger() {
	timer := time.AfterFunc(lingering, func() { _ = c.socket.Close() })
	defer timer.Stop()
	c.closeWrite()
	_, _ = io.Copy(io.Discard, c.socket) // until the client has closed, or the timer
	_ = c.socket.Close()
}

func (c *connection) closeWrite() {
	if secure, ok := c.stream.(*tls.Conn); ok {
		_ = secure.CloseWrite()
	}
	if half, ok := c.socket.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
