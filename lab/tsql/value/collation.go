package value

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The collations under their names in SQLite.
const (
	// Collation is SQL_Latin1_General_CP1_CI_AS: case does not count, accents
	// do, and blanks at the end do not.
	Collation = "ck_ci_as"
	// CaseCollation is its case-sensitive sister, ..._CS_AS.
	CaseCollation = "ck_cs_as"
	// BinaryCollation is Latin1_General_BIN2: code points, blanks at the end
	// not counted.
	BinaryCollation = "ck_bin2"
	// OffsetCollation compares datetimeoffset by its time in UTC alone.
	OffsetCollation = "ck_offset"
)

// CollationOf is the SQLite collation of a T-SQL collation's name.
func CollationOf(name string) (string, bool) {
	n := strings.ToUpper(name)
	switch {
	case n == "DATABASE_DEFAULT" || n == "CATALOG_DEFAULT":
		return Collation, true
	case !strings.HasPrefix(n, "SQL_LATIN1_GENERAL_CP1_") && !strings.HasPrefix(n, "LATIN1_GENERAL_"):
		return "", false
	case strings.HasSuffix(n, "_CI_AS"):
		return Collation, true
	case strings.HasSuffix(n, "_CS_AS"):
		return CaseCollation, true
	case strings.HasSuffix(n, "_BIN2"), strings.HasSuffix(n, "_BIN"), strings.HasSuffix(n, "_BIN2_UTF8"):
		return BinaryCollation, true
	default:
		return "", false
	}
}

// bases are the letters of Latin-1 and of code page 1252 that sort as another
// letter with an accent.
var bases = func() map[rune]rune {
	out := map[rune]rune{}
	for base, list := range map[rune]string{
		'a': "àáâãäåāăą", 'c': "çćĉċč", 'd': "ďđ", 'e': "èéêëēĕėęě", 'g': "ĝğġģ", 'h': "ĥħ", 'i': "ìíîïĩīĭį", 'j': "ĵ", 'k': "ķ",
		'l': "ĺļľŀł", 'n': "ñńņň", 'o': "òóôõöøōŏő", 'r': "ŕŗř", 's': "śŝşš", 't': "ţťŧ", 'u': "ùúûüũūŭůűų", 'w': "ŵ", 'y': "ýÿŷ", 'z': "źżž",
	} {
		for _, r := range list {
			out[r] = base
		}
	}
	return out
}()

// weights are a character's: the letter or sign itself, its accent, its case.
func weights(r rune) (primary, accent, capital rune) {
	lower := r
	if r < utf8.RuneSelf {
		if r >= 'A' && r <= 'Z' {
			lower, capital = r+('a'-'A'), 1
		}
	} else {
		if r >= 0xFF01 && r <= 0xFF5E {
			r -= 0xFEE0 // full-width forms: width does not count
		}
		lower = unicode.ToLower(r)
		if lower != r {
			capital = 1
		}
	}
	letter := lower
	if lower >= utf8.RuneSelf {
		if b, ok := bases[lower]; ok {
			letter, accent = b, lower
		}
	}
	return class(letter)<<21 + letter, accent, capital
}

// class puts signs before digits before letters.
func class(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 2
	case r >= '0' && r <= '9':
		return 1
	case r < utf8.RuneSelf:
		return 0
	case unicode.IsLetter(r):
		return 3
	default:
		return 0
	}
}

// Compare compares strings as SQL_Latin1_General_CP1_CI_AS does.
func Compare(a, b []byte) int { return compare(a, b, false) }

// CompareCase is Compare with case as the last difference.
func CompareCase(a, b []byte) int { return compare(a, b, true) }

func compare(a, b []byte, withCase bool) int {
	a, b = bytes.TrimRight(a, " "), bytes.TrimRight(b, " ")
	accents, capitals := 0, 0
	for len(a) > 0 && len(b) > 0 {
		if a[0] == b[0] && a[0] < utf8.RuneSelf {
			a, b = a[1:], b[1:]
			continue
		}
		x, n := utf8.DecodeRune(a)
		y, m := utf8.DecodeRune(b)
		a, b = a[n:], b[m:]
		xp, xa, xc := weights(x)
		yp, ya, yc := weights(y)
		switch {
		case xp != yp:
			return sign(int(xp - yp))
		case accents == 0 && xa != ya:
			accents = sign(int(xa - ya))
		case capitals == 0 && xc != yc:
			// A small letter comes before its capital.
			capitals = sign(int(xc - yc))
		}
	}
	switch {
	case len(a) > 0:
		return tail(a)
	case len(b) > 0:
		return -tail(b)
	case accents != 0:
		return accents
	case withCase:
		return capitals
	default:
		return 0
	}
}

// tail tells how what is left of the longer string compares with blanks, with
// which the shorter one is filled up.
func tail(rest []byte) int {
	for _, c := range rest {
		if c < ' ' {
			return -1
		}
		if c > ' ' {
			return 1
		}
	}
	return 1
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	default:
		return 0
	}
}

// CompareBinary compares code points, blanks at the end not counted.
func CompareBinary(a, b []byte) int {
	return bytes.Compare(bytes.TrimRight(a, " "), bytes.TrimRight(b, " "))
}

// CompareOffset compares stored datetimeoffsets.
func CompareOffset(a, b []byte) int {
	return bytes.Compare(a[:min(16, len(a))], b[:min(16, len(b))])
}

// ComparatorOf is the comparison of a collation by its name in SQLite.
func ComparatorOf(collation string) func(a, b []byte) int {
	switch collation {
	case CaseCollation:
		return CompareCase
	case BinaryCollation:
		return CompareBinary
	case OffsetCollation:
		return CompareOffset
	default:
		return Compare
	}
}

// fold is a string in which characters that are equal under a collation are
// the same.
func fold(s, collation string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if collation == Collation {
			if r >= 0xFF01 && r <= 0xFF5E {
				r -= 0xFEE0
			}
			r = unicode.ToLower(r)
		}
		out = append(out, r)
	}
	return out
}

// Index finds a string in another from a character on, both counted from 0,
// as CHARINDEX does; -1 when it is not there. Positions are in characters of
// the string.
func Index(s, part string, from int, collation string) int {
	text, want := fold(s, collation), fold(part, collation)
	for i := max(0, from); i+len(want) <= len(text); i++ {
		j := 0
		for j < len(want) && text[i+j] == want[j] {
			j++
		}
		if j == len(want) {
			return i
		}
	}
	return -1
}
