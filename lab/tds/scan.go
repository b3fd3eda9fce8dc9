package tds

import (
	"encoding/binary"
	"unicode/utf16"
)

// scanner reads the little-endian values of a message. After the first
// reading beyond the end it gives zeros, and err says so.
type scanner struct {
	data []byte
	at   int
	err  error
}

// take gives the next n bytes; they are the message's own.
func (s *scanner) take(n int) []byte {
	if s.err != nil || n < 0 || n > len(s.data)-s.at {
		if s.err == nil {
			s.err = malformed("the stream ended unexpectedly")
		}
		return nil
	}
	s.at += n
	return s.data[s.at-n : s.at : s.at]
}

func (s *scanner) left() int {
	if s.err != nil {
		return 0
	}
	return len(s.data) - s.at
}

func (s *scanner) u8() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) u16() uint16 {
	if b := s.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (s *scanner) u32() uint32 {
	if b := s.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (s *scanner) u64() uint64 {
	if b := s.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// text8 reads a text with its length in characters in one byte (B_VARCHAR).
func (s *scanner) text8() string { return decodeUTF16(s.take(2 * int(s.u8()))) }

// fail records an error of the reader's own, unless there is one.
func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// decodeUTF16 gives the text of UTF-16 in little-endian bytes; half a
// surrogate pair becomes U+FFFD, an odd byte at the end is dropped.
func decodeUTF16(b []byte) string {
	ascii := true
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] >= 0x80 || b[i+1] != 0 {
			ascii = false
			break
		}
	}
	if ascii {
		text := make([]byte, len(b)/2)
		for i := range text {
			text[i] = b[2*i]
		}
		return string(text)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// appendUTF16 appends a text as UTF-16 in little-endian bytes.
func appendUTF16(b []byte, text string) []byte {
	for _, r := range text {
		if r < 0x10000 {
			b = append(b, byte(r), byte(r>>8))
			continue
		}
		high, low := utf16.EncodeRune(r)
		b = append(b, byte(high), byte(high>>8), byte(low), byte(low>>8))
	}
	return b
}
