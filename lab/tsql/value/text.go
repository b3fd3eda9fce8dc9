package value

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// cp1252 are the characters of code page 1252 from 0x80 to 0x9F.
// Source: https://www.unicode.org/Public/MAPPINGS/VENDORS/MICSFT/WINDOWS/CP1252.TXT
var cp1252 = [32]rune{
	0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D, 0x017D, 0x8F,
	0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
}

// CodePage is a character's byte in code page 1252; ok is false and the byte
// a question mark when it has none.
func CodePage(r rune) (b byte, ok bool) {
	if r < 0x80 || r >= 0xA0 && r <= 0xFF {
		return byte(r), true
	}
	for i, c := range cp1252 {
		if c == r {
			return byte(0x80 + i), true
		}
	}
	return '?', false
}

// FromCodePage is the character of a byte of code page 1252.
func FromCodePage(b byte) rune {
	if b >= 0x80 && b < 0xA0 {
		return cp1252[b-0x80]
	}
	return rune(b)
}

// EncodeCodePage are a string's bytes in code page 1252.
func EncodeCodePage(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, _ := CodePage(r)
		out = append(out, b)
		if r > 0xFFFF {
			out = append(out, '?')
		}
	}
	return out
}

// DecodeCodePage is the string of bytes in code page 1252.
func DecodeCodePage(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = FromCodePage(c)
	}
	return string(out)
}

// EncodeUTF16 are a string's bytes as nvarchar keeps them.
func EncodeUTF16(s string) []byte {
	units := utf16.Encode([]rune(s))
	out := make([]byte, 0, 2*len(units))
	for _, u := range units {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

// DecodeUTF16 is the string of nvarchar's bytes.
func DecodeUTF16(b []byte) string {
	units := make([]uint16, 0, len(b)/2+1)
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
	}
	if len(b)%2 == 1 {
		units = append(units, uint16(b[len(b)-1]))
	}
	return string(utf16.Decode(units))
}

// Units is a string's length as SQL Server counts it: characters outside the
// basic plane count twice.
func Units(s string) int {
	n := 0
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i, n = i+1, n+1
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i, n = i+size, n+1
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// Slice is the part of a string of n units from unit start, both from 0. A
// character of two units that would be cut in half is left out.
func Slice(s string, start, n int) string {
	end := start + n
	from, to, at := -1, len(s), 0
	for i, r := range s {
		width := 1
		if r > 0xFFFF {
			width = 2
		}
		if from < 0 && at >= start {
			from = i
		}
		if at+width > end {
			to = i
			break
		}
		at += width
	}
	if from < 0 || from >= to {
		return ""
	}
	return s[from:to]
}

// legacy is a string as varchar can keep it: characters outside code page
// 1252 become question marks.
func legacy(s string) string {
	for _, r := range s {
		if r < 0x80 {
			continue
		}
		if _, ok := CodePage(r); !ok {
			return DecodeCodePage(EncodeCodePage(s))
		}
	}
	return s
}

// fitString is a string as a type keeps it: padded, or cut when it is too
// long, which cut tells.
func fitString(s string, to sqltype.Type) (out string, cut bool) {
	if !IsUnicode(to) {
		s = legacy(s)
	}
	if to.Length == sqltype.Max {
		return s, false
	}
	if len(s) > to.Length {
		if n := Units(s); n > to.Length {
			short := Slice(s, 0, to.Length)
			// Blanks at the end are cut without a word.
			cut = strings.Trim(s[len(short):], " ") != ""
			s = short
		}
	}
	if to.Kind == sqltype.Char || to.Kind == sqltype.NChar {
		if n := Units(s); n < to.Length {
			s += strings.Repeat(" ", to.Length-n)
		}
	}
	return s, cut
}

// fitBytes is a binary value as a type keeps it.
func fitBytes(b []byte, to sqltype.Type) (out []byte, cut bool) {
	if to.Length == sqltype.Max {
		return b, false
	}
	if len(b) > to.Length {
		return b[:to.Length], true
	}
	if to.Kind == sqltype.Binary && len(b) < to.Length {
		return append(append(make([]byte, 0, to.Length), b...), make([]byte, to.Length-len(b))...), false
	}
	return b, false
}
