package tds

import (
	"encoding/binary"
	"slices"
)

// The options of PRELOGIN.
// Source: MS-TDS 2.2.6.5
const (
	optionVersion         = 0x00
	optionEncryption      = 0x01
	optionInstance        = 0x02
	optionThreadID        = 0x03
	optionMARS            = 0x04
	optionTraceID         = 0x05
	optionFedAuthRequired = 0x06
	optionTerminator      = 0xFF
)

// The values of the encryption option.
const (
	encryptOff          = 0x00
	encryptOn           = 0x01
	encryptNotSupported = 0x02
	encryptRequired     = 0x03
	// The client has a certificate of its own to show, which is not asked for.
	encryptClientCertificate = 0x80
)

// prelogin is what a PRELOGIN message asks for.
type prelogin struct {
	encryption   byte
	mars         bool
	connectionID []byte // 16 bytes, or none
	// fedAuth is the option's value, when it is there.
	fedAuth        byte
	fedAuthPresent bool
}

// parsePrelogin reads a PRELOGIN message of a client.
func parsePrelogin(body []byte) (prelogin, error) {
	p := prelogin{encryption: encryptNotSupported}
	for at := 0; ; at += 5 {
		if at >= len(body) {
			return p, malformed("PRELOGIN without an end of its options")
		}
		if body[at] == optionTerminator {
			return p, nil
		}
		if at+5 > len(body) {
			return p, malformed("PRELOGIN is cut off")
		}
		from, length := int(binary.BigEndian.Uint16(body[at+1:])), int(binary.BigEndian.Uint16(body[at+3:]))
		if from+length > len(body) {
			return p, malformed("a PRELOGIN option lies outside of the message")
		}
		p.set(body[at], body[from:from+length])
	}
}

// set takes an option; one that is empty or not known is as if not sent.
func (p *prelogin) set(option byte, value []byte) {
	if len(value) == 0 {
		return
	}
	switch option {
	case optionEncryption:
		p.encryption = value[0] &^ encryptClientCertificate
	case optionMARS:
		p.mars = value[0] != 0
	case optionTraceID:
		if len(value) >= 16 {
			p.connectionID = slices.Clone(value[:16])
		}
	case optionFedAuthRequired:
		p.fedAuth, p.fedAuthPresent = value[0], true
	}
}

// preloginReply is the server's side of PRELOGIN. Multiple active result sets
// are always off: a client that asked for them goes on without. The option
// for tokens is there only when the client sent it.
func preloginReply(p prelogin, version Version, encryption byte) []byte {
	type option struct {
		id    byte
		value []byte
	}
	options := []option{
		{optionVersion, []byte{version.Major, version.Minor, byte(version.Build >> 8), byte(version.Build), 0, 0}},
		{optionEncryption, []byte{encryption}},
		{optionInstance, []byte{0}},
		{optionThreadID, nil},
		{optionMARS, []byte{0}},
	}
	if p.fedAuthPresent {
		options = append(options, option{optionFedAuthRequired, []byte{p.fedAuth}})
	}
	var head, data []byte
	from := 5*len(options) + 1
	for _, o := range options {
		head = append(head, o.id)
		head = binary.BigEndian.AppendUint16(head, uint16(from+len(data))) //nolint:gosec // under 64
		head = binary.BigEndian.AppendUint16(head, uint16(len(o.value)))   //nolint:gosec // under 7
		data = append(data, o.value...)
	}
	return append(append(head, optionTerminator), data...)
}
