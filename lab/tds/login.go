package tds

import (
	"encoding/binary"
	"slices"
)

// login7 is a LOGIN7 message.
// Source: MS-TDS 2.2.6.4
type login7 struct {
	Login
	requestedSize  int
	integrated     bool // Windows authentication
	changePassword bool
	features       []feature
	fedAuth        fedAuthFeature
}

// feature is one entry of FeatureExt.
type feature struct {
	id   byte
	data []byte
}

// The features that the server knows of.
// Source: MS-TDS 2.2.6.4, FeatureExt
const (
	featureFedAuth         = 0x02
	featureAzureSQLSupport = 0x08
	featureUTF8Support     = 0x0A
	featureTerminator      = 0xFF
)

// The fixed part of LOGIN7, and where its pairs of offset and length lie.
const (
	loginFixed          = 94
	loginHostName       = 36
	loginUserName       = 40
	loginPassword       = 44
	loginAppName        = 48
	loginServerName     = 52
	loginExtension      = 56
	loginLibrary        = 60
	loginLanguage       = 64
	loginDatabase       = 68
	maxLoginText        = 128 // characters, of each text
	flagIntegrated      = 0x80
	flagReadOnlyIntent  = 0x20
	flagChangePassword  = 0x01
	flagExtension       = 0x10
	loginOptionFlags2   = 25
	loginTypeFlags      = 26
	loginOptionFlags3   = 27
	minTDSVersion       = 0x72090002 // SQL Server 2005
	tdsVersion73        = 0x730A0003 // rows with a bitmap of NULLs
	tdsVersion74        = 0x74000004
	tdsVersion80        = 0x08000000
	passwordScramble    = 0xA5
	smallestLoginLength = 86 // without the long SSPI fields of TDS 7.2
)

// parseLogin reads LOGIN7. The texts' lengths are those that MS-TDS allows.
func parseLogin(body []byte) (login7, error) {
	var l login7
	if len(body) < loginFixed {
		return l, malformed("LOGIN7 of %d bytes", len(body))
	}
	if length := binary.LittleEndian.Uint32(body); int64(length) > int64(len(body)) || length < smallestLoginLength {
		return l, malformed("LOGIN7 says that it has %d bytes of %d", length, len(body))
	}
	l.TDSVersion = binary.LittleEndian.Uint32(body[4:])
	l.requestedSize = int(min(binary.LittleEndian.Uint32(body[8:]), 1<<16))
	l.ProcessID = binary.LittleEndian.Uint32(body[16:])
	l.integrated = body[loginOptionFlags2]&flagIntegrated != 0
	l.ReadOnlyIntent = body[loginTypeFlags]&flagReadOnlyIntent != 0
	l.changePassword = body[loginOptionFlags3]&flagChangePassword != 0
	for _, field := range []struct {
		at   int
		into *string
	}{
		{loginHostName, &l.HostName}, {loginUserName, &l.User}, {loginAppName, &l.AppName}, {loginServerName, &l.ServerName},
		{loginLibrary, &l.Library}, {loginLanguage, &l.Language}, {loginDatabase, &l.Database},
	} {
		raw, err := loginField(body, field.at, 2)
		if err != nil {
			return l, err
		}
		*field.into = decodeUTF16(raw)
	}
	scrambled, err := loginField(body, loginPassword, 2)
	if err != nil {
		return l, err
	}
	l.Password = unscramble(scrambled)
	if body[loginOptionFlags3]&flagExtension == 0 {
		return l, nil
	}
	return l, l.extension(body)
}

// loginField gives a field of count units.
func loginField(body []byte, at, unit int) ([]byte, error) {
	from, length := int(binary.LittleEndian.Uint16(body[at:])), int(binary.LittleEndian.Uint16(body[at+2:]))
	if length == 0 {
		return nil, nil // its offset may then be anything
	}
	if unit == 2 && length > maxLoginText {
		return nil, malformed("LOGIN7 with a text of %d characters", length)
	}
	if from+length*unit > len(body) {
		return nil, malformed("a field of LOGIN7 lies outside of the message")
	}
	return body[from : from+length*unit], nil
}

// unscramble undoes what LOGIN7 does to passwords: it hides them from a
// glance, no more.
// Source: MS-TDS 2.2.6.4, Password
func unscramble(b []byte) string {
	plain := slices.Clone(b)
	for i, c := range plain {
		c ^= passwordScramble
		plain[i] = c<<4 | c>>4
	}
	return decodeUTF16(plain)
}

func (l *login7) extension(body []byte) error {
	raw, err := loginField(body, loginExtension, 1)
	if err != nil {
		return err
	}
	if len(raw) < 4 {
		return malformed("LOGIN7 with an extension of %d bytes", len(raw))
	}
	from := binary.LittleEndian.Uint32(raw)
	if int64(from) > int64(len(body)) {
		return malformed("FeatureExt lies outside of the message")
	}
	l.features, err = parseFeatures(body[from:])
	if err != nil {
		return err
	}
	for _, f := range l.features {
		if f.id == featureFedAuth {
			l.fedAuth, err = parseFedAuthFeature(f.data)
			l.Token = l.fedAuth.token
		}
	}
	return err
}

// parseFeatures reads FeatureExt up to its terminator.
func parseFeatures(data []byte) ([]feature, error) {
	s := &scanner{data: data}
	var features []feature
	for {
		id := s.u8()
		if s.err != nil {
			return nil, malformed("FeatureExt without an end")
		}
		if id == featureTerminator {
			return features, nil
		}
		length := s.u32()
		if int64(length) > int64(s.left()) {
			return nil, malformed("the feature 0x%02X lies outside of the message", id)
		}
		features = append(features, feature{id: id, data: s.take(int(length))})
	}
}

// has reports whether the client asks for a feature.
func (l *login7) has(id byte) bool {
	return slices.ContainsFunc(l.features, func(f feature) bool { return f.id == id })
}

// packetSize is the size of packets that both sides shall use.
func (l *login7) packetSize() int {
	if l.requestedSize == 0 {
		return defaultPacketSize
	}
	return min(max(l.requestedSize, minPacketSize), maxPacketSize)
}
