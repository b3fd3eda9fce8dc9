package tds

import "encoding/binary"

// fedAuthLibrary is how a client gets its token.
// Source: MS-TDS 2.2.6.4, FEDAUTH
type fedAuthLibrary byte

const (
	fedAuthSecurityToken fedAuthLibrary = 0x01 // it has it already
	fedAuthADAL          fedAuthLibrary = 0x02 // it wants to know from where
)

// fedAuthFeature is the FEDAUTH entry of FeatureExt.
type fedAuthFeature struct {
	present bool
	library fedAuthLibrary
	echo    bool // of the pre-login option
	token   string
}

func parseFedAuthFeature(data []byte) (fedAuthFeature, error) {
	s := &scanner{data: data}
	options := s.u8()
	f := fedAuthFeature{present: true, library: fedAuthLibrary(options >> 1), echo: options&1 != 0}
	switch f.library {
	case fedAuthSecurityToken:
		f.token = decodeUTF16(s.take(tokenLength(s)))
	case fedAuthADAL:
		s.u8() // the workflow: with a password, or integrated; the token tells
	default:
		return f, malformed("the federated authentication library %d", f.library)
	}
	return f, s.err
}

// parseFedAuthToken reads the message in which an ADAL client sends its token.
// Source: MS-TDS 2.2.6.3
func parseFedAuthToken(body []byte) (string, error) {
	s := &scanner{data: body}
	if length := s.u32(); int64(length) > int64(s.left()) {
		return "", malformed("a federated authentication token lies outside of its message")
	}
	raw := s.take(tokenLength(s))
	if s.err == nil && len(raw) == 0 {
		s.err = malformed("an empty federated authentication token")
	}
	return decodeUTF16(raw), s.err
}

// tokenLength reads a length in bytes; one that cannot be is negative.
func tokenLength(s *scanner) int {
	length := s.u32()
	if int64(length) > int64(s.left()) {
		return -1
	}
	return int(length)
}

// The ids of FEDAUTHINFO.
// Source: MS-TDS 2.2.7.12
const (
	fedAuthInfoSTSURL = 0x01
	fedAuthInfoSPN    = 0x02
)

// appendFedAuthInfo appends a FEDAUTHINFO token.
func appendFedAuthInfo(b []byte, info FedAuth) []byte {
	url, spn := appendUTF16(nil, info.STSURL), appendUTF16(nil, info.SPN)
	const entry = 9 // id, length, offset
	from := uint32(4 + 2*entry)
	b = append(b, tokenFedAuthInfo)
	b = binary.LittleEndian.AppendUint32(b, from+uint32(len(url)+len(spn))) //nolint:gosec // two short texts
	b = binary.LittleEndian.AppendUint32(b, 2)
	b = append(b, fedAuthInfoSTSURL)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(url))) //nolint:gosec // a short text
	b = binary.LittleEndian.AppendUint32(b, from)
	b = append(b, fedAuthInfoSPN)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(spn)))      //nolint:gosec // a short text
	b = binary.LittleEndian.AppendUint32(b, from+uint32(len(url))) //nolint:gosec // a short text
	return append(append(b, url...), spn...)
}
