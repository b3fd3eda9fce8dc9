package tds

import (
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// collation is the five bytes that say how a text is compared, and in which
// code page varchar is.
// Source: MS-TDS 2.2.5.1.2
type collation [5]byte

// serverCollation is SQL_Latin1_General_CP1_CI_AS, Azure SQL Database's
// default: locale 0x0409, ignoring case, kana and width, sort order 52.
func serverCollation() collation { return collation{0x09, 0x04, 0xD0, 0x00, 0x34} }

// utf8Flag is fUTF8, in the collation's fourth byte.
const utf8Flag = 0x04

// isUTF8 reports whether varchar of the collation is UTF-8. All others are
// taken as code page 1252, which is the server's.
func (c collation) isUTF8() bool { return c[3]&utf8Flag != 0 }

// unmappable stands for a character that the code page does not have.
const unmappable = '?'

// decode1252 gives the text of code page 1252.
func decode1252(b []byte) string {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			text := make([]rune, len(b))
			for i, c := range b {
				text[i] = charmap.Windows1252.DecodeByte(c)
			}
			return string(text)
		}
	}
	return string(b)
}

// append1252 appends a text in code page 1252.
func append1252(b []byte, text string) []byte {
	for _, r := range text {
		if r < utf8.RuneSelf {
			b = append(b, byte(r))
			continue
		}
		c, ok := charmap.Windows1252.EncodeRune(r)
		if !ok {
			c = unmappable
		}
		b = append(b, c)
	}
	return b
}
