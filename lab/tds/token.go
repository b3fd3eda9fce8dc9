package tds

import (
	"encoding/binary"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// The tokens of a reply.
// Source: MS-TDS 2.2.7
const (
	tokenReturnStatus = 0x79
	tokenColMetadata  = 0x81
	tokenError        = 0xAA
	tokenInfo         = 0xAB
	tokenReturnValue  = 0xAC
	tokenLoginAck     = 0xAD
	tokenFeatureAck   = 0xAE
	tokenRow          = 0xD1
	tokenNBCRow       = 0xD2
	tokenEnvChange    = 0xE3
	tokenFedAuthInfo  = 0xEE
	tokenDone         = 0xFD
	tokenDoneProc     = 0xFE
	tokenDoneInProc   = 0xFF
)

// The bits of a DONE token's status.
// Source: MS-TDS 2.2.7.6
const (
	doneFinal     uint16 = 0x000
	doneMore      uint16 = 0x001
	doneError     uint16 = 0x002
	doneCount     uint16 = 0x010
	doneAttention uint16 = 0x020
)

// The types of ENVCHANGE.
// Source: MS-TDS 2.2.7.9
const (
	envDatabase   = 1
	envLanguage   = 2
	envPacketSize = 4
	envCollation  = 7
	envBeginTran  = 8
	envCommitTran = 9
	envRollback   = 10
	envResetAck   = 18
	envRouting    = 20
)

// infoClass is the highest class that is information and not an error.
const infoClass = 10

// firstErrorClass is what a class of an error begins at.
const firstErrorClass = infoClass + 1

func appendDone(b []byte, token byte, status, command uint16, count int64) []byte {
	b = append(b, token)
	b = binary.LittleEndian.AppendUint16(b, status)
	b = binary.LittleEndian.AppendUint16(b, command)
	return binary.LittleEndian.AppendUint64(b, uint64(count)) //nolint:gosec // its bits, as they are
}

// maxMessageText is SQL Server's limit of a message, in characters.
const maxMessageText = 2047

// appendMessage appends an ERROR or INFO token.
// Source: MS-TDS 2.2.7.10 and 2.2.7.13
func appendMessage(b []byte, m sqltype.Message) []byte {
	token := byte(tokenInfo)
	if m.Class > infoClass {
		token = tokenError
	}
	b = append(b, token, 0, 0)
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Number)) //nolint:gosec // its bits, as they are
	b = append(b, m.State, m.Class)
	b = appendText16(b, cut(m.Text, maxMessageText))
	b = appendText8(b, m.Server)
	b = appendText8(b, m.Procedure)
	b = binary.LittleEndian.AppendUint32(b, uint32(max(m.Line, 0))) //nolint:gosec // not negative
	return setLength16(b, start)
}

// setLength16 writes the length of what follows start into the two bytes
// before it.
func setLength16(b []byte, start int) []byte {
	binary.LittleEndian.PutUint16(b[start-2:], uint16(len(b)-start)) //nolint:gosec // the callers' texts are cut to fit
	return b
}

// cut gives at most n characters (UTF-16 units) of a text.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	units := 0
	for at, r := range text {
		units++
		if r >= 0x10000 {
			units++
		}
		if units > n {
			return text[:at]
		}
	}
	return text
}

// appendText8 appends a text with its length in characters in a byte
// (B_VARCHAR); what is longer is cut.
func appendText8(b []byte, text string) []byte {
	b = append(b, 0)
	start := len(b)
	b = appendUTF16(b, cut(text, 255))
	b[start-1] = byte((len(b) - start) / 2)
	return b
}

// appendText16 appends a text with its length in characters in two bytes
// (US_VARCHAR).
func appendText16(b []byte, text string) []byte {
	b = append(b, 0, 0)
	start := len(b)
	b = appendUTF16(b, text)
	binary.LittleEndian.PutUint16(b[start-2:], uint16((len(b)-start)/2)) //nolint:gosec // the callers' texts are cut to fit
	return b
}

// appendEnvText appends an ENVCHANGE of two texts.
func appendEnvText(b []byte, kind byte, to, from string) []byte {
	b = append(b, tokenEnvChange, 0, 0)
	start := len(b)
	b = append(b, kind)
	b = appendText8(b, to)
	return setLength16(appendText8(b, from), start)
}

// appendEnvBytes appends an ENVCHANGE of two strings of bytes.
func appendEnvBytes(b []byte, kind byte, to, from []byte) []byte {
	b = append(b, tokenEnvChange, 0, 0)
	start := len(b)
	b = append(b, kind, byte(len(to)))
	b = append(b, to...)
	b = append(b, byte(len(from)))
	return setLength16(append(b, from...), start)
}

// appendRouting appends the ENVCHANGE that sends a client to another server.
func appendRouting(b []byte, host string, port uint16) []byte {
	b = append(b, tokenEnvChange, 0, 0)
	start := len(b)
	b = append(b, envRouting, 0, 0)
	value := len(b)
	b = append(b, 0) // TCP
	b = binary.LittleEndian.AppendUint16(b, port)
	b = setLength16(appendText16(b, host), value)
	return setLength16(append(b, 0, 0), start)
}

// appendLoginAck appends LOGINACK. The version's bytes are in network order,
// other than in LOGIN7.
// Source: MS-TDS 2.2.7.14
func appendLoginAck(b []byte, tdsVersion uint32, version Version) []byte {
	const transactSQL = 1
	b = append(b, tokenLoginAck, 0, 0)
	start := len(b)
	b = append(b, transactSQL)
	b = binary.BigEndian.AppendUint32(b, tdsVersion)
	b = appendText8(b, "Microsoft SQL Server")
	b = append(b, version.Major, version.Minor)
	return setLength16(binary.BigEndian.AppendUint16(b, version.Build), start)
}

// appendFeatureAck appends FEATUREEXTACK for those of the client's features
// that the server has; nothing when there is none.
// Source: MS-TDS 2.2.7.11
func appendFeatureAck(b []byte, l *login7) []byte {
	start := len(b)
	b = append(b, tokenFeatureAck)
	add := func(id byte, data ...byte) {
		b = append(b, id)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data))) //nolint:gosec // a byte or none
		b = append(b, data...)
	}
	if l.fedAuth.present {
		add(featureFedAuth)
	}
	if l.has(featureAzureSQLSupport) {
		add(featureAzureSQLSupport, 1)
	}
	if l.has(featureUTF8Support) {
		add(featureUTF8Support, 1)
	}
	if len(b) == start+1 {
		return b[:start]
	}
	return append(b, featureTerminator)
}
